"""Rotary tables and the slots of the cache."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.layers import attention, kv_cache
from bilin_engine.layers.attention import Span, attend
from bilin_engine.layers.kv_cache import Int8Block, KVCache
from bilin_engine.layers.rotary import RotaryTable


def angles_of(table: RotaryTable, positions: list[int]) -> torch.Tensor:
    """The angle of each pair, read off by rotating unit vectors. [T, D / 2]."""
    unit = torch.zeros(len(positions), 1, 128)
    unit[:, :, :64] = 1.0
    turned = table.at(torch.tensor(positions))(unit)[:, 0]
    return torch.atan2(turned[:, 64:], turned[:, :64])


def test_exact_tables_turn_by_position_over_powers_of_ten_thousand():
    positions = [0, 1, 100, 2047]
    found = angles_of(RotaryTable(128, 2048), positions)
    for row, position in zip(found, positions, strict=True):
        for j, angle in enumerate(row.tolist()):
            exact = position * 10000 ** (-2 * j / 128)
            assert math.remainder(angle - exact, 2 * math.pi) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("length", "largest"), [(128, 0.059), (512, 0.235), (1024, 0.49), (2048, 0.98)]
)
def test_float16_tables_deviate_by_the_published_amounts(length, largest):
    """Largest angle error of the reference's tables, from the fact sheet (glm.md 1.6)."""
    positions = list(range(length))
    rounded = angles_of(RotaryTable(128, 2048, "float16"), positions)
    exact = angles_of(RotaryTable(128, 2048), positions)
    error = torch.remainder(rounded - exact + math.pi, 2 * math.pi) - math.pi
    assert float(error.abs().max()) == pytest.approx(largest, rel=0.02)


def new_cache(num_slots=4) -> KVCache:
    return KVCache(
        num_slots=num_slots,
        num_layers=2,
        num_heads=3,
        head_dim=4,
        max_length=8,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def block(cache: KVCache, slot: int) -> torch.Tensor:
    """A slot's block of a cache that keeps numbers as they are."""
    found = cache.block(slot)
    assert isinstance(found, torch.Tensor)
    return found


def fill(cache: KVCache, slot: int, value: float, length: int) -> None:
    block(cache, slot)[:, :, :, :length] = value
    cache.set_length(slot, length)


@given(
    pairs=st.dictionaries(st.integers(0, 4), st.integers(0, 4), min_size=1),
    lengths=st.lists(st.integers(0, 8), min_size=5, max_size=5),
)
def test_copying_slots_takes_what_they_held_before(pairs, lengths):
    """dst -> src, any permutation, duplicate or empty slot."""
    cache = new_cache(5)
    for slot, length in enumerate(lengths):
        if length:
            fill(cache, slot, slot + 10, length)
    cache.copy(list(pairs.values()), list(pairs))
    for slot in range(5):
        source = pairs.get(slot, slot)
        assert cache.length(slot) == lengths[source]
        if lengths[source]:
            assert (block(cache, slot)[:, :, :, : lengths[source]] == source + 10).all()
    blocks = [block(cache, slot).data_ptr() for slot in range(5)]
    assert len(set(blocks)) == 5


def test_a_slot_is_allocated_once_when_first_used():
    cache = new_cache()
    assert cache.memory_bytes() == 0
    fill(cache, 1, 1.0, 3)
    first = block(cache, 1).data_ptr()
    cache.set_length(1, 0)
    fill(cache, 1, 2.0, 8)
    assert block(cache, 1).data_ptr() == first
    assert cache.memory_bytes() == 2 * 2 * 3 * 4 * 4 * 8


def test_a_permutation_moves_no_data():
    cache = new_cache()
    for slot in range(3):
        fill(cache, slot, slot, 8)
    before = [block(cache, slot).data_ptr() for slot in range(3)]
    cache.copy([2, 0, 1], [0, 1, 2])
    assert [block(cache, slot).data_ptr() for slot in range(3)] == [before[2], before[0], before[1]]


def int8_cache(num_slots=3) -> KVCache:
    return KVCache(
        num_slots=num_slots,
        num_layers=2,
        num_heads=4,
        head_dim=16,
        max_length=32,
        dtype=torch.int8,
        device=torch.device("cpu"),
    )


def read(cache: KVCache, slot: int, layer: int, length: int) -> torch.Tensor:
    """[2, G, length, D], all heads."""
    block = cache.block(slot)
    assert isinstance(block, Int8Block)
    parts = list(block[layer].widened(length))
    return torch.stack([torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])])


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.sampled_from([1e-30, 1e-6, 1.0, 3e4]),
    st.sampled_from([1, 4096, 2**24]),
)
def test_int8_is_off_by_half_a_step_of_its_own_token_and_head(seed, length, size, widened):
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, length, 4, 16, generator=generator) * size
    both[0, 0, 1] = 0.0  # a head of zeros
    cache = int8_cache()
    block = cache.block(1)
    assert isinstance(block, Int8Block)
    block[1].write(3, both[0], both[1])
    before, kv_cache.WIDENED_BYTES = kv_cache.WIDENED_BYTES, widened
    try:
        found = read(cache, 1, 1, 3 + length)[:, :, 3:]
    finally:
        kv_cache.WIDENED_BYTES = before
    exact = both.transpose(1, 2)
    step = exact.abs().amax(-1, keepdim=True) / 127
    # Half a step, and the rounding of the division and the product.
    assert ((found - exact).abs() <= step * (0.5 + 1e-4)).all()
    assert (found[0, 1, 0] == 0).all()


def test_int8_slots_are_copied_with_their_scales():
    cache = int8_cache()
    values = torch.randn(5, 4, 16)
    for layer in range(2):
        block = cache.block(0)
        assert isinstance(block, Int8Block)
        block[layer].write(0, values, -values)
    cache.set_length(0, 5)
    cache.copy([0, 0], [1, 2])
    for slot in (1, 2):
        assert cache.length(slot) == 5
        assert torch.equal(read(cache, slot, 1, 5), read(cache, 0, 1, 5))
    assert cache.memory_bytes() == 3 * 5 * 2 * 2 * 4 * (16 + 4)


@pytest.mark.parametrize("prefix_len", [0, 5, 9])
@pytest.mark.parametrize("num_heads", [4, 8])
def test_int8_attention_is_that_of_the_values_it_kept(prefix_len, num_heads, monkeypatch):
    """Two heads at a time, with a prefix, and query heads that share a key head."""
    monkeypatch.setattr(kv_cache, "WIDENED_BYTES", 2 * 2 * 9 * 16 * 4)
    query = torch.randn(9, num_heads, 16)
    key, value = torch.randn(9, 4, 16), torch.randn(9, 4, 16)
    cache, exact = int8_cache(), torch.zeros(2, 2, 4, 32, 16)
    out = attend(query, key, value, Span(0, 9, 0, prefix_len, cache.block(0)), 1)
    keys, values = read(cache, 0, 1, 9)
    kept = Span(0, 9, 0, prefix_len, exact)
    expected = attend(query, keys.transpose(0, 1), values.transpose(0, 1), kept, 1)
    assert torch.allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("is_cpu", [True, False], ids=["cpu", "gpu"])
@pytest.mark.parametrize(("start", "prefix_len"), [(0, 0), (0, 7), (0, 20), (6, 0), (6, 12)])
def test_attention_in_blocks_of_queries_is_the_same_and_can_be_stopped_between(
    start, prefix_len, is_cpu, monkeypatch
):
    query, polls = torch.randn(20, 8, 16), []
    key, value = torch.randn(20, 4, 16), torch.randn(20, 4, 16)
    before = torch.randn(2, 2, 4, 32, 16)

    def attended():
        span = Span(0, 20, start, prefix_len, before.clone())
        return attend(query, key, value, span, 1, lambda: polls.append(1))

    whole = attended()
    assert len(polls) == (0 < prefix_len - start < 20)  # between the prefix and the rest
    monkeypatch.setattr(attention, "QUERY_ROWS", 6)
    monkeypatch.setattr(attention, "MASKED", 6 * 26)
    by_rows = attention.rows_at_once
    monkeypatch.setattr(attention, "rows_at_once", lambda span, **_: by_rows(span, is_cpu=is_cpu))
    assert torch.allclose(attended(), whole, atol=1e-6)
    assert len(polls) >= 2 or not start + prefix_len


@pytest.mark.parametrize(
    ("start", "count", "prefix_len", "rows"),
    [
        (20_000, 12_000, 0, 1048),
        (0, 32_000, 0, 32_000),  # needs no mask
        (0, 2048, 1024, 2048),
        (200_000, 1, 0, 1),
        (1 << 26, 2, 0, 1),
    ],
)
def test_a_mask_on_a_gpu_stays_small(start, count, prefix_len, rows):
    span = Span(0, count, start, prefix_len, torch.empty(0))
    assert attention.rows_at_once(span, is_cpu=False) == rows


@pytest.mark.parametrize(("count", "total"), [(7, 7), (5, 12), (1, 9)])
def test_groups_as_a_batch_give_what_shared_heads_give(count, total):
    """How a GPU is asked, whose kernels do not all take shared heads."""
    query, keys, values = (
        torch.randn(8, count, 16),
        torch.randn(2, total, 16),
        torch.randn(2, total, 16),
    )
    visible = torch.ones(count, total, dtype=torch.bool).tril(total - count)
    found = attention._by_groups(query, keys, values, visible, is_causal=False)
    assert torch.allclose(found, attention._causal(query, keys, values), atol=1e-6)
    if count == total:
        causal = attention._by_groups(query, keys, values, None, is_causal=True)
        assert torch.allclose(causal, found, atol=1e-6)
