"""Small state files: whole or as they were."""

import os
import stat
from pathlib import Path

import pytest

from bilin_engine.whole_file import take_place, write_whole


def test_a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode(tmp_path):
    path = tmp_path / "state.json"
    write_whole(path, b"one")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"one", 0o600)
    path.chmod(0o644)
    write_whole(path, b"two")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o644)


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_whole(path, b"one")
    fdopen = os.fdopen

    def full(descriptor, mode):
        file = fdopen(descriptor, mode)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_error):
                file.close()

            def write(self, _content):
                raise OSError(28, "No space left on device")

        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_finished_work_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    partial, folder = tmp_path / ".model.partial", tmp_path / "model"
    (partial / "inner").mkdir(parents=True)
    for path in (partial / "config.json", partial / "inner" / "more"):
        path.write_text("x")
    (partial / "link").symlink_to("config.json")
    synced, fsync = [], os.fsync

    def noted(descriptor):
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((str(place), folder.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    take_place(partial, folder)
    names = ("", "/config.json", "/inner", "/inner/more")
    assert sorted(synced) == sorted(
        [(str(tmp_path), True), *((f"{partial}{name}", False) for name in names)]
    )
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "inner", "link"]
