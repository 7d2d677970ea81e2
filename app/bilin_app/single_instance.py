"""One window per data folder: a second start raises the first, hands it its files, and ends."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

logger = logging.getLogger(__name__)

WAIT_MS = 1000
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
            _Caller(socket, self)
        self.show_requested.emit()

    def close(self) -> None:
        """Listens no more."""
        self._server.close()


class _Caller(QObject):
    """One that connected: what it writes until it leaves is its files."""

    def __init__(self, socket: QLocalSocket, server: InstanceServer) -> None:
        super().__init__(server)
        self._socket = socket
        self._server = server
        self._received = b""
        socket.setParent(self)
        socket.readyRead.connect(self._on_ready)
        socket.disconnected.connect(self._on_end)
        QTimer.singleShot(WAIT_MS * 5, self, self._leave)
        self._on_ready()
        if socket.state() == QLocalSocket.LocalSocketState.UnconnectedState:
            self._on_end()

    def _on_ready(self) -> None:
        self._received += self._socket.readAll().data()
        if len(self._received) > MAX_MESSAGE_BYTES:
            self._leave()

    def _on_end(self) -> None:
        files = _files(self._received)
        self._received = b""
        if files:
            self._server.files_requested.emit(files)
        self._leave()

    def _leave(self) -> None:
        self._socket.abort()
        self.deleteLater()


def _files(message: bytes) -> list[Path]:
    try:
        names = json.loads(message or b"[]")
    except (ValueError, RecursionError):
        return []
    if not isinstance(names, list):
        return []
    named = [Path(name) for name in names[:MAX_FILES] if isinstance(name, str) and name]
    return [path for path in named if path.is_absolute()]
