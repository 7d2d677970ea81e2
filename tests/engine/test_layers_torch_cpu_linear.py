"""The CPU INT4 and INT8 linears against dequantize-and-multiply in float32."""

import pytest
import torch

from bilin_engine.checkpoints import int4
from bilin_engine.config import GroupSize, QuantizationScheme
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers import linear as linears
from bilin_engine.layers import torch_cpu_linear
from bilin_engine.layers.linear import DenseLinear, ReferenceLinear, dense_dtype
from bilin_engine.layers.torch_cpu_linear import (
    TorchInt4Linear,
    TorchInt8Linear,
    Workspace,
    kernel_block,
)

# bfloat16 input, scales and output, 8 bits each: relative error of a sum stays under 1 %
# of the largest output; a wrong row, group or nibble is of the size of the output itself.
RELATIVE = 0.01


def stored(n: int, k: int, bits: int, group_size: GroupSize):
    generator = torch.Generator().manual_seed(n * k)
    weight = torch.randn(n, k, generator=generator) * (1 + torch.arange(n)[:, None] / n)
    quantized = int4.quantize(weight, QuantizationScheme(bits, group_size), "w", torch.float32)
    return int4.pack(quantized.codes, bits), quantized.scales


def assert_close(linear, packed, scales, k, bits, rows):
    x = torch.randn(rows, k, generator=torch.Generator().manual_seed(rows))
    expected = ReferenceLinear(packed, scales, k, bits)(x)
    found = linear(x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < RELATIVE * expected.abs().max()


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 96, 150])
@pytest.mark.parametrize("keep_dense", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "group_size"),
    [
        (64, 64, 32),
        (64, 128, 64),
        (128, 256, 128),
        (192, 384, 192),  # 192 becomes three groups of 64
        (80, 512, 256),  # one whole block and a tail of 16 rows
        (112, 96, "row"),  # a tail of 48 rows, and a row of three groups of 32
        (2048 + 32, 128, "row"),  # more than one slice of packing
    ],
)
def test_every_way_to_compute_gives_the_reference(n, k, group_size, keep_dense, rows):
    packed, scales = stored(n, k, 4, group_size)
    linear = TorchInt4Linear(packed, scales, k, Workspace(), "w", keep_dense=keep_dense)
    assert_close(linear, packed, scales, k, 4, rows)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("keep_dense", [False, True])
def test_processors_with_and_without_bfloat16_give_the_reference(monkeypatch, dtype, keep_dense):
    monkeypatch.setattr(torch_cpu_linear, "dense_dtype", lambda: dtype)
    packed, scales = stored(80, 256, 4, 64)
    linear = TorchInt4Linear(packed, scales, 256, Workspace(), "w", keep_dense=keep_dense)
    assert_close(linear, packed, scales, 256, 4, 150)


@pytest.mark.parametrize("rows", [15, 16, 40])
def test_plain_weights_are_widened_where_16_bits_are_slow(monkeypatch, rows):
    monkeypatch.setattr(linears, "dense_dtype", lambda: torch.float32)
    monkeypatch.setattr(linears, "_WIDENED", 64 * 7)  # blocks that do not divide the rows
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(2))
    expected = x.to(torch.bfloat16).double() @ weight.double().T
    found = DenseLinear(weight)(x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < RELATIVE * expected.abs().max()


def test_the_kernels_layout_is_known_on_this_processor():
    assert kernel_block() in (64, 32)


def test_dequantizing_is_exact_but_for_one_rounding():
    """Codes times scale, rounded once to bfloat16: bit for bit."""
    packed, scales = stored(80, 256, 4, 64)
    scales = scales.to(torch.bfloat16).float()
    linear = TorchInt4Linear(packed, scales, 256, Workspace(), "w")
    codes = int4.unpack(packed, 256, 4)
    expected = int4.dequantize(int4.QuantizedWeight(codes, scales, 4)).to(torch.bfloat16)
    found = linear._dequantize(torch.empty(256, 80, dtype=torch.bfloat16)).T
    assert torch.equal(found, expected)


def test_an_unknown_layout_leaves_every_row_to_the_kernel(monkeypatch):
    packed, scales = stored(64, 128, 4, 32)
    linear = TorchInt4Linear(packed, scales, 128, Workspace(), "w")
    monkeypatch.setattr(torch_cpu_linear, "kernel_block", lambda: None)
    assert_close(linear, packed, scales, 128, 4, 200)


def test_the_workspace_is_shared_and_grows_to_the_largest():
    workspace = Workspace()
    small = workspace.get(8, 8)
    large = workspace.get(16, 16)
    assert small.shape == (8, 8)
    assert workspace.size_bytes == dense_dtype().itemsize * 16 * 16
    assert workspace.get(4, 8).data_ptr() == large.data_ptr()


@pytest.mark.parametrize(("n", "k", "group_size"), [(24, 64, 32), (64, 72, "row")])
def test_shapes_the_kernel_does_not_take_are_refused_with_a_way_out(n, k, group_size):
    packed, scales = stored(n, k, 4, group_size)
    with pytest.raises(UnsupportedModelError, match=f"mlp.up: .* {n} rows .*backend reference"):
        TorchInt4Linear(packed, scales, k, Workspace(), "mlp.up")


@pytest.mark.parametrize("rows", [1, 33])
@pytest.mark.parametrize(("k", "group_size"), [(128, "row"), (256, 64)])
def test_int8_gives_the_reference(rows, k, group_size):
    packed, scales = stored(48, k, 8, group_size)
    assert_close(TorchInt8Linear(packed, scales, k), packed, scales, k, 8, rows)
