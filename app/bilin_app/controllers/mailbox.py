"""Work beside the GUI thread, and its outcome back on it."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from threading import Thread
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from bilin_app.storage.errors import StorageError, storage_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_LIMIT_MS = 10_000  # without a word from a file's disk: one that wakes up takes less


class Mailbox(QObject):
    """Calls back on the thread it lives on, in the order in which the futures end."""

    _arrived = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._arrived.connect(self._on_arrived, Qt.ConnectionType.QueuedConnection)

    def when(
        self,
        future: Future[T],
        done: Callable[[T], None] | None = None,
        refused: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Calls `done(result)` or `refused(error)` later: one of them, whatever went wrong.

        An exception that is no StorageError is a fault of ours: logged, and refused as "failed".
        """

        def deliver() -> None:
            error = future.exception()
            if error is None:
                if done is not None:
                    done(future.result())
                return
            if not isinstance(error, StorageError):
                logger.error("a job of the storage thread failed", exc_info=error)
                error = StorageError("failed", repr(error))
            if refused is not None:
                refused(error)

        def arrived(_future: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the app has ended and this object with it
                self._arrived.emit(deliver)

        future.add_done_callback(arrived)

    def _on_arrived(self, deliver: Callable[[], None]) -> None:
        deliver()


def in_a_thread(job: Callable[[], T]) -> Future[T]:
    """For files. A daemon: one that cannot be read or written to its end keeps no app open."""
    future: Future[T] = Future()

    def run() -> None:
        with contextlib.suppress(InvalidStateError):  # given up
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - the edge of the thread: the future tells
                future.set_exception(error)

    Thread(target=run, name="bilin-files", daemon=True).start()
    return future


def give_up(future: Future[T]) -> None:
    """Has `in_a_thread`'s future end as a disk that does not answer, unless it has ended."""
    with contextlib.suppress(InvalidStateError):
        timed_out = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        future.set_exception(storage_error(timed_out))
