"""Giving a model another name, which is checked while it is typed."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from bilin_app.pages.controls import TextButton, label

WIDTH = 440
MAX_NAME_CHARS = 80  # as the engine takes


class RenameDialog(QDialog):
    """renamed(str): the name, without spaces around it, if it is another one than before."""

    renamed = Signal(str)

    def __init__(self, parent: QWidget, name: str, path: str) -> None:
        super().__init__(parent)
        self._before = name
        self.setWindowTitle(self.tr("Rename"))
        self.setMinimumWidth(WIDTH)
        self.setMaximumWidth(WIDTH)
        heading = label(self, "heading")
        heading.setText(self.tr("Rename"))
        about = label(self, "muted", wraps=True)
        about.setText(self.tr("Only the name changes; the files stay in {0}.").format(path))
        self.name = QLineEdit(name, self)
        self.name.setAccessibleName(self.tr("Name"))
        self.name.selectAll()
        self.name.textChanged.connect(self._show)
        self.problem = label(self, "danger", wraps=True)
        cancel = TextButton("", self)
        cancel.set_texts(self.tr("Cancel"))
        cancel.clicked.connect(self.reject)
        self.go = TextButton("primary", self)
        self.go.set_texts(self.tr("Rename"))
        self.go.clicked.connect(self._on_go)
        self.go.setDefault(True)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(cancel)
        row.addWidget(self.go)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        for widget in (heading, about, self.name, self.problem):
            column.addWidget(widget)
        column.addSpacing(6)
        column.addLayout(row)
        self._show()

    def _show(self) -> None:
        name = self.name.text().strip()
        self.problem.setText(self._problem(name))
        self.problem.setVisible(bool(self.problem.text()))
        self.go.setEnabled(bool(name) and not self.problem.text())

    def _problem(self, name: str) -> str:
        if len(name) > MAX_NAME_CHARS:
            text = self.tr("{0} characters are too many; up to {1} are possible.")
            return text.format(len(name), MAX_NAME_CHARS)
        if not all(c.isprintable() or c == "\u3000" for c in name):
            return self.tr("The name holds a character that cannot be seen; type it anew.")
        return ""

    def _on_go(self) -> None:
        name = self.name.text().strip()
        if name != self._before:
            self.renamed.emit(name)
        self.accept()
