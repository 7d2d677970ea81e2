"""The texts in which a file holds conversations: a JSON file's one, or those of ChatGPT's zip."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_FILE_BYTES = 512 * 1024 * 1024
_READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack all at once
_CONVERSATIONS = re.compile(r"conversations(-\d+)?\.json")  # a long history comes in several


def conversation_texts(path: Path) -> Iterator[str]:
    """One after the other, MAX_FILE_BYTES of them in all.

    Raises OSError, and ValueError that says what is wrong.
    """
    if not path.is_file():  # a pipe would never end
        raise ValueError("not a file")
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        yield from _of_zip(path)
    else:
        _check_size(path.stat().st_size)
        yield path.read_text(encoding="utf-8-sig")


def _of_zip(path: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [
                part
                for part in archive.infolist()
                if _CONVERSATIONS.fullmatch(PurePosixPath(part.filename).name)
            ]
            if not parts:
                raise ValueError("the zip holds no conversations.json")
            _check_size(sum(part.file_size for part in parts))
            for part in sorted(parts, key=lambda part: part.filename):
                yield _unpacked(archive, part).decode("utf-8-sig")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: it wants a password, or a newer reader.
        raise ValueError(f"the zip cannot be read: {error or type(error).__name__}") from error


def _unpacked(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    if part.compress_type not in _READ_METHODS:
        raise zipfile.BadZipFile(f"compression method {part.compress_type}")
    with archive.open(part) as opened:
        return opened.read(part.file_size)  # by its size: what unpacks to more ends there


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{size_bytes} bytes; conversations are read up to {MAX_FILE_BYTES} bytes")
