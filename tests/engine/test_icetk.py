"""GLM-130B's own tokenizer: vectors made with the original code and model file."""

import functools
import os
import re
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.errors import ModelBrokenError
from bilin_engine.tokenizers.icetk import IceTokenizer
from bilin_engine.tokenizers.load import TokenizerConfig, load_tokenizer, write_tokenizer_config

ROOT = Path(__file__).parents[2]
NEXT_TO_CHECKOUT = ROOT.parent / "shared" / "data" / "tokenizers" / "ice_text.model"
MODEL = Path(os.environ.get("BILIN_ICETK_MODEL", NEXT_TO_CHECKOUT))
TINY_MODEL = ROOT / "tests" / "data" / "tokenizers" / "tiny.model"


@functools.cache
def loaded() -> IceTokenizer:
    return IceTokenizer(MODEL)


@functools.cache
def oracle() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(MODEL))


@pytest.fixture(scope="module")
def icetk() -> IceTokenizer:
    if not MODEL.is_file():
        pytest.skip("GLM-130B's ice_text.model is not here; name it in BILIN_ICETK_MODEL")
    return loaded()


VECTORS = {
    "Who is the greatest artist? The greatest artist is ": (
        "24767 20107 20100 22768 23471 20031 20123 22768 23471 20107"
    ),
    "The Starry Night is an oil-on-canvas painting by ": (
        "20123 22871 21957 25337 20107 20125 21331 20011 20361 20011 32863 26697 20117"
    ),
    " in June 1889.": "20105 21097 20005 20009 20023 20023 20018 20007",
    "凯旋门位于意大利米兰市古城堡旁。1807年为纪念": (
        "20005 117333 84066 84683 87049 96039 83970 84484 95581 86996 83823 20009 20023 20008 "
        "20025 83830 129177"
    ),
    "而建，门高25米，顶上矗立两武士青铜古兵车铸像。": (
        "20005 116298 20006 84066 83905 20010 20015 84089 20006 111406 120687 84054 109812 103835 "
        "84484 84741 83995 91086 84077 83823"
    ),
    "I have a dream": "20115 20127 20104 24658",
    " and ": "20102",
    "a\tb": "20104 20463",
    "a  b": "20104 20463",
    "x=1;<n>y=2": "20399 20054 20009 20027 20004 20186 20054 20010",
    "x=1;\ny=2": "20399 20054 20009 20027 20548 20054 20010",
    "12345": "20005 20009 20010 20013 20016 20015",
    "": "",
    "Hello World! I am icetk.": "39316 20932 20035 20115 20344 22881 35955 20007",
    "你好世界！这里是 icetk。": "20005 94874 84097 20035 94947 22881 35955 83823",
}


@pytest.mark.parametrize(("text", "ids"), VECTORS.items())
def test_encode_gives_the_reference_ids(icetk, text, ids):
    assert icetk.encode(text) == [int(i) for i in ids.split()]


def test_specials_have_the_reference_ids(icetk):
    specials = icetk.specials
    assert (specials.mask, specials.gmask, specials.smask) == (150000, 150001, 150002)
    assert (specials.sop, specials.eop, specials.eos, specials.pad) == (150004, 150005, 20002, 0)
    assert icetk.token_text(150003) == "eod"
    assert icetk.token_text(150007) == "dBLOCK"
    assert icetk.vocab_size == 150008
    assert icetk.newline_id == 20004


def test_decode_prints_specials_in_brackets_and_line_breaks(icetk):
    assert icetk.decode([150000, 20102, 150000]) == "[[MASK]]and[[MASK]]"
    assert icetk.decode([20399, 20054, 20009, 20027, 20004, 20186, 150004]) == "x=1;\ny[sop]"


@given(st.lists(st.integers(5, 129_999), max_size=12))
def test_decode_agrees_with_sentencepiece(piece_ids):
    if not MODEL.is_file():
        pytest.skip("GLM-130B's ice_text.model is not here; name it in BILIN_ICETK_MODEL")
    ids = [20000 + i for i in piece_ids]
    assert loaded().decode(ids) == oracle().decode(piece_ids)


def test_image_ids_are_shown_by_number(icetk):
    assert icetk.decode([0, 20399]) == "[0]x"
    assert icetk.is_special(19999)


def test_an_unknown_character_is_unk(icetk):
    assert 20000 in icetk.encode("\U0001f9ff")


def test_keep_newlines_gives_the_line_break_id(icetk):
    keeping = IceTokenizer(MODEL, keep_newlines=True)
    assert keeping.encode("x=1;\ny=2") == icetk.encode("x=1;<n>y=2")


def test_encode_after_keeps_line_breaks_and_a_typed_mark(icetk):
    assert icetk.encode_after("a\nb").count(20004) == 1
    for typed in ("<n>", "a<n>b", "＜n＞", "x <n> <n>", "<\x01n>", "<\u200bn>", "<ⁿ>"):
        ids = icetk.encode_after(typed)
        assert 20004 not in ids
        shown = icetk.decode(ids).replace(" ", "")
        assert shown == re.sub("[\x01\u200b ]", "", unicodedata.normalize("NFKC", typed))


def test_typed_specials_stay_text(icetk):
    for typed in ("[MASK]", "[gMASK]", "</s>", "sop", "<pad>"):
        for ids in (icetk.encode(typed), icetk.encode_after(typed)):
            assert not any(icetk.is_special(i) for i in ids)
            assert icetk.decode(ids) == typed


@pytest.mark.usefixtures("icetk")
def test_a_folder_is_loaded_with_its_newline_mode(tmp_path):
    (tmp_path / "ice_text.model").symlink_to(MODEL)
    config = TokenizerConfig(tokenizer_class="IceTokenizer", keep_newlines=True)
    write_tokenizer_config(tmp_path, config)
    assert load_tokenizer(tmp_path).encode("\n") == [20005, 20004]


def test_another_vocabulary_is_refused_by_its_size():
    with pytest.raises(ModelBrokenError, match=r"has 440 pieces; GLM-130B's .* has 130000"):
        IceTokenizer(TINY_MODEL)
