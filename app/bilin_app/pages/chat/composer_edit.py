"""The composer's text field: plain text only; what is too long or a file is handed on."""

from pathlib import Path

from PySide6.QtCore import QMimeData, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence, Qt
from PySide6.QtWidgets import QPlainTextEdit
from typing_extensions import override

LONG_PASTE_CHARS = 4_000
LONG_PASTE_LINES = 80
PAGE_KEYS = (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)
MAX_INLINE_CHARS = 20_000  # more in the field holds up each key: Qt breaks a line as a whole


def local_files(data: QMimeData) -> list[Path]:
    """The files of this computer that are dragged or pasted."""
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]


class ComposerEdit(QPlainTextEdit):
    """long_text_pasted(str): to be attached; Ctrl+Shift+V pastes up to MAX_INLINE_CHARS.

    files_given(list[Path]): files that were pasted. copy_requested(): nothing is selected here.
    """

    copy_requested = Signal()
    long_text_pasted = Signal(str)
    files_given = Signal(object)

    @override
    def insertFromMimeData(self, source: QMimeData) -> None:
        if files := local_files(source):
            self.files_given.emit(files)
            return
        text = source.text().replace("\r\n", "\n")
        if len(text) > LONG_PASTE_CHARS or text.count("\n") >= LONG_PASTE_LINES:
            self.long_text_pasted.emit(text)
        elif text:
            self.insertPlainText(text)

    @override
    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText() or source.hasUrls()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
        if event.key() == Qt.Key.Key_V and event.modifiers() == both:
            self.paste_whole()
        elif event.matches(QKeySequence.StandardKey.Copy) and not self.textCursor().hasSelection():
            self.copy_requested.emit()
        elif event.key() in PAGE_KEYS and not self.verticalScrollBar().maximum():
            event.ignore()  # the messages take it
        else:
            super().keyPressEvent(event)

    def paste_whole(self) -> None:
        """Pastes a long text into the field, as long as the field bears it."""
        text = QGuiApplication.clipboard().text().replace("\r\n", "\n")
        if len(text) > MAX_INLINE_CHARS:
            self.long_text_pasted.emit(text)
        else:
            self.insertPlainText(text)
