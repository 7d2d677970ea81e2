"""Small state files: whole or as they were."""

import os
import stat

import pytest

from bilin_engine.whole_file import write_whole


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
