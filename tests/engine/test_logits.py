"""`logits` and `score`: what they write is what the model computes, on one rank and on two."""

import json
import math
import os
import sys

import pytest
import torch
from ranked_models import on_one
from safetensors.torch import load_file
from tiny_glm import tiny_config
from tiny_glm import write_tiny_model as write_weights
from tiny_model import write_tiny_model

from bilin_engine.cli.main import run
from bilin_engine.errors import BadRequestError
from bilin_engine.protocol import WorkerLogits
from bilin_engine.runners.base import PrefillRow
from bilin_engine.worker.loop import write_logits_with_torch

IDS = (5, 17, 3, 88, 42, 9)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model without a tokenizer: ids are all there is."""
    path = tmp_path_factory.mktemp("logits") / "model"
    write_weights(path, tiny_config())
    return path


@pytest.mark.parametrize("extra", [[], ["--world-size", "2"], ["--mode", "layer_split"]])
def test_logits_of_a_folder_without_tokenizer(folder, tmp_path, capsys, extra):
    out = tmp_path / "logits.safetensors"
    command = ["logits", str(folder), "--ids", "5,17,3,88,42,9", "--prefix-len", "4", "--threads"]
    positions = ["--position-ids", "0,1,2,3,2,2"]
    assert run([*command, "1", *positions, "--out", str(out), *extra]) == 0
    assert "logprobs [6, 96] float32" in capsys.readouterr().out
    found = load_file(out)["logprobs"]
    row = PrefillRow(0, IDS, (0, 1, 2, 3, 2, 2), 4)
    expected = on_one(folder, lambda runner: runner.prefill([row], "all")[0]).log_softmax(-1)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-4  # float32, see test_tensor_parallel


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ids", "1,2", "--position-ids", "0"], "2 ids with 1 positions"),
        (["--ids", "1,96"], "token id 96 is outside the vocabulary of 96"),
        (["--ids", "1,2", "--world-size", "3"], "possible: 1, 2, 4"),
    ],
)
def test_what_logits_cannot_do_is_a_sentence(folder, tmp_path, capsys, arguments, words):
    out = tmp_path / "never.safetensors"
    assert run(["logits", str(folder), "--threads", "1", "--out", str(out), *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["folder", "pipe", ""])
def test_what_lies_there_and_is_no_file_stays(folder, tmp_path, capsys, monkeypatch, name):
    if name == "pipe" and sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    monkeypatch.chdir(tmp_path)
    if name == "pipe":
        os.mkfifo(name)
    elif name:
        (tmp_path / name).mkdir()
    assert run(["logits", str(folder), "--threads", "1", "--ids", "1,2", "--out", name]) == 1
    assert "is there and no regular file; name another" in capsys.readouterr().err
    assert name == "" or not (tmp_path / name).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
def test_a_file_that_cannot_be_written_is_a_sentence(folder, tmp_path):
    import resource

    out = tmp_path / "never.safetensors"
    request = WorkerLogits(
        id=1, token_ids=IDS, position_ids=tuple(range(6)), prefix_len=0, path=str(out)
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write(runner):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as good as a full disk
        try:
            with pytest.raises(BadRequestError, match=rf"{out} cannot be written: .*too large"):
                write_logits_with_torch(runner, request, lambda: False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    on_one(folder, write)
    assert list(tmp_path.iterdir()) == []


def test_score_is_the_sum_over_the_tokens(tmp_path, capsys):
    models = tmp_path / "models"
    write_tiny_model(models)
    command = ["score", "tiny", "你好，你是谁？", "--models-dir", str(models), "--threads", "1"]
    assert run([*command, "--dtype", "float32", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert math.isclose(result["logprob"], sum(token["logprob"] for token in result["tokens"]))
    assert all(token["logprob"] < 0 for token in result["tokens"])
    assert run([*command, "--given", "Paris is the [MASK] of France."]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert run([*command[:2], "", *command[3:]]) == 1
    assert "the text to score is empty" in capsys.readouterr().err
