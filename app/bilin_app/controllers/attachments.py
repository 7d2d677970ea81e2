"""What is attached to the message being written, per conversation: read, counted, kept."""

import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.mailbox import READ_LIMIT_MS, Mailbox, give_up, in_a_thread
from bilin_app.storage.conversations import set_draft_attachments
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.attachments import (
    MAX_BYTES,
    Attachment,
    clean_name,
    encode_attachments,
    fenced,
)
from bilin_app.text.file_bytes import NotTextError, decode
from bilin_engine.protocol import CountTokens, Message, TokenCount

MAX_ATTACHMENTS = 20
MAX_TOTAL_CHARS = 8_000_000  # of one message: what a frame to the engine surely holds

Problem = Literal["", "folder", "no_file", "too_large", "binary", "empty", "unreadable"]


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's text, or why there is none. detail: the system's word, for "unreadable"."""

    text: str = ""
    problem: Problem = ""
    size_bytes: int = 0
    detail: str = ""


@dataclass(slots=True)
class _Given:
    """Files that were given at once and are not taken yet, in their order."""

    limit: QTimer
    files: deque[tuple[Path, Future[_Read]]] = field(default_factory=deque)
    has_folder: bool = False


class Attachments(QObject):
    """changed(int): of this conversation (0 = a new one). refused(str): why a file is none.

    folder_given(str): this is a folder, the first of those given at once; the page knows what to do
    with it. store_refused(StorageError): they are only in memory.
    """

    changed = Signal(int)
    refused = Signal(str)
    folder_given = Signal(str)
    store_refused = Signal(object)

    def __init__(self, store: Store, engine: EngineController) -> None:
        super().__init__()
        self._store = store
        self._engine = engine
        self._mailbox = Mailbox(self)
        self._lists: dict[int, tuple[Attachment, ...]] = {}
        self._is_new_seen = False  # until then, what comes first must not take its place
        self._reading: dict[Future[_Read], int] = {}  # the conversation that a file is for
        self._after_reading: list[tuple[int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)

    def of(self, conversation_id: int) -> tuple[Attachment, ...]:
        """What is attached now."""
        return self._lists.get(conversation_id, ())

    def show_stored(self, conversation_id: int, stored: tuple[Attachment, ...]) -> None:
        """What the database has, unless this run of the app knows better."""
        self._lists.setdefault(conversation_id, stored)

    def show_new(self, stored: tuple[Attachment, ...]) -> None:
        """What the database has for a new conversation; what came since the start follows."""
        self._is_new_seen = True
        if attached := self.of(0):
            self.set(0, (*stored, *attached))
        else:
            self._lists[0] = stored

    def add_files(self, conversation_id: int, paths: list[Path]) -> None:
        """Reads files beside the GUI thread; each is attached, or a signal says why not.

        Of hundreds no more are read than a message holds, and the one that says so.
        """
        given = _Given(QTimer(self))
        given.limit.timeout.connect(lambda: self._give_up(given))
        given.limit.start(READ_LIMIT_MS)
        taken = partial(self._take, given)
        for path in paths[: MAX_ATTACHMENTS + 1]:
            # A thread for each: a disk that does not answer says nothing of other files' disks.
            future = in_a_thread(partial(_read, path))
            given.files.append((path, future))
            self._reading[future] = conversation_id
            self._mailbox.when(future, taken, taken)

    def add_text(self, conversation_id: int, text: str) -> None:
        """Attaches a text that was pasted."""
        name = sentences.pasted_name(next(self._numbers))
        self._add(conversation_id, Attachment(name, text))

    def remove(self, conversation_id: int, index: int) -> Attachment | None:
        """Takes one away and returns it."""
        attached = self.of(conversation_id)
        if not 0 <= index < len(attached):
            return None
        self.set(conversation_id, (*attached[:index], *attached[index + 1 :]))
        return attached[index]

    def set(self, conversation_id: int, attached: tuple[Attachment, ...]) -> None:
        """Attaches these and no others."""
        self._lists[conversation_id] = attached
        self.changed.emit(conversation_id)
        if not conversation_id and not self._is_new_seen:
            return
        future = self._store.write_soon(
            set_draft_attachments, conversation_id, encode_attachments(attached)
        )
        self._mailbox.when(future, None, self._on_store_refused)

    def sent(self, conversation_id: int) -> None:
        """They are on their way with the message, which clears them in the database too."""
        if self._lists.get(conversation_id):
            self._lists[conversation_id] = ()
            self.changed.emit(conversation_id)

    def move(self, old: int, new: int) -> None:
        """What is attached in one conversation, or being read for it, is another's."""
        for future, conversation_id in self._reading.items():
            if conversation_id == old:
                self._reading[future] = new
        self._after_reading = [
            (new if waiting == old else waiting, action) for waiting, action in self._after_reading
        ]
        if attached := self.of(old):
            self.set(old, ())
            self.set(new, attached)

    def when_read(self, conversation_id: int, action: Callable[[], None]) -> None:
        """Acts once no file is being read for this conversation any more."""
        if conversation_id in self._reading.values():
            self._after_reading.append((conversation_id, action))
        else:
            action()

    def _give_up(self, given: _Given) -> None:
        """Ends files that no disk gives, and what waited for them: its words are a draft yet."""
        unread = [future for _path, future in given.files if not future.done()]
        waited_for = {self._reading[future] for future in unread}
        self._after_reading = [w for w in self._after_reading if w[0] not in waited_for]
        for future in unread:
            give_up(future)

    def _take(self, given: _Given, _ended: object) -> None:
        """Takes what was read and has nothing unread before it."""
        if not given.files:
            return  # taken with one that was read after it
        while given.files and given.files[0][1].done():
            self._on_read(given, *given.files.popleft())
        if given.files:
            given.limit.start()
        else:
            given.limit.deleteLater()

    def _on_read(self, given: _Given, path: Path, future: Future[_Read]) -> None:
        error = future.exception()
        read = _unreadable(error) if error else future.result()
        conversation_id = self._reading.pop(future)
        if read.problem == "folder" and not given.has_folder:
            given.has_folder = True
            self.folder_given.emit(str(path))
        elif read.problem:
            self.refused.emit(_refusal(path, read))
        else:
            self._add(conversation_id, Attachment(clean_name(path.name), read.text))
        if conversation_id not in self._reading.values():
            waiting, self._after_reading = self._after_reading, []
            for one, action in waiting:
                if one == conversation_id:
                    action()
                else:
                    self._after_reading.append((one, action))

    def _add(self, conversation_id: int, attachment: Attachment) -> None:
        attached = self.of(conversation_id)
        total = sum(len(one.text) for one in attached) + len(attachment.text)
        if len(attached) >= MAX_ATTACHMENTS or total > MAX_TOTAL_CHARS:
            self.refused.emit(sentences.too_many_attachments(MAX_ATTACHMENTS, MAX_TOTAL_CHARS))
            return
        self.set(conversation_id, (*attached, attachment))
        self._count(conversation_id, attachment)

    def _count(self, conversation_id: int, attachment: Attachment) -> None:
        model = self._engine.model
        if model is None:
            return
        message = Message("user", fenced(attachment))

        def counted(count: TokenCount) -> None:
            number = count.per_message[0]
            attached = self.of(conversation_id)
            if attachment in attached:
                with_count = replace(attachment, num_tokens=number)
                self.set(
                    conversation_id,
                    tuple(with_count if one == attachment else one for one in attached),
                )

        handle = self._engine.send(lambda i: CountTokens(id=i, model=model.id, messages=(message,)))
        handle.done.connect(counted)

    def _on_store_refused(self, error: StorageError) -> None:
        self.store_refused.emit(error)


def _read(path: Path) -> _Read:
    try:
        if path.is_dir():
            return _Read(problem="folder")
        if not path.is_file():  # a pipe would be read for ever
            return _Read(problem="no_file")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BYTES:
            return _Read(problem="too_large", size_bytes=size_bytes)
        with path.open("rb") as file:
            return _Read(decode(file.read(MAX_BYTES)))
    except NotTextError as error:
        return _Read(problem=error.reason)
    except OSError as error:
        return _unreadable(error)


def _unreadable(error: BaseException) -> _Read:
    detail = error.strerror if isinstance(error, OSError) else None
    return _Read(problem="unreadable", detail=detail or str(error))


def _refusal(path: Path, read: _Read) -> str:
    name = clean_name(path.name)
    match read.problem:
        case "no_file" | "folder":
            return sentences.attachment_no_file(name)
        case "too_large":
            return sentences.attachment_too_large(name, read.size_bytes, MAX_BYTES)
        case "binary":
            return sentences.attachment_binary(name)
        case "empty":
            return sentences.attachment_empty(name)
        case _:
            return sentences.attachment_unreadable(name, read.detail)
