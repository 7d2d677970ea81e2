"""Where a document's sentences begin and end. Positions count as in text.document."""

import re

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
