"""Which kernel runs a shape, on which grid: pure arithmetic, the same for every launcher.

Knows nothing of tensors and devices beyond the number of multiprocessors.
"""

from dataclasses import dataclass
from typing import Literal

from bilin_kernels.packing import STEP_K, TILE_ROWS

DTypeName = Literal["f16", "bf16"]

# Blocks of 256 threads an SM holds beside their 48 KiB of shared memory, on the smallest target.
_BLOCKS_PER_SM = 2
_MAX_SPLIT = 8
# From this many waves of blocks on, four tiles a block halve what each weight costs in reads of x,
# and the last wave costs little. An estimate, no measurement.
_WAVES_FOR_WIDE_BLOCKS = 3
# m a launch of the decode kernel takes at once; more is more blocks on the same weights.
_MAX_COLUMNS = 32

# Decode attention, csrc/decode_attention.cu: query heads a block takes, and positions a split has
# at least. More splits than this cost the block that adds them up more than they gain: an estimate.
ATTENTION_HEADS = 16
_ATTENTION_POSITIONS = 128
_MAX_ATTENTION_SPLITS = 32


@dataclass(frozen=True, slots=True)
class GemmPlan:
    """One launch of the decode GEMM.

    grid: (blocks of x rows, blocks of weight rows, splits of k). workspace_floats and num_counters
    are 0 unless k is split.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: int
    workspace_floats: int
    num_counters: int


def flush_k(group_size: int, k: int) -> int:
    """k after which a kernel may meet another scale: 128, 64 or 32."""
    if group_size == k or group_size % 128 == 0:
        return 128
    return 32 if group_size == 32 else 64


def plan_gemm(
    m: int,
    n: int,
    k: int,
    groups: int,
    *,
    bits: int,
    dtype: DTypeName,
    num_sms: int,
    split: int | None = None,
    tiles_per_block: Literal[2, 4] | None = None,
) -> GemmPlan:
    """The launch for y[m, n] = x[m, k] weight[n, k]^T. split, tiles_per_block: None decides here.

    Raises ValueError for a forced choice that does not exist for the shape.
    """
    columns = 8 if m <= 8 else 16 if m <= 16 else _MAX_COLUMNS
    flush = flush_k(k // groups, k)
    if columns > 8:
        flush = min(flush, STEP_K)  # the wider kernels take 64 k at a time
    tiles = n // TILE_ROWS
    wide_exists = bits == 4 and columns == 8 and flush == 128
    if tiles_per_block is None:
        waves = tiles / 4 / (num_sms * _BLOCKS_PER_SM)
        tiles_per_block = 4 if wide_exists and waves >= _WAVES_FOR_WIDE_BLOCKS else 2
    elif tiles_per_block == 4 and not wide_exists:
        raise ValueError(
            "4 tiles a block exist for INT4, m <= 8 and groups of 128 multiples; not for "
            f"INT{bits}, m = {m}, group_size {k // groups}"
        )
    warps = 16 // tiles_per_block
    row_blocks = -(-tiles // tiles_per_block)
    column_blocks = -(-m // columns)
    unit = 2 * STEP_K if columns == 8 and bits == 4 else STEP_K
    units = -(-k // unit)
    if split is None:
        wanted = num_sms * _BLOCKS_PER_SM // (row_blocks * column_blocks)
        # every warp keeps at least two units of k, or it is all beginning and end
        split = max(1, min(wanted, _MAX_SPLIT, units // (2 * warps)))
    if not 1 <= split <= units:
        raise ValueError(f"split {split} of k = {k}; use 1 to {units}")
    blocks = row_blocks * column_blocks
    name = f"w{bits}a16_{dtype}_r{tiles_per_block}_n{columns // 8}"
    return GemmPlan(
        kernel=name if bits == 8 else f"{name}_g{flush}",
        grid=(column_blocks, row_blocks, split),
        block=32 * warps,
        workspace_floats=blocks * split * columns * tiles_per_block * 16 if split > 1 else 0,
        num_counters=blocks if split > 1 else 0,
    )


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """One launch of the decode attention.

    grid: (blocks of heads, splits, tokens). num_counters: one for each block of heads and token.
    """

    grid: tuple[int, int, int]
    workspace_floats: int
    num_counters: int


def plan_attention(
    tokens: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    max_length: int,
    *,
    num_sms: int,
    splits: int | None = None,
) -> AttentionPlan:
    """The launch for `tokens` slots of up to max_length tokens, whatever they hold now.

    splits: None decides here. A slot uses as many of them as its length is worth.
    """
    head_blocks = num_kv_heads * -(-num_heads // num_kv_heads // ATTENTION_HEADS)
    places = tokens * head_blocks
    if splits is None:
        wanted = -(-num_sms * _BLOCKS_PER_SM // places)
        splits = min(wanted, _MAX_ATTENTION_SPLITS, -(-max_length // _ATTENTION_POSITIONS))
    return AttentionPlan(
        grid=(head_blocks, splits, tokens),
        workspace_floats=places * splits * ATTENTION_HEADS * (head_dim + 4) if splits > 1 else 0,
        num_counters=places if splits > 1 else 0,
    )


def group_magic(group_size: int) -> int:
    """Turns a step of 64 k into its group: (2 * step + 1) * magic >> 32.

    Exact while 4 * steps * steps_per_group < 2**32, that is for k up to two million.
    """
    steps_per_group = max(1, group_size // STEP_K)
    return -(-(1 << 31) // steps_per_group)
