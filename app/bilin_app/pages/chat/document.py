"""A message's text as a QTextDocument that grows at its end.

A block of Markdown is laid out for good when it closes; only the open block at the tail is written
again as text arrives, and an open code fence is only appended to. `counts` says how often each
happened, so that a test can hold the scheme to it.
"""

from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QTextBlock, QTextBlockFormat, QTextCursor, QTextDocument
from typing_extensions import override

from bilin_app.pages.chat.formula_picture import WaitingFormula
from bilin_app.pages.chat.formulas import FormulaKey, formulas
from bilin_app.pages.chat.highlight import Highlighter, prepare_lexer
from bilin_app.pages.chat.markdown import MarkdownWriter, OpenList, OpenTable
from bilin_app.pages.chat.text_formats import (
    code_block_format,
    code_char_format,
    cut,
    is_behind_table,
    set_first_format,
    spacer_format,
    text_block_format,
    text_char_format,
    with_cut_lines,
)
from bilin_app.text.blocks import Block, BlockSplitter
from bilin_app.text.paragraphs import with_line_feeds

# While a longer block is open, it is appended to as plain text: writing one huge block again and
# again would hold up the window. What is not Markdown is laid out in pieces of this size.
MAX_BLOCK_CHARS = 4000


@dataclass(slots=True)
class Counts:
    """How often a closed block or the open tail was written, or an open end only appended to."""

    closed_blocks: int = 0
    tail_writes: int = 0
    appends: int = 0


@dataclass(slots=True)
class Fence:
    """A framed code block. code: without the last line's end. start: in its first line."""

    language: str
    code: str
    start: QTextCursor
    num_lines: int = 1

    @property
    def first(self) -> QTextBlock:
        """The document's block with the first line."""
        return self.start.block()

    @property
    def last(self) -> QTextBlock:
        """The document's block with the last line."""
        document = self.start.document()
        return document.findBlockByNumber(self.first.blockNumber() + self.num_lines - 1)


class _SealedDocument(QTextDocument):
    """Loads nothing by itself: Qt's own reads a picture's address where that is a file."""

    @override
    def loadResource(self, type: int, name: QUrl | str) -> object:
        return None


class MessageDocument(QObject):
    """The document of one message. `qt` is what a text widget shows.

    formula_drawn(): a picture took the place of its source; the height may be another.
    """

    formula_drawn = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.qt = _SealedDocument(self)
        self.qt.setUndoRedoEnabled(False)
        self.qt.setDocumentMargin(0)
        self.counts = Counts()
        self.fences: list[Fence] = []
        self.places: list[tuple[int, int]] = []  # block, letter in it: stays where the tail changes
        self.text = ""
        self._highlighter = Highlighter(self)
        self._waiting: list[WaitingFormula] = []
        self._references: dict[str, object] = {}  # of links: what closed blocks define
        self._offsets: tuple[int, ...] = ()  # in the text, of `places`
        formulas().drawn.connect(self._on_drawn)
        self._reset()

    def set_text(self, text: str, *, is_complete: bool, places: tuple[int, ...] = ()) -> None:
        """Shows a text, from the start. places: offsets whose positions are kept in `places`."""
        self._references = {}
        self._write_text(text, places)
        if is_complete:
            self.finish()

    def _write_text(self, text: str, places: tuple[int, ...]) -> None:
        self._reset()
        self._offsets = places
        begin = 0
        for offset in places:
            if offset > begin:
                self.append(text[begin:offset])
                begin = offset
            last = self.qt.lastBlock()
            self.places.append((last.blockNumber(), last.length() - 1))
        self.append(text[begin:])

    def set_plain_text(self, text: str) -> None:
        """Shows a text as it is, without Markdown: a person's message."""
        self._reset()
        self.text = text
        # Qt takes minutes to break one line of 100,000 letters.
        shown = with_cut_lines(with_line_feeds(text), MAX_BLOCK_CHARS)
        MarkdownWriter(QTextCursor(self.qt), is_fresh=True).write_plain(shown, gap=0)

    def append(self, text: str) -> None:
        """Adds text at the end of what is still being written."""
        self.text += text
        closed = self._splitter.feed(text)
        self._update(closed)

    def finish(self) -> None:
        """Closes the open tail; links whose definitions came behind them are links from now on."""
        self._update(self._splitter.finish())
        if self._has_late_references:
            self._write_text(self.text, self._offsets)
            self._update(self._splitter.finish())

    def place(self, index: int) -> QTextCursor:
        """Where a place is now, as near as Markdown's marks allow."""
        number, letter = self.places[index]
        block = self.qt.findBlockByNumber(min(number, self.qt.blockCount() - 1))
        cursor = QTextCursor(block)
        cursor.setPosition(block.position() + min(letter, block.length() - 1))
        return cursor

    def finish_highlighting(self) -> None:
        """Colours all code and draws all formulas at once, for a picture."""
        formulas().wait()
        self._highlighter.finish()

    def _reset(self) -> None:
        self._highlighter.clear()
        self._splitter = BlockSplitter()
        self.qt.clear()
        self.text = ""
        self.fences = []
        self.places = []
        self._waiting = []
        self._may_refer = False  # a block so far has brackets
        self._has_late_references = False  # defined behind such a block
        self._is_fresh = True  # the document's last block is unused
        self._tail: QTextCursor | None = None  # moves with what a drawn formula takes away above it
        self._open_code: str | None = None  # what is shown of an open fence
        self._open_plain: str | None = None  # what is shown of a huge open block
        self._unfinished: OpenList | OpenTable | None = None  # what the next block goes on with

    def _update(self, closed: list[Block]) -> None:
        cursor = QTextCursor(self.qt)
        cursor.beginEditBlock()
        try:
            for block in closed:
                self._write_closed(cursor, block)
            self._write_tail(cursor, self._splitter.tail)
        finally:
            cursor.endEditBlock()

    def _write_closed(self, cursor: QTextCursor, block: Block) -> None:
        if not block.text.strip():
            return
        self.counts.closed_blocks += 1
        after, self._unfinished = self._unfinished, None
        if block.kind == "code":
            code = block.code.removesuffix("\n")
            self._append_code(cursor, block.language, code)
            self._open_code = None
            fence = self.fences[-1]
            # A line that was cut is several blocks, and colours are set by a line's number.
            if fence.num_lines == code.count("\n") + 1:
                self._highlighter.add(QTextCursor(fence.start), code, block.language)
            return
        self._remove_tail(cursor)
        num_known = len(self._references)
        writer = self._write_markdown(
            cursor, block.text, after, self._references, goes_on=block.goes_on
        )
        self._unfinished = writer.unfinished
        is_defining = len(self._references) > num_known
        self._has_late_references |= is_defining and self._may_refer
        self._may_refer |= "]" in block.text

    def _write_tail(self, cursor: QTextCursor, tail: Block) -> None:
        if tail.kind == "code":
            self.counts.appends += 1
            self._append_code(cursor, tail.language, tail.code.removesuffix("\n"))
        elif len(tail.text) > MAX_BLOCK_CHARS:
            self.counts.appends += 1
            self._append_plain(cursor, tail.text)
        elif tail.text.strip():
            self.counts.tail_writes += 1
            self._begin_tail(cursor)
            after = self._unfinished
            if isinstance(after, OpenTable):  # whose rows could not be taken back
                after = replace(after, table=None)
            # What an open tail defines may be half an address.
            self._write_markdown(cursor, tail.text, after, dict(self._references))

    def _begin_tail(self, cursor: QTextCursor) -> None:
        self._remove_tail(cursor)
        self._start_block(cursor)
        self._tail = QTextCursor(cursor)
        self._tail.setKeepPositionOnInsert(True)

    def _append_plain(self, cursor: QTextCursor, text: str) -> None:
        """Brings a huge open block up to `text`, which begins with what is shown of it."""
        if self._open_plain is None:
            self._begin_tail(cursor)
            cursor.setBlockFormat(text_block_format(0))
            self._is_fresh = False
            self._open_plain = ""
        cursor.movePosition(QTextCursor.MoveOperation.End)
        for index, line in enumerate(text[len(self._open_plain) :].split("\n")):
            if index:
                cursor.insertBlock(text_block_format(0))
            for piece in cut(line, MAX_BLOCK_CHARS):
                if cursor.block().length() > MAX_BLOCK_CHARS:
                    cursor.insertBlock(text_block_format(0))
                cursor.insertText(piece, text_char_format(piece))
        self._open_plain = text

    def _write_markdown(
        self,
        cursor: QTextCursor,
        source: str,
        after: OpenList | OpenTable | None,
        references: dict[str, object],
        *,
        goes_on: bool = False,
    ) -> MarkdownWriter:
        cursor.movePosition(QTextCursor.MoveOperation.End)
        writer = MarkdownWriter(cursor, is_fresh=self._is_fresh, after=after, references=references)
        writer.write(source, goes_on=goes_on)
        self._is_fresh = writer.is_fresh
        self._waiting += writer.waiting
        return writer

    def _on_drawn(self, key: FormulaKey) -> None:
        mine = [formula for formula in self._waiting if formula.key == key]
        drawn = formulas().get(key) if mine else None
        if drawn is None:
            return
        self._waiting = [formula for formula in self._waiting if formula.key != key]
        for waiting in mine:
            waiting.draw(drawn)
        self.formula_drawn.emit()

    def _start_block(self, cursor: QTextCursor) -> None:
        """Makes the document end in an unused block."""
        cursor.movePosition(QTextCursor.MoveOperation.End)
        if not self._is_fresh:
            cursor.insertBlock(QTextBlockFormat())
            self._is_fresh = True

    def _remove_tail(self, cursor: QTextCursor) -> None:
        if self._tail is None:
            return
        cursor.setPosition(self._tail.position())
        behind_table = is_behind_table(cursor.block())
        cursor.movePosition(QTextCursor.MoveOperation.End, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        # Otherwise a removed block's format, of code say, stays for what comes next.
        cursor.setBlockFormat(spacer_format(behind_table=behind_table))
        self._tail = self._open_plain = None
        self._is_fresh = True

    def _append_code(self, cursor: QTextCursor, language: str, code: str) -> None:
        """Brings an open fence up to `code`, which begins with what is shown of it."""
        if self._open_code is None:
            self._remove_tail(cursor)
            self._start_block(cursor)
            self._is_fresh = False
            set_first_format(cursor, code_block_format(len(self.fences) + 1, first=True, last=True))
            start = QTextCursor(cursor)
            start.setKeepPositionOnInsert(True)
            self.fences.append(Fence(language, "", start))
            if language:
                prepare_lexer(language)
            self._open_code = ""
        cursor.movePosition(QTextCursor.MoveOperation.End)
        number = len(self.fences)
        new = code[len(self._open_code) :]
        for index, line in enumerate(new.split("\n")):
            if index:
                self._next_code_line(cursor, number)
            for piece in cut(line, MAX_BLOCK_CHARS):
                if cursor.block().length() > MAX_BLOCK_CHARS:
                    self._next_code_line(cursor, number)
                cursor.insertText(piece, code_char_format())
        self._open_code = code
        self.fences[-1].code = code

    def _next_code_line(self, cursor: QTextCursor, number: int) -> None:
        fence = self.fences[-1]
        is_first = fence.num_lines == 1
        fence.num_lines += 1
        cursor.setBlockFormat(code_block_format(number, first=is_first, last=False))
        cursor.insertBlock(code_block_format(number, first=False, last=True))
