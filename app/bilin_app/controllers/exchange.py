"""Conversations to files and from files, beside the GUI thread."""

import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.mailbox import Mailbox, in_a_thread
from bilin_app.controllers.message_views import ShownConversation, load_shown
from bilin_app.controllers.transcript import Overlay
from bilin_app.controllers.views import MessageView
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import ConversationRecord
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.storage.whole_file import write_whole
from bilin_app.text.conversation_file import (
    FileConversation,
    FileMessage,
    read_conversations,
    to_json,
    to_markdown,
)
from bilin_app.text.conversation_texts import conversation_texts
from bilin_app.text.titles import title_from


class Exchange(QObject):
    """told(str): a sentence about what was done, or why not. imported(int): a new conversation."""

    told = Signal(str)
    imported = Signal(int)

    def __init__(self, store: Store, overlay: Overlay) -> None:
        super().__init__()
        self._store = store
        self._overlay = overlay
        self._mailbox = Mailbox(self)

    def export(self, conversation_id: int, path: Path) -> None:
        """Writes the branch on show to a file: JSON for `.json`, else Markdown."""
        names = (sentences.person_name(), sentences.answer_name())

        def read(content: ShownConversation | None) -> None:
            if content is None:
                written(sentences.conversation_gone())
                return
            made = _made(content.record, [self._overlay(view) for view in content.messages])
            future = in_a_thread(lambda: _write(made, path, names))
            self._mailbox.when(future, written, self._on_refused)

        def written(reason: str) -> None:
            self.told.emit(
                sentences.not_exported(path, reason) if reason else sentences.exported(path)
            )

        # The end of the answer just given may still be on its way to the disk.
        future = self._store.read_latest(load_shown, conversation_id)
        self._mailbox.when(future, read, self._on_refused)

    def import_file(self, path: Path) -> None:
        """Takes all conversations of a file; `imported` follows with the newest of them.

        Where the disk refuses one, those before it stay.

        Read in a thread of its own and written one by one: what is written meanwhile, a message or
        a draft, waits for one conversation at most.
        """

        def done(found: tuple[list[FileConversation], str]) -> None:
            conversations, reason = found
            if reason or not conversations:
                self.told.emit(sentences.not_imported(path, reason))
            else:
                self._take(deque(conversations), [])

        self._mailbox.when(in_a_thread(lambda: _read(path)), done, self._on_refused)

    def _take(self, rest: deque[FileConversation], taken: list[int]) -> None:
        if not rest:
            self._tell_taken(taken)
            return

        def done(conversation_id: int) -> None:
            taken.append(conversation_id)
            self._take(rest, taken)

        def refused(error: StorageError) -> None:
            if taken:
                self._tell_taken(taken, self._refusal(error))
            else:
                self._on_refused(error)

        future = self._store.write(stored.import_conversation, rest.popleft(), time.time())
        self._mailbox.when(future, done, refused)

    def _tell_taken(self, taken: list[int], refusal: str = "") -> None:
        told = sentences.imported(len(taken))
        # In one: of two in a row, the second would hide the first.
        self.told.emit(f"{refusal}\n{told}" if refusal else told)
        self.imported.emit(taken[0])

    def _refusal(self, error: StorageError) -> str:
        return sentences.storage_refused(error.problem, self._store.path)

    def _on_refused(self, error: StorageError) -> None:
        self.told.emit(self._refusal(error))


def _made(record: ConversationRecord, views: list[MessageView]) -> FileConversation:
    messages = tuple(
        FileMessage(view.role, view.text, view.created_at, view.attachments)
        for view in views
        if view.text or view.attachments
    )
    return FileConversation(record.title, messages, record.system_prompt, record.created_at)


def _write(made: FileConversation, path: Path, names: tuple[str, str]) -> str:
    """Why it was not written, or "". What the file held before stays until the new one is whole."""
    text = to_json(made) if path.suffix.lower() == ".json" else to_markdown(made, *names)
    try:
        write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        return str(error)
    return ""


def _read(path: Path) -> tuple[list[FileConversation], str]:
    """The conversations of a file with their titles, and why there are none, or ""."""
    try:
        found = [one for text in conversation_texts(path) for one in read_conversations(text)]
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return [], str(error) or type(error).__name__
    return [replace(one, title=one.title or title_from(one.messages[0].text)) for one in found], ""
