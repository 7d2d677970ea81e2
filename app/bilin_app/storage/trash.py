"""The trash of conversations and of documents: what lies in it. Purging is each one's own."""

import sqlite3
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TrashedRecord:
    """A conversation or a document in the trash."""

    id: int
    title: str
    trashed_at: float


def list_trashed(
    connection: sqlite3.Connection, table: Literal["conversations", "documents"]
) -> list[TrashedRecord]:
    """What is in the trash, the last first."""
    rows = connection.execute(
        f"SELECT id, title, trashed_at FROM {table} WHERE trashed_at IS NOT NULL"
        " ORDER BY trashed_at DESC, id DESC"
    )
    return [TrashedRecord(*row) for row in rows]
