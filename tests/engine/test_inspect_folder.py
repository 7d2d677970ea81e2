"""What is offered for a folder can be done."""

import pytest
from published_model import gptq_config, gptq_tensors, write_source

from bilin_engine.checkpoints.huggingface import ImportSettings, import_folder
from bilin_engine.checkpoints.streaming import verify
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


def test_codes_that_are_published_as_gptq_are_offered_as_they_are(tmp_path, library):
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    source = write_source(tmp_path / "source", "llama", stored, quantization_config=gptq_config())
    found = inspect_folder(str(source), library, 0.0)
    assert (found.kind, found.problem, list(found.needed_bytes)) == ("hugging_face", "", [""])
    convert(source, library, "")
    (info,) = library.models()
    assert (info.problem, info.precision) == ("", "INT4 · 32")


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
