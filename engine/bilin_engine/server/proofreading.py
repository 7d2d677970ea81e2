"""The second reader: every word of a sentence against what the model expects from both sides.

A word of a script that parts words by spaces is a unit. Chinese is written without them, and there
a unit is every pair of neighbouring characters: of a wrong word of two characters that are masked
one at a time, each is vouched for by the other, and a pair needs no list of words. What is told of
a sentence are its least likely units that do not overlap. Torch is elsewhere.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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
BROKEN_CHARACTER = "\ufffd"  # what a decoder writes for bytes that are no UTF-8
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
            context = self._context(request.text, span)
            found = units(request.text[span[0] : span[1]])
            spans = ((start + span[0], end + span[0]) for start, end in found)
            scores = {at: _score(word) for at, word in self._ask(context, spans, 0)}
            num_words += len(scores)
            words = self._least_likely_words(context, scores)
            emit(SentenceRead(id=request.id, index=index, words=words))
        return ProofreadResult(
            num_words=num_words, seconds=time.monotonic() - started_s, way=self.way
        )

    def _least_likely_words(
        self, context: _Context, scores: Mapping[Span, float]
    ) -> tuple[ReadWord, ...]:
        """What is told of a sentence: the unlikely ones with what the model expects."""
        kept = _least_likely(scores)
        unlikely = [span for span in kept if scores[span] < self._threshold(context, span)]
        expected = dict(self._ask(context, unlikely, NUM_EXPECTED))
        return tuple(
            ReadWord(
                start=span[0],
                end=span[1],
                score=scores[span],
                is_unlikely=span in expected,
                expected=self._expected_words(expected[span]) if span in expected else (),
            )
            for span in sorted(kept)
        )

    def _ask(
        self, context: _Context, spans: Iterable[Span], num_expected: int
    ) -> Iterator[tuple[Span, WorkerWord]]:
        """What the workers say of units; one that has no prompt is left out.

        Prompts are laid out by the batch: a text without marks is one sentence of all its units,
        and the prompt of each is as long as the context.
        """
        placed = self._lay_out(context, spans)
        while batch := tuple(islice(placed, WORDS_AT_ONCE)):
            request = WorkerRead(
                id=self._pool.next_id(),
                words=tuple(word for _, word in batch),
                stop_ids=self._stop_ids,
                banned_ids=self._banned_ids,
                num_expected=num_expected,
            )
            read = self._pool.read(self._task, request).words
            yield from zip((span for span, _ in batch), read, strict=True)

    def _lay_out(
        self, context: _Context, spans: Iterable[Span]
    ) -> Iterator[tuple[Span, PlacedWord]]:
        for span in spans:
            self._task.check()
            word = self._placed(context, span[0] - context.start, span[1] - context.start)
            if word is not None:
                yield span, word

    def _expected_words(self, word: WorkerWord) -> tuple[ExpectedWord, ...]:
        """The alternatives as text, without outer spaces and without one that says nothing.

        They are cut after some tokens, perhaps within a character: what it had begun is left out.
        """
        found: dict[str, ExpectedWord] = {}
        for expected in word.expected:
            decoder = self._text.decoder()
            shown = "".join(map(decoder.feed, expected.token_ids)).strip()
            if shown and BROKEN_CHARACTER not in shown:
                found.setdefault(shown, ExpectedWord(shown, expected.logprob))
        return tuple(found.values())

    def _threshold(self, context: _Context, span: Span) -> float:
        is_chinese = _CJK.match(context.text, span[0] - context.start) is not None
        return threshold(self._text.info.proofread, is_chinese=is_chinese)

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


def _least_likely(scores: Mapping[Span, float]) -> list[Span]:
    """The units that stay when the less likely of two that overlap wins."""
    kept: list[Span] = []
    taken: set[int] = set()
    for span in sorted(scores, key=scores.__getitem__):
        characters = range(*span)
        if taken.isdisjoint(characters):
            taken.update(characters)
            kept.append(span)
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
