"""The tables, as numbered migrations with a backup before each.

A conversation is a tree: `parent_id` says what a message follows, several children are versions,
and `active_child_id` (`active_root_id` for the first message) says which one is on show. A queued
message has no parent until its turn comes. While an answer runs, its new text is in `journal`.
Columns with JSON are the controllers'; storage only keeps them. A message with `deleted_at` is off
every branch with all that follows it, until it is brought back or, at the next start, gone. A
document of the editor is JSON
(text.document_file), with the states it had as revisions.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bilin_app.storage.errors import StorageError

Migration = Callable[[sqlite3.Connection], None]

_TABLES = """
CREATE TABLE conversations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  pinned_at REAL,
  trashed_at REAL,
  system_prompt TEXT NOT NULL DEFAULT '',
  sampling TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '',
  draft TEXT NOT NULL DEFAULT '',
  active_root_id INTEGER
);
CREATE TABLE messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation_id INTEGER NOT NULL,
  parent_id INTEGER,
  active_child_id INTEGER,
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  state TEXT NOT NULL
    CHECK (state IN ('queued', 'running', 'done', 'stopped', 'failed', 'interrupted')),
  text TEXT NOT NULL,
  created_at REAL NOT NULL,
  facts TEXT NOT NULL DEFAULT '',
  seams TEXT NOT NULL DEFAULT '',
  failure TEXT NOT NULL DEFAULT '',
  failure_detail TEXT NOT NULL DEFAULT '',
  is_indexed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_by_place ON messages (conversation_id, parent_id, id);
CREATE INDEX messages_under_way ON messages (state) WHERE state IN ('queued', 'running');
CREATE TABLE journal (
  message_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (message_id, sequence)
) WITHOUT ROWID;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  trashed_at REAL,
  content TEXT NOT NULL,
  folded TEXT NOT NULL
);
CREATE TABLE document_revisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  document_id INTEGER NOT NULL,
  created_at REAL NOT NULL,
  reason TEXT NOT NULL,
  num_characters INTEGER NOT NULL,
  content TEXT NOT NULL
);
CREATE INDEX revisions_by_document ON document_revisions (document_id, id);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE message_search USING fts5(terms, content='');
CREATE VIRTUAL TABLE title_search USING fts5(terms, content='');
"""


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _add_attachments_and_deletion(connection: sqlite3.Connection) -> None:
    for table, column in (
        ("messages", "attachments TEXT NOT NULL DEFAULT ''"),
        ("messages", "deleted_at REAL"),
        ("conversations", "draft_attachments TEXT NOT NULL DEFAULT ''"),
    ):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    connection.execute(
        "CREATE INDEX messages_deleted ON messages (deleted_at) WHERE deleted_at IS NOT NULL"
    )


def _add_pinyin(connection: sqlite3.Connection) -> None:
    """The readings of titles; building the index anew fills them (its terms changed, too)."""
    for table in ("conversations", "documents"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN pinyin TEXT NOT NULL DEFAULT ''")


# After the first one no table is added: `recovery` counts on the tables staying in place.
MIGRATIONS: tuple[Migration, ...] = (_create, _add_attachments_and_deletion, _add_pinyin)


def schema_version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def migrate(
    connection: sqlite3.Connection,
    backup_dir: Path | None,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> list[Path]:
    """Brings the file up to date, one transaction each; returns the backups made before.

    backup_dir: None for a copy, which is a backup itself. A failing migration leaves the file as it
    was before it. Raises StorageError("newer") for a file of a later Bilin, sqlite3.Error and
    OSError.
    """
    version = schema_version(connection)
    if version > len(migrations):
        raise StorageError(
            "newer",
            f"schema {version} was made by a later version; this one knows {len(migrations)}",
        )
    backups: list[Path] = []
    for number in range(version + 1, len(migrations) + 1):
        if version and backup_dir:  # a new file has nothing to keep
            backups.append(_back_up(connection, backup_dir, number - 1))
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[number - 1](connection)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return backups


def _back_up(connection: sqlite3.Connection, backup_dir: Path, version: int) -> Path:
    backup_dir.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = backup_dir / f"bilin-schema{version}-{stamp}.db"
    target = sqlite3.connect(path)
    try:
        connection.backup(target)
    except BaseException:
        target.close()
        path.unlink(missing_ok=True)
        raise
    target.close()
    return path
