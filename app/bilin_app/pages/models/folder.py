"""Where the models lie, and how another place is chosen: moved there, or used as it is."""

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QDialog, QHBoxLayout, QRadioButton, QVBoxLayout, QWidget

from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.file_dialogs import ask_folder

WIDTH = 520


class FolderDialog(QDialog):
    """moved(Path): all models go there; used(Path): only those that lie there are listed."""

    moved = Signal(object)
    used = Signal(object)

    def __init__(self, parent: QWidget, folder: str) -> None:
        super().__init__(parent)
        self._chosen = ""
        self.setWindowTitle(self.tr("Models folder"))
        self.setMinimumWidth(WIDTH)
        self.setMaximumWidth(WIDTH)
        heading = label(self, "heading")
        heading.setText(self.tr("Models folder"))
        self._now = label(self, "muted", wraps=True)
        self._now.setText(folder)
        self.choose = TextButton("", self)
        self.choose.set_texts(self.tr("Choose another folder…"))
        self.choose.clicked.connect(self._on_choose)
        self._target = label(self, wraps=True)
        self._ways = QButtonGroup(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        column.addWidget(heading)
        column.addWidget(self._now)
        column.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._target)
        self._lines = []
        for index, (text, about) in enumerate(self._way_words()):
            button = QRadioButton(text, self)
            button.setChecked(index == 0)
            self._ways.addButton(button, index)
            explained = label(self, "muted", wraps=True)
            explained.setText(about)
            explained.setContentsMargins(24, 0, 0, 4)
            button.setAccessibleDescription(about)
            self._lines += [button, explained]
            column.addWidget(button)
            column.addWidget(explained)
        cancel = TextButton("", self)
        cancel.set_texts(self.tr("Cancel"))
        cancel.clicked.connect(self.reject)
        self.go = TextButton("primary", self)
        self.go.clicked.connect(self._on_go)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(cancel)
        row.addWidget(self.go)
        column.addSpacing(6)
        column.addLayout(row)
        self._ways.idToggled.connect(lambda _index, _on: self._show())
        self._show()

    def _way_words(self) -> tuple[tuple[str, str], ...]:
        return (
            (
                self.tr("Move all models there"),
                self.tr(
                    "Every file is copied, read again and compared; only then is the old one"
                    " removed. It can be paused, and goes on after a restart."
                ),
            ),
            (
                self.tr("Use that folder"),
                self.tr("Models here stay where they are and are no longer listed."),
            ),
        )

    def show_target(self, folder: str) -> None:
        """Shows a folder as the chosen one."""
        self._chosen = folder
        self._show()

    def _show(self) -> None:
        has_target = bool(self._chosen)
        self._target.setText(self._chosen)
        for widget in (self._target, *self._lines):
            widget.setVisible(has_target)
        moves = self._ways.checkedId() == 0
        self.go.set_texts(self.tr("Move") if moves else self.tr("Use"))
        self.go.setEnabled(has_target)
        self.adjustSize()

    def _on_choose(self) -> None:
        path = ask_folder(self, self.tr("A folder for models"))
        if path:
            self.show_target(str(path))

    def _on_go(self) -> None:
        signal = self.moved if self._ways.checkedId() == 0 else self.used
        signal.emit(Path(self._chosen))
        self.accept()
