"""How likely words are where they stand, and what the model would put there. Ids only.

Every word comes with the prompt of its place (the text with a blank instead of the word), so both
sides are seen. As many places pass through the model at once as the runner computes texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.request import PromptLayout
from bilin_engine.generation.sampling import token_logprobs
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop

MAX_EXPECTED_TOKENS = 6  # a word that takes more is cut: it is a hint, not a fill


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word (at least one token) and the prompt that a fill of its place would have."""

    prompt: PromptLayout
    word_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectedIds:
    """An alternative without its end; logprob: natural, the sum over its tokens."""

    token_ids: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class WordReading:
    """Log-probs of the word's tokens and of its end, and the likeliest token's at each place."""

    logprobs: tuple[float, ...]
    best: tuple[float, ...]
    expected: tuple[ExpectedIds, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """stop_ids: the first one is what ends a word. num_expected: alternatives for each word."""

    words: tuple[PlacedWord, ...]
    stop_ids: tuple[int, ...]
    banned_ids: frozenset[int] = frozenset()
    num_expected: int = 0


def read_words(
    runner: Runner, request: ReadRequest, should_stop: ShouldStop
) -> tuple[WordReading, ...]:
    """Reads every word, in order. What the runner's slots held is lost.

    Raises StoppedError when `should_stop` says yes, ContextOverflowError for a word that does not
    fit behind its prompt, BadRequestError for one without tokens.
    """
    for word in request.words:
        used = len(word.prompt.token_ids) + len(word.word_ids)
        if not word.word_ids:
            raise BadRequestError("a word to read is empty; each needs at least one token")
        if used > runner.max_length:
            raise ContextOverflowError(
                f"a place of {used} tokens does not fit this model's {runner.max_length}"
            )
    readings: list[WordReading] = []
    for start in range(0, len(request.words), runner.num_texts):
        batch = _Batch(runner, request, request.words[start : start + runner.num_texts])
        readings += batch.read(should_stop)
    return tuple(readings)


class _Batch:
    """As many words as are read at once, each in the slot of its number."""

    def __init__(self, runner: Runner, request: ReadRequest, words: Sequence[PlacedWord]) -> None:
        self._runner = runner
        self._request = request
        self._words = words
        banned = request.banned_ids - set(request.stop_ids)  # else no word ever ends
        self._banned = torch.tensor(sorted(banned), dtype=torch.int64)

    def read(self, should_stop: ShouldStop) -> list[WordReading]:
        rows = [
            PrefillRow(slot, w.prompt.token_ids, w.prompt.position_ids, w.prompt.prefix_len)
            for slot, w in enumerate(self._words)
        ]
        first = [row[0] for row in self._runner.prefill(rows, "last", should_stop)]
        after = self._runner.prefill(
            [
                PrefillRow(
                    slot,
                    w.word_ids,
                    [self._position(slot, step) for step in range(len(w.word_ids))],
                    prefix_len=0,
                    start=len(w.prompt.token_ids),
                )
                for slot, w in enumerate(self._words)
            ],
            "all",
            should_stop,
        )
        alternatives = self._alternatives(first, should_stop)
        found = []
        for slot, word in enumerate(self._words):
            logprobs = token_logprobs(torch.vstack([first[slot].unsqueeze(0), after[slot]]))
            wanted = torch.tensor([*word.word_ids, self._request.stop_ids[0]])
            own = logprobs.gather(1, wanted.unsqueeze(1)).squeeze(1)
            best = logprobs.max(dim=1).values
            found.append(WordReading(tuple(own.tolist()), tuple(best.tolist()), alternatives[slot]))
        return found

    def _alternatives(
        self, first: Sequence[torch.Tensor], should_stop: ShouldStop
    ) -> list[tuple[ExpectedIds, ...]]:
        """Every slot's likeliest first tokens, each gone on from greedily."""
        count = self._request.num_expected
        if not count:
            return [()] * len(self._words)
        stops = set(self._request.stop_ids)
        starts = []
        for row in first:
            logits = row.clone()
            logits[[*self._banned.tolist(), *stops]] = -torch.inf  # an empty word is none
            starts.append(logits.topk(count).indices.tolist())
        found: list[list[ExpectedIds]] = [[] for _ in self._words]
        for number in range(count):
            for slot, word in enumerate(self._words):
                self._runner.truncate(slot, len(word.prompt.token_ids))
            ids = [[row[number]] for row in starts]
            sums = [float(token_logprobs(row)[i[0]]) for row, i in zip(first, ids, strict=True)]
            self._go_on(ids, sums, stops, should_stop)
            for slot, token_ids in enumerate(ids):
                found[slot].append(ExpectedIds(tuple(token_ids), sums[slot]))
        return [tuple(sorted(one, key=lambda e: -e.logprob)) for one in found]

    def _go_on(
        self, ids: list[list[int]], sums: list[float], stops: set[int], should_stop: ShouldStop
    ) -> None:
        """Adds the likeliest tokens to each slot's word until it ends."""
        running = list(range(len(ids)))
        for step in range(MAX_EXPECTED_TOKENS - 1):
            running = [s for s in running if self._runner.length(s) < self._runner.max_length]
            if not running:
                return
            logits = self._runner.decode(
                running,
                [ids[slot][-1] for slot in running],
                [self._position(slot, step) for slot in running],
                should_stop,
            )
            logprobs = token_logprobs(logits)
            logits = logits.index_fill(1, self._banned, -torch.inf)
            going = []
            for row, slot in enumerate(running):
                token = int(logits[row].argmax())
                if token in stops:
                    continue
                ids[slot].append(token)
                sums[slot] += float(logprobs[row, token])
                going.append(slot)
            running = going

    def _position(self, slot: int, step: int) -> int:
        prompt = self._words[slot].prompt
        if prompt.output_position is not None:
            return prompt.output_position
        return prompt.position_ids[-1] + 1 + step
