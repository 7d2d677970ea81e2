"""The editor's documents and their revisions: every question and change as one function.

The changes expect a transaction around them (`Store` opens it). `content` is the text layer's
JSON; `folded` is what searching compares with. Times are seconds since the epoch.
"""

import sqlite3
from dataclasses import dataclass

from bilin_app.storage.search import find_readings
from bilin_app.text.document import count_characters
from bilin_app.text.document_file import Snapshot, decode_document, encode_document
from bilin_app.text.pinyin import readings
from bilin_app.text.search_terms import fold, query_words

MAX_HITS = 100
MAX_REVISIONS = 50


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A line of the list."""

    id: int
    title: str
    updated_at: float


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """An earlier state. reason: the controllers' word. num_characters: as a person counts."""

    id: int
    created_at: float
    reason: str
    num_characters: int


@dataclass(frozen=True, slots=True)
class DocumentHit:
    """A document that holds all words of a query. text: its plain text.

    read: which characters of the title (start, end) the query is the pinyin of, or None.
    """

    id: int
    title: str
    text: str
    updated_at: float
    read: tuple[int, int] | None = None


def list_documents(connection: sqlite3.Connection) -> list[DocumentRecord]:
    """All but the trash, the newest first."""
    rows = connection.execute(
        "SELECT id, title, updated_at FROM documents WHERE trashed_at IS NULL"
        " ORDER BY updated_at DESC, id DESC"
    )
    return [DocumentRecord(*row) for row in rows]


def load_document(connection: sqlite3.Connection, document_id: int) -> Snapshot | None:
    """A document; None if there is no such one (or in the trash)."""
    row = connection.execute(
        "SELECT title, content FROM documents WHERE id = ? AND trashed_at IS NULL", (document_id,)
    ).fetchone()
    return None if row is None else _snapshot(*row)


def save_document(
    connection: sqlite3.Connection, document_id: int, snapshot: Snapshot, now: float
) -> int:
    """Keeps a document as it is now; id 0 makes a new one. Returns the id."""
    content = encode_document(snapshot).decode()
    folded = fold(f"{snapshot.title}\n{snapshot.content.plain_text}")
    if document_id:
        connection.execute(
            "UPDATE documents SET title = ?, content = ?, folded = ?, pinyin = ?, updated_at = ?"
            " WHERE id = ?",
            (snapshot.title, content, folded, readings(snapshot.title), now, document_id),
        )
        return document_id
    new_id = connection.execute(
        "INSERT INTO documents (title, created_at, updated_at, content, folded, pinyin)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (snapshot.title, now, now, content, folded, readings(snapshot.title)),
    ).lastrowid
    assert new_id is not None
    return new_id


def set_document_trashed(
    connection: sqlite3.Connection, document_id: int, at: float | None
) -> None:
    """Puts a document into the trash at this time, or (None) brings it back."""
    connection.execute("UPDATE documents SET trashed_at = ? WHERE id = ?", (at, document_id))


def purge_documents(connection: sqlite3.Connection, document_ids: list[int]) -> None:
    """Deletes documents for good, with their revisions; one that is not in the trash stays."""
    for document_id in document_ids:
        gone = connection.execute(
            "DELETE FROM documents WHERE id = ? AND trashed_at IS NOT NULL", (document_id,)
        )
        if gone.rowcount:
            connection.execute(
                "DELETE FROM document_revisions WHERE document_id = ?", (document_id,)
            )


def keep_revision(
    connection: sqlite3.Connection, document_id: int, snapshot: Snapshot, reason: str, now: float
) -> None:
    """Keeps a state to go back to, unless it is the last one kept. The oldest make room."""
    content = encode_document(snapshot).decode()
    last = connection.execute(
        "SELECT content FROM document_revisions WHERE document_id = ? ORDER BY id DESC LIMIT 1",
        (document_id,),
    ).fetchone()
    if last is not None and last[0] == content:
        return
    connection.execute(
        "INSERT INTO document_revisions (document_id, created_at, reason, num_characters, content)"
        " VALUES (?, ?, ?, ?, ?)",
        (document_id, now, reason, count_characters(snapshot.content.text), content),
    )
    connection.execute(
        "DELETE FROM document_revisions WHERE document_id = ? AND id NOT IN ("
        " SELECT id FROM document_revisions WHERE document_id = ? ORDER BY id DESC LIMIT ?)",
        (document_id, document_id, MAX_REVISIONS),
    )


def list_revisions(connection: sqlite3.Connection, document_id: int) -> list[RevisionRecord]:
    """Earlier states, the newest first."""
    rows = connection.execute(
        "SELECT id, created_at, reason, num_characters FROM document_revisions"
        " WHERE document_id = ? ORDER BY id DESC",
        (document_id,),
    )
    return [RevisionRecord(*row) for row in rows]


def load_revision(
    connection: sqlite3.Connection, document_id: int, revision_id: int
) -> Snapshot | None:
    """An earlier state of a document; None if it has made room, or is another document's."""
    row = connection.execute(
        "SELECT d.title, r.content FROM document_revisions r"
        " JOIN documents d ON d.id = r.document_id WHERE r.id = ? AND d.id = ?",
        (revision_id, document_id),
    ).fetchone()
    return None if row is None else _snapshot(*row)


def find_documents(connection: sqlite3.Connection, query: str) -> list[DocumentHit]:
    """Documents that hold every word of the query, then those whose title it is the pinyin of.

    Each the newest first. Not the trash.
    """
    words = query_words(query)
    if not words:
        return []
    condition = " AND ".join(["instr(folded, ?) > 0"] * len(words))
    rows = connection.execute(
        f"SELECT id, title, content, updated_at FROM documents WHERE {condition}"
        " AND trashed_at IS NULL ORDER BY updated_at DESC, id DESC LIMIT ?",
        (*words, MAX_HITS),
    ).fetchall()
    hits = [_hit(row) for row in rows]
    known = {hit.id for hit in hits}
    for found in find_readings(connection, "documents", query):
        if found.id not in known:
            row = connection.execute(
                "SELECT id, title, content, updated_at FROM documents WHERE id = ?", (found.id,)
            ).fetchone()
            hits.append(_hit(row, found.read))
    return hits


def _hit(row: tuple[int, str, str, float], read: tuple[int, int] | None = None) -> DocumentHit:
    document_id, title, content, updated_at = row
    text = _snapshot(title, content).content.plain_text
    return DocumentHit(document_id, title, text, updated_at, read)


def _snapshot(title: str, content: str) -> Snapshot:
    snapshot = decode_document(content)
    return Snapshot(title, snapshot.content, snapshot.fills)
