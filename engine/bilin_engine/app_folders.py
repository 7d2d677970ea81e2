"""Which folders a person chose in the window, so that the command line takes the same models.

Knows three keys of the app's settings file, which it only reads.
"""

import os
from pathlib import Path

import msgspec


class _ChosenFolders(msgspec.Struct, frozen=True):
    """data_dir lies at move_from until the app has moved it, at its next start."""

    models_dir: str = ""
    data_dir: str = ""
    move_from: str = ""


def default_models_dir() -> Path:
    """Where a person's own models lie when nothing else is said; it may not exist yet.

    As in the app: the folder chosen for models, else below the chosen data folder where that is
    there, else below the platform's.
    """
    import platformdirs

    chosen = _chosen_folders(platformdirs.user_config_path("bilin", appauthor=False))
    models_dir, data_dir = Path(chosen.models_dir), Path(chosen.data_dir)
    if models_dir.is_absolute():
        return models_dir
    if data_dir.is_absolute() and chosen.move_from:
        data_dir = Path(chosen.move_from)
    # Path.is_dir raises where the disk fails.
    if data_dir.is_absolute() and os.path.isdir(data_dir):  # noqa: PTH112
        return data_dir / "models"
    return platformdirs.user_data_path("bilin", appauthor=False) / "models"


def _chosen_folders(config_dir: Path) -> _ChosenFolders:
    """None chosen where the file cannot be read; the app tells what is wrong with it."""
    try:
        content = (config_dir / "settings.toml").read_bytes()
        return msgspec.toml.decode(content, type=_ChosenFolders)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return _ChosenFolders()
