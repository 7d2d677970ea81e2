"""INT4 and INT8 weights for the processor's own kernels (bilin_kernels.cpu_ops).

One kernel for any number of rows, so a row's values do not depend on its neighbours. Where there
is no library (`cpu_ops.is_available`), torch's kernels serve: torch_cpu_linear.py.
"""

import torch

from bilin_engine.checkpoints import int4
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.linear import Linear
from bilin_kernels import cpu_ops
from bilin_kernels.cpu_ops import CpuWeight

# Of a head kept in INT8: as GGUF's Q8_0, which so stays what it was.
HEAD_GROUP = 32
_QUANTIZE_ROWS = 4096


class CpuLinear(Linear):
    """y = x @ dequant(weight).T, x rounded to 16-bit whole numbers by chunks; x, y float32."""

    def __init__(
        self, packed: torch.Tensor, scales: torch.Tensor, k: int, bits: int, name: str
    ) -> None:
        """packed: int32 [n, k * bits / 32] as on disk. scales: [n, groups].

        Raises UnsupportedModelError for a shape that the kernels do not take.
        """
        self.n, self.k = packed.shape[0], k
        try:
            if bits == 8:
                self.weight = cpu_ops.prepack_int8(int4.unpack(packed, k, bits), scales)
            else:
                self.weight = cpu_ops.prepack_int4(packed, scales)
        except ValueError as error:
            raise UnsupportedModelError(f"{name}: backend cpu: {error}") from error

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, n]."""
        return cpu_ops.linear(x.contiguous(), self.weight)

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return self.weight.size_bytes


def quantized_head(rows: torch.Tensor) -> CpuWeight:
    """The rows [V, h] of an embedding or head in INT8, a block of them at a time.

    Scales are float16, or float32 where one is too small for that (rows that were hardly trained).
    """
    groups = rows.shape[1] // HEAD_GROUP
    scales = torch.cat([_grouped(part).abs().amax(dim=2) / 127 for part in _blocks(rows)])
    half = torch.finfo(torch.float16)
    if ((scales == 0) | ((scales >= half.smallest_normal) & (scales <= half.max))).all():
        scales = scales.half()
    codes = torch.empty(rows.shape, dtype=torch.int8)
    for part, scale, out in zip(_blocks(rows), _blocks(scales), _blocks(codes), strict=True):
        # A group of zeros has scale 0; any divisor gives its codes.
        divisor = scale.float().clamp_min(torch.finfo(torch.float32).tiny)
        steps = _grouped(part) / divisor.view(-1, groups, 1)
        out.copy_(steps.round_().clamp_(-127, 127).flatten(1))
    return cpu_ops.prepack_int8(codes, scales)


def quantized_head_bytes(shape: torch.Size) -> int:
    """What `quantized_head` holds of so many rows and columns, with float16 scales."""
    rows = -(-shape[0] // cpu_ops.BLOCK_ROWS) * cpu_ops.BLOCK_ROWS
    return rows * shape[1] + 2 * rows * (shape[1] // HEAD_GROUP)


def _blocks(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return rows.split(_QUANTIZE_ROWS)


def _grouped(rows: torch.Tensor) -> torch.Tensor:
    return rows.float().unflatten(1, (-1, HEAD_GROUP))
