import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.text.file_bytes import NotTextError, decode, encode_like


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_text_is_read_in_the_encodings_that_people_have(encoding):
    assert decode("比邻若天涯。\r\nline two\r".encode(encoding)) == "比邻若天涯。\nline two\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"\x7fELF\x02\x01\x01\x00",
        b"\xff\xd8\xff\xe0JFIF",
        bytes(range(1, 256)),
        b"\x01\x02\x03\x04" * 50,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_text_is_refused(content):
    with pytest.raises(NotTextError) as caught:
        decode(content)
    assert caught.value.reason == "binary"


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_words_is_refused(content):
    with pytest.raises(NotTextError) as caught:
        decode(content)
    assert caught.value.reason == "empty"


FORMS = [
    (mark, codec, end)
    for mark, codec in (
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"", "gb18030"),
    )
    for end in ("\n", "\r\n", "\r")
]


@pytest.mark.parametrize(("mark", "codec", "end"), FORMS)
def test_a_text_is_written_as_the_one_before_it(mark, codec, end):
    before = mark + f"比邻若天涯。{end}第二行，".encode(codec)
    after = encode_like(before, "天涯，\n若比邻。\n")
    assert after == mark + f"天涯，{end}若比邻。{end}".encode(codec)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_what_gb18030_would_hide_is_written_in_utf8(text):
    before = "比邻若天涯。".encode("gb18030")
    assert decode(encode_like(before, "a" + text)) == "a" + text
    assert encode_like(before, "日の丸のはた") == "日の丸のはた".encode()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b"one line"])
def test_what_says_nothing_of_its_form_gives_utf8_and_line_feeds(content):
    assert encode_like(content, "一\n二") == "一\n二".encode()


def test_where_lines_end_differently_the_first_one_counts():
    assert encode_like(b"a\r\nb\nc\r", "x\ny") == b"x\r\ny"
