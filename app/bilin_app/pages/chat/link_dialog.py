"""The question before a link is opened: the address it really leads to."""

from urllib.parse import urlsplit

from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from bilin_app.pages.controls import TextButton, label
from bilin_app.text.visible import visible

WIDTH = 480


class LinkDialog(QDialog):
    """Accepted = open. Shows the host by itself, and nothing that could hide in the address."""

    def __init__(self, address: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Open a link"))
        self.setFixedWidth(WIDTH)
        heading = label(self, "heading")
        heading.setText(self.tr("Open this address in your browser?"))
        host = label(self, "section", wraps=True)
        host.setText(host_of(address))
        whole = QPlainTextEdit(self)
        whole.setObjectName("detail")
        whole.setReadOnly(True)
        whole.setPlainText(visible(address))
        whole.setFixedHeight(72)
        whole.setAccessibleName(self.tr("Address"))
        cancel = TextButton("", self)
        cancel.set_texts(self.tr("Cancel"))
        cancel.clicked.connect(self.reject)
        cancel.setDefault(True)
        accept = TextButton("primary", self)
        accept.set_texts(self.tr("Open"))
        accept.clicked.connect(self.accept)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(cancel)
        buttons.addWidget(accept)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(heading)
        column.addWidget(host)
        column.addWidget(whole)
        column.addLayout(buttons)
        cancel.setFocus()


def host_of(address: str) -> str:
    """Where an address leads: its host, in ASCII where letters of other scripts stand in it."""
    try:
        host = urlsplit(address).hostname or ""
        return host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        return ""
