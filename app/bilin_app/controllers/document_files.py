"""Documents from files and into files, beside the GUI thread."""

import logging
import os
import stat
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.mailbox import READ_LIMIT_MS, Mailbox, give_up, in_a_thread
from bilin_app.storage.errors import StorageError, storage_error
from bilin_app.storage.store import CLOSE_LIMIT_S
from bilin_app.storage.whole_file import write_whole
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import Snapshot, decode_document, pretty_document
from bilin_app.text.file_bytes import NotTextError, decode, encode_like
from bilin_app.text.titles import printable

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024  # within READ_LIMIT_MS from a slow share, too


@dataclass(slots=True)
class _Reading:
    """How far a file's thread is. is_whole: its disk has given all there is."""

    num_bytes: int = 0
    is_whole: bool = False


class DocumentFiles(QObject):
    """opened(Snapshot): what a file holds. told(str): what was done, or why not."""

    opened = Signal(object)
    told = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._mailbox = Mailbox(self)
        self._saves: dict[Path, Future[None]] = {}  # the last of each file

    def open(self, paths: Sequence[Path]) -> None:
        """Reads .txt, .md or .json files, in turn; `opened` follows for each that can be read.

        One whose disk gives nothing for READ_LIMIT_MS is told and given up, for those behind it.
        """
        if not paths:
            return
        path, *others = paths
        save, reading = self._saves.get(path), _Reading()

        def read() -> Snapshot:
            if save is not None:
                wait((save,))
            return _read_file(path, reading)

        def show(snapshot: Snapshot) -> None:
            limit.deleteLater()
            self.opened.emit(snapshot)
            self.open(others)

        def refused(error: StorageError) -> None:
            limit.deleteLater()
            self._tell_refused(path, error)
            self.open(others)

        future = in_a_thread(read)
        limit = self._limit(future, reading)
        self._mailbox.when(future, show, refused)

    def _limit(self, future: Future[Snapshot], reading: _Reading) -> QTimer:
        limit, seen_bytes = QTimer(self), 0

        def check() -> None:
            nonlocal seen_bytes
            if reading.num_bytes == seen_bytes and not reading.is_whole:
                give_up(future)
            seen_bytes = reading.num_bytes

        limit.timeout.connect(check)
        limit.start(READ_LIMIT_MS)
        return limit

    def save(self, path: Path, snapshot: Snapshot) -> None:
        """Writes a document: .json with blanks, candidates and origins, else plain text."""
        before = self._saves.get(path)

        def write() -> None:
            if before is not None:
                wait((before,))  # the newest text is written last
            _write_file(path, snapshot)

        def done(_none: None) -> None:
            self.told.emit(sentences.file_written(path))

        self._saves[path] = in_a_thread(write)
        self._mailbox.when(self._saves[path], done, partial(self._tell_refused, path))

    def close(self) -> None:
        """Waits for what is being written, CLOSE_LIMIT_S at most."""
        wait(self._saves.values(), CLOSE_LIMIT_S)
        for path, save in self._saves.items():
            if not save.done():
                logger.error("%s was not written within %g s", path, CLOSE_LIMIT_S)

    def _tell_refused(self, path: Path, error: StorageError) -> None:
        self.told.emit(sentences.file_refused(path, str(error)))


def _read_file(path: Path, reading: _Reading) -> Snapshot:
    data = b""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe, which would be read for ever
            raise StorageError("unusable", "not a file")
        size = status.st_size
        if size > MAX_FILE_BYTES:
            raise StorageError(
                "unusable", f"{size} bytes; the editor opens files up to {MAX_FILE_BYTES} bytes"
            )
        data = _all_of(path, reading)
        if path.suffix.lower() == ".json":
            return decode_document(data)
        text = decode(data) if data.strip() else ""
    except OSError as error:
        raise storage_error(error) from error
    except NotTextError as error:
        reason = f"it is no text in UTF-8, UTF-16 or GB 18030; it begins with {data[:8].hex(' ')}"
        raise StorageError("unusable", reason) from error
    except ValueError as error:
        raise StorageError("unusable", str(error)) from error
    return Snapshot(printable(path.stem), parse_slice(text, Document()))


def _all_of(path: Path, reading: _Reading) -> bytes:
    data = bytearray()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            data += chunk
            reading.num_bytes = len(data)
    reading.is_whole = True
    return bytes(data)


def _write_file(path: Path, snapshot: Snapshot) -> None:
    """A link stays one; encoding and line ends stay those of the file that is there."""
    is_json = path.suffix.lower() == ".json"
    path = Path(os.path.realpath(path))
    try:
        if is_json:
            write_whole(path, pretty_document(snapshot))
        else:
            before = path.read_bytes() if path.is_file() else b""
            write_whole(path, encode_like(before, snapshot.content.plain_text))
    except OSError as error:
        raise storage_error(error) from error
