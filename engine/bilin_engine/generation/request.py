"""What generation is asked and what it answers. Ids only: text is the supervisor's business."""

from dataclasses import dataclass

from bilin_engine.protocol import FinishReason, GenerationStats, Sampling


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
