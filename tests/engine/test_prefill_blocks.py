"""A long prompt on the processor is computed in blocks: a stop is heard between any two."""

import pytest
import torch
from tiny_causal import random_weights, tiny_config
from tiny_glm import write_tiny_model

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.layers.linear import DenseLinear
from bilin_engine.models import base
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

PROMPT = [(7 * n) % 60 for n in range(50)]


def folder_of(family, tmp_path):
    if family == "glm130b":
        write_tiny_model(tmp_path / "m")
        return tmp_path / "m"
    config = tiny_config(family)
    return write_model_folder(tmp_path / "m", config, random_weights(config).items())


def logits(runner, should_stop=None):
    row = PrefillRow(0, PROMPT, list(range(len(PROMPT))), 0)
    return runner.prefill([row], "all", should_stop)[0]


@pytest.mark.parametrize("family", ["glm130b", "glm4", "llama", "qwen3"])
def test_a_stop_is_asked_for_before_every_block_of_every_product(tmp_path, monkeypatch, family):
    runner = load_runner(folder_of(family, tmp_path), dtype="float32", num_threads=1)
    whole = logits(runner)
    monkeypatch.setattr(base, "_LEAST_ROWS", 8)
    monkeypatch.setattr(base, "_POLLED_PRODUCTS", 1)
    events: list[str | int] = []
    product = DenseLinear.__call__

    def recorded(linear, x):
        events.append(x.shape[0])
        return product(linear, x)

    def should_stop():
        events.append("poll")
        return False

    monkeypatch.setattr(DenseLinear, "__call__", recorded)
    torch.testing.assert_close(logits(runner, should_stop), whole, atol=1e-4, rtol=1e-4)
    rows = [event for event in events if event != "poll"]
    assert max(rows) == 8
    # An MLP's two matrices take a block one after the other; nothing else does without a poll.
    told = "".join("p" if event == "poll" else "x" for event in events)
    assert "xxx" not in told
