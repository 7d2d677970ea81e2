"""The dialog with a document's earlier versions."""

from collections.abc import Sequence

from PySide6.QtCore import QLocale, Qt, Signal
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from bilin_app.controllers.editor_views import RevisionView
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dates import date_time


class RevisionsDialog(QDialog):
    """restore_requested(int): the version with this id shall be the text again."""

    restore_requested = Signal(int)

    def __init__(self, parent: QWidget, revisions: Sequence[RevisionView]) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Earlier versions"))
        self.resize(460, 380)
        heading = label(self, "heading")
        heading.setText(self.tr("Earlier versions"))
        about = label(self, "muted", wraps=True)
        about.setText(self.tr("Restoring keeps the present text as a version and can be undone."))
        self.list = QListWidget(self)
        self.list.setAccessibleName(self.tr("Earlier versions"))
        for revision in revisions:
            text = self.tr("{moment} · {reason} · {count} characters").format(
                moment=date_time(revision.created_at),
                reason=revision.reason,
                count=QLocale().toString(revision.num_characters),
            )
            item = QListWidgetItem(text, self.list)
            item.setData(Qt.ItemDataRole.UserRole, revision.id)
        self.restore = TextButton("primary", self)
        self.restore.set_texts(self.tr("Restore"))
        self.restore.setEnabled(False)
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        self.list.currentRowChanged.connect(lambda row: self.restore.setEnabled(row >= 0))
        self.list.itemActivated.connect(lambda _item: self._on_restore())
        self.restore.clicked.connect(self._on_restore)
        close.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(close)
        buttons.addWidget(self.restore)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(heading)
        column.addWidget(about)
        column.addWidget(self.list, 1)
        column.addLayout(buttons)

    def _on_restore(self) -> None:
        item = self.list.currentItem()
        if item is not None:
            self.restore_requested.emit(item.data(Qt.ItemDataRole.UserRole))
            self.accept()
