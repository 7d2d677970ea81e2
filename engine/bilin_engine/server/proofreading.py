"""The second reader: every word of a sentence against what the model expects from both sides.

A word of a script that parts words by spaces is a unit. Chinese is written without them, and there
a unit is every pair of neighbouring characters: of a wrong word of two characters that are masked
one at a time, each is vouched for by the other, and a pair needs no list of words. What is told of
a sentence are its least likely units that do not overlap. Torch is elsewhere.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bilin_engine.errors import BadRequestError
from bilin_engine.generation.fim import FimTokens
from bilin_engine.generation.masks import stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import (
    ExpectedWord,
    FillWay,
    PlacedWord,
    Proofread,
    ProofreadFigures,
    ProofreadResult,
    ReadWord,
    SentenceRead,
    WorkerRead,
    WorkerWord,
)
from bilin_engine.server.model_text import ModelText
from bilin_engine.server.tasks import Task
from bilin_engine.server.worker_pool import WorkerPool

BLANK_CHARACTER = "\ufffc"
CONTEXT_CHARACTERS = 160  # of the paragraph, on each side of a sentence
WORDS_AT_ONCE = 32  # in one request to the workers: a cancel waits for no more
NUM_EXPECTED = 3
SPARE_REACH = 1.5  # of the characters that fill the model's context, as some tokens hold more
EXPECTED_ROOM = 8  # tokens left for a word, and for what the model would write in its place
# Of a model that was not measured: the threshold of a measured one would promise too much.
UNTESTED_THRESHOLD = -6.0

_WORD = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+(?:['’-][^\W_\u3400-\u9fff]+)*")
# A point inside a number or an address ends no sentence; what closes it belongs to it.
_SENTENCE = re.compile(
    r"[^。！？!?；;.\n]*(?:\.(?!\s|$)[^。！？!?；;.\n]*)*[。！？!?；;.]*[”’\"')」』）]*"
)
_CJK = re.compile(r"[\u3400-\u9fff]")

Span = tuple[int, int]
Side = TypeVar("Side", str, list[int])


@dataclass(frozen=True, slots=True)
class _Context:
    """A sentence with what stands around it in its paragraph. start: of `text`, in the document.

    reach: characters around a word that its prompt can hold, all of them where everything fits.
    """

    text: str
    start: int
    reach: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A unit at `span` of the document, ready for the workers."""

    span: Span
    is_chinese: bool
    word: PlacedWord


class Proofreading:
    """Runs one `Proofread`."""

    def __init__(
        self,
        text: ModelText,
        pool: WorkerPool,
        task: Task,
        context_length: int,
        banned_ids: tuple[int, ...],
    ) -> None:
        """Raises BadRequestError for a model that sees one side only."""
        self._text = text
        self._pool = pool
        self._task = task
        self._context_length = context_length
        self._banned_ids = banned_ids
        specials = text.tokenizer.specials
        masks = {"short": specials.mask, "sentence": specials.smask}
        self._mask = next((masks[kind] for kind in masks if kind in text.blank_kinds), None)
        self._sop = specials.sop
        self._fim: FimTokens | None = None
        self.way: FillWay = "mask"
        if self._mask is not None and self._sop is not None:
            end = specials.eos if specials.eop is None else specials.eop
            self._stop_ids = (end, *sorted(stop_ids(specials) - {end}))
            return
        self.way = "fim"
        self._fim = text.fim_tokens
        if self._fim is None:
            raise BadRequestError(
                f'the model "{text.info.id}" sees only what stands before a word; proofreading '
                "needs a model that fills blanks by mask or by fill-in-the-middle tokens"
            )
        self._stop_ids = self._fim.stop_ids

    def run(self, request: Proofread, emit: Callable[[SentenceRead], None]) -> ProofreadResult:
        """Reads the spans in order; `emit` gets each as it is done."""
        started_s = time.monotonic()
        num_words = 0
        for index, span in enumerate(request.spans):
            if not 0 <= span[0] <= span[1] <= len(request.text):
                size = len(request.text)
                raise BadRequestError(f"span {span} does not lie in a text of {size} characters")
            places = list(self._places(request.text, span))
            num_words += len(places)
            words = self._read_sentence(places)
            emit(SentenceRead(id=request.id, index=index, words=words))
        return ProofreadResult(
            num_words=num_words, seconds=time.monotonic() - started_s, way=self.way
        )

    def _read_sentence(self, places: Sequence[_Place]) -> tuple[ReadWord, ...]:
        scores = [_score(word) for word in self._ask(places, 0)]
        kept = _least_likely(places, scores)
        unlikely = [n for n in kept if scores[n] < self._threshold(places[n])]
        expected = dict(
            zip(unlikely, self._ask([places[n] for n in unlikely], NUM_EXPECTED), strict=True)
        )
        return tuple(
            ReadWord(
                start=places[n].span[0],
                end=places[n].span[1],
                score=scores[n],
                is_unlikely=n in expected,
                expected=self._expected_words(expected[n]) if n in expected else (),
            )
            for n in sorted(kept, key=lambda n: places[n].span)
        )

    def _ask(self, places: Sequence[_Place], num_expected: int) -> list[WorkerWord]:
        found: list[WorkerWord] = []
        for start in range(0, len(places), WORDS_AT_ONCE):
            self._task.check()
            request = WorkerRead(
                id=self._pool.next_id(),
                words=tuple(place.word for place in places[start : start + WORDS_AT_ONCE]),
                stop_ids=self._stop_ids,
                banned_ids=self._banned_ids,
                num_expected=num_expected,
            )
            found += self._pool.read(self._task, request).words
        return found

    def _expected_words(self, word: WorkerWord) -> tuple[ExpectedWord, ...]:
        """The alternatives as text, without outer spaces and without one that says nothing."""
        decode = self._text.tokenizer.decode
        found: dict[str, ExpectedWord] = {}
        for expected in word.expected:
            shown = decode(expected.token_ids).strip()
            if shown:
                found.setdefault(shown, ExpectedWord(shown, expected.logprob))
        return tuple(found.values())

    def _threshold(self, place: _Place) -> float:
        figures = self._text.info.proofread
        return threshold(figures, is_chinese=place.is_chinese)

    def _places(self, text: str, span: Span) -> Iterator[_Place]:
        context = self._context(text, span)
        for start, end in units(text[span[0] : span[1]]):
            self._task.check()
            start, end = start + span[0], end + span[0]
            word = self._placed(context, start - context.start, end - context.start)
            if word is not None:
                is_chinese = _CJK.match(text, start) is not None
                yield _Place((start, end), is_chinese, word)

    def _context(self, text: str, span: Span) -> _Context:
        """Encoding a line of a book whole for each of its words would take minutes."""
        shown, start = _around(text, span)
        num_tokens = len(self._ids(shown, starts=True))
        if num_tokens <= self._context_length:
            return _Context(shown, start, len(shown))
        reach = SPARE_REACH * self._context_length * len(shown) / num_tokens
        return _Context(shown, start, int(reach))

    def _placed(self, context: _Context, start: int, end: int) -> PlacedWord | None:
        """The prompt of a place. The space before a word is the word's, as in the vocabulary."""
        tokenizer = self._text.tokenizer
        before, after = context.text[:start], context.text[end:]
        word = context.text[start:end]
        if before.endswith(" "):
            before, word = before[:-1], " " + word
        word_ids = tokenizer.encode_after(word) if before else tokenizer.encode(word)
        overhead = 3 if self._fim is None else self._fim.num_tokens + 1
        room = self._context_length - max(len(word_ids), EXPECTED_ROOM) - overhead
        if room < 0:
            return None  # one endless "word": nothing to say about it
        near, after = _nearest(before, after, context.reach)
        near_ids = self._ids(near, starts=len(near) == len(before))
        left, right = _nearest(near_ids, self._ids(after, starts=False), room)
        layout = self._layout(left, right)
        return PlacedWord(
            token_ids=layout.token_ids,
            position_ids=layout.position_ids,
            prefix_len=layout.prefix_len,
            output_position=layout.output_position,
            mask_index=layout.mask_index,
            word_ids=tuple(word_ids),
        )

    def _ids(self, text: str, *, starts: bool) -> list[int]:
        """Ids of one side; a blank in it is a mask, where there are masks."""
        tokenizer = self._text.tokenizer
        ids: list[int] = []
        for index, part in enumerate(text.split(BLANK_CHARACTER)):
            if index and self._mask is not None and self._fim is None:
                ids.append(self._mask)
            if part:
                is_first = starts and not ids
                ids += tokenizer.encode(part) if is_first else tokenizer.encode_after(part)
        return ids

    def _layout(self, left: Sequence[int], right: Sequence[int]) -> PromptLayout:
        if self._fim is not None:
            token_ids = self._fim.prompt(left, right)
            return PromptLayout(token_ids, tuple(range(len(token_ids))), 0, None, None)
        assert self._mask is not None
        assert self._sop is not None
        end = (self._text.tokenizer.specials.eos,) if right else ()
        prefix = (*left, self._mask, *right, *end)
        return PromptLayout(
            token_ids=(*prefix, self._sop),
            position_ids=(*range(len(prefix)), len(left)),
            prefix_len=len(prefix),
            output_position=len(left),
            mask_index=len(left),
        )


def sentence_spans(text: str) -> tuple[Span, ...]:
    """(start, end) of every sentence of a text that holds a word, outer white space left out."""
    spans = []
    for found in _SENTENCE.finditer(text):
        shown = found[0].strip()
        if _WORD.search(shown):
            start = found.start() + found[0].index(shown)
            spans.append((start, start + len(shown)))
    return tuple(spans)


def units(sentence: str) -> Iterator[Span]:
    """What is masked, one after the other: (start, end) in the sentence, in its order."""
    for found in _WORD.finditer(sentence):
        start, end = found.span()
        if not _CJK.match(found[0]) or end - start < 2:
            yield start, end
            continue
        for at in range(start, end - 1):
            yield at, at + 2


def threshold(figures: ProofreadFigures | None, *, is_chinese: bool) -> float:
    """The score below which a word is unlikely: the model's own, where it was measured."""
    if figures is not None:
        measured = figures.threshold_zh if is_chinese else figures.threshold_en
        if measured < 0.0:
            return measured
    return UNTESTED_THRESHOLD


def _score(word: WorkerWord) -> float:
    """0 for what the model expects: nats a token below the likeliest, the end included."""
    gaps = [own - best for own, best in zip(word.logprobs, word.best, strict=True)]
    return sum(gaps) / len(gaps)


def _least_likely(places: Sequence[_Place], scores: Sequence[float]) -> list[int]:
    """Numbers of the places that stay when the less likely of two that overlap wins."""
    kept: list[int] = []
    taken: set[int] = set()
    for number in sorted(range(len(places)), key=lambda n: scores[n]):
        characters = range(*places[number].span)
        if taken.isdisjoint(characters):
            taken.update(characters)
            kept.append(number)
    return kept


def _around(text: str, span: Span) -> tuple[str, int]:
    """The sentence in the nearest text of its paragraph, cut between words; where that begins."""
    low = max(span[0] - CONTEXT_CHARACTERS, text.rfind("\n", 0, span[0]) + 1)
    end_of_line = text.find("\n", span[1])
    high = min(span[1] + CONTEXT_CHARACTERS, len(text) if end_of_line < 0 else end_of_line)
    high = max(high, span[1])
    while 0 < low < span[0] and text[low - 1].isascii() and text[low - 1].isalnum():
        low += 1
    while span[1] < high < len(text) and text[high].isascii() and text[high].isalnum():
        high -= 1
    before = text[low : span[0]].lstrip(" ")
    return before + text[span[0] : high].rstrip(" "), span[0] - len(before)


def _nearest(left: Side, right: Side, room: int) -> tuple[Side, Side]:
    """The nearest of both sides to the word: half of the room each, and what the other leaves."""
    half = room // 2
    num_left = min(len(left), max(half, room - len(right)))
    num_right = min(len(right), room - num_left)
    return left[len(left) - num_left :], right[:num_right]
