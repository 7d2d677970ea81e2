"""The decode step of the processor's kernels gives what a model's own forward gives."""

import pytest
import torch
from cpu_kernels import needs_cpu_kernels
from tiny_causal import ANSWER, PROMPT, as_chatglm, random_weights, tiny_config

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import QuantizationConfig, Rope
from bilin_engine.layers.cpu_linear import HEAD_GROUP, quantized_head
from bilin_engine.models.causal import CausalModel
from bilin_engine.models.cpu_step import CpuStep
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner
from bilin_kernels import cpu_ops

pytestmark = needs_cpu_kernels

CASES = ["glm", "glm wide heads", "glm4", "glm4 without bias", "glm4 yarn", "llama", "llama 3",
         "llama tied with biases", "qwen2", "qwen2 tied yarn", "qwen3", "qwen3 tied with biases",
         "chatglm"]  # fmt: skip


def folder_of(case: str, path, bits: int = 4):
    quantization = QuantizationConfig.uniform(bits, 32)
    weights = random_weights(tiny_config("glm" if case == "chatglm" else case))
    weights = as_chatglm(weights) if case == "chatglm" else weights
    folder = path / "model"
    return write_model_folder(folder, tiny_config(case), weights.items(), quantization=quantization)


def decoded(runner: LocalRunner, slot: int) -> torch.Tensor:
    runner.prefill([PrefillRow(slot, PROMPT, list(range(len(PROMPT))), 0)])
    return torch.cat(
        [runner.decode([slot], [token], [len(PROMPT) + i]) for i, token in enumerate(ANSWER)]
    )


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_the_step_is_the_forward_pass(tmp_path, case, kv_dtype):
    runner = load_runner(folder_of(case, tmp_path), num_threads=1, kv_dtype=kv_dtype)
    assert isinstance(runner, LocalRunner)
    assert isinstance(runner._cpu_step, CpuStep)
    stepped = decoded(runner, 0)
    runner._cpu_step = None
    forward = decoded(runner, 1)
    # With keys and values in 16 bits `forward` rounds queries and weights to them too.
    tolerance = {"float32": 1e-4, "float16": 8e-4, "bfloat16": 6e-3}[kv_dtype]
    assert (stepped - forward).abs().max() < tolerance * forward.abs().max()


def test_eight_bits_take_the_step_too(tmp_path):
    runner = load_runner(folder_of("llama", tmp_path, bits=8), num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert isinstance(runner._cpu_step, CpuStep)
    stepped = decoded(runner, 0)
    runner._cpu_step = None
    assert (stepped - decoded(runner, 1)).abs().max() < 1e-4 * stepped.abs().max()


def test_slots_decoded_together_are_decoded_alone(tmp_path):
    runner = load_runner(folder_of("glm4", tmp_path), num_threads=1)
    lengths = [len(PROMPT), len(PROMPT) - 2, 1]
    for slot, length in enumerate(lengths):
        runner.prefill([PrefillRow(slot, PROMPT[:length], list(range(length)), 0)])
    together = runner.decode([0, 1, 2], ANSWER[:3], lengths)
    for slot, length in enumerate(lengths):
        runner.truncate(slot, length)
        assert torch.equal(runner.decode([slot], [ANSWER[slot]], [length])[0], together[slot])


def test_int8_keys_and_values_take_the_forward_pass(tmp_path):
    runner = load_runner(folder_of("llama", tmp_path), num_threads=1, kv_dtype="int8")
    assert isinstance(runner, LocalRunner)
    assert runner._cpu_step is None
    assert decoded(runner, 0).isfinite().all()


def test_heads_that_no_power_of_two_halves_are_left_to_the_forward_pass(tmp_path):
    """Their dimensions turn with d + D/2, which d ^ D/2 is for powers of two only."""
    config = tiny_config(
        "llama", hidden_size=192, num_attention_heads=4, head_dim=48, rope=Rope(rotary_dim=48)
    )
    quantization = QuantizationConfig.uniform(4, 32)
    weights = random_weights(config)
    folder = write_model_folder(
        tmp_path / "model", config, weights.items(), quantization=quantization
    )
    runner = load_runner(folder, num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert runner._cpu_step is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_embedding_that_is_only_looked_up_is_what_was_stored(tmp_path, dtype):
    config = tiny_config("llama", dtype=dtype)
    weights = random_weights(config)
    quantization = QuantizationConfig.uniform(4, 32)
    folder = write_model_folder(
        tmp_path / "model", config, weights.items(), quantization=quantization
    )
    runner = load_runner(folder, num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert isinstance(runner._model, CausalModel)
    stored = weights["model.embed_tokens.weight"].to(getattr(torch, dtype))
    assert torch.equal(runner._model.embedding.embed(torch.arange(64)), stored.float())
    assert runner._model.embedding.size_bytes == stored.nbytes


@pytest.mark.parametrize("least", [1.0, 1e-5])
def test_a_head_in_8_bits_is_close_to_the_head_itself(least):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(70, 64, generator=generator) * torch.rand(70, 1, generator=generator)
    rows[3] = 0
    rows[5] *= least
    weight = quantized_head(rows)
    # A step is 1/127 of a group's largest value, and a value is off by half a step at most.
    step = rows.unflatten(1, (-1, HEAD_GROUP)).abs().amax(dim=2, keepdim=True) / 127
    off = (weight.rows(torch.arange(70)) - rows).unflatten(1, (-1, HEAD_GROUP)).abs()
    assert (off <= 0.55 * step).all()  # the scale itself is rounded to 11 bits
    x = torch.randn(2, 64, generator=generator)
    assert (cpu_ops.linear(x, weight) - x @ rows.T).norm() < 0.01 * (x @ rows.T).norm()


def test_without_a_library_torch_s_kernels_serve(tmp_path, monkeypatch):
    folder = folder_of("glm4", tmp_path)
    ours = decoded(load_runner(folder, num_threads=1), 0)  # type: ignore[arg-type]
    monkeypatch.setattr(cpu_ops, "is_available", lambda: False)
    runner = load_runner(folder, num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert runner._cpu_step is None
    # Activations in bfloat16 there, 8 bits of each.
    assert (decoded(runner, 0) - ours).abs().max() < 0.05 * ours.abs().max()


@pytest.mark.expects_log
def test_wrong_numbers_are_seen_and_not_used(monkeypatch, caplog):
    monkeypatch.setattr(cpu_ops, "linear", lambda x, weight: x.new_zeros(x.shape[0], weight.n))
    assert cpu_ops.is_available.__wrapped__() is False
    assert "wrong numbers" in caplog.text
