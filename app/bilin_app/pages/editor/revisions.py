"""The dialog with a document's earlier versions: each can be read before it is restored."""

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

from bilin_app.controllers.editor_views import DocumentView, RevisionView
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dates import date_time
from bilin_app.pages.dialog_size import resize_within_screen
from bilin_app.pages.editor.text_view import TextView

SIZE = (920, 600)
EMPTY_SIZE = (460, 180)
LIST_WIDTH = 296


class RevisionsDialog(QDialog):
    """read_requested(int): the version with this id is to be read; `show_text` answers.

    restore_requested(int): it shall be the text again.
    """

    read_requested = Signal(int)
    restore_requested = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Earlier versions"))
        heading = label(self, "heading")
        heading.setText(self.tr("Earlier versions"))
        self._about = label(self, "muted", wraps=True)
        self.list = QListWidget(self)
        self.list.setObjectName("revisionList")
        self.list.setAccessibleName(self.tr("Earlier versions"))
        self.list.setFixedWidth(LIST_WIDTH)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.text = TextView(self)
        self.text.setReadOnly(True)
        self.text.setAccessibleName(self.tr("Text of the earlier version"))
        self.restore = TextButton("primary", self)
        self.restore.set_texts(self.tr("Restore"))
        self.close_button = TextButton("", self)
        self.close_button.set_texts(self.tr("Close"))
        self.list.currentRowChanged.connect(self._on_row_changed)
        self.restore.clicked.connect(self._on_restore)
        self.close_button.clicked.connect(self.reject)
        self._middle = QWidget(self)
        middle = QHBoxLayout(self._middle)
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(12)
        middle.addWidget(self.list)
        middle.addWidget(self.text, 1)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.close_button)
        buttons.addWidget(self.restore)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(heading)
        column.addWidget(self._about)
        column.addWidget(self._middle, 1)
        column.addStretch()
        column.addLayout(buttons)

    def show_revisions(self, revisions: Sequence[RevisionView]) -> None:
        """Shows what there is, the newest first, and asks for the first one's text."""
        self._about.setText(
            self.tr("Restoring keeps the present text as a version and can be undone.")
            if revisions
            else self.tr(
                "There is none yet. One is kept when a document that was opened is changed, then "
                "every five minutes of writing, and before all blanks are filled."
            )
        )
        self._middle.setVisible(bool(revisions))
        self.restore.setVisible(bool(revisions))
        (self.restore if revisions else self.close_button).setDefault(True)
        resize_within_screen(self, *SIZE if revisions else EMPTY_SIZE)
        for revision in revisions:
            size = self.tr("{0} characters").format(QLocale().toString(revision.num_characters))
            text = f"{date_time(revision.created_at)} · {size}\n{revision.reason}"
            item = QListWidgetItem(text, self.list)
            item.setData(Qt.ItemDataRole.UserRole, revision.id)
        self.list.setCurrentRow(0)

    def show_text(self, revision_id: int, view: DocumentView) -> None:
        """Shows a version's text, unless another one was chosen since it was asked for."""
        if revision_id == self._chosen:
            self.text.show_document(view)

    @property
    def _chosen(self) -> int:
        item = self.list.currentItem()
        return 0 if item is None else item.data(Qt.ItemDataRole.UserRole)

    def _on_row_changed(self, _row: int) -> None:
        if self._chosen:
            self.read_requested.emit(self._chosen)

    def _on_restore(self) -> None:
        if self._chosen:
            self.restore_requested.emit(self._chosen)
            self.accept()
