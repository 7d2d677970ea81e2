"""The decode step of few torch calls gives the bits that a model's own forward gives."""

import pytest
import torch
from tiny_causal import ANSWER, PROMPT, as_chatglm, random_weights, tiny_config

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import QuantizationConfig
from bilin_engine.models.cpu_step import CpuStep
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner

CASES = ["glm", "glm wide heads", "glm4", "glm4 without bias", "glm4 yarn", "llama", "llama 3",
         "llama tied with biases", "qwen2", "qwen2 tied yarn", "chatglm"]  # fmt: skip


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


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_the_step_is_the_forward_pass(tmp_path, case, kv_dtype):
    runner = load_runner(folder_of(case, tmp_path), num_threads=1, kv_dtype=kv_dtype)
    assert isinstance(runner, LocalRunner)
    assert isinstance(runner._cpu_step, CpuStep)
    stepped = decoded(runner, 0)
    runner._cpu_step = None
    assert torch.equal(stepped, decoded(runner, 1))


def test_other_weights_take_the_forward_pass(tmp_path):
    runner = load_runner(folder_of("llama", tmp_path, bits=8), num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert runner._cpu_step is None
    assert decoded(runner, 0).isfinite().all()
