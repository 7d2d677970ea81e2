"""Moving the models folder: copied, compared, then removed; cut off anywhere, nothing is lost."""

import errno
import hashlib
import itertools
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from bilin_engine.errors import BadRequestError
from bilin_engine.jobs import move_library as moving
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.library import STATE_DIR, Library, files_fingerprint
from bilin_engine.protocol import JobInfo, MoveLibrary
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.job_queue import JobQueue
from bilin_engine.server.library_ops import LibraryOps


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "old"
    for name in ("田中　模型", "glm 🙂"):
        (folder / name / "inner").mkdir(parents=True)
        (folder / name / "weights.safetensors").write_bytes(name.encode() * 9000)
        (folder / name / "inner" / "note").write_text(name)
        (folder / name / "link").symlink_to("weights.safetensors")
    (folder / ".trash" / "deleted-1" / "gone").mkdir(parents=True)
    (folder / ".trash" / "deleted-1" / "gone" / "w").write_bytes(b"trash")
    (folder / ".glm.partial").mkdir()
    (folder / STATE_DIR).mkdir()
    (folder / STATE_DIR / "linked.json").write_text('["/elsewhere/one"]')
    (folder / STATE_DIR / "ids.json").write_text('{"glm 🙂": "glm-2"}')
    (folder / STATE_DIR / "queue.json").write_text("[]")
    return folder


def contents(folder):
    """What a person would miss: every file by its path, hidden unfinished work aside."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".partial" not in str(path) and STATE_DIR not in path.parts
    }


def move(source, target, stop_after=None):
    told = itertools.count()
    reporter = JobReporter(
        lambda _progress: None, lambda: stop_after is not None and next(told) >= stop_after
    )
    return moving.move_library(MoveLibrary(str(source), str(target)), reporter)


@pytest.fixture(params=["one disk", "two disks"])
def disks(request, monkeypatch):
    if request.param == "two disks":
        monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    return request.param


@pytest.mark.usefixtures("disks")
def test_everything_arrives_and_the_old_folder_holds_no_model(library, tmp_path):
    before = contents(library)
    target = tmp_path / "new disk" / "models"
    assert move(library, target) == target
    assert contents(target) == before
    assert contents(library) == {}
    assert Library(target, bundled_dir=tmp_path / "none").linked()[0].name == "one"
    assert Library(target, bundled_dir=tmp_path / "none").ids() == {"glm 🙂": "glm-2"}
    assert not (target / ".glm.partial").exists()


@pytest.mark.usefixtures("disks")
def test_models_that_are_links_go_along(library, tmp_path):
    """To a folder elsewhere, told by a relative path, and to one that is moved itself."""
    elsewhere, target = tmp_path / "disk 2" / "big", tmp_path / "far" / "away" / "models"
    elsewhere.mkdir(parents=True)
    (elsewhere / "weights.safetensors").touch()
    inside = next(path for path in library.iterdir() if path.is_dir() and path.name[0] != ".")
    (library / "big").symlink_to(os.path.relpath(elsewhere, library))
    (library / "again").symlink_to(inside.name)
    move(library, target)
    assert (target / "big").resolve() == elsewhere
    assert (target / "again").resolve() == target / inside.name
    assert not list(library.glob("[!.]*"))
    move(target, library)  # and back
    assert (library / "big").resolve() == elsewhere
    (target / "big").mkdir()
    with pytest.raises(BadRequestError, match="big exists already and is another one"):
        move(library, target)
    assert (library / "big").is_symlink()


@pytest.mark.parametrize("stop_after", range(6))
def test_a_move_that_is_cut_off_loses_nothing_and_goes_on(
    library, tmp_path, monkeypatch, stop_after
):
    monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    monkeypatch.setattr(moving, "BLOCK_BYTES", 50_000)
    before, target = contents(library), tmp_path / "new"
    with pytest.raises(JobStopped):
        move(library, target, stop_after)
    assert contents(library) == before
    move(library, target)
    assert contents(target) == before


def test_a_kill_while_the_old_ones_are_removed_costs_nothing(library, tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    before, target = contents(library), tmp_path / "new"

    def cut(folder):
        raise KeyboardInterrupt(folder)

    with monkeypatch.context() as patch:
        patch.setattr(moving.shutil, "rmtree", cut)
        with pytest.raises(KeyboardInterrupt):
            move(library, target)
    move(library, target)
    assert contents(target) == before
    assert contents(library) == {}
    assert Library(target).ids() == {"glm 🙂": "glm-2"}
    assert [path.name for path in Library(target).linked()] == ["one"]


@pytest.mark.usefixtures("disks")
@pytest.mark.parametrize("by", ["this version", "an earlier version"])
def test_models_that_are_moved_back_are_known_as_they_were_last(library, tmp_path, by):
    ops, target = LibraryOps(Library(library)), tmp_path / "new"
    ops.mark_verified(library / "glm 🙂")
    state = library / STATE_DIR
    (state / "speeds.json").write_text('{"gone": []}')
    stale = {path: path.read_bytes() for path in state.iterdir()}
    move(library, target)
    assert {path.name for path in state.iterdir()} == {"queue.json"}
    if by == "an earlier version":  # which left them
        for name in ("ids.json", "speeds.json"):
            (state / name).write_bytes(stale[state / name])
    LibraryOps(Library(target)).mark_changed(target / "glm 🙂")
    state = target / STATE_DIR
    (state / "ids.json").write_text('{"glm 🙂": "glm-3"}')
    (state / "speeds.json").write_text("{}")
    (state / "linked.json").write_text("[]")
    move(target, library)
    back = Library(library)
    assert (back.ids(), back.linked(), back.verified()) == ({"glm 🙂": "glm-3"}, (), {})
    assert back.speeds() == ({} if by == "this version" else {"gone": []})


def test_two_mounts_of_one_disk_are_copied_between(library, tmp_path, monkeypatch):
    """Such as bind mounts: one device number, and yet nothing can be renamed across."""
    rename = Path.rename

    def across(path, there):
        if path.is_relative_to(library) != Path(there).is_relative_to(library):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(there))
        return rename(path, there)

    monkeypatch.setattr(Path, "rename", across)
    before, target = contents(library), tmp_path / "new"
    move(library, target)
    assert contents(target) == before
    assert contents(library) == {}


@pytest.fixture
def coarse_disk(library, monkeypatch):
    """Another disk whose times have steps of 10 ms, as exFAT's."""
    for path in library.rglob("weights.safetensors"):
        os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    copy_stat = shutil.copystat

    def floored(source, target, **options):
        copy_stat(source, target, **options)
        os.utime(target, ns=(0, target.stat().st_mtime_ns // 10_000_000 * 10_000_000))

    monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    monkeypatch.setattr(moving.shutil, "copystat", floored)


@pytest.mark.usefixtures("coarse_disk")
def test_models_move_to_a_disk_with_coarser_times_and_stay_verified(library, tmp_path):
    before, target = contents(library), tmp_path / "new"
    changed = library / "田中　模型"
    for folder in (changed, library / "glm 🙂"):
        LibraryOps(Library(library)).mark_verified(folder)
    (changed / "weights.safetensors").touch()
    move(library, target)
    assert contents(target) == before
    assert contents(library) == {}
    verified = Library(target).verified()
    assert verified["glm 🙂"].files == files_fingerprint(target / "glm 🙂")
    assert verified[changed.name].files != files_fingerprint(target / changed.name)


@pytest.mark.usefixtures("coarse_disk")
def test_a_move_to_a_disk_with_coarser_times_goes_on_after_its_first_model(library, tmp_path):
    before, target = contents(library), tmp_path / "new"
    with pytest.raises(JobStopped):
        move(library, target, stop_after=2)
    assert [path.name for path in target.glob("[!.]*")] == ["glm 🙂"]
    move(library, target)
    assert contents(target) == before
    assert contents(library) == {}


def test_a_cancelled_move_leaves_only_whole_models_on_the_other_disk(
    library, tmp_path, monkeypatch
):
    monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    monkeypatch.setattr(moving, "BLOCK_BYTES", 50_000)
    before, target = contents(library), tmp_path / "new"
    others = target / ".trash" / ".deleted-1.partial" / "journal"
    others.parent.mkdir(parents=True)
    others.write_text("a conversion of the other library's")
    with pytest.raises(JobStopped):
        move(library, target, stop_after=5)
    partial = target / ".田中　模型.partial"
    assert partial.is_dir()
    job = JobInfo(job=1, work=MoveLibrary(str(library), str(target)), state="paused")
    (library / STATE_DIR / "queue.json").write_bytes(msgspec.json.encode([job]))
    queue = JobQueue(Library(library, bundled_dir=tmp_path / "none"), lambda _: None, JobCommand())
    try:
        queue.change(1, "cancel")
    finally:
        queue.close()
    assert not partial.exists()
    assert others.exists()
    assert [path.name for path in target.glob("[!.]*")] == ["glm 🙂"]
    assert contents(library) == before


@pytest.mark.usefixtures("disks")
def test_a_model_that_comes_or_changes_during_the_move_is_not_lost(library, tmp_path, monkeypatch):
    move_state = moving._move_state

    def late(source, target, verified):
        (library / "late").mkdir()
        (library / "late" / "weights").write_bytes(b"converted meanwhile")
        for changed in library.glob("glm*/weights.safetensors"):
            changed.write_bytes(b"written anew")
        move_state(source, target, verified)

    monkeypatch.setattr(moving, "_move_state", late)
    target = tmp_path / "new"
    move(library, target)
    assert (library / "late" / "weights").read_bytes() == b"converted meanwhile"
    for changed in library.glob("glm*/weights.safetensors"):
        assert changed.read_bytes() == b"written anew"
    assert not (library / "田中　模型").exists()
    assert (target / "glm 🙂" / "weights.safetensors").exists()


def test_another_model_of_that_name_is_never_overwritten(library, tmp_path):
    before, target = contents(library), tmp_path / "new"
    (target / "glm 🙂").mkdir(parents=True)
    (target / "glm 🙂" / "weights.safetensors").write_bytes(b"mine")
    with pytest.raises(BadRequestError, match="exists already"):
        move(library, target)
    assert contents(library) == before
    assert (target / "glm 🙂" / "weights.safetensors").read_bytes() == b"mine"


def test_a_folder_inside_the_library_is_refused(library):
    with pytest.raises(BadRequestError, match="inside the other"):
        move(library, library / "glm 🙂" / "deeper")


def test_a_disk_that_reads_back_other_bytes_is_noticed(library, tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "_is_same_disk", lambda *_: False)
    before = contents(library)
    monkeypatch.setattr(moving.hashlib, "file_digest", lambda *_: hashlib.sha256(b"something else"))
    with pytest.raises(moving.BilinError, match="reads back differently"):
        move(library, tmp_path / "new")
    assert contents(library) == before
