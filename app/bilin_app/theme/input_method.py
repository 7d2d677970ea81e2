"""Chinese input on Linux: PySide6's wheels carry ibus's plugin and not fcitx's."""

import os
from collections.abc import MutableMapping
from pathlib import Path

from PySide6.QtCore import QLibraryInfo


def choose_input_method(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Asks Qt for ibus where fcitx is wanted and its plugin is missing. Before QApplication.

    fcitx5 answers as ibus. Returns whether something was changed. Source: fcitx5 issue 444, and
    QPlatformInputContextFactory::requested, which reads QT_IM_MODULE where QT_IM_MODULES is empty.
    """
    listed = [name for name in environ.get("QT_IM_MODULES", "").split(";") if name]
    wanted = listed or [environ.get("QT_IM_MODULE", "")]
    if "ibus" in wanted or not any(name.startswith("fcitx") for name in wanted):
        return False
    plugins = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath))
    if any((plugins / "platforminputcontexts").glob("*fcitx*")):
        return False
    environ["QT_IM_MODULES" if listed else "QT_IM_MODULE"] = ";".join(
        "ibus" if name.startswith("fcitx") else name for name in wanted
    )
    return True
