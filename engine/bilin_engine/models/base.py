"""What a Runner needs of any architecture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from bilin_engine.config import ModelConfig
from bilin_engine.layers.attention import Span
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.linear import Linear

# Called between layers and between blocks of rows; raises to end the pass.
Poll = Callable[[], None]

# Rows that pass through an MLP together: bounds its intermediate values.
MLP_ROWS = 512
# Multiplications between two polls on the processor: half a second on two cores of an AMD EPYC
# (1.4e11 floating point operations a second; engine/README.md), so that a stop is heard in time.
_POLLED_PRODUCTS = 1 << 35
# With fewer rows, a block costs more than its share where torch's kernels serve.
_LEAST_ROWS = 144


def polled_rows(linears: Sequence[Linear], x: torch.Tensor) -> int:
    """Rows of x for `linears` to take between two polls: all of them on a GPU, soon done there."""
    if x.device.type != "cpu":
        return max(1, x.shape[0])
    return max(_LEAST_ROWS, _POLLED_PRODUCTS // sum(linear.num_weights for linear in linears))


def in_blocks(
    product: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, size: int, poll: Poll
) -> torch.Tensor:
    """product(x), `size` rows at a time, polled before each. product: [T, k] -> [T, n], by rows."""
    if x.shape[0] <= size:
        return product(x)
    blocks = []
    for block in x.split(size):
        poll()
        blocks.append(product(block))
    return torch.cat(blocks)


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
