import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilin_kernels import packing

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**31))
gatings = st.sampled_from(["none", "gate_up", "up_gate"])


def random_values(n, k, seed, low=-8, high=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (n, k), generator=generator, dtype=torch.int8)


@given(shapes)
@settings(max_examples=25, deadline=None)
def test_int4_words_round_trip(shape):
    rows, words, seed = shape
    values = random_values(rows, 8 * words, seed)
    assert torch.equal(packing.unpack_int4(packing.pack_int4(values)), values)


def test_low_nibble_comes_first_and_codes_are_offset_by_8():
    values = torch.tensor([[-8, -7, -6, -5, -4, -3, -2, 7]], dtype=torch.int8)
    assert packing.pack_int4(values).item() == 0xF6543210 - (1 << 32)


@given(shapes)
@settings(max_examples=25, deadline=None)
def test_tile16_round_trip(shape):
    tiles, steps, seed = shape
    words = packing.pack_int4(random_values(16 * tiles, 64 * steps, seed))
    assert torch.equal(packing.from_tile16(packing.to_tile16(words)), words)


def test_tile16_lies_as_the_docstring_draws_it():
    n, k = 32, 128
    values = random_values(n, k, 1)
    tiles = packing.to_tile16(packing.pack_int4(values)).to(torch.int64) & 0xFFFFFFFF
    order = [0, 4, 2, 6, 1, 5, 3, 7]  # k of the nibbles, lowest bits first
    for tile, step, lane in [(0, 0, 0), (0, 1, 5), (1, 0, 18), (1, 1, 31)]:
        g, t = divmod(lane, 4)
        for word in range(4):
            row = 16 * tile + g + 8 * (word % 2)
            first_k = 64 * step + 32 * (word // 2) + 8 * t
            for nibble in range(8):
                code = int(tiles[tile, step, lane, word] >> 4 * nibble) & 15
                assert code - 8 == values[row, first_k + order[nibble]]


@given(shapes, st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_scales_round_trip_and_pair_rows_g_and_g_plus_8(shape, groups):
    tiles, _, seed = shape
    scales = torch.rand(16 * tiles, groups, generator=torch.Generator().manual_seed(seed)).half()
    packed = packing.scales_to_tile16(scales)
    assert torch.equal(packing.scales_from_tile16(packed), scales)
    assert packed[0, groups - 1, 3].tolist() == scales[[3, 11], groups - 1].tolist()


@given(shapes, gatings)
@settings(max_examples=25, deadline=None)
def test_prepacked_int4_round_trip(shape, gating):
    pairs, steps, seed = shape
    n, k = 32 * pairs, 64 * steps
    words = packing.pack_int4(random_values(n, k, seed))
    scales = torch.rand(n, steps, generator=torch.Generator().manual_seed(seed)).half()
    packed = packing.prepack_int4(words, scales, gating)
    assert (packed.n, packed.k, packed.group_size) == (n, k, 64)
    assert packed.outputs == (n if gating == "none" else n // 2)
    assert packed.size_bytes() == n * k // 2 + 2 * n * steps
    back, back_scales = packing.unpack_prepacked(packed)
    assert torch.equal(back, words)
    assert torch.equal(back_scales, scales)


def test_gated_tiles_alternate():
    orders: list[tuple[packing.Gating, int]] = [("gate_up", 0), ("up_gate", 32)]
    scales = torch.arange(64).view(64, 1).half()
    words = torch.zeros(64, 8, dtype=torch.int32)
    for gating, first in orders:
        rows = packing.scales_from_tile16(packing.prepack_int4(words, scales, gating).scales)
        second = 32 - first
        assert rows[::16, 0].tolist() == [first, second, first + 16, second + 16]


@given(shapes)
@settings(max_examples=15, deadline=None)
def test_prepacked_int8_round_trip(shape):
    tiles, steps, seed = shape
    weight = random_values(16 * tiles, 64 * steps, seed, -128, 128)
    scales = torch.rand(16 * tiles, 1, generator=torch.Generator().manual_seed(seed)).half()
    back, back_scales = packing.unpack_prepacked(packing.prepack_int8(weight, scales))
    assert torch.equal(back, weight)
    assert torch.equal(back_scales, scales)


def test_many_rows_are_packed_in_pieces(monkeypatch):
    words = packing.pack_int4(random_values(80, 64, 3))
    whole = packing.to_tile16(words)
    monkeypatch.setattr(packing, "_ROWS_AT_ONCE", 32)
    assert torch.equal(packing.to_tile16(words), whole)


@pytest.mark.parametrize(
    ("words", "scales", "gating", "message"),
    [
        ((24, 8), (24, 1), "none", "n = 24 is not supported; use a multiple of 16"),
        ((48, 8), (48, 1), "gate_up", "n = 48 is not supported; use a multiple of 32 for gate_up"),
        ((16, 4), (16, 1), "none", "k = 32 is not supported; use a multiple of 64"),
        ((16, 24), (16, 5), "none", "5 scales per row do not divide k = 192"),
        ((16, 24), (16, 2), "none", "group_size 96 is not supported; use 32 or a multiple of 64"),
        ((16, 8), (32, 1), "none", r"scales of shape \(32, 1\); use \(16, k/group_size\)"),
        ((16, 8), (16, 1), "both", "gating 'both'; use none, gate_up or up_gate"),
    ],
)
def test_unsupported_shape_is_named(words, scales, gating, message):
    with pytest.raises(ValueError, match=message):
        packing.prepack_int4(
            torch.zeros(words, dtype=torch.int32), torch.ones(scales, dtype=torch.float16), gating
        )


def test_wrong_types_are_named():
    words, scales = torch.zeros(16, 8, dtype=torch.int32), torch.ones(16, 1)
    with pytest.raises(ValueError, match=r"scales are torch\.float32; use float16 or bfloat16"):
        packing.prepack_int4(words, scales)
    with pytest.raises(ValueError, match=r"weight_packed is torch\.int64 \(16, 8\); use int32"):
        packing.prepack_int4(words.long(), scales.half())
    with pytest.raises(ValueError, match=r"weight is torch\.int32 \(16, 8\); use int8"):
        packing.prepack_int8(words, scales.half())
    with pytest.raises(ValueError, match="values from 0 to 8; use -8 to 7"):
        packing.pack_int4(torch.arange(8).view(1, 8) * 8 // 7)
    with pytest.raises(ValueError, match="group_size 32 is not supported for INT8"):
        packing.prepack_int8(torch.zeros(16, 64, dtype=torch.int8), torch.ones(16, 2).half())
