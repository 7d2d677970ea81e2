"""Tells a model's reasoning, which it puts between <think> and </think>, from its answer.

Knows text only. Reasoning stands at the beginning of an answer or nowhere; a tag later on is text.
"""

from typing import Literal

from bilin_engine.chat_format.thought import CLOSE_TAG, OPEN_TAG
from bilin_engine.protocol import TextPart


class ThinkingSplitter:
    """Text in, marked pieces out, tags and the blank lines around them left out.

    What may be the beginning of a tag is held back until that is settled.
    """

    def __init__(self, *, is_open: bool) -> None:
        """is_open: the prompt has opened the reasoning, so that no tag will come for it."""
        self._state: Literal["start", "thinking", "answer"] = "thinking" if is_open else "start"
        self._held = ""
        self._strips = is_open  # white space after a tag
        self._texts: dict[TextPart, str] = {"thinking": "", "answer": ""}

    @property
    def answer(self) -> str:
        """All of the answer so far."""
        return self._texts["answer"]

    @property
    def thinking(self) -> str:
        """All of the reasoning so far."""
        return self._texts["thinking"]

    def feed(self, text: str) -> list[tuple[TextPart, str]]:
        """What can be shown of `text` and of what was held back, in order."""
        self._held += text
        pieces: list[tuple[TextPart, str]] = []
        if self._state == "start":
            begun = self._held.lstrip()
            if OPEN_TAG.startswith(begun) and begun != OPEN_TAG:
                return []  # still undecided
            if begun.startswith(OPEN_TAG):
                self._enter("thinking", begun.removeprefix(OPEN_TAG))
            else:
                self._state = "answer"
        if self._state == "thinking":
            thought, tag, rest = self._held.partition(CLOSE_TAG)
            if tag:
                self._add(pieces, "thinking", thought.rstrip())
                self._enter("answer", rest)
            else:
                kept = _undecided(self._held)
                thought, self._held = (
                    self._held[: -kept or None],
                    self._held[len(self._held) - kept :],
                )
                self._add(pieces, "thinking", thought)
        if self._state == "answer":
            self._add(pieces, "answer", self._held)
            self._held = ""
        return pieces

    def flush(self) -> list[tuple[TextPart, str]]:
        """What was held back and turned out to be no tag."""
        pieces: list[tuple[TextPart, str]] = []
        part: TextPart = "thinking" if self._state == "thinking" else "answer"
        held = self._held.rstrip() if part == "thinking" else self._held
        self._add(pieces, part, held)
        self._held = ""
        return pieces

    def _enter(self, state: Literal["thinking", "answer"], rest: str) -> None:
        self._state, self._held, self._strips = state, rest, True

    def _add(self, pieces: list[tuple[TextPart, str]], part: TextPart, text: str) -> None:
        if self._strips:
            text = text.lstrip()
        if text:
            self._strips = False
            self._texts[part] += text
            pieces.append((part, text))


def _undecided(text: str) -> int:
    """Characters at the end that may begin the closing tag, and the white space before them."""
    for size in range(min(len(CLOSE_TAG) - 1, len(text)), -1, -1):
        if CLOSE_TAG.startswith(text[len(text) - size :]):
            before = text[: len(text) - size]
            return size + len(before) - len(before.rstrip())
    return 0
