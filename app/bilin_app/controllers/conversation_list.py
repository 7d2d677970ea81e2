"""The list of conversations: titles and pins are their own, all else is `StoredList`'s."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial

from bilin_app.controllers.list_views import ListRow, SearchHit
from bilin_app.controllers.stored_list import ListStorage, StoredList, search_hit
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import ConversationRecord
from bilin_app.storage.search import find
from bilin_app.storage.store import Store
from bilin_app.storage.trash import list_trashed


class ConversationList(StoredList[ConversationRecord]):
    """Pinned first, then the newest. running_conversation: the one an answer is written in."""

    def __init__(self, store: Store, running_conversation: Callable[[], int]) -> None:
        self._running_conversation = running_conversation
        storage = ListStorage(
            list_records=stored.list_conversations,
            find=find_hits,
            set_trashed=stored.set_trashed,
            list_trashed=partial(list_trashed, table="conversations"),
            purge=stored.purge,
        )
        super().__init__(store, storage, self._row)

    def _row(self, record: ConversationRecord) -> ListRow:
        return ListRow(
            id=record.id,
            title=record.title,
            updated_at=record.updated_at,
            is_pinned=record.pinned_at is not None,
            is_running=record.id == self._running_conversation(),
            has_draft=bool(record.draft.strip()),
        )

    def rename(self, conversation_id: int, title: str) -> None:
        """Gives a conversation a title of the person's own."""
        self._change(stored.rename, conversation_id, " ".join(title.split()))

    def set_pinned(self, conversation_id: int, is_pinned: bool) -> None:
        """Pins or unpins a conversation."""
        self._change(stored.set_pinned, conversation_id, time.time() if is_pinned else None)


def find_hits(connection: sqlite3.Connection, query: str) -> list[SearchHit]:
    """What a search found in titles and messages, with its words marked."""
    return [
        search_hit(
            hit.conversation_id,
            hit.message_id,
            hit.title,
            hit.text if hit.message_id else "",
            hit.created_at,
            query=query,
            read=hit.read,
        )
        for hit in find(connection, query)
    ]
