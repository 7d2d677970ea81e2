"""Shows the text of an attachment as it goes to the model, nothing in it hidden."""

from PySide6.QtCore import QLocale
from PySide6.QtGui import QFontMetricsF, QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from bilin_app.pages.chat.composer_edit import MAX_INLINE_CHARS
from bilin_app.pages.controls import ElidedLabel, TextButton, label
from bilin_app.pages.dialog_size import resize_within_screen
from bilin_app.text.attachments import Attachment
from bilin_app.text.visible import visible

SIZE = (760, 600)
MAX_LINE = 2_000  # a longer one is shown in pieces: Qt lays out a line as a whole


class AttachmentDialog(QDialog):
    """A name, a size, the text. Where it is still a draft, it can become part of the message.

    `is_inlined`: that was chosen.
    """

    def __init__(self, attachment: Attachment, parent: QWidget, *, is_draft: bool) -> None:
        super().__init__(parent)
        self.is_inlined = False
        self._attachment = attachment
        self.setWindowTitle(attachment.name)
        resize_within_screen(self, *SIZE)
        heading = ElidedLabel(self)
        heading.setProperty("role", "heading")
        heading.set_full_text(attachment.name)
        facts = label(self, "muted")
        facts.setText(self._facts())
        self.text = QPlainTextEdit(self)
        self.text.setObjectName("detail")
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.text.setPlainText(_shown(attachment.text))
        self.text.ensurePolished()
        self.text.setTabStopDistance(4 * QFontMetricsF(self.text.font()).horizontalAdvance(" "))
        self.text.setAccessibleName(self.tr("The attachment’s text"))
        copy = TextButton("", self)
        copy.set_texts(self.tr("Copy"))
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(attachment.text))
        self.inline = TextButton("", self)
        self.inline.set_texts(self.tr("Put into the message"))
        self.inline.setVisible(is_draft and len(attachment.text) <= MAX_INLINE_CHARS)
        self.inline.clicked.connect(self._on_inline)
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        close.clicked.connect(self.reject)
        close.setDefault(True)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addWidget(self.inline)
        row.addStretch()
        row.addWidget(close)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        column.addWidget(heading)
        column.addWidget(facts)
        column.addWidget(self.text, 1)
        column.addLayout(row)
        close.setFocus()

    def _facts(self) -> str:
        text, locale = self._attachment.text, QLocale()
        num_lines = text.count("\n") + (not text.endswith("\n"))
        parts = [
            self.tr("{0} lines").format(locale.toString(num_lines)),
            self.tr("{0} characters").format(locale.toString(len(text))),
        ]
        if self._attachment.num_tokens:
            number = locale.toString(self._attachment.num_tokens)
            parts.append(self.tr("{0} tokens").format(number))
        return " · ".join(parts)

    def _on_inline(self) -> None:
        self.is_inlined = True
        self.accept()


def _shown(text: str) -> str:
    lines = (
        line[start : start + MAX_LINE]
        for line in visible(text, keep="\n\t\u200c\u200d").split("\n")
        for start in range(0, len(line) or 1, MAX_LINE)
    )
    return "\n".join(lines)
