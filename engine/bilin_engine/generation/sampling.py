"""How the next token is chosen from logits. Knows numbers and ids, neither runners nor text.

Order: repetition penalty, bans (ids, stop tokens before `min_new_tokens`, repeated n-grams), then
temperature, top-k, top-p, min-p, draw. Log-probabilities that are reported are those of the
model's own distribution at temperature 1, before any of this.
"""

from collections.abc import Sequence

import torch

from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.protocol import Sampling

# Sorting a whole vocabulary of 150,000 takes milliseconds; top-p rarely needs more than this many.
_TOP_P_FIRST_TRY = 1024


def token_logprobs(logits: torch.Tensor) -> torch.Tensor:
    """float32 log-probabilities of raw logits [..., V].

    Raises ModelBrokenError if a logit is NaN or infinite: nothing sensible can follow.
    """
    if not torch.isfinite(logits).all():
        raise ModelBrokenError(
            "the model's logits are not finite: its weights are damaged or of the wrong kind; "
            "verify the model's files"
        )
    return torch.log_softmax(logits.float(), dim=-1)


class LogitRules:
    """Penalty and bans of one request; the same for sampling and for beams."""

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: Sequence[int],
        stop_ids: frozenset[int],
        banned_ids: frozenset[int],
    ) -> None:
        self._sampling = sampling
        self._prompt_ids = list(prompt_ids)
        self._stop_ids = sorted(stop_ids)
        # What a fill ends with may be no text, and so be banned from every other request.
        self._banned_ids = sorted(banned_ids - stop_ids)

    def apply(self, logits: torch.Tensor, generated: Sequence[int]) -> torch.Tensor:
        """New logits [V] for the token after `generated`; banned ids are -inf.

        The penalty divides positive and multiplies negative logits of every id in the prompt or
        the output (Keskar et al. 2019). N-grams count as repeated if they ended in the output;
        they may begin in the prompt, as in the reference. Raises BadRequestError if no id is left.
        """
        logits = logits.clone()
        penalty = self._sampling.repetition_penalty
        if penalty != 1.0:
            seen = torch.tensor(sorted({*self._prompt_ids, *generated}))
            values = logits[seen]
            logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
        banned = list(self._banned_ids)
        if len(generated) < self._sampling.min_new_tokens:
            banned.extend(self._stop_ids)
        banned.extend(self._repeating(generated))
        banned = [token for token in banned if token < logits.shape[0]]
        if banned:
            logits[torch.tensor(banned)] = -torch.inf
            if torch.isneginf(logits).all():
                raise BadRequestError(
                    "no token is left to choose: the bans of this request cover them all"
                )
        return logits

    def _repeating(self, generated: Sequence[int]) -> list[int]:
        """Ids that would complete an n-gram which the output already completed once."""
        n = self._sampling.no_repeat_ngram_size
        if n == 0 or not generated:
            return []
        tokens = [*self._prompt_ids, *generated]
        first = len(self._prompt_ids)
        last = tokens[len(tokens) - (n - 1) :]
        return [
            tokens[end]
            for end in range(max(first, n - 1), len(tokens))
            if tokens[end - (n - 1) : end] == last
        ]


def choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One id drawn from logits [V] that rules were applied to; temperature 0 takes the highest."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = logits.double() / sampling.temperature
    ids, probs = _kept(torch.softmax(scaled, dim=-1), sampling)
    # One uniform number per token, whatever is kept: the same seed stays in step.
    point = torch.rand(1, dtype=torch.float64, generator=generator)
    edges = probs.cumsum(0)
    index = int(torch.searchsorted(edges, point * edges[-1], right=True))
    return int(ids[min(index, ids.shape[0] - 1)])


def candidate_generator(seed: int, candidate: int) -> torch.Generator:
    """The random numbers of one candidate; they do not depend on how many there are."""
    # Odd multiplier: distinct candidates get distinct seeds; 0 keeps the seed as given.
    return torch.Generator().manual_seed((seed + candidate * 0x9E3779B97F4A7C15) % (1 << 63))


def _kept(probs: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and probabilities that survive top-k, top-p and min-p, most probable first if cut.

    top-p keeps the first id that crosses p; min-p compares with the most probable id.
    """
    vocab_size = probs.shape[0]
    is_cut = 0 < sampling.top_k < vocab_size
    uses_top_p = 0 < sampling.top_p < 1
    if not is_cut and not uses_top_p and sampling.min_p == 0:
        return torch.arange(vocab_size), probs
    count = sampling.top_k if is_cut else vocab_size
    tried = min(count, _TOP_P_FIRST_TRY)
    values, ids = probs.topk(tried)
    # Of what top-k keeps, top-p takes the share p; without top-k the total is 1.
    total = values.sum() if is_cut and tried == count else None
    enough = uses_top_p and not is_cut and bool(values.sum() >= sampling.top_p)
    if tried < count and not enough:
        values, ids = probs.topk(count)
        total = values.sum() if is_cut else None
    if uses_top_p:
        share = sampling.top_p * (total if total is not None else 1.0)
        before = values.cumsum(0) - values
        values, ids = values[before < share], ids[before < share]
    if sampling.min_p > 0:
        keep = values >= sampling.min_p * values[0]
        values, ids = values[keep], ids[keep]
    keep = values > 0
    return ids[keep], values[keep]
