"""Beam search with the reference's scoring (glm.md 4). Knows logits and ids, no runner.

Score of a finished beam: sum of log-probabilities / ((5 + len) / 6) ^ length_penalty, where len
counts the prompt and the stop token. Each step takes (stop tokens + 1) * num_beams continuations
of all live beams together: the most probable ones, or drawn without replacement. Temperature,
top-k, top-p and min-p play no part, as in the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bilin_engine.generation.sampling import LogitRules, token_logprobs
from bilin_engine.protocol import FinishReason, Sampling


@dataclass(frozen=True, slots=True)
class Beam:
    """One hypothesis. token_ids without the stop token; logprobs of the model's own distribution.

    total: sum of log-probabilities after rules, stop token included once finished.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoredBeam:
    """A beam that is over, with its penalised score."""

    beam: Beam
    score: float
    finish_reason: FinishReason


class BeamSearch:
    """The search for one prompt: give it logits, it says which beams to continue with what."""

    def __init__(
        self,
        sampling: Sampling,
        prompt_length: int,
        stop_ids: frozenset[int],
        rules: LogitRules,
        generator: torch.Generator,
    ) -> None:
        self._sampling = sampling
        self._prompt_length = prompt_length
        self._stop_ids = stop_ids
        self._rules = rules
        self._generator = generator
        self.live = [Beam()]
        self.finished: list[ScoredBeam] = []
        self.is_done = False

    def step(self, logits: torch.Tensor) -> list[int]:
        """Extends the live beams by one token each.

        logits: float32 [len(live), V]. Returns, for every beam that is now live, the index of the
        one it continues; its last token is the one to decode next.
        """
        raw = token_logprobs(logits)
        ruled = [self._rules.apply(row, b.token_ids) for row, b in zip(logits, self.live)]  # noqa: B905
        totals = torch.tensor([beam.total for beam in self.live], dtype=torch.float64)
        joint = torch.log_softmax(torch.stack(ruled).double(), dim=-1) + totals.unsqueeze(1)
        live: list[Beam] = []
        parents: list[int] = []
        for flat in self._candidates(joint.flatten()):
            parent, token = divmod(flat, joint.shape[1])
            before = self.live[parent]
            total = float(joint[parent, token])
            if token in self._stop_ids:
                self._finish(Beam(before.token_ids, before.logprobs, total), "stop", stopped=True)
            elif len(live) < self._sampling.num_beams:
                logprob = float(raw[parent, token])
                live.append(Beam((*before.token_ids, token), (*before.logprobs, logprob), total))
                parents.append(parent)
            else:
                break
        self.live = live
        self.is_done = not live or self._nothing_better_can_come()
        return parents

    def results(self, reason: FinishReason) -> list[ScoredBeam]:
        """The best num_beams, best first; beams still live take part and end with `reason`."""
        if not self.is_done:
            for beam in self.live:
                self._finish(beam, reason, stopped=False)
        return self.finished

    def _candidates(self, joint: torch.Tensor) -> list[int]:
        """Flat indices of the continuations to consider, best first."""
        count = (max(1, len(self._stop_ids)) + 1) * self._sampling.num_beams
        count = min(count, int(torch.isfinite(joint).sum()))
        if self._sampling.deterministic_beams:
            return joint.topk(count).indices.tolist()
        # Drawing without replacement = the highest of log-probability + Gumbel noise.
        uniform = torch.rand(joint.shape, dtype=torch.float64, generator=self._generator)
        noise = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
        drawn = (joint + noise).topk(count).indices
        return drawn[joint[drawn].argsort(descending=True, stable=True)].tolist()

    def _finish(self, beam: Beam, reason: FinishReason, *, stopped: bool) -> None:
        length = self._prompt_length + len(beam.token_ids) + (1 if stopped else 0)
        scored = ScoredBeam(beam, beam.total / self._penalty(length), reason)
        place = len(self.finished)
        while place > 0 and scored.score >= self.finished[place - 1].score:
            place -= 1
        self.finished.insert(place, scored)
        del self.finished[self._sampling.num_beams :]

    def _nothing_better_can_come(self) -> bool:
        """Enough are finished, and the worst is at least the best live one's score as it stands."""
        if len(self.finished) < self._sampling.num_beams:
            return False
        length = self._prompt_length + len(self.live[0].token_ids)
        best = max(beam.total for beam in self.live) / self._penalty(length)
        return self.finished[-1].score >= best

    def _penalty(self, length: int) -> float:
        return ((5.0 + length) / 6.0) ** self._sampling.length_penalty


def last_tokens(beams: Sequence[Beam]) -> list[int]:
    """The token to decode next for each beam."""
    return [beam.token_ids[-1] for beam in beams]
