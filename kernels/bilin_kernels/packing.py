"""How INT4 and INT8 weights lie in memory: in a model folder, and in the order the kernels read.

Model folder (compressed-tensors, "pack-quantized"): `weight_packed` int32 (n, k/8), eight codes a
word, low nibble first, code = value + 8; `scales` (n, k/group_size). value = (code - 8) * scale.

Kernel order, version 1, "tile16". 16 rows and 64 k make a piece of 512 bytes; lane l = 4 g + t of a
warp (g = 0..7, t = 0..3) reads 16 of them at once, which are its tensor-core A operands:

    weight  (n/16 tiles, k/64 steps, 32 lanes, 4 words) int32

    word 0   row g      k = 64 step      + 8 t .. + 7        word 1   row g + 8, the same k
    word 2   row g      k = 64 step + 32 + 8 t .. + 7        word 3   row g + 8, the same k

    bits     31..28 27..24 23..20 19..16 15..12 11..8  7..4  3..0
    k = 8t +    7      3      5      1      6     2     4     0

    so `w & 0x000f000f` is (k 0, k 1), `w & 0x00f000f0` is (k 4, k 5), and the same after `w >> 8`
    gives (k 2, k 3) and (k 6, k 7): x is read 16 bytes at a time, in its own order, and the two
    groups of 32 in a step never share a tensor-core instruction.

    scales  (n/16 tiles, groups, 8, 2) float16 or bfloat16: [tile, group, g] = rows g and g + 8

INT8 is two INT4 planes of the code value + 128, low nibble first:

    weight  (n/16 tiles, k/64 steps, 2 planes, 32 lanes, 4 words) int32

A gated pair (SwiGLU, GeGLU) alternates tiles: 16 rows of the gate, the same 16 rows of the other
half, and so on, so that one block holds both factors of an output.

Knows nothing of devices: everything here is plain torch and runs where the tensors lie.
"""

from dataclasses import dataclass
from typing import Literal

import torch

TILE_ROWS = 16
STEP_K = 64

Gating = Literal["none", "gate_up", "up_gate"]

# Words converted at once: bounds the temporary memory of a 130-billion-parameter model's matrices.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A weight in kernel order (layout version 1).

    weight: int32, see the module. scales: (n/16, groups, 8, 2), the dtype of the activations it
    serves. n, k: of the matrix as the model folder has it; a gated pair counts both halves in n.
    bits: 4 or 8.
    """

    weight: torch.Tensor
    scales: torch.Tensor
    n: int
    k: int
    bits: int
    gating: Gating = "none"

    @property
    def groups(self) -> int:
        """Scales per row."""
        return self.scales.shape[1]

    @property
    def group_size(self) -> int:
        """k per scale."""
        return self.k // self.groups

    @property
    def outputs(self) -> int:
        """Columns of y: n, or n/2 of a gated pair."""
        return self.n if self.gating == "none" else self.n // 2

    def size_bytes(self) -> int:
        """Bytes a decode step reads for this weight."""
        return self.weight.nbytes + self.scales.nbytes

    def to(self, device: torch.device | str) -> "PackedWeight":
        """The same weight on another device."""
        return PackedWeight(
            self.weight.to(device), self.scales.to(device), self.n, self.k, self.bits, self.gating
        )


def check_shape(n: int, k: int, groups: int, gating: Gating = "none") -> None:
    """Raises ValueError, naming the value and what would be right, for what no kernel takes."""
    rows = TILE_ROWS if gating == "none" else 2 * TILE_ROWS
    if n <= 0 or n % rows:
        reason = "" if gating == "none" else f" for {gating}"
        raise ValueError(f"n = {n} is not supported; use a multiple of {rows}{reason}")
    if k <= 0 or k % STEP_K:
        raise ValueError(f"k = {k} is not supported; use a multiple of {STEP_K}")
    if groups <= 0 or k % groups:
        raise ValueError(f"{groups} scales per row do not divide k = {k}")
    group_size = k // groups
    if group_size != 32 and group_size % STEP_K:
        raise ValueError(
            f"group_size {group_size} is not supported; use 32 or a multiple of {STEP_K} that "
            f"divides k = {k}"
        )


def pack_int4(values: torch.Tensor) -> torch.Tensor:
    """Values -8..7 (n, k) of any integer dtype -> weight_packed int32 (n, k/8), model folder."""
    if values.ndim != 2 or values.shape[1] % 8:
        raise ValueError(f"values of shape {tuple(values.shape)}; use (n, k) with k % 8 == 0")
    if values.numel() and (int(values.min()) < -8 or int(values.max()) > 7):
        raise ValueError(f"values from {int(values.min())} to {int(values.max())}; use -8 to 7")
    codes = (values.to(torch.int64) + 8).view(values.shape[0], -1, 8)
    shifts = torch.arange(0, 32, 4, device=values.device)
    words = (codes << shifts).sum(dim=-1)
    return _wrap_int32(words)


def unpack_int4(weight_packed: torch.Tensor) -> torch.Tensor:
    """weight_packed int32 (n, k/8) -> values int8 (n, k) in -8..7."""
    shifts = torch.arange(0, 32, 4, device=weight_packed.device, dtype=torch.int32)
    codes = (weight_packed.unsqueeze(-1) >> shifts) & 15
    return (codes - 8).to(torch.int8).flatten(-2)


def to_tile16(weight_packed: torch.Tensor) -> torch.Tensor:
    """weight_packed int32 (n, k/8) -> kernel order int32 (n/16, k/64, 32, 4)."""
    n, words = weight_packed.shape
    tiles = torch.empty(
        (n // TILE_ROWS, words // 8, 32, 4), dtype=torch.int32, device=weight_packed.device
    )
    for first in range(0, n, _ROWS_AT_ONCE):
        part = weight_packed[first : first + _ROWS_AT_ONCE]
        # (tile, row half, g, step, k half, t) -> (tile, step, g, t, k half, row half)
        view = part.reshape(-1, 2, 8, words // 8, 2, 4).permute(0, 3, 2, 5, 4, 1)
        into = tiles[first // TILE_ROWS : (first + part.shape[0]) // TILE_ROWS]
        into.copy_(_swap_nibbles(view.reshape(into.shape)))
    return tiles


def from_tile16(tiles: torch.Tensor) -> torch.Tensor:
    """Kernel order int32 (n/16, k/64, 32, 4) -> weight_packed int32 (n, k/8)."""
    num_tiles, steps = tiles.shape[:2]
    view = _swap_nibbles(tiles).view(num_tiles, steps, 8, 4, 2, 2).permute(0, 5, 2, 1, 4, 3)
    return view.reshape(num_tiles * TILE_ROWS, steps * 8).contiguous()


def scales_to_tile16(scales: torch.Tensor) -> torch.Tensor:
    """Scales (n, groups) -> kernel order (n/16, groups, 8, 2)."""
    n, groups = scales.shape
    return scales.reshape(n // TILE_ROWS, 2, 8, groups).permute(0, 3, 2, 1).contiguous()


def scales_from_tile16(scales: torch.Tensor) -> torch.Tensor:
    """Kernel order (n/16, groups, 8, 2) -> scales (n, groups)."""
    tiles, groups = scales.shape[:2]
    return scales.permute(0, 3, 2, 1).reshape(tiles * TILE_ROWS, groups).contiguous()


def prepack_int4(
    weight_packed: torch.Tensor, scales: torch.Tensor, gating: Gating = "none"
) -> PackedWeight:
    """Brings an INT4 matrix of a model folder into kernel order, on the device where it lies.

    weight_packed: int32 (n, k/8). scales: (n, k/group_size) or (n, 1), float16 or bfloat16: the
    dtype of the activations. gating: what the rows are: "gate_up" (SwiGLU of LLaMA and GLM-4: the
    activated half first), "up_gate" (GLM-130B: the activated half second). Raises ValueError.
    """
    if weight_packed.dtype != torch.int32 or weight_packed.ndim != 2:
        raise ValueError(
            f"weight_packed is {weight_packed.dtype} {tuple(weight_packed.shape)}; "
            "use int32 (n, k/8)"
        )
    n, k = weight_packed.shape[0], weight_packed.shape[1] * 8
    scales = _checked_scales(scales, n, k, gating, weight_packed.device)
    order = _gated_rows(n, gating, weight_packed.device)
    if order is not None:
        weight_packed, scales = weight_packed[order], scales[order]
    return PackedWeight(to_tile16(weight_packed), scales_to_tile16(scales), n, k, 4, gating)


def unpack_prepacked(packed: PackedWeight) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of prepack_int4 and prepack_int8: (weight_packed or int8 values, scales)."""
    if packed.bits == 8:
        low = unpack_int4(from_tile16(packed.weight[:, :, 0].contiguous())).to(torch.int16) + 8
        high = unpack_int4(from_tile16(packed.weight[:, :, 1].contiguous())).to(torch.int16) + 8
        weight = (16 * high + low - 128).to(torch.int8)
    else:
        weight = from_tile16(packed.weight)
    scales = scales_from_tile16(packed.scales)
    order = _gated_rows(packed.n, packed.gating, weight.device)
    if order is not None:
        weight = torch.empty_like(weight).index_copy_(0, order, weight)
        scales = torch.empty_like(scales).index_copy_(0, order, scales)
    return weight, scales


def prepack_int8(weight: torch.Tensor, scales: torch.Tensor) -> PackedWeight:
    """Brings an INT8 matrix into kernel order.

    weight: int8 (n, k), value = weight * scale. scales: (n, 1) or (n, groups) with groups of a
    multiple of 64, float16 or bfloat16. Raises ValueError.
    """
    if weight.dtype != torch.int8 or weight.ndim != 2:
        raise ValueError(f"weight is {weight.dtype} {tuple(weight.shape)}; use int8 (n, k)")
    n, k = weight.shape
    scales = _checked_scales(scales, n, k, "none", weight.device)
    if k // scales.shape[1] == 32:
        raise ValueError("group_size 32 is not supported for INT8; use a multiple of 64")
    tiles = torch.empty((n // TILE_ROWS, k // STEP_K, 2, 32, 4), dtype=torch.int32)
    tiles = tiles.to(weight.device)
    for first in range(0, n, _ROWS_AT_ONCE):
        codes = weight[first : first + _ROWS_AT_ONCE].to(torch.int16) + 128
        rows = slice(first // TILE_ROWS, (first + codes.shape[0]) // TILE_ROWS)
        tiles[rows, :, 0] = to_tile16(pack_int4((codes & 15) - 8))
        tiles[rows, :, 1] = to_tile16(pack_int4((codes >> 4) - 8))
    return PackedWeight(tiles, scales_to_tile16(scales), n, k, 8)


def _checked_scales(
    scales: torch.Tensor, n: int, k: int, gating: Gating, device: torch.device
) -> torch.Tensor:
    if scales.ndim == 1:
        scales = scales.unsqueeze(1)
    if scales.ndim != 2 or scales.shape[0] != n:
        raise ValueError(f"scales of shape {tuple(scales.shape)}; use ({n}, k/group_size)")
    if scales.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"scales are {scales.dtype}; use float16 or bfloat16, as the activations")
    if scales.device != device:
        raise ValueError(f"scales are on {scales.device}, the weight is on {device}; use one")
    if gating not in ("none", "gate_up", "up_gate"):
        raise ValueError(f"gating {gating!r}; use none, gate_up or up_gate")
    check_shape(n, k, scales.shape[1], gating)
    return scales


def _gated_rows(n: int, gating: Gating, device: torch.device) -> torch.Tensor | None:
    """Row order of a gated pair: 16 of the gate, 16 of the other half, and so on."""
    if gating == "none":
        return None
    rows = torch.arange(n, device=device).view(2, -1, TILE_ROWS)
    if gating == "up_gate":
        rows = rows.flip(0)
    return rows.transpose(0, 1).reshape(-1)


def _swap_nibbles(words: torch.Tensor) -> torch.Tensor:
    """Nibbles 1 and 4, 3 and 6 change places: its own inverse."""
    kept = words & _signed(0xF0F00F0F)
    return kept | ((words & 0x0000F0F0) << 12) | ((words >> 12) & 0x0000F0F0)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _wrap_int32(words: torch.Tensor) -> torch.Tensor:
    """Unsigned 32-bit values held in int64 -> int32 of the same bits."""
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
