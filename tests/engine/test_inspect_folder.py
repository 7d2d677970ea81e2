"""What is offered for a folder can be done."""

import json

import pytest
from published_model import gptq_config, gptq_tensors, write_source

from bilin_engine.checkpoints.huggingface import ImportSettings, import_folder
from bilin_engine.checkpoints.streaming import verify
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.hubs.inspect import parse_config
from bilin_engine.jobs.base import JobReporter
from bilin_engine.jobs.convert import convert_model
from bilin_engine.library import Library
from bilin_engine.protocol import ConvertModel
from bilin_engine.server.inspect_folder import inspect_folder


@pytest.fixture
def library(tmp_path):
    (tmp_path / "models").mkdir()
    return Library(tmp_path / "models", bundled_dir=tmp_path / "none")


def convert(source, library, size):
    folder = library.models_dir / (size or "model")
    work = ConvertModel(source=str(source), folder=str(folder), group_size=size)
    return convert_model(work, JobReporter(lambda _p: None, lambda: False))


@pytest.mark.parametrize("case", ["glm4", "llama"])
def test_every_group_size_that_is_offered_converts(tmp_path, library, case):
    source = write_source(tmp_path / "source", case)
    offered = inspect_folder(str(source), library, 0.0).needed_bytes
    assert "row" in offered
    assert "128" not in offered  # its rows are shorter
    for size in offered:
        convert(source, library, size)
    assert [info.problem for info in library.models()] == [""] * len(offered)


@pytest.mark.parametrize("chosen", ["", "global_step500"])
def test_what_training_with_deepspeed_leaves_is_a_hugging_face_folder(tmp_path, library, chosen):
    source = write_source(tmp_path / "source", "llama", shards=2)
    (source / "latest").write_text("global_step500")
    (source / "global_step500").mkdir()
    (source / "global_step500" / "mp_rank_00_model_states.pt").write_bytes(b"never opened")
    found = inspect_folder(str(source / chosen), library, 0.0)
    assert (found.kind, found.path, found.problem) == ("hugging_face", str(source), "")
    convert(found.path, library, "row")
    (info,) = library.models()
    assert info.problem == ""


def test_codes_that_are_published_as_gptq_are_offered_as_they_are(tmp_path, library):
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    source = write_source(tmp_path / "source", "llama", stored, quantization_config=gptq_config())
    found = inspect_folder(str(source), library, 0.0)
    assert (found.kind, found.problem, list(found.needed_bytes)) == ("hugging_face", "", [""])
    convert(source, library, "")
    (info,) = library.models()
    assert (info.problem, info.precision) == ("", "INT4 · 32")


@pytest.mark.parametrize(("bits", "zero"), [(4, 7), (8, 127)])
def test_what_gptq_takes_on_disk_is_told_by_its_own_bits(tmp_path, library, bits, zero):
    stored, _ = gptq_tensors("llama", bits, 32, zero)
    config = gptq_config(bits=bits)
    source = write_source(tmp_path / "source", "llama", stored, quantization_config=config)
    [told] = inspect_folder(str(source), library, 0.0).needed_bytes.values()
    folder = convert(source, library, "")
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert 0.8 * weights < told < 1.2 * weights


@pytest.mark.parametrize("change", [{"desc_act": True}, {"bits": 3}, {"sym": False}])
def test_gptq_that_cannot_be_kept_is_told_before_anything_is_fetched(tmp_path, library, change):
    config = gptq_config(**change)
    source = write_source(tmp_path / "source", "llama", quantization_config=config)
    found = inspect_folder(str(source), library, 0.0)
    assert "GPTQ" in found.problem
    content = json.loads((source / "config.json").read_text())
    with pytest.raises(UnsupportedModelError, match="GPTQ"):
        parse_config(content, "owner/name")  # what a hub's repository is asked with


def test_a_folder_that_is_a_model_but_for_its_description_is_copied_as_it_is(tmp_path, library):
    plain = write_source(tmp_path / "plain", "glm4")
    source = import_folder(plain, tmp_path / "source", ImportSettings())
    (source / "bilin.json").unlink()
    (source / "modeling_glm.py").write_text("raise SystemExit")
    found = inspect_folder(str(source), library, 0.0)
    assert (found.kind, found.problem, list(found.needed_bytes)) == ("hugging_face", "", [""])
    folder = convert(source, library, "")
    (info,) = library.models()
    assert (info.problem, info.id, info.name_en) == ("", "model", "model")
    assert not (folder / "modeling_glm.py").exists()
    assert not (source / "bilin.json").exists()
    verify(folder)
