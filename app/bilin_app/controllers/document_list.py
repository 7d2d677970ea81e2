"""The list of documents: rows, the trash with undo, search over all of them."""

import sqlite3
import time

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.editor_views import DeletedDocument, DocumentHitView, DocumentRow
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.storage import documents as stored
from bilin_app.storage.documents import DocumentRecord
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.search_terms import snippet


class DocumentList(QObject):
    """changed(list[DocumentRow]), search_done(str, list[DocumentHitView]), refused(StorageError).

    deleted(DeletedDocument) and restored(int) tell what left the list and what came back.
    """

    changed = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    restored = Signal(int)
    refused = Signal(object)

    def __init__(self, store: Store, parent: QObject) -> None:
        super().__init__(parent)
        self._store = store
        self._mailbox = Mailbox(self)
        self._rows: list[DocumentRow] = []
        self._trash: list[DeletedDocument] = []
        self._search = 0  # counts the searches: only the last one is answered

    def refresh(self) -> None:
        """Reads the list; `changed` follows."""
        self._mailbox.when(
            self._store.read(stored.list_documents), self._on_listed, self.refused.emit
        )

    def delete(self, document_id: int) -> None:
        """Puts a document into the trash; `deleted` follows."""
        title = next((row.title for row in self._rows if row.id == document_id), "")
        gone = DeletedDocument(document_id, title)

        def done(_none: None) -> None:
            self._trash.append(gone)
            self.refresh()
            self.deleted.emit(gone)

        future = self._store.write(stored.set_document_trashed, document_id, time.time())
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

        future = self._store.write(stored.set_document_trashed, gone.id, None)
        self._mailbox.when(future, done, refused)

    def search(self, text: str) -> None:
        """Searches titles and texts; `search_done` follows unless another search is asked."""
        self._search += 1
        number = self._search

        def done(hits: list[DocumentHitView]) -> None:
            if number == self._search:
                self.search_done.emit(text, hits)

        self._mailbox.when(self._store.read(_hits, text), done, self.refused.emit)

    def _on_listed(self, records: list[DocumentRecord]) -> None:
        self._rows = [DocumentRow(r.id, r.title, r.updated_at) for r in records]
        self.changed.emit(self._rows)


def _hits(connection: sqlite3.Connection, query: str) -> list[DocumentHitView]:
    found = []
    for hit in stored.find_documents(connection, query):
        shown, highlights = snippet(hit.text, query)
        found.append(DocumentHitView(hit.id, hit.title, shown, highlights))
    return found
