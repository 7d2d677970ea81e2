"""What was deleted: put back, or removed for good."""

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget

from bilin_app.controllers.model_views import TrashView
from bilin_app.pages.controls import ElidedLabel, TextButton, label
from bilin_app.pages.dates import short_date
from bilin_app.pages.deletion_question import DeletionQuestion
from bilin_app.pages.dialog_size import DialogScroll, resize_within_screen
from bilin_app.pages.models import words

WIDTH = 520


class TrashDialog(QDialog):
    """One line a model. restored(trashed); emptied(): all of them, for good."""

    restored = Signal(str)
    emptied = Signal()

    def __init__(self, parent: QWidget, trash: Sequence[TrashView]) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Trash"))
        self.setMinimumWidth(WIDTH)
        self.setMaximumWidth(WIDTH)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        heading = label(self, "heading")
        heading.setText(self.tr("Trash"))
        column.addWidget(heading)
        content = QWidget(self)
        lines = QVBoxLayout(content)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setSpacing(column.spacing())
        for one in trash:
            lines.addLayout(self._line(one, content))
        column.addWidget(DialogScroll(self, content), 1)
        column.addStretch()
        column.addSpacing(6)
        row = QHBoxLayout()
        self.empty = TextButton("danger", self)
        size = words.disk_size(sum(one.size_bytes for one in trash))
        self.empty.set_texts(self.tr("Empty: frees {0} …").format(size))
        self.empty.clicked.connect(self._on_empty)
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        close.clicked.connect(self.reject)
        row.addWidget(self.empty)
        row.addStretch()
        row.addWidget(close)
        column.addLayout(row)
        resize_within_screen(self, WIDTH, self.sizeHint().height())

    def _line(self, one: TrashView, content: QWidget) -> QHBoxLayout:
        name = ElidedLabel(content)
        name.set_full_text(one.name)
        facts = label(content, "muted")
        facts.setText(f"{words.disk_size(one.size_bytes)}   {short_date(one.deleted_at)}")
        restore = TextButton("", content)
        restore.set_texts(self.tr("Restore"), self.tr("Restore {0}").format(one.name))
        restore.clicked.connect(lambda: self._on_restore(one.trashed))
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addWidget(name, 1)
        row.addWidget(facts)
        row.addWidget(restore)
        return row

    def _on_restore(self, trashed: str) -> None:
        self.restored.emit(trashed)
        self.accept()

    def _on_empty(self) -> None:
        text = self.tr("Delete everything in the trash for good?")
        if not DeletionQuestion(self, self.tr("Trash"), text).is_confirmed():
            return
        self.emptied.emit()
        self.accept()
