"""Packed weights: our layout against the compressed-tensors package, and against itself."""

import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle_environment import oracle_python
from safetensors.torch import load_file
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.config import QuantizationConfig, QuantizationScheme
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

DATA = Path(__file__).parents[1] / "data" / "int4"
GOLDENS = load_file(DATA / "goldens.safetensors")
CASES = sorted({name.rpartition(".")[0] for name in GOLDENS})


@pytest.mark.parametrize("case", CASES)
def test_packing_equals_compressed_tensors(case):
    bits = int(case[0])
    codes, packed = GOLDENS[f"{case}.codes"], GOLDENS[f"{case}.packed"]
    assert torch.equal(int4.pack(codes, bits), packed)
    assert torch.equal(int4.unpack(packed, codes.shape[1], bits), codes)


@pytest.mark.parametrize("case", CASES)
def test_dequantizing_equals_compressed_tensors(case):
    codes, scales = GOLDENS[f"{case}.codes"], GOLDENS[f"{case}.scales"]
    ours = int4.dequantize(int4.QuantizedWeight(codes, scales, int(case[0])))
    # Theirs multiplies in the scales' float16; ours in float32, then rounded the same way.
    assert torch.equal(ours.half(), GOLDENS[f"{case}.weight"].half())


@given(
    bits=st.sampled_from([4, 8]),
    n=st.integers(1, 5),
    k=st.integers(1, 70),
    seed=st.integers(0, 2**31),
)
def test_unpack_undoes_pack(bits, n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    limit = 1 << (bits - 1)
    codes = torch.randint(-limit, limit, (n, k), dtype=torch.int8, generator=generator)
    packed = int4.pack(codes, bits)
    assert packed.dtype == torch.int32
    assert packed.shape == (n, -(-k * bits // 32))
    assert torch.equal(int4.unpack(packed, k, bits), codes)
    assert torch.equal(
        int4.unpack_unsigned(packed, k, bits).to(torch.int16) - limit, codes.to(torch.int16)
    )


@given(
    scheme=st.sampled_from(
        [
            QuantizationScheme(bits, group)
            for bits in (4, 8)
            for group in (32, 64, 128, 192, 384, "row")
        ]
    ),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    scale=st.sampled_from([1e-7, 1e-4, 0.02, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_every_weight_is_within_half_a_step(scheme, dtype, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(4, 384, generator=generator) * scale).to(dtype)
    quantized = int4.quantize(weight, scheme, "w", torch.float32)
    highest = 2 ** (scheme.bits - 1) - 1
    assert int(quantized.codes.abs().max()) <= highest
    groups = quantized.scales.shape[1]
    error = (int4.dequantize(quantized) - weight.float()).abs().unflatten(1, (groups, -1))
    # float16 weights are divided in float16, as the reference does: 11 bits of 127 steps.
    slack = 0.07 if dtype == torch.float16 and scheme.bits == 8 else 0.005
    assert (error <= (0.5 + slack) * quantized.scales.unsqueeze(2)).all()


def test_rounding_is_half_to_even_and_symmetric():
    weight = torch.tensor([[7.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -7.0]])
    quantized = int4.quantize(weight, QuantizationScheme(4, "row"), "w", torch.float32)
    assert quantized.codes.tolist() == [[7, 0, 2, 2, 0, -2, -2, -7]]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-6, 1e-4])
def test_rows_of_zeros_and_of_almost_nothing_stay_finite(bits, value):
    """The published recipe gives NaN for the first and wraps int8 for the last (glm.md 14)."""
    weight = torch.full((2, 64), value, dtype=torch.float16)
    weight[1] = 0
    quantized = int4.quantize(weight, QuantizationScheme(bits, "row"), "w")
    assert (quantized.scales > 0).all()
    assert torch.isfinite(quantized.scales).all()
    assert quantized.codes[1].eq(0).all()
    # Never further from the weight than the weight itself, or half of float16's smallest step.
    error = (int4.dequantize(quantized) - weight.float()).abs()
    assert (error <= weight.float().abs().clamp_min(2.0**-25)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_damaged_weights_are_refused_by_name(value):
    weight = torch.zeros(4, 64)
    weight[2, 33] = value
    with pytest.raises(ModelBrokenError, match=r"mlp\.up\.weight holds .*\[2, 33\]"):
        int4.quantize(weight, QuantizationScheme(4, 32), "mlp.up.weight")


def test_weights_too_large_for_float16_scales_are_refused():
    weight = torch.full((2, 64), 1e6)
    with pytest.raises(ModelBrokenError, match=r"w: a weight of 1e\+06 is too large"):
        int4.quantize(weight, QuantizationScheme(4, "row"), "w")


def test_a_group_that_does_not_divide_is_refused_with_the_width():
    with pytest.raises(UnsupportedModelError, match="group_size 192 does not divide its 256"):
        int4.quantize(torch.zeros(2, 256), QuantizationScheme(4, 192), "w")


@pytest.mark.parametrize(("bits", "group"), [(4, 48), (4, 0), (4, 16), (3, 64), (4, True)])
def test_schemes_we_do_not_store_are_refused(bits, group):
    with pytest.raises(UnsupportedModelError, match="not supported"):
        QuantizationScheme(bits, group)


@pytest.mark.oracle
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (4, 128), (4, 192), (4, "row"), (8, 64)])
def test_compressed_tensors_unpacks_our_folders_identically(tmp_path, bits, group_size):
    python = oracle_python("compressed-tensors", "compressed-tensors==0.20.0", "torch==2.13.0")
    config = tiny_config(hidden_size=384, inner_hidden_size=768, dtype="float16")
    folder = tmp_path / "model"
    write_tiny_model(folder, config, quantization=QuantizationConfig.uniform(bits, group_size))
    out = tmp_path / "out.safetensors"
    subprocess.run(
        [python, DATA / "make_goldens.py", "folder", folder, out], check=True, timeout=300
    )
    theirs = load_file(out)
    with ModelFolder(folder) as source:
        linears = [spec for spec in config.tensors() if spec.is_linear]
        assert sorted(theirs) == sorted(spec.name for spec in linears)
        for spec in linears:
            packed = source.tensor(f"{spec.module}.weight_packed")
            scales = source.tensor(f"{spec.module}.weight_scale")
            codes = int4.unpack(packed, spec.shape[1], bits)
            ours = int4.dequantize(int4.QuantizedWeight(codes, scales, bits))
            assert torch.equal(ours.half(), theirs[spec.name].half())
