"""ChatGLM-6B: GLM-130B's block, positions in two dimensions, and no gate.

Read this file and glm130b.py as the specification. Every token has a position and a block id; half
of each head turns with each. Tokens of the prompt, its [gMASK] included, have their index and block
0; `sop` and the answer all have the [gMASK]'s position and blocks 1, 2, 3 ... With the [gMASK] last
in the prompt, where ChatGLM-6B's own code puts it, the block is therefore index - position.

    layer   as GLM-130B, with MLP(x) = W_down GELU(W_up x), GELU in its tanh form

Source: glm.md 10; github THUDM/ChatGLM-6B's modeling_chatglm.py as chatglm.cpp restates it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.config import ChatGLM6BConfig
from bilin_engine.layers.attention import Span
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    share,
)
from bilin_engine.layers.rotary import RotaryTable2D
from bilin_engine.layers.weights import RankWeights
from bilin_engine.models.base import Model, Poll
from bilin_engine.models.glm130b import DeepNormConfig, Layer, load_norm


class PlainMLP:
    """W_down(GELU(W_up x)), GELU in its tanh form: ChatGLM-6B's."""

    def __init__(self, weights: RankWeights, config: DeepNormConfig, layer: int) -> None:
        h, inner = config.hidden_size, config.inner_hidden_size
        name = f"transformer.layers.{layer}.mlp"
        self.dense_h_to_4h = ColumnParallelLinear(weights, f"{name}.dense_h_to_4h", inner, h)
        self.dense_4h_to_h = RowParallelLinear(weights, f"{name}.dense_4h_to_h", h, inner)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate="tanh"))


class ChatGLM6B(Model):
    """The model on one rank."""

    has_bidirectional_prefix = True

    def __init__(
        self, weights: RankWeights, *, head_dtype: torch.dtype, on_layer: Poll | None = None
    ) -> None:
        """Loads the rank's part. head_dtype: of embedding and head. on_layer: after each layer."""
        config = weights.config
        assert isinstance(config, ChatGLM6BConfig), f"{config.architecture} is not ChatGLM-6B"
        self.config = config
        self.num_heads = share(config.num_attention_heads, weights, "num_attention_heads").size
        self._plan = weights.plan
        self.word_embeddings = VocabParallelEmbedding(
            weights, "transformer.word_embeddings.weight", config.vocab_size, head_dtype
        )
        self.rotary = RotaryTable2D(
            config.head_dim, config.max_sequence_length, weights.plan.device
        )
        self.layers: list[Layer] = []
        for index in range(config.num_layers):
            mlp = PlainMLP(weights, config, index)
            self.layers.append(Layer(weights, config, index, mlp))
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
            dtype=self._plan.kv_dtype,
            device=self._plan.device,
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
        indices = torch.cat(
            [torch.arange(s.start, s.start + s.count, device=token_ids.device) for s in spans]
        )
        rotate = self.rotary.at(position_ids, (indices - position_ids).clamp_(min=0))
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
