"""What a model thought before it answered: a line that unfolds."""

import math

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QTextCursor, QWheelEvent
from PySide6.QtWidgets import QFrame, QTextEdit, QWidget
from typing_extensions import override

from bilin_app.pages.chat.aside import make_aside
from bilin_app.pages.chat.document import MAX_BLOCK_CHARS
from bilin_app.pages.chat.text_formats import with_cut_lines
from bilin_app.pages.controls import IconButton

LINE_HEIGHT = 28
INDENT = 24
GAP = 8


class _ThoughtText(QTextEdit):
    """Plain text, as high as it is. Text that only grew is only appended."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("thought")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        make_aside(self)
        self.viewport().setAutoFillBackground(False)
        self.document().setUndoRedoEnabled(False)
        self.document().setDocumentMargin(0)
        self._shown = ""
        self._width = -1

    def show_text(self, text: str) -> None:
        """Shows a text, from the start only if it is another than the one that grew so far."""
        if not text.startswith(self._shown):
            self.clear()
            self._shown = ""
        if new := text[len(self._shown) :]:
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            # Qt takes minutes to break one line of 100,000 letters.
            if cursor.block().length() > MAX_BLOCK_CHARS:
                cursor.insertBlock()
            cursor.insertText(with_cut_lines(new, MAX_BLOCK_CHARS))
            self._shown = text

    def height_for(self, width: int) -> int:
        """The text's height at a width, px."""
        if width != self._width:
            self._width = width
            self.document().setTextWidth(width)  # relays out even for the same width
        return math.ceil(self.document().size().height())

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the transcript scrolls, not the thought


class Thought(QWidget):
    """Folded at first. toggled(bool): whether it is open now."""

    toggled = Signal(bool)

    def __init__(self, parent: QWidget, *, is_open: bool) -> None:
        super().__init__(parent)
        self._is_open = is_open
        self._is_thinking = False
        self._thought = ""
        self._line = IconButton("caret-right", self)
        self._line.clicked.connect(self._on_clicked)
        self.text = _ThoughtText(self)
        self._show()

    def set_thought(self, text: str, *, is_thinking: bool) -> None:
        """Shows the thought as far as it is known; plain text, whatever is in it."""
        self._thought = text
        if self._is_open:
            self.text.show_text(text)
        if is_thinking != self._is_thinking:
            self._is_thinking = is_thinking
            self._show()

    def unfold(self) -> None:
        """Shows the thought."""
        if not self._is_open:
            self._on_clicked()

    def height_for(self, width: int) -> int:
        """The height at a width, px."""
        if not self._is_open or not self._thought:
            return LINE_HEIGHT + 2
        return LINE_HEIGHT + self.text.height_for(width - INDENT) + GAP

    def _show(self) -> None:
        self._line.set_icon("caret-down" if self._is_open else "caret-right")
        name = self.tr("Thinking …") if self._is_thinking else self.tr("Thought before answering")
        self._line.set_texts(name, name)
        self._line.adjustSize()
        self._line.move(-5, 0)
        self.text.setAccessibleName(name)
        self.text.setVisible(self._is_open)

    def _on_clicked(self) -> None:
        self._is_open = not self._is_open
        if self._is_open:
            self.text.show_text(self._thought)
        self._show()
        self.toggled.emit(self._is_open)

    @override
    def resizeEvent(self, event: QEvent) -> None:  # type: ignore[override]
        super().resizeEvent(event)  # type: ignore[arg-type]
        if self._is_open:
            width = self.width() - INDENT
            self.text.setGeometry(INDENT, LINE_HEIGHT, width, self.text.height_for(width))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
