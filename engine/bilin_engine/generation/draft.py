"""One sequence being drawn, token by token. Knows logits and ids; slots are its owner's."""

from dataclasses import dataclass, field

import torch

from bilin_engine.errors import ContextOverflowError
from bilin_engine.generation.request import GeneratedCandidate, GenerationRequest
from bilin_engine.generation.sampling import LogitRules, choose, token_logprobs
from bilin_engine.protocol import FinishReason
from bilin_engine.runners.base import Runner


@dataclass(slots=True)
class Draft:
    """A sequence of `request`. index: which one, for whoever listens. finish_reason: once over."""

    index: int
    request: GenerationRequest
    rules: LogitRules
    generator: torch.Generator
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def choose(self, logits: torch.Tensor) -> float | None:
        """Draws the next token from logits [V]; its log-prob, or None where that was the stop."""
        logprobs = token_logprobs(logits)  # first: it tells a broken model by its sentence
        ruled = self.rules.apply(logits, self.token_ids)
        token = choose(ruled, self.request.sampling, self.generator)
        if token in self.request.stop_ids:
            self.finish_reason = "stop"
            return None
        logprob = float(logprobs[token])
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        return logprob

    def candidate(self, reason: FinishReason) -> GeneratedCandidate:
        """What was drawn. reason: why it is over, if it did not end by itself."""
        return GeneratedCandidate(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            score=sum(self.logprobs),
            finish_reason=self.finish_reason or reason,
        )


def answer_budget(runner: Runner, request: GenerationRequest) -> tuple[int, FinishReason]:
    """How many tokens may be drawn, and why no more. Prompt and output share the context.

    Raises ContextOverflowError for a prompt that leaves no room.
    """
    used, limit = len(request.prompt.token_ids), runner.max_length
    if used >= limit:
        raise ContextOverflowError(
            f"the prompt has {used} tokens and this model holds {limit} with its answer; "
            f"shorten it by at least {used - limit + 1}"
        )
    if request.sampling.max_new_tokens <= limit - used:
        return request.sampling.max_new_tokens, "length"
    return limit - used, "context"
