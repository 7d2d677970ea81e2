"""What every kernel computes, in plain torch: the specification the kernels are held to.

Sums in float32 (float64 when given float64), one rounding at the end, no speed. The kernels differ
from it by the order of their float32 sums only.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_kernels.packing import Gating, unpack_int4

Activation = Literal["none", "gelu", "gelu_tanh", "silu"]


def dequantize(values: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Weight (n, k) = values * scale. values: int8 (n, k); scales: (n, groups). One rounding."""
    n, k = values.shape
    grouped = values.view(n, scales.shape[1], -1).to(torch.float32) * scales.float().unsqueeze(-1)
    return grouped.view(n, k).to(dtype)


def dequantize_int4(
    weight_packed: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Weight (n, k) of a model folder's matrix; see packing.py."""
    return dequantize(unpack_int4(weight_packed), scales, dtype)


def activate(v: torch.Tensor, activation: Activation) -> torch.Tensor:
    """GELU (exact, or its tanh form), SiLU, or v itself."""
    if activation == "gelu":
        return F.gelu(v)
    if activation == "gelu_tanh":
        return F.gelu(v, approximate="tanh")
    if activation == "silu":
        return F.silu(v)
    return v


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    activation: Activation = "none",
    gating: Gating = "none",
    residual: torch.Tensor | None = None,
    alpha: float = 1.0,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """The linear layer with everything the kernels fuse behind it.

    h = x weight^T + bias; y = activate(h), or up * activate(gate) of a gated pair; y += alpha *
    residual. x: (m, k); weight: (n, k) float32 or float64, not rounded to 16 bits; residual:
    (m, outputs). Computed in the weight's dtype; out_dtype: x's by default.
    """
    real = weight.dtype
    h = x.to(real) @ weight.T
    if bias is not None:
        h = h + bias.to(real)
    if gating == "none":
        y = activate(h, activation)
    else:
        first, second = h.chunk(2, dim=-1)
        gate, up = (first, second) if gating == "gate_up" else (second, first)
        y = up * activate(gate, activation)
    if residual is not None:
        y = y + alpha * residual.to(real)
    return y.to(out_dtype or x.dtype)


def add_norm(
    delta: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    alpha: float = 1.0,
    inner_weight: torch.Tensor | None = None,
    epsilon: float,
    is_rms: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(s, y): s = alpha * residual + delta, y = norm(s) * weight + bias, over the last dimension.

    inner_weight: delta becomes RMSNorm(delta) * inner_weight first. Computed in delta's dtype.
    """
    real, shape = delta.dtype, delta.shape[-1:]
    if inner_weight is not None:
        delta = F.rms_norm(delta, shape, inner_weight.to(real), epsilon)
    s = delta if residual is None else alpha * residual.to(real) + delta
    weight = weight.to(real)
    if is_rms:
        y = F.rms_norm(s, shape, weight, epsilon)
        return s, y if bias is None else y + bias.to(real)
    return s, F.layer_norm(s, shape, weight, None if bias is None else bias.to(real), epsilon)


def norm_heads(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMSNorm of every head. x: (T, H, D); weight: (D,). Computed in x's dtype."""
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), epsilon)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, pair: int) -> torch.Tensor:
    """y[d] = x[d] * cos[d] + x[d ^ pair] * sin[d]. x: (T, H, D); cos, sin: (T, D) of the tokens."""
    partner = torch.arange(x.shape[-1], device=x.device) ^ pair
    return x * cos.unsqueeze(1) + x[..., partner] * sin.unsqueeze(1)


def decode_attention(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(D)) v of one token. query: (H, D); keys, values: (G, S, D), H / G each.

    Computed in query's dtype. Returns (H, D).
    """
    ratio = query.shape[0] // keys.shape[0]
    keys = keys.to(query.dtype).repeat_interleave(ratio, dim=0)
    values = values.to(query.dtype).repeat_interleave(ratio, dim=0)
    scores = torch.einsum("hd,hsd->hs", query, keys) / query.shape[1] ** 0.5
    return torch.einsum("hs,hsd->hd", scores.softmax(dim=-1), values)
