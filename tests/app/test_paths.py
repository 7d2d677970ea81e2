from pathlib import Path

from bilin_app.paths import app_paths


def test_a_data_dir_holds_everything(tmp_path):
    paths = app_paths(tmp_path / "here")
    for path in (
        paths.database,
        paths.settings,
        paths.lock,
        paths.log_dir,
        paths.models_dir,
        paths.window_state,
    ):
        assert path.is_relative_to(tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_relative_data_dir_does_not_follow_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app_paths(Path("here")).data_dir == tmp_path / "here"


def test_without_one_the_platforms_folders_are_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    paths = app_paths()
    assert paths.database == tmp_path / "data" / "bilin" / "bilin.db"
    assert paths.settings == tmp_path / "config" / "bilin" / "settings.toml"
    assert paths.log_dir.is_relative_to(tmp_path / "state" / "bilin")
