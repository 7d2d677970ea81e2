"""What generation is asked and what it answers. Ids only: text is the supervisor's business."""

from dataclasses import dataclass

from bilin_engine.errors import BadRequestError
from bilin_engine.protocol import FinishReason, GenerationStats, Sampling


def check_sampling(sampling: Sampling) -> None:
    """Raises BadRequestError naming the first value that cannot be, and what would be right."""
    most = (1 << 31) - 1
    rules = (
        ("temperature", sampling.temperature, 0.0, 100.0, "from 0 (greedy) to 100"),
        ("top_k", sampling.top_k, 0, most, f"from 0 (off) to {most}"),
        ("top_p", sampling.top_p, 0.0, 1.0, "from 0 to 1 (both: off)"),
        ("min_p", sampling.min_p, 0.0, 1.0, "from 0 (off) to 1"),
        ("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0, "from 0.01 to 100"),
        ("no_repeat_ngram_size", sampling.no_repeat_ngram_size, 0, most, f"from 0 (off) to {most}"),
        ("min_new_tokens", sampling.min_new_tokens, 0, most, f"from 0 to {most}"),
        ("max_new_tokens", sampling.max_new_tokens, 1, most, f"from 1 to {most}"),
        ("num_beams", sampling.num_beams, 1, 1 << 16, f"from 1 (off) to {1 << 16}"),
        ("length_penalty", sampling.length_penalty, -100.0, 100.0, "from -100 to 100"),
    )
    for name, value, low, high, needed in rules:
        if not low <= value <= high:
            raise BadRequestError(f"{name} {value} is not possible; it must be {needed}")
    if sampling.min_new_tokens > sampling.max_new_tokens:
        raise BadRequestError(
            f"min_new_tokens {sampling.min_new_tokens} is more than "
            f"max_new_tokens {sampling.max_new_tokens}"
        )
    if sampling.seed is not None and not 0 <= sampling.seed < 1 << 63:
        raise BadRequestError(
            f"seed {sampling.seed} is not possible; it must be from 0 to 2^63 - 1"
        )


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """A prompt as ids, laid out for one blank (glm.md 3.4-3.6).

    token_ids: the whole prompt, trailing `sop` included where the model has one.
    position_ids: one per token.
    prefix_len: positions before it see each other; 0 for causal models.
    output_position: position of every generated token ([MASK], [sMASK]); None = keep counting up.
    mask_index: index in token_ids of the mask being filled; None for causal models.
    """

    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    prefix_len: int
    output_position: int | None
    mask_index: int | None

    def position(self, step: int) -> int:
        """Position id of the new token number `step`, 0-based."""
        if self.output_position is not None:
            return self.output_position
        return self.position_ids[-1] + 1 + step


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """`num_candidates` sequences from one prompt. `stop_ids` end a sequence and are not part of it.

    forced_choices: candidate texts as ids to score instead of generating (choices), or empty.
    """

    prompt: PromptLayout
    sampling: Sampling
    stop_ids: frozenset[int]
    banned_ids: frozenset[int] = frozenset()
    num_candidates: int = 1
    forced_choices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class GeneratedCandidate:
    """token_ids without the stop token; logprobs natural log, one per token (stop excluded)."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """Candidates best first (by score: sum of log-probs, or the beam score)."""

    candidates: tuple[GeneratedCandidate, ...]
    stats: GenerationStats
