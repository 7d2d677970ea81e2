"""What the editor's controller hands to its page: frozen values, no Qt, no database rows.

Positions count as in text.document. Ids of documents are the database's; 0 = not stored yet.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import accumulate
from operator import itemgetter
from typing import Literal, NamedTuple, overload

from bilin_app.text.document import Slice
from bilin_engine.protocol import (
    BlankKind,
    Candidate,
    FillConstraints,
    FillWay,
    ProofreadFigures,
)

BlankState = Literal["open", "waiting", "streaming", "offered"]
SaveState = Literal["saved", "saving", "refused"]

_AROUND = 16  # characters shown on each side of a flagged word


@dataclass(frozen=True, slots=True)
class BlankView:
    """A blank with what is offered for it.

    number: from 1, in the order of the text. original: what it took the place of. text: what is
    shown in its place. chosen: the candidate on show, -1 = none.
    """

    id: int
    number: int
    kind: BlankKind
    original: str = ""
    state: BlankState = "open"
    text: str = ""
    candidates: tuple[Candidate, ...] = ()
    chosen: int = -1
    constraints: FillConstraints = field(default_factory=FillConstraints)


@dataclass(frozen=True, slots=True)
class DocumentView:
    """The document on show. blanks: those for which something is offered or shown."""

    id: int
    title: str
    content: Slice
    blanks: tuple[BlankView, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionView:
    """An earlier state of the document on show. reason: a sentence."""

    id: int
    created_at: float
    reason: str
    num_characters: int


@dataclass(frozen=True, slots=True)
class WindowRuler:
    """What of the text the model would see, for one blank. start, end: positions."""

    blank_id: int
    start: int
    end: int
    num_tokens: int
    document_tokens: int
    context_length: int
    way: FillWay

    @property
    def is_whole(self) -> bool:
        """Whether the model would see all of the text."""
        return self.num_tokens >= self.document_tokens


class WordFlag(NamedTuple):
    """A word that the second reader finds unlikely. A tuple: thousands are made in one refresh.

    text, at: what it stands in, and where there. score: 0 is just what the model expects.
    expected: what it would put there, likeliest first.
    """

    start: int
    end: int
    text: str
    at: int
    score: float = 0.0
    expected: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """As it stands there."""
        return self.text[self.at : self.at + self.end - self.start]

    @property
    def before(self) -> str:
        """The last characters before it in its line."""
        line_start = self.text.rfind("\n", 0, self.at) + 1
        cut = _between_words(self.text, max(line_start, self.at - _AROUND), self.at)
        return self.text[cut : self.at]

    @property
    def after(self) -> str:
        """The next characters behind it in its line."""
        end = self.at + self.end - self.start
        line_end = self.text.find("\n", end)
        line_end = len(self.text) if line_end < 0 else line_end
        return self.text[end : _between_words(self.text, min(line_end, end + _AROUND), end)]

    def moved(self, by: int) -> "WordFlag":
        """The same so many positions further on."""
        return self._make((self.start + by, self.end + by, *self[2:]))


class WordFlags(Sequence[WordFlag]):
    """Flags in the order of the text, kept by stretches: one gets its place when it is asked for.

    A key typed before thousands of them moves none, then.
    """

    def __init__(self, stretches: Sequence[tuple[int, tuple[WordFlag, ...]]] = ()) -> None:
        """stretches: where each begins, and its flags, their positions counted from there."""
        self._stretches = [(at, flags) for at, flags in stretches if flags]
        self._ends = list(accumulate(len(flags) for _, flags in self._stretches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> WordFlag: ...
    @overload
    def __getitem__(self, index: slice) -> list[WordFlag]: ...
    def __getitem__(self, index: int | slice) -> WordFlag | list[WordFlag]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        stretch = bisect_right(self._ends, numbers)
        at, flags = self._stretches[stretch]
        return flags[numbers - self._ends[stretch]].moved(at)

    def __contains__(self, flag: object) -> bool:
        if not isinstance(flag, WordFlag):
            return False
        number = bisect_left(self, flag.start, key=lambda one: one.start)
        return number < len(self) and self[number] == flag

    def least(self, number: int) -> list[WordFlag]:
        """So many with the lowest scores, the lowest first."""
        placed = ((flag.score, at, flag) for at, flags in self._stretches for flag in flags)
        return [flag.moved(at) for _, at, flag in nsmallest(number, placed, key=itemgetter(0))]


@dataclass(frozen=True, slots=True)
class ReaderView:
    """What the second reader does and has found, in the order of the text.

    num_done of num_asked sentences are read in the run under way; of num_sentences in the document
    num_known are. figures: how well the model finds wrong words, None = untested.
    """

    is_reading: bool = False
    num_done: int = 0
    num_asked: int = 0
    num_known: int = 0
    num_sentences: int = 0
    rate_words_s: float = 0.0
    flags: WordFlags = field(default_factory=WordFlags)
    figures: ProofreadFigures | None = None


def _between_words(text: str, cut: int, word: int) -> int:
    """A cut that parts no Latin word, at `cut` or nearer to `word`."""
    step = 1 if cut < word else -1
    while cut != word and text[cut - 1 : cut + 1].isascii() and text[cut - 1 : cut + 1].isalnum():
        cut += step
    return cut


@dataclass(frozen=True, slots=True)
class FillSettings:
    """How fills are drawn. with_beams: by beam search, else by sampling."""

    num_candidates: int = 3
    temperature: float = 0.8
    with_beams: bool = False
