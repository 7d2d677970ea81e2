"""A report to read and to send: the text as it is, and a button that copies it."""

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from bilin_app.pages.controls import TextButton, label

SIZE = (820, 460)


class ReportDialog(QDialog):
    """What the self-test found."""

    def __init__(self, parent: QWidget, report: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Self-test"))
        self.resize(*SIZE)
        heading = label(self, "heading")
        heading.setText(self.tr("Self-test"))
        about = label(self, "muted", wraps=True)
        about.setText(
            self.tr("Names of devices and figures; nothing of your texts. Copy it to send it.")
        )
        self.text = QPlainTextEdit(self)
        self.text.setObjectName("detail")
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setPlainText(report)
        self.text.setAccessibleName(self.tr("Self-test"))
        self.copy = TextButton("primary", self)
        self.copy.set_texts(self.tr("Copy"))
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(report))
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        close.clicked.connect(self.accept)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(close)
        row.addWidget(self.copy)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        for widget in (heading, about):
            column.addWidget(widget)
        column.addWidget(self.text, 1)
        column.addLayout(row)
