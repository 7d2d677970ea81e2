import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_app.text.attachments import (
    Attachment,
    clean_name,
    decode_attachments,
    encode_attachments,
    fenced,
    with_attachments,
)


@given(st.text(alphabet="`~\n#ab ", max_size=60))
def test_no_attachment_ends_its_own_fence(text):
    lines = fenced(Attachment("a.py", text)).split("\n")
    fence = lines[1].removesuffix("python")
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert lines[-1] == fence
    assert not any(line.lstrip().startswith(fence) for line in lines[2:-1])


def test_the_fence_is_one_longer_than_the_longest_run():
    def fence(text):
        return fenced(Attachment("b", text)).split("\n")[1]

    assert fence("`` ` ``") == "```"
    assert fence("``` ` ```` ``` `````") == "``````"
    assert fence("`" * 5000) == "`" * 5001


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
