"""tokenizer.json, GLM-4's own file, and what a person may type."""

import base64
import copy
import itertools
import json
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer
from bilin_engine.tokenizers.load import load_tokenizer
from bilin_engine.tokenizers.streaming import StreamDecoder
from bilin_engine.tokenizers.tiktoken_file import GLM_4_SPECIALS, read_ranks, tokenizer_json_of

DATA = Path(__file__).parents[1] / "data" / "templates"
GOLDENS = json.loads((DATA / "goldens.json").read_text(encoding="utf-8"))
CONTENT = json.loads((DATA / "tokenizer.json").read_text(encoding="utf-8"))
TOKENIZER = HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<|endoftext|>")
MARKERS = sorted(TOKENIZER.markers)


@pytest.mark.parametrize("text", GOLDENS["texts"])
def test_ids_equal_transformers(text):
    if "<think>" in text:  # a marker there; text here
        return
    assert TOKENIZER.encode(text) == GOLDENS["texts"][text]
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_other_threads_run_while_a_long_text_is_encoded():
    text = "".join(f"the {i} quick brown foxes 你好\n" for i in range(40_000))
    begun, ids = threading.Event(), []

    def encode():
        begun.set()
        ids.extend(TOKENIZER.encode(text))

    thread = threading.Thread(target=encode)
    thread.start()
    begun.wait()
    num_turns = 0
    while thread.is_alive():
        thread.join(0.001)
        num_turns += 1
    assert len(ids) > 100_000
    assert num_turns > 20


@given(st.text())
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.decode(TOKENIZER.encode_after(text)) == text


@given(st.lists(st.sampled_from([*MARKERS, "a", " ", "<", "|>", "\n", "你"])).map("".join))
def test_no_text_becomes_a_marker(text):
    ids = TOKENIZER.encode(text)
    assert not set(ids) & set(TOKENIZER.markers.values())
    assert TOKENIZER.decode(ids) == text


@given(st.text(), st.sampled_from(MARKERS))
def test_a_streams_pieces_joined_are_the_text(text, marker):
    ids = [*TOKENIZER.encode(text), TOKENIZER.markers[marker], *TOKENIZER.encode(text)]
    stream = StreamDecoder(TOKENIZER)
    joined = "".join([*map(stream.feed, ids), stream.flush()])
    shown = marker if not TOKENIZER.is_special(TOKENIZER.markers[marker]) else f"[{marker}]"
    assert joined == text + shown + text


def test_a_marker_that_the_vocabulary_holds_as_a_piece_is_cut():
    content = copy.deepcopy(CONTENT)
    content["model"]["ignore_merges"] = True
    content["pre_tokenizer"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False,
    }  # fmt: skip
    content["model"]["vocab"]["<|user|>"] = 500
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "<|user|>"]
    content["added_tokens"].append(
        {"id": 500, "content": "<|user|>", "special": True, "normalized": False,
         "single_word": False, "lstrip": False, "rstrip": False}
    )  # fmt: skip
    tokenizer = HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>")
    assert 500 not in tokenizer.encode("<|user|>")
    assert tokenizer.decode(tokenizer.encode("<|user|>")) == "<|user|>"


def test_a_word_added_behind_the_markers_keeps_its_id():
    """As Llama 3's extended for a language have them; it must not end the text."""
    content = copy.deepcopy(CONTENT)
    last = max(token["id"] for token in content["added_tokens"])
    word = {"id": last + 1, "content": "xin chào", "special": False, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False}  # fmt: skip
    content["added_tokens"].append(word)
    tokenizer = HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>")
    text = "a xin chào b <|user|> xin chào"
    ids = tokenizer.encode(text)
    assert ids.count(last + 1) == 2
    assert not set(ids) & set(tokenizer.markers.values())
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a xin chào b") == tokenizer.encode_prompt("a xin chào b", "")
    assert last + 1 in tokenizer.encode_after("xin chào")


def test_specials_are_found_by_name():
    markers = TOKENIZER.markers
    assert TOKENIZER.specials.gmask == markers["[gMASK]"]
    assert TOKENIZER.specials.eos == markers["<|endoftext|>"]
    assert TOKENIZER.is_special(markers["<|user|>"])
    assert not TOKENIZER.is_special(markers["<think>"])
    assert TOKENIZER.token_bytes(markers["<think>"]) == b"<think>"
    assert TOKENIZER.is_special(TOKENIZER.vocab_size)
    assert TOKENIZER.vocab_size == 438


def metaspace_content() -> dict:
    """Llama 2's shape: ▁ for spaces, one put before the text, bytes for what is not there."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "h", "i", "▁h"]
    pieces += ["▁hi"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": pieces[i], "special": True, **flags} for i in range(3)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>",
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": True, "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [["▁", "h"], ["▁h", "i"]],
        },
    }  # fmt: skip


@pytest.mark.parametrize("text", ["hi", " hi", "hi hi", "你 hi\n", "<s>hi</s>"])
def test_sentencepiece_shaped_files(text):
    tokenizer = HuggingFaceTokenizer.from_json(metaspace_content(), "x", "</s>")
    assert tokenizer.leading_space == "one"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    inside = tokenizer.encode_after(text)
    assert b"".join(map(tokenizer.token_bytes, inside)).decode() == text
    assert not {0, 1, 2} & set(tokenizer.encode(text))


@pytest.mark.parametrize("puts_space", ["before each", "before the first"])
def test_a_typed_marker_changes_no_ids_before_it(puts_space):
    content = metaspace_content()
    if puts_space == "before the first":
        content["normalizer"] = None
        content["pre_tokenizer"] = {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False,
        }  # fmt: skip
    tokenizer = HuggingFaceTokenizer.from_json(content, "x", "</s>")
    prompt = "hi<s>hi</s>\n<s>hi"
    ids = tokenizer.encode_prompt(prompt, "")
    typed = tokenizer.neutralize(" </s>", "\x00")
    with_typed = tokenizer.encode_prompt(prompt + typed, "\x00")
    assert with_typed[: len(ids)] == ids
    assert with_typed.count(tokenizer.markers["</s>"]) == 1


# --- GLM-4's own file ----------------------------------------------------------------------------


def glm4_file(path: Path) -> Path:
    """A small vocabulary: bytes, then what pairs of earlier tokens join to."""
    rng = random.Random(7)
    tokens = [bytes([i]) for i in range(256)]
    words = ["你好".encode(), b" the", b"\n\n", b"ing", b"hello", "。\n".encode()]
    for word in words * 3:
        cut = rng.randrange(1, len(word))
        for part in (word[:cut], word[cut:], word):
            for end in range(2, len(part) + 1):
                if part[:end] not in tokens and part[: end - 1] in tokens:
                    tokens.append(part[:end])
    lines = [base64.b64encode(t) + b" %d" % rank for rank, t in enumerate(tokens)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def byte_pairs(ranks: dict[bytes, int], word: bytes) -> list[int]:
    """tiktoken's rule, slowly: the word, or joins the pair of lowest rank until none is left."""
    if word in ranks:
        return [ranks[word]]
    parts = [bytes([b]) for b in word]
    while len(parts) > 1:
        ranked = [
            (ranks[a + b], i)
            for i, (a, b) in enumerate(itertools.pairwise(parts))
            if a + b in ranks
        ]
        if not ranked:
            break
        _, i = min(ranked)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


@given(st.lists(st.sampled_from(["你好", " the", "hello", "ing", "x", "。"])).map("".join))
def test_glm_4s_file_gives_tiktokens_ids(tmp_path_factory, text):
    path = glm4_file(tmp_path_factory.mktemp("glm4") / "tokenizer.model")
    ranks = read_ranks(path)
    tokenizer = HuggingFaceTokenizer.from_json(tokenizer_json_of(path), "x", "<|endoftext|>")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    for word in ("你好", " the", "hello", "helloing"):
        assert tokenizer.encode(word) == byte_pairs(ranks, word.encode())


def test_a_word_of_glm_4s_that_no_two_tokens_make_is_one_token(tmp_path):
    """As 102322 is, the character 王 behind a space."""
    word = " 王".encode()
    tokens = [*(bytes([b]) for b in range(256)), word[:2], word[1:], word]
    lines = [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]
    (tmp_path / "tokenizer.model").write_bytes(b"\n".join(lines))
    content = tokenizer_json_of(tmp_path / "tokenizer.model")
    tokenizer = HuggingFaceTokenizer.from_json(content, "x", "<|endoftext|>")
    assert tokenizer.encode(" 王") == [258]


def test_glm_4s_specials_follow_the_last_rank(tmp_path):
    path = glm4_file(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ChatGLM4Tokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    first = len(read_ranks(path))
    assert [tokenizer.markers[name] - first for name in GLM_4_SPECIALS] == list(range(14))
    assert tokenizer.specials.eos == first


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"AAAA", "line 1"),
        (b"!!!! 3", "line 1"),
        (b"YQ== 1\nYQ== 2", "line 2: no token, or one that was there"),
        (b"YQ== 99999999999", "line 1"),
        (b"", "lacks 256"),
    ],
)
def test_damaged_vocabularies_are_refused_by_line(tmp_path, content, words):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ModelBrokenError, match=words):
        read_ranks(tmp_path / "tokenizer.model")


# --- Files that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100000, "not valid JSON"),
        (b"[]", "does not hold a JSON object"),
        (b"{}", "is damaged"),
        (b'{"model": {"type": "BPE", "vocab": {"a": -5}, "merges": []}}', "is damaged"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, words):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelBrokenError, match=words):
        HuggingFaceTokenizer(tmp_path / "tokenizer.json", eos_token="x")


def test_an_end_token_that_is_not_there_is_named():
    with pytest.raises(ModelBrokenError, match="has no token '<end>'"):
        HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<end>")


def test_a_class_without_files_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(UnsupportedModelError, match=r"'T5Tokenizer' is not one of .* no tokenizer"):
        load_tokenizer(tmp_path)
