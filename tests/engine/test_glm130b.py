"""The model against a slow float64 reference that shares no code with it."""

import pytest
import torch
from glm130b_reference import MISTAKES, Reference
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.checkpoints import int4
from bilin_engine.config import QuantizationConfig, QuantizationScheme
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

# float32 against float64 over three layers; measured 5e-6 at log-probs down to -29.
TOLERANCE = 1e-4

IDS = [5, 17, 3, 88, 42, 42, 9, 61, 30, 7, 11, 2]


def gmask_positions(length: int) -> list[int]:
    return list(range(length))


def mask_positions(length: int, prompt_length: int, mask_index: int) -> list[int]:
    """[MASK]: sop and all that follows take the mask's position."""
    prefix = prompt_length - 1
    return [*range(prefix), *[mask_index] * (length - prefix)]


LAYOUTS = {
    "gmask": (gmask_positions(12), 8),
    "mask": (mask_positions(12, 8, 3), 8),
    "all prefix and sop": (gmask_positions(12), 12),
    "causal": (gmask_positions(12), 0),
    "one token of prefix": (gmask_positions(12), 2),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    weights = write_tiny_model(folder)
    runner = load_runner(folder, dtype="float32", num_threads=1)
    yield runner, weights
    runner.close()


def reference(weights, **options) -> Reference:
    return Reference(weights, num_layers=3, num_heads=4, **options)


def run(runner, positions, prompt_length, ids=IDS):
    row = PrefillRow(0, ids, positions, max(prompt_length - 1, 0))
    return runner.prefill([row], "all")[0].log_softmax(-1).double()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logprobs_equal_the_float64_reference(tiny, layout):
    runner, weights = tiny
    positions, prompt_length = LAYOUTS[layout]
    expected = reference(weights).logprobs(IDS, positions, prompt_length)
    assert (run(runner, positions, prompt_length) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_notices(tiny, mistake):
    """A swap of GLU halves, QKV order, alpha, final norm and so on is 10 times the tolerance."""
    runner, weights = tiny
    positions, prompt_length = LAYOUTS["mask"]
    wrong = reference(weights, planted=mistake).logprobs(IDS, positions, prompt_length)
    error = (run(runner, positions, prompt_length) - wrong).abs().max()
    assert error > 10 * TOLERANCE


@pytest.mark.parametrize("layout", ["gmask", "mask", "causal"])
def test_decode_with_cache_equals_a_fresh_prefill(tiny, layout):
    runner, _ = tiny
    positions, prompt_length = LAYOUTS[layout]
    prompt = max(prompt_length, 1)
    expected = run(runner, positions, prompt_length)
    row = PrefillRow(1, IDS[:prompt], positions[:prompt], max(prompt_length - 1, 0))
    found = [runner.prefill([row])[0][0]]
    for token, position in zip(IDS[prompt:], positions[prompt:], strict=True):
        found.append(runner.decode([1], [token], [position])[0])
    found = torch.stack(found).log_softmax(-1)
    assert (found - expected[prompt - 1 :]).abs().max() < TOLERANCE


def test_tokens_appended_by_a_second_prefill_equal_one_prefill(tiny):
    runner, _ = tiny
    positions, prompt_length = LAYOUTS["gmask"]
    expected = run(runner, positions, prompt_length)
    runner.prefill([PrefillRow(2, IDS[:8], positions[:8], 7)])
    appended = runner.prefill([PrefillRow(2, IDS[8:], positions[8:], 0, start=8)], "all")[0]
    assert (appended.log_softmax(-1) - expected[8:]).abs().max() < TOLERANCE


def test_rows_of_different_lengths_do_not_see_each_other(tiny):
    runner, _ = tiny
    rows = [
        PrefillRow(0, IDS, gmask_positions(12), 7),
        PrefillRow(3, IDS[:5], mask_positions(5, 5, 2), 4),
        PrefillRow(1, IDS[4:], gmask_positions(8), 0),
    ]
    together = runner.prefill(rows, "all")
    for row, found in zip(rows, together, strict=True):
        alone = runner.prefill([row], "all")[0]
        assert (found - alone).abs().max() < TOLERANCE


def test_many_rows_pass_the_mlp_in_blocks_with_the_same_result(tiny, monkeypatch):
    runner, _ = tiny
    whole = run(runner, gmask_positions(12), 8)
    monkeypatch.setattr("bilin_engine.models.glm130b.MLP_ROWS", 5)
    assert (run(runner, gmask_positions(12), 8) - whole).abs().max() < TOLERANCE


def test_float16_rope_tables_are_the_reference_codes(tmp_path):
    """The compatibility mode equals the rounded tables, and differs from the exact ones."""
    config = tiny_config(rope_precision="float16", num_layers=2, max_sequence_length=2048)
    weights = write_tiny_model(tmp_path / "model", config)
    runner = load_runner(tmp_path / "model", dtype="float32", num_threads=1)
    positions = [0, 1, 511, 1023, 2047, 777]
    row = PrefillRow(0, IDS[:6], positions, 5)
    found = runner.prefill([row], "all")[0].log_softmax(-1).double()
    rounded = Reference(weights, num_layers=2, num_heads=4, float16_rope=True).logprobs(
        IDS[:6], positions, 6
    )
    exact = Reference(weights, num_layers=2, num_heads=4).logprobs(IDS[:6], positions, 6)
    assert (found - rounded).abs().max() < TOLERANCE
    assert (found - exact).abs().max() > 10 * TOLERANCE


SCHEMES = [(4, 32), (4, 64), (4, 128), (4, 192), (4, 256), (4, "row"), (8, 128), (8, "row")]


@pytest.mark.parametrize(("bits", "group_size"), SCHEMES)
def test_quantized_weights_of_every_group_size(tmp_path, bits, group_size):
    """Reference backend: the float64 maths on dequantized weights; CPU backend: near it."""
    config = tiny_config(
        num_layers=1, hidden_size=768, num_attention_heads=8, inner_hidden_size=768
    )
    scheme = QuantizationScheme(bits, group_size)
    weights = write_tiny_model(
        tmp_path / "model", config, quantization=QuantizationConfig.uniform(bits, group_size)
    )
    for spec in config.tensors():
        if spec.is_linear:
            # The scales are stored in the config's dtype, float32 here.
            quantized = int4.quantize(weights[spec.name], scheme, spec.name, torch.float32)
            weights[spec.name] = int4.dequantize(quantized)
    positions = mask_positions(6, 4, 1)
    row = PrefillRow(0, IDS[:6], positions, 3)
    expected = Reference(weights, num_layers=1, num_heads=8).logprobs(IDS[:6], positions, 4)
    errors = {}
    for backend in ("reference", "cpu"):
        runner = load_runner(tmp_path / "model", backend=backend, num_threads=1)
        found = runner.prefill([row], "all")[0].log_softmax(-1)
        errors[backend] = float((found - expected).abs().max())
        runner.close()
    assert errors["reference"] < TOLERANCE
    # bfloat16 keeps 8 bits: input, scale and output of four linears are each rounded by up to
    # 0.2 % of values whose logits reach 20. Measured 0.04 to 0.08; a wrong group or nibble, over 1.
    assert errors["cpu"] < 0.15
