"""What a Runner needs of any architecture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from bilin_engine.config import ModelConfig
from bilin_engine.layers.attention import Span
from bilin_engine.layers.kv_cache import KVCache

# Called between layers and between blocks of rows; raises to end the pass.
Poll = Callable[[], None]


class Model(ABC):
    """One rank's part of a loaded model. Holds weights, not sequences.

    Attributes:
        config: what was loaded.
        has_bidirectional_prefix: whether prompts may have a prefix_len above 0.
    """

    config: ModelConfig
    has_bidirectional_prefix: bool

    @abstractmethod
    def new_cache(self, num_slots: int, max_length: int) -> KVCache:
        """An empty cache for this rank's heads."""

    @abstractmethod
    def forward(
        self,
        token_ids: torch.Tensor,
        position_ids: torch.Tensor,
        spans: Sequence[Span],
        output_rows: torch.Tensor,
        poll: Poll,
    ) -> torch.Tensor:
        """float32 logits [P, V] of the rows `output_rows` [P] of T new tokens.

        token_ids, position_ids: int64 [T], the spans' tokens one after another. Appends keys and
        values to every span's block. `poll` is called between layers.
        """

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Memory held by the weights."""

    @property
    def read_bytes(self) -> int:
        """Of it, what one token reads: all but an embedding that is only looked up in."""
        return self.size_bytes
