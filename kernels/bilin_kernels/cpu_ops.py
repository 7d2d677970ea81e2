"""INT4 and INT8 linears on the processor: what csrc/cpu/linear.h computes.

    weight = prepack_int4(weight_packed, scales)         # as in a model folder
    y = linear(x, weight)                             # float32 (m, k) -> (m, n), any m

Activations are rounded to 16-bit whole numbers, a chunk of 32 to 256 columns with one scale; the
products are exact. Reference: reference.linear over reference.dequantize, which rounds nothing.
Everything needs cpu_library.load, which raises CpuLibraryError where there is no library.
"""

import ctypes
import dataclasses
import functools
import logging
from dataclasses import dataclass

import torch

from bilin_kernels import cpu_library, packing, reference
from bilin_kernels.checks import require_tensor

logger = logging.getLogger(__name__)

BLOCK_ROWS = 16
MAX_CHUNK = 256
_CPU = torch.device("cpu")
_SCALES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class LinearStructure(ctypes.Structure):
    """struct linear of csrc/cpu/linear.h."""

    _fields_ = [
        ("codes", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("scale_columns", ctypes.c_int64),
        ("chunk", ctypes.c_int64),
        ("bits", ctypes.c_int64),
        ("scale_kind", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class CpuWeight:
    """A matrix in the order of csrc/cpu/linear.h. n: outputs; the codes have them to full blocks.

    codes: uint8. scales: (blocks, groups, 16). bias: float32 to full blocks, or None.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    n: int
    k: int
    bits: int

    @property
    def padded_n(self) -> int:
        """Outputs to full blocks."""
        return self.scales.shape[0] * BLOCK_ROWS

    @functools.cached_property
    def chunk(self) -> int:
        """Columns of x that are rounded together."""
        group = self.k // self.scales.shape[1]
        return max(c for c in range(8, MAX_CHUNK + 1, 8) if group % c == 0)

    @functools.cached_property
    def structure(self) -> LinearStructure:
        """As the library takes it; holds addresses of this weight's tensors, not the tensors."""
        return LinearStructure(
            self.codes.data_ptr(),
            self.scales.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            self.padded_n,
            self.k,
            self.k // self.scales.shape[1],
            self.chunk,
            self.bits,
            _SCALES[self.scales.dtype],
        )

    def with_bias(self, bias: torch.Tensor | None) -> "CpuWeight":
        """The same weight with another bias (n,)."""
        if bias is not None:
            missing = self.padded_n - self.n
            bias = torch.nn.functional.pad(bias.float(), (0, missing)).contiguous()
        return dataclasses.replace(self, bias=bias)

    @property
    def size_bytes(self) -> int:
        """Memory held by codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """float32 (m, k): some rows, dequantized. INT8 only; indices: int64 (m,)."""
        if self.bits != 8:
            raise ValueError(f"rows of a matrix of {self.bits} bits; only INT8 gives them")
        block, row = indices // BLOCK_ROWS, indices % BLOCK_ROWS
        codes = self.codes.view(torch.int8).view(-1, self.k // 8, 4, BLOCK_ROWS, 2)
        values = codes[block, :, :, row].transpose(2, 3).reshape(len(indices), self.k)
        scales = self.scales[block, :, row].float()
        return (values.view(*scales.shape, -1) * scales.unsqueeze(2)).view(len(indices), self.k)


def prepack_int4(
    weight_packed: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None
) -> CpuWeight:
    """weight_packed: int32 (n, k / 8) of a model folder. scales: (n, groups). bias: (n,).

    Raises ValueError for a shape that cannot be.
    """
    n, words = weight_packed.shape
    _check_scales(n, 8 * words, scales)
    blocks = _padded(weight_packed).view(-1, BLOCK_ROWS, words).transpose(1, 2).contiguous()
    return _weight(blocks.view(torch.uint8), scales, bias, n, 8 * words, 4)


def prepack_int8(
    codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None
) -> CpuWeight:
    """codes: int8 (n, k). scales: (n, groups). bias: (n,). Raises ValueError as prepack_int4."""
    n, k = codes.shape
    _check_scales(n, k, scales)
    # Columns k + i and k + i + 4 side by side.
    blocks = _padded(codes).view(-1, BLOCK_ROWS, k // 8, 2, 4).permute(0, 2, 4, 1, 3).contiguous()
    return _weight(blocks.view(torch.uint8), scales, bias, n, k, 8)


def linear(x: torch.Tensor, weight: CpuWeight) -> torch.Tensor:
    """float32 (m, k) -> float32 (m, n), on torch's number of threads. Raises ValueError."""
    m = x.shape[0]
    require_tensor("x", x, device=_CPU, shape=(m, weight.k), dtype=torch.float32, alignment=4)
    y = torch.empty(m, weight.padded_n)
    failed = cpu_library.load().bilin_linear(
        ctypes.byref(cpu_library.team()),
        ctypes.c_int64(torch.get_num_threads()),
        ctypes.byref(weight.structure),
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_void_p(y.data_ptr()),
        ctypes.c_int64(m),
    )
    if failed:
        raise MemoryError(f"no memory for {m} rows of {weight.k} activations")
    return y if weight.padded_n == weight.n else y[:, : weight.n]


def read(memory: torch.Tensor) -> None:
    """Reads all of it on torch's number of threads and does no more: what memory delivers."""
    threads = torch.get_num_threads()
    sink = torch.empty(threads)
    cpu_library.load().bilin_read(
        ctypes.byref(cpu_library.team()),
        ctypes.c_int64(threads),
        ctypes.c_void_p(memory.data_ptr()),
        ctypes.c_int64(memory.nbytes),
        ctypes.c_void_p(sink.data_ptr()),
    )


@functools.cache
def is_available() -> bool:
    """Whether the library is there and right: its instructions are this processor's own affair.

    Says why not, once.
    """
    if reason := cpu_library.why_not():
        logger.info("the processor computes with torch's kernels, slower: %s", reason)
        return False
    wrong = [
        f"INT{bits}, {m} rows" for bits in (4, 8) for m in (1, 2, 3, 4) if not _is_right(bits, m)
    ]
    if wrong:
        logger.error("the CPU kernels give wrong numbers here, torch's serve: %s", ", ".join(wrong))
    return not wrong


def _is_right(bits: int, m: int) -> bool:
    generator = torch.Generator().manual_seed(bits + m)
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (32, 64), dtype=torch.int8, generator=generator)
    scales = torch.rand(32, 2, generator=generator).half()
    x = torch.randn(m, 64, generator=generator)
    weight = (
        prepack_int8(codes, scales) if bits == 8 else prepack_int4(packing.pack_int4(codes), scales)
    )
    right = reference.linear(x, reference.dequantize(codes, scales, torch.float32))
    return torch.allclose(linear(x, weight), right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


# --- packing --------------------------------------------------------------------------------------


def _check_scales(n: int, k: int, scales: torch.Tensor) -> None:
    if scales.ndim != 2 or scales.shape[0] != n or not scales.shape[1] or k % scales.shape[1]:
        raise ValueError(f"scales of shape {tuple(scales.shape)}; use ({n}, groups of {k} columns)")
    group = k // scales.shape[1]
    if group % 8:
        raise ValueError(f"groups of {group} columns; the CPU kernels take multiples of 8")
    if scales.dtype not in _SCALES:
        raise ValueError(f"scales are {scales.dtype}; use float32, float16 or bfloat16")


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """With rows of zeros to full blocks."""
    missing = -rows.shape[0] % BLOCK_ROWS
    return torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows


def _weight(
    codes: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    n: int,
    k: int,
    bits: int,
) -> CpuWeight:
    groups = scales.shape[1]
    laid = _padded(scales).view(-1, BLOCK_ROWS, groups).transpose(1, 2).contiguous()
    return CpuWeight(codes, laid, None, n, k, bits).with_bias(bias)
