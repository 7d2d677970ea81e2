import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_kernels.plan import flush_k, group_magic, plan_gemm


@given(st.integers(0, 32767), st.integers(1, 512))
def test_magic_divides_steps_exactly(step, steps_per_group):
    magic = group_magic(64 * steps_per_group)
    assert magic < 1 << 32
    assert (2 * step + 1) * magic >> 32 == step // steps_per_group


@pytest.mark.parametrize(
    ("group_size", "k", "flush"),
    [
        (32, 256, 32),
        (64, 256, 64),
        (128, 256, 128),
        (192, 384, 64),
        (4096, 32768, 128),
        (192, 192, 128),
    ],
)
def test_flush_never_spans_two_groups(group_size, k, flush):
    assert flush_k(group_size, k) == flush


shapes = st.tuples(
    st.integers(1, 200), st.integers(1, 300), st.integers(1, 64), st.sampled_from([2, 66, 132])
)


@given(shapes, st.sampled_from([4, 8]))
def test_blocks_cover_the_shape(shape, bits):
    m, tiles, steps, num_sms = shape
    n, k = 16 * tiles, 64 * steps
    plan = plan_gemm(m, n, k, 1, bits=bits, dtype="f16", num_sms=num_sms)
    columns = 8 * int(plan.kernel.split("_n")[1].split("_")[0])
    tiles_per_block = int(plan.kernel.split("_r")[1][0])
    assert (plan.grid[0] - 1) * columns < m <= plan.grid[0] * columns
    assert (plan.grid[1] - 1) * tiles_per_block < tiles <= plan.grid[1] * tiles_per_block
    assert plan.block * tiles_per_block == 512
    split = plan.grid[2]
    assert 1 <= split <= steps
    values = plan.grid[0] * plan.grid[1] * split * columns * tiles_per_block * 16
    assert plan.workspace_floats == (values if split > 1 else 0)


def test_few_rows_split_k_and_many_rows_widen_blocks():
    def plan(n, m=1):
        return plan_gemm(m, n, 12288, 1, bits=4, dtype="f16", num_sms=132)

    assert plan(1024).grid[2] > 1
    assert plan(36864).kernel == "w4a16_f16_r2_n1_g128"
    assert plan(65536).kernel == "w4a16_f16_r4_n1_g128"
    assert plan(65536).grid[2] == 1
    assert plan(65536, m=9).kernel == "w4a16_f16_r2_n2_g64"


def test_impossible_choices_are_named():
    with pytest.raises(ValueError, match="4 tiles a block exist for INT4, m <= 8"):
        plan_gemm(9, 64, 256, 1, bits=4, dtype="f16", num_sms=4, tiles_per_block=4)
    with pytest.raises(ValueError, match="split 5 of k = 256; use 1 to 2"):
        plan_gemm(1, 64, 256, 1, bits=4, dtype="f16", num_sms=4, split=5)
