"""`llama`; `qwen2`, which is Llama with biases on Q, K and V; `qwen3`, Llama with head norms.

Read this file as the specification; x is the residual stream, one layer is

    x += Attention(N_input(x));  x += SwiGLU(N_post_attention(x))

N are RMSNorms. In `qwen3` every query and key head passes through one more, of its own D values,
before it turns. Dimension j of a head turns with j + D/2. `gate_proj` and `up_proj` lie apart.
Source: transformers 5.23, models/{llama,qwen2,qwen3}/modeling_{llama,qwen2,qwen3}.py.
"""

from bilin_engine.config import CausalConfig
from bilin_engine.layers.weights import RankWeights
from bilin_engine.models.causal import CausalModel, GroupedAttention, PreNormLayer, SwiGLU


class Llama(CausalModel):
    """The model on one rank."""

    has_neighbour_pairs = False

    def load_layer(self, weights: RankWeights, config: CausalConfig, index: int) -> PreNormLayer:
        """Layer `index`, its weights read."""
        name = f"model.layers.{index}"
        attention = GroupedAttention(
            weights, config, index, name=f"{name}.self_attn", output="o_proj"
        )
        gate_up = (f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj")
        mlp = SwiGLU(weights, config, gate_up=gate_up, down=f"{name}.mlp.down_proj")
        return PreNormLayer(weights, config, name, attention, mlp)
