"""Prompts of causal models: ids in a row, positions that count up, nothing seen from both sides."""

from collections.abc import Sequence

from bilin_engine.generation.request import PromptLayout


def causal_layout(token_ids: Sequence[int]) -> PromptLayout:
    """A prompt for a model without masks; output goes on counting."""
    return PromptLayout(
        token_ids=tuple(token_ids),
        position_ids=tuple(range(len(token_ids))),
        prefix_len=0,
        output_position=None,
        mask_index=None,
    )
