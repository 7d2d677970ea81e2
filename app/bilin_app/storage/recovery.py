"""A damaged database: put aside, never deleted, and what can still be read carried over.

Works on copies of the damaged file. A table is read in ranges of ids; a range that fails is halved
until the damaged rows stand alone.
"""

import contextlib
import logging
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bilin_app.storage.schema import MIGRATIONS, migrate
from bilin_app.storage.search import rebuild_index

logger = logging.getLogger(__name__)

_SIDE_FILES = ("", "-wal", "-shm")
_MAX_FAILURES = 20_000
_FIRST_PROBE = 1 << 20
_CONVERSATION = (
    "id, title, created_at, updated_at, pinned_at, trashed_at, system_prompt, sampling, model,"
    " draft, active_root_id, draft_attachments"
)
_MESSAGE = (
    "id, conversation_id, parent_id, active_child_id, role, state, text, created_at, facts, seams,"
    " failure, failure_detail, attachments, deleted_at"
)
_DOCUMENT = "id, title, created_at, updated_at, trashed_at, content, folded"
_REVISION = "id, document_id, created_at, reason, num_characters, content"


@dataclass(frozen=True, slots=True)
class Salvage:
    """How much of a damaged database could be read."""

    num_conversations: int
    num_messages: int


def set_aside(path: Path) -> Path:
    """Renames a database and its side files; returns the new path. Raises OSError."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept_as = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    attempt = 1
    while kept_as.exists():
        attempt += 1
        kept_as = path.with_name(f"{path.stem}.damaged-{stamp}-{attempt}{path.suffix}")
    for suffix in _SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(kept_as.with_name(kept_as.name + suffix))
    return kept_as


def remove_database(path: Path) -> None:
    """Deletes a database and its side files, if it is there."""
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def salvage(damaged: Path, target: sqlite3.Connection) -> Salvage:
    """Copies all rows of `damaged` that can be read into `target`, a new database.

    Raises OSError, and sqlite3.Error where not even the list of tables can be read.
    Messages whose conversation is lost get one of their own; what followed a lost message follows
    the one before it.
    """
    with tempfile.TemporaryDirectory(prefix="bilin-salvage-") as folder:
        copy = Path(folder) / damaged.name
        for suffix in ("", "-wal"):  # opening rewrites the -shm and may fold in the -wal
            side = damaged.with_name(damaged.name + suffix)
            if side.exists():
                shutil.copyfile(side, copy.with_name(copy.name + suffix))
        _make_openable(copy, target)
        target.execute("BEGIN IMMEDIATE")
        try:
            _copy_rows(copy, target)
            _mend_trees(target)
            rebuild_index(target)
            target.execute("COMMIT")
        except BaseException:
            target.execute("ROLLBACK")
            raise
    count = "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)"
    return Salvage(*target.execute(count).fetchone())


def _make_openable(copy: Path, model: sqlite3.Connection) -> None:
    """Mends what keeps SQLite from opening the copy at all: its length and its first page.

    The first page holds the header and the roots of the tables, which lie where the first
    migration put them: in any database of ours at the same place.
    """
    page_size = model.execute("PRAGMA page_size").fetchone()[0]
    with tempfile.NamedTemporaryFile(suffix=".db") as fresh:
        _new_database(Path(fresh.name))
        first_page = fresh.read(page_size)
    num_pages = -(-copy.stat().st_size // page_size)
    with copy.open("r+b") as file:
        header = file.read(100)
        if header[:16] == first_page[:16]:
            num_pages = max(num_pages, int.from_bytes(header[28:32], "big"))
        else:
            logger.info("the first page is damaged; that of a new database takes its place")
            file.seek(0)
            file.write(first_page)
            file.seek(28)
            file.write(num_pages.to_bytes(4, "big"))
        file.truncate(num_pages * page_size)  # a file cut short is refused as a whole


def _new_database(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        migrate(connection, path.parent, MIGRATIONS[:1])
    finally:
        connection.close()


def _copy_rows(copy: Path, target: sqlite3.Connection) -> None:
    source = sqlite3.connect(copy, isolation_level=None)
    try:
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        _add_columns(source)
        for table, wanted in (
            ("conversations", _CONVERSATION),
            ("messages", _MESSAGE),
            ("documents", _DOCUMENT),
            ("document_revisions", _REVISION),
        ):
            there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
            columns = ", ".join(name for name in wanted.split(", ") if name in there)
            places = ", ".join("?" for _ in columns.split(","))
            insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"
            for row in _readable_rows(source, table, columns):
                # A damaged row may break a constraint; then it is no row of ours.
                with contextlib.suppress(sqlite3.IntegrityError, sqlite3.InterfaceError):
                    target.execute(insert, row)
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in source.execute("SELECT message_id, sequence, text FROM journal").fetchall():
                target.execute("INSERT OR IGNORE INTO journal VALUES (?, ?, ?)", row)
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in source.execute("SELECT key, value FROM meta").fetchall():
                target.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", row)
    finally:
        source.close()


def _add_columns(source: sqlite3.Connection) -> None:
    """Gives the copy the columns of today: an old file, or one whose first page is a new one's.

    In SQLite an added column is only named in the schema: rows that hold it already show it.
    """
    for migration in MIGRATIONS[1:]:
        with contextlib.suppress(sqlite3.DatabaseError):  # they are there, or it is damaged there
            migration(source)


def _readable_rows(
    source: sqlite3.Connection, table: str, columns: str
) -> Iterator[tuple[object, ...]]:
    query = f"SELECT {columns} FROM {table} WHERE id BETWEEN ? AND ?"
    ranges = [(1, _highest_id(source, table))]
    num_failures = 0
    while ranges and num_failures < _MAX_FAILURES:
        low, high = ranges.pop()
        try:
            rows = source.execute(query, (low, high)).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            num_failures += 1
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
            continue
        yield from rows
    if num_failures:
        logger.info("%s ranges of %s could not be read", num_failures, table)


def _highest_id(source: sqlite3.Connection, table: str) -> int:
    for query in (
        f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",
        f"SELECT max(id) FROM {table}",
    ):
        with contextlib.suppress(sqlite3.DatabaseError):
            row = source.execute(query).fetchone()
            if row and row[0]:
                return int(row[0])
    return _FIRST_PROBE


def _mend_trees(target: sqlite3.Connection) -> None:
    """Every message gets a conversation and a parent that exist, every pointer a child."""
    target.execute(
        "INSERT INTO conversations (id, title, created_at, updated_at)"
        " SELECT conversation_id, '', min(created_at), max(created_at) FROM messages"
        " WHERE conversation_id NOT IN (SELECT id FROM conversations) GROUP BY conversation_id"
    )
    # A queued message has its id early and its parent late: that one's id may be the higher one.
    _follow_the_one_before(
        target,
        "parent_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM messages b"
        " WHERE b.id = messages.parent_id AND b.conversation_id = messages.conversation_id)",
    )
    # What no first message leads to is a loop, or hangs below one: there the ids go down, then.
    _follow_the_one_before(
        target,
        "parent_id >= id AND id NOT IN (WITH RECURSIVE found (id, conversation_id) AS"
        " (SELECT id, conversation_id FROM messages WHERE parent_id IS NULL"
        "  UNION SELECT m.id, m.conversation_id FROM found JOIN messages m"
        "   ON m.conversation_id = found.conversation_id AND m.parent_id = found.id)"
        " SELECT id FROM found)",
    )
    # The newest child is shown where the one on show is lost.
    target.execute(
        "UPDATE messages SET active_child_id = (SELECT max(b.id) FROM messages b"
        "  WHERE b.parent_id = messages.id AND b.deleted_at IS NULL)"
        " WHERE active_child_id IS NULL OR active_child_id NOT IN"
        " (SELECT b.id FROM messages b WHERE b.parent_id = messages.id AND b.deleted_at IS NULL)"
    )
    target.execute(
        "UPDATE conversations SET active_root_id = (SELECT max(b.id) FROM messages b"
        "  WHERE b.conversation_id = conversations.id AND b.parent_id IS NULL"
        "  AND b.state != 'queued' AND b.deleted_at IS NULL)"
        " WHERE active_root_id IS NULL OR active_root_id NOT IN"
        " (SELECT b.id FROM messages b WHERE b.conversation_id = conversations.id"
        "  AND b.parent_id IS NULL AND b.state != 'queued' AND b.deleted_at IS NULL)"
    )


def _follow_the_one_before(target: sqlite3.Connection, condition: str) -> None:
    target.execute(
        "UPDATE messages SET parent_id = (SELECT max(b.id) FROM messages b"
        "  WHERE b.conversation_id = messages.conversation_id AND b.id < messages.id"
        "  AND b.state != 'queued')"
        f" WHERE {condition}"
    )
