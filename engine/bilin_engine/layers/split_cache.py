"""Keys and values of a model whose layers lie on several devices. Knows no maths."""

from collections.abc import Sequence

import torch

from bilin_engine.layers.kv_cache import Int8Layer, KVCache


class LayerBlocks:
    """One slot's blocks: `blocks[layer]` is [2, H, max_length, D] on the layer's device."""

    def __init__(self, layers: "list[torch.Tensor | Int8Layer]") -> None:
        self._layers = layers

    def __getitem__(self, layer: int) -> "torch.Tensor | Int8Layer":
        return self._layers[layer]


class SplitKVCache(KVCache):
    """A `KVCache` in several parts, one a device."""

    def __init__(
        self, whole: KVCache, stages: Sequence[tuple[int, torch.device, torch.dtype]]
    ) -> None:
        """whole: an unused cache of all layers. stages: layers, device and dtype, in order."""
        super().__init__(
            num_slots=whole.num_slots,
            num_layers=0,
            num_heads=0,
            head_dim=0,
            max_length=whole.max_length,
            dtype=torch.float32,
            device=whole.device,
        )
        self._parts = [whole.for_layers(*stage) for stage in stages]

    def length(self, slot: int) -> int:
        """As `KVCache.length`."""
        return self._parts[0].length(slot)

    def set_length(self, slot: int, length: int) -> None:
        """As `KVCache.set_length`."""
        for part in self._parts:
            part.set_length(slot, length)

    def block(self, slot: int) -> LayerBlocks:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All layers' memory of one slot."""
        return LayerBlocks([layer for part in self._parts for layer in part.layer_blocks(slot)])

    def copy(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """As `KVCache.copy`."""
        for part in self._parts:
            part.copy(src, dst)

    def clear(self) -> None:
        """As `KVCache.clear`."""
        for part in self._parts:
            part.clear()

    def memory_bytes(self) -> int:
        """As `KVCache.memory_bytes`, of all stages."""
        return sum(self.stage_bytes())

    def stage_bytes(self) -> list[int]:
        """`memory_bytes` by stage."""
        return [part.memory_bytes() for part in self._parts]
