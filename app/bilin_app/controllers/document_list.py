"""The list of documents: see `StoredList`."""

import sqlite3
from functools import partial

from PySide6.QtCore import QObject

from bilin_app.controllers.list_views import ListRow, SearchHit
from bilin_app.controllers.stored_list import ListStorage, StoredList, search_hit
from bilin_app.storage import documents as stored
from bilin_app.storage.documents import DocumentRecord
from bilin_app.storage.store import Store
from bilin_app.storage.trash import list_trashed


class DocumentList(StoredList[DocumentRecord]):
    """The newest first."""

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        storage = ListStorage(
            list_records=stored.list_documents,
            find=_find,
            set_trashed=stored.set_document_trashed,
            list_trashed=partial(list_trashed, table="documents"),
            purge=stored.purge_documents,
        )
        super().__init__(
            store,
            storage,
            lambda record: ListRow(record.id, record.title, record.updated_at),
            parent,
        )


def _find(connection: sqlite3.Connection, query: str) -> list[SearchHit]:
    return [
        search_hit(hit.id, 0, hit.title, hit.text, hit.updated_at, query=query, read=hit.read)
        for hit in stored.find_documents(connection, query)
    ]
