import pytest

from bilin_app.text.thinking import Parted, part_thought


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", Parted("", "plain")),
        ("<think>\na\n</think>\n\nb", Parted("a", "b")),
        ("\n<think>a</think>b<think>c</think>", Parted("a", "b<think>c</think>")),
        ("<think>cut off", Parted("cut off", "")),
        ("say <think>a</think>", Parted("", "say <think>a</think>")),
        ("<thi", Parted("", "<thi")),
        ("<think></think>b", Parted("", "b")),
    ],
)
def test_a_whole_text(text, expected):
    assert part_thought(text, is_complete=True) == expected


def test_a_growing_text_never_shows_a_mark_and_its_answer_only_grows():
    text = "<think>\nfirst <b> then\n</think>\n\nThe answer < 3."
    answer = ""
    for length in range(len(text) + 1):
        parted = part_thought(text[:length], is_complete=False)
        assert "think" not in parted.thought + parted.answer
        assert parted.answer.startswith(answer)
        answer = parted.answer
    assert answer == "The answer < 3."
