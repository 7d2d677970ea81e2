"""Colours code in slices of a few milliseconds, so that a long block never holds up the window."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QColor, QTextBlock, QTextCharFormat, QTextCursor, QTextLayout

from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pygments.lexer import Lexer

SLICE_S = 0.002
WAIT_MS = 20  # until a lexer that is being made is asked for again
MAX_LANGUAGES = 64  # a model may name any number of languages that do not exist

# Pygments token types by their first two names, to palette tokens.
_COLORS = {
    "Keyword": "code_keyword",
    "Operator.Word": "code_keyword",
    "Literal.String": "code_string",
    "Literal.Number": "code_number",
    "Comment": "code_comment",
    "Name.Builtin": "code_name",
    "Name.Decorator": "code_name",
    "Name.Tag": "code_keyword",
    "Name.Attribute": "code_name",
}


@dataclass(slots=True)
class _Job:
    cursor: QTextCursor  # in the first line; follows the document's changes
    code: str
    lexer: Future[Lexer | None]
    tokens: Iterator[tuple[int, object, str]] | None = None  # None = not begun
    line: int = 0
    column: int = 0
    formats: list[QTextLayout.FormatRange] = field(default_factory=list)


class Highlighter(QObject):
    """Works through code blocks one after the other. `num_lines` counts the lines it coloured."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._jobs: deque[_Job] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._work)
        self.num_lines = 0

    def add(self, cursor: QTextCursor, code: str, language: str) -> None:
        """Colours the code that begins in the cursor's block, a block a line."""
        if not language:
            return
        self._jobs.append(_Job(cursor, code, prepare_lexer(language)))
        self._timer.start(0)

    def clear(self) -> None:
        """Forgets what is not coloured yet."""
        self._jobs.clear()
        self._timer.stop()

    def finish(self) -> None:
        """Colours all that waits, at once."""
        while self._jobs:
            self._jobs[0].lexer.result()
            self._work()

    def _work(self) -> None:
        until = time.perf_counter() + SLICE_S
        while self._jobs and time.perf_counter() < until:
            job = self._jobs[0]
            if not job.lexer.done():
                self._timer.start(WAIT_MS)
                return
            if job.tokens is None:
                self._timer.start(0)
                lexer = job.lexer.result()
                job.tokens = iter(lexer.get_tokens_unprocessed(job.code) if lexer else ())
            token = next(job.tokens, None)
            if token is None:
                self._end_line(job)
                self._jobs.popleft()
            else:
                self._take(job, str(token[1]).removeprefix("Token."), token[2])
        if not self._jobs:
            self._timer.stop()

    def _take(self, job: _Job, kind: str, text: str) -> None:
        color = _color(kind)
        for index, part in enumerate(text.split("\n")):
            if index:
                self._end_line(job)
            if part and color is not None:
                char_format = QTextCharFormat()
                char_format.setForeground(color)
                span = QTextLayout.FormatRange()
                # Qt counts UTF-16 units.
                span.start = job.column
                span.length = _utf16_length(part)
                span.format = char_format
                job.formats.append(span)
            job.column += _utf16_length(part)

    def _end_line(self, job: _Job) -> None:
        if job.formats:
            block = _nth_after(job.cursor.block(), job.line)
            if block.isValid():
                block.layout().setFormats(job.formats)
                document = job.cursor.document()
                document.markContentsDirty(block.position(), block.length())
                self.num_lines += 1
        if job.line >= 64:  # keep the walk from the first line short
            job.cursor.movePosition(
                QTextCursor.MoveOperation.NextBlock, QTextCursor.MoveMode.MoveAnchor, job.line
            )
            job.line = 0
        job.line += 1
        job.column = 0
        job.formats = []


def _nth_after(block: QTextBlock, count: int) -> QTextBlock:
    for _ in range(count):
        block = block.next()
    return block


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _color(kind: str) -> QColor | None:
    names = kind.split(".")
    for depth in (2, 1):
        token = _COLORS.get(".".join(names[:depth]))
        if token is not None:
            return theme().palette.color(token)
    return None


@lru_cache(MAX_LANGUAGES)
def prepare_lexer(language: str) -> Future[Lexer | None]:
    """Makes a language's lexer in a thread; its result is None if Pygments does not know it.

    A lexer compiles its patterns when it is first made: up to a tenth of a second.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="bilin-lexer")
    made = pool.submit(_lexer, language.lower())
    pool.shutdown(wait=False)  # the thread ends with it
    return made


def _lexer(language: str) -> Lexer | None:
    # Imported at first use: the start does not wait for it.
    from pygments.lexers import get_all_lexers, get_lexer_by_name

    # For an unknown name `get_lexer_by_name` would look through every installed package.
    if not any(language in aliases for _name, aliases, _files, _types in get_all_lexers(False)):
        return None
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)
