"""What `bench` times around the linears: attention, and whole layers of a decode step.

A layer is everything that a token passes in it, eight launches in one captured graph: norm with
residual, QKV, rotary positions and append, attention, output, norm, up with GeGLU, down. Weights
and caches are random; three layers' weights take turns, so that none stays in a cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bilin_kernels import decode_ops, ops
from bilin_kernels.decode_ops import HeadLayout, SlotCache
from bilin_kernels.packing import PackedWeight

Calls = Sequence[Callable[[], torch.Tensor]]

CONTEXTS = (512, 2048, 8192)
# name, query heads, key heads, head_dim, contexts
ATTENTIONS = (
    ("130b", 96, 96, 128, (512, 2048)),
    ("9b", 32, 2, 128, CONTEXTS),
    ("32b", 48, 8, 128, CONTEXTS),
    ("32b, 2 key heads", 48, 2, 128, CONTEXTS),
)
_ALPHA = 11.83
_LAYERS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """Calls to be timed in turn, and the bytes that one of them must read and write."""

    calls: Calls
    size_bytes: int


class Slots:
    """Random caches of `tokens` slots that hold `context` tokens each, the new one included."""

    def __init__(
        self, tokens: int, kv_heads: int, head_dim: int, context: int, device: torch.device
    ) -> None:
        shape = (_LAYERS, 2, kv_heads, context, head_dim)
        self._blocks = [
            torch.randn(shape, dtype=torch.float16, device=device) for _ in range(tokens)
        ]
        addresses = torch.tensor([block.data_ptr() for block in self._blocks], device=device)
        lengths = torch.full((tokens,), context - 1, dtype=torch.int64, device=device)
        self.cache = SlotCache(addresses, lengths, _LAYERS, kv_heads, context, head_dim)
        self.layer_bytes = sum(block.nbytes for block in self._blocks) // _LAYERS


def attention(
    heads: int, kv_heads: int, head_dim: int, context: int, tokens: int, device: torch.device
) -> Measured:
    """Attention alone; layers in turn, which for small caches still share the L2."""
    slots = Slots(tokens, kv_heads, head_dim, context, device)
    query = torch.randn(tokens, heads, head_dim, dtype=torch.float16, device=device)
    backend = ops.backend_of(device)

    def call(layer: int) -> torch.Tensor:
        return decode_ops.decode_attention(
            query, slots.cache, layer, dtype=torch.float16, backend=backend
        )

    moved = slots.layer_bytes + 2 * query.nbytes
    return Measured([lambda layer=layer: call(layer) for layer in range(_LAYERS)], moved)


def layer(
    weights: Sequence[Sequence[PackedWeight]], context: int, tokens: int, device: torch.device
) -> Measured:
    """A layer of GLM-130B's kind. weights: QKV, output, up (gated) and down of _LAYERS layers."""
    qkv, _, up, down = weights[0]
    hidden, head_dim = qkv.k, 128
    num_heads = hidden // head_dim
    slots = Slots(tokens, num_heads, head_dim, context, device)
    heads = HeadLayout.per_head(num_heads=num_heads, head_dim=head_dim, pair=head_dim // 2)
    backend = ops.backend_of(device)

    def half(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device).half()

    stream, delta = (torch.randn(tokens, hidden, device=device) for _ in range(2))
    norm_weight, norm_bias = (torch.randn(hidden, device=device) for _ in range(2))
    biases = [half(n) for n in (qkv.n, hidden, up.n, hidden)]
    cos, sin = (torch.rand(2048, head_dim, device=device) for _ in range(2))
    rows = torch.full((tokens,), min(context, 2048) - 1, dtype=torch.int64, device=device)

    def norm(delta: torch.Tensor, stream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return decode_ops.add_norm(
            delta,
            norm_weight,
            bias=norm_bias,
            residual=stream,
            alpha=_ALPHA,
            epsilon=1e-5,
            is_rms=False,
            keeps_sum=False,
            dtype=torch.float16,
            backend=backend,
        )

    def call(index: int) -> torch.Tensor:
        first, second, third, fourth = weights[index]
        kept, x = norm(delta, stream)
        mixed = ops.w4a16_linear(x, first, bias=biases[0], backend=backend)
        query = decode_ops.rope_append(
            mixed, heads, cos, sin, rows, slots.cache, index, backend=backend
        )
        x = decode_ops.decode_attention(
            query, slots.cache, index, dtype=torch.float16, backend=backend
        )
        attended = ops.w4a16_linear(
            x, second, bias=biases[1], out_dtype=torch.float32, backend=backend
        )
        _, x = norm(attended, kept)
        x = ops.w4a16_linear(x, third, bias=biases[2], activation="gelu", backend=backend)
        return ops.w4a16_linear(x, fourth, bias=biases[3], out_dtype=torch.float32, backend=backend)

    moved = sum(weight.size_bytes() for weight in weights[0]) + slots.layer_bytes
    moved += sum(bias.nbytes for bias in biases) + 2 * (norm_weight.nbytes + norm_bias.nbytes)
    # x of the linears and the float32 stream, in and out
    moved += 2 * tokens * (qkv.k + qkv.n + 2 * hidden + up.k + up.outputs + down.k)
    moved += 4 * tokens * 8 * hidden
    return Measured([lambda index=index: call(index) for index in range(len(weights))], moved)
