"""Keeps the document on show: saves it by itself, and its earlier states as revisions."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers.mailbox import Mailbox
from bilin_app.storage import documents as stored
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.document_file import Snapshot

SAVE_MS = 400  # after the first change that is not saved: a kill costs less than a second
REVISION_S = 300.0
RETRY_MS = 3_000


@dataclass(slots=True, eq=False)
class _Slot:
    """A document's id: set on the storage thread, which does one job after the other.

    So a document that is still being stored for the first time can be saved again at once.
    """

    id: int
    num_saving: int = 0

    def save(self, connection: sqlite3.Connection, snapshot: Snapshot, now: float) -> int:
        return stored.save_document(connection, self.id, snapshot, now)

    def take_id(self, future: Future[int]) -> None:
        """The storage thread's, before its next job; what was rolled back has no id."""
        if future.exception() is None:
            self.id = future.result()

    def revise(
        self, connection: sqlite3.Connection, snapshot: Snapshot, reason: str, now: float
    ) -> None:
        if self.id:
            stored.keep_revision(connection, self.id, snapshot, reason, now)


class DocumentKeeper(QObject):
    """state_changed(SaveState), saved(document id), refused(StorageError).

    What the database refuses is kept and tried again, whichever document is on show by then.
    """

    state_changed = Signal(str)
    saved = Signal(int)
    refused = Signal(object)

    def __init__(self, store: Store, parent: QObject) -> None:
        super().__init__(parent)
        self._store = store
        self._mailbox = Mailbox(self)
        self._slot = _Slot(0)
        self._take: Callable[[], Snapshot] | None = None  # gives what is not saved yet
        self._refused: dict[_Slot, Snapshot] = {}
        self._opened = Snapshot("")
        self._is_touched = False
        self._revised_at = 0.0
        self._has_told = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_MS)
        self._timer.timeout.connect(self.save_now)
        self._retry = QTimer(self)
        self._retry.setSingleShot(True)
        self._retry.setInterval(RETRY_MS)
        self._retry.timeout.connect(self._try_again)

    @property
    def document_id(self) -> int:
        """Of the document on show; 0 = not stored yet."""
        return self._slot.id

    def open(self, document_id: int, snapshot: Snapshot) -> None:
        """Another document is on show; the one before has been saved, or is kept."""
        self._slot = self._refused_slot(document_id) or _Slot(document_id)
        self._opened = snapshot
        self._is_touched = False
        self._take = None
        self._timer.stop()
        self.state_changed.emit("refused" if self._slot in self._refused else "saved")

    def kept(self, document_id: int) -> Snapshot | None:
        """What is newer of a document than what the database has of it, if anything."""
        slot = self._refused_slot(document_id)
        return self._refused[slot] if slot is not None else None

    def _refused_slot(self, document_id: int) -> _Slot | None:
        return next((slot for slot in self._refused if slot.id == document_id != 0), None)

    def forget(self) -> None:
        """The document on show is in the trash: it is saved no more."""
        self._timer.stop()
        self._take = None

    def change(self, take: Callable[[], Snapshot]) -> None:
        """The document has changed; `take` gives it when it is time to save."""
        self._take = take
        if not self._timer.isActive():
            self._timer.start()
        self.state_changed.emit("saving")

    def save_now(self) -> None:
        """Saves what is not saved yet."""
        self._timer.stop()
        if self._take is not None:
            snapshot, self._take = self._take(), None
            self._refused.pop(self._slot, None)
            if not self._slot.id and not self._slot.num_saving and not snapshot.content.text:
                self.state_changed.emit("saved")
            else:
                self._save(self._slot, snapshot)
                self._keep_earlier(snapshot)  # what is not stored yet has no versions
        self._try_again()

    def _try_again(self) -> None:
        """Saves what was refused, but for documents that are being saved."""
        self._retry.stop()
        for slot, snapshot in self._refused.items():
            if not slot.num_saving:
                self._save(slot, snapshot)

    def _save(self, slot: _Slot, snapshot: Snapshot) -> None:
        slot.num_saving += 1

        def done(document_id: int) -> None:
            slot.num_saving -= 1
            self._refused.pop(slot, None)
            self._has_told = False
            self.saved.emit(document_id)
            if slot is self._slot and self._take is None and not slot.num_saving:
                self.state_changed.emit("saved")

        def refused(error: StorageError) -> None:
            slot.num_saving -= 1
            self._refused[slot] = snapshot
            self._retry.start()
            if slot is self._slot:
                self.state_changed.emit("refused")
            self._tell(error)

        future = self._store.write_soon(slot.save, snapshot, time.time())
        future.add_done_callback(slot.take_id)
        self._mailbox.when(future, done, refused)

    def keep_revision(self, snapshot: Snapshot, reason: str) -> None:
        """Keeps a state to go back to."""
        if snapshot.content.text:
            self._revised_at = time.monotonic()
            future = self._store.write_soon(self._slot.revise, snapshot, reason, time.time())
            self._mailbox.when(future, None, self._tell)

    def _tell(self, error: StorageError) -> None:
        """Once, until something is saved again."""
        if not self._has_told:
            self._has_told = True
            self.refused.emit(error)

    def _keep_earlier(self, snapshot: Snapshot) -> None:
        """The state as it was opened, at the first change; then one every five minutes."""
        if not self._is_touched:
            self._is_touched = True
            self.keep_revision(self._opened, "opened")
        elif time.monotonic() - self._revised_at > REVISION_S:
            self.keep_revision(snapshot, "written")
