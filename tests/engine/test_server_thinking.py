import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.server.thinking import ThinkingSplitter

BITS = st.sampled_from(["<think>", "</think>", "<", "think", "</", ">", " ", "\n\n", "a", "好"])


def split(text: str, *, is_open: bool = False, size: int = 1) -> tuple[str, str]:
    """(thinking, answer) of a text that comes in pieces."""
    splitter = ThinkingSplitter(is_open=is_open)
    pieces = [
        piece
        for start in range(0, len(text), size)
        for piece in splitter.feed(text[start : start + size])
    ]
    pieces += splitter.flush()
    for part, told in (("thinking", splitter.thinking), ("answer", splitter.answer)):
        assert "".join(text for name, text in pieces if name == part) == told
    return splitter.thinking, splitter.answer


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("hello", "", "hello"),
        ("<think>\nhm, 好\n</think>\n\nYes.", "hm, 好", "Yes."),
        ("\n <think>a</think>b", "a", "b"),
        ("<think></think>\n\nb", "", "b"),
        ("<thin air", "", "<thin air"),
        ("say <think>x</think>", "", "say <think>x</think>"),
        ("<think>a < b </ c\n</thinks></think>d", "a < b </ c\n</thinks>", "d"),
        ("<think>never closed", "never closed", ""),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("  indented", "", "  indented"),
        ("", "", ""),
    ],
)
def test_reasoning_and_answer_are_told_apart(text, thinking, answer, size):
    assert split(text, size=size) == (thinking, answer)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_prompt_may_have_opened_the_reasoning(size):
    assert split("\nhm\n</think>\nYes.", is_open=True, size=size) == ("hm", "Yes.")


@given(st.lists(BITS).map("".join), st.booleans(), st.integers(1, 9))
def test_pieces_do_not_matter_and_nothing_is_lost(text, is_open, size):
    whole = split(text, is_open=is_open, size=max(1, len(text)))
    assert split(text, is_open=is_open, size=size) == whole
    shown = "".join("".join(whole).split())
    left = "".join(text.split())
    for tag in ("<think>", "</think>"):
        if left != shown:
            left = left.replace(tag, "", 1)
    assert len(shown) >= len(left)
