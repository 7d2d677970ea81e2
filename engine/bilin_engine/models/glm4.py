"""`glm` (GLM-4-9B-HF, GLM-Edge) and `glm4` (GLM-4-9B/32B-0414, GLM-Z1).

Read this file as the specification; x is the residual stream, one layer is

    glm    x += Attention(N_input(x));             x += SwiGLU(N_post_attention(x))
    glm4   x += N_post_self_attn(Attention(N_input(x)))
           x += N_post_mlp(SwiGLU(N_post_attention(x)))                     (sandwich norms)

N are RMSNorms. Neighbouring dimensions of the first half of a head (partial_rotary_factor) turn
with the position. The gate is the first half of `gate_up_proj`. Q, K and V may have biases, the
output has none. In `glm4` the tensor called post_attention_layernorm is the norm *before* the MLP.
Source: transformers 5.23, models/glm/modeling_glm.py, models/glm4/modeling_glm4.py.
"""

from collections.abc import Sequence

import torch

from bilin_engine.config import CausalConfig
from bilin_engine.layers.attention import Span
from bilin_engine.layers.weights import RankWeights
from bilin_engine.models.base import Poll
from bilin_engine.models.causal import (
    AnyRotation,
    CausalModel,
    GroupedAttention,
    PreNormLayer,
    SwiGLU,
    load_norm,
)


class SandwichLayer(PreNormLayer):
    """A norm before and after both attention and MLP."""

    def __init__(
        self,
        weights: RankWeights,
        config: CausalConfig,
        name: str,
        attention: GroupedAttention,
        mlp: SwiGLU,
    ) -> None:
        super().__init__(weights, config, name, attention, mlp)
        self.post_self_attn_layernorm = load_norm(
            weights, config, f"{name}.post_self_attn_layernorm"
        )
        self.post_mlp_layernorm = load_norm(weights, config, f"{name}.post_mlp_layernorm")

    def __call__(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        attended = self.attention(self.input_layernorm(x), rotate, spans, poll)
        x = x + self.post_self_attn_layernorm(attended)
        return x + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x), poll))


class GLM4(CausalModel):
    """The model on one rank."""

    has_neighbour_pairs = True

    def load_layer(self, weights: RankWeights, config: CausalConfig, index: int) -> PreNormLayer:
        """Layer `index`, its weights read."""
        name = f"model.layers.{index}"
        attention = GroupedAttention(
            weights, config, index, name=f"{name}.self_attn", output="o_proj"
        )
        mlp = SwiGLU(
            weights, config, gate_up=f"{name}.mlp.gate_up_proj", down=f"{name}.mlp.down_proj"
        )
        kind = SandwichLayer if config.architecture == "glm4" else PreNormLayer
        return kind(weights, config, name, attention, mlp)
