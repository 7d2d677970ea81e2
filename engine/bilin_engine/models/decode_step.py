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
)
from bilin_engine.layers.step_linear import StepLinear
from bilin_engine.models.base import Model
from bilin_engine.models.step_parts import parts_of
from bilin_kernels.decode_ops import (
    HEAD_DIMS,
    MAX_NORM_WIDTH,
    SlotCache,
    add_norm,
    decode_attention,
    rope_append,
)
from bilin_kernels.ops import Backend, backend_of
from bilin_kernels.packing import Gating
from bilin_kernels.reference import Activation

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
    query_key_value: StepLinear
    output: StepLinear
    up: StepLinear
    down: StepLinear


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
        self._parts = parts = parts_of(model)
        self._linears = [
            _Layer(
                query_key_value=_columns(layer.query_key_value, dtype),
                output=_rows(layer.output, dtype),
                up=_columns(layer.up, dtype, parts.activation, parts.gating),
                down=_rows(layer.down, dtype),
            )
            for layer in parts.layers
        ]
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
        for index, (layer, linears) in enumerate(zip(parts.layers, self._linears, strict=True)):
            stream, x = self._norm(layer.input_norm, stream, delta, inner)
            mixed = linears.query_key_value(x)
            query = rope_append(
                mixed,
                parts.heads,
                cos,
                sin,
                rows,
                cache,
                index,
                norms=layer.head_norms,
                backend=backend,
            )
            x = decode_attention(query, cache, index, dtype=self._dtype, backend=backend)
            delta, inner = linears.output(x), layer.output_norm
            stream, x = self._norm(layer.post_norm, stream, delta, inner)
            delta, inner = linears.down(linears.up(x)), layer.down_norm
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
