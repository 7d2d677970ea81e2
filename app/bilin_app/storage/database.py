"""Opening the database so that the app always opens: damaged, read-only, full or too new a file.

A file that cannot be used stays where it is (or is put aside) and a database in memory takes its
place, filled with all that could be read, so that reading and writing go on until the app closes.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bilin_app.storage.conversations import recover_running
from bilin_app.storage.deletion import purge_deleted
from bilin_app.storage.errors import StorageError, StorageProblem, storage_error
from bilin_app.storage.recovery import Salvage, remove_database, salvage, set_aside
from bilin_app.storage.schema import MIGRATIONS, Migration, migrate
from bilin_app.storage.search import refresh_index

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 5.0
_MIN_FREE_BYTES = 256 * 1024  # the -shm and a small -wal


@dataclass(frozen=True, slots=True)
class OpenReport:
    """What a person should know about the opening. problem "" = nothing.

    is_in_memory: what is written now is gone when the app closes. "damaged" and not in memory:
    the old file is `kept_as`, and so many conversations and messages were carried over.
    num_interrupted: answers that were running when the app was last ended by force.
    """

    path: Path
    problem: StorageProblem | None = None
    is_in_memory: bool = False
    kept_as: Path | None = None
    num_conversations: int = 0
    num_messages: int = 0
    num_interrupted: int = 0
    detail: str = ""


def open_database(
    path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> tuple[sqlite3.Connection, OpenReport]:
    """The write connection (autocommit, for the calling thread) and what to tell. Never gives up.

    A FULL-synchronous WAL file, migrated, checked, with interrupted answers recovered; or the
    database in memory that stands in for it.
    """
    try:
        return _open_or_replace(path, migrations)
    except (sqlite3.Error, OSError, StorageError) as error:
        refused = error if isinstance(error, StorageError) else storage_error(error)
        problem = _diagnose(path) if refused.problem == "unusable" else refused.problem
        logger.warning("the database cannot be used (%s): %s", problem, refused)
        connection = _open_in_memory(path, problem, migrations)
        return connection, OpenReport(path, problem, is_in_memory=True, detail=str(refused))


def mark_damaged(path: Path) -> None:
    """Remembers for the next opening that SQLite found damage which its quick check may miss."""
    with contextlib.suppress(OSError):
        _damage_mark(path).touch()


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for the calling thread. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
    )  # fmt: skip


def _diagnose(path: Path) -> StorageProblem:
    """Why a file cannot be opened, where SQLite says only that it cannot."""
    folder = path.parent
    try:
        if not folder.is_dir():
            return "unusable"
        if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            return "read_only"
        if shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
            return "full"
    except OSError as error:  # the disk fails, or the folder is another's
        return storage_error(error).problem
    return "unusable"


def _damage_mark(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _open_or_replace(
    path: Path, migrations: Sequence[Migration]
) -> tuple[sqlite3.Connection, OpenReport]:
    _take_rescued(path)
    try:
        if _damage_mark(path).exists():
            raise _damaged("damage was found while it was in use")
        connection = open_file(path, migrations)
        return connection, OpenReport(path, num_interrupted=_recover(connection))
    except sqlite3.DatabaseError as error:
        if storage_error(error).problem != "damaged":
            raise
        connection, report = _replace_damaged(path, migrations, str(error))
        _damage_mark(path).unlink(missing_ok=True)
        return connection, replace(report, num_interrupted=_recover(connection))


def _rescued(path: Path) -> Path:
    """Where what was read from a damaged database lies, once it is whole, until it has the path."""
    return path.with_name(path.name + ".new")


def _take_rescued(path: Path) -> None:
    """Where the damaged file is out of the way already: a kill came then, or the person moved it.

    What marks it as damaged says nothing of the file that takes its place.
    """
    if path.exists():
        return
    rescued = _rescued(path)
    if rescued.exists():
        set_aside(path)  # its -wal may be there still: SQLite would apply it to the new file
        rescued.rename(path)
    _damage_mark(path).unlink(missing_ok=True)


def _damaged(reason: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _recover(connection: sqlite3.Connection) -> int:
    """Brings the index up to date and ends what a kill interrupted. Closes what it cannot use."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        purge_deleted(connection)
        refresh_index(connection)
        num_interrupted = recover_running(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return num_interrupted


def open_file(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """The write connection to a file that is sound, migrated; running answers are left as they are.

    Raises sqlite3.Error, OSError, StorageError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path.parent / "backups", migrations)
        [verdict] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _damaged(verdict)
        # SQLite opens a file it may not write without a word; the first commit would tell.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('opened', datetime('now'))")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _replace_damaged(
    path: Path, migrations: Sequence[Migration], reason: str
) -> tuple[sqlite3.Connection, OpenReport]:
    """The new database takes the path when it is whole: a kill before that leaves the damaged one.

    It is read again at the next start, then.
    """
    new = _rescued(path)
    part = new.with_name(new.name + ".part")
    for left in (new, part):
        remove_database(left)
    connection = open_file(part, migrations)
    found = Salvage(0, 0)
    try:
        found = salvage(path, connection)
    except sqlite3.Error as error:
        if storage_error(error).problem == "full":  # it can be read where there is room for it
            raise
        logger.warning("nothing could be read from %s: %s", path.name, error)
    finally:
        connection.close()  # folds the -wal in
    part.rename(new)
    kept_as = set_aside(path)
    logger.warning("the database is damaged (%s); it is kept as %s", reason, kept_as.name)
    new.rename(path)
    return open_file(path, migrations), OpenReport(
        path,
        "damaged",
        kept_as=kept_as,
        num_conversations=found.num_conversations,
        num_messages=found.num_messages,
        detail=reason,
    )


def _open_in_memory(
    path: Path, problem: StorageProblem, migrations: Sequence[Migration]
) -> sqlite3.Connection:
    if problem in ("full", "read_only", "busy", "unusable"):
        for read in (_read_copy, _read_in_place):
            connection = sqlite3.connect(":memory:", isolation_level=None)
            try:
                read(path, connection)
                migrate(connection, None, migrations)
                _recover(connection)
            except (sqlite3.Error, OSError, StorageError) as error:
                logger.info("%s did not serve: %s", read.__name__, error)
                connection.close()
            else:
                return connection
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, None, migrations)
    return connection


def _read_copy(path: Path, target: sqlite3.Connection) -> None:
    """With what is in the -wal, which a read-only folder may keep us from opening in place."""
    with tempfile.TemporaryDirectory(prefix="bilin-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        wal = path.with_name(path.name + "-wal")
        if wal.exists():
            shutil.copyfile(wal, copy.with_name(copy.name + "-wal"))
        _load(f"{copy.as_uri()}", target)


def _read_in_place(path: Path, target: sqlite3.Connection) -> None:
    """Without the -wal: all that a full disk or a lock leaves to be read."""
    _load(f"{path.absolute().as_uri()}?mode=ro&immutable=1", target)


def _load(uri: str, target: sqlite3.Connection) -> None:
    source = sqlite3.connect(uri, uri=True)
    try:
        source.backup(target)
    finally:
        source.close()
