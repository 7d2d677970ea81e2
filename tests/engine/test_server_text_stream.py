import pytest
from hypothesis import given
from hypothesis import strategies as st
from letter_tokenizer import LetterTokenizer

from bilin_engine.server.text_stream import StopTextCutter, TextStream
from bilin_engine.tokenizers.streaming import StreamDecoder

alphabet = st.text("ab答：\n", max_size=12)


@given(st.lists(alphabet, max_size=8), st.lists(st.text("ab答：\n", max_size=4), max_size=3))
def test_text_is_cut_exactly_at_the_first_stop_text(pieces, stop_texts):
    cutter = StopTextCutter(stop_texts)
    shown = "".join(map(cutter.feed, pieces)) + cutter.flush()
    whole = "".join(pieces)
    stops = [stop for stop in stop_texts if stop]
    # The first stop text to be complete wins, as when letters come one by one.
    ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
    if not ends:
        assert shown == whole
        assert not cutter.is_stopped
        return
    assert cutter.is_stopped
    assert whole.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert any(whole[len(shown) :].startswith(stop) for stop in stops)


@given(alphabet, st.lists(st.text("ab答：\n", min_size=1, max_size=4), max_size=3))
def test_only_what_may_begin_a_stop_text_is_held_back(text, stop_texts):
    cutter = StopTextCutter(stop_texts)
    shown = ""
    for fed, letter in enumerate(text, start=1):
        shown += cutter.feed(letter)
        if cutter.is_stopped:
            return
        held = text[len(shown) : fed]
        assert not held or any(stop.startswith(held) and stop != held for stop in stop_texts)


def test_beginning_of_a_stop_text_is_held_back_and_let_go():
    cutter = StopTextCutter(["\n问："])
    assert cutter.feed("好\n") == "好"
    assert cutter.feed("问") == ""
    assert cutter.feed("题") == "\n问题"
    assert cutter.feed("。\n") == "。"
    assert cutter.flush() == "\n"


def test_stream_counts_tokens_also_while_text_is_held_back():
    stream = TextStream(StreamDecoder(LetterTokenizer()), ["END"])
    assert [stream.feed(ord(c)) for c in "aEN"] == ["a", "", ""]
    assert stream.take_num_tokens() == 3
    assert stream.finish() == "EN"
    assert stream.take_num_tokens() == 0
    assert stream.text == "aEN"


@pytest.mark.parametrize("text", ["", "a", "你好🌍", "e\u0301"])
def test_stream_gives_the_decoder_s_text(text):
    stream = TextStream(StreamDecoder(LetterTokenizer()))
    assert "".join(stream.feed(ord(c)) for c in text) + stream.finish() == text == stream.text
