"""Text files that people give: UTF-8, and a sentence where they are not.

A byte-order mark, as Windows' Notepad may write it, is no part of the text.
"""

from collections.abc import Iterator
from pathlib import Path

from bilin_engine.errors import BadRequestError


def read_text(path: Path) -> str:
    """The whole text. Raises BadRequestError for another encoding or a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError(not_utf8(str(path), error)) from error
    except OSError as error:
        raise BadRequestError(f"{path} cannot be read: {error.strerror}") from error


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """("FILE, line 3", its text) of every line that is not blank. Raises as `read_text`.

    Lines end at line feeds alone: a JSON string may hold the other separators that
    `str.splitlines` would cut it at.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def not_utf8(name: str, error: UnicodeDecodeError) -> str:
    """The sentence about a text in another encoding; "-" is stdin."""
    return (
        f"{'stdin' if name == '-' else name} is no UTF-8 text: byte {error.start} is "
        f"{error.object[error.start]:#04x}; convert it, as by iconv -f GB18030 -t UTF-8"
    )
