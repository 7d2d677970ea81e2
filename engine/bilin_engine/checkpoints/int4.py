"""INT4 and INT8 weights: quantize, pack, unpack, dequantize. Knows tensors, not files.

The layout is compressed-tensors' "pack-quantized", symmetric, so anyone can read our folders:

    weight_packed  int32 [n, ceil(k / (32 / bits))]   code + 2^(bits-1), lowest bits first
    weight_scale   float [n, k / group_size], or [n, 1] for whole rows
    weight_shape   int64 [2]                           n, k before packing

`quantize` is GLM-130B's own recipe (glm.md 2.5), so its shards convert without loss: codes -7..7
(-127..127 for INT8), scale = absmax / 7. `scale_search` does better, and uses the code -8 too.
"""

from dataclasses import dataclass

import torch

from bilin_engine.config import QuantizationScheme
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """codes: int8 [n, k]. scales: [n, num_groups]. bits: 4 or 8."""

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int


def num_groups(scheme: QuantizationScheme, k: int, name: str) -> int:
    """Scales per row for a reduction of `k`. Raises UnsupportedModelError if they do not divide."""
    if scheme.group_size == "row":
        return 1
    if k % scheme.group_size:
        raise UnsupportedModelError(
            f"{name}: group_size {scheme.group_size} does not divide its {k} columns; "
            f'use a multiple of 64 that does, or "row"'
        )
    return k // scheme.group_size


def quantize(
    weight: torch.Tensor,
    scheme: QuantizationScheme,
    name: str,
    scale_dtype: torch.dtype = torch.float16,
) -> QuantizedWeight:
    """Codes and scales of a linear's weight [n, k], rounding half to even.

    Rows are independent, so a large weight may be given in blocks of rows. A float16 weight is
    divided in float16, as the reference does. A group whose scale would be 0 (all zeros, or too
    small for `scale_dtype`) gets codes 0 and the smallest normal number as its scale.
    Raises ModelBrokenError, naming the tensor, for NaN or infinite weights and for weights too
    large for `scale_dtype`.
    """
    groups = num_groups(scheme, weight.shape[1], name)
    require_finite(weight, name)
    highest = 2 ** (scheme.bits - 1) - 1
    grouped = weight.float().unflatten(1, (groups, -1))
    scales = (grouped.abs().amax(dim=2) / highest).to(scale_dtype)
    require_scales(scales, weight, name)
    scales = torch.where(scales == 0, torch.finfo(scale_dtype).tiny, scales)
    ratio = grouped / scales.float().unsqueeze(2)
    if weight.dtype == torch.float16:
        ratio = ratio.half()
    codes = ratio.round().clamp(-highest, highest).to(torch.int8).flatten(1)
    return QuantizedWeight(codes=codes, scales=scales, bits=scheme.bits)


def dequantize(quantized: QuantizedWeight) -> torch.Tensor:
    """float32 [n, k] = code * scale."""
    scales = quantized.scales.float()
    grouped = quantized.codes.float().unflatten(1, (scales.shape[1], -1))
    return (grouped * scales.unsqueeze(2)).flatten(1)


def squared_error(weight: torch.Tensor, quantized: QuantizedWeight) -> tuple[float, float]:
    """Sums of squares over a block of rows: of what quantizing changed, and of the weights."""
    difference = dequantize(quantized).sub_(weight)
    return difference.square().sum().item(), weight.float().square().sum().item()


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """int8 codes [n, k] as int32 words [n, ceil(k / (32 / bits))]; the last word is filled up."""
    per_word = 32 // bits
    n, k = codes.shape
    words = -(-k // per_word)
    unsigned = torch.zeros((n, words * per_word), dtype=torch.uint8)
    unsigned[:, :k] = (codes.to(torch.int16) + (1 << (bits - 1))).to(torch.uint8)
    if bits == 4:
        pairs = unsigned.view(n, -1, 2)
        unsigned = pairs[:, :, 0] | (pairs[:, :, 1] << 4)
    # Lowest bits first is little-endian byte order: the bytes already are the words.
    return unsigned.contiguous().view(torch.int32)


def unpack_unsigned(packed: torch.Tensor, k: int, bits: int) -> torch.Tensor:
    """uint8 [n, k]: the codes + 2^(bits-1), that is 0..15 or 0..255."""
    values = packed.contiguous().view(torch.uint8)
    if bits == 4:
        values = torch.stack((values & 15, values >> 4), dim=2).flatten(1)
    return values[:, :k]


def unpack(packed: torch.Tensor, k: int, bits: int) -> torch.Tensor:
    """The int8 codes [n, k] of `pack`."""
    return (unpack_unsigned(packed, k, bits).to(torch.int16) - (1 << (bits - 1))).to(torch.int8)


def require_scales(scales: torch.Tensor, weight: torch.Tensor, name: str) -> None:
    """Raises ModelBrokenError, naming the tensor, where a scale is too large for its type."""
    if torch.isfinite(scales).all():
        return
    raise ModelBrokenError(
        f"{name}: a weight of {weight.abs().max().item():.4g} is too large for "
        f"{scales.dtype} scales; the largest scale is {torch.finfo(scales.dtype).max:.4g}"
    )


def require_finite(tensor: torch.Tensor, name: str) -> None:
    """Raises ModelBrokenError, naming tensor and place, if a value is NaN or infinite."""
    if torch.isfinite(tensor).all():
        return
    place = (~torch.isfinite(tensor)).nonzero()[0].tolist()
    value = tensor[tuple(place)].item()
    raise ModelBrokenError(
        f"{name} holds {value} at {place}: the weights are damaged; every value must be finite"
    )
