import pytest
import torch

from bilin_kernels import ops, packing, reference
from bilin_kernels.loader import CudaLauncher, KernelLoadError
from bilin_kernels.packing import Gating

F16, BF16 = torch.float16, torch.bfloat16


def make(n=64, k=128, groups=2, dtype=F16, gating: Gating = "none"):
    generator = torch.Generator().manual_seed(5)
    values = torch.randint(-8, 8, (n, k), generator=generator, dtype=torch.int8)
    scales = (torch.rand(n, groups, generator=generator) / 40).to(dtype)
    packed = packing.prepack_int4(packing.pack_int4(values), scales, gating)
    return packed, reference.dequantize(values, scales, torch.float32)


@pytest.mark.parametrize("gating", ["none", "gate_up", "up_gate"])
@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("out_dtype", [None, torch.float32])
def test_reference_backend_and_dequantize_method_agree(dtype, gating, out_dtype):
    packed, weight = make(dtype=dtype, gating=gating)
    x = torch.randn(5, 128).to(dtype)
    options = {
        "bias": torch.randn(64).to(dtype),
        "activation": "none" if gating == "none" else "silu",
        "residual": torch.randn(5, packed.outputs).to(dtype),
        "alpha": 1.5,
        "out_dtype": out_dtype,
    }
    expected = reference.linear(x, weight, gating=gating, **options)
    decode = ops.w4a16_linear(x, packed, backend="reference", **options)
    assert torch.equal(decode, expected)
    prefill = ops.w4a16_linear(x, packed, backend="reference", method="dequantize", **options)
    assert prefill.dtype == (out_dtype or dtype)
    # weight, product and epilogue are rounded to 16 bits one after another
    error = (prefill.float() - expected.float()).norm() / expected.float().norm()
    assert error < (2e-3 if dtype == F16 else 1.6e-2)


@pytest.mark.parametrize("out_dtype", [F16, torch.float32])
def test_a_scaled_residual_beyond_float16_is_no_infinity(out_dtype):
    packed, weight = make()
    options = {
        "bias": torch.full((64,), -30000.0).half(),
        "residual": torch.full((2, 64), 6000.0).half(),
        "alpha": 11.83,
        "out_dtype": out_dtype,
    }
    x = torch.zeros(2, 128).half()
    y = ops.w4a16_linear(x, packed, backend="reference", method="dequantize", **options)
    torch.testing.assert_close(y, reference.linear(x, weight, **options))
    assert y[0, 0] == pytest.approx(70980 - 30000, rel=1e-3)


def test_dequantize_method_works_in_pieces(monkeypatch):
    packed, _ = make(n=96, gating="up_gate")
    x, bias = torch.randn(3, 128).half(), torch.randn(96).half()
    options = {"bias": bias, "activation": "gelu", "backend": "reference", "method": "dequantize"}
    whole = ops.w4a16_linear(x, packed, **options)
    monkeypatch.setattr(ops, "DEQUANTIZE_BYTES", 32 * 128 * 2)
    # another width, another order of sums in the CPU's product: a last place or two
    torch.testing.assert_close(ops.w4a16_linear(x, packed, **options), whole, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("gating", ["none", "gate_up", "up_gate"])
def test_dequantize_gives_the_model_folders_rows(gating):
    packed, weight = make(gating=gating)
    assert torch.equal(ops.dequantize(packed, backend="reference"), weight.half())


def test_int8_linear():
    generator = torch.Generator().manual_seed(6)
    values = torch.randint(-128, 128, (32, 64), generator=generator, dtype=torch.int8)
    scales = (torch.rand(32, 1, generator=generator) / 100).half()
    packed = packing.prepack_int8(values, scales)
    x = torch.randn(2, 64).half()
    expected = reference.linear(x, reference.dequantize(values, scales, torch.float32))
    assert torch.equal(ops.w8a16_linear(x, packed, backend="reference"), expected)
    with pytest.raises(ValueError, match="the weight has 8 bits; w4a16_linear takes 4"):
        ops.w4a16_linear(x, packed, backend="reference")
    with pytest.raises(ValueError, match="the weight has 4 bits; w8a16_linear takes 8"):
        ops.w8a16_linear(torch.zeros(1, 128).half(), make()[0], backend="reference")


X = torch.zeros(2, 128).half()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X.float()}, r"x is torch\.float32; use float16 or bfloat16"),
        ({"x": X.bfloat16()}, r"x is torch\.bfloat16, the scales are torch\.float16"),
        ({"x": X[:, :64].contiguous()}, r"x of shape \(2, 64\); use \(m, 128\) with m >= 1"),
        ({"x": X[:0]}, r"x of shape \(0, 128\)"),
        ({"x": X[0]}, r"x of shape \(128,\)"),
        ({"x": torch.zeros(128, 2).half().T}, "x is not contiguous .*; use .contiguous"),
        (
            {"x": torch.zeros(2 * 128 + 1).half()[1:].view(2, 128)},
            "x begins at address .*; use a tensor aligned to 16 bytes",
        ),
        ({"bias": torch.zeros(32).half()}, r"bias of shape \(32,\); use \(64,\)"),
        ({"bias": torch.zeros(64)}, r"bias is torch\.float32; use torch\.float16"),
        ({"residual": torch.zeros(2, 32).half()}, r"residual of shape \(2, 32\); use \(2, 64\)"),
        ({"out_dtype": BF16}, r"out_dtype torch\.bfloat16; use torch\.float16 or torch\.float32"),
        ({"activation": "relu"}, "activation 'relu'; use one of none, gelu, gelu_tanh, silu"),
        ({"method": "fast"}, "method 'fast'; use decode, dequantize or None"),
        ({"backend": "cpu"}, "backend 'cpu'; use cuda or reference"),
        ({"backend": "cuda"}, "backend cuda needs tensors on a CUDA device, not cpu"),
    ],
)
def test_wrong_argument_is_named(change, message):
    options = {"x": X, "backend": "reference", **change}
    with pytest.raises(ValueError, match=message):
        ops.w4a16_linear(options.pop("x"), make()[0], **options)


def test_misplaced_weight_is_named():
    packed = make()[0].to("meta")
    with pytest.raises(ValueError, match="weight is on meta; use cpu, as the other tensors"):
        ops.w4a16_linear(X, packed, backend="reference")


def test_operators_keep_torchs_rules():
    packed, _ = make(gating="gate_up")
    arguments = (packed.weight, packed.scales)
    bias, residual = torch.randn(64).half(), torch.randn(2, 32).half()
    torch.library.opcheck(
        torch.ops.bilin.packed_linear.default,
        (X, *arguments, bias, residual, 1.0, 64, 4, 1, 3, True),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    torch.library.opcheck(torch.ops.bilin.dequantize.default, (*arguments, 4, 16, 32))


def test_compiles_without_a_graph_break():
    packed, _ = make()

    @torch.compile(backend="eager", fullgraph=True)
    def layer(x, weight, scales):
        return torch.ops.bilin.packed_linear(
            x, weight, scales, None, None, 1.0, 64, 4, 0, 0, False
        ) + 1  # fmt: skip

    x = torch.randn(2, 128).half()
    expected = ops.w4a16_linear(x, packed, backend="reference") + 1
    assert torch.equal(layer(x, packed.weight, packed.scales), expected)


@pytest.mark.parametrize("gating", ["none", "up_gate"])
@pytest.mark.parametrize("out_dtype", [None, torch.float32])
def test_meta_tensors_tell_the_shape(gating, out_dtype):
    packed = make(gating=gating)[0].to("meta")
    y = ops.w4a16_linear(X.to("meta"), packed, out_dtype=out_dtype)
    assert tuple(y.shape) == (2, packed.outputs)
    assert y.dtype == (out_dtype or F16)
    assert y.device.type == "meta"


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
def test_without_a_gpu_one_sentence_says_so():
    with pytest.raises(KernelLoadError, match=r"no CUDA device|install bilin"):
        CudaLauncher().prepare(torch.device("cuda", 0))
