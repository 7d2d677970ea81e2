"""The database behind two threads, so that no one waits for a disk on the GUI thread.

`bilin-storage` owns the write connection; a change is acknowledged when its future is done, and is
then on disk. `bilin-storage-read` answers questions from a read-only connection. Futures end with
a StorageError where SQLite refuses; other exceptions are the job's own.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bilin_app.storage.database import (
    OpenReport,
    mark_damaged,
    open_database,
    open_file,
    open_reader,
)
from bilin_app.storage.errors import StorageError, is_file_lost, storage_error

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_LIMIT_S = 10.0


class Store:
    """One database. Calls return at once, from any thread; jobs of a kind run in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: Future[OpenReport] = Future()
        self._writer = _Lane("bilin-storage", self._on_refused)
        self._reader = _Lane("bilin-storage-read", self._on_refused)
        self._connection: sqlite3.Connection | None = None  # the storage thread's
        self._read_connection: sqlite3.Connection | None = None  # the reading thread's
        self._is_in_memory = False
        self._is_lost = False  # the file under the write connection, as SQLite's last error says
        self._is_closed = False

    def open(self) -> Future[OpenReport]:
        """Starts the threads and opens the database, or what stands in for it."""
        self._writer.start()
        self._reader.start()
        self._writer.put(self._open, self.opened)
        return self.opened

    def write(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """Runs `job(connection, …)` in a transaction; done = it survives a power cut."""
        return self._put_write("FULL", lambda connection: job(connection, *args, **kwargs))

    def write_soon(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """As `write`, but done = it survives a kill of the app; a power cut may undo it."""
        return self._put_write("NORMAL", lambda connection: job(connection, *args, **kwargs))

    def read(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """Runs `job(connection, …)` on a read-only connection, beside the writing.

        Sees every change whose future was done before this call.
        """
        future: Future[T] = Future()

        def run() -> T:
            self.opened.result()
            if self._is_in_memory:  # its one connection belongs to the storage thread
                inner: Future[T] = Future()
                self._writer.put(lambda: self._transact("NORMAL", call), inner)
                return inner.result()
            if self._read_connection is None:
                self._read_connection = open_reader(self.path)
            try:
                return call(self._read_connection)
            except sqlite3.Error as error:
                if is_file_lost(error):
                    self._close_reader()
                raise

        def call(connection: sqlite3.Connection) -> T:
            return job(connection, *args, **kwargs)

        self._reader.put(run, future)
        return future

    def read_latest(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """As `read`, but sees every change asked for before this call, done or still on its way."""
        written: Future[None] = Future()
        self._writer.put(lambda: None, written)
        self._reader.put(written.result, Future())
        return self.read(job, *args, **kwargs)

    def close(self) -> None:
        """Waits until all that was given is done, then closes. Blocks; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reader.stop(self._close_reader)
        self._writer.stop(self._close_writer)

    def _put_write(self, synchronous: str, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        self._writer.put(lambda: self._transact(synchronous, job), future)
        return future

    def _open(self) -> OpenReport:
        self._connection, report = open_database(self.path)
        self._is_in_memory = report.is_in_memory
        logger.info(
            "database open%s, %s answers interrupted",
            " in memory" if report.is_in_memory else "",
            report.num_interrupted,
        )
        return report

    def _transact(self, synchronous: str, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_lost and self.path.exists():  # never a new database where no disk is mounted
            self._open_again()
        connection = self._connection
        if connection is None:
            raise StorageError("unusable", "the database is not open")
        try:
            return _transact(connection, synchronous, job)
        except sqlite3.Error as error:
            if is_file_lost(error) and not self._is_in_memory:
                self._is_lost = True
            raise

    def _open_again(self) -> None:
        """A disk that went and came back has the same file at the path, under another device."""
        lost, self._connection = self._connection, None
        if lost is not None:
            lost.close()  # first: SQLite may remove the -wal at the path with its last connection
        self._connection = open_file(self.path)
        self._is_lost = False
        self._reader.put(self._close_reader, Future())  # it may go on reading what is cached
        logger.info("the database is open again")

    def _on_refused(self, error: StorageError) -> None:
        logger.info("the database refused (%s): %s", error.problem, error)
        if error.problem == "damaged":
            mark_damaged(self.path)

    def _close_reader(self) -> None:
        connection, self._read_connection = self._read_connection, None
        if connection is not None:
            connection.close()

    def _close_writer(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _transact(
    connection: sqlite3.Connection, synchronous: str, job: Callable[[sqlite3.Connection], T]
) -> T:
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = job(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
    return result


class _Lane:
    """A thread that does jobs one after the other and hands their outcome to futures."""

    def __init__(self, name: str, on_refused: Callable[[StorageError], None]) -> None:
        self._on_refused = on_refused
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, job: Callable[[], T], future: Future[T]) -> None:
        def run() -> None:
            try:
                result = job()
            except (sqlite3.Error, OSError) as error:
                refused = storage_error(error)
                future.set_exception(refused)
                self._on_refused(refused)
            except BaseException as error:  # noqa: BLE001 - the edge of the thread: the future tells
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(run)

    def stop(self, last: Callable[[], None]) -> None:
        if self._thread.ident is None:
            return
        self._jobs.put(last)
        self._jobs.put(None)
        self._thread.join(CLOSE_LIMIT_S)
        if self._thread.is_alive():
            logger.error("%s did not end within %g s", self._thread.name, CLOSE_LIMIT_S)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
