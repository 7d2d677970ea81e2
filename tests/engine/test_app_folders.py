"""The command line finds a person's models where the window keeps them."""

import pytest

from bilin_app.paths import app_paths
from bilin_app.storage.settings import Settings, SettingsFile
from bilin_engine.library import Library


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return app_paths()


def choose(paths, *, models_dir="", data_dir="", move_from="") -> None:
    paths.config_dir.mkdir(parents=True, exist_ok=True)
    SettingsFile(paths.settings).save(
        Settings(models_dir=str(models_dir), data_dir=str(data_dir), move_from=str(move_from))
    )


def test_without_a_choice_models_lie_below_the_platform_s_folder(paths):
    assert Library().models_dir == paths.models_dir


def test_the_models_folder_that_was_chosen_is_taken(paths, tmp_path):
    choose(paths, models_dir=tmp_path / "disk", data_dir=tmp_path)
    assert Library().models_dir == tmp_path / "disk"


def test_models_move_with_the_data_folder_once_it_was_moved(paths, tmp_path):
    (new := tmp_path / "new").mkdir()
    (old := tmp_path / "old").mkdir()
    choose(paths, data_dir=new, move_from=old)
    assert Library().models_dir == old / "models"
    choose(paths, data_dir=new)
    assert Library().models_dir == new / "models"


def test_a_data_folder_that_is_not_there_costs_only_itself(paths, tmp_path):
    choose(paths, data_dir=tmp_path / "unplugged")
    assert Library().models_dir == paths.models_dir


@pytest.mark.parametrize(
    "content", [b"models_dir = ", b"models_dir = 3", b'models_dir = "here"', b"\xc4\xe3"]
)
def test_settings_that_cannot_be_read_choose_nothing(paths, content):
    paths.config_dir.mkdir(parents=True)
    paths.settings.write_bytes(content)
    assert Library().models_dir == paths.models_dir
