"""One token for each of T slots on the processor, many layers in one call of the kernels.

The models' own `forward` is the specification; this is its arithmetic in another order of sums.
"""

import time
from collections.abc import Sequence

import torch

from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.cpu_linear import CpuLinear
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.norm import LayerNorm, RMSNorm
from bilin_engine.layers.parallel import ColumnParallelLinear, RowParallelLinear, StackedLinear
from bilin_engine.models.base import Model, Poll
from bilin_engine.models.step_parts import StepParts, parts_of
from bilin_kernels import cpu_step
from bilin_kernels.cpu_ops import CpuWeight
from bilin_kernels.cpu_step import StepLayer, StepNorm, StepShape

POLL_S = 0.02  # a cancel is obeyed about so soon; threads start anew after each call


class CpuStep:
    """The decode step of a model whose linears are all packed; shares its weights."""

    def __init__(self, parts: StepParts, step: cpu_step.CpuStep) -> None:
        self._parts = parts
        self._step = step
        self._layers_a_call = 1

    @classmethod
    def of(cls, model: Model, cache: KVCache) -> "CpuStep | None":
        """The step of a model, or None where its `forward` has to serve."""
        try:
            parts = parts_of(model)
        except UnsupportedModelError:
            return None
        if parts.embedding.num_ranks > 1:
            return None
        layers = _layers_of(parts)
        if layers is None:
            return None
        norm = parts.final_norm
        shape = StepShape(
            heads=parts.heads,
            max_length=cache.max_length,
            kv_dtype=cache.dtype,
            epsilon=norm.epsilon,
            is_rms=isinstance(norm, RMSNorm),
            alpha=parts.alpha,
            keeps_sum=parts.keeps_sum,
            activation=parts.activation,
            gating=parts.gating,
        )
        try:
            return cls(
                parts, cpu_step.CpuStep(shape, layers, _norm(norm, parts.layers[-1].down_norm))
            )
        except ValueError:
            return None  # a shape that the kernels do not take, or INT8 keys and values

    def __call__(
        self,
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        blocks: Sequence[int],
        lengths: Sequence[int],
        poll: Poll,
    ) -> torch.Tensor:
        """float32 logits [T, V]; appends one token to each slot's memory.

        blocks: addresses of the slots' memory. lengths: tokens they hold.
        """
        parts = self._parts
        rotation = parts.rotate(torch.tensor(position_ids), torch.tensor(lengths))
        cos, sin = (rows.contiguous() for rows in rotation.rows())
        embedded = parts.embedding.embed(torch.tensor(token_ids))
        self._step.begin(embedded, cos, sin, blocks, lengths)
        first, total = 0, self._step.num_layers
        while first < total:
            poll()
            count = min(self._layers_a_call, total - first)
            begun_s = time.perf_counter()
            self._step.layers(first, count)
            layer_s = (time.perf_counter() - begun_s) / count
            self._layers_a_call = max(1, int(POLL_S / layer_s))
            first += count
        poll()
        return parts.head.logits(self._step.end())


def _layers_of(parts: StepParts) -> list[StepLayer] | None:
    """None unless every linear is one of the processor's kernels."""
    layers = []
    inner: RMSNorm | None = None  # the sandwich's, of what the layer before adds
    for layer in parts.layers:
        weights = [
            _weight(linear)
            for linear in (layer.query_key_value, layer.output, layer.up, layer.down)
        ]
        whole = [weight for weight in weights if weight is not None]
        if len(whole) != len(weights):
            return None
        layers.append(
            StepLayer(
                _norm(layer.input_norm, inner),
                _norm(layer.post_norm, layer.output_norm),
                *whole,
                heads=layer.head_norms,
            )
        )
        inner = layer.down_norm
    return layers


def _weight(linear: ColumnParallelLinear | StackedLinear | RowParallelLinear) -> CpuWeight | None:
    linears = linear.linears if isinstance(linear, StackedLinear) else [linear.linear]
    only = linears[0]
    if len(linears) > 1 or not isinstance(only, CpuLinear):
        return None
    return only.weight.with_bias(linear.bias)


def _norm(norm: LayerNorm | RMSNorm, inner: RMSNorm | None) -> StepNorm:
    return StepNorm(
        norm.weight.contiguous(),
        bias=norm.bias.contiguous() if isinstance(norm, LayerNorm) else None,
        inner_weight=None if inner is None else inner.weight.contiguous(),
    )
