"""INT4 scales that lose least: for every group the one with the smallest weighted squared error.

absmax / 7, the recipe of GLM-130B's paper, spends the codes on the largest weight of a group. Here
that weight may take any of LEVELS, between 7 and 9 steps from zero on the side where there are
eight; for each the best scale follows by least squares, and the best of these is taken. So a scale
may be negative and a code -8, which the format allows.

An error counts for as much as what reaches its column, where that is known (models/calibration.py).
Otherwise the error of a large weight counts more, by the root of its square and the group's mean
square: measured, that makes a better model than a smaller error in all. Figures: engine/README.md,
"What quantizing loses". Source of the ideas: github ggml-org/llama.cpp, ggml-quants.c,
make_qx_quants and quantize_row_q4_0_impl, and its importance matrix.
"""

import torch

from bilin_engine.checkpoints import int4
from bilin_engine.config import QuantizationScheme

LEVELS = tuple(7.1 + 0.2 * step for step in range(10))
# Values in work at a time: what a candidate needs stays in the processor's cache.
_BLOCK_VALUES = 1 << 17


def quantize(
    weight: torch.Tensor,
    scheme: QuantizationScheme,
    name: str,
    columns: torch.Tensor | None = None,
) -> int4.QuantizedWeight:
    """As `int4.quantize`, with better scales for INT4 in groups; the same for what is not that.

    columns: float32 [k], what a squared error in each column counts for, where that was measured.
    """
    if scheme.bits != 4 or scheme.group_size == "row":
        return int4.quantize(weight, scheme, name)
    groups = int4.num_groups(scheme, weight.shape[1], name)
    int4.require_finite(weight, name)
    step = max(1, _BLOCK_VALUES // weight.shape[1])
    counts = None if columns is None else columns.view(1, groups, -1)
    parts = [_block(rows.float().unflatten(1, (groups, -1)), counts) for rows in weight.split(step)]
    scales = torch.cat([scales for _, scales in parts])
    int4.require_scales(scales, weight, name)
    return int4.QuantizedWeight(torch.cat([codes for codes, _ in parts]), scales, scheme.bits)


def _block(grouped: torch.Tensor, counts: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes int8 [n, k] and scales float16 [n, groups] of [n, groups, k / groups]."""
    if counts is None:
        squares = grouped.square()
        importance = (squares + squares.mean(dim=2, keepdim=True)).sqrt_()
    else:
        importance = counts.expand_as(grouped)
    weighted = grouped * importance
    largest = grouped.gather(2, grouped.abs().argmax(dim=2, keepdim=True))
    inverse = torch.where(largest == 0, 0.0, -1.0 / largest)
    best = torch.full(grouped.shape[:2], -1.0)
    scales = torch.zeros(grouped.shape[:2])
    for level in LEVELS:
        codes = (grouped * (level * inverse)).round_().clamp_(-8, 7)
        product = (weighted * codes).sum(dim=2)
        square = (codes.square_() * importance).sum(dim=2).clamp_min_(1e-30)
        gain = product * product / square  # by which the error falls
        scales = torch.where(gain > best, product / square, scales)
        best = torch.maximum(gain, best)
    stored = scales.half()
    stored = torch.where(stored == 0, torch.finfo(torch.float16).tiny, stored)
    codes = (grouped / stored.float().unsqueeze(2)).round_().clamp_(-8, 7)
    return codes.to(torch.int8).flatten(1), stored
