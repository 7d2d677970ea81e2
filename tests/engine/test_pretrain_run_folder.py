"""Checkpoints on disks that are full or damaged."""

import sys

import pytest
import torch

from bilin_engine.pretrain.run_folder import (
    Checkpoint,
    Progress,
    read_checkpoint,
    read_settings,
    write_checkpoint,
)


def checkpoint(step):
    return Checkpoint({"weight/a": torch.full((1000,), step)}, Progress(step=step), (0, 0, 0), 1)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_checkpoint(tmp_path / "run", checkpoint(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as good as a full disk
    try:
        with pytest.raises(OSError, match=r"cannot be written \(.*\); the one before is kept"):
            write_checkpoint(tmp_path / "run", checkpoint(2))
        with pytest.raises(OSError, match=r"cannot be written \(.*\)$"):
            write_checkpoint(tmp_path / "new", checkpoint(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [folder.name for folder in (tmp_path / "run").iterdir()] == ["checkpoint"]
    assert read_checkpoint(tmp_path / "run").progress.step == 1


@pytest.mark.parametrize("read", [read_checkpoint, read_settings])
def test_what_is_no_run_folder_is_named(tmp_path, read):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=f"^{folder} is no run folder: train has written no"):
            read(folder)


@pytest.mark.parametrize("name", ["state.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_named(tmp_path, name):
    write_checkpoint(tmp_path, checkpoint(1))
    file = tmp_path / "checkpoint" / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"checkpoint is damaged \(.*\); put a copy there"):
        read_checkpoint(tmp_path)
