"""A report for a question or a fault: versions, system, devices, model, the last log lines.

Never what a person or a model wrote: logs do not have it, and nothing else is read. In English, for
whoever is asked; the home folder's name is left out.
"""

import platform
import sys
from pathlib import Path

import PySide6
from PySide6.QtCore import QLibraryInfo, QObject, QSysInfo, Signal, qVersion
from PySide6.QtGui import QGuiApplication

from bilin_app import __version__
from bilin_app.controllers.engine import EngineController
from bilin_engine.protocol import PROTOCOL_VERSION, DeviceInfo, DevicesListed, ListDevices

MAX_LOG_LINES = 40
MAX_LOG_BYTES = 64 * 1024
LOGS = ("app.log", "engine.log", "worker-0.log", "engine-stderr.log", "crash.log")
GIB = 2**30


class Report(QObject):
    """ready(str): the text, after `make`."""

    ready = Signal(str)

    def __init__(
        self, engine: EngineController, log_dir: Path, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._engine = engine
        self._log_dir = log_dir

    def make(self) -> None:
        """Asks the engine for the devices, if it is there; `ready` follows in any case."""
        if not self._engine.client.is_connected:
            self._finish(None)
            return
        handle = self._engine.send(lambda i: ListDevices(id=i))
        handle.done.connect(lambda listed: self._finish(listed))
        handle.failed.connect(lambda _failure: self._finish(None))
        handle.cancelled.connect(lambda: self._finish(None))

    def _finish(self, listed: DevicesListed | None) -> None:
        lines = ["Bilin report", *_versions(), *_engine_lines(self._engine)]
        devices = listed.devices if listed is not None else ()
        lines += [_device(device) for device in devices] or ["Devices: the engine did not tell"]
        for name in LOGS:
            tail = _tail(self._log_dir / name)
            if tail:
                lines += ["", f"--- {name}", *tail]
        self.ready.emit(_without_home("\n".join(lines)))


def _versions() -> list[str]:
    screens = ", ".join(
        f"{s.size().width()}x{s.size().height()} at {s.devicePixelRatio():g}"
        for s in QGuiApplication.screens()
    )
    return [
        f"Bilin {__version__}, protocol {PROTOCOL_VERSION}",
        f"Python {platform.python_version()}, PySide6 {PySide6.__version__}, Qt {qVersion()}"
        f" ({QLibraryInfo.build()})",
        f"System: {QSysInfo.prettyProductName()}, kernel {QSysInfo.kernelVersion()},"
        f" {QSysInfo.currentCpuArchitecture()}",
        f"Display: {QGuiApplication.platformName()}, {screens or 'no screen'}",
        f"Started as: {Path(sys.executable).name} {' '.join(Path(a).name for a in sys.argv[:1])}",
    ]


def _engine_lines(engine: EngineController) -> list[str]:
    view, model = engine.view, engine.view.model
    lines = [f"Engine: {view.state}" + (f" ({view.reason})" if view.reason else "")]
    if model is not None:
        lines.append(
            f"Model: {model.id}, {model.num_parameters / 1e9:.3g}B parameters, {model.precision},"
            f" context {model.context_length}"
        )
    return lines


def _device(device: DeviceInfo) -> str:
    free, total = device.free_bytes / GIB, device.total_bytes / GIB
    return f"Device {device.name}: {device.label}, {free:.1f} of {total:.1f} GiB free"


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-MAX_LOG_LINES:]


def _without_home(text: str) -> str:
    name = str(Path.home())
    return text.replace(name, "~") if len(name) > 1 else text
