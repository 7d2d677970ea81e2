"""Prompts of ChatGLM-6B, ChatGLM2, ChatGLM3 and GLM-4's own code, to the id (glm.md 10.3)."""

import json
import os
from pathlib import Path

import pytest
import sentencepiece

from bilin_engine.chat_format import find_chat_format
from bilin_engine.errors import BadRequestError, ContextOverflowError, ModelBrokenError
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.chatglm import ChatGLM6BTokenizer, ChatGLMTokenizer
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer
from bilin_engine.tokenizers.load import load_tokenizer

DATA = Path(__file__).parents[1] / "data" / "templates"
# ChatGLM-6B's own file is the user's; without it only what needs its ids is skipped.
CHATGLM_6B_MODEL = Path(os.environ.get("BILIN_CHATGLM_6B_MODEL", "ice_text.model"))

CHAT = [
    Message("user", "你好"),
    Message("assistant", "你好！"),
    Message("user", "What is <|user|> [gMASK]?"),
]
LINES = [
    "[Round 1] 问： 答： 你好，你是谁？我是一个小模型。",
    "What is this? hello world, you fill blanks and answer questions.",
    "0 1 2 3 4 5 6 7 8 9 < > | [ ] g M A S K user assistant system MASK ! ?",
]
SIX_B_PIECES = ["<n>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|tab|>"]
SIX_B_PIECES += [f"<|blank_{k}|>" for k in range(2, 81)]


def train(path: Path, **options) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 3),
        model_prefix=str(path.with_suffix("")),
        model_type="unigram",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **options,
    )
    return path


@pytest.fixture(scope="module")
def six_b(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatglm6b")
    train(folder / "ice_text.model", vocab_size=480, user_defined_symbols=SIX_B_PIECES)
    return ChatGLM6BTokenizer(folder / "ice_text.model")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatglm3")
    return ChatGLMTokenizer(train(folder / "tokenizer.model", vocab_size=380))


def pieces(tokenizer, text: str) -> list[int]:
    """SentencePiece's own ids, which ChatGLM's code takes as they are."""
    return tokenizer._pieces.encode(text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ice_text.model", ChatGLM6BTokenizer), ("tokenizer.model", ChatGLMTokenizer)],
)
def test_the_file_says_which_tokenizer_it_is(tmp_path, name, kind):
    train(tmp_path / name, vocab_size=480, user_defined_symbols=SIX_B_PIECES)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ChatGLMTokenizer"}')
    assert type(load_tokenizer(tmp_path)) is kind


def test_chatglm_6b_a_question_is_bare_and_its_mask_is_last(six_b):
    layout = find_chat_format("chatglm").layout([Message("user", "你好")], six_b, 99)
    text = pieces(six_b, "你好")
    specials = six_b.specials
    assert list(layout.token_ids) == [*text, specials.gmask, specials.sop]
    # Both positions of the output are the mask's; everything before `sop` is seen from both sides.
    mask = len(text)
    assert list(layout.position_ids) == [*range(mask + 1), mask]
    assert (layout.prefix_len, layout.output_position) == (mask + 1, mask)


def test_chatglm_6b_numbers_rounds_from_zero(six_b):
    layout = find_chat_format("chatglm").layout(CHAT, six_b, 999)
    shown = six_b.decode(layout.token_ids[:-2])
    assert shown == (
        "[Round 0]\n问：你好\n答：你好！\n[Round 1]\n问：What is <|user|> [gMASK]?\n答："
    )
    assert layout.token_ids.count(six_b.specials.gmask) == 1


def test_chatglm_6b_writes_white_space_as_marks(six_b):
    ids = six_b.encode("a\n  b\tc" + " " * 81)
    names = [six_b.token_text(i) for i in ids]
    for mark in ("<n>", "<|blank_2|>", "<|tab|>", "<|blank_80|>"):
        assert mark in names
    assert six_b.decode(ids) == "a\n  b\tc" + " " * 81


@pytest.mark.parametrize("typed", ["[gMASK]", "<n>", "<|tab|>", "<|blank_9|>", "</s>", "<sop>"])
def test_chatglm_6b_keeps_typed_marks_as_text(six_b, typed):
    ids = six_b.encode(f"x {typed} y")
    assert not set(ids) & set(six_b.markers.values())
    assert six_b.decode(ids) == f"x {typed} y"
    assert six_b.newline_id not in ids


@pytest.mark.skipif(
    not CHATGLM_6B_MODEL.is_file(), reason="BILIN_CHATGLM_6B_MODEL names no ice_text.model"
)
def test_chatglm_6b_vectors():
    tokenizer = ChatGLM6BTokenizer(CHATGLM_6B_MODEL)
    layout = find_chat_format("chatglm").layout([Message("user", "你好")], tokenizer, 99)
    assert layout.token_ids == (5, 74874, 130001, 130004)
    assert tokenizer.specials.eop == 130005


def test_chatglm2_begins_with_its_mask_and_counts_from_one(three):
    layout = find_chat_format("chatglm2").layout(CHAT, three, 999)
    text = (
        "[Round 1]\n\n问：你好\n\n答：你好！\n\n[Round 2]\n\n问：What is <|user|> [gMASK]?\n\n答："
    )
    frame = [three.num_pieces + 1, three.num_pieces + 3]  # 64790, 64792 of 64789 pieces
    assert list(layout.token_ids) == [*frame, *pieces(three, text)]
    assert layout.prefix_len == 0


def test_chatglm3_frames_turns_with_roles(three):
    chat_format = find_chat_format("chatglm3")
    layout = chat_format.layout([Message("system", "hi"), *CHAT], three, 999)
    first = three.num_pieces
    system, user, assistant, observation = range(first + 5, first + 9)  # 64794 to 64797
    newline = pieces(three, "\n")
    expected = [first + 1, first + 3, system, *newline, *pieces(three, "hi")]
    for turn in CHAT:
        role = user if turn.role == "user" else assistant
        expected += [role, *newline, *pieces(three, turn.text)]
    assert list(layout.token_ids) == [*expected, assistant]
    assert chat_format.size([Message("system", "hi"), *CHAT], three).total == len(expected) + 1
    assert chat_format.stop_ids(three) >= {user, observation, three.specials.eos}


def test_glm_4s_own_code_frames_turns_with_roles():
    tokenizer = load_tokenizer(DATA)
    layout = find_chat_format("glm4").layout([Message("user", "你好")], tokenizer, 99)
    names = [tokenizer.token_text(i) for i in layout.token_ids]
    assert names[:4] == ["[gMASK]", "<sop>", "<|user|>", "⏎"]
    assert names[-1] == "<|assistant|>"
    assert tokenizer.decode(layout.token_ids[4:-1]) == "你好"


@pytest.mark.parametrize("prefill", ["", "你", "\n", "The answer is"])
def test_glm_4s_size_is_the_layouts_length(prefill):
    tokenizer, chat_format = load_tokenizer(DATA), find_chat_format("glm4")
    messages = [Message("user", "你好")]
    size = chat_format.size(messages, tokenizer, prefill).total
    assert size == len(chat_format.layout(messages, tokenizer, 999, prefill).token_ids)


def test_glm_4_vector():
    """The published ids, in a vocabulary whose few pieces have GLM-4's numbers."""
    content = json.loads((DATA / "tokenizer.json").read_text(encoding="utf-8"))
    old = load_tokenizer(DATA).encode("你好")
    vocabulary = content["model"]["vocab"]
    (piece,) = [text for text, number in vocabulary.items() if [number] == old]
    vocabulary[piece] = 109377
    for index, token in enumerate(content["added_tokens"]):
        token["id"] = vocabulary[token["content"]] = 151329 + index
    tokenizer = HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>")
    layout = find_chat_format("glm4").layout([Message("user", "你好")], tokenizer, 99)
    assert layout.token_ids == (151331, 151333, 151336, 198, 109377, 151337)
    assert find_chat_format("glm4").stop_ids(tokenizer) >= {151329, 151336, 151338}


@pytest.mark.parametrize("name", ["chatglm2", "chatglm3"])
def test_chats_must_end_with_a_question_and_leave_room(three, name):
    chat_format = find_chat_format(name)
    with pytest.raises(BadRequestError, match="must end with the user's message"):
        chat_format.layout(CHAT[:2], three, 99)
    with pytest.raises(ContextOverflowError, match="take away at least"):
        chat_format.layout(CHAT, three, 8)


@pytest.mark.parametrize("name", ["chatglm2", "chatglm3", "chatglm"])
def test_an_answer_goes_on_from_its_beginning(six_b, three, name):
    tokenizer = six_b if name == "chatglm" else three
    chat_format = find_chat_format(name)
    whole = chat_format.layout(CHAT, tokenizer, 999, "hello").token_ids
    assert whole[: len(chat_format.layout(CHAT, tokenizer, 999).token_ids)]
    assert tokenizer.decode(whole).endswith("hello")


@pytest.mark.parametrize("name", ["chatglm3", "glm4"])
@pytest.mark.parametrize("stored", ["", "\n"])  # earlier versions kept the line break
def test_an_answer_is_read_again_as_it_was_written(three, name, stored):
    """The ids of both agree, so that a growing chat goes on from what the slot holds."""
    tokenizer = three if name == "chatglm3" else load_tokenizer(DATA)
    chat_format = find_chat_format(name)
    question = Message("user", "What is this?")
    prompt = chat_format.layout([question], tokenizer, 999).token_ids
    written = [*tokenizer.encode(chat_format.lead), *tokenizer.encode("hello world")]
    answer = Message("assistant", stored + tokenizer.decode(written).strip())
    later = chat_format.layout([question, answer, question], tokenizer, 999).token_ids
    assert later[: len(prompt) + len(written)] == (*prompt, *written)
    begun = chat_format.layout([question], tokenizer, 999, answer.text).token_ids
    assert begun == (*prompt, *written)


@pytest.mark.parametrize("name", ["chatglm2", "chatglm3", "chatglm"])
def test_a_question_not_yet_typed_is_counted(six_b, three, name):
    tokenizer = six_b if name == "chatglm" else three
    open_question = [*CHAT[:2], Message("user", "")]
    count = find_chat_format(name).size(open_question, tokenizer).total
    assert 0 < count <= find_chat_format(name).size(CHAT, tokenizer).total


def test_another_vocabulary_of_the_same_name_is_refused(tmp_path):
    path = train(tmp_path / "ice_text.model", vocab_size=380)
    with pytest.raises(ModelBrokenError, match="has no piece"):
        ChatGLM6BTokenizer(path)
