"""The full-text index of messages and titles, and asking it. Terms are text.search_terms'.

Titles are found by their pinyin as well (text.pinyin). Documents are few: their folded text and
their title's readings lie in their own table and are read through.
"""

import sqlite3
from dataclasses import dataclass

from bilin_app.text.document_file import decode_document
from bilin_app.text.pinyin import find_reading, reading_pattern, readings
from bilin_app.text.search_terms import TERMS_VERSION, fold, index_terms, match_expression

MAX_HITS = 100
MAX_PINYIN_HITS = 20
_TERMS_VERSION_KEY = "search_terms_version"


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that matches, or (message_id 0) a title. text: the whole message, or the title.

    read: which characters of the title (start, end) the query is the pinyin of, or None.
    """

    conversation_id: int
    message_id: int
    title: str
    text: str
    created_at: float
    read: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TitleRead:
    """A row whose title the query is the pinyin of; read: (start, end) in the title."""

    id: int
    read: tuple[int, int]


def index_message(connection: sqlite3.Connection, message_id: int, text: str) -> None:
    """Makes a message findable, once its text is final."""
    connection.execute(
        "INSERT INTO message_search (rowid, terms) VALUES (?, ?)", (message_id, index_terms(text))
    )
    connection.execute("UPDATE messages SET is_indexed = 1 WHERE id = ?", (message_id,))


def unindex_message(connection: sqlite3.Connection, message_id: int) -> None:
    """Takes a message out of the index, before its text changes or it goes."""
    row = connection.execute(
        "SELECT text FROM messages WHERE id = ? AND is_indexed = 1", (message_id,)
    ).fetchone()
    if row is not None:
        # A contentless index has to be told what it forgets (contentless_delete needs 3.43).
        connection.execute(
            "INSERT INTO message_search (message_search, rowid, terms) VALUES ('delete', ?, ?)",
            (message_id, index_terms(row[0])),
        )
        connection.execute("UPDATE messages SET is_indexed = 0 WHERE id = ?", (message_id,))


def index_title(connection: sqlite3.Connection, conversation_id: int, title: str) -> None:
    """Makes a conversation findable by its title."""
    connection.execute(
        "INSERT INTO title_search (rowid, terms) VALUES (?, ?)",
        (conversation_id, index_terms(title)),
    )
    connection.execute(
        "UPDATE conversations SET pinyin = ? WHERE id = ?", (readings(title), conversation_id)
    )


def unindex_title(connection: sqlite3.Connection, conversation_id: int, title: str) -> None:
    """Takes out the title that was indexed; `title` must be that very one."""
    connection.execute(
        "INSERT INTO title_search (title_search, rowid, terms) VALUES ('delete', ?, ?)",
        (conversation_id, index_terms(title)),
    )


def refresh_index(connection: sqlite3.Connection) -> bool:
    """Builds the index anew if its terms are cut by other rules than today's. In a transaction."""
    row = connection.execute(
        "SELECT value FROM meta WHERE key = ?", (_TERMS_VERSION_KEY,)
    ).fetchone()
    if row is not None and row[0] == str(TERMS_VERSION):
        return False
    rebuild_index(connection)
    return True


def rebuild_index(connection: sqlite3.Connection) -> None:
    """Builds the index anew from the tables. In a transaction."""
    for table in ("message_search", "title_search"):
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
    connection.execute("UPDATE messages SET is_indexed = 0")
    messages = connection.execute(
        "SELECT id, text FROM messages WHERE state NOT IN ('queued', 'running')"
        " AND deleted_at IS NULL"
    )
    for message_id, text in messages.fetchall():
        index_message(connection, message_id, text)
    titles = connection.execute("SELECT id, title FROM conversations")
    for conversation_id, title in titles.fetchall():
        index_title(connection, conversation_id, title)
    documents = connection.execute("SELECT id, title, content FROM documents")
    for document_id, title, content in documents.fetchall():
        connection.execute(
            "UPDATE documents SET folded = ?, pinyin = ? WHERE id = ?",
            (_folded_document(title, content), readings(title), document_id),
        )
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (_TERMS_VERSION_KEY, str(TERMS_VERSION))
    )


def find(connection: sqlite3.Connection, query: str) -> list[Hit]:
    """Titles that match, titles read so, then messages; each newest first. Not the trash.

    At most MAX_HITS.
    """
    expression = match_expression(query)
    if not expression:
        return []
    hits = [
        Hit(*row)
        for row in connection.execute(
            "SELECT c.id, 0, c.title, c.title, c.updated_at"
            " FROM title_search s JOIN conversations c ON c.id = s.rowid"
            " WHERE title_search MATCH ? AND c.trashed_at IS NULL ORDER BY s.rowid DESC LIMIT ?",
            (expression, MAX_HITS),
        )
    ]
    hits += _titles_read(connection, query, {hit.conversation_id for hit in hits})
    messages = connection.execute(
        "SELECT m.conversation_id, m.id, c.title, m.text, m.created_at"
        " FROM message_search s JOIN messages m ON m.id = s.rowid"
        " JOIN conversations c ON c.id = m.conversation_id"
        " WHERE message_search MATCH ? AND c.trashed_at IS NULL ORDER BY s.rowid DESC LIMIT ?",
        (expression, max(0, MAX_HITS - len(hits))),
    )
    return hits + [Hit(*row) for row in messages]


def _titles_read(connection: sqlite3.Connection, query: str, known: set[int]) -> list[Hit]:
    hits = []
    for found in find_readings(connection, "conversations", query):
        if found.id not in known:
            title, updated_at = connection.execute(
                "SELECT title, updated_at FROM conversations WHERE id = ?", (found.id,)
            ).fetchone()
            hits.append(Hit(found.id, 0, title, title, updated_at, found.read))
    return hits


def find_readings(connection: sqlite3.Connection, table: str, query: str) -> list[TitleRead]:
    """Rows of "conversations" or "documents" whose titles the query is the pinyin of.

    The newest first, at most MAX_PINYIN_HITS, not the trash.
    """
    pattern = reading_pattern(query)
    if pattern is None:
        return []
    letters = "%" + "%".join(query.strip().casefold().replace("ü", "v")) + "%"
    rows = connection.execute(
        f"SELECT id, pinyin FROM {table} WHERE pinyin LIKE ? AND trashed_at IS NULL"
        " ORDER BY updated_at DESC, id DESC",
        (letters,),
    )
    found: list[TitleRead] = []
    for row_id, read in rows:
        span = find_reading(pattern, read)
        if span is not None:
            found.append(TitleRead(row_id, span))
            if len(found) == MAX_PINYIN_HITS:
                break
    return found


def _folded_document(title: str, content: str) -> str:
    try:
        text = decode_document(content).content.plain_text
    except ValueError:  # of a damaged file: its title is still to be found
        text = ""
    return fold(f"{title}\n{text}")
