"""One training sample: a bidirectional prefix and the blocks that fill its masks.

A block is what generation sees (glm.md 3.5): `sop`, then the tokens, predicted one after another.
A block sees the whole prefix and itself, never another block: at inference each blank is filled
with the prompt encoded afresh, so blocks trained side by side must not see each other either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COUNT_ON = 0xFFFF  # a [gMASK] block's positions go on after the prefix
MAX_VOCAB_SIZE = 1 << 16  # ids are packed as uint16
IGNORED = -100  # target of a token that carries no loss
PADDING_BLOCK = -1


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens that fill one mask.

    mask_index: index in the prefix of a [MASK] or [sMASK], whose position `sop` and all tokens
    keep; COUNT_ON for [gMASK]. is_closed: `eop` follows; False where the text was cut off, so that
    a stop is not learnt there.
    """

    token_ids: tuple[int, ...]
    mask_index: int
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """prefix: ids up to and without `sop`, masks included."""

    prefix: tuple[int, ...]
    blocks: tuple[Block, ...]

    @property
    def length(self) -> int:
        """Input tokens: prefix, and `sop` and tokens of every block."""
        return len(self.prefix) + sum(1 + len(block.token_ids) for block in self.blocks)

    @property
    def num_targets(self) -> int:
        """Tokens that carry loss."""
        return sum(len(block.token_ids) + block.is_closed for block in self.blocks)


def pack(sample: Sample) -> list[int]:
    """The sample as uint16 values: sizes, (mask_index, is_closed, length) per block, then ids."""
    record = [len(sample.prefix), len(sample.blocks)]
    for block in sample.blocks:
        record += (block.mask_index, int(block.is_closed), len(block.token_ids))
    record += sample.prefix
    for block in sample.blocks:
        record += block.token_ids
    return record


def unpack(record: Sequence[int] | NDArray[np.uint16]) -> Sample:
    """The inverse of `pack`."""
    values = [int(value) for value in record]
    num_prefix, num_blocks = values[0], values[1]
    at = 2 + 3 * num_blocks
    prefix = tuple(values[at : at + num_prefix])
    at += num_prefix
    blocks: list[Block] = []
    for index in range(num_blocks):
        mask_index, is_closed, length = values[2 + 3 * index : 5 + 3 * index]
        blocks.append(Block(tuple(values[at : at + length]), mask_index, bool(is_closed)))
        at += length
    return Sample(prefix, tuple(blocks))


@dataclass(frozen=True, slots=True)
class Arrays:
    """A padded batch, all [B, T]. block_ids: 0 prefix, 1… blocks, PADDING_BLOCK padding."""

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    block_ids: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def num_targets(self) -> int:
        """Tokens that carry loss."""
        return int((self.targets != IGNORED).sum())


def collate(samples: Sequence[Sample], *, sop: int, eop: int, multiple: int = 1) -> Arrays:
    """The samples as a batch, padded on the right to the longest (a multiple of `multiple`)."""
    width = max(sample.length for sample in samples)
    width += -width % multiple
    shape = (len(samples), width)
    batch = Arrays(
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, PADDING_BLOCK, np.int64),
        np.full(shape, IGNORED, np.int64),
    )
    for row, sample in enumerate(samples):
        at = len(sample.prefix)
        batch.input_ids[row, :at] = sample.prefix
        batch.position_ids[row, :at] = np.arange(at)
        batch.block_ids[row, :at] = 0
        for number, block in enumerate(sample.blocks, start=1):
            size = 1 + len(block.token_ids)
            end = at + size
            batch.input_ids[row, at:end] = (sop, *block.token_ids)
            batch.block_ids[row, at:end] = number
            if block.mask_index == COUNT_ON:
                batch.position_ids[row, at:end] = np.arange(
                    len(sample.prefix), len(sample.prefix) + size
                )
            else:
                batch.position_ids[row, at:end] = block.mask_index
            batch.targets[row, at : end - 1] = block.token_ids
            if block.is_closed:
                batch.targets[row, end - 1] = eop
            at = end
    return batch
