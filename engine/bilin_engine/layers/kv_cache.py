"""Keys and values of the tokens seen so far, one block of memory per slot. Knows no attention.

Kept as float32, float16 or bfloat16, or as INT8 with one scale for each token and head: that is
a quarter of float32, and the error of a value is at most half a step of its own head's range.
"""

from collections.abc import Iterator, Sequence

import torch

INT8_LARGEST = 127
SCALE_BYTES = 4  # float32
# INT8 heads are widened a few at a time, so that what attention reads stays in the cache.
WIDENED_BYTES = 16 * 1024**2


class Int8Layer:
    """One slot's keys and values in one layer. codes [2, G, max_length, D], scales without D."""

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor) -> None:
        self._codes = codes
        self._scales = scales

    def write(self, start: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Stores [count, G, D] from token `start` on."""
        end = start + key.shape[0]
        both = torch.stack((key, value)).transpose(1, 2).float()  # [2, G, count, D]
        scales = both.abs().amax(dim=-1) / INT8_LARGEST
        self._scales[:, :, start:end] = scales
        # A head of zeros has scale 0; any divisor gives its codes.
        steps = both / scales.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(-1)
        self._codes[:, :, start:end] = steps.round_().clamp_(-INT8_LARGEST, INT8_LARGEST)

    def widened(self, length: int) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Some heads at a time: which, and float32 keys and values [heads, length, D] of them."""
        num_heads, _, head_dim = self._codes.shape[1:]
        step = max(1, WIDENED_BYTES // max(1, 2 * length * head_dim * 4))
        for first in range(0, num_heads, step):
            heads = slice(first, min(first + step, num_heads))
            values = self._codes[:, heads, :length].float()
            values *= self._scales[:, heads, :length].unsqueeze(-1)
            yield heads, values[0], values[1]


class Int8Block:
    """One slot's memory: codes [num_layers, 2, G, max_length, D], scales without D."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self._codes = torch.empty(shape, dtype=torch.int8, device=device)
        self._scales = torch.empty(shape[:-1], dtype=torch.float32, device=device)

    def __getitem__(self, layer: int) -> Int8Layer:
        return Int8Layer(self._codes[layer], self._scales[layer])

    def layers(self) -> list[Int8Layer]:
        """All of them, in order."""
        return [self[layer] for layer in range(self._codes.shape[0])]

    def take(self, other: "Int8Block", length: int) -> None:
        """Becomes what `other` holds in its first `length` tokens."""
        self._codes[:, :, :, :length] = other._codes[:, :, :, :length]
        self._scales[:, :, :, :length] = other._scales[:, :, :, :length]


def token_bytes(num_layers: int, num_heads: int, head_dim: int, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values."""
    scale = SCALE_BYTES if dtype == torch.int8 else 0
    return num_layers * 2 * num_heads * (head_dim * dtype.itemsize + scale)


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
        self._blocks: list[torch.Tensor | Int8Block | None] = [None] * num_slots
        self._lengths = [0] * num_slots

    def for_layers(self, num_layers: int, device: torch.device, dtype: torch.dtype) -> "KVCache":
        """An empty cache with the same slots for `num_layers` layers on `device`."""
        _, _, num_heads, max_length, head_dim = self._shape
        return KVCache(
            num_slots=self.num_slots,
            num_layers=num_layers,
            num_heads=num_heads,
            head_dim=head_dim,
            max_length=max_length,
            dtype=dtype,
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

    def block(self, slot: int) -> torch.Tensor | Int8Block:
        """The slot's memory [num_layers, 2, H, max_length, D]; allocated here the first time."""
        block = self._blocks[slot]
        if block is None:
            if self._dtype == torch.int8:
                block = Int8Block(self._shape, self.device)
            else:
                block = torch.empty(self._shape, dtype=self._dtype, device=self.device)
            self._blocks[slot] = block
        return block

    def address(self, slot: int) -> int:
        """Where the slot's block begins in memory, for kernels. Not for INT8, which has two."""
        block = self.block(slot)
        assert isinstance(block, torch.Tensor), "whoever builds the kernels' step checks dtype"
        return block.data_ptr()

    def layer_blocks(self, slot: int) -> "list[torch.Tensor] | list[Int8Layer]":
        """The slot's memory layer by layer."""
        block = self.block(slot)
        return list(block.unbind(0)) if isinstance(block, torch.Tensor) else block.layers()

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
                _take(self.block(target), kept, lengths[source])

    def clear(self) -> None:
        """Frees every block and forgets every token."""
        self._blocks = [None] * self.num_slots
        self._lengths = [0] * self.num_slots

    def memory_bytes(self) -> int:
        """Bytes in use: on the CPU what the tokens held need, elsewhere what is allocated."""
        layers, _, heads, _, head_dim = self._shape
        per_token = token_bytes(layers, heads, head_dim, self._dtype)
        if self.device.type == "cpu":
            return per_token * sum(self._lengths)
        return per_token * self.max_length * sum(block is not None for block in self._blocks)


def _take(target: torch.Tensor | Int8Block, source: torch.Tensor | Int8Block, length: int) -> None:
    if isinstance(target, Int8Block) and isinstance(source, Int8Block):
        target.take(source, length)
    elif isinstance(target, torch.Tensor) and isinstance(source, torch.Tensor):
        target[:, :, :, :length] = source[:, :, :, :length]
