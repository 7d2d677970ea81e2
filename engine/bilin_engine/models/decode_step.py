"""One token for each of T slots, in the fewest launches: what a CUDA graph of a step captures.

The models' own `forward` is the specification; this is the same arithmetic for one token a slot,
on the kernels of bilin_kernels, eight launches a layer:

    norm with residual | QKV | rotary positions and append | attention (splits added up inside)
    output | norm with residual | up, gated | down

Everything that changes from step to step is data on the device: ids, positions, and for every slot
where it lies and how long it is. So one captured graph serves any slots and lengths. Nothing here
waits for the device or reads from it.

The residual stream is float32; what linears read and write between is 16 bits, keys and values are
float16. Knows nothing of graphs, slots' numbers or the cache's bookkeeping.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bilin_engine.config import ModelConfig
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.norm import LayerNorm, RMSNorm
from bilin_engine.layers.parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    StackedLinear,
    VocabParallelEmbedding,
)
from bilin_engine.layers.rotary import (
    NeighbourRotation,
    RotaryTable,
    RotaryTable2D,
    Rotation,
    Rotation2D,
)
from bilin_engine.layers.step_linear import StepLinear
from bilin_engine.models.base import Model
from bilin_engine.models.causal import CausalModel
from bilin_engine.models.chatglm6b import ChatGLM6B
from bilin_engine.models.glm4 import SandwichLayer
from bilin_engine.models.glm130b import GLM130B
from bilin_kernels.decode_ops import (
    HEAD_DIMS,
    MAX_NORM_WIDTH,
    HeadLayout,
    SlotCache,
    add_norm,
    decode_attention,
    rope_append,
)
from bilin_kernels.ops import Backend, backend_of
from bilin_kernels.packing import Gating
from bilin_kernels.reference import Activation

# (position_ids [T], tokens the slots hold [T]) -> the rotation of the step's tokens.
Rotate = Callable[[torch.Tensor, torch.Tensor], Rotation | NeighbourRotation | Rotation2D]

# Rows of StepInputs' table.
NUM_INPUTS = 4


@dataclass(frozen=True, slots=True)
class StepInputs:
    """What a step is told of its tokens: rows of one int64 table [4, T] on the device.

    blocks: addresses of the slots' memory. lengths: tokens the slots hold before the step.
    """

    table: torch.Tensor

    @property
    def token_ids(self) -> torch.Tensor:
        """int64 [T]."""
        return self.table[0]

    @property
    def position_ids(self) -> torch.Tensor:
        """int64 [T]."""
        return self.table[1]

    @property
    def blocks(self) -> torch.Tensor:
        """int64 [T]."""
        return self.table[2]

    @property
    def lengths(self) -> torch.Tensor:
        """int64 [T]."""
        return self.table[3]


@dataclass(frozen=True, slots=True)
class _Layer:
    input_norm: LayerNorm | RMSNorm
    query_key_value: StepLinear
    output: StepLinear
    output_norm: RMSNorm | None  # the sandwich's, of what attention adds
    post_norm: LayerNorm | RMSNorm
    up: StepLinear
    down: StepLinear
    down_norm: RMSNorm | None


@dataclass(frozen=True, slots=True)
class _Parts:
    """An architecture, as far as a step can tell."""

    layers: list[_Layer]
    final_norm: LayerNorm | RMSNorm
    embedding: VocabParallelEmbedding
    head: VocabParallelEmbedding
    rotate: Rotate
    heads: HeadLayout
    alpha: float
    keeps_sum: bool


class DecodeStep:
    """The decode step of a loaded model; shares its weights.

    Raises UnsupportedModelError for sizes that the kernels do not take.
    """

    def __init__(self, model: Model, cache: KVCache, dtype: torch.dtype) -> None:
        """dtype: float16 or bfloat16, of what lies between the linears."""
        check_sizes(model.config)
        if cache.dtype != torch.float16:
            raise UnsupportedModelError(
                f"the cache is {cache.dtype}; decode attention on CUDA takes float16"
            )
        self._dtype = dtype
        self._parts = _parts_of(model, dtype)
        self._num_layers = model.config.num_layers
        self._max_length = cache.max_length
        self._backend: Backend = backend_of(cache.device)

    def __call__(self, inputs: StepInputs) -> torch.Tensor:
        """float32 logits [T, V]; appends one token to each slot's memory."""
        parts, backend = self._parts, self._backend
        cache = SlotCache(
            inputs.blocks,
            inputs.lengths,
            self._num_layers,
            parts.heads.num_kv_heads,
            self._max_length,
            parts.heads.head_dim,
        )
        rotation = parts.rotate(inputs.position_ids, inputs.lengths)
        cos, sin = (rows.contiguous() for rows in rotation.rows())
        rows = torch.arange(cos.shape[0], device=cos.device)
        delta, inner = parts.embedding.embed(inputs.token_ids), None
        stream = None
        for index, layer in enumerate(parts.layers):
            stream, x = self._norm(layer.input_norm, stream, delta, inner)
            mixed = layer.query_key_value(x)
            query = rope_append(mixed, parts.heads, cos, sin, rows, cache, index, backend=backend)
            x = decode_attention(query, cache, index, dtype=self._dtype, backend=backend)
            delta, inner = layer.output(x), layer.output_norm
            stream, x = self._norm(layer.post_norm, stream, delta, inner)
            delta, inner = layer.down(layer.up(x)), layer.down_norm
        _, x = self._norm(parts.final_norm, stream, delta, inner)
        return parts.head.logits(x)

    def _norm(
        self,
        norm: LayerNorm | RMSNorm,
        stream: torch.Tensor | None,
        delta: torch.Tensor,
        inner: RMSNorm | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return add_norm(
            delta,
            norm.weight,
            bias=norm.bias if isinstance(norm, LayerNorm) else None,
            residual=stream,
            alpha=self._parts.alpha,
            inner_weight=None if inner is None else inner.weight,
            epsilon=norm.epsilon,
            is_rms=isinstance(norm, RMSNorm),
            keeps_sum=self._parts.keeps_sum,
            dtype=self._dtype,
            backend=self._backend,
        )


def check_sizes(config: ModelConfig) -> None:
    """Raises UnsupportedModelError for sizes that the kernels of a decode step do not take."""
    if config.head_dim not in HEAD_DIMS:
        raise UnsupportedModelError(
            f"head_dim {config.head_dim}: decode attention on CUDA takes 64 or 128"
        )
    if config.hidden_size % 4 or config.hidden_size > MAX_NORM_WIDTH:
        raise UnsupportedModelError(
            f"hidden_size {config.hidden_size}: the norm on CUDA takes multiples of 4 up to "
            f"{MAX_NORM_WIDTH}"
        )


def _parts_of(model: Model, dtype: torch.dtype) -> _Parts:
    if isinstance(model, GLM130B | ChatGLM6B):
        return _deep_norm(model, dtype)
    if isinstance(model, CausalModel):
        return _pre_norm(model, dtype)
    raise UnsupportedModelError(
        f"{model.config.architecture} has no decode step on CUDA; use device cpu"
    )


def _columns(
    linear: ColumnParallelLinear | StackedLinear,
    dtype: torch.dtype,
    activation: Activation = "none",
    gating: Gating = "none",
) -> StepLinear:
    linears = linear.linears if isinstance(linear, StackedLinear) else [linear.linear]
    return StepLinear(linears, linear.bias, dtype, activation=activation, gating=gating)


def _rows(linear: RowParallelLinear, dtype: torch.dtype) -> StepLinear:
    return StepLinear([linear.linear], linear.bias, dtype, sum_over=linear.collective)


def _deep_norm(model: GLM130B | ChatGLM6B, dtype: torch.dtype) -> _Parts:
    """GLM-130B (GeGLU, the value half first) and ChatGLM-6B (no gate, two rotations)."""
    config = model.config
    is_gated = isinstance(model, GLM130B)
    activation: Activation = "gelu" if is_gated else "gelu_tanh"
    layers = [
        _Layer(
            input_norm=layer.input_layernorm,
            query_key_value=_columns(layer.attention.query_key_value, dtype),
            output=_rows(layer.attention.dense, dtype),
            output_norm=None,
            post_norm=layer.post_attention_layernorm,
            up=_columns(
                layer.mlp.dense_h_to_4h, dtype, activation, "up_gate" if is_gated else "none"
            ),
            down=_rows(layer.mlp.dense_4h_to_h, dtype),
            down_norm=None,
        )
        for layer in model.layers
    ]
    return _Parts(
        layers=layers,
        final_norm=model.final_layernorm,
        embedding=model.word_embeddings,
        head=model.word_embeddings,
        rotate=_rotate_by_id(model.rotary),
        heads=HeadLayout.per_head(
            num_heads=model.num_heads,
            head_dim=config.head_dim,
            pair=config.head_dim // (2 if is_gated else 4),
        ),
        alpha=(2 * config.num_layers) ** 0.5,
        keeps_sum=False,
    )


def _rotate_by_id(rotary: RotaryTable | RotaryTable2D) -> Rotate:
    if isinstance(rotary, RotaryTable):
        return lambda position_ids, _lengths: rotary.at(position_ids)
    # The block is index - position, and 0 in the prompt: models/chatglm6b.py.
    return lambda position_ids, lengths: rotary.at(
        position_ids, (lengths - position_ids).clamp(min=0)
    )


def _pre_norm(model: CausalModel, dtype: torch.dtype) -> _Parts:
    """LLaMA, Qwen2, GLM-4 and ChatGLM2/3: SwiGLU, the gate first."""
    config = model.config
    layers = [
        _Layer(
            input_norm=layer.input_layernorm,
            query_key_value=_columns(layer.attention.query_key_value, dtype),
            output=_rows(layer.attention.output, dtype),
            output_norm=(
                layer.post_self_attn_layernorm if isinstance(layer, SandwichLayer) else None
            ),
            post_norm=layer.post_attention_layernorm,
            up=_columns(layer.mlp.gate_up, dtype, "silu", "gate_up"),
            down=_rows(layer.mlp.down, dtype),
            down_norm=layer.post_mlp_layernorm if isinstance(layer, SandwichLayer) else None,
        )
        for layer in model.layers
    ]
    return _Parts(
        layers=layers,
        final_norm=model.final_norm,
        embedding=model.embedding,
        head=model.head,
        rotate=lambda position_ids, _lengths: model.rotary.at(position_ids),
        heads=HeadLayout.in_blocks(
            num_heads=model.num_heads,
            num_kv_heads=model.num_kv_heads,
            head_dim=config.head_dim,
            pair=1 if model.has_neighbour_pairs else config.head_dim // 2,
        ),
        alpha=1.0,
        keeps_sum=True,
    )
