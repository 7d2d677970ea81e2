"""INT4 and INT8 weights for the processor's own kernels (bilin_kernels.cpu_ops).

One kernel for any number of rows, so a row's values do not depend on its neighbours. Where there
is no library (`cpu_ops.is_available`), torch's kernels serve: torch_cpu_linear.py.
"""

import torch

from bilin_engine.checkpoints import int4
from bilin_engine.config import QuantizationScheme
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
    blocks = rows.split(_QUANTIZE_ROWS)
    grouped = (block.float().unflatten(1, (-1, HEAD_GROUP)) for block in blocks)
    scales = torch.cat([values.abs().amax(dim=2) / 127 for values in grouped])
    half = torch.finfo(torch.float16)
    fits = (scales == 0) | ((scales >= half.smallest_normal) & (scales <= half.max))
    dtype = torch.float16 if fits.all() else torch.float32
    scheme = QuantizationScheme(8, HEAD_GROUP)
    parts = [int4.quantize(block.float(), scheme, "the head", dtype) for block in blocks]
    return cpu_ops.prepack_int8(
        torch.cat([part.codes for part in parts]), torch.cat([part.scales for part in parts])
    )


def quantized_head_bytes(shape: torch.Size) -> int:
    """What `quantized_head` holds of so many rows and columns, with float16 scales."""
    rows = -(-shape[0] // cpu_ops.BLOCK_ROWS) * cpu_ops.BLOCK_ROWS
    return rows * shape[1] + 2 * rows * (shape[1] // HEAD_GROUP)
