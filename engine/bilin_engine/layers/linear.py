"""A linear without its bias, on one device: float32 activations in, float32 out.

What lies between is the backend's business, and the backend is chosen by whoever builds the model,
never here. The bias belongs to the parallel linears: it is added once, after the reduce.
"""

import functools
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.checkpoints import int4

# Where the processor multiplies float32 alone: weights of 16 bits are widened from so many rows on
# (a row costs as much as reading them all before that).
_WIDEN_ROWS = 16
# So many weights at a time: 4 MiB, which stay in the processor's caches until they are multiplied.
_WIDENED = 1 << 20


@functools.cache
def dense_dtype() -> torch.dtype:
    """What the processor multiplies many rows in: bfloat16 where it can, else float32.

    Without AVX512 torch multiplies bfloat16 a hundred times slower than float32.
    """
    is_fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if is_fast else torch.float32


class Linear(ABC):
    """y = x @ weight.T. x: float32 [m, k]. y: float32 [m, n]."""

    n: int
    k: int

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, n]."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Memory held by the weights."""

    @property
    def num_weights(self) -> int:
        """n times k."""
        return self.n * self.k


def dense_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x @ weight.T of one dtype, float32 [m, n].

    Never through 16 bits on a GPU: GLM-4-32B's attention gives values beyond float16's 65504.
    """
    if weight.is_cuda and weight.dtype != torch.float32:
        return torch.mm(x, weight.T, out_dtype=torch.float32)
    return F.linear(x, weight).float()


def widened_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x @ weight.T of 16-bit weights on the processor, multiplied in float32: float32 [m, n].

    A block of weights at a time, in memory that all blocks share.
    """
    n, k = weight.shape
    size = min(n, max(1, _WIDENED // k))
    x = x.float()
    block = x.new_empty(size, k)
    y = x.new_empty(x.shape[0], n)
    for part, out in zip(weight.split(size), y.split(size, dim=1), strict=True):
        torch.mm(x, block[: len(part)].copy_(part).T, out=out)
    return y


class DenseLinear(Linear):
    """Plain weights, multiplied in their own dtype (float32, bfloat16 or float16)."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.n, self.k = weight.shape
        self.weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rounds to the weights' dtype and back."""
        weight = self.weight
        x = x.to(weight.dtype)
        if x.shape[0] >= _WIDEN_ROWS and self._is_slow():
            return widened_product(x, weight)
        return dense_product(x, weight)

    def _is_slow(self) -> bool:
        of_16_bits = self.weight.element_size() == 2 and self.weight.device.type == "cpu"
        return of_16_bits and dense_dtype() == torch.float32

    @property
    def size_bytes(self) -> int:
        """Memory held by the weights."""
        return self.weight.numel() * self.weight.element_size()


class ReferenceLinear(Linear):
    """The specification: INT4 or INT8 weights, dequantized at every call, multiplied in float32."""

    def __init__(self, packed: torch.Tensor, scales: torch.Tensor, k: int, bits: int) -> None:
        """packed: int32 [n, k * bits / 32] as on disk. scales: [n, groups]."""
        self.n, self.k = packed.shape[0], k
        self._packed = packed
        self._scales = scales
        self._bits = bits

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Exact up to float32 rounding."""
        codes = int4.unpack(self._packed, self.k, self._bits)
        weight = int4.dequantize(int4.QuantizedWeight(codes, self._scales, self._bits))
        return F.linear(x, weight)

    @property
    def size_bytes(self) -> int:
        """Memory held by the weights."""
        return sum(t.numel() * t.element_size() for t in (self._packed, self._scales))
