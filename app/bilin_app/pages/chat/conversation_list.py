"""The list of conversations: search, a new one, and all of them by day."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QFontMetricsF, QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QMenu,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.list_views import ListRow, SearchHit
from bilin_app.pages.controls import ClearsByEscape, IconButton, TextButton, label
from bilin_app.pages.dates import day_of, month, short_date, start_of
from bilin_app.pages.keymap import keymap
from bilin_app.pages.row_painting import draw_ground, draw_line
from bilin_app.theme.fonts import language_of, text_font
from bilin_app.theme.icons import paint_icon
from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtWidgets import QStyleOptionViewItem

    from bilin_app.pages.trash import TrashDialog

SEARCH_DELAY_MS = 120
ROW_HEIGHT = 38
GROUP_HEIGHT = 34
HIT_HEIGHT = 60

_ROW_ROLE = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class _Group:
    title: str


_Entry = _Group | ListRow | SearchHit
_Index = QModelIndex | QPersistentModelIndex


class _Entries(QAbstractListModel):
    """Groups, conversations and search hits, one a row."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.entries: list[_Entry] = []

    def show_entries(self, entries: list[_Entry]) -> None:
        """Replaces all rows."""
        self.beginResetModel()
        self.entries = entries
        self.endResetModel()

    @override
    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self.entries)

    @override
    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entries[index.row()]
        if role == _ROW_ROLE:
            return entry
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return entry.title
        if role == Qt.ItemDataRole.ToolTipRole and not isinstance(entry, _Group):
            return entry.title
        return None

    @override
    def flags(self, index: _Index) -> Qt.ItemFlag:
        if isinstance(self.entries[index.row()], _Group):
            return Qt.ItemFlag.ItemIsEnabled
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


class _EntryDelegate(QStyledItemDelegate):
    """Paints a row with the palette's colours."""

    @override
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        entry = index.data(_ROW_ROLE)
        if isinstance(entry, _Group):
            return QSize(100, GROUP_HEIGHT)
        return QSize(100, HIT_HEIGHT if isinstance(entry, SearchHit) else ROW_HEIGHT + 4)

    @override
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        entry = index.data(_ROW_ROLE)
        box = QRectF(option.rect).adjusted(0, 2, 0, -2)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(entry, _Group):
            painter.setPen(theme().palette.color("muted"))
            painter.setFont(text_font(theme().language, theme().sizes.small))
            align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
            painter.drawText(box.adjusted(10, 4, -10, 0), align, entry.title)
        else:
            draw_ground(painter, option, box, chosen="raised")
            if isinstance(entry, SearchHit):
                self._paint_hit(painter, entry, box)
            else:
                self._paint_conversation(painter, entry, box)
        painter.restore()

    def _paint_conversation(self, painter: QPainter, row: ListRow, box: QRectF) -> None:
        colors = theme().palette
        right = box.right() - 10
        if row.is_running:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colors.color("accent"))
            painter.drawEllipse(QRectF(right - 8, box.center().y() - 4, 8, 8))
            right -= 16
        elif row.is_pinned or row.has_draft:
            name = "push-pin-fill" if row.is_pinned else "pencil-simple"
            place = QRectF(right - 14, box.center().y() - 7, 14, 14)
            paint_icon(painter, name, place, colors.color("muted"))
            right -= 20
        inner = QRectF(box.left() + 10, box.top(), right - box.left() - 10, box.height())
        font = text_font(language_of(row.title), theme().sizes.ui)
        draw_line(painter, row.title, inner, font, "ink")

    def _paint_hit(self, painter: QPainter, hit: SearchHit, box: QRectF) -> None:
        inner = box.adjusted(10, 6, -10, -6)
        sizes = theme().sizes
        half = inner.height() / 2
        title = QRectF(inner.left(), inner.top(), inner.width(), half)
        _draw_marked(painter, hit.title, hit.title_highlights, title, sizes.ui, "ink")
        below = QRectF(inner.left(), inner.top() + half, inner.width(), half)
        text = hit.snippet or short_date(hit.updated_at)
        _draw_marked(painter, text, hit.highlights, below, sizes.small, "muted")


def _draw_marked(
    painter: QPainter,
    text: str,
    highlights: tuple[tuple[int, int], ...],
    box: QRectF,
    size: int,
    token: str,
) -> None:
    """One line, its highlights in the accent and underlined: not by colour alone."""
    plain = text_font(language_of(text), size)
    marked = text_font(language_of(text), size)
    marked.setUnderline(True)
    align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
    x = box.left()
    for run, is_marked in _runs(text, highlights):
        font = marked if is_marked else plain
        metrics, room = QFontMetricsF(font), box.right() - x
        painter.setFont(font)
        painter.setPen(theme().palette.color("accent" if is_marked else token))
        width = metrics.horizontalAdvance(run)
        shown = metrics.elidedText(run, Qt.TextElideMode.ElideRight, room) if width > room else run
        painter.drawText(QRectF(x, box.top(), max(room, 0), box.height()), align, shown)
        x += width
        if x > box.right():
            return


def _runs(text: str, highlights: tuple[tuple[int, int], ...]) -> list[tuple[str, bool]]:
    text = text.replace("\n", " ")
    runs, at = [], 0
    for start, end in highlights:
        runs += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [run for run in [*runs, (text[at:], False)] if run[0]]


def _places(entries: list[_Entry]) -> list[str | int]:
    """What stands in each row of the list, whatever it shows of it."""
    return [entry.title if isinstance(entry, _Group) else entry.id for entry in entries]


class ConversationList(QWidget):
    """Search field, New chat, and the conversations or what the search found."""

    conversation_chosen = Signal(int)
    hit_chosen = Signal(int, int)  # conversation, message
    new_requested = Signal()
    search_changed = Signal(str)
    rename_requested = Signal(int, str)
    pin_requested = Signal(int, bool)
    delete_requested = Signal(int)
    export_requested = Signal(int, str)  # conversation, title
    import_requested = Signal()
    trash_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._rows: Sequence[ListRow] = ()
        self._hits: Sequence[SearchHit] | None = None
        self._current = 0
        self._today = day_of(time.time())  # when the rows were last grouped
        self.search = QLineEdit(self)
        self.search.installEventFilter(self)
        ClearsByEscape(self.search)
        self._key = label(self.search, "key")
        self._clear = IconButton("x", self.search)
        self._clear.clicked.connect(self.search.clear)
        self.new = TextButton("link", self, icon_name="plus")
        self.view = QListView(self)
        self.trash = IconButton("trash", self)
        self.trash.clicked.connect(self.trash_requested)
        self._entries = _Entries(self)
        self._empty = label(self, "muted", wraps=True)
        self._search_timer = QTimer(self)
        self._search_timer.setSingleShot(True)
        self._search_timer.setInterval(SEARCH_DELAY_MS)
        self._search_timer.timeout.connect(lambda: self.search_changed.emit(self.search.text()))
        self.search.textChanged.connect(self._on_search_edited)
        self.new.clicked.connect(self.new_requested)
        self._build()
        theme().changed.connect(self._on_theme_changed)
        self._retranslate()

    def _build(self) -> None:
        self.view.setObjectName("conversations")
        self.view.setModel(self._entries)
        self.view.setItemDelegate(_EntryDelegate(self.view))
        self.view.setMouseTracking(True)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._on_menu)
        self.view.clicked.connect(self._on_chosen)
        self.view.activated.connect(self._on_chosen)
        self.view.installEventFilter(self)
        inside = QHBoxLayout(self.search)
        inside.setContentsMargins(0, 0, 8, 0)
        inside.addStretch()
        inside.addWidget(self._key, 0, Qt.AlignmentFlag.AlignVCenter)
        inside.addWidget(self._clear, 0, Qt.AlignmentFlag.AlignVCenter)
        self._clear.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 14, 12, 8)
        column.setSpacing(6)
        column.addWidget(self.search)
        column.addWidget(self.new)
        column.addWidget(self._empty)
        column.addWidget(self.view, 1)
        column.addWidget(self.trash, 0, Qt.AlignmentFlag.AlignLeft)

    # --- Data in ----------------------------------------------------------------------------------

    def show_conversations(self, rows: Sequence[ListRow]) -> None:
        """Shows all conversations, in the order given."""
        self._rows = rows
        if self._hits is None:
            self._rebuild()

    def show_hits(self, hits: Sequence[SearchHit] | None) -> None:
        """Shows what a search found; None = no search."""
        self._hits = hits
        self._rebuild()

    def set_current(self, conversation_id: int) -> None:
        """Marks the conversation on show; 0 = a new one."""
        if conversation_id != self._current:
            self._current = conversation_id
            self._select(conversation_id)

    def _rebuild(self) -> None:
        is_search = self._hits is not None
        entries: list[_Entry] = []
        entries += self._grouped(self._rows) if self._hits is None else self._hits
        known = self._row_numbers()
        stood, place = self.view.currentIndex(), self.view.verticalScrollBar().value()
        chosen = self._current
        if self.view.hasFocus() and isinstance(row := stood.data(_ROW_ROLE), ListRow):
            chosen = row.id  # the keys go on from there
        if entries and not is_search and _places(entries) == _places(self._entries.entries):
            # As with each answer: laying out thousands of rows anew would hold up the window.
            self._entries.entries = entries
            self.view.viewport().update()
            self._select(chosen)
            self.view.verticalScrollBar().setValue(place)
            return
        self._entries.show_entries(entries)
        # Nothing in an empty list could show that it has the focus.
        policy = Qt.FocusPolicy.StrongFocus if entries else Qt.FocusPolicy.NoFocus
        self.view.setFocusPolicy(policy)
        nothing_found = is_search and not entries
        self._empty.setVisible(nothing_found)
        if nothing_found:
            self._empty.setText(self.tr("Nothing found"))
        rows = self._row_numbers()
        if chosen in known and chosen not in rows and rows:  # deleted: the one in its place
            chosen = min(rows, key=lambda number: abs(rows[number] - stood.row()))
        self._select(chosen)
        if rows and known and (chosen in known or chosen not in rows):
            self.view.doItemsLayout()
            self.view.verticalScrollBar().setValue(place)

    def _row_numbers(self) -> dict[int, int]:
        """The row of each conversation, by its id."""
        entries = enumerate(self._entries.entries)
        return {entry.id: row for row, entry in entries if isinstance(entry, ListRow)}

    def _select(self, conversation_id: int) -> None:
        row = self._row_numbers().get(conversation_id)
        self.view.setCurrentIndex(QModelIndex() if row is None else self._entries.index(row))

    def _grouped(self, rows: Sequence[ListRow]) -> list[_Entry]:
        """The rows, with a group before the first of each."""
        today = self._today = day_of(time.time())
        names = (self.tr("Today"), self.tr("Yesterday"), self.tr("Last 7 days"))
        recent = [(start_of(today, -age), name) for age, name in zip((0, 1, 6), names, strict=True)]
        months: dict[tuple[int, int], str] = {}
        pinned = self.tr("Pinned")
        entries: list[_Entry] = []
        last = ""
        for row in rows:
            title = pinned if row.is_pinned else ""
            title = title or next((name for at, name in recent if row.updated_at >= at), "")
            if not title:
                day = day_of(row.updated_at)
                number = (day.year, day.month)
                if number not in months:
                    months[number] = month(row.updated_at)
                title = months[number]
            if title != last:
                entries.append(_Group(title))
                last = title
            entries.append(row)
        return entries

    # --- Events -----------------------------------------------------------------------------------

    def focus_search(self) -> None:
        """Puts the cursor into the search field."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def _on_search_edited(self, text: str) -> None:
        self._key.setVisible(not text and bool(self._key.text()))
        self._clear.setVisible(bool(text))
        self._search_timer.start()

    def _on_chosen(self, index: QModelIndex) -> None:
        entry = self._entries.entries[index.row()]
        if isinstance(entry, ListRow):
            self.conversation_chosen.emit(entry.id)
        elif isinstance(entry, SearchHit):
            self.hit_chosen.emit(entry.id, entry.message_id)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if watched is self.search and event.key() == Qt.Key.Key_Down:
                self.view.setFocus()
                return True
            if watched is self.view and keymap().matches(event, "delete"):
                self._with_current(lambda row: self.delete_requested.emit(row.id))
                return True
            if watched is self.view and keymap().matches(event, "rename"):
                self._with_current(self._rename)
                return True
        if event.type() == QEvent.Type.FocusIn and watched is self.view:
            self._show_where_the_focus_is()
        if event.type() in (QEvent.Type.WindowActivate, QEvent.Type.Show) and watched is self.view:
            self._follow_the_day()
        return super().eventFilter(watched, event)

    def _follow_the_day(self) -> None:
        """Somebody comes back, perhaps after midnight."""
        if self._hits is None and day_of(time.time()) != self._today:
            self._rebuild()

    def _show_where_the_focus_is(self) -> None:
        """Where nothing is chosen, the first row is: the arrow keys start there."""
        if not self.view.selectionModel().hasSelection():
            for row, entry in enumerate(self._entries.entries):
                if not isinstance(entry, _Group):
                    self.view.setCurrentIndex(self._entries.index(row))
                    return

    def _with_current(self, act: Callable[[ListRow], None]) -> None:
        index = self.view.currentIndex()
        if index.isValid() and isinstance(row := index.data(_ROW_ROLE), ListRow):
            act(row)

    def _on_menu(self, place: QPoint) -> None:
        row = self.view.indexAt(place).data(_ROW_ROLE)
        menu = self.make_menu(row) if isinstance(row, ListRow) else self.make_list_menu()
        if not menu.isEmpty():
            menu.popup(self.view.viewport().mapToGlobal(place))

    def make_list_menu(self) -> QMenu:
        """What can be done where there is no row."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("Import conversations …")).triggered.connect(self.import_requested)
        return menu

    def make_menu(self, row: ListRow) -> QMenu:
        """What can be done with a conversation."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        pin = self.tr("Unpin") if row.is_pinned else self.tr("Pin")
        menu.addAction(pin).triggered.connect(
            lambda: self.pin_requested.emit(row.id, not row.is_pinned)
        )
        menu.addAction(self.tr("Rename …")).triggered.connect(lambda: self._rename(row))
        menu.addAction(self.tr("Export …")).triggered.connect(
            lambda: self.export_requested.emit(row.id, row.title)
        )
        menu.addAction(self.tr("Import conversations …")).triggered.connect(self.import_requested)
        menu.addSeparator()
        delete = menu.addAction(self.tr("Delete"))
        delete.triggered.connect(lambda: self.delete_requested.emit(row.id))
        return menu

    def make_trash_dialog(self) -> TrashDialog:
        """What was deleted; its rows are to be shown by the caller."""
        from bilin_app.pages.trash import TrashDialog

        dialog = TrashDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return dialog

    def _rename(self, row: ListRow) -> None:
        from PySide6.QtWidgets import QInputDialog

        title, accepted = QInputDialog.getText(
            self, self.tr("Rename"), self.tr("Title"), text=row.title
        )
        if accepted and title.strip():
            self.rename_requested.emit(row.id, title.strip())

    def _on_theme_changed(self) -> None:
        # Not asked for before: to tell what kind of widget it is makes PySide6 load all kinds.
        self.view.viewport().update()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
            self._rebuild()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.search.setPlaceholderText(self.tr("Search"))
        self.search.setAccessibleName(self.tr("Search conversations"))
        self._key.setText(keymap().text("search").replace("+", " "))
        self._clear.set_texts("", self.tr("Clear the search"))
        self.new.set_texts(self.tr("New chat"))
        self.new.setToolTip(keymap().text("new"))
        self.view.setAccessibleName(self.tr("Conversations"))
        self.trash.set_texts(self.tr("Trash"), self.tr("What was deleted"))
