"""A document with blanks: text, blanks with ids, and who wrote what. No Qt; one thread.

Positions count UTF-16 units, as the window's text fields do: inside a `Document` a character
beyond U+FFFF is written as its two surrogates (`to_units`), and `from_units` joins them again on
the way out. A blank takes one position. Every change is an `Edit`, which knows its inverse.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bilin_engine.protocol import BlankKind, BlankSegment, Segment, TextSegment

BLANK_MARK = "\ufffc"
MASK_TEXTS: dict[BlankKind, str] = {"short": "[MASK]", "long": "[gMASK]", "sentence": "[sMASK]"}

Origin = Literal["mine", "model", "edited"]

_KIND_OF_TEXT: dict[str, BlankKind] = {text: kind for kind, text in MASK_TEXTS.items()}
_MASK_TEXT = re.compile(r"(\[[sg]?MASK\])")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SENTENCE_END = "。！？!?；;\n"
_NO_SPACE_AFTER = "([{\"'“‘"
_NO_SPACE_BEFORE = ")]}\"'.,;:!?%”’"


@dataclass(frozen=True, slots=True)
class Blank:
    """A place to be filled. original: the text it took the place of, not in units."""

    id: int
    kind: BlankKind
    original: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of a document. blanks: by offset, in order. origins: run lengths, in order."""

    text: str = ""
    blanks: tuple[tuple[int, Blank], ...] = ()
    origins: tuple[tuple[int, Origin], ...] = ()

    def __add__(self, other: "Slice") -> "Slice":
        shift = len(self.text)
        return Slice(
            self.text + other.text,
            (*self.blanks, *((offset + shift, blank) for offset, blank in other.blanks)),
            _merged((*self.origins, *other.origins)),
        )

    @property
    def plain_text(self) -> str:
        """The text as a file holds it: blanks as their literal tokens."""
        parts, at = [], 0
        for offset, blank in self.blanks:
            parts += [self.text[at:offset], MASK_TEXTS[blank.kind]]
            at = offset + 1
        return from_units("".join([*parts, self.text[at:]]))

    def segments(self) -> tuple[Segment, ...]:
        """What a request to the engine holds."""
        found: list[Segment] = []
        at = 0
        for offset, blank in self.blanks:
            if at < offset:
                found.append(TextSegment(from_units(self.text[at:offset])))
            found.append(BlankSegment(blank.kind))
            at = offset + 1
        if at < len(self.text):
            found.append(TextSegment(from_units(self.text[at:])))
        return tuple(found)

    def runs(self) -> Iterator[tuple[int, int, Origin]]:
        """(start, end, origin) for every run."""
        at = 0
        for length, origin in self.origins:
            yield at, at + length, origin
            at += length

    def pieces(self) -> Iterator[tuple[int, int, Origin, Blank | None]]:
        """(start, end, origin, blank) for every blank and for all text of one origin in between."""
        blanks = iter(self.blanks)
        end_of_text = (len(self.text), None)
        offset, blank = next(blanks, end_of_text)
        for start, end, origin in self.runs():
            while start < end:
                if start == offset:
                    yield start, start + 1, origin, blank
                    start += 1
                    offset, blank = next(blanks, end_of_text)
                else:
                    stop = min(end, offset)
                    yield start, stop, origin, None
                    start = stop


@dataclass(frozen=True, slots=True)
class Edit:
    """`removed`, which stands at `start`, makes room for `inserted`."""

    start: int
    removed: Slice
    inserted: Slice

    @property
    def inverse(self) -> "Edit":
        """The edit that takes this one back."""
        return Edit(self.start, self.inserted, self.removed)

    def moved(self, position: int) -> int:
        """Where a position of the text before it is in the text after it."""
        grown = len(self.inserted.text) - len(self.removed.text)
        return position if position <= self.start else max(self.start, position + grown)


class Document:
    """The text of record. Changed by `apply` alone."""

    def __init__(self, content: Slice = Slice()) -> None:
        self.text = content.text
        self._places = [offset for offset, _ in content.blanks]
        self._blanks = [blank for _, blank in content.blanks]
        self._indices = _indices(self._blanks)
        self._origins: list[tuple[int, Origin]] = list(content.origins)
        self._last_id = max((blank.id for blank in self._blanks), default=0)

    def __len__(self) -> int:
        return len(self.text)

    @property
    def blanks(self) -> list[tuple[int, Blank]]:
        """(position, blank), in the order of the text."""
        return list(zip(self._places, self._blanks, strict=True))

    @property
    def content(self) -> Slice:
        """All of it, frozen."""
        return Slice(self.text, tuple(self.blanks), tuple(self._origins))

    @property
    def plain_text(self) -> str:
        """As a file holds it."""
        return self.content.plain_text

    def new_id(self) -> int:
        """An id that no blank of this document has or had."""
        self._last_id += 1
        return self._last_id

    def place(self, blank_id: int) -> tuple[int, Blank] | None:
        """Where a blank stands, and the blank; None if it is gone."""
        index = self.index(blank_id)
        return (self._places[index], self._blanks[index]) if index >= 0 else None

    def index(self, blank_id: int) -> int:
        """A blank's number in the order of the text, from 0; -1 if it is gone."""
        return self._indices.get(blank_id, -1)

    def slice(self, start: int, end: int) -> Slice:
        """The stretch from `start` to `end`."""
        first, last = bisect_left(self._places, start), bisect_left(self._places, end)
        blanks = tuple((self._places[i] - start, self._blanks[i]) for i in range(first, last))
        return Slice(self.text[start:end], blanks, self._origins_between(start, end))

    def apply(self, edit: Edit) -> None:
        """Makes an edit. Raises ValueError if what it removes does not stand there."""
        start, end = edit.start, edit.start + len(edit.removed.text)
        if self.text[start:end] != edit.removed.text:
            raise ValueError(
                f"the edit at {start} removes {edit.removed.text[:40]!r}, but there stands "
                f"{self.text[start:end][:40]!r}"
            )
        inserted = edit.inserted
        before = self._origins_between(0, start)
        after = self._origins_between(end, len(self.text))
        self._origins = list(_merged((*before, *inserted.origins, *after)))
        self.text = self.text[:start] + inserted.text + self.text[end:]
        first, last = bisect_left(self._places, start), bisect_left(self._places, end)
        grown = len(inserted.text) - (end - start)
        self._places[first:] = [
            *(start + offset for offset, _ in inserted.blanks),
            *(place + grown for place in self._places[last:]),
        ]
        self._blanks[first:last] = [blank for _, blank in inserted.blanks]
        self._indices = _indices(self._blanks)
        self._last_id = max([self._last_id, *(blank.id for _, blank in inserted.blanks)])

    def origin_at(self, position: int) -> tuple[int, int, Origin] | None:
        """The run (start, end, origin) that holds the character at `position`."""
        at = 0
        for length, origin in self._origins:
            if at <= position < at + length:
                return at, at + length, origin
            at += length
        return None

    def _origins_between(self, start: int, end: int) -> tuple[tuple[int, Origin], ...]:
        found: list[tuple[int, Origin]] = []
        at = 0
        for length, origin in self._origins:
            cut = min(end, at + length) - max(start, at)
            if cut > 0:
                found.append((cut, origin))
            at += length
            if at >= end:
                break
        return tuple(found)


# --- Making slices and edits ----------------------------------------------------------------------


def plain_slice(text: str, origin: Origin = "mine") -> Slice:
    """Text without blanks, of one origin, cleaned of what no document may hold."""
    units = to_units(clean(text))
    return Slice(units, (), ((len(units), origin),) if units else ())


def blank_slice(blank: Blank) -> Slice:
    """One blank."""
    return Slice(BLANK_MARK, ((0, blank),), ((1, "mine"),))


def parse_slice(text: str, document: Document, origin: Origin = "mine") -> Slice:
    """Text in which mask tokens stand for blanks; their ids are new to `document`."""
    found = Slice()
    for part in _MASK_TEXT.split(text):
        if part in _KIND_OF_TEXT:
            found += blank_slice(Blank(document.new_id(), _KIND_OF_TEXT[part]))
        elif part:
            found += plain_slice(part, origin)
    return found


def replacement(document: Document, start: int, end: int, inserted: Slice) -> Edit:
    """A person's own change. What it leaves of the model's sentences counts as edited.

    Text put inside the model's counts as edited too; at its edge it stays what it is.
    """
    left, right = document.origin_at(start - 1), document.origin_at(end)
    low, high = start, end
    if left is not None and left[2] != "mine" and start < left[1]:
        low = _sentence_start(document.text, left[0], start)
    if right is not None and right[2] != "mine" and right[0] < end:
        high = _sentence_end(document.text, end, right[1])
    if low < start and end < high:
        inserted = _edited(inserted)
    head, tail = _edited(document.slice(low, start)), _edited(document.slice(end, high))
    return Edit(low, document.slice(low, high), head + inserted + tail)


def fitted(text: str, before: str, after: str) -> str:
    """A fill's text as it stands between its neighbours (one character each, or "").

    The model's words carry no outer spaces: these come from the text. Between two Latin words one
    is put where the text has none.
    """
    text = text.strip(" ")
    if not text:
        return text
    if before and _needs_space(before, text[0]):
        text = " " + text
    if after and _needs_space(text[-1], after):
        text += " "
    return text


def word_end(text: str) -> int:
    """Where the first word of `text` ends: a Latin word with its space, or a Chinese character's.

    Leading spaces and following closing punctuation belong to it. len(text) for the last word.
    """
    at = 0
    while at < len(text) and text[at].isspace():
        at += 1
    if at < len(text) and not _is_wordy(text[at]):
        at += 2 if "\ud800" <= text[at] <= "\udbff" else 1
    while at < len(text) and _is_wordy(text[at]):
        at += 1
    while at < len(text) and text[at] in "，。！？；：、,.!?;:)]}”’\"'":
        at += 1
    return at


def clean(text: str) -> str:
    """Line ends as line feeds; what stands for objects and paragraphs in text fields taken out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\u2029", "\n").replace("\u2028", "\n")
    return (
        text.replace(BLANK_MARK, "").replace("\0", "").replace("\ufdd0", "").replace("\ufdd1", "")
    )


def to_units(text: str) -> str:
    """Characters beyond U+FFFF as two surrogates each."""
    if text.isascii() or max(text, default="") <= "\uffff":
        return text
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(data[i] | data[i + 1] << 8) for i in range(0, len(data), 2))


def from_units(text: str) -> str:
    """The inverse of `to_units`; half a pair becomes U+FFFD."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def count_units(text: str, num_characters: int) -> int:
    """How many units the first `num_characters` characters of `text` (in units) take."""
    return len(from_units(text)[:num_characters].encode("utf-16-le")) // 2


def common_ends(old: str, new: str) -> tuple[int, int]:
    """Lengths of the common beginning and end, which neither overlap nor part a surrogate pair."""
    most = min(len(old), len(new))
    head = _longest(most, lambda low, high: old[low:high] == new[low:high])
    if head and "\ud800" <= old[head - 1] <= "\udbff":
        head -= 1
    a, b = len(old), len(new)
    tail = _longest(
        most - head, lambda low, high: old[a - high : a - low] == new[b - high : b - low]
    )
    if tail and "\udc00" <= old[len(old) - tail] <= "\udfff":
        tail -= 1
    return head, tail


def ends_at_caret(old: str, new: str, caret: int) -> tuple[int, int]:
    """As `common_ends`, where `new` has something more, or less, right before the caret.

    Of a text that begins as what stands behind it does, the caret alone tells where it was put.
    """
    tail = len(new) - caret
    head = min(caret, len(old) - tail)
    is_there = head >= 0 and tail >= 0 and old[:head] == new[:head]
    if is_there and old[len(old) - tail :] == new[caret:]:
        return head, tail
    return common_ends(old, new)


def _longest(most: int, are_equal: Callable[[int, int], bool]) -> int:
    """The largest size up to `most` for which all is equal below it. are_equal: from, to."""
    size = 0
    while size < most:
        middle = (size + most + 1) // 2
        if are_equal(size, middle):
            size = middle
        else:
            most = middle - 1
    return size


def without_blank_ids(content: Slice, document: Document) -> Slice:
    """A copy whose blanks are new to `document`: what is pasted or restored elsewhere."""
    blanks = tuple(
        (offset, replace(blank, id=document.new_id())) for offset, blank in content.blanks
    )
    return replace(content, blanks=blanks)


def with_marks(text: str, mark: str) -> str:
    """A text for people: `mark` where it has the token of a blank."""
    return _MASK_TEXT.sub(lambda _: mark, text)


def count_characters(text: str) -> int:
    """Characters as a person counts them (字): no white space, no combining marks, no blanks."""
    return sum(
        count
        for c, count in Counter(from_units(text)).items()  # a book's at every revision
        if not c.isspace() and not unicodedata.combining(c) and c != BLANK_MARK
    )


def _indices(blanks: Iterable[Blank]) -> dict[int, int]:
    return {blank.id: index for index, blank in enumerate(blanks)}


def _merged(runs: Iterable[tuple[int, Origin]]) -> tuple[tuple[int, Origin], ...]:
    merged: list[tuple[int, Origin]] = []
    for length, origin in runs:
        if merged and merged[-1][1] == origin:
            merged[-1] = (merged[-1][0] + length, origin)
        elif length:
            merged.append((length, origin))
    return tuple(merged)


def _edited(content: Slice) -> Slice:
    """The same, its text counted as edited. A blank is nobody's text: it stays a person's own."""
    runs: list[tuple[int, Origin]] = []
    at = 0
    for offset, _ in content.blanks:
        runs.append((offset - at, "edited"))
        runs.append((1, "mine"))
        at = offset + 1
    runs.append((len(content.text) - at, "edited"))
    return replace(content, origins=_merged(runs))


def _sentence_start(text: str, low: int, at: int) -> int:
    while at > low and text[at - 1] not in _SENTENCE_END:
        at -= 1
    return at


def _sentence_end(text: str, at: int, high: int) -> int:
    while at < high and text[at - 1] not in _SENTENCE_END:
        at += 1
    return at


def _is_wordy(character: str) -> bool:
    """Whether a word goes on with it: a letter or digit of a script that parts words by spaces."""
    return character.isalnum() and not _is_cjk(character)


def _is_cjk(character: str) -> bool:
    return (
        "\u3040" <= character <= "\u30ff"
        or "\u3400" <= character <= "\ud7af"
        or ("\ud800" <= character <= "\udfff")
        or "\uf900" <= character <= "\ufaff"
        or character > "\uffff"
    )


def _needs_space(before: str, after: str) -> bool:
    if before.isspace() or after.isspace() or BLANK_MARK in (before, after):
        return False
    if before in _NO_SPACE_AFTER or after in _NO_SPACE_BEFORE:
        return False
    return before.isascii() and after.isascii()
