"""Fill-in-the-middle tokens: found by name, laid out as published, used where they are."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import torch
from letter_models import letter_model
from letter_tokenizer import FIRST_SPECIAL, LetterTokenizer
from tiny_causal import random_weights, tiny_config

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.fim import FIM_FORMATS, fim_tokens
from bilin_engine.generation.generate import generate
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.generation.request import GenerationRequest
from bilin_engine.protocol import InspectPrompt, Sampling
from bilin_engine.runners.load import load_runner
from bilin_engine.server.fill_prompts import FillPrompts, inspect_fill
from bilin_engine.server.model_text import ModelText
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer

TOKENIZER = Path(__file__).parents[1] / "data" / "templates" / "tokenizer.json"
PREFIX, SUFFIX, MIDDLE, END = (FIRST_SPECIAL + 10 + n for n in range(4))


class FimTokenizer(LetterTokenizer):
    """Letters, and the markers of a format; a text of its own begins with `frame`."""

    specials = replace(LetterTokenizer.specials, mask=None, smask=None, gmask=None, sop=None)
    frame = (9,)

    def __init__(self, number=0):
        known = FIM_FORMATS[number]
        self.markers = {known.prefix: PREFIX, known.suffix: SUFFIX}
        self.markers |= {known.middle: MIDDLE} if known.middle else {}
        self.markers |= {known.ends[0]: END} if known.ends else {}

    def token_text(self, token_id):
        return "<>" if token_id > FIRST_SPECIAL else super().token_text(token_id)


def model_text(number=0, *, can_chat=False, context=200, **fields):
    info = msgspec.structs.replace(letter_model(context=context), can_chat=can_chat, **fields)
    return ModelText(info, FimTokenizer(number), None)


def ids(*parts):
    return tuple(i for part in parts for i in ([part] if isinstance(part, int) else map(ord, part)))


def prompts(text, number=0, *, takes_nearest=True, context=200):
    made = FillPrompts(
        model_text(number, context=context),
        parse_mask_text(text),
        context,
        takes_nearest=takes_nearest,
    )
    assert made.way == "fim"
    return made


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # Qwen2.5-Coder, CodeGemma
        (1, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # StarCoder
        (3, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # Code Llama
        (4, ids(9, PREFIX, "ab", SUFFIX, "cd", MIDDLE)),  # DeepSeek-Coder
        (5, ids(9, SUFFIX, "cd", PREFIX, "ab")),  # Codestral: the text after it first
    ],
)
def test_ids_are_those_of_the_published_format(number, expected):
    layout = prompts("ab[MASK]cd", number).prompt(0).layout
    assert layout.token_ids == expected
    assert layout.position_ids == tuple(range(len(expected)))
    assert layout.prefix_len == 0
    assert layout.output_position is None


def test_blanks_see_earlier_fills_and_other_blanks_as_a_line():
    made = prompts("a[MASK]b[MASK]c")
    assert made.prompt(0).layout.token_ids == ids(9, PREFIX, "a", SUFFIX, "b____c", MIDDLE)
    made.fill(0, "xy", ())
    assert made.prompt(1).layout.token_ids == ids(9, PREFIX, "axyb", SUFFIX, "c", MIDDLE)


def test_fills_bring_their_own_spaces():
    made = prompts("def get_[MASK](self):")
    prompt = made.prompt(0)
    assert prompt.continues
    assert not prompt.is_enclosed
    made.fill(0, "name", ())
    assert made.filled_text() == "def get_name(self):"


def test_a_fill_ends_at_the_formats_end_and_a_short_one_with_its_line():
    made = prompts("a[MASK]b[gMASK]")
    tokenizer = FimTokenizer()
    assert made.prompt(0).stop_ids == {tokenizer.specials.eos, PREFIX, SUFFIX, MIDDLE, END}
    assert made.prompt(0).stop_texts == ("\n",)
    assert made.prompt(1).stop_texts == ()
    fim = fim_tokens(tokenizer)
    assert fim is not None
    assert fim.stop_ids[0] == END


def test_a_long_text_gives_its_nearest_part_or_is_refused():
    text = "a" * 500 + "[MASK]" + "b" * 500
    layout = prompts(text).prompt(0).layout
    letters = [i for i in layout.token_ids if i < FIRST_SPECIAL]
    assert letters.count(ord("a")) == pytest.approx(letters.count(ord("b")), abs=1)
    assert len(layout.token_ids) < 200
    with pytest.raises(ContextOverflowError):
        prompts(text, takes_nearest=False).prompt(0)


def test_masks_win_over_middles_and_middles_over_a_chat():
    both = FimTokenizer()
    both.specials = LetterTokenizer.specials
    segments = parse_mask_text("a[MASK]b")
    masked = ModelText(letter_model(), both, None)
    assert FillPrompts(masked, segments, 200, takes_nearest=True).way == "mask"
    request = InspectPrompt(id=1, model="letters", segments=segments)
    coder = model_text(can_chat=True, id="qwen2.5-coder-7b-instruct")
    assert inspect_fill(coder, request, 200).way == "fim"


@pytest.mark.parametrize(
    ("can_chat", "fields", "way"),
    [
        (True, {"id": "qwen3-8b", "source": "Hugging Face folder, BF16"}, "instruction"),
        (True, {"id": "qwen3-8b", "name_en": "For my code"}, "instruction"),  # a person's name
        (True, {"id": "qwen2.5-coder-7b", "name_en": "Renamed"}, "fim"),
        (True, {"id": "7b", "source": "GGUF file Codestral-22B-Q4_0.gguf (matrices: Q4_0)"}, "fim"),
        (False, {"id": "qwen2.5-7b-base"}, "fim"),
    ],
)
def test_a_chat_model_with_its_family_s_middles_is_asked_in_a_chat(can_chat, fields, way):
    text = model_text(can_chat=can_chat, **fields)
    made = FillPrompts(text, parse_mask_text("a[MASK]b"), 200, takes_nearest=True)
    assert made.way == way


def test_a_vocabulary_with_half_of_the_tokens_has_none():
    half = FimTokenizer()
    del half.markers[FIM_FORMATS[0].suffix]
    assert fim_tokens(half) is None
    assert fim_tokens(LetterTokenizer()) is None
    mute = ModelText(msgspec.structs.replace(letter_model(), can_chat=False), half, None)
    with pytest.raises(BadRequestError, match="fills no blanks"):
        FillPrompts(mute, parse_mask_text("a[MASK]"), 100, takes_nearest=True)


def real_tokenizer(known):
    """Byte-level BPE with a format's tokens and without masks."""
    content = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    kept = [t for t in content["added_tokens"] if "MASK" not in t["content"]]
    ids = [*content["model"]["vocab"].values(), *(t["id"] for t in content["added_tokens"])]
    first = 1 + max(ids)
    names = (known.prefix, known.suffix, known.middle, *known.ends[:1])
    new = [n for n in names if n and n not in {t["content"] for t in kept}]
    pattern = {key: value for key, value in kept[0].items() if key not in ("id", "content")}
    added = [{"id": first + i, "content": name, **pattern} for i, name in enumerate(new)]
    content["added_tokens"] = [*kept, *added]
    return HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>")


def write_chain_model(folder, vocab_size, chain):
    """A causal model that says of each id of `chain` the next one: what it read last decides."""
    config = tiny_config("qwen2", vocab_size=vocab_size)
    weights = random_weights(config)
    for name, value in weights.items():
        if "o_proj" in name or "down_proj" in name:
            value.zero_()
    embeddings = weights["model.embed_tokens.weight"]
    head = weights["lm_head.weight"] = torch.zeros_like(weights["lm_head.weight"])
    for read, said in pairwise(chain):
        head[said] += embeddings[read]
    write_model_folder(folder, config, weights.items())


@pytest.mark.parametrize("known", FIM_FORMATS, ids=lambda known: known.prefix)
def test_a_causal_model_reads_the_format_and_its_answer_lands_in_the_blank(
    tmp_path, monkeypatch, known
):
    tokenizer = real_tokenizer(known)
    fim = fim_tokens(tokenizer)
    assert fim is not None
    before, answer, after = "The sky is", " blue", " today.\n"
    said = tokenizer.encode_after(answer)
    vocab_size = -(-tokenizer.vocab_size // 64) * 64
    last_read = tokenizer.encode(before)[-1] if fim.middle is None else fim.middle
    chain = [last_read, *said, fim.stop_ids[0]]
    assert len(set(chain)) == len(chain)
    write_chain_model(tmp_path / "m", vocab_size, chain)
    info = msgspec.structs.replace(letter_model(context=96), can_chat=False)
    text = ModelText(info, tokenizer, None)
    segments = parse_mask_text(f"{before}[MASK]{after}")
    made = FillPrompts(text, segments, 96, takes_nearest=True)
    prompt = made.prompt(0)

    sent = []
    runner = load_runner(tmp_path / "m", dtype="float32", num_threads=1)
    prefill = runner.prefill
    monkeypatch.setattr(
        runner, "prefill", lambda rows, *rest: sent.extend(rows) or prefill(rows, *rest)
    )
    greedy = Sampling(temperature=0.0, max_new_tokens=12)
    banned = frozenset(text.banned_ids(vocab_size))  # the ends of other requests among them
    request = GenerationRequest(prompt.layout, greedy, prompt.stop_ids, banned)
    [found] = generate(runner, request, lambda *_: None, lambda: False).candidates
    runner.close()

    names = {i: name for name, i in tokenizer.markers.items()}
    [row] = sent
    shown = "".join(names.get(i) or tokenizer.decode([i]) for i in row.token_ids)
    parts = (known.prefix, before, known.suffix, after, known.middle)
    if known.after_first:
        parts = (known.suffix, after, known.prefix, before)
    assert shown == "".join(parts)
    assert list(row.position_ids) == list(range(len(row.token_ids)))
    assert found.finish_reason == "stop"
    assert list(found.token_ids) == said
    made.fill(0, tokenizer.decode(list(found.token_ids)), found.token_ids)
    assert made.filled_text() == f"{before}{answer}{after}"
