"""Chinese input on Linux: PySide6's wheels carry ibus's plugin and not fcitx's."""

import os
from collections.abc import MutableMapping
from pathlib import Path

from PySide6.QtCore import QLibraryInfo


def choose_input_method(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Asks Qt for ibus where fcitx is wanted and its plugin is missing. Before QApplication.

    fcitx5 answers as ibus. Returns whether something was changed. Source: fcitx5 issue 444.
    """
    wanted = environ.get("QT_IM_MODULE", "")
    if not wanted.startswith("fcitx"):
        return False
    plugins = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath))
    if any((plugins / "platforminputcontexts").glob("*fcitx*")):
        return False
    environ["QT_IM_MODULE"] = "ibus"
    return True
