"""SentencePiece tokenizers, streamed decoding and loading from a model folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.load import TokenizerConfig, load_tokenizer, write_tokenizer_config
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece
from bilin_engine.tokenizers.streaming import StreamDecoder

TINY_MODEL = Path(__file__).parents[1] / "data" / "tokenizers" / "tiny.model"
TINY = SentencePieceTokenizer(TINY_MODEL)

# ▁ is SentencePiece's own mark for a space: it alone cannot come back.
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\r"))
any_ids = st.lists(st.integers(0, TINY.vocab_size - 1), max_size=40)


def make_folder(tmp_path: Path, **config) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(TINY_MODEL.read_bytes())
    values = {"tokenizer_class": "SentencePieceTokenizer", **config}
    write_tokenizer_config(tmp_path, TokenizerConfig(**values))
    return tmp_path


def test_specials_follow_the_vocabulary_in_glm_order():
    names = [TINY.token_text(i) for i in range(440, 448)]
    assert names == ["[MASK]", "[gMASK]", "[sMASK]", "eod", "sop", "eop", "ENC", "dBLOCK"]
    assert TINY.vocab_size == 448
    specials = TINY.specials
    assert (specials.mask, specials.gmask, specials.smask) == (440, 441, 442)
    assert (specials.sop, specials.eop, specials.eos) == (444, 445, 2)
    assert [i for i in range(448) if TINY.is_special(i)] == [2, *range(440, 448)]


@given(any_text)
def test_any_text_comes_back(text):
    assert TINY.decode(TINY.encode(text)) == text


@given(any_text, any_text)
def test_encode_after_goes_on_without_a_space(text, more):
    ids = TINY.encode(text + "|") + TINY.encode_after(more)
    assert TINY.decode(ids) == text + "|" + more


@given(any_text | st.sampled_from(["[gMASK]", "</s>", "sop", "<n>", "[[MASK]]", "<0x0A>"]))
def test_text_never_becomes_a_special_or_a_line_break(text):
    for ids in (TINY.encode(text), TINY.encode_after(text)):
        assert not any(TINY.is_special(i) for i in ids)
        assert ids.count(3) == text.count("\n")


def test_line_breaks_of_every_system_are_the_newline_id():
    assert TINY.newline_id == 3
    assert TINY.encode("a\nb") == TINY.encode("a\r\nb") == TINY.encode("a\rb")
    assert TINY.decode(TINY.encode("a\r\n\nb")) == "a\n\nb"


@given(any_ids)
def test_streamed_pieces_joined_equal_decode(token_ids):
    stream = StreamDecoder(TINY)
    pieces = [stream.feed(i) for i in token_ids]
    assert "".join([*pieces, stream.flush()]) == TINY.decode(token_ids)


@given(any_text)
def test_streamed_pieces_hold_whole_characters_only(text):
    stream = StreamDecoder(TINY)
    pieces = [stream.feed(i) for i in TINY.encode(text)]
    assert "".join(pieces) == text
    assert text.count("\ufffd") == sum(piece.count("\ufffd") for piece in pieces)


def test_bytes_of_an_unfinished_character_are_held_back():
    ids = TINY.encode_after("世")
    assert [TINY.token_text(i) for i in ids] == ["<0xE4>", "<0xB8>", "<0x96>"]
    stream = StreamDecoder(TINY)
    assert [stream.feed(i) for i in ids] == ["", "", "世"]
    assert stream.flush() == ""


def test_flush_shows_a_broken_character_and_starts_afresh():
    stream = StreamDecoder(TINY)
    broken, whole = TINY.encode_after("世")[:2], TINY.encode_after("好")
    assert "".join(map(stream.feed, broken)) == ""
    assert stream.flush() == "\ufffd"
    assert "".join(map(stream.feed, whole)) == "好"


def test_leading_space_is_dropped_at_the_start_and_kept_where_text_goes_on():
    ids = TINY.encode("model fills")
    assert TINY.token_text(ids[0]).startswith("▁")
    assert "".join(map(StreamDecoder(TINY).feed, ids)) == "model fills"
    assert "".join(map(StreamDecoder(TINY, continues=True).feed, ids)) == " model fills"


def test_specials_are_printed_by_name_and_split_the_text():
    ids = [*TINY.encode("a"), 441, *TINY.encode("b"), 444, 2]
    assert TINY.decode(ids) == "a[[gMASK]]b[sop][</s>]"


@given(st.lists(st.integers(260, 439), max_size=40))
def test_decode_agrees_with_sentencepiece(piece_ids):
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(TINY_MODEL))
    assert TINY.decode(piece_ids) == oracle.decode(piece_ids)


def test_token_text_shows_space_and_line_break():
    assert TINY.token_text(3) == "⏎"
    assert TINY.token_text(TINY.encode("model")[0]).startswith("▁")


def test_an_unused_id_is_shown_by_its_number():
    """A model's table is padded beyond the vocabulary: a stray id must not break a stream."""
    assert TINY.is_special(448)
    assert TINY.decode([*TINY.encode("a"), 448, *TINY.encode("b")]) == "a[448]b"


def test_training_is_repeatable_and_reads_back(tmp_path):
    lines = ["你好 hello world", "the world is small", "天涯若比邻"] * 30
    for name in ("a", "b"):
        train_sentencepiece(lines, tmp_path / name, vocab_size=280)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    trained = SentencePieceTokenizer(tmp_path / "a")
    assert trained.vocab_size == 288
    assert trained.decode(trained.encode("新 text，\n  1889")) == "新 text，\n  1889"


def test_training_on_too_little_text_says_how_many_pieces(tmp_path):
    with pytest.raises(ValueError, match="no vocabulary of 9000 pieces"):
        train_sentencepiece(["hello"], tmp_path / "model", vocab_size=9000)


def test_a_folder_is_loaded_by_its_class(tmp_path):
    loaded = load_tokenizer(make_folder(tmp_path))
    assert isinstance(loaded, SentencePieceTokenizer)
    assert loaded.encode("你好") == TINY.encode("你好")


def test_keys_of_other_programs_are_passed_over(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "SentencePieceTokenizer", "model_max_length": 512}'
    )
    assert load_tokenizer(tmp_path).vocab_size == 448


def test_a_missing_tokenizer_file_is_named(tmp_path):
    (make_folder(tmp_path) / "tokenizer.model").unlink()
    with pytest.raises(ModelBrokenError, match=r"file tokenizer\.model is missing from"):
        load_tokenizer(tmp_path)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(ModelBrokenError, match=r"tokenizer_config\.json cannot be read in"):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(TINY_MODEL.read_bytes()[:3000])
    with pytest.raises(ModelBrokenError, match=r"tokenizer\.model is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"tokenizer_class": 3}', "{}"])
def test_a_damaged_config_is_named(tmp_path, content):
    make_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ModelBrokenError, match=r"tokenizer_config\.json is damaged"):
        load_tokenizer(tmp_path)


def test_an_unknown_class_is_refused_with_the_known_ones(tmp_path):
    make_folder(tmp_path, tokenizer_class="MysteryTokenizer")
    with pytest.raises(UnsupportedModelError, match="'MysteryTokenizer' is not one of Sentence"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_file_outside_the_folder_is_refused(tmp_path):
    make_folder(tmp_path, tokenizer_file="../secret.model")
    with pytest.raises(ModelBrokenError, match="must be a file name in that folder"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_the_line_break_piece_is_refused(tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["hello world"] * 9),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=12,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    write_tokenizer_config(tmp_path, TokenizerConfig(tokenizer_class="SentencePieceTokenizer"))
    with pytest.raises(ModelBrokenError, match="has no piece <n>"):
        load_tokenizer(tmp_path)


def test_what_the_supervisor_needs_imports_no_torch():
    code = (
        "import sys; import bilin_engine.tokenizers.load, bilin_engine.generation.masks, "
        "bilin_engine.chat_format, bilin_engine.library; "
        "sys.exit(bool({'torch', 'numpy', 'safetensors', 'PySide6'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
