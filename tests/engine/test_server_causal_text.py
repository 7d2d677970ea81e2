"""The text side of causal models: continuations, thinking that a prompt opens, ids never said."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from bilin_engine.chat_format import load_chat_format
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.protocol import (
    BlankSegment,
    CountTokens,
    InspectPrompt,
    Message,
    ModelInfo,
    TextSegment,
)
from bilin_engine.server.fill_prompts import FillPrompts
from bilin_engine.server.model_text import ModelText
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer

DATA = Path(__file__).parents[1] / "data" / "templates"
TEMPLATES = runpy.run_path(str(DATA / "templates.py"))["TEMPLATES"]
TOKENIZER = HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<|endoftext|>")


def model_text(folder: Path, family: str) -> ModelText:
    folder.mkdir(exist_ok=True)
    shutil.copyfile(DATA / "tokenizer_config.json", folder / "tokenizer_config.json")
    (folder / "chat_template.jinja").write_text(TEMPLATES[family], encoding="utf-8")
    info = ModelInfo(
        id="tiny", name_zh="", name_en="", family="", num_parameters=0, precision="",
        size_bytes=0, languages=(), can_chat=True, blank_kinds=(), context_length=64, licence="",
        source="", path=str(folder), is_bundled=False,
    )  # fmt: skip
    return ModelText(info, TOKENIZER, load_chat_format("template", folder))


@pytest.mark.parametrize(
    ("family", "prefill", "opens"),
    [
        ("glm-z1-0414", "", True),
        ("glm-4-0414", "", False),
        ("glm-4-0414", "<think>\nfirst", True),
        ("glm-4-0414", "<think>done</think>So", False),
        ("glm-z1-0414", "So", False),
        ("glm-z1-0414", "<think>\nfirst", True),
        ("glm-z1-0414", "<think>\nfirst\n</think>\n\nSo", False),
        ("qwen3", "<think>\nfirst", True),
    ],
)
def test_a_prompt_says_whether_it_opens_the_reasoning(tmp_path, family, prefill, opens):
    text = model_text(tmp_path, family)
    prompt = text.chat_prompt((Message("user", "hi <think>"),), prefill, 512)
    assert prompt.may_think
    assert prompt.opens_thinking is opens


@pytest.mark.parametrize(
    ("family", "thinks", "prefill", "said"),
    [
        ("qwen3", True, "<think>\nfirst", "assistant\n[<think>]\nfirst"),
        ("qwen3", True, "<think>\na\n</think>\n\nSo", "assistant\n[<think>]\na\n[</think>]\n\nSo"),
        ("qwen3", True, "So <think>", "assistant\nSo <think>"),
        ("qwen3", False, "So", "assistant\n[<think>]\n\n[</think>]\n\nSo"),
        ("qwen3", False, "<think>\nfirst", "assistant\n[<think>]\nfirst"),
        ("glm-z1-0414", True, "", "[<|assistant|>]\n[<think>]"),
        ("glm-z1-0414", True, "<think>\nfirst", "[<|assistant|>]\n[<think>]\nfirst"),
        (
            "glm-z1-0414", True, "<think>\na\n</think>\n\nSo </think>",
            "[<|assistant|>]\n[<think>]\na\n[</think>]\n\nSo </think>",
        ),
        ("glm-z1-0414", True, "So", "[<|assistant|>]\n[<think>]\n\n[</think>]\n\nSo"),
        ("glm-4-0414", True, "So", "[<|assistant|>]\nSo"),
        ("glm-4-0414", True, "\nSo", "[<|assistant|>]\nSo"),
        ("glm-4-0414", True, "<think>\nfirst", "[<|assistant|>]\n[<think>]\nfirst"),
    ],
)  # fmt: skip
def test_a_begun_answer_has_one_reasoning_in_the_vocabularys_own_tags(
    tmp_path, family, thinks, prefill, said
):
    text = model_text(tmp_path, family)
    layout = text.chat_prompt((Message("user", "hi"),), prefill, 512, thinks=thinks).layout
    names = {token_id: f"[{name}]" for name, token_id in TOKENIZER.markers.items()}
    shown = "".join(names.get(i) or TOKENIZER.decode([i]) for i in layout.token_ids)
    assert shown.partition("hi")[2].endswith(said)
    assert shown.count("assistant") == 1
    size = text.count_tokens(
        CountTokens(
            id=1, model="tiny", messages=(Message("user", "hi"),), prefill=prefill, thinks=thinks
        ),
        512,
    )
    assert size.total == len(layout.token_ids)


def test_a_fill_by_instruction_does_not_begin_inside_the_reasoning(tmp_path):
    text = model_text(tmp_path, "glm-z1-0414")
    segments = (TextSegment("The sky is "), BlankSegment("short"))
    prompt = FillPrompts(text, segments, 512, takes_nearest=True).prompt(0)
    tags = [TOKENIZER.markers[tag] for tag in ("<think>", "</think>")]
    assert [i for i in prompt.layout.token_ids if i in tags] == tags
    assert TOKENIZER.decode(prompt.layout.token_ids).endswith("</think>\n\n<fill>")


@pytest.mark.parametrize(
    ("family", "prefill", "drops"),
    [
        ("glm-4-0414", "", True),
        ("glm-4-9b-chat", "", True),
        ("glm-4-0414", "So", False),
        ("glm-z1-0414", "", False),  # what follows the reasoning is stripped as it is
        ("glm-edge", "", False),
        ("llama-3", "", False),
        ("qwen3", "", False),
    ],
)
def test_a_line_break_that_a_template_leaves_to_the_model_is_the_turns(
    tmp_path, family, prefill, drops
):
    text = model_text(tmp_path, family)
    assert text.chat_prompt((Message("user", "hi"),), prefill, 512).drops_lead is drops


def test_a_template_with_a_switch_leaves_the_reasoning_out(tmp_path):
    text = model_text(tmp_path, "qwen3")
    question = (Message("user", "hi"),)
    thinking, silent = (
        text.chat_prompt(question, "", 512, thinks=on).layout for on in (True, False)
    )
    added = silent.token_ids[len(thinking.token_ids) :]
    assert silent.token_ids[: len(thinking.token_ids)] == thinking.token_ids
    assert TOKENIZER.decode(added) == "<think>\n\n</think>\n\n"
    counts = [
        text.count_tokens(CountTokens(id=1, model="tiny", messages=question, thinks=on), 64).total
        for on in (True, False)
    ]
    assert counts == [len(thinking.token_ids), len(silent.token_ids)]
    view = text.inspect_chat(
        InspectPrompt(id=1, model="tiny", messages=question, thinks=False), 512
    )
    assert tuple(token.token_id for token in view.tokens) == silent.token_ids


def test_a_template_without_a_switch_does_as_it_does(tmp_path):
    text = model_text(tmp_path, "glm-z1-0414")
    question = (Message("user", "hi"),)
    prompts = [text.chat_prompt(question, "", 512, thinks=on) for on in (True, False)]
    assert prompts[0] == prompts[1]
    assert prompts[1].opens_thinking


def test_ends_of_turns_may_be_said_and_other_markers_not(tmp_path):
    text = model_text(tmp_path, "glm-4-0414")
    banned = text.banned_ids(TOKENIZER.vocab_size)
    markers = TOKENIZER.markers
    assert markers["<|user|>"] not in banned
    assert markers["<|endoftext|>"] not in banned
    assert markers["<think>"] not in banned
    assert {markers["[gMASK]"], markers["<|assistant|>"], markers["<|system|>"]} <= set(banned)


def test_what_ends_a_turn_ends_a_raw_text_too(tmp_path):
    """Else a continuation runs on past the end of its own, and shows the marker."""
    text = model_text(tmp_path, "glm-4-0414")
    markers = TOKENIZER.markers
    assert {TOKENIZER.specials.eos, markers["<|user|>"]} <= text.stop_ids
    assert not text.stop_ids & set(text.banned_ids(TOKENIZER.vocab_size))


def test_raw_text_is_continued_where_it_ends(tmp_path):
    text = model_text(tmp_path, "glm-4-0414")
    layout = text.continuation((TextSegment("hello "), TextSegment("<|user|>")), 64)
    assert list(layout.token_ids) == TOKENIZER.encode("hello <|user|>")
    assert layout.prefix_len == 0


def test_a_text_begins_with_what_the_tokenizer_puts_before_it():
    content = json.loads((DATA / "tokenizer.json").read_text(encoding="utf-8"))
    ids = [TOKENIZER.markers["[gMASK]"], TOKENIZER.markers["<sop>"]]
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": t, "type_id": 0}} for t in ("[gMASK]", "<sop>")]
        + [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            t: {"id": t, "ids": [i], "tokens": [t]}
            for t, i in zip(("[gMASK]", "<sop>"), ids, strict=True)
        },
    }
    assert HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>").frame == tuple(ids)


def test_what_cannot_be_continued_is_said(tmp_path):
    text = model_text(tmp_path, "glm-4-0414")
    with pytest.raises(BadRequestError, match="has no masks"):
        text.continuation((TextSegment("a"), BlankSegment("short")), 64)
    with pytest.raises(BadRequestError, match="no text to continue"):
        text.continuation((), 64)
    with pytest.raises(ContextOverflowError, match="take away at least"):
        text.continuation((TextSegment("hello " * 100),), 64)
