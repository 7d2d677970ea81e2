"""Where a document's sentences begin and end. Positions count as in text.document."""

import re
from dataclasses import dataclass

Span = tuple[int, int]

# A point inside a number or an address ends no sentence; what closes after the end belongs to it.
_SENTENCE = re.compile(
    r"[^。！？!?；;.\n]*(?:\.(?!\s|$)[^。！？!?；;.\n]*)*[。！？!?；;.]*[”’\"')」』）]*"
)
_WORD = re.compile(r"[^\W_]")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """The sentences with a word in them that `start` to `end` touch, outer white space left out."""
    end = len(text) if end is None else end
    spans = []
    for found in _SENTENCE.finditer(text, text.rfind("\n", 0, start) + 1):
        if found.start() >= end:
            break
        shown = found[0].strip()
        low = found.start() + found[0].find(shown)
        if low + len(shown) > start and _WORD.search(shown):
            spans.append((low, low + len(shown)))
    return spans


@dataclass(frozen=True, slots=True, eq=False)
class Paragraph:
    """A line's sentences: where each begins in the line, and its text. Equal to itself alone."""

    line: str
    starts: tuple[int, ...]
    sentences: tuple[str, ...]


class Paragraphs:
    """The sentences of a text that is being edited: only what was not there before is cut anew."""

    def __init__(self) -> None:
        self._by_line: dict[str, Paragraph] = {}
        self.num_cut = 0  # paragraphs, in all

    def of(self, text: str) -> list[tuple[int, Paragraph]]:
        """Where each line begins, and its sentences: together those of `sentence_spans`."""
        by_line: dict[str, Paragraph] = {}
        found: list[tuple[int, Paragraph]] = []
        at = 0
        for line in text.split("\n"):
            paragraph = by_line.get(line) or self._by_line.get(line) or self._cut(line)
            by_line[line] = paragraph
            found.append((at, paragraph))
            at += len(line) + 1
        self._by_line = by_line
        return found

    def _cut(self, line: str) -> Paragraph:
        self.num_cut += 1
        spans = sentence_spans(line)
        return Paragraph(line, tuple(a for a, _ in spans), tuple(line[a:b] for a, b in spans))


class UnitMap:
    """Between positions in units and in characters (code points), for one text in units."""

    def __init__(self, units: str) -> None:
        """Costs nothing where the text has no character beyond U+FFFF."""
        self._pairs = [at for at, c in enumerate(units) if "\ud800" <= c <= "\udbff"]

    def characters(self, position: int) -> int:
        """The number of characters before a position in units."""
        return position - sum(1 for pair in self._pairs if pair + 2 <= position)

    def units(self, characters: int) -> int:
        """The position in units behind so many characters."""
        position = characters
        for pair in self._pairs:
            if pair >= position:
                break
            position += 1
        return position
