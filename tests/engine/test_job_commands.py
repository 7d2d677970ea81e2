"""`convert` and `verify` on the command line: whole, broken, stopped and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from library_folders import make_model
from reference_checkpoint import random_model, write_checkpoint

from bilin_engine.cli.main import run
from bilin_engine.config import GLMConfig
from bilin_engine.library import Library

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

SHAPE: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "inner_hidden_size": 128,
    "vocab_size": 96,
    "max_sequence_length": 64,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder / "src", random_model(GLMConfig.create(**SHAPE)), 2)
    (folder / "shape.json").write_text(json.dumps(SHAPE))
    return folder


def convert(checkpoint, dst, *extra):
    command = ["convert", str(checkpoint / "src"), str(dst), *extra]
    return run([*command, "--config", str(checkpoint / "shape.json")])


def test_a_converted_model_verifies_and_an_altered_byte_is_named(checkpoint, tmp_path, capsys):
    dst = tmp_path / "model"
    assert convert(checkpoint, dst, "--group-size", "32", "--json") == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(dst)
    assert run(["verify", str(dst)]) == 0
    assert "is whole" in capsys.readouterr().out
    shard = next(dst.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert run(["verify", str(dst)]) == 1
    assert f"{shard} was changed since it was written" in capsys.readouterr().err


def test_a_model_converted_into_the_library_takes_nobody_s_id(checkpoint, tmp_path):
    models = tmp_path / "models"
    make_model(models, "b")
    options = ("--group-size", "32", "--models-dir", str(models))
    assert convert(checkpoint, tmp_path / "a", *options) == 0
    assert Library(models).ids() == {}
    assert convert(checkpoint, models / "a", *options) == 0
    assert Library(models).ids() == {"b": "tiny"}


def test_what_cannot_be_converted_is_a_sentence(checkpoint, tmp_path, capsys):
    wrong = dict(SHAPE, hidden_size=128)
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    command = ["convert", str(checkpoint / "src"), str(tmp_path / "model")]
    assert run([*command, "--config", str(tmp_path / "wrong.json")]) == 1
    assert "is expected at 2 ranks" in capsys.readouterr().err
    assert convert(checkpoint, tmp_path / "model", "--group-size", "96x") == 1
    assert "96x" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    """A checkpoint of many blocks; stopped as soon as something is written, then taken up."""
    shape = dict(SHAPE, num_layers=24, hidden_size=512, inner_hidden_size=2048)
    write_checkpoint(tmp_path / "src", random_model(GLMConfig.create(**shape)), 1)
    (tmp_path / "shape.json").write_text(json.dumps(shape))
    command = [sys.executable, "-P", "-m", "bilin_engine", "convert"]
    command += [str(tmp_path / "src"), str(tmp_path / "model")]
    command += ["--config", str(tmp_path / "shape.json"), "--group-size", "32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / ".model.partial"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the conversion was whole before the signal came")
    assert process.returncode == 130
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "model").exists()
    assert journal.exists()
    assert subprocess.run(command, check=False).returncode == 0
    assert run(["verify", str(tmp_path / "model")]) == 0
