"""What slot 0 holds between two generations, so that a growing chat is not encoded anew.

Only causal prompts can go on from what is there: with a bidirectional prefix every key depends on
the whole of it. Numbers may differ in the last digits from those of a prompt encoded at once, as
they do between batch sizes.
"""

from collections.abc import Sequence
from itertools import takewhile

from bilin_engine.generation.request import PromptLayout


class SlotMemory:
    """The tokens of slot 0, by ids. One per runner; told of everything that is written there."""

    def __init__(self) -> None:
        self._token_ids: list[int] = []

    def reusable(self, prompt: PromptLayout) -> int:
        """Tokens of the prompt that the slot holds already; at least one is left to encode.

        0 for prompts that are not causal or whose positions do not count up from 0.
        """
        count = len(prompt.token_ids)
        is_causal = prompt.prefix_len == 0 and prompt.output_position is None
        if not is_causal or prompt.position_ids != tuple(range(count)):
            return 0
        pairs = zip(self._token_ids, prompt.token_ids, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return min(common, count - 1)

    def keep(self, count: int) -> None:
        """What lies beyond the first `count` tokens is about to be overwritten."""
        del self._token_ids[count:]

    def hold(self, prompt: PromptLayout, generated: Sequence[int] = ()) -> None:
        """The slot holds a prompt, and what was generated after it."""
        is_causal = prompt.prefix_len == 0 and prompt.output_position is None
        self._token_ids = [*prompt.token_ids, *generated] if is_causal else []
