"""csrc/cpu/linear.h against the dequantized weights in float64, within what rounding x may cost."""

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch
from cpu_kernels import needs_cpu_kernels

from bilin_kernels import cpu_compile, cpu_library, cpu_ops, packing, reference

pytestmark = needs_cpu_kernels


def test_the_kernels_are_there_and_right():
    """Where a machine can have them; else everything would pass on torch's own."""
    assert cpu_ops.is_available(), cpu_library.why_not()


SHAPES = [
    (16, 32, 32),
    (48, 256, 32),
    (40, 512, 128),
    (160, 1536, 1536),
    (64, 96, 96),
    (33, 80, 40),
]


def quantized(bits: int, n: int, k: int, group: int, dtype: torch.dtype = torch.float16):
    generator = torch.Generator().manual_seed(n + k + bits)
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (n, k), dtype=torch.int8, generator=generator)
    scales = (torch.rand(n, k // group, generator=generator) * 0.1 + 0.001).to(dtype)
    return codes, scales


def prepacked(bits: int, codes: torch.Tensor, scales: torch.Tensor, bias=None):
    if bits == 8:
        return cpu_ops.prepack_int8(codes, scales, bias)
    return cpu_ops.prepack_int4(packing.pack_int4(codes), scales, bias)


def dequantized(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    grouped = codes.double().unflatten(1, (scales.shape[1], -1))
    return (grouped * scales.double().unsqueeze(2)).flatten(1)


def activations(m: int, k: int) -> torch.Tensor:
    x = torch.randn(m, k, generator=torch.Generator().manual_seed(m))
    x[:, 3] *= 50  # an outlier, as GLM-130B's activations have them
    return x


def bound(x: torch.Tensor, weight: torch.Tensor, chunk: int) -> torch.Tensor:
    """What y may be off by: half a step of every chunk of x, and float32's own sums."""
    chunks = x.double().unflatten(1, (-1, chunk))
    steps = chunks.abs().amax(dim=2) / 32767
    of_x = (0.5 * steps) @ weight.abs().unflatten(1, (-1, chunk)).sum(dim=2).T
    return of_x * 1.01 + 1e-6 * (x.double().abs() @ weight.abs().T)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 9, 32])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("n", "k", "group"), SHAPES)
def test_products_are_off_by_the_rounding_of_x_alone(n, k, group, bits, m):
    codes, scales = quantized(bits, n, k, group)
    weight, x = prepacked(bits, codes, scales), activations(m, k)
    exact = dequantized(codes, scales)
    y = cpu_ops.linear(x, weight)
    assert y.shape == (m, n)
    assert ((y.double() - x.double() @ exact.T).abs() <= bound(x, exact, weight.chunk)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scales_may_be_of_any_kind(dtype):
    codes, scales = quantized(4, 48, 256, 64, dtype)
    bias = torch.arange(48.0)
    weight, x = prepacked(4, codes, scales, bias), activations(2, 256)
    exact = dequantized(codes, scales)
    off = cpu_ops.linear(x, weight).double() - (x.double() @ exact.T + bias.double())
    assert (off.abs() <= bound(x, exact, weight.chunk) + 1e-5).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_has_the_same_bits_alone_and_among_others_and_on_any_number_of_threads(bits):
    weight = prepacked(bits, *quantized(bits, 160, 512, 128))
    x = activations(11, 512)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = cpu_ops.linear(x, weight)
        alone = torch.cat([cpu_ops.linear(row, weight) for row in x.split(1)])
        torch.set_num_threads(3)
        threaded = cpu_ops.linear(x, weight)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, threaded)


def test_extreme_codes_and_activations_do_not_overflow():
    codes = torch.full((16, 256), -128, dtype=torch.int8)
    weight = cpu_ops.prepack_int8(codes, torch.ones(16, 1))
    x = torch.full((1, 256), 3.0)
    assert torch.allclose(cpu_ops.linear(x, weight), torch.full((1, 16), -128.0 * 3 * 256))
    four = prepacked(4, torch.full((16, 256), -8, dtype=torch.int8), torch.ones(16, 1))
    assert torch.allclose(cpu_ops.linear(-x, four), torch.full((1, 16), 8.0 * 3 * 256))


@pytest.mark.parametrize("value", [0.0, 1e-42])
def test_nothing_and_next_to_nothing_give_zero(value):
    weight = prepacked(4, *quantized(4, 16, 64, 32))
    assert (cpu_ops.linear(torch.full((1, 64), value), weight) == 0).all()


def test_a_broken_activation_is_seen_in_the_result():
    weight = prepacked(4, *quantized(4, 16, 64, 32))
    for broken in (float("inf"), float("nan")):
        x = torch.ones(1, 64)
        x[0, 5] = broken
        assert not cpu_ops.linear(x, weight).isfinite().any()


def test_rows_of_an_int8_matrix_are_its_dequantized_rows():
    codes, scales = quantized(8, 40, 96, 32)
    ids = torch.tensor([39, 0, 7, 16, 7])
    rows = cpu_ops.prepack_int8(codes, scales).rows(ids)
    assert torch.equal(rows, reference.dequantize(codes, scales, torch.float32)[ids])


def test_what_cannot_be_is_refused_in_a_sentence():
    codes, scales = quantized(4, 16, 64, 32)
    with pytest.raises(ValueError, match="use \\(16, groups of 64 columns\\)"):
        cpu_ops.prepack_int4(packing.pack_int4(codes), scales[:8])
    with pytest.raises(ValueError, match="groups of 4 columns"):
        cpu_ops.prepack_int8(codes, torch.ones(16, 16))
    with pytest.raises(ValueError, match="float64"):
        cpu_ops.prepack_int8(codes, scales.double())
    with pytest.raises(ValueError, match="x of shape"):
        cpu_ops.linear(torch.ones(1, 32), prepacked(4, codes, scales))
    with pytest.raises(ValueError, match="only INT8"):
        prepacked(4, codes, scales).rows(torch.tensor([0]))


def test_avx512_code_gives_the_numbers_of_avx2(tmp_path, monkeypatch):
    """The AVX-512 path on a stand-in of its instructions, for machines that have none."""
    shim = Path(__file__).with_name("avx512_shim.h")
    target = cpu_compile.TARGETS[-1]
    library = tmp_path / "step.so"
    source = cpu_compile.SOURCE_DIR / "step.c"
    command = [cpu_compile.find_compiler(), *cpu_compile.FLAGS, *target.flags, "-O1", "-include"]
    subprocess.run([*command, str(shim), str(source), "-o", str(library), "-lm"], check=True)
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    weights = [
        prepacked(bits, *quantized(bits, 48, 256, 64, dtype)) for bits in (4, 8) for dtype in dtypes
    ]
    inputs = [activations(m, 256) for m in (1, 2, 3, 4, 6)]
    expected = [cpu_ops.linear(x, weight) for weight in weights for x in inputs]
    monkeypatch.setattr(cpu_library, "load", lambda: ctypes.CDLL(str(library)))
    shimmed = [cpu_ops.linear(x, weight) for weight in weights for x in inputs]
    for one, other in zip(shimmed, expected, strict=True):
        assert torch.equal(one, other)
