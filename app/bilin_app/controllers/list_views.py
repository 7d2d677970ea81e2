"""Rows of lists of conversations and documents: frozen values, no Qt, no database rows.

Times are seconds since the epoch; ids are the database's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListRow:
    """A conversation or document in its list. is_running: an answer is being written."""

    id: int
    title: str
    updated_at: float
    is_pinned: bool = False
    is_running: bool = False
    has_draft: bool = False


@dataclass(frozen=True, slots=True)
class SearchHit:
    """What a search found in the conversation or document `id`.

    message_id 0: not in a message. highlights: (start, end) in `snippet`; title_highlights: in
    `title`.
    """

    id: int
    message_id: int
    title: str
    snippet: str
    highlights: tuple[tuple[int, int], ...]
    updated_at: float
    title_highlights: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class DeletedItem:
    """A conversation or document that went to the trash: `undo_delete(id)` brings it back."""

    id: int
    title: str


@dataclass(frozen=True, slots=True)
class TrashRow:
    """A conversation or document in the trash."""

    id: int
    title: str
    trashed_at: float
