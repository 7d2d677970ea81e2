"""A job process, for real: converts, stops where it can go on, verifies, imports, refuses."""

import dataclasses
import json
import os
import shutil

import pytest
from reference_checkpoint import random_model, write_checkpoint

from bilin_engine.config import GLMConfig
from bilin_engine.errors import BadRequestError
from bilin_engine.library import read_description
from bilin_engine.protocol import (
    ConvertModel,
    ImportFolder,
    JobDone,
    VerifyModel,
)
from bilin_engine.server.job_process import JobCommand, JobFailedError, run_job

SHAPE = GLMConfig.create(
    num_layers=2, hidden_size=256, num_attention_heads=4, inner_hidden_size=512, vocab_size=512,
    max_sequence_length=64,
)  # fmt: skip


def run(work, on_progress=lambda _progress: None):
    try:
        return run_job(JobCommand(), work, on_progress)
    except JobFailedError as error:
        return error


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "田中　模型 🙂"
    write_checkpoint(folder, random_model(SHAPE), world_size=4)
    (folder / "config.json").write_text(json.dumps(SHAPE.to_json()))
    return folder


def done(folder) -> JobDone:
    """What a job answers that made or checked a folder: also what quantizing had lost."""
    error = read_description(folder).quantization_error
    return JobDone(str(folder), quantization_error=error)


@pytest.fixture(scope="module")
def converted(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "made"
    stages = []
    work = ConvertModel(source=str(checkpoint), folder=str(folder), group_size="64")
    end = run(work, lambda progress: stages.append(progress.stage))
    assert end == done(folder)
    assert isinstance(end, JobDone)
    assert 0.03 < end.quantization_error < 0.12
    assert {"convert", "hash"} <= set(stages)
    return folder


def test_a_checkpoint_is_converted_and_then_verifies(converted):
    assert run(VerifyModel(str(converted))) == done(converted)


def test_a_changed_byte_is_found_and_its_file_named(converted, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    shard = next(folder.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    end = run(VerifyModel(str(folder)))
    assert isinstance(end, JobFailedError)
    assert end.code == "model_broken"
    assert shard.name in end.message
    assert "sha256" in end.message


def test_a_folder_is_imported_whole_and_compared(converted, tmp_path):
    folder = tmp_path / "copy"
    assert run(ImportFolder(source=str(converted), folder=str(folder))) == done(folder)
    assert {p.name for p in folder.iterdir()} == {p.name for p in converted.iterdir()}


def test_an_import_never_leaves_its_folder(converted, tmp_path):
    source = tmp_path / "hostile"
    shutil.copytree(converted, source)
    described = json.loads((source / "bilin.json").read_text())
    described["files"]["../outside"] = {"size_bytes": 1, "sha256": "0" * 64}
    (tmp_path / "outside").write_text("x")
    (source / "bilin.json").write_text(json.dumps(described))
    end = run(ImportFolder(source=str(source), folder=str(tmp_path / "library" / "copy")))
    assert isinstance(end, JobFailedError)
    assert "no plain file name" in end.message
    assert not (tmp_path / "library" / "copy").exists()


def test_an_import_does_not_follow_a_link_out(converted, tmp_path):
    source = tmp_path / "linked"
    shutil.copytree(converted, source)
    secret = tmp_path / "secret"
    secret.write_bytes((source / "config.json").read_bytes())
    (source / "config.json").unlink()
    (source / "config.json").symlink_to(secret)
    end = run(ImportFolder(source=str(source), folder=str(tmp_path / "copy")))
    assert isinstance(end, JobFailedError)
    assert "link out of its folder" in end.message
    assert not (tmp_path / "copy").exists()


def test_sizes_that_do_not_fit_are_refused_with_the_tensor(checkpoint, tmp_path):
    other = dataclasses.replace(SHAPE, num_layers=3)
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(other.to_json()))
    work = ConvertModel(
        source=str(checkpoint), folder=str(tmp_path / "made"), config_file=str(path)
    )
    end = run(work)
    assert isinstance(end, JobFailedError)
    assert "layers.2" in end.message


def test_a_folder_whose_name_is_no_utf8_is_refused_before_anything_waits(tmp_path):
    folder = tmp_path / os.fsdecode("模型".encode("gbk"))
    folder.mkdir()
    with pytest.raises(BadRequestError, match="is no UTF-8 name; rename the file or folder"):
        run(VerifyModel(str(folder)))
