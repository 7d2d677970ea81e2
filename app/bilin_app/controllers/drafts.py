"""What is being typed, per conversation: in memory at once, in the database a moment later."""

import sqlite3

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers.mailbox import Mailbox
from bilin_app.storage import conversations as stored
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store

SAVE_MS = 400


class Drafts(QObject):
    """refused(StorageError): a draft is only in memory, and is tried again with the next change."""

    refused = Signal(object)

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._mailbox = Mailbox(self)
        self._texts: dict[int, str] = {}
        self._unsaved: dict[int, str] = {}
        self._is_new_seen = False  # until then, what is typed first must not take its place
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_MS)
        self._timer.timeout.connect(self.save)

    def get(self, conversation_id: int) -> str:
        """The draft as typed in this run of the app, else what the database was seen to have."""
        return self._texts.get(conversation_id, "")

    def show_stored(self, conversation_id: int, text: str) -> None:
        """What the database has, unless this run of the app knows better."""
        self._texts.setdefault(conversation_id, text)

    def show_new(self, text: str) -> None:
        """What the database has for a new conversation; what was typed since the start follows."""
        self._is_new_seen = True
        self.put_back(0, text)
        self.save()

    def set(self, conversation_id: int, text: str) -> None:
        """Keeps a draft; it is saved soon."""
        if self._texts.get(conversation_id) != text:
            self._texts[conversation_id] = text
            self._unsaved[conversation_id] = text
            if not self._timer.isActive():  # else it never ends while somebody types on
                self._timer.start()

    def put_back(self, conversation_id: int, text: str) -> None:
        """What was to be sent is typed again, before what was typed since."""
        self.set(conversation_id, _joined(text, self.get(conversation_id)))

    def move(self, old: int, new: int) -> None:
        """The draft of one conversation is that of another."""
        if draft := self.get(old):
            self.set(old, "")
            self.set(new, draft)

    def sent(self, conversation_id: int) -> None:
        """The draft is on its way as a message, which clears it in the database too."""
        self._texts[conversation_id] = ""
        self._unsaved.pop(conversation_id, None)

    def save(self) -> None:
        """Saves what is not saved yet, now."""
        self._timer.stop()
        unsaved, self._unsaved = self._unsaved, {}
        for conversation_id, text in unsaved.items():
            if conversation_id or self._is_new_seen:
                self._save(conversation_id, text)
            else:
                self._unsaved[conversation_id] = text

    def close(self) -> None:
        """Saves for the last time; also what was typed before the database was open."""
        self.save()
        if typed := self._unsaved.get(0):
            self._store.write_soon(_add_to_new, typed)

    def _save(self, conversation_id: int, text: str) -> None:
        def refused(error: StorageError) -> None:
            self._unsaved.setdefault(conversation_id, text)
            self.refused.emit(error)

        future = self._store.write_soon(stored.set_draft, conversation_id, text)
        self._mailbox.when(future, None, refused)


def _joined(text: str, draft: str) -> str:
    """A text with what was typed since; once where that begins with it."""
    if draft.startswith(text):
        return draft
    return f"{text}\n{draft}" if draft.strip() else text


def _add_to_new(connection: sqlite3.Connection, typed: str) -> None:
    stored.set_draft(connection, 0, _joined(stored.new_draft(connection).text, typed))
