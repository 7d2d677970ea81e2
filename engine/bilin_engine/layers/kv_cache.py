"""Keys and values of the tokens seen so far, one block of memory per slot. Knows no maths."""

from collections.abc import Sequence

import torch


class KVCache:
    """Slots of `max_length` tokens, each allocated once, when it is first used, and then kept.

    A slot's block is [num_layers, 2, H, max_length, D]. On the CPU the system gives memory only
    to the tokens really written. Slots are numbers; blocks move between them, so copying a
    permutation costs nothing.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        num_layers: int,
        num_heads: int,
        head_dim: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        self._shape = (num_layers, 2, num_heads, max_length, head_dim)
        self._dtype = dtype
        self.device = device
        self._blocks: list[torch.Tensor | None] = [None] * num_slots
        self._lengths = [0] * num_slots

    def for_layers(self, num_layers: int, device: torch.device) -> "KVCache":
        """An empty cache with the same slots for `num_layers` layers on `device`."""
        _, _, num_heads, max_length, head_dim = self._shape
        return KVCache(
            num_slots=self.num_slots,
            num_layers=num_layers,
            num_heads=num_heads,
            head_dim=head_dim,
            max_length=max_length,
            dtype=self._dtype,
            device=device,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return self._dtype

    def length(self, slot: int) -> int:
        """Tokens the slot holds."""
        return self._lengths[slot]

    def set_length(self, slot: int, length: int) -> None:
        """The slot holds `length` tokens from now on: after writing, or to forget the rest."""
        self._lengths[slot] = length

    def block(self, slot: int) -> torch.Tensor:
        """The slot's memory [num_layers, 2, H, max_length, D]; allocated here the first time."""
        block = self._blocks[slot]
        if block is None:
            block = torch.empty(self._shape, dtype=self._dtype, device=self.device)
            self._blocks[slot] = block
        return block

    def copy(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """Slot dst[i] becomes what slot src[i] held before the call."""
        blocks, lengths = list(self._blocks), list(self._lengths)
        replaced = set(dst)
        taken: set[int] = set()  # source slots that live on as a block, in some slot
        to_copy: list[tuple[int, int]] = []
        for source, target in zip(src, dst, strict=True):
            self._lengths[target] = lengths[source]
            if source in replaced and source not in taken:
                taken.add(source)
                self._blocks[target] = blocks[source]
            else:
                to_copy.append((source, target))
        spare = [blocks[slot] for slot in dst if slot not in taken]
        for source, target in to_copy:
            self._blocks[target] = spare.pop()
            kept = blocks[source]
            if kept is not None and lengths[source]:
                part = (slice(None),) * 3 + (slice(lengths[source]),)
                self.block(target)[part] = kept[part]

    def clear(self) -> None:
        """Frees every block and forgets every token."""
        self._blocks = [None] * self.num_slots
        self._lengths = [0] * self.num_slots

    def memory_bytes(self) -> int:
        """Bytes in use: on the CPU what the tokens held need, elsewhere what is allocated."""
        layers, two, heads, _, head_dim = self._shape
        per_token = layers * two * heads * head_dim * self._dtype.itemsize
        if self.device.type == "cpu":
            return per_token * sum(self._lengths)
        return per_token * self.max_length * sum(block is not None for block in self._blocks)
