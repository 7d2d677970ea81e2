"""A field to write in that bears any line: Qt breaks one anew at each key, as a whole."""

from PySide6.QtCore import QMimeData
from PySide6.QtWidgets import QPlainTextEdit
from typing_extensions import override

from bilin_app.pages.chat.composer_edit import MAX_INLINE_CHARS


class LongLineEdit(QPlainTextEdit):
    """Breaks its lines to its width, until one is set or pasted that Qt takes minutes to break."""

    @override
    def setPlainText(self, text: str) -> None:
        is_long = _longest_line(text) > MAX_INLINE_CHARS
        if is_long:
            self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        super().setPlainText(text)
        if not is_long:
            self.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)

    @override
    def insertFromMimeData(self, source: QMimeData) -> None:
        if self.textCursor().block().length() + _longest_line(source.text()) > MAX_INLINE_CHARS:
            self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        super().insertFromMimeData(source)


def _longest_line(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)
