"""One model over several devices of one process: each device computes its own run of layers.

The way for cards of different sizes, and for layers that no card holds: those run on the
processor. Nothing is exchanged but the residual stream, once between two runs. Works for every
architecture whose model has `layers`, called as `layer(x, rotate, spans, poll)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from bilin_engine.collectives.base import SingleRank
from bilin_engine.config import ModelConfig, QuantizationScheme
from bilin_engine.layers.attention import Span
from bilin_engine.layers.cpu_linear import quantized_head_bytes
from bilin_engine.layers.linear import Linear
from bilin_engine.layers.split_cache import SplitKVCache
from bilin_engine.layers.weights import ComputePlan, Part, RankWeights, StoredRows, WeightSource
from bilin_engine.models.base import Model, Poll
from bilin_engine.placement.cost import layer_index
from bilin_engine.runners.local import LocalRunner


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of layers on one device. name: the device's, as placement says it: "cuda:0", "cpu"."""

    name: str
    num_layers: int


@dataclass(frozen=True, slots=True)
class LayerPlacement:
    """Stages in the order of their layers; `head` is the stage that holds embedding and head."""

    stages: tuple[Stage, ...]
    head: int

    def check(self, config: ModelConfig) -> None:
        """Raises ValueError unless every layer has its place."""
        total = sum(stage.num_layers for stage in self.stages)
        if total != config.num_layers or not 0 <= self.head < len(self.stages):
            raise ValueError(
                f"{total} layers placed, head on stage {self.head}; the model has "
                f"{config.num_layers} layers and there are {len(self.stages)} stages"
            )

    def stage_of(self, layer: int | None) -> int:
        """Where a layer is; None = embedding, head and final norm."""
        if layer is None:
            return self.head
        for index, stage in enumerate(self.stages):
            if layer < stage.num_layers:
                return index
            layer -= stage.num_layers
        raise ValueError("a layer beyond the last stage")


class PlacedWeights(RankWeights):
    """Weights that go to the device of their layer; `plan` is that of the head's device."""

    def __init__(
        self, source: WeightSource, placement: LayerPlacement, plans: Sequence[ComputePlan]
    ) -> None:
        """plans: one a stage."""
        super().__init__(source, plans[placement.head], SingleRank())
        self._placement = placement
        self._stages = [RankWeights(source, plan, self.collective) for plan in plans]
        self.stage_bytes = [0] * len(plans)  # of linears and matrices, as they lie in memory

    def replicated(self, name: str) -> torch.Tensor:
        """As `RankWeights.replicated`, on the layer's device."""
        return self._at(name).replicated(name)

    def vector(self, name: str, parts: list[Part]) -> torch.Tensor:
        """As `RankWeights.vector`, on the layer's device."""
        return self._at(name).vector(name, parts)

    def rows(self, name: str, part: Part, dtype: torch.dtype | None) -> torch.Tensor:
        """As `RankWeights.rows`, on the layer's device."""
        matrix = self._at(name).rows(name, part, dtype)
        held = matrix.nbytes if dtype is not None else quantized_head_bytes(matrix.shape)
        self._count(name, held)
        return matrix

    def scheme(self, module: str) -> QuantizationScheme | None:
        """As `RankWeights.scheme`."""
        return self._at(module).scheme(module)

    def stacked_linear(self, rows: Sequence[StoredRows], k: int) -> Linear:
        """As `RankWeights.stacked_linear`, on the layer's device."""
        name = rows[0].module
        linear = self._at(name).stacked_linear(rows, k)
        self._count(name, linear.size_bytes)
        return linear

    def column_linear(self, module: str, shape: tuple[int, int], part: Part) -> Linear:
        """As `RankWeights.column_linear`, on the layer's device."""
        linear = self._at(module).column_linear(module, shape, part)
        self._count(module, linear.size_bytes)
        return linear

    def _stage(self, name: str) -> int:
        return self._placement.stage_of(layer_index(f"{name}."))

    def _at(self, name: str) -> RankWeights:
        return self._stages[self._stage(name)]

    def _count(self, name: str, size_bytes: int) -> None:
        self.stage_bytes[self._stage(name)] += size_bytes


class PlacedModel(Model):
    """A model whose layers lie on several devices; used as any other."""

    def __init__(self, model: Model, weights: PlacedWeights, placement: LayerPlacement) -> None:
        """Takes `model`, built from `weights`, over."""
        self.config = model.config
        self.has_bidirectional_prefix = model.has_bidirectional_prefix
        self.placement = placement
        self.stage_bytes = weights.stage_bytes
        self._model = model
        self._devices = [stage.plan.device for stage in weights._stages]
        self._kv_dtypes = [stage.plan.kv_dtype for stage in weights._stages]
        layers: list[Any] = cast(Any, model).layers
        layers[:] = [
            _PlacedLayer(layer, self._devices[placement.stage_of(index)])
            for index, layer in enumerate(layers)
        ]
        layers[-1].home = weights.plan.device

    def new_cache(self, num_slots: int, max_length: int) -> SplitKVCache:
        """Each stage's keys and values on its own device."""
        whole = self._model.new_cache(num_slots, max_length)
        counts = [stage.num_layers for stage in self.placement.stages]
        return SplitKVCache(whole, list(zip(counts, self._devices, self._kv_dtypes, strict=True)))

    def forward(
        self,
        token_ids: torch.Tensor,
        position_ids: torch.Tensor,
        spans: Sequence[Span],
        output_rows: torch.Tensor,
        poll: Poll,
    ) -> torch.Tensor:
        """As `Model.forward`."""
        return self._model.forward(token_ids, position_ids, spans, output_rows, poll)

    @property
    def size_bytes(self) -> int:
        """Linears, embedding and head of all stages."""
        return sum(self.stage_bytes)


class _PlacedLayer:
    """A layer where it lives: brings there what it needs. home: where the result goes, if said."""

    def __init__(self, layer: Any, device: torch.device) -> None:  # noqa: ANN401 - any family's
        self._layer = layer
        self._device = device
        self.home: torch.device | None = None

    def __call__(
        self,
        x: torch.Tensor,
        rotate: Any,  # noqa: ANN401 - each family has its own
        spans: Sequence[Span],
        poll: Poll,
    ) -> torch.Tensor:
        out = self._layer(x.to(self._device), rotate.to(self._device), spans, poll)
        return out if self.home is None else out.to(self.home)


class LayerSplitRunner(LocalRunner):
    """A `LocalRunner` of a placed model that knows which device holds what."""

    def __init__(
        self, model: PlacedModel, *, num_slots: int, max_length: int, backend: str, num_threads: int
    ) -> None:
        """As `LocalRunner`."""
        super().__init__(
            model,
            num_slots=num_slots,
            max_length=max_length,
            backend=backend,
            num_threads=num_threads,
        )
        self._placement = model.placement

    def memory_bytes(self) -> dict[str, int]:
        """As `Runner.memory_bytes`, by the names of the stages."""
        model = cast(PlacedModel, self._loaded())
        cache = cast(SplitKVCache, self._cache)
        held: dict[str, int] = {}
        sizes = zip(self._placement.stages, model.stage_bytes, cache.stage_bytes(), strict=True)
        for stage, weights, kv_cache in sizes:
            held[stage.name] = held.get(stage.name, 0) + weights + kv_cache
        return held
