"""From a request to candidates, over any Runner: one prefill, then all candidates as one batch."""

import secrets
import time
from collections.abc import Callable, Sequence

import torch

from bilin_engine.errors import BadRequestError, ContextOverflowError
from bilin_engine.generation.beam import BeamSearch, last_tokens
from bilin_engine.generation.draft import Draft, answer_budget
from bilin_engine.generation.request import (
    GeneratedCandidate,
    GenerationRequest,
    GenerationResult,
    PromptLayout,
    check_sampling,
)
from bilin_engine.generation.sampling import (
    LogitRules,
    candidate_generator,
    token_logprobs,
)
from bilin_engine.generation.slot_memory import SlotMemory
from bilin_engine.protocol import FinishReason, GenerationStats
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop

OnToken = Callable[[int, int, float], None]
HasEnded = Callable[[int], bool]

# Forced choices are scored in pieces of this many tokens together: 8,000 rows of GLM-4's 151,552
# logits would take 4.9 GB at once.
SCORED_AT_ONCE = 512


def generate(
    runner: Runner,
    request: GenerationRequest,
    on_token: OnToken,
    should_stop: ShouldStop,
    memory: SlotMemory | None = None,
    has_ended: HasEnded = lambda _candidate: False,
) -> GenerationResult:
    """Runs the request: draws candidates, searches with beams, or scores the forced choices.

    memory: what slot 0 holds from the request before; a causal prompt that begins with it is not
    encoded anew. None = nothing, and nothing is remembered.

    on_token(candidate, token_id, logprob) hears every token but the stop token, as it is chosen;
    with beams only at the end, candidate by candidate, best first; with forced choices never.
    has_ended(candidate): whether the listener has enough of it (a stop text came); it then ends
    with "stop_text", the others go on.
    Log-probs are those of the model's own distribution at temperature 1. Same runner, request and
    seed: same tokens; a candidate's tokens do not depend on how many candidates there are.
    Raises StoppedError when `should_stop` says yes, ContextOverflowError when prompt or choices
    leave no room, BadRequestError for a request that cannot be.
    """
    check_sampling(request.sampling)
    if request.num_candidates < 1:
        raise BadRequestError(f"num_candidates {request.num_candidates}: at least one is needed")
    run = _Run(runner, request, on_token, should_stop, memory or SlotMemory(), has_ended)
    if request.forced_choices:
        candidates = run.score_choices()
    elif request.sampling.num_beams > 1:
        candidates = run.search_beams()
    else:
        candidates = run.draw()
    candidates.sort(key=lambda candidate: -candidate.score)
    return GenerationResult(candidates=tuple(candidates), stats=run.stats(candidates))


def check_choices(runner: Runner, request: GenerationRequest) -> None:
    """Raises BadRequestError for an empty forced choice, ContextOverflowError for too long ones."""
    used = len(request.prompt.token_ids)
    longest = max(len(choice) for choice in request.forced_choices)
    if min(len(choice) for choice in request.forced_choices) < 1:
        raise BadRequestError("a forced choice is empty; each needs at least one token")
    # The last token of a choice is scored, not stored.
    if used + longest - 1 > runner.max_length:
        raise ContextOverflowError(
            f"{used} tokens of prompt and a choice of {longest} do not fit this model's "
            f"{runner.max_length}; shorten the text by {used + longest - 1 - runner.max_length}"
        )


def check_beams(runner: Runner, request: GenerationRequest) -> None:
    """Raises BadRequestError for more beams than slots, or more candidates than beams."""
    num_beams = request.sampling.num_beams
    if num_beams > runner.num_slots:
        raise BadRequestError(
            f"beam search over {num_beams} candidates needs room for as many texts; as this model "
            f"is loaded there is room for {runner.num_slots}: use fewer or sampling, or load it "
            "with a shorter context"
        )
    if 1 < num_beams < request.num_candidates:
        raise BadRequestError(
            f"num_candidates {request.num_candidates} is more than the {num_beams} beams asked for"
        )


class _Run:
    """One request on one runner, with its clock."""

    def __init__(
        self,
        runner: Runner,
        request: GenerationRequest,
        on_token: OnToken,
        should_stop: ShouldStop,
        memory: SlotMemory,
        has_ended: HasEnded,
    ) -> None:
        self._runner = runner
        self._has_ended = has_ended
        self._memory = memory
        self._request = request
        self._prompt = request.prompt
        self._sampling = request.sampling
        self._on_token = on_token
        self._should_stop = should_stop
        seed = request.sampling.seed
        self._seed = secrets.randbits(31) if seed is None else seed
        self._rules = LogitRules(
            request.sampling, request.prompt.token_ids, request.stop_ids, request.banned_ids
        )
        self._started_s = time.perf_counter()
        self._prefilled_s = self._started_s
        self._num_encoded = 0
        self._first_token_s: float | None = None

    def draw(self) -> list[GeneratedCandidate]:
        """num_candidates independent draws, as many at a time as the runner computes texts."""
        budget, reason = answer_budget(self._runner, self._request)
        first = self._prefill()
        drafts = [
            Draft(index, self._request, self._rules, candidate_generator(self._seed, index))
            for index in range(self._request.num_candidates)
        ]
        for start in range(0, len(drafts), self._runner.num_texts):
            group = drafts[start : start + self._runner.num_texts]
            self._memory.keep(len(self._prompt.token_ids))
            self._runner.truncate(0, len(self._prompt.token_ids))
            if len(group) > 1:
                self._runner.copy_slots([0] * (len(group) - 1), list(range(1, len(group))))
            self._draw_group(group, first, budget, reason)
            # The last token of a sequence was chosen, not encoded.
            encoded = self._runner.length(0) - len(self._prompt.token_ids)
            self._memory.hold(self._prompt, group[0].token_ids[:encoded])
        return [draft.candidate(reason) for draft in drafts]

    def search_beams(self) -> list[GeneratedCandidate]:
        """The best num_candidates of a beam search."""
        check_beams(self._runner, self._request)
        budget, reason = answer_budget(self._runner, self._request)
        search = BeamSearch(
            self._sampling,
            len(self._prompt.token_ids),
            self._request.stop_ids,
            self._rules,
            candidate_generator(self._seed, 0),
        )
        logits = self._prefill().unsqueeze(0)
        for step in range(budget):
            parents = search.step(logits)
            if search.is_done or step == budget - 1:
                break
            slots = list(range(len(parents)))
            if parents != slots:
                self._runner.copy_slots(parents, slots)
            logits = self._runner.decode(
                slots,
                last_tokens(search.live),
                [self._prompt.position(step)] * len(slots),
                self._should_stop,
            )
        results = search.results(reason)[: self._request.num_candidates]
        for index, scored in enumerate(results):
            for token, logprob in zip(scored.beam.token_ids, scored.beam.logprobs, strict=True):
                self._tell(index, token, logprob)
        return [
            GeneratedCandidate(
                token_ids=scored.beam.token_ids,
                logprobs=scored.beam.logprobs,
                score=scored.score,
                finish_reason=scored.finish_reason,
            )
            for scored in results
        ]

    def score_choices(self) -> list[GeneratedCandidate]:
        """The log-probs of every forced choice; the prompt is encoded once (glm.md 12.10)."""
        check_choices(self._runner, self._request)
        choices = self._request.forced_choices
        first = token_logprobs(self._prefill())
        candidates = []
        for start in range(0, len(choices), self._runner.num_texts):
            group = choices[start : start + self._runner.num_texts]
            for choice, rest in zip(group, self._continuations(group), strict=True):
                logprobs = [float(first[choice[0]]), *rest]
                candidates.append(
                    GeneratedCandidate(tuple(choice), tuple(logprobs), sum(logprobs), "stop")
                )
        return candidates

    def stats(self, candidates: Sequence[GeneratedCandidate]) -> GenerationStats:
        """What it took. new_tokens counts all candidates' tokens."""
        ended_s = time.perf_counter()
        first_s = self._first_token_s or self._prefilled_s
        return GenerationStats(
            prompt_tokens=len(self._prompt.token_ids),
            new_tokens=sum(len(candidate.token_ids) for candidate in candidates),
            time_to_first_token_s=first_s - self._started_s,
            prefill_s=self._prefilled_s - self._started_s,
            decode_s=ended_s - self._prefilled_s,
            seed=self._seed,
            encoded_tokens=self._num_encoded,
        )

    def _draw_group(
        self, group: list[Draft], first: torch.Tensor, budget: int, reason: FinishReason
    ) -> None:
        """Draws the candidates in slots 0 to len(group) - 1, all holding the prompt."""
        running = list(enumerate(group))
        logits = first.expand(len(group), -1)
        for step in range(budget):
            for (_, draft), row in zip(running, logits, strict=True):
                self._choose(draft, row)
            running = [(slot, draft) for slot, draft in running if draft.finish_reason is None]
            if not running or step == budget - 1:
                break
            logits = self._runner.decode(
                [slot for slot, _ in running],
                [draft.token_ids[-1] for _, draft in running],
                [self._prompt.position(step)] * len(running),
                self._should_stop,
            )
        for _, draft in running:
            draft.finish_reason = reason

    def _choose(self, draft: Draft, logits: torch.Tensor) -> None:
        logprob = draft.choose(logits)
        if logprob is not None:
            self._tell(draft.index, draft.token_ids[-1], logprob)
            if self._has_ended(draft.index):
                draft.finish_reason = "stop_text"

    def _continuations(self, group: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probs of every token but the first of each choice, each choice in its own slot."""
        used = len(self._prompt.token_ids)
        self._runner.truncate(0, used)
        others = [slot for slot, choice in enumerate(group) if slot and len(choice) > 1]
        if others:
            self._runner.copy_slots([0] * len(others), others)
        found: list[list[float]] = [[] for _ in group]
        piece = max(1, SCORED_AT_ONCE // len(group))
        for start in range(0, max(map(len, group)) - 1, piece):
            rows = [
                self._row(slot, choice[:-1][start : start + piece], start)
                for slot, choice in enumerate(group)
                if start < len(choice) - 1
            ]
            for row, logits in zip(
                rows, self._runner.prefill(rows, "all", self._should_stop), strict=True
            ):
                wanted = group[row.slot][start + 1 : start + 1 + len(row.token_ids)]
                found[row.slot] += [
                    float(token_logprobs(one)[token])
                    for one, token in zip(logits, wanted, strict=True)
                ]
        return found

    def _row(self, slot: int, token_ids: Sequence[int], step: int) -> PrefillRow:
        """Tokens of a choice, from its number `step` on, behind what the slot holds."""
        return PrefillRow(
            slot=slot,
            token_ids=token_ids,
            position_ids=[self._prompt.position(step + i) for i in range(len(token_ids))],
            prefix_len=0,
            start=len(self._prompt.token_ids) + step,
        )

    def _prefill(self) -> torch.Tensor:
        """Encodes the prompt's new part into slot 0; the logits [V] of the first new token."""
        prompt: PromptLayout = self._prompt
        start = self._memory.reusable(prompt)
        self._memory.keep(start)
        row = PrefillRow(
            0, prompt.token_ids[start:], prompt.position_ids[start:], prompt.prefix_len, start
        )
        logits = self._runner.prefill([row], "last", self._should_stop)[0][0]
        self._memory.hold(prompt)
        self._num_encoded = len(row.token_ids)
        self._prefilled_s = time.perf_counter()
        return logits

    def _tell(self, candidate: int, token: int, logprob: float) -> None:
        if self._first_token_s is None:
            self._first_token_s = time.perf_counter()
        self._on_token(candidate, token, logprob)
