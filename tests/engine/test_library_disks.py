"""A library on disks as people have them: slow, read-only, closed, full, shared by two engines."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# Answers are looked at as what they must be; anything else fails the test all the same.

import errno
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from failing_disk import fail_disk
from letter_models import Engine
from library_folders import make_model, speed

from bilin_engine import processes
from bilin_engine.errors import BilinError
from bilin_engine.library import Library
from bilin_engine.protocol import (
    AddJob,
    CountTokens,
    Done,
    Failed,
    InspectFolder,
    ListDevices,
    ListJobs,
    ListModels,
    Message,
    PlanModel,
    RenameModel,
    VerifyModel,
)
from bilin_engine.server.library_ops import LibraryOps
from bilin_engine.server.model_text import ModelTexts

NOBODY = 65534


@contextmanager
def as_nobody():
    """Root writes everywhere: what a mode forbids is tried as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def models_dir():
    """With one model and one in the trash, where everybody may look."""
    with tempfile.TemporaryDirectory(prefix="bilin-") as place:
        folder = Path(place) / "田中　模型 🙂"
        make_model(folder, "deleted")
        LibraryOps(Library(folder, bundled_dir=folder / "none")).delete("tiny")
        make_model(folder, "kept")
        for path in (Path(place), *Path(place).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder
        folder.chmod(0o755)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


# --- Read-only ------------------------------------------------------------------------------------


CHANGES = {
    "rename": lambda ops, _trashed: ops.rename("tiny", "新名字"),
    "delete": lambda ops, _trashed: ops.delete("tiny"),
    "restore": lambda ops, trashed: ops.restore(trashed),
    "empty the trash": lambda ops, _trashed: ops.empty_trash(),
    "add in place": lambda ops, _trashed: ops.add_in_place(str(ops.trash_dir.parents[1] / "other")),
    "keep a speed": lambda ops, _trashed: ops.keep_speed("tiny", speed("here", 1.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_read_only_library_is_listed_and_refuses_each_change_in_a_sentence(models_dir, change):
    make_model(models_dir.parent, "other")
    library = Library(models_dir, bundled_dir=models_dir / "none")
    (trashed,) = library.trash()
    for path in (models_dir, *models_dir.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    before = files_of(models_dir)
    with as_nobody():
        assert [info.problem for info in library.models()] == [""]
        with pytest.raises(BilinError, match=r"cannot be \w+: Permission denied") as told:
            CHANGES[change](LibraryOps(library), trashed.trashed)
    assert str(models_dir) in told.value.message
    for path in (models_dir, *models_dir.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    assert files_of(models_dir) == before


def test_work_on_a_read_only_library_is_refused_in_a_sentence(models_dir):
    models_dir.chmod(0o555)
    with as_nobody(), Engine(texts=ModelTexts(Library(models_dir))) as engine:
        end = engine.ask(lambda i: AddJob(i, VerifyModel(str(models_dir / "kept"))))
    assert isinstance(end, Failed)
    assert "cannot be written: Permission denied" in end.message


@pytest.mark.parametrize(("mode", "state"), [(0o755, "there"), (0o000, "unreadable")])
def test_a_folder_that_may_not_be_looked_into_is_told_from_an_empty_one(models_dir, mode, state):
    models_dir.chmod(mode)
    with as_nobody():
        library = Library(models_dir)
        assert library.folder_state() == state
        assert bool(library.trash()) == (mode == 0o755)


def test_one_model_on_a_disk_that_fails_hides_no_other(tmp_path, monkeypatch):
    for name in ("far", "near"):
        make_model(tmp_path / "models", name)
    fail_disk(monkeypatch, tmp_path / "models" / "far")
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    assert [Path(model.path).name for model in library.models()] == ["near"]


def test_a_file_that_the_disk_cannot_read_hides_no_other_model(tmp_path, monkeypatch):
    for name in ("far", "near"):
        make_model(tmp_path / "models", name)
    file = tmp_path / "models" / "far" / "tokenizer_config.json"
    fail_disk(monkeypatch, file, errno.EIO)
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    problems = {Path(model.path).name: model.problem for model in library.models()}
    assert problems == {
        "far": f"{file} is missing: the model cannot read text without it",
        "near": "",
    }


def test_a_folder_whose_disk_is_gone_is_missing_and_the_default_one_is_not_yet_there(tmp_path):
    assert Library(tmp_path / "models").folder_state() == "there"
    assert Library(tmp_path / "disk" / "models").folder_state() == "missing"


# --- Slow -----------------------------------------------------------------------------------------


class SlowLibrary(Library):
    """A library on a disk that answers once `wakes` is set, if it `is_slow`."""

    def __init__(self, models_dir: Path) -> None:
        super().__init__(models_dir)
        self.wakes = threading.Event()
        self.is_slow = False
        self.asked = threading.Event()

    def entries(self):
        self.asked.set()
        if self.is_slow:
            assert self.wakes.wait(60)
        return super().entries()


@pytest.fixture
def slow(tmp_path):
    make_model(tmp_path / "models", "one")
    library = SlowLibrary(tmp_path / "models")
    with Engine(texts=ModelTexts(library)) as engine:
        yield engine, library
        library.wakes.set()


def test_nothing_waits_behind_a_slow_folder(slow):
    engine, library = slow
    listed = engine.ask(ListModels).result
    assert [model.id for model in listed.models] == ["bilin-mini", "tiny"]
    library.is_slow = True
    library.asked.clear()
    waiting = engine.send(ListModels)
    assert library.asked.wait(20)
    renaming = engine.send(lambda i: RenameModel(i, "tiny", "新名字"))
    inspecting = engine.send(lambda i: InspectFolder(i, str(library.models_dir)))
    for make in (
        ListDevices,
        ListJobs,
        lambda i: PlanModel(id=i, model="tiny", devices="24GiB"),
        lambda i: PlanModel(id=i, model="glm-130b", devices="8x11GiB"),
        lambda i: CountTokens(id=i, model="bilin-mini", messages=(Message("user", "你好"),)),
    ):
        assert isinstance(engine.ask(make), Done)
    ended = {event.id for event in engine.seen if isinstance(event, Done | Failed)}
    assert not ended & {waiting, renaming, inspecting}
    library.wakes.set()
    assert isinstance(engine.end(waiting), Done)
    assert isinstance(engine.end(renaming), Done)
    assert isinstance(engine.end(inspecting), Done)
    assert engine.ask(ListModels).result.models[1].name_zh == "新名字"


def test_what_came_since_the_library_was_listed_is_planned_all_the_same(slow):
    engine, library = slow
    engine.ask(ListModels)
    make_model(library.models_dir, "two")
    end = engine.ask(lambda i: PlanModel(id=i, model="tiny-2", devices="24GiB"))
    assert isinstance(end, Done)
    assert end.result.fits


# --- Full -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["rename", "keep a speed"])
def test_a_full_disk_leaves_every_file_as_it_was(models_dir, monkeypatch, change):
    library = Library(models_dir, bundled_dir=models_dir / "none")
    LibraryOps(library).keep_speed("tiny", speed(processes.cpu_label(), 5.0))
    before = files_of(models_dir)

    def write(_descriptor, _mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", write)
        with pytest.raises(BilinError, match="cannot be written: No space left"):
            CHANGES[change](LibraryOps(library), "")
    assert files_of(models_dir) == before


# --- Two engines ----------------------------------------------------------------------------------


def test_a_model_deleted_by_two_is_in_the_trash_once(models_dir):
    one, two = (LibraryOps(Library(models_dir, bundled_dir=models_dir / "none")) for _ in "12")
    one.delete("tiny")
    with pytest.raises(BilinError, match="there is no model 'tiny'"):
        two.delete("tiny")
    assert len(Library(models_dir).trash()) == 2
    for trashed in Library(models_dir).trash():
        two.restore(trashed.trashed)
        with pytest.raises(BilinError, match="the trash holds no"):
            one.restore(trashed.trashed)
    assert sorted(p.name for p in models_dir.iterdir() if p.name[0] != ".") == ["deleted", "kept"]
    assert Library(models_dir).trash() == []


def test_a_trash_emptied_by_two_is_empty(models_dir):
    one, two = (LibraryOps(Library(models_dir)) for _ in "12")
    threads = [threading.Thread(target=ops.empty_trash) for ops in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert Library(models_dir).trash() == []
    assert (models_dir / "kept" / "bilin.json").is_file()


def test_a_model_the_other_engine_deleted_is_a_sentence_here(tmp_path):
    make_model(tmp_path / "models", "one")
    first, second = (Engine(texts=ModelTexts(Library(tmp_path / "models"))) for _ in "12")
    with first, second:
        assert len(second.ask(ListModels).result.models) == 2
        LibraryOps(Library(tmp_path / "models")).delete("tiny")
        end = second.ask(lambda i: RenameModel(i, "tiny", "x"))
        assert isinstance(end, Failed)
        assert end.message.startswith("there is no model 'tiny' in the library; known:")
        assert len(second.ask(ListModels).result.models) == 1
