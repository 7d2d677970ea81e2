"""One window per data folder: a second start asks the first to come to the front, and ends."""

import hashlib
import logging
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

logger = logging.getLogger(__name__)

WAIT_MS = 1000


def server_name(data_dir: Path) -> str:
    """The name of the socket of the app that runs with this folder."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()
    return f"bilin-{digest[:16]}"


def ask_to_show(data_dir: Path) -> bool:
    """Asks the app that runs with this folder to show itself; False if it cannot be reached."""
    socket = QLocalSocket()
    socket.connectToServer(server_name(data_dir))
    is_connected = socket.waitForConnected(WAIT_MS)
    socket.abort()
    return is_connected


class InstanceServer(QObject):
    """show_requested(): somebody started the app again. Takes no data, so none can do harm."""

    show_requested = Signal()

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
            socket.abort()
            socket.deleteLater()
        self.show_requested.emit()

    def close(self) -> None:
        """Listens no more."""
        self._server.close()
