"""The data folder into another place: nothing is lost, whatever breaks."""

import errno
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from failing_disk import fail_disk
from PySide6.QtCore import QLockFile

from bilin_app import single_instance
from bilin_app.data_move import move_data
from bilin_app.paths import app_paths
from bilin_app.startup import DataHeldError, find_data, hold_data
from bilin_app.storage import settings as stored
from bilin_app.storage.settings import Settings, SettingsFile


def fill(folder: Path) -> dict[str, bytes]:
    (folder / "models" / "mine").mkdir(parents=True)
    for name in ("bilin.db", "bilin.db-wal", "models/mine/weights", "window.state"):
        (folder / name).write_bytes(name.encode() * 100)
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "bilin.lock"
    }


def refuse_between_disks(path: Path, target: Path) -> None:
    """What a rename does where every folder lies on a disk, or a mount, of its own."""
    if path.parent != Path(target).parent:
        raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.fixture
def other_disk(monkeypatch):
    """Every folder seems to lie on a disk of its own."""
    true_rename = Path.rename

    def rename(path, target):
        refuse_between_disks(path, target)
        return true_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)


def test_on_the_same_disk_all_is_moved(tmp_path):
    old, new = tmp_path / "old", tmp_path / "far" / "new"
    before = fill(old)
    report = move_data(old, new)
    assert (report.problem, report.kept_old) == ("", False)
    assert content(new) == before
    assert content(old) == {}


@pytest.mark.usefixtures("other_disk")
def test_onto_another_disk_all_is_copied_and_the_old_stays(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    before = fill(old)
    report = move_data(old, new)
    assert (report.problem, report.kept_old) == ("", True)
    assert content(new) == content(old) == before


def test_a_folder_that_is_gone_has_not_been_moved(tmp_path):
    assert "gone" in move_data(tmp_path / "gone", tmp_path / "new").problem


def test_what_lies_there_already_is_never_written_over(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    before = fill(old)
    new.mkdir()
    (new / "bilin.db").write_text("another's")
    report = move_data(old, new)
    assert "bilin.db" in report.problem
    assert content(old) == before
    assert content(new) == {"bilin.db": b"another's"}


@pytest.mark.parametrize("is_far", [False, True])
def test_a_disk_that_breaks_off_leaves_the_old_whole(tmp_path, monkeypatch, is_far):
    old, new = tmp_path / "old", tmp_path / "new"
    before = fill(old)
    true_rename, calls = Path.rename, []

    def rename(path, target):
        if is_far:
            refuse_between_disks(path, target)
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return true_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    report = move_data(old, new)
    assert "No space left" in report.problem
    assert content(old) == before
    assert content(new) == {}


@pytest.mark.expects_log
def test_what_cannot_be_brought_back_is_named(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    before = fill(old)
    true_rename, calls = Path.rename, []

    def rename(path, target):
        calls.append(path.name)
        if calls.count("bilin.db-wal") == 2 or path.name == "models":
            raise OSError(errno.EIO, "Input/output error")
        return true_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    report = move_data(old, new)
    assert f"{new} has bilin.db-wal now" in report.problem
    assert content(old) | content(new) == before


def test_a_move_that_a_crash_broke_off_goes_on(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    before = fill(old)
    new.mkdir()
    (old / "bilin.db-wal").rename(new / "bilin.db-wal")
    assert move_data(old, new).problem == ""
    assert content(new) == before


# --- At the start ---------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path):
    paths = replace(app_paths(tmp_path / "home"), data_dir=tmp_path / "home" / "data")
    before = fill(paths.data_dir)
    file = SettingsFile(paths.settings)
    return paths, file, before


def test_a_start_moves_once_and_stays_there(profile, tmp_path):
    paths, file, before = profile
    new = tmp_path / "new"
    file.save(Settings(data_dir=str(new), move_from=str(paths.data_dir), theme="dark"))
    prepared = []
    found, told = find_data(paths, prepared.append)
    assert found.data_dir == new
    assert found.settings == paths.settings
    assert [str(new) in sentence for sentence in told] == [True]
    assert len(prepared) == 1
    assert content(new) == before
    assert file.load().settings == Settings(data_dir=str(new), theme="dark")
    assert find_data(paths, prepared.append) == (found, ())
    assert len(prepared) == 1


@pytest.mark.parametrize(("chosen", "after"), [("data/big", "new/big"), ("disk", "disk")])
def test_a_models_folder_is_found_where_the_move_brought_it(profile, chosen, after):
    paths, file, _before = profile
    home = paths.data_dir.parent
    file.save(
        Settings(
            data_dir=str(home / "new"),
            move_from=str(paths.data_dir),
            models_dir=str(home / chosen),
        )
    )
    find_data(paths, lambda _settings: None)
    assert file.load().settings.models_dir == str(home / after)


def test_a_move_that_fails_leaves_the_data_in_use(profile, tmp_path):
    paths, file, before = profile
    (tmp_path / "file").write_text("in the way")
    file.save(Settings(data_dir=str(tmp_path / "file" / "x"), move_from=str(paths.data_dir)))
    found, told = find_data(paths, lambda _settings: None)
    assert found.data_dir == paths.data_dir
    assert content(found.data_dir) == before
    assert str(paths.data_dir) in told[0]
    assert file.load().settings.move_from == ""


def test_a_move_that_cannot_be_noted_names_the_folder_of_the_file_that_a_link_names(
    profile, tmp_path, monkeypatch
):
    paths, file, _before = profile
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.symlink_to(dotfiles / "bilin.toml")
    file.save(Settings(data_dir=str(tmp_path / "new"), move_from=str(paths.data_dir)))

    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(stored, "write_whole", refuse)
    _found, told = find_data(paths, lambda _settings: None)
    assert f"{dotfiles} is read-only" in told[1]


def test_nothing_moves_under_an_app_that_runs(profile, tmp_path):
    paths, file, before = profile
    file.save(Settings(data_dir=str(tmp_path / "new"), move_from=str(paths.data_dir)))
    lock = QLockFile(str(paths.lock))
    assert lock.tryLock(0)
    found, _told = find_data(paths, lambda _settings: None)
    lock.unlock()
    assert found.data_dir == paths.data_dir  # where its lock and its socket are found
    assert content(paths.data_dir) == before
    assert file.load().settings.move_from


def test_a_disk_that_is_not_plugged_in_is_told(profile, tmp_path):
    paths, file, _before = profile
    file.save(Settings(data_dir=str(tmp_path / "unplugged")))
    prepared = []
    found, told = find_data(paths, prepared.append)
    assert found == paths
    assert "unplugged" in told[0]
    assert len(prepared) == 1  # the language, before anything is told
    assert not (tmp_path / "unplugged").exists()
    assert file.load().settings.data_dir == str(tmp_path / "unplugged")  # it may come back


def test_a_disk_that_fails_ends_no_start(profile, tmp_path, monkeypatch):
    paths, file, before = profile
    file.save(Settings(data_dir=str(tmp_path / "share")))
    fail_disk(monkeypatch, tmp_path / "share")
    found, told = find_data(paths, lambda _settings: None)
    assert found == paths
    assert "share" in told[0]
    assert content(paths.data_dir) == before
    assert file.load().settings.data_dir == str(tmp_path / "share")


@pytest.mark.parametrize("is_old", [False, True])
def test_a_move_from_or_to_a_disk_that_fails_ends_no_start(profile, tmp_path, monkeypatch, is_old):
    paths, file, before = profile
    share = tmp_path / "share"
    old, new = (share, tmp_path / "new") if is_old else (paths.data_dir, share)
    file.save(Settings(data_dir=str(new), move_from=str(old)))
    fail_disk(monkeypatch, share)
    found, told = find_data(paths, lambda _settings: None)
    assert found.data_dir == old
    assert str(old) in told[0]
    assert content(paths.data_dir) == before


def test_a_start_during_a_move_follows_to_the_new_folder(profile, tmp_path):
    paths, file, _before = profile
    new = tmp_path / "new"
    file.save(Settings(data_dir=str(new), move_from=str(paths.data_dir)))
    mover = QLockFile(str(paths.lock))
    assert mover.tryLock(0)

    def end_the_move():
        move_data(paths.data_dir, new)
        file.save(Settings(data_dir=str(new)))
        mover.unlock()

    moving = threading.Timer(0.4, end_the_move)
    moving.start()
    held = hold_data(lambda: find_data(paths, lambda _settings: None), [])
    moving.join()
    assert held is not None
    assert (held.paths.data_dir, held.notices) == (new, ())
    assert held.lock.isLocked()
    assert held.lock.fileName() == str(held.paths.lock)
    assert mover.tryLock(0)  # the old folder is nobody's
    mover.unlock()


def test_a_start_with_a_folder_whose_bilin_answers_nobody_ends(profile, monkeypatch):
    paths, _file, _before = profile
    lock = QLockFile(str(paths.lock))
    assert lock.tryLock(0)
    monkeypatch.setattr(single_instance, "FOLLOW_MS", 500)
    with pytest.raises(DataHeldError, match=str(paths.data_dir)):
        hold_data(lambda: (paths, ()), [])
    lock.unlock()
