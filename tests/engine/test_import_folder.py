"""Folders copied into the library: what an earlier try left is taken up only if it is the same."""

from hashlib import sha256

import msgspec
import pytest

from bilin_engine.errors import ModelBrokenError
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.jobs.import_folder import import_folder
from bilin_engine.library import Capabilities, FileRecord, ModelDescription, ModelNames
from bilin_engine.protocol import ImportFolder

NAMES = ("config.json", "model-1.safetensors", "model-2.safetensors")


def reporter(should_stop=lambda: False) -> JobReporter:
    return JobReporter(lambda _progress: None, should_stop)


def write_source(folder, letter: bytes) -> None:
    """A model of which every file has the same size whatever the letter."""
    folder.mkdir(exist_ok=True)
    files = {}
    for number, name in enumerate(NAMES):
        data = letter * (100 + number)
        (folder / name).write_bytes(data)
        files[name] = FileRecord(len(data), sha256(data).hexdigest())
    description = ModelDescription(
        id="one", names=ModelNames("一", "One"), family="GLM", languages=("zh",),
        capabilities=Capabilities(), licence="MIT", source="a test", files=files,
    )  # fmt: skip
    (folder / "bilin.json").write_bytes(msgspec.json.encode(description))


def test_what_was_copied_of_another_version_is_copied_again(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "models" / "one"
    write_source(source, b"a")
    (source / NAMES[2]).write_bytes(b"b" * 102)  # is being written anew
    work = ImportFolder(source=str(source), folder=str(folder))
    with pytest.raises(ModelBrokenError, match="was changed since it was written"):
        import_folder(work, reporter())
    assert (tmp_path / "models" / ".one.partial" / NAMES[0]).read_bytes() == b"a" * 100
    write_source(source, b"b")
    import_folder(work, reporter())
    assert [(folder / name).read_bytes()[:1] for name in NAMES] == [b"b"] * 3


def test_what_an_earlier_try_copied_is_not_copied_again(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "models" / "one"
    write_source(source, b"a")
    work = ImportFolder(source=str(source), folder=str(folder))
    polls = iter([False, False, False, True])
    with pytest.raises(JobStopped):
        import_folder(work, reporter(lambda: next(polls)))
    first = tmp_path / "models" / ".one.partial" / NAMES[0]
    written = first.stat().st_mtime_ns
    import_folder(work, reporter())
    assert (folder / NAMES[0]).stat().st_mtime_ns == written
    assert not first.parent.exists()
