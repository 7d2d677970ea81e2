"""Where the window's process writes what happened: rotating files, and stderr for warnings.

What people and models write is never logged. A crash of the interpreter leaves its stacks in
`crash.log`; what the engine writes to its stderr is in `engine-stderr.log`.
"""

import contextlib
import faulthandler
import logging
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TextIO

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler
from typing_extensions import override

MAX_FILE_BYTES = 1024 * 1024
NUM_OLD_FILES = 3

logger = logging.getLogger(__name__)
qt_logger = logging.getLogger("bilin_app.qt")

_QT_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}
_crash_file: TextIO | None = None  # faulthandler keeps the descriptor, not the file


def start_logging(log_dir: Path) -> None:
    """Sends this process's logs, Qt's messages, uncaught exceptions and crashes to `log_dir`.

    A folder that cannot be written costs the files, not the start: stderr still has it all.
    """
    app, engine = logging.getLogger("bilin_app"), logging.getLogger("bilin_engine_stderr")
    for root in (app, engine):
        root.setLevel(logging.INFO)
        root.propagate = False
        root.handlers = []
    errors = logging.StreamHandler(sys.stderr)
    errors.setLevel(logging.WARNING)
    errors.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    app.addHandler(errors)
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        app.addHandler(
            log_file(log_dir / "app.log", "%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
        engine.addHandler(log_file(log_dir / "engine-stderr.log", "%(asctime)s %(message)s"))
        _watch_crashes(log_dir / "crash.log")
    except OSError as error:
        faulthandler.enable()
        logger.warning("no log files in %s: %s", log_dir, error)
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread_exception
    qInstallMessageHandler(_log_qt_message)


class _RotatingFile(logging.FileHandler):
    """A log that begins anew when it is long; NUM_OLD_FILES of those before are kept.

    As logging.handlers has it, whose module brings sockets and pickles along: 13 ms of the start.
    """

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and self.stream.tell() >= MAX_FILE_BYTES:
                self._begin_anew()
            super().emit(record)
        except OSError:  # a full or removed disk must not end whatever has something to say
            with contextlib.suppress(OSError):
                self.close()  # the next record opens it again: the disk may be another by then
            self.handleError(record)

    def _begin_anew(self) -> None:
        path = Path(self.baseFilename)
        self.close()  # the next record opens it again
        with contextlib.suppress(OSError):
            for number in range(NUM_OLD_FILES, 0, -1):
                older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
                if older.exists():
                    older.replace(path.with_name(f"{path.name}.{number}"))


def log_file(path: Path, layout: str) -> logging.Handler:
    """A log at `path`, each record as `layout` says. Raises OSError."""
    handler = _RotatingFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(layout))
    return handler


def _watch_crashes(path: Path) -> None:
    global _crash_file
    if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    _crash_file = path.open("a", encoding="utf-8")
    faulthandler.enable(_crash_file)


def _log_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logger.critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_thread_exception(hook: threading.ExceptHookArgs) -> None:
    name = hook.thread.name if hook.thread else "a thread"
    if hook.exc_value is not None:
        details = (hook.exc_type, hook.exc_value, hook.exc_traceback)
        logger.critical("uncaught exception in %s", name, exc_info=details)


def _log_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    category = context.category or "default"
    qt_logger.log(_QT_LEVELS.get(kind, logging.WARNING), "%s: %s", category, message)
