"""What can go wrong with the database, sorted by what a person can do about it."""

import errno
import sqlite3
from typing import Literal

# "failed": not the database but a job of ours.
StorageProblem = Literal["full", "read_only", "damaged", "busy", "newer", "unusable", "failed"]

_PROBLEMS: dict[int, StorageProblem] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
}


class StorageError(Exception):
    """The database refused. `problem` says what a person can do; the text is for the log."""

    def __init__(self, problem: StorageProblem, message: str) -> None:
        super().__init__(message)
        self.problem: StorageProblem = problem


def is_file_lost(error: sqlite3.Error) -> bool:
    """Whether the disk under an open database may be gone: only opening it again can tell."""
    return _primary_code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def storage_error(error: sqlite3.Error | OSError) -> StorageError:
    """SQLite's or the system's error as a StorageError. Unknown ones are "unusable"."""
    if isinstance(error, OSError):
        return StorageError(_os_problem(error), str(error))
    return StorageError(_PROBLEMS.get(_primary_code(error), "unusable"), str(error))


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part


def _os_problem(error: OSError) -> StorageProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "full"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "read_only"
    return "unusable"
