"""The Runner seam: every placement (one device, tensor parallel, layer split) implements it.

Generation never asks where the weights are; a Runner never asks why a token was chosen. Knows
nothing of text, sampling or the protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

ShouldStop = Callable[[], bool]


class StoppedError(Exception):
    """`should_stop` said yes inside a prefill or decode; the slots involved hold nothing useful."""


@dataclass(frozen=True, slots=True)
class PrefillRow:
    """One prompt for one slot.

    Positions before `prefix_len` see each other (bidirectional); later ones see all before them.
    `start` > 0 appends to what the slot holds (causal models only: then `prefix_len` is 0).
    `outputs`: which of the new tokens give logits in this row; None = as the whole call says.
    """

    slot: int
    token_ids: Sequence[int]
    position_ids: Sequence[int]
    prefix_len: int
    start: int = 0
    outputs: Sequence[int] | None = None


class Runner(ABC):
    """A loaded model. Not thread-safe: one caller at a time.

    Attributes:
        num_slots: sequences held at once, as a beam search needs them.
        num_texts: candidates, choices, batch rows or words computed at once: all slots, or fewer
            where each takes much memory.
        max_length: tokens a slot can hold.
        vocab_size: V, the width of the logits.
        backend: how linears are computed: "cuda", "cpu" or "reference", as chosen.
        num_threads: processor threads used, as chosen.
    """

    num_slots: int
    num_texts: int
    max_length: int
    vocab_size: int
    backend: str
    num_threads: int

    @abstractmethod
    def prefill(
        self,
        rows: Sequence[PrefillRow],
        logits: Literal["last", "all"] | Sequence[int] = "last",
        should_stop: ShouldStop | None = None,
    ) -> list[torch.Tensor]:
        """Encodes each row into its slot; returns float32 CPU logits [P, V] per row.

        `logits`: "last" gives P = 1, "all" P = T, a sequence the rows at those indices of the
        new tokens. `should_stop` is polled between layers; raises StoppedError when it says yes.
        Raises ValueError for a row that does not fit its slot.
        """

    @abstractmethod
    def decode(
        self,
        slots: Sequence[int],
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        should_stop: ShouldStop | None = None,
    ) -> torch.Tensor:
        """One token for each slot, appended; returns float32 CPU logits [B, V]."""

    @abstractmethod
    def copy_slots(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """Slot dst[i] becomes what slot src[i] held before the call (permutations are fine)."""

    @abstractmethod
    def truncate(self, slot: int, length: int) -> None:
        """Forgets the tokens of `slot` from `length` on."""

    @abstractmethod
    def length(self, slot: int) -> int:
        """Tokens the slot holds."""

    @abstractmethod
    def memory_bytes(self) -> dict[str, int]:
        """Real allocation by device name ("cpu", "cuda:0")."""

    def weights_read_bytes(self) -> int:
        """Of the weights, what decoding a token reads on this rank; here all that is held."""
        return sum(self.memory_bytes().values())

    @abstractmethod
    def close(self) -> None:
        """Frees weights and cache; ends worker ranks. Safe to call twice."""
