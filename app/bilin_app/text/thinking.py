"""Parts what a reasoning model thinks, `<think>…</think>` at the start, from what it answers."""

from dataclasses import dataclass

_OPEN, _CLOSE = "<think>", "</think>"
THOUGHT_BEGIN, THOUGHT_END = f"{_OPEN}\n", f"\n{_CLOSE}\n\n"


@dataclass(frozen=True, slots=True)
class Parted:
    """thought: "" where there is none. is_thinking: the closing mark has not come yet."""

    thought: str
    answer: str
    is_thinking: bool = False


def part_thought(text: str, *, is_complete: bool) -> Parted:
    """Parts a text. While it still grows, the beginning of a mark is held back."""
    begun = text.lstrip()
    if not begun.startswith(_OPEN):
        may_open = not is_complete and begun and _OPEN.startswith(begun)
        return Parted("", "" if may_open else text)
    thought, mark, answer = begun[len(_OPEN) :].partition(_CLOSE)
    if mark:
        return Parted(thought.strip(), answer.lstrip())
    if not is_complete:
        for length in range(min(len(_CLOSE) - 1, len(thought)), 0, -1):
            if thought.endswith(_CLOSE[:length]):
                thought = thought[:-length]
                break
    return Parted(thought.strip(), "", is_thinking=not is_complete)
