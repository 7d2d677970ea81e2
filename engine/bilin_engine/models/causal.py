"""What the causal families share: grouped attention, SwiGLU, and the way from ids to logits.

x is the residual stream, float32 [T, h]; T counts the new tokens of all slots:

    x = E[token_ids];  every layer changes x;  logits = RMSNorm_final(x) W_head^T

Each family's own file says what a layer is.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.config import CausalConfig
from bilin_engine.layers.attention import Span, attend_spans
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.linear import Linear
from bilin_engine.layers.norm import RMSNorm
from bilin_engine.layers.parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    StackedLinear,
    VocabParallelEmbedding,
    share,
    share_heads,
)
from bilin_engine.layers.rotary import NeighbourRotation, RotaryFrequencies, Rotation
from bilin_engine.layers.weights import Part, RankWeights, StoredRows
from bilin_engine.models.base import MLP_ROWS, Model, Poll, in_blocks, polled_rows

AnyRotation = Rotation | NeighbourRotation


class GroupedAttention:
    """softmax(q k^T / sqrt(D)) v; each key head serves several query heads.

    Q, K and V are stored apart (`q_proj`, `k_proj`, `v_proj`) or as blocks of one matrix (`fused`),
    and multiplied as one. query_norm, key_norm: RMSNorms of each head, where the model has them.
    """

    def __init__(
        self,
        weights: RankWeights,
        config: CausalConfig,
        layer: int,
        *,
        name: str,
        output: str,
        fused: str | None = None,
    ) -> None:
        """name, output, fused: of the modules as stored."""
        self._layer = layer
        self._head_dim = dim = config.head_dim
        heads = share(config.num_attention_heads, weights, "num_attention_heads")
        kv_heads = share_heads(config.num_key_value_heads, weights, "num_key_value_heads")
        self._num_heads, self._num_kv_heads = heads.size, kv_heads.size
        query = Part(heads.start * dim, heads.stop * dim)
        shared = Part(kv_heads.start * dim, kv_heads.stop * dim)
        if fused is None:
            rows = [
                StoredRows(f"{name}.q_proj", [query]),
                StoredRows(f"{name}.k_proj", [shared]),
                StoredRows(f"{name}.v_proj", [shared]),
            ]
        else:
            keys = config.num_attention_heads * dim
            values = keys + config.num_key_value_heads * dim
            blocks = [query, shared.moved(keys), shared.moved(values)]
            rows = [StoredRows(f"{name}.{fused}", blocks)]
        h = config.hidden_size
        self.query_key_value = StackedLinear(weights, rows, h, has_bias=config.has_qkv_bias)
        width = config.num_attention_heads * dim
        self.output = RowParallelLinear(
            weights, f"{name}.{output}", h, width, has_bias=config.has_output_bias
        )
        self.query_norm: RMSNorm | None = None
        self.key_norm: RMSNorm | None = None
        if config.has_head_norms:
            self.query_norm = load_norm(weights, config, f"{name}.q_norm")
            self.key_norm = load_norm(weights, config, f"{name}.k_norm")

    def __call__(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]; appends to the spans' caches."""
        attended = self._attended(x, rotate, spans, poll)
        return in_blocks(self.output, attended, polled_rows([self.output.linear], attended), poll)

    def _attended(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, H D]. What it needs on the way is gone before the next product."""
        size = polled_rows(self.query_key_value.linears, x)
        mixed = in_blocks(self.query_key_value, x, size, poll)
        mixed = mixed.unflatten(1, (-1, self._head_dim))
        num_turned = self._num_heads + self._num_kv_heads
        turning, value = mixed[:, :num_turned], mixed[:, num_turned:]
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = turning[:, : self._num_heads], turning[:, self._num_heads :]
            turning = torch.cat((self.query_norm(queries), self.key_norm(keys)), dim=1)
        turned = rotate(turning)
        query, key = turned[:, : self._num_heads], turned[:, self._num_heads :]
        return attend_spans(query, key, value, spans, self._layer, poll)

    @property
    def linears(self) -> list[Linear]:
        """For counting bytes."""
        return [*self.query_key_value.linears, self.output.linear]


class SwiGLU:
    """W_down(SiLU(g) * u); gate g first, then u: two halves of one matrix, or two matrices."""

    def __init__(
        self,
        weights: RankWeights,
        config: CausalConfig,
        *,
        gate_up: str | tuple[str, str],
        down: str,
    ) -> None:
        """gate_up, down: names of the modules as stored."""
        h, inner, has_bias = config.hidden_size, config.inner_hidden_size, config.has_mlp_bias
        self.gate_up: ColumnParallelLinear | StackedLinear
        if isinstance(gate_up, str):
            self.gate_up = ColumnParallelLinear(
                weights, gate_up, 2 * inner, h, num_blocks=2, has_bias=has_bias
            )
        else:
            own = share(inner, weights, "intermediate_size")
            rows = [StoredRows(module, [own]) for module in gate_up]
            self.gate_up = StackedLinear(weights, rows, h, has_bias=has_bias)
        self.down = RowParallelLinear(weights, down, h, inner, has_bias=has_bias)

    def __call__(self, x: torch.Tensor, poll: Poll) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h], a block of rows at a time."""
        return in_blocks(self._rows, x, min(MLP_ROWS, polled_rows(self.linears, x)), poll)

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate).mul_(up))

    @property
    def linears(self) -> list[Linear]:
        """For counting bytes."""
        stacked = self.gate_up
        first = stacked.linears if isinstance(stacked, StackedLinear) else [stacked.linear]
        return [*first, self.down.linear]


class PreNormLayer:
    """x += Attention(RMSNorm_input(x));  x += SwiGLU(RMSNorm_post(x))."""

    def __init__(
        self,
        weights: RankWeights,
        config: CausalConfig,
        name: str,
        attention: GroupedAttention,
        mlp: SwiGLU,
    ) -> None:
        """name: of the layer as stored."""
        self.attention, self.mlp = attention, mlp
        self.input_layernorm = load_norm(weights, config, f"{name}.input_layernorm")
        self.post_attention_layernorm = load_norm(
            weights, config, f"{name}.post_attention_layernorm"
        )

    def __call__(
        self, x: torch.Tensor, rotate: AnyRotation, spans: Sequence[Span], poll: Poll
    ) -> torch.Tensor:
        """float32 [T, h] -> float32 [T, h]."""
        x = x + self.attention(self.input_layernorm(x), rotate, spans, poll)
        return x + self.mlp(self.post_attention_layernorm(x), poll)


class CausalModel(Model):
    """A causal model on one rank; a family gives its names and its layer."""

    has_bidirectional_prefix = False
    has_neighbour_pairs: bool
    embedding_name = "model.embed_tokens.weight"
    norm_name = "model.norm"
    head_name = "lm_head.weight"

    def __init__(
        self, weights: RankWeights, *, head_dtype: torch.dtype, on_layer: Poll | None = None
    ) -> None:
        """Loads the rank's part. head_dtype: of embedding and head. on_layer: after each layer."""
        config = weights.config
        assert isinstance(config, CausalConfig), f"{config.architecture} is not of this kind"
        self.config = config
        self.num_heads = share(config.num_attention_heads, weights, "num_attention_heads").size
        self.num_kv_heads = share_heads(
            config.num_key_value_heads, weights, "num_key_value_heads"
        ).size
        self._plan = weights.plan
        embedding_dtype = head_dtype
        # An embedding that is no head is only looked up in; 16 bits as stored need no rounding.
        if head_dtype == torch.int8 and not config.is_head_tied:
            is_half = config.dtype == "float16"
            embedding_dtype = torch.float16 if is_half else weights.plan.dtype
        self.embedding = VocabParallelEmbedding(
            weights, self.embedding_name, config.vocab_size, embedding_dtype
        )
        self.rotary = RotaryFrequencies(
            config.rope,
            config.head_dim,
            has_neighbour_pairs=self.has_neighbour_pairs,
            device=weights.plan.device,
        )
        self.layers: list[PreNormLayer] = []
        for index in range(config.num_layers):
            self.layers.append(self.load_layer(weights, config, index))
            if on_layer is not None:
                on_layer()
        self.final_norm = load_norm(weights, config, self.norm_name)
        self.head = self.embedding
        if not config.is_head_tied:
            self.head = VocabParallelEmbedding(
                weights, self.head_name, config.vocab_size, head_dtype
            )

    @abstractmethod
    def load_layer(self, weights: RankWeights, config: CausalConfig, index: int) -> PreNormLayer:
        """Layer `index`, its weights read."""

    def new_cache(self, num_slots: int, max_length: int) -> KVCache:
        """Keys and values of this rank's heads, in the plan's type."""
        return KVCache(
            num_slots=num_slots,
            num_layers=self.config.num_layers,
            num_heads=self.num_kv_heads,
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
        rotate = self.rotary.at(position_ids)
        x = self.embedding.embed(token_ids)
        for layer in self.layers:
            poll()
            x = layer(x, rotate, spans, poll)
        poll()
        return self.head.logits(self.final_norm(x[output_rows]))

    @property
    def size_bytes(self) -> int:
        """Linears, embedding and head; norms and biases are too small to matter."""
        linears = [
            linear.size_bytes
            for layer in self.layers
            for linear in (*layer.attention.linears, *layer.mlp.linears)
        ]
        tables = {id(table): table.size_bytes for table in (self.embedding, self.head)}
        return sum(linears) + sum(tables.values())

    @property
    def read_bytes(self) -> int:
        """As `Model.read_bytes`."""
        looked_up = 0 if self.head is self.embedding else self.embedding.size_bytes
        return self.size_bytes - looked_up


def load_norm(weights: RankWeights, config: CausalConfig, name: str) -> RMSNorm:
    """The RMSNorm called `name`."""
    return RMSNorm(weights.replicated(f"{name}.weight"), config.rms_norm_epsilon)
