"""A GGUF file on its way into the library: looked at, converted by a job, refused in time."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from gguf_files import config_of, file_bytes, write_gguf

from bilin_engine.cli.main import run
from bilin_engine.library import Library, read_description
from bilin_engine.server.inspect_folder import inspect_folder


def inspected(path: Path, models_dir: Path):
    return inspect_folder(str(path), Library(models_dir), 0.0)


def test_a_file_is_told_by_its_header(tmp_path):
    path = write_gguf(tmp_path / "Tiny-Q4_0.gguf", "llama", kind="Q4_0")
    found = inspected(path, tmp_path)
    assert (found.kind, found.title, found.path) == ("gguf", "Tiny-Q4_0", str(path))
    assert found.problem == ""
    assert found.size_bytes == path.stat().st_size
    assert list(found.needed_bytes) == ["32", "row"]  # 64 and 128 do not divide 96


def test_a_folder_with_one_model_is_that_model(tmp_path):
    write_gguf(tmp_path / "m.gguf", "glm4", kind="Q8_0", parts=6)
    names = sorted(path.name for path in tmp_path.glob("*.gguf"))
    found = inspected(tmp_path, tmp_path / "models")
    assert (found.kind, Path(found.path).name, found.problem) == ("gguf", names[0], "")
    assert found.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.gguf"))
    later = inspected(tmp_path / names[1], tmp_path / "models")
    assert "choose the first" in later.problem
    write_gguf(tmp_path / "other.gguf", "llama")
    found = inspected(tmp_path, tmp_path / "models")
    assert found.needed_bytes == {}
    assert found.problem.endswith("choose one of them instead of the folder")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GGUF", "cut short or damaged"),
        (file_bytes(counts=(2**63, 2**63)), "announces"),
        (file_bytes(), "architecture None"),
    ],
)
def test_a_hostile_file_is_a_problem_in_words(tmp_path, data, words):
    (tmp_path / "x.gguf").write_bytes(data)
    begun = time.monotonic()
    found = inspected(tmp_path / "x.gguf", tmp_path)
    assert words in found.problem
    assert found.needed_bytes == {}
    assert time.monotonic() - begun < 10


def test_convert_makes_a_model_that_verifies_and_says_what_it_lost(tmp_path, capsys):
    source = write_gguf(tmp_path / "m.gguf", "llama", kind="Q8_0")
    assert run(["convert", str(source), str(tmp_path / "model")]) == 0
    error = read_description(tmp_path / "model").quantization_error
    assert 0.03 < error < 0.1
    assert f"off by {error:.1%}" in capsys.readouterr().out
    assert run(["verify", str(tmp_path / "model")]) == 0
    capsys.readouterr()
    kept = write_gguf(tmp_path / "kept.gguf", "llama", kind="Q4_0")
    assert run(["convert", str(kept), str(tmp_path / "kept"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quantization_error"] == 0.0


def test_a_template_that_never_ends_is_refused_before_the_work(tmp_path, capsys):
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
    source = write_gguf(tmp_path / "m.gguf", "llama", template=loop)
    assert run(["convert", str(source), str(tmp_path / "model")]) == 1
    assert "chat template" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / ".model.partial").exists()


def test_what_a_file_cannot_become_is_a_sentence(tmp_path, capsys):
    config = dataclasses.replace(config_of("llama"), num_layers=1)
    source = write_gguf(tmp_path / "m.gguf", "llama", config=config)
    assert run(["convert", str(source), str(tmp_path / "model"), "--group-size", "source"]) == 1
    assert "a GGUF file becomes INT4 or INT8 in groups" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
