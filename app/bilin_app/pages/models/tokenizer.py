"""Choosing a tokenizer file, which a GLM-130B checkpoint does not hold."""

from pathlib import Path

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.pages.controls import ElidedLabel, TextButton, label
from bilin_app.pages.file_dialogs import ask_open


class TokenizerRow(QWidget):
    """`path` is the file that was chosen, "" for none: it may be added later."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.path = ""
        self._title = label(self, "section")
        self._file = ElidedLabel(self)
        self.choose = TextButton("", self)
        self.choose.clicked.connect(self._on_choose)
        self._about = label(self, "muted", wraps=True)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self._file, 1)
        row.addWidget(self.choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(8)
        column.addWidget(self._title)
        column.addLayout(row)
        column.addWidget(self._about)
        self._show()

    def set_path(self, path: str) -> None:
        """Takes a file."""
        self.path = path
        self._show()

    def _show(self) -> None:
        self._title.setText(self.tr("Tokenizer"))
        none = self.tr("ice_text.model is not beside the checkpoint")
        self._file.set_full_text(Path(self.path).name if self.path else none)
        self.choose.set_texts(self.tr("Choose…"), self.tr("Choose the tokenizer file"))
        self._about.setText(
            self.tr("The model needs it to read text. You can convert now and add it later.")
        )

    def _on_choose(self) -> None:
        path = ask_for_tokenizer(self)
        if path:
            self.set_path(path)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


def ask_for_tokenizer(parent: QWidget) -> str:
    """The file a person chooses, "" for none."""
    path = ask_open(parent, "ice_text.model", "*.model", sort="models")
    return str(path) if path else ""
