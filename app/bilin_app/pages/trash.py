"""What was deleted and can be brought back, or deleted for good."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QLocale, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.list_views import TrashRow
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dates import date_time, short_date
from bilin_app.pages.deletion_question import DeletionQuestion

SIZE = (560, 420)
_ID_ROLE = Qt.ItemDataRole.UserRole


class TrashDialog(QDialog):
    """Says what is to be brought back or deleted for good; shows what is left when it is told."""

    restore_requested = Signal(int)
    purge_requested = Signal(object)  # list of ids

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.resize(*SIZE)
        self._rows: Sequence[TrashRow] = ()
        self._heading = label(self, "heading")
        self._about = label(self, "muted", wraps=True)
        self._list = QTreeWidget(self)
        self._list.setObjectName("trashList")
        self._list.setRootIsDecorated(False)
        self._list.setUniformRowHeights(True)
        self._list.setColumnCount(2)
        self._list.header().setStretchLastSection(False)
        self._list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self._list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.itemSelectionChanged.connect(self._on_selection_changed)
        self._list.itemActivated.connect(lambda item, _c: self._restore([item]))
        self._empty = TextButton("danger", self)
        self._delete = TextButton("", self)
        self._restore_button = TextButton("primary", self)
        self._close = TextButton("", self)
        self._empty.clicked.connect(self._on_empty)
        self._delete.clicked.connect(self._on_delete)
        self._restore_button.clicked.connect(lambda: self._restore(self._list.selectedItems()))
        self._close.clicked.connect(self.accept)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self._empty)
        buttons.addStretch()
        for button in (self._delete, self._restore_button, self._close):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(self._heading)
        column.addWidget(self._about)
        column.addWidget(self._list, 1)
        column.addLayout(buttons)
        self._retranslate()
        self.show_rows(())

    def show_rows(self, rows: Sequence[TrashRow]) -> None:
        """Shows what is in the trash, in the order given."""
        self._rows = rows
        self._list.clear()
        for row in rows:
            item = QTreeWidgetItem([row.title or self.tr("Untitled"), short_date(row.trashed_at)])
            item.setData(0, _ID_ROLE, row.id)
            item.setToolTip(0, row.title)
            item.setToolTip(1, date_time(row.trashed_at))
            item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._list.addTopLevelItem(item)
        if (first := self._list.topLevelItem(0)) is not None:
            self._list.setCurrentItem(first)
        self._about.setText(
            self.tr("Nothing leaves the trash by itself.")
            if rows
            else self.tr("The trash is empty.")
        )
        self._empty.setEnabled(bool(rows))
        self._on_selection_changed()

    def _on_selection_changed(self) -> None:
        has_chosen = bool(self._list.selectedItems())
        self._delete.setEnabled(has_chosen)
        self._restore_button.setEnabled(has_chosen)

    def _restore(self, items: Sequence[QTreeWidgetItem]) -> None:
        for item in items:
            self.restore_requested.emit(item.data(0, _ID_ROLE))

    def _on_delete(self) -> None:
        ids = [item.data(0, _ID_ROLE) for item in self._list.selectedItems()]
        if ids and self._ask(self._question(ids)):
            self.purge_requested.emit(ids)

    def _on_empty(self) -> None:
        if self._ask(self.tr("Delete everything in the trash for good?")):
            self.purge_requested.emit([row.id for row in self._rows])

    def _question(self, ids: list[int]) -> str:
        if len(ids) > 1:
            return self.tr("Delete {0} items for good?").format(QLocale().toString(len(ids)))
        title = next((row.title for row in self._rows if row.id == ids[0]), "")
        return self.tr("Delete for good: {0}?").format(title or self.tr("Untitled"))

    def _ask(self, text: str) -> bool:
        return DeletionQuestion(self, self.tr("Trash"), text).is_confirmed()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete and self._list.hasFocus():
            self._on_delete()
        else:
            super().keyPressEvent(event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
            self.show_rows(self._rows)
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.setWindowTitle(self.tr("Trash"))
        self._heading.setText(self.tr("Trash"))
        self._list.setHeaderLabels([self.tr("Title"), self.tr("Deleted")])
        self._list.setAccessibleName(self.tr("Trash"))
        self._empty.set_texts(self.tr("Empty the trash …"))
        self._delete.set_texts(self.tr("Delete for good …"))
        self._restore_button.set_texts(self.tr("Restore"))
        self._close.set_texts(self.tr("Close"))
