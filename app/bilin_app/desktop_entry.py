"""Bilin in the desktop's applications menu, for one account: put there and taken away on request.

Source: the freedesktop.org Desktop Entry and Icon Theme specifications.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_RESERVED = '"`$\\'  # inside quotes of an Exec line


class DesktopEntry:
    """The entry below a data home (as XDG_DATA_HOME). ui_folder: where our templates lie."""

    def __init__(self, ui_folder: Path, data_home: Path | None = None) -> None:
        home = data_home or Path(
            os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        )
        self._ui_folder = ui_folder
        self._entry = home / "applications" / "bilin.desktop"
        self._icon = home / "icons" / "hicolor" / "scalable" / "apps" / "bilin.svg"

    @staticmethod
    def is_supported() -> bool:
        """Whether this system has such a menu."""
        return sys.platform.startswith("linux")

    def is_there(self) -> bool:
        """Whether the menu has Bilin."""
        return os.path.exists(self._entry)  # noqa: PTH110 - Path.exists raises where the disk fails

    def add(self, command: Sequence[str]) -> None:
        """Puts Bilin into the menu, started by `command` and the files it is given.

        Raises OSError.
        """
        template = (self._ui_folder / "desktop" / "bilin.desktop").read_text(encoding="utf-8")
        started = " ".join([*map(_quoted, command), "%F"])
        text = template.replace("Exec=bilin %F", f"TryExec={command[0]}\nExec={started}")
        for path in (self._entry, self._icon):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._icon.write_bytes((self._ui_folder / "icons" / "bilin.svg").read_bytes())
        self._entry.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Takes Bilin out of the menu. Raises OSError."""
        for path in (self._entry, self._icon):
            path.unlink(missing_ok=True)


def _quoted(argument: str) -> str:
    escaped = "".join(f"\\{c}" if c in _RESERVED else c for c in argument)
    # The value of a key is a string of its own, where a backslash is written twice.
    return '"' + escaped.replace("\\", "\\\\").replace("%", "%%") + '"'
