"""The list of conversations: rows, titles, pins, the trash with undo, search over all of them."""

import sqlite3
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.views import ConversationRow, DeletedConversation, SearchHit
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import ConversationRecord
from bilin_app.storage.errors import StorageError
from bilin_app.storage.search import find
from bilin_app.storage.store import Store
from bilin_app.text.search_terms import snippet


class ConversationList(QObject):
    """changed(list[ConversationRow]), search_done(str, list[SearchHit]), refused(StorageError).

    deleted(DeletedConversation) and restored(int) tell what left the list and what came back.
    """

    changed = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    restored = Signal(int)
    refused = Signal(object)

    def __init__(self, store: Store, running_conversation: Callable[[], int]) -> None:
        super().__init__()
        self._store = store
        self._running_conversation = running_conversation
        self._mailbox = Mailbox(self)
        self._records: list[ConversationRecord] = []
        self._trash: list[DeletedConversation] = []
        self._search = 0  # counts the searches: only the last one is answered

    def refresh(self) -> None:
        """Reads the list; `changed` follows."""
        self._mailbox.when(
            self._store.read(stored.list_conversations), self._on_listed, self.refused.emit
        )

    def show_running(self) -> None:
        """The running conversation changed: `changed` at once, from what was read last."""
        running = self._running_conversation()
        rows = [
            ConversationRow(
                id=record.id,
                title=record.title,
                updated_at=record.updated_at,
                is_pinned=record.pinned_at is not None,
                is_running=record.id == running,
                has_draft=bool(record.draft.strip()),
            )
            for record in self._records
        ]
        self.changed.emit(rows)

    def rename(self, conversation_id: int, title: str) -> None:
        """Gives a conversation a title of the person's own."""
        title = " ".join(title.split())
        future = self._store.write(stored.rename, conversation_id, title)
        self._mailbox.when(future, self._refresh_after, self.refused.emit)

    def set_pinned(self, conversation_id: int, is_pinned: bool) -> None:
        """Pins or unpins a conversation."""
        at = time.time() if is_pinned else None
        future = self._store.write(stored.set_pinned, conversation_id, at)
        self._mailbox.when(future, self._refresh_after, self.refused.emit)

    def delete(self, conversation_id: int) -> None:
        """Puts a conversation into the trash; `deleted` follows."""
        title = next((r.title for r in self._records if r.id == conversation_id), "")
        gone = DeletedConversation(conversation_id, title)

        def done(_none: None) -> None:
            self._trash.append(gone)
            self.refresh()
            self.deleted.emit(gone)

        future = self._store.write(stored.set_trashed, conversation_id, time.time())
        self._mailbox.when(future, done, self.refused.emit)

    def undo_delete(self) -> None:
        """Brings back what was deleted last; may be repeated."""
        if not self._trash:
            return
        gone = self._trash.pop()

        def done(_none: None) -> None:
            self.refresh()
            self.restored.emit(gone.id)

        def refused(error: StorageError) -> None:
            self._trash.append(gone)
            self.refused.emit(error)

        self._mailbox.when(self._store.write(stored.set_trashed, gone.id, None), done, refused)

    def search(self, text: str) -> None:
        """Searches titles and messages; `search_done` follows unless another search is asked."""
        self._search += 1
        number = self._search

        def done(hits: list[SearchHit]) -> None:
            if number == self._search:
                self.search_done.emit(text, hits)

        self._mailbox.when(self._store.read(_search_hits, text), done, self.refused.emit)

    def _refresh_after(self, _none: None) -> None:
        self.refresh()

    def _on_listed(self, records: list[ConversationRecord]) -> None:
        self._records = records
        self.show_running()


def _search_hits(connection: sqlite3.Connection, query: str) -> list[SearchHit]:
    hits: list[SearchHit] = []
    for hit in find(connection, query):
        shown, highlights = snippet(hit.text, query)
        hits.append(
            SearchHit(
                conversation_id=hit.conversation_id,
                message_id=hit.message_id,
                title=hit.title,
                snippet=shown,
                highlights=highlights,
                updated_at=hit.created_at,
            )
        )
    return hits
