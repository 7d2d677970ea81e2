"""GLM-130B, and Bilin Mini, which is the same architecture at a smaller size.

Read this file as the specification. x is the residual stream, float32 [T, h]; T counts the new
tokens of all slots; a = sqrt(2 * num_layers); every linear has a bias:

    x = E[token_ids]
    per layer:   x = LN_input(x);  x = a * x + Attention(x)
                 x = LN_post(x);   x = a * x + W_down(u * GELU(g)),  [u | g] = W_up(x)
    logits = LN_final(x) E^T

DeepNorm: the residual is the *normalised* x. Attention rows of W_qkv are head by head: q, k and v
of head 0, of head 1, and so on. GELU is the exact erf form and acts on the second half.
Source: glm.md 1 to 1.6, read from SwissArmyTransformer 0.2.12's GLM130B model.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.config import ChatGLM6BConfig, GLMConfig
from bilin_engine.layers.attention import Span, attend_spans
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.norm import LayerNorm
from bilin_engine.layers.parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    share,
)
from bilin_engine.layers.rotary import RotaryTable, Rotation, Rotation2D
from bilin_engine.layers.weights import RankWeights
from bilin_engine.models.base import MLP_ROWS, Model, Poll, in_blocks, polled_rows

# ChatGLM-6B's block is this one with another MLP and other rotations: chatglm6b.py.
DeepNormConfig = GLMConfig | ChatGLM6BConfig
AnyRotation = Rotation | Rotation2D


class Attention:
    """Multi-head attention over the slots' caches."""

    def __init__(self, weights: RankWeights, config: DeepNormConfig, layer: int) -> None:
        h = config.hidden_size
        name = f"transformer.layers.{layer}.attention"
        own = share(config.num_attention_heads, weights, "num_attention_heads")
        self._num_heads = own.size
        self._head_dim = config.head_dim
        self._layer = layer
        self.query_key_value = ColumnParallelLinear(weights, f"{name}.query_key_value", 3 * h, h)
        self.dense = RowParallelLinear(weights, f"{name}.dense", h, h)

    def __call__(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]; appends to the spans' caches."""
        attended = self._attended(x, rotate, spans, poll)
        return in_blocks(self.dense, attended, polled_rows([self.dense.linear], attended), poll)

    def _attended(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, H D]. What it needs on the way is gone before the next product."""
        size = polled_rows([self.query_key_value.linear], x)
        mixed = in_blocks(self.query_key_value, x, size, poll)
        mixed = mixed.view(-1, self._num_heads, 3 * self._head_dim)
        query, key, value = mixed.split(self._head_dim, dim=-1)
        query, key = rotate(query), rotate(key)
        return attend_spans(query, key, value, spans, self._layer, poll)


class FeedForward(Protocol):
    """What a layer needs of its MLP."""

    dense_h_to_4h: ColumnParallelLinear
    dense_4h_to_h: RowParallelLinear

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        ...


class MLP:
    """GeGLU, value first: W_down(u * GELU(g))."""

    def __init__(self, weights: RankWeights, config: GLMConfig, layer: int) -> None:
        h, inner = config.hidden_size, config.inner_hidden_size
        name = f"transformer.layers.{layer}.mlp"
        self.dense_h_to_4h = ColumnParallelLinear(
            weights, f"{name}.dense_h_to_4h", 2 * inner, h, num_blocks=2
        )
        self.dense_4h_to_h = RowParallelLinear(weights, f"{name}.dense_4h_to_h", h, inner)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        u, g = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(u * F.gelu(g))


class Layer:
    """One block: LayerNorm, attention, LayerNorm, MLP, with DeepNorm residuals."""

    def __init__(
        self, weights: RankWeights, config: DeepNormConfig, layer: int, mlp: FeedForward
    ) -> None:
        name = f"transformer.layers.{layer}"
        self.alpha = math.sqrt(2 * config.num_layers)
        self.input_layernorm = load_norm(weights, config, f"{name}.input_layernorm")
        self.attention = Attention(weights, config, layer)
        self.post_attention_layernorm = load_norm(
            weights, config, f"{name}.post_attention_layernorm"
        )
        self.mlp = mlp

    def __call__(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        x = self.input_layernorm(x)
        x = self.alpha * x + self.attention(x, rotate, spans, poll)
        x = self.post_attention_layernorm(x)
        linears = (self.mlp.dense_h_to_4h.linear, self.mlp.dense_4h_to_h.linear)
        size = min(MLP_ROWS, polled_rows(linears, x))
        if x.shape[0] <= size:
            return self.alpha * x + self.mlp(x)
        out = torch.empty_like(x)
        for rows, block in zip(out.split(size), x.split(size), strict=True):
            poll()
            torch.add(self.mlp(block), block, alpha=self.alpha, out=rows)
        return out

    @property
    def size_bytes(self) -> int:
        """Memory of the linears."""
        attention, mlp = self.attention, self.mlp
        parts = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
        return sum(part.linear.size_bytes for part in parts)


class GLM130B(Model):
    """The model on one rank."""

    has_bidirectional_prefix = True

    def __init__(
        self, weights: RankWeights, *, head_dtype: torch.dtype, on_layer: Poll | None = None
    ) -> None:
        """Loads the rank's part. head_dtype: of embedding and head. on_layer: after each layer."""
        config = weights.config
        assert isinstance(config, GLMConfig), f"{config.architecture} is not GLM-130B"
        self.config = config
        self.num_heads = share(config.num_attention_heads, weights, "num_attention_heads").size
        self._device = weights.plan.device
        self._kv_dtype = weights.plan.kv_dtype
        self.word_embeddings = VocabParallelEmbedding(
            weights, "transformer.word_embeddings.weight", config.vocab_size, head_dtype
        )
        self.rotary = RotaryTable(
            config.head_dim,
            config.max_sequence_length,
            config.rope_precision,
            device=self._device,
        )
        self.layers: list[Layer] = []
        for index in range(config.num_layers):
            self.layers.append(Layer(weights, config, index, MLP(weights, config, index)))
            if on_layer is not None:
                on_layer()
        self.final_layernorm = load_norm(weights, config, "transformer.final_layernorm")

    def new_cache(self, num_slots: int, max_length: int) -> KVCache:
        """Keys and values of this rank's heads, in the plan's type."""
        return KVCache(
            num_slots=num_slots,
            num_layers=self.config.num_layers,
            num_heads=self.num_heads,
            head_dim=self.config.head_dim,
            max_length=max_length,
            dtype=self._kv_dtype,
            device=self._device,
        )

    def forward(
        self,
        token_ids: torch.Tensor,
        position_ids: torch.Tensor,
        spans: Sequence[Span],
        output_rows: torch.Tensor,
        poll: Poll,
    ) -> torch.Tensor:
        """As `Model.forward`."""
        rotate = self.rotary.at(position_ids)
        x = self.word_embeddings.embed(token_ids)
        for layer in self.layers:
            poll()
            x = layer(x, rotate, spans, poll)
        poll()
        return self.word_embeddings.logits(self.final_layernorm(x[output_rows]))

    @property
    def size_bytes(self) -> int:
        """Linears, embedding and head; norms and biases are too small to matter."""
        return sum(layer.size_bytes for layer in self.layers) + self.word_embeddings.size_bytes


def load_norm(weights: RankWeights, config: DeepNormConfig, name: str) -> LayerNorm:
    """The LayerNorm called `name`."""
    return LayerNorm(
        weights.replicated(f"{name}.weight"),
        weights.replicated(f"{name}.bias"),
        config.layernorm_epsilon,
    )
