"""Where a document's sentences begin and end. Positions count as in text.document."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from bilin_app.text.document import common_ends

Span = tuple[int, int]

MAX_PARAGRAPH = 4096  # a longer line is looked at in stretches
# A point inside a number or an address ends no sentence; what closes after the end belongs to it.
# Whether one ends is told by what stands in it and the one character behind it.
_PIECE = re.compile(
    r"\n|[^。！？!?；;.\n]*(?:\.(?!\s|$)[^。！？!?；;.\n]*)*[。！？!?；;.]*[”’\"')」』）]*"
)
_WORD = re.compile(r"[^\W_]")
_HIGH = re.compile("[\ud800-\udbff]")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """The sentences with a word in them that `start` to `end` touch, outer white space left out."""
    end = len(text) if end is None else end
    at = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    spans = []
    for piece in _PIECE.findall(text, at, len(text) if last < 0 else last):
        sentence = _sentence(piece)
        low = at + (piece.find(sentence) if sentence else 0)
        if sentence and low < end and low + len(sentence) > start:
            spans.append((low, low + len(sentence)))
        at += len(piece)
    return spans


def _sentence(piece: str) -> str:
    """A piece without its outer white space; "" where there is no word in it."""
    shown = piece.strip()
    return shown if shown and (shown[0].isalnum() or _WORD.search(shown)) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Paragraph:
    """A line with its end, or a stretch of a long line that ends with a sentence.

    Its sentences: where each begins in `text`, and what it is. Equal to itself alone.
    """

    text: str
    starts: tuple[int, ...]
    sentences: tuple[str, ...]


class Paragraphs:
    """The sentences of a text that is being edited: only what has changed is cut anew."""

    def __init__(self) -> None:
        self._text = ""
        self._found: list[tuple[int, Paragraph]] = []
        self.num_cut = 0  # paragraphs, in all

    @property
    def size(self) -> int:
        """Of the text that was looked at last."""
        return len(self._text)

    @property
    def found(self) -> list[tuple[int, Paragraph]]:
        """Of that text, as `of` told."""
        return self._found

    def of(self, text: str) -> list[tuple[int, Paragraph]]:
        """Where each paragraph begins, and its sentences: together those of `sentence_spans`."""
        old = self._text
        if text != old:
            head, tail = common_ends(old, text)
            starts = [at for at, _ in self._found]
            # The last that stays before the change has a character behind it that stays, too.
            num_kept = max(0, bisect_left(starts, head) - 1)
            first = starts[num_kept] if num_kept < len(starts) else 0
            shift = len(text) - len(old)
            behind = bisect_left(starts, len(old) - tail)
            pieces, num_again = self._cut(text, first, [at + shift for at in starts[behind:]])
            self._found = [
                *self._found[:num_kept],
                *_gathered(text, pieces, first),
                *((at + shift, one) for at, one in self._found[behind + num_again :]),
            ]
            self.num_cut += len(self._found) - num_kept - (len(starts) - behind - num_again)
            self._text = text
        return self._found

    def _cut(self, text: str, at: int, ends: list[int]) -> tuple[list[str], int]:
        """Cuts from `at` to the first of the former beginnings `ends` where a piece ends now, too.

        Returns the pieces, and the number of that beginning: len(ends) for the end of the text.
        """
        pieces: list[str] = []
        for number, end in enumerate([*ends, len(text)]):
            pieces += _PIECE.findall(text, at, end)
            while pieces and not pieces[-1]:
                pieces.pop()
            if not pieces or end == len(text):
                return pieces, number
            last = end - len(pieces[-1])
            whole = _PIECE.match(text, last)
            if whole is not None and whole.end() == end:
                return pieces, number
            pieces.pop()
            at = last
        return pieces, len(ends)


def _gathered(text: str, pieces: list[str], at: int) -> Iterator[tuple[int, Paragraph]]:
    """Pieces as paragraphs with their positions, the first at `at`."""
    starts: list[int] = []
    sentences: list[str] = []
    size = 0
    for number, piece in enumerate(pieces, 1):
        sentence = _sentence(piece)
        if sentence:
            starts.append(size + piece.find(sentence))
            sentences.append(sentence)
        size += len(piece)
        if piece == "\n" or size >= MAX_PARAGRAPH or number == len(pieces):
            yield at, Paragraph(text[at : at + size], tuple(starts), tuple(sentences))
            at, size, starts, sentences = at + size, 0, [], []


class UnitMap:
    """Between positions in units and in characters (code points), for one text in units."""

    def __init__(self, units: str) -> None:
        """Costs little where the text has no character beyond U+FFFF."""
        self._pairs = [found.start() for found in _HIGH.finditer(units)]
        self._characters = [pair - number for number, pair in enumerate(self._pairs)]

    def characters(self, position: int) -> int:
        """The number of characters before a position in units."""
        return position - bisect_right(self._pairs, position - 2)

    def spans(self, stretches: list[tuple[int, str]]) -> Iterator[Span]:
        """In characters, for stretches as (start, text) in units."""
        for start, text in stretches:
            end = start + len(text)
            yield (self.characters(start), self.characters(end)) if self._pairs else (start, end)

    def units(self, characters: int) -> int:
        """The position in units behind so many characters."""
        return characters + bisect_left(self._characters, characters)
