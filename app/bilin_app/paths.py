"""Where Bilin keeps its files: the platform's folders, or one folder named by --data-dir."""

from dataclasses import dataclass
from pathlib import Path

import platformdirs

APP_NAME = "bilin"


@dataclass(frozen=True, slots=True)
class AppPaths:
    """Folders and files of one profile. Nothing is created by naming it."""

    data_dir: Path
    config_dir: Path
    log_dir: Path

    @property
    def database(self) -> Path:
        """The conversations."""
        return self.data_dir / "bilin.db"

    @property
    def settings(self) -> Path:
        """The settings, in TOML, for people to edit."""
        return self.config_dir / "settings.toml"

    @property
    def models_dir(self) -> Path:
        """Models of the person's own, a folder each."""
        return self.data_dir / "models"

    @property
    def hub_tokens(self) -> Path:
        """Tokens for model hubs, mode 0600; the engine's alone to read and write."""
        return self.config_dir / "hub_tokens.json"

    @property
    def model_notes(self) -> Path:
        """How each model was loaded last and how fast it was here."""
        return self.data_dir / "models.json"

    @property
    def window_state(self) -> Path:
        """Size and place of the window, its page and its splitters."""
        return self.data_dir / "window.state"

    @property
    def lock(self) -> Path:
        """Held by the running app, so that two never write one profile."""
        return self.data_dir / "bilin.lock"


def app_paths(data_dir: Path | None = None) -> AppPaths:
    """The platform's folders, or everything under `data_dir` (a portable profile)."""
    if data_dir is not None:
        root = data_dir.expanduser().absolute()
        return AppPaths(data_dir=root, config_dir=root, log_dir=root / "logs")
    return AppPaths(
        data_dir=platformdirs.user_data_path(APP_NAME, appauthor=False),
        config_dir=platformdirs.user_config_path(APP_NAME, appauthor=False),
        log_dir=platformdirs.user_log_path(APP_NAME, appauthor=False),
    )
