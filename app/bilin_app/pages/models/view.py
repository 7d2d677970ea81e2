"""The models page's widgets in their places. Knows no controller: data in, signals out."""

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QHideEvent,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.model_views import JobView, ModelRow
from bilin_app.pages.chat.view import Toast
from bilin_app.pages.controls import label
from bilin_app.pages.models.detail import Detail
from bilin_app.pages.models.model_list import ModelList
from bilin_app.pages.models.queue import QueueStrip

LIST_WIDTH = 330
FOOTER_HEIGHT = 100  # of the buttons below the list


class ModelsView(QWidget):
    """The library at the left, one model at the right, the work queue below it.

    shown_changed(bool): the page came into view or left it. dropped(str): a path to be added.
    """

    shown_changed = Signal(bool)
    dropped = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self.list = ModelList(self)
        self.detail = Detail(self)
        self.queue = QueueStrip(self)
        self.toast = Toast(self, above=FOOTER_HEIGHT)
        self.drop_hint = label(self)
        self.drop_hint.setObjectName("dropHint")
        self.drop_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.drop_hint.hide()
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        main = QWidget(self)
        column = QVBoxLayout(main)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.detail, 1)
        column.addWidget(self.queue)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(main)
        self.splitter.setHandleWidth(1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([LIST_WIDTH, 900])
        self.list.setMinimumWidth(200)
        main.setMinimumWidth(600)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.splitter)
        self._retranslate()

    def show_models(self, rows: Sequence[ModelRow], current: str, loaded: str) -> None:
        """Shows the library and, of it, the chosen model."""
        self.list.show_models(rows, current, loaded)
        row = next((row for row in rows if row.id == current), None)
        if row is not None:
            self.detail.show_row(row)

    def show_jobs(self, jobs: Sequence[JobView]) -> None:
        """Shows the work queue."""
        self.queue.show_jobs(jobs)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.shown_changed.emit(True)

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.shown_changed.emit(False)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.toast.place()
        self.drop_hint.setGeometry(self.rect())

    def show_dropping(self, is_dropping: bool) -> None:
        """Says, while something is held over the page, what letting go would do."""
        self.drop_hint.setVisible(is_dropping)
        self.drop_hint.raise_()

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()
            self.show_dropping(True)

    @override
    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.show_dropping(False)

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self.show_dropping(False)
        for url in event.mimeData().urls():
            if url.isLocalFile():
                event.acceptProposedAction()
                self.dropped.emit(str(Path(url.toLocalFile())))
                return

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.drop_hint.setText(self.tr("Let go to add it: a model’s folder, or a GGUF file"))
