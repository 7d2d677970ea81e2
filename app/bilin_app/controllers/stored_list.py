"""A list in the database, of conversations or of documents: rows, search, the trash with undo."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.list_views import (
    DeletedItem,
    ListRow,
    SearchHit,
    TrashRow,
)
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.storage.trash import TrashedRecord
from bilin_app.text.search_terms import highlights, snippet

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ListStorage(Generic[R]):
    """What a list asks of the database; R: its record of a row.

    set_trashed(connection, id, time, or None to bring it back). purge(connection, ids) is for good.
    """

    list_records: Callable[[sqlite3.Connection], Sequence[R]]
    find: Callable[[sqlite3.Connection, str], list[SearchHit]]
    set_trashed: Callable[[sqlite3.Connection, int, float | None], None]
    list_trashed: Callable[[sqlite3.Connection], list[TrashedRecord]]
    purge: Callable[[sqlite3.Connection, list[int]], None]


class StoredList(QObject, Generic[R]):
    """changed(list[ListRow]), search_done(str, list[SearchHit]), refused(StorageError).

    deleted(DeletedItem) and restored(int) tell what left the list and what came back;
    trash_listed(list[TrashRow]) what `list_trash` found.
    """

    changed = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    restored = Signal(int)
    refused = Signal(object)
    trash_listed = Signal(object)

    def __init__(
        self,
        store: Store,
        storage: ListStorage[R],
        row_of: Callable[[R], ListRow],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._store = store
        self._storage = storage
        self._row_of = row_of
        self._mailbox = Mailbox(self)
        self._records: Sequence[R] = ()
        self._deleted: set[int] = set()  # what `undo_delete` brings back
        self._search = 0  # counts the searches: only the last one is answered

    @property
    def rows(self) -> list[ListRow]:
        """The list as it was read last."""
        return [self._row_of(record) for record in self._records]

    def refresh(self) -> None:
        """Reads the list; `changed` follows."""
        future = self._store.read(self._storage.list_records)
        self._mailbox.when(future, self._on_listed, self.refused.emit)

    def delete(self, item_id: int) -> None:
        """Puts something into the trash; `deleted` follows."""
        title = next((row.title for row in self.rows if row.id == item_id), "")
        gone = DeletedItem(item_id, title)

        def done(_none: None) -> None:
            self._deleted.add(item_id)
            self.refresh()
            self.deleted.emit(gone)

        self._change(self._storage.set_trashed, item_id, time.time(), done=done)

    def undo_delete(self, item_id: int) -> None:
        """Brings back what was deleted in this run, unless it has left the trash since."""
        if item_id in self._deleted:
            self._deleted.remove(item_id)
            self._bring_back(item_id, lambda: self._deleted.add(item_id))

    def restore(self, item_id: int) -> None:
        """Brings something back from the trash."""
        self._deleted.discard(item_id)
        self._bring_back(item_id, lambda: None)

    def _bring_back(self, item_id: int, on_refused: Callable[[], None]) -> None:
        def done(_none: None) -> None:
            self.refresh()
            self.list_trash()
            self.restored.emit(item_id)

        def refused(error: StorageError) -> None:
            on_refused()
            self.refused.emit(error)

        future = self._store.write(self._storage.set_trashed, item_id, None)
        self._mailbox.when(future, done, refused)

    def list_trash(self) -> None:
        """Reads the trash; `trash_listed` follows."""

        def done(records: list[TrashedRecord]) -> None:
            self.trash_listed.emit([TrashRow(r.id, r.title, r.trashed_at) for r in records])

        future = self._store.read(self._storage.list_trashed)
        self._mailbox.when(future, done, self.refused.emit)

    def purge(self, item_ids: list[int]) -> None:
        """Deletes things of the trash for good; `trash_listed` follows."""
        self._deleted.difference_update(item_ids)
        self._change(self._storage.purge, item_ids, done=lambda _none: self.list_trash())

    def search(self, text: str) -> None:
        """Searches titles and texts; `search_done` follows unless another search is asked."""
        self._search += 1
        number = self._search

        def find(connection: sqlite3.Connection) -> list[SearchHit]:
            """On the reading thread, where all reading waits for it: not if it is outdated."""
            return self._storage.find(connection, text) if number == self._search else []

        def done(hits: list[SearchHit]) -> None:
            if number == self._search:
                self.search_done.emit(text, hits)

        self._mailbox.when(self._store.read(find), done, self.refused.emit)

    def tell_changed(self) -> None:
        """`changed` at once, from what was read last."""
        self.changed.emit(self.rows)

    def _change(
        self,
        job: Callable[..., None],
        *args: object,
        done: Callable[[None], None] | None = None,
    ) -> None:
        """A change of the database; the list is read again unless `done` does more."""
        future = self._store.write(job, *args)
        self._mailbox.when(future, done or (lambda _none: self.refresh()), self.refused.emit)

    def _on_listed(self, records: Sequence[R]) -> None:
        self._records = records
        self.tell_changed()


def search_hit(
    item_id: int,
    message_id: int,
    title: str,
    text: str,
    updated_at: float,
    *,
    query: str,
    read: tuple[int, int] | None,
) -> SearchHit:
    """A hit with the words of the query marked; read: what of the title it is the pinyin of."""
    shown, marked = snippet(text, query)
    title_marked = (read,) if read is not None else tuple(highlights(title, query))
    return SearchHit(item_id, message_id, title, shown, marked, updated_at, title_marked)
