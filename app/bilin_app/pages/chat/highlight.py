"""Colours code in slices of a few milliseconds, so that a long block never holds up the window."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QColor, QTextBlock, QTextCharFormat, QTextCursor, QTextLayout

from bilin_app.theme.theme import theme

SLICE_S = 0.004

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
    tokens: Iterator[tuple[int, object, str]]
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
        tokens = _tokens(code, language)
        if tokens is None:
            return
        self._jobs.append(_Job(cursor, tokens))
        self._timer.start()

    def clear(self) -> None:
        """Forgets what is not coloured yet."""
        self._jobs.clear()
        self._timer.stop()

    def finish(self) -> None:
        """Colours all that waits, at once."""
        while self._jobs:
            self._work()

    def _work(self) -> None:
        until = time.perf_counter() + SLICE_S
        while self._jobs and time.perf_counter() < until:
            job = self._jobs[0]
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


def _tokens(code: str, language: str) -> Iterator[tuple[int, object, str]] | None:
    """The lexer's tokens, lazily; None for a language that Pygments does not know."""
    if not language:
        return None
    # Imported at first use: the start does not wait for it.
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
    return iter(lexer.get_tokens_unprocessed(code))
