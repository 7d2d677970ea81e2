"""ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B in the layout of their own code.

Read this file as the specification; x is the residual stream, one layer is

    x += Attention(N_input(x));  x += SwiGLU(N_post_attention(x))

N are RMSNorms. Neighbouring dimensions of the first half of a head turn with the position. The
rows of `query_key_value` are all of Q, then K, then V; the gate is the first half of
`dense_h_to_4h`. The layer-wise scaling of scores cancels out in exact arithmetic and is dropped.
Source: glm.md 10; github li-plus/chatglm.cpp.
"""

from bilin_engine.config import CausalConfig
from bilin_engine.layers.weights import RankWeights
from bilin_engine.models.causal import CausalModel, GroupedAttention, PreNormLayer, SwiGLU


class ChatGLM(CausalModel):
    """The model on one rank."""

    has_neighbour_pairs = True
    embedding_name = "transformer.embedding.word_embeddings.weight"
    norm_name = "transformer.encoder.final_layernorm"
    head_name = "transformer.output_layer.weight"

    def load_layer(self, weights: RankWeights, config: CausalConfig, index: int) -> PreNormLayer:
        """Layer `index`, its weights read."""
        name = f"transformer.encoder.layers.{index}"
        attention = GroupedAttention(
            weights,
            config,
            index,
            name=f"{name}.self_attention",
            output="dense",
            fused="query_key_value",
        )
        mlp = SwiGLU(
            weights, config, gate_up=f"{name}.mlp.dense_h_to_4h", down=f"{name}.mlp.dense_4h_to_h"
        )
        return PreNormLayer(weights, config, name, attention, mlp)
