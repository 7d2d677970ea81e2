"""Many independent requests through the slots of one Runner, decoded together.

A step of several rows reads the weights once for all of them, which is what a step costs. A row
joins as soon as a slot is free, so short answers do not wait for long ones. Every row has its own
sampling, seed and stops, and draws the tokens that `generate` would draw for it alone; log-probs
may differ in the last digits, as they do between batch sizes.

What fits no row of a batch (beams, several candidates, long choices of one long prompt) is run by
`generate`, one request after the other.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from bilin_engine.errors import BilinError
from bilin_engine.generation.draft import Draft, answer_budget
from bilin_engine.generation.generate import (
    HasEnded,
    OnToken,
    check_beams,
    check_choices,
    generate,
)
from bilin_engine.generation.request import (
    GeneratedCandidate,
    GenerationRequest,
    GenerationResult,
    check_sampling,
)
from bilin_engine.generation.sampling import LogitRules, candidate_generator, token_logprobs
from bilin_engine.protocol import FinishReason, GenerationStats
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop

# Prompts are scored together up to this many tokens: beyond it the arithmetic is the cost, not the
# weights, and memory grows with every row.
MAX_PASS_TOKENS = 512
# Choices of one prompt are rows of their own, each with the whole prompt, up to this many tokens;
# above it one prefill and a row of each choice's own tokens cost less.
MAX_REPEATED_TOKENS = 256

Item = TypeVar("Item")


def generate_batch(
    runner: Runner,
    requests: Sequence[GenerationRequest],
    on_token: OnToken,
    should_stop: ShouldStop,
    has_ended: HasEnded = lambda _row: False,
) -> list[GenerationResult]:
    """Runs all requests; results in their order, each as `generate` would give it.

    on_token(row, token_id, logprob) hears the tokens of rows that are drawn together, by index in
    `requests`. has_ended(row): whether the listener has enough of a row (a stop text came); it
    then ends with "stop_text". Uses every slot of the runner: nothing that was there is kept.

    Raises as `generate`, before anything is computed where a request cannot be; the message names
    the request by its number.
    """
    for index, request in enumerate(requests):
        with _naming(index, len(requests)):
            check_sampling(request.sampling)
            if request.forced_choices:
                check_choices(runner, request)
            else:
                check_beams(runner, request)
                answer_budget(runner, request)
    results: dict[int, GenerationResult] = {}
    drawn = [i for i, request in enumerate(requests) if _is_row(request)]
    scored = [i for i, request in enumerate(requests) if _is_scored_at_once(request)]
    if drawn:
        batch = _Batch(runner, on_token, should_stop, has_ended)
        results.update(batch.run([(i, requests[i]) for i in drawn]))
    if scored:
        found = _score(runner, [requests[i] for i in scored], should_stop)
        results.update(zip(scored, found, strict=True))
    for index, request in enumerate(requests):
        if index not in results:
            with _naming(index, len(requests)):
                results[index] = generate(runner, request, lambda *_: None, should_stop)
    return [results[index] for index in range(len(requests))]


def _is_row(request: GenerationRequest) -> bool:
    return (
        not request.forced_choices
        and request.num_candidates == 1
        and request.sampling.num_beams == 1
    )


def _is_scored_at_once(request: GenerationRequest) -> bool:
    """Whether the choices are scored as rows that each hold the whole prompt."""
    long = sum(len(choice) > 1 for choice in request.forced_choices)
    if not request.forced_choices:
        return False
    return long <= 1 or long * len(request.prompt.token_ids) <= MAX_REPEATED_TOKENS


class _naming:  # noqa: N801 - reads as what it does
    """Puts the number of a request before what is wrong with it, where there are several."""

    def __init__(self, index: int, count: int) -> None:
        self._prefix = f"request {index + 1} of {count}: " if count > 1 else ""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, BilinError) and not error.message.startswith(self._prefix):
            raise type(error)(self._prefix + error.message, detail=error.detail) from error


# --- Drawing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Row:
    """A request in a slot, or on its way into one."""

    draft: Draft
    seed: int
    budget: int
    reason: FinishReason
    slot: int = -1
    prefilled_s: float = 0.0
    ended_s: float = 0.0

    @property
    def num_prompt(self) -> int:
        return len(self.draft.request.prompt.token_ids)

    @property
    def is_over(self) -> bool:
        return self.draft.finish_reason is not None


@dataclass(slots=True)
class _Batch:
    """Rows in slots until all have ended."""

    runner: Runner
    on_token: OnToken
    should_stop: ShouldStop
    has_ended: HasEnded
    running: list[_Row] = field(default_factory=list)

    def run(self, requests: Iterable[tuple[int, GenerationRequest]]) -> dict[int, GenerationResult]:
        """Results by the requests' numbers."""
        started_s = time.perf_counter()
        rows = [self._row(index, request) for index, request in requests]
        waiting = deque(rows)
        while waiting or self.running:
            self._admit(waiting)
            if self.running:
                self._step()
        return {row.draft.index: _result(row, started_s) for row in rows}

    def _row(self, index: int, request: GenerationRequest) -> _Row:
        sampling, prompt = request.sampling, request.prompt
        seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        rules = LogitRules(sampling, prompt.token_ids, request.stop_ids, request.banned_ids)
        draft = Draft(index, request, rules, candidate_generator(seed, 0))
        return _Row(draft, seed, *answer_budget(self.runner, request))

    def _admit(self, waiting: deque[_Row]) -> None:
        """Encodes waiting prompts into free slots; a row may be over with its first token.

        Each in a pass of its own: INT4 on the processor computes many rows in another way than few,
        and a row's tokens must not depend on who came with it.
        """
        while waiting and len(self.running) < self.runner.num_texts:
            row = waiting.popleft()
            taken = {other.slot for other in self.running}
            row.slot = next(s for s in range(self.runner.num_texts) if s not in taken)
            logits = self.runner.prefill([_prefill_row(row)], "last", self.should_stop)
            row.prefilled_s = time.perf_counter()
            self._choose(row, logits[0][0])
            if not row.is_over:
                self.running.append(row)

    def _step(self) -> None:
        rows = self.running
        logits = self.runner.decode(
            [row.slot for row in rows],
            [row.draft.token_ids[-1] for row in rows],
            [row.draft.request.prompt.position(len(row.draft.token_ids) - 1) for row in rows],
            self.should_stop,
        )
        for row, found in zip(rows, logits, strict=True):
            self._choose(row, found)
        self.running = [row for row in rows if not row.is_over]

    def _choose(self, row: _Row, logits: torch.Tensor) -> None:
        draft = row.draft
        logprob = draft.choose(logits)
        if logprob is not None:
            self.on_token(draft.index, draft.token_ids[-1], logprob)
            if self.has_ended(draft.index):
                draft.finish_reason = "stop_text"
            elif len(draft.token_ids) == row.budget:
                draft.finish_reason = row.reason
        row.ended_s = time.perf_counter()


def _prefill_row(row: _Row) -> PrefillRow:
    prompt = row.draft.request.prompt
    return PrefillRow(row.slot, prompt.token_ids, prompt.position_ids, prompt.prefix_len)


def _result(row: _Row, started_s: float) -> GenerationResult:
    candidate = row.draft.candidate(row.reason)
    stats = GenerationStats(
        prompt_tokens=row.num_prompt,
        new_tokens=len(candidate.token_ids),
        time_to_first_token_s=row.prefilled_s - started_s,
        prefill_s=row.prefilled_s - started_s,
        decode_s=row.ended_s - row.prefilled_s,
        seed=row.seed,
        encoded_tokens=row.num_prompt,
    )
    return GenerationResult((candidate,), stats)


# --- Scoring --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scored:
    """One row: a prompt, all but the last token of `choice`, and the logits that judge it.

    first: choices of one token, which the same row judges.
    """

    request: int
    choice: tuple[int, ...]
    first: tuple[tuple[int, ...], ...]
    num_tokens: int


def _score(
    runner: Runner, requests: Sequence[GenerationRequest], should_stop: ShouldStop
) -> Iterator[GenerationResult]:
    """Log-probs of all choices, in passes of as many rows as the runner computes texts."""
    found: list[dict[tuple[int, ...], tuple[float, ...]]] = [{} for _ in requests]
    seconds = [0.0] * len(requests)
    waiting = deque(row for i, request in enumerate(requests) for row in _scored_rows(i, request))
    while waiting:
        begun_s = time.perf_counter()
        rows = _pass(waiting, runner.num_texts, lambda row: row.num_tokens)
        logits = runner.prefill(
            [_scoring_row(slot, row, requests[row.request]) for slot, row in enumerate(rows)],
            "last",
            should_stop,
        )
        for row, out in zip(rows, logits, strict=True):
            logprobs = token_logprobs(out)
            found[row.request].update({one: (float(logprobs[0, one[0]]),) for one in row.first})
            if row.choice:
                picked = logprobs.gather(1, torch.tensor(row.choice).unsqueeze(1)).squeeze(1)
                found[row.request][row.choice] = tuple(picked.tolist())
            seconds[row.request] += (time.perf_counter() - begun_s) / len(rows)
    for request, logprobs, took_s in zip(requests, found, seconds, strict=True):
        yield _scored_result(request, logprobs, took_s)


def _scored_rows(index: int, request: GenerationRequest) -> list[_Scored]:
    used = len(request.prompt.token_ids)
    short = tuple(choice for choice in request.forced_choices if len(choice) == 1)
    long = [choice for choice in request.forced_choices if len(choice) > 1]
    rows = [_Scored(index, choice, (), used + len(choice) - 1) for choice in long]
    if not rows:
        return [_Scored(index, (), short, used)]
    return [_Scored(index, long[0], short, rows[0].num_tokens), *rows[1:]]


def _scoring_row(slot: int, row: _Scored, request: GenerationRequest) -> PrefillRow:
    prompt, given = request.prompt, row.choice[:-1]
    last = len(prompt.token_ids) - 1
    return PrefillRow(
        slot=slot,
        token_ids=(*prompt.token_ids, *given),
        position_ids=(*prompt.position_ids, *(prompt.position(i) for i in range(len(given)))),
        prefix_len=prompt.prefix_len,
        outputs=tuple(range(last, last + len(given) + 1)),
    )


def _scored_result(
    request: GenerationRequest, logprobs: dict[tuple[int, ...], tuple[float, ...]], took_s: float
) -> GenerationResult:
    candidates = [
        GeneratedCandidate(tuple(choice), logprobs[choice], sum(logprobs[choice]), "stop")
        for choice in request.forced_choices
    ]
    candidates.sort(key=lambda candidate: -candidate.score)
    stats = GenerationStats(
        prompt_tokens=len(request.prompt.token_ids),
        new_tokens=sum(map(len, request.forced_choices)),
        time_to_first_token_s=took_s,
        prefill_s=took_s,
        decode_s=0.0,
        seed=request.sampling.seed or 0,
        encoded_tokens=len(request.prompt.token_ids),
    )
    return GenerationResult(tuple(candidates), stats)


def _pass(waiting: deque[Item], most: int, num_tokens: Callable[[Item], int]) -> list[Item]:
    """Takes the next items that one pass should encode: at least one, at most `most`."""
    taken = [waiting.popleft()]
    total = num_tokens(taken[0])
    while waiting and len(taken) < most:
        total += num_tokens(waiting[0])
        if total > MAX_PASS_TOKENS:
            break
        taken.append(waiting.popleft())
    return taken
