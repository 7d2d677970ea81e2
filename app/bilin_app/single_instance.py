"""One window per data folder: a second start raises the first, hands it its files, and ends."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QTimer, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

logger = logging.getLogger(__name__)

WAIT_MS = 1000
FOLLOW_MS, STEP_MS = 30_000, 250
MAX_VISIT_MS = 5000
MAX_MESSAGE_BYTES = 64 * 1024
MAX_FILES = 16


def server_name(data_dir: Path) -> str:
    """The name of the socket of the app that runs with this folder."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()
    return f"bilin-{digest[:16]}"


def ask_to_show(data_dir: Path, files: Sequence[Path] = ()) -> bool:
    """Asks the app that runs with this folder to show itself and to open files.

    False if it cannot be reached.
    """
    socket = QLocalSocket()
    socket.connectToServer(server_name(data_dir))
    if not socket.waitForConnected(WAIT_MS):
        return False
    socket.write(json.dumps([str(file.absolute()) for file in files[:MAX_FILES]]).encode())
    while socket.bytesToWrite() and socket.waitForBytesWritten(WAIT_MS):
        pass
    socket.disconnectFromServer()
    return True


def show_or_follow(lock: QLockFile, data_dir: Path, files: Sequence[Path] = ()) -> bool:
    """Asks the app that holds `lock` to show itself; True if it does.

    One that is closing, or has not come to its window yet, answers nobody: its end is waited for,
    and then the lock is taken. False without the lock: it answers nobody and stays.
    """
    for _ in range(FOLLOW_MS // STEP_MS):
        if ask_to_show(data_dir, files):
            return True
        if lock.tryLock(STEP_MS):
            return False
    return False


class InstanceServer(QObject):
    """show_requested(): somebody started the app again. files_requested(list[Path]): with these.

    Only this account can connect. Paths are all that is taken; they are opened as if they had been
    chosen in a dialog.
    """

    show_requested = Signal()
    files_requested = Signal(object)

    def __init__(self, data_dir: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)
        name = server_name(data_dir)
        QLocalServer.removeServer(name)  # left by one that crashed: the folder's lock is ours
        if not self._server.listen(name):
            logger.info("a second start cannot raise this one: %s", self._server.errorString())

    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            limit = QTimer(socket)
            limit.setSingleShot(True)
            # No closures: what they hold would live until inside the socket's own end.
            limit.timeout.connect(self._on_limit)
            limit.start(MAX_VISIT_MS)
            socket.readyRead.connect(self._on_ready)
            socket.disconnected.connect(self._on_left)
            if socket.state() == QLocalSocket.LocalSocketState.UnconnectedState:
                self._take(socket)
        self.show_requested.emit()

    def _on_limit(self) -> None:
        timer = self.sender()
        if timer is not None and isinstance(socket := timer.parent(), QLocalSocket):
            socket.abort()

    def _on_ready(self) -> None:
        socket = self.sender()
        if isinstance(socket, QLocalSocket) and socket.bytesAvailable() > MAX_MESSAGE_BYTES:
            socket.readAll()  # no list of files: what is left of it cannot be one either

    def _on_left(self) -> None:
        socket = self.sender()
        if isinstance(socket, QLocalSocket):
            self._take(socket)

    def _take(self, socket: QLocalSocket) -> None:
        """What a caller wrote until it left is its files."""
        files = _files(bytes(socket.readAll().data())) if socket.isOpen() else []
        socket.deleteLater()
        if files:
            self.files_requested.emit(files)

    def close(self) -> None:
        """Listens no more."""
        self._server.close()


def _files(message: bytes) -> list[Path]:
    try:
        names = json.loads(message or b"[]")
    except (ValueError, RecursionError):
        return []
    if not isinstance(names, list):
        return []
    named = [Path(name) for name in names[:MAX_FILES] if isinstance(name, str) and name]
    return [path for path in named if path.is_absolute()]
