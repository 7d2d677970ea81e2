import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.text.attachments import (
    Attachment,
    NotTextError,
    clean_name,
    decode,
    decode_attachments,
    encode_attachments,
    fenced,
    with_attachments,
)


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


@given(st.text(alphabet="`~\n#ab ", max_size=60))
def test_no_attachment_ends_its_own_fence(text):
    lines = fenced(Attachment("a.py", text)).split("\n")
    fence = lines[1].removesuffix("python")
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert lines[-1] == fence
    assert not any(line.lstrip().startswith(fence) for line in lines[2:-1])


def test_the_name_and_the_language_stand_before_the_text():
    shown = with_attachments("What is wrong?", (Attachment("a.py", "x = 1\n"),))
    assert shown == "a.py\n```python\nx = 1\n```\n\nWhat is wrong?"
    assert with_attachments("", (Attachment("b", "y"),)) == "b\n```\ny\n```"
    assert with_attachments("only words", ()) == "only words"


def test_a_name_hides_nothing_and_stays_on_one_line():
    assert clean_name("in\u202efdp.exe\n```") == "in\\u202efdp.exe"
    assert clean_name("../../etc/passwd") == ".. .. etc passwd"
    assert clean_name("\n") == "text"
    long = clean_name("x" * 500 + ".py")
    assert len(long) == 120
    assert long.endswith(".py")


@given(st.lists(st.builds(Attachment, st.text(), st.text(), st.integers(0, 9)), max_size=3))
def test_attachments_come_back_from_their_column(attachments):
    stored = encode_attachments(tuple(attachments))
    assert decode_attachments(stored) == tuple(attachments)


@pytest.mark.parametrize("stored", ["{", "[1]", '[{"name": 1, "text": ""}]', "null"])
def test_a_damaged_column_holds_no_attachments(stored):
    assert decode_attachments(stored) == ()
