"""INT4 on the CPU: torch's packed kernel for few rows, dequantize and multiply for many.

`aten::_weight_int4pack_mm_for_cpu` reads the packed weights once per call and is bound by its own
unpacking, not by memory; its cost grows with every four rows. From `CROSSOVER_ROWS` on it is
cheaper to dequantize the matrix once into a shared workspace and multiply that. Figures:
engine/README.md, "CPU INT4". Contract of the kernel: bfloat16 activations (others are 50 times
slower), n a multiple of 16, groups of 32, 64, 128 or 256.
"""

import functools

import torch

from bilin_engine.checkpoints import int4
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.linear import Linear, dense_dtype

# By what dequantized weights are multiplied in, measured on a Zen 5 with AVX512 (bfloat16) and
# without (float32): engine/README.md.
CROSSOVER_ROWS = {torch.bfloat16: 96, torch.float32: 144}
# A dense copy beats the kernel from here on.
DENSE_COPY_ROWS = {torch.bfloat16: 16, torch.float32: 80}

_KERNEL_GROUPS = (256, 128, 64, 32)
# Packed rows are independent, so a matrix is packed in slices: int32 codes of 1024 rows at most.
_PACK_ROWS = 1024
# Bytes of codes dequantized at a time, so that the intermediate values, four times as many, stay in
# the cache.
_BLOCK_BYTES = 1 << 20


class Workspace:
    """One buffer, as large as the largest matrix dequantized so far, shared by layers."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=dense_dtype())

    def get(self, rows: int, columns: int) -> torch.Tensor:
        """[rows, columns], contents undefined; valid until the next call."""
        if self._buffer.numel() < rows * columns:
            self._buffer = torch.empty(rows * columns, dtype=dense_dtype())
        return self._buffer[: rows * columns].view(rows, columns)

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return self._buffer.numel() * self._buffer.element_size()


class TorchInt4Linear(Linear):
    """y = x @ dequant(weight).T on the CPU in bfloat16 (many rows: `dense_dtype`); x, y float32."""

    def __init__(
        self,
        packed: torch.Tensor,
        scales: torch.Tensor,
        k: int,
        workspace: Workspace,
        name: str,
        *,
        keep_dense: bool = False,
    ) -> None:
        """packed: int32 [n, k/8] as on disk. scales: [n, groups].

        keep_dense: also hold the weights dequantized, for models small enough to afford it.
        Raises UnsupportedModelError for a shape that the kernel does not take.
        """
        n = packed.shape[0]
        group = k // scales.shape[1]
        kernel_group = next((g for g in _KERNEL_GROUPS if group % g == 0), None)
        if kernel_group is None or n % 16:
            raise UnsupportedModelError(
                f"{name}: backend cpu takes rows in multiples of 16 and groups in multiples of "
                f"32, not {n} rows with groups of {group}; use backend reference"
            )
        self.n, self.k = n, k
        self._group = kernel_group
        repeated = scales.repeat_interleave(group // kernel_group, dim=1).T.to(torch.bfloat16)
        # The kernel computes (code - 8) * scale + zero, with scale and zero side by side.
        self._scales_and_zeros = torch.stack((repeated, torch.zeros_like(repeated)), 2).contiguous()
        self._packed = _pack_for_kernel(packed, k)
        self._workspace = workspace
        self._dense: torch.Tensor | None = None
        if keep_dense and kernel_block() is not None:
            self._dense = self._dequantize(torch.empty(k, n, dtype=dense_dtype()))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Picks kernel, dense copy or dequantized workspace by the number of rows."""
        rows = x.shape[0]
        if self._dense is not None and rows >= DENSE_COPY_ROWS[dense_dtype()]:
            return (x.to(dense_dtype()) @ self._dense).float()
        if rows >= CROSSOVER_ROWS[dense_dtype()] and kernel_block() is not None:
            dense = self._dequantize(self._workspace.get(self.k, self.n))
            return (x.to(dense_dtype()) @ dense).float()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.to(torch.bfloat16).contiguous(), self._packed, self._group, self._scales_and_zeros
        )
        return y.float()

    @property
    def size_bytes(self) -> int:
        """Memory held, the dense copy included, the workspace not."""
        held = [self._packed, self._scales_and_zeros]
        if self._dense is not None:
            held.append(self._dense)
        return sum(t.numel() * t.element_size() for t in held)

    def _dequantize(self, out: torch.Tensor) -> torch.Tensor:
        """Writes the weights, transposed to [k, n], into `out` and returns it."""
        k, block = self.k, kernel_block()
        assert block is not None, "callers ask kernel_block first"
        whole = self.n // block * block
        # Side by side with the zeros they have a stride, which takes torch off its vector path.
        scales = self._scales_and_zeros[:, :, 0].to(out.dtype).contiguous()
        if whole:
            # [block, k, bytes]: byte i of a block holds row i low and row i + block/2 high.
            codes = self._packed.view(-1)[: whole * k // 2].view(-1, k, block // 2)
            blocked = out[:, :whole].view(k, -1, block).permute(1, 0, 2)
            step = max(1, _BLOCK_BYTES // (k * block // 2))
            for i in range(0, codes.shape[0], step):
                part = codes[i : i + step]
                values = torch.empty((*part.shape[:2], block), dtype=out.dtype)
                values[..., : block // 2] = part & 15
                values[..., block // 2 :] = part >> 4
                columns = slice(i * block, (i + part.shape[0]) * block)
                scale = scales[:, columns].unflatten(1, (-1, block)).transpose(0, 1).contiguous()
                # Scaled in place and then copied: a strided result is half as fast to compute.
                blocked[i : i + step] = self._scale(values, scale)
        if whole < self.n:
            # The last rows lie in pairs: byte j of a column holds rows 2j low and 2j + 1 high.
            tail = self._packed.view(-1)[whole * k // 2 :].view(k, -1)
            values = torch.stack((tail & 15, tail >> 4), dim=2).flatten(1).to(out.dtype)
            out[:, whole:] = self._scale(values[None], scales[None, :, whole:])[0]
        return out

    def _scale(self, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """(codes - 8) * scales of [b, k, w] and [b, groups, w], rounded once, in codes' memory."""
        grouped = codes.unflatten(1, (scales.shape[1], -1))
        torch.addcmul((scales * -8).unsqueeze(2), grouped, scales.unsqueeze(2), out=grouped)
        return codes


class TorchInt8Linear(Linear):
    """y = x @ dequant(weight).T for INT8 weights on the CPU in bfloat16; x and y float32."""

    def __init__(self, packed: torch.Tensor, scales: torch.Tensor, k: int) -> None:
        """packed: int32 [n, k/4] as on disk. scales: [n, groups]; each group is one kernel call."""
        self.n, self.k = packed.shape[0], k
        codes = int4.unpack(packed, k, bits=8)
        groups = scales.shape[1]
        self._codes = [part.contiguous() for part in codes.chunk(groups, dim=1)]
        self._scales = [s.contiguous() for s in scales.to(torch.bfloat16).unbind(dim=1)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 sum of the groups' products."""
        parts = x.to(torch.bfloat16).chunk(len(self._codes), dim=1)
        y = torch.zeros(x.shape[0], self.n)
        for part, codes, scales in zip(parts, self._codes, self._scales, strict=True):
            y += torch.ops.aten._weight_int8pack_mm(part.contiguous(), codes, scales)
        return y

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return sum(t.numel() * t.element_size() for t in (*self._codes, *self._scales))


@functools.cache
def kernel_block() -> int | None:
    """Rows per block of the kernel's packed layout: 64 with AVX512, 32 with AVX2.

    The layout is torch's own business and differs by CPU, so it is probed with known codes. None =
    a layout that we cannot read: then the kernel serves every number of rows.
    """
    n, k = 128, 32
    codes = (torch.arange(n * k, dtype=torch.int32).view(n, k) * 7 + torch.arange(n)[:, None]) % 16
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
    for block in (64, 32):
        halves = packed.view(-1).view(n // block, k, block // 2)
        rows = torch.cat((halves & 15, halves >> 4), dim=2).permute(0, 2, 1).reshape(n, k)
        if torch.equal(rows.to(torch.int32), codes.to(torch.int32)):
            return block
    return None


def _pack_for_kernel(packed: torch.Tensor, k: int) -> torch.Tensor:
    """uint8 [n, k/2] in the kernel's own order."""
    parts = [
        torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            int4.unpack_unsigned(rows, k, bits=4).to(torch.int32).contiguous(), 1
        )
        for rows in packed.split(_PACK_ROWS)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
