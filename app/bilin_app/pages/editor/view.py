"""The editor page's widgets in their places. Knows no controller: data in, signals out."""

from bisect import bisect_left
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.editor_views import BlankView, DocumentView, ReaderView, WindowRuler
from bilin_app.pages.chat.view import SIDEBAR_WIDTH, TRASH_HEIGHT, Toast
from bilin_app.pages.editor.document_list import DocumentList
from bilin_app.pages.editor.empty import EmptyDocument
from bilin_app.pages.editor.find_bar import DocumentFindBar
from bilin_app.pages.editor.header import EditorHeader
from bilin_app.pages.editor.panel import BlankPanel
from bilin_app.pages.editor.reader_panel import ReaderPanel
from bilin_app.pages.editor.revisions import RevisionsDialog
from bilin_app.pages.editor.ruler import RulerBar
from bilin_app.pages.editor.side_panel import WIDTH
from bilin_app.pages.editor.text_view import TextView
from bilin_app.pages.file_dialogs import ask_open, ask_save
from bilin_app.pages.keymap import keymap

_EMPTY_TOP = 84


class EditorView(QWidget):
    """Documents at the left, the text in the middle, the blank in hand at the right."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.list = DocumentList(self)
        self.header = EditorHeader(self)
        self.find_bar = DocumentFindBar(self)
        self.text = TextView(self)
        self.empty = EmptyDocument(self)
        self.ruler = RulerBar(self)
        self.side = QStackedWidget(self)
        self.panel = BlankPanel(self.side)
        self.reader = ReaderPanel(self.side)
        self.toast = Toast(self, above=TRASH_HEIGHT)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self._build()
        self.text.textChanged.connect(self._show_empty)
        self.text.installEventFilter(self)
        self.find_bar.query_changed.connect(self._on_find)
        self.find_bar.step_requested.connect(self._on_find_step)
        self.header.origins_toggled.connect(self.text.set_shows_origins)
        self._retranslate()

    def _build(self) -> None:
        main = QWidget(self)
        column = QVBoxLayout(main)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.find_bar)
        column.addWidget(self.text, 1)
        column.addWidget(self.ruler)
        self.empty.setParent(self.text)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(main)
        self.splitter.setHandleWidth(1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([SIDEBAR_WIDTH, 900])
        self.list.setMinimumWidth(140)
        main.setMinimumWidth(400)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.splitter, 1)
        self.side.addWidget(self.panel)
        self.side.addWidget(self.reader)
        self.side.setFixedWidth(WIDTH)
        row.addWidget(self.side)

    # --- Files ------------------------------------------------------------------------------------

    def ask_open_path(self) -> Path | None:
        """A file to open; None = none."""
        kinds = self.tr("Documents") + " (*.txt *.md *.json)"
        return ask_open(self, self.tr("Open a file"), kinds)

    def ask_save_path(self, title: str) -> Path | None:
        """Where to write the document; None = nowhere."""
        kinds = (
            "Markdown (*.md)",
            self.tr("Plain text") + " (*.txt)",
            self.tr("JSON, with blanks, candidates and origins") + " (*.json)",
        )
        return ask_save(self, self.tr("Save as"), title, kinds)

    # --- Data in ----------------------------------------------------------------------------------

    def show_document(self, view: DocumentView) -> None:
        """Shows a document."""
        self.text.show_document(view)
        self.header.title.give_up()
        self.header.show_title(view.title)
        self.list.set_current(view.id)
        self._show_empty()

    def show_current(self, view: BlankView | None, num_blanks: int) -> None:
        """Shows the blank in hand."""
        self.panel.show_blank(view, num_blanks)

    def show_ruler(self, ruler: WindowRuler | None, size: int) -> None:
        """Shows what the model would see, for a document of `size` positions."""
        self.ruler.show_ruler(ruler, size)
        self.panel.show_ruler(ruler)
        self.text.show_window(ruler)

    @property
    def is_reader_open(self) -> bool:
        """Whether the second reader is at the right, instead of the blank in hand."""
        return self.side.currentWidget() is self.reader

    def open_reader(self, is_open: bool) -> None:
        """Puts the second reader, or the blank in hand, at the right."""
        self.side.setCurrentWidget(self.reader if is_open else self.panel)
        self.header.reader.setChecked(is_open)
        if not is_open:
            self.text.show_flags(())

    def show_reader(self, view: ReaderView) -> None:
        """Shows what the second reader does and has found."""
        self.reader.show_reader(view)
        self.text.show_flags(view.flags if self.is_reader_open else ())

    def make_revisions_dialog(self) -> RevisionsDialog:
        """The document's earlier versions."""
        return RevisionsDialog(self)

    def _show_empty(self) -> None:
        is_empty = self.text.document().isEmpty()
        if is_empty != self.empty.isVisibleTo(self.text):
            self.empty.setVisible(is_empty)
        if is_empty:
            QTimer.singleShot(0, self, self._place_empty)

    def _place_empty(self) -> None:
        side = round(self.text.document().rootFrame().frameFormat().leftMargin())
        width = min(self.text.width() - 2 * side, 560)
        height = max(0, self.text.height() - _EMPTY_TOP - 8)
        self.empty.setGeometry(side, _EMPTY_TOP, width, height)

    def open_find(self) -> None:
        """Offers to find something in the document on show."""
        self.find_bar.open_bar()

    def _on_find(self, query: str) -> None:
        """From the cursor on; an empty query: the bar was closed, or waits for one."""
        places = self.text.places_of(query)
        if not places:
            self.find_bar.show_place(0, 0)
            if self.find_bar.isHidden():
                self.text.setFocus()
            return
        here = self.text.selection[0]
        self._show_found(places, bisect_left(places, (here, 0)) % len(places))

    def _on_find_step(self, delta: int) -> None:
        places = self.text.places_of(self.find_bar.field.text())
        if places:
            here = self.text.selection
            index = bisect_left(places, here)
            if places[index % len(places)] == here:
                index += delta
            elif delta < 0:
                index -= 1
            self._show_found(places, index % len(places))

    def _show_found(self, places: list[tuple[int, int]], index: int) -> None:
        self.text.select_stretch(*places[index])
        self.find_bar.show_place(index + 1, len(places))

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.text.act_on(event):
            return
        for name, signal in (
            ("open", self.header.open_requested),
            ("save", self.header.save_requested),
        ):
            if keymap().matches(event, name):
                signal.emit()
                return
        super().keyPressEvent(event)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.toast.place()

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:  # of the text, whose margins follow
            QTimer.singleShot(0, self, self._place_empty)
        return False

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.text.setAccessibleName(self.tr("Text of the document"))
