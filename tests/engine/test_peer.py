"""`bench --peer-gguf`: the real script, with a scripted llama.cpp behind it."""

import json
import math
import sys
from pathlib import Path

import pytest
from peers import peer_file
from tiny_model import write_tiny_model

from bilin_engine.cli.main import run
from bilin_engine.cli.peer import NUM_ROUNDS
from bilin_engine.tokenizers.load import load_tokenizer

PEERS = Path(__file__).parents[1] / "helpers/peers"
TEXT = "Question: What can you do? Answer: I fill blanks."
BINDINGS = {"llama_cpp_python": "9.9 (llama-cpp-python)", "cyllama_wheel": "8.8 (cyllama)"}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder)
    return folder


def interpreter(folder: Path, *bindings: str) -> Path:
    """This Python with these of the scripted bindings, and no other."""
    path = folder / "python"
    paths = ":".join(map(str, [PEERS, *(PEERS / name for name in bindings)]))
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def bench(models_dir: Path, gguf: Path, python: Path, *options: str) -> int:
    sizes = ["--prompt-tokens", "12", "--new-tokens", "3", "--threads", "1", "--device", "cpu"]
    peer = ["--peer-gguf", str(gguf), "--peer-python", str(python)]
    return run(["bench", "tiny", "--models-dir", str(models_dir), *sizes, *peer, *options])


@pytest.mark.parametrize("binding", BINDINGS)
def test_both_sides_take_turns_over_the_same_tokens(models_dir, tmp_path, capsys, binding):
    token_ids = load_tokenizer(models_dir / "tiny").encode(TEXT)
    file = peer_file.write(tmp_path / "tiny.gguf", 500, token_ids)
    python = interpreter(tmp_path, binding)
    options = ["--text", TEXT, "--busy", "1", "--json"]
    assert bench(models_dir, tmp_path / "tiny.gguf", python, *options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["peer_version"] == BINDINGS[binding]
    assert (report["num_threads"], report["peer_threads"], report["busy"]) == (1, 1, 1)
    assert report["same_tokens"]
    bits = (len(token_ids) - 1) * math.log2(500)
    assert report["peer_bits_per_byte"] == pytest.approx(bits / len(TEXT.encode()))
    assert 0 < report["our_bits_per_byte"] < 100
    assert min(report["ours"].values()) > 0
    turn = [{"evaluated": 12, "total": 12}, *({"evaluated": 1, "total": 13 + n} for n in range(3))]
    loaded = {"threads": 1, "context": 256}  # all that the model holds
    text = {"evaluated": len(token_ids), "total": len(token_ids)}
    assert file.notes() == [loaded, *(turn * NUM_ROUNDS), loaded, text]


def test_a_text_that_is_cut_otherwise_is_told(models_dir, tmp_path, capsys):
    peer_file.write(tmp_path / "tiny.gguf", 500, [1, 2, 3])
    python = interpreter(tmp_path, *BINDINGS)
    assert bench(models_dir, tmp_path / "tiny.gguf", python, "--text", TEXT) == 0
    told = capsys.readouterr().out
    assert "Tiny and llama.cpp 9.9 (llama-cpp-python), 1 and 1 threads\n" in told
    assert told.count(" times as fast\n") == 2
    assert "the two cut the text into different tokens; both scored ours" in told


def test_an_interpreter_without_llama_cpp_is_told(models_dir, tmp_path, capsys):
    peer_file.write(tmp_path / "tiny.gguf", 500, [])
    assert bench(models_dir, tmp_path / "tiny.gguf", interpreter(tmp_path)) == 1
    assert "has neither llama-cpp-python nor cyllama" in capsys.readouterr().err
    assert bench(models_dir, tmp_path / "none.gguf", interpreter(tmp_path)) == 1
    assert "none.gguf is no file; --peer-gguf needs a GGUF file" in capsys.readouterr().err


def test_a_program_that_cannot_be_run_is_told(models_dir, tmp_path, capsys, monkeypatch):
    peer_file.write(tmp_path / "tiny.gguf", 500, [])
    odd = tmp_path / "odd"
    odd.write_bytes(b"\0")
    odd.chmod(0o700)
    assert bench(models_dir, tmp_path / "tiny.gguf", odd) == 1
    assert "odd cannot be run: Exec format error" in capsys.readouterr().err

    def never(*_arguments, **_options):
        pytest.fail("the model was loaded")

    monkeypatch.setattr("bilin_engine.runners.load.load_runner", never)
    assert bench(models_dir, tmp_path / "tiny.gguf", tmp_path / "nowhere") == 1
    assert "nowhere is no program; --peer-python needs" in capsys.readouterr().err
