"""What is offered for a folder can be done."""

import pytest
from published_model import write_source

from bilin_engine.jobs.base import JobReporter
from bilin_engine.jobs.convert import convert_model
from bilin_engine.library import Library
from bilin_engine.protocol import ConvertModel
from bilin_engine.server.inspect_folder import inspect_folder


@pytest.mark.parametrize("case", ["glm4", "llama"])
def test_every_group_size_that_is_offered_converts(tmp_path, case):
    source = write_source(tmp_path / "source", case)
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    library.models_dir.mkdir()
    offered = inspect_folder(str(source), library, 0.0).needed_bytes
    assert "row" in offered
    assert "128" not in offered  # its rows are shorter
    for size in offered:
        folder = str(library.models_dir / size)
        work = ConvertModel(source=str(source), folder=folder, group_size=size)
        convert_model(work, JobReporter(lambda _p: None, lambda: False))
    assert [info.problem for info in library.models()] == [""] * len(offered)
