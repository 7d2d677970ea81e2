"""The messages of a conversation, in one scrolled column.

Only messages near the view have widgets: opening a conversation costs the same whatever its
length. A message that has not been laid out yet counts with an estimated height; the one at the
top of the view stays where it is when an estimate above it is mended.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from PySide6.QtCore import QEvent, QPoint, QRect, Qt, QTimer, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QFrame, QPushButton, QWidget
from typing_extensions import override

from bilin_app.controllers.views import AnswerProgress, MessageView
from bilin_app.pages.chat.column import COLUMN_WIDTH, MARGIN
from bilin_app.pages.chat.message import GAP, NAME_HEIGHT, ROW_HEIGHT, MessageWidget
from bilin_app.pages.chat.tab_stops import has_focus, tab_stops
from bilin_app.pages.chat.wide_selection import WideSelection
from bilin_app.theme.icons import icon
from bilin_app.theme.theme import theme

TOP_MARGIN = 22
FLUSH_MS = 33  # streamed text is shown 30 times a second
OVERSCAN = 400  # px above and below the view that keep their widgets
MAX_IDLE_WIDGETS = 12  # far from the view, kept for coming back


@dataclass(slots=True)
class _Item:
    view: MessageView
    height: int
    is_measured: bool = False


class Transcript(QAbstractScrollArea):
    """Shows messages. Follows a growing answer until the person scrolls up."""

    link_clicked = Signal(str)
    edit_submitted = Signal(int, str)
    editing_ended = Signal()
    regenerate_requested = Signal(int)
    continue_requested = Signal(int)
    version_requested = Signal(int, int)
    unqueue_requested = Signal(int)
    inspect_requested = Signal(int)
    write_answer_requested = Signal(int, str, bool)
    delete_requested = Signal(int)
    attachment_opened = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("transcript")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._items: list[_Item] = []
        self._index_of: dict[int, int] = {}
        self._widgets: dict[int, MessageWidget] = {}  # by message id
        self._unfolded: set[int] = set()  # messages whose thoughts are open
        self._edits: dict[int, str] = {}  # open edits of messages that have no widget now
        self._query = ""  # what is being looked for
        self._name = ""
        self._can_act = True
        self._follows = True
        self._anchor = 0  # the item at the top of the view
        self._anchor_y = 0  # where its top is in the view, px
        self._is_arranging = False
        self._pending: dict[int, list[str]] = {}
        self._bar_value = 0
        self.num_arrangements = 0
        self.selection = WideSelection(self)
        self._flush_timer = QTimer(self)
        self._flush_timer.setInterval(FLUSH_MS)
        self._flush_timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._flush_timer.timeout.connect(self.flush)
        self._arrange_timer = QTimer(self)
        self._arrange_timer.setSingleShot(True)
        self._arrange_timer.setInterval(0)
        self._arrange_timer.timeout.connect(self._arrange)
        self._latest = QPushButton(self)
        self._latest.setObjectName("latest")
        self._latest.setCursor(Qt.CursorShape.PointingHandCursor)
        self._latest.clicked.connect(self.scroll_to_end)
        self._latest.hide()
        self.verticalScrollBar().setSingleStep(60)
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        theme().changed.connect(self._on_theme_changed)
        self._retranslate()

    # --- Data in ----------------------------------------------------------------------------------

    @property
    def is_following(self) -> bool:
        """Whether the end of the conversation is kept in view."""
        return self._follows

    @property
    def num_widgets(self) -> int:
        """How many messages have a widget now."""
        return len(self._widgets)

    def widgets_in_order(self) -> list[MessageWidget]:
        """The widgets that exist now, in the order of their messages."""
        return [self._widgets[i] for i in sorted(self._widgets, key=self._index_of.__getitem__)]

    def views(self) -> list[MessageView]:
        """All messages, in order."""
        return [item.view for item in self._items]

    def set_messages(self, views: Iterable[MessageView], *, is_same: bool = False) -> None:
        """Shows a conversation, at its end.

        is_same: the conversation shown before in another state; what did not change stays, and so
        does the place.
        """
        if is_same:
            for message_id in list(self._pending):
                self._flush_one(message_id)
        self._pending.clear()
        previous = {item.view.id: item for item in self._items} if is_same else {}
        items = []
        for given in views:
            known = previous.get(given.id)
            view = given if known is None else _with_all_text(given, known.view)
            if known is not None and known.view == view:
                items.append(known)
            else:
                items.append(_Item(view, known.height if known else self._estimate(view)))
        self._items = items
        self._index_of = {item.view.id: index for index, item in enumerate(items)}
        for message_id in [i for i in self._widgets if i not in self._index_of or not is_same]:
            self._drop(message_id)
        for message_id, widget in self._widgets.items():
            view = items[self._index_of[message_id]].view
            if widget.view != view:
                widget.set_view(view)
                items[self._index_of[message_id]].is_measured = False
        if not is_same:
            self._follows = True
            self.selection.clear()
        self.selection.messages_changed()
        self._anchor = min(self._anchor, max(0, len(items) - 1))
        self._arrange()

    def update_message(self, view: MessageView) -> None:
        """Shows another state of one message, or a new message at the end."""
        self._flush_one(view.id)
        index = self._index_of.get(view.id)
        if index is None:
            self._index_of[view.id] = len(self._items)
            self._items.append(_Item(view, self._estimate(view)))
        else:
            self._items[index].view = view
            self._items[index].is_measured = False
            if view.id in self._widgets:
                self._widgets[view.id].set_view(view)
        self._arrange_timer.start()

    def append_text(self, message_id: int, text: str) -> None:
        """Adds text to an answer; it shows with the next flush."""
        self._pending.setdefault(message_id, []).append(text)
        if not self._flush_timer.isActive():
            self._flush_timer.start()

    def show_progress(self, message_id: int, progress: AnswerProgress) -> None:
        """How far an answer is; one out of view shows it with the next call."""
        if message_id in self._widgets:
            self._widgets[message_id].show_progress(progress)

    def flush(self) -> None:
        """Shows the text that waits."""
        if not self._pending:
            self._flush_timer.stop()
            return
        for message_id in list(self._pending):
            self._flush_one(message_id)
        self._arrange()

    def set_name(self, name: str) -> None:
        """The loaded model's name, for answers that do not say theirs."""
        self._name = name
        for widget in self._widgets.values():
            widget.set_name(name)

    def set_can_act(self, can_act: bool) -> None:
        """Whether an answer may be asked for now."""
        self._can_act = can_act
        for widget in self._widgets.values():
            widget.set_can_act(can_act)

    def scroll_to_end(self) -> None:
        """Goes to the newest message and follows it."""
        self._follows = True
        self._arrange()

    def scroll_to_message(self, message_id: int) -> None:
        """Brings a message to the top of the view, as far as what follows it allows."""
        if message_id not in self._index_of:
            return
        self._follows = False
        self._anchor, self._anchor_y = self._index_of[message_id], TOP_MARGIN
        self._arrange()

    def start_editing_last(self) -> bool:
        """Edits the person's newest message; False if there is none."""
        for item in reversed(self._items):
            if item.view.role == "user" and item.view.state != "queued":
                self.scroll_to_message(item.view.id)
                self._widgets[item.view.id].start_editing()
                return True
        return False

    def look_for(self, query: str) -> list[int]:
        """Marks a text in all messages, whatever its case; the ids of those that hold it."""
        self._query = query
        for widget in self._widgets.values():
            widget.body.mark(query)
        folded = query.casefold()
        return [i.view.id for i in self._items if folded and folded in i.view.text.casefold()]

    def finish_highlighting(self) -> None:
        """Colours all code in view at once, for a picture."""
        for widget in self._widgets.values():
            widget.body.content.finish_highlighting()

    def _flush_one(self, message_id: int) -> None:
        pieces = self._pending.pop(message_id, None)
        index = self._index_of.get(message_id)
        if not pieces or index is None:
            return
        text = "".join(pieces)
        item = self._items[index]
        item.is_measured = False
        widget = self._widgets.get(message_id)
        if widget is not None:
            widget.append_text(text)
            item.view = widget.view
        else:  # out of view: its widget will be made from the whole text
            item.view = replace(item.view, text=item.view.text + text)

    # --- Arranging --------------------------------------------------------------------------------

    def _column(self) -> tuple[int, int]:
        """The column's left and width, px."""
        # Of the whole width: the column does not move when the scroll bar comes and goes.
        width = max(200, min(COLUMN_WIDTH, self.width() - 2 * MARGIN))
        return (self.width() - width) // 2, width

    def _estimate(self, view: MessageView) -> int:
        """A height from the number of letters alone."""
        _, width = self._column()
        size = theme().sizes
        per_line = max(10, width / (size.text * 0.8))
        num_lines = view.text.count("\n") + len(view.text) / per_line + 1
        return round(num_lines * size.line_height) + NAME_HEIGHT + ROW_HEIGHT + GAP

    def _arrange(self) -> None:
        """Makes, measures and places the widgets in view; drops those far from it."""
        if self._is_arranging:
            return
        self._is_arranging = True
        self._arrange_timer.stop()
        try:
            self.num_arrangements += 1
            self._place_widgets()
            self.selection.refresh()
        finally:
            self._is_arranging = False

    def _place_widgets(self) -> None:
        view_height = self.viewport().height()
        if not self._items:
            self.verticalScrollBar().setRange(0, 0)
            self._latest.hide()
            return
        first, y = self._find_first(view_height)
        tops: dict[int, int] = {}
        index = first
        while index < len(self._items) and y < view_height + OVERSCAN:
            tops[index] = y
            y += self._measure(index)
            index += 1
        index, y = first, tops[first]
        while index > 0 and y > -OVERSCAN:
            index -= 1
            y -= self._measure(index)
            tops[index] = y
        left, width = self._column()
        for index, top in tops.items():
            widget = self._widgets[self._items[index].view.id]
            widget.setGeometry(QRect(left, top, width, self._items[index].height))
            widget.show()
        self._anchor, self._anchor_y = self._top_of_view(tops)
        self._drop_far_widgets(tops)
        self._set_bar(view_height)

    def _find_first(self, view_height: int) -> tuple[int, int]:
        """An item to begin with and its top, after keeping the place inside the conversation."""
        if self._follows:
            index, y = len(self._items), view_height
            while index > 0 and y > 0:
                index -= 1
                y -= self._measure(index)
            if index == 0 and y > TOP_MARGIN:
                y = TOP_MARGIN
            return index, y
        index, y = min(self._anchor, len(self._items) - 1), self._anchor_y
        while y > TOP_MARGIN and index > 0:  # nothing but messages above
            index -= 1
            y -= self._measure(index)
        if index == 0 and y > TOP_MARGIN:
            y = TOP_MARGIN
        bottom, following = y, index
        while following < len(self._items) and bottom < view_height:
            bottom += self._measure(following)
            following += 1
        if following == len(self._items) and bottom <= view_height:  # at the end again
            self._follows = True
            return self._find_first(view_height)
        return index, y

    def _measure(self, index: int) -> int:
        """The item's height; makes its widget if there is none."""
        item = self._items[index]
        widget = self._widgets.get(item.view.id)
        if widget is None:
            widget = self._make(item.view)
            item.is_measured = False
        if not item.is_measured:
            item.height = widget.height_for(self._column()[1])
            item.is_measured = True
        return item.height

    def _make(self, view: MessageView) -> MessageWidget:
        widget = MessageWidget(view, self._name, self.viewport(), self._unfolded)
        widget.set_can_act(self._can_act)
        widget.height_changed.connect(lambda: self._on_height_changed(view.id))
        widget.link_clicked.connect(self.link_clicked)
        widget.edit_submitted.connect(self.edit_submitted)
        widget.editing_ended.connect(self.editing_ended)
        widget.regenerate_requested.connect(self.regenerate_requested)
        widget.continue_requested.connect(self.continue_requested)
        widget.version_requested.connect(self.version_requested)
        widget.unqueue_requested.connect(self.unqueue_requested)
        widget.inspect_requested.connect(self.inspect_requested)
        widget.write_answer_requested.connect(self.write_answer_requested)
        widget.delete_requested.connect(self.delete_requested)
        widget.attachment_opened.connect(self.attachment_opened)
        if self._query:
            widget.body.mark(self._query)
        widget.body.selecting = self.selection
        widget.aside_pressed.connect(self.selection.clear)
        if (text := self._edits.pop(view.id, None)) is not None:
            widget.open_editor(text)
        self._widgets[view.id] = widget
        return widget

    def _drop(self, message_id: int) -> None:
        widget = self._widgets.pop(message_id)
        if (text := widget.edited_text) is not None:
            self._edits[message_id] = text
        if has_focus(widget):
            self.setFocus(Qt.FocusReason.OtherFocusReason)  # keys go on meaning the messages
        widget.hide()
        widget.deleteLater()

    def _drop_far_widgets(self, tops: dict[int, int]) -> None:
        near = {self._items[index].view.id for index in tops}
        far = [message_id for message_id in self._widgets if message_id not in near]
        kept = self.selection.grabbing
        for message_id in far:
            widget = self._widgets[message_id]
            widget.move(0, -10 - widget.height())
            # Tab passes what is hidden; to hide what has the focus or the mouse takes them from it.
            if message_id != kept and not has_focus(widget):
                widget.hide()
        # An answer that is being written, a message being edited or one that holds the mouse keeps
        # its widget.
        idle = [i for i in far if not self._widgets[i].is_busy and i != kept]
        for message_id in idle[: max(0, len(idle) - MAX_IDLE_WIDGETS)]:
            self._drop(message_id)

    def _top_of_view(self, tops: dict[int, int]) -> tuple[int, int]:
        for index in sorted(tops):
            if tops[index] + self._items[index].height > 0:
                return index, tops[index]
        last = max(tops)
        return last, tops[last]

    def _set_bar(self, view_height: int) -> None:
        above = sum(item.height for item in self._items[: self._anchor])
        total = TOP_MARGIN + sum(item.height for item in self._items)
        bar = self.verticalScrollBar()
        bar.setPageStep(view_height)
        bar.setRange(0, max(0, total - view_height))
        value = bar.maximum() if self._follows else TOP_MARGIN + above - self._anchor_y
        bar.setValue(value)
        self._bar_value = bar.value()
        self._latest.setVisible(not self._follows)
        if not self._follows:
            size = self._latest.sizeHint()
            x = (self.width() - size.width()) // 2
            self._latest.setGeometry(x, self.height() - size.height() - 8, *size.toTuple())
            self._latest.raise_()

    # --- The keyboard's way -----------------------------------------------------------------------

    def order_tabs(self) -> None:
        """Makes Tab go through the messages as they stand, in whatever order they were made."""
        stops = (stop for message in self.widgets_in_order() for stop in tab_stops(message))
        for before, after in pairwise((self, *stops, self._latest)):
            QWidget.setTabOrder(before, after)

    def show_focused(self) -> None:
        """Scrolls as far as what has the focus in a message is out of view."""
        focused = QApplication.focusWidget()
        if focused is None or not self.viewport().isAncestorOf(focused):
            return
        view_height = self.viewport().height()
        top = focused.mapTo(self.viewport(), QPoint(0, 0)).y()
        bottom = top + focused.height()
        bar = self.verticalScrollBar()
        if top > 0 and bottom > view_height:
            bar.setValue(bar.value() + min(top, bottom - view_height))
        elif top < 0 and bottom < view_height:
            bar.setValue(bar.value() + max(top, bottom - view_height))

    # --- Events -----------------------------------------------------------------------------------

    def _on_scrolled(self, value: int) -> None:
        if self._is_arranging or not self._items:
            return
        bar = self.verticalScrollBar()
        delta = value - self._bar_value
        self._follows = value >= bar.maximum() and delta > 0
        if abs(delta) <= 2 * self.viewport().height():
            self._anchor_y -= delta  # exact, whatever the estimates are
        else:
            self._anchor, self._anchor_y = self._item_at(value)
        self._arrange()

    def _item_at(self, value: int) -> tuple[int, int]:
        y = TOP_MARGIN
        for index, item in enumerate(self._items):
            if y + item.height > value:
                return index, y - value
            y += item.height
        return len(self._items) - 1, 0

    def _on_height_changed(self, message_id: int) -> None:
        index = self._index_of.get(message_id)
        if index is not None:
            self._items[index].is_measured = False
            self._arrange_timer.start()

    def _on_theme_changed(self) -> None:
        for item in self._items:
            item.is_measured = False
        self._retranslate()
        self._arrange_timer.start()

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        if event.oldSize().width() != event.size().width():
            for item in self._items:
                item.is_measured = False
        super().resizeEvent(event)
        self._arrange()

    @override
    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Nothing: `_arrange` places every widget."""

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        self.verticalScrollBar().event(event)

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        is_shifted = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if event.button() == Qt.MouseButton.LeftButton and not is_shifted:
            self.selection.clear()
        super().mousePressEvent(event)

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        self._show_ring(event.reason() != Qt.FocusReason.MouseFocusReason)
        super().focusInEvent(event)

    @override
    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._show_ring(False)
        super().focusOutEvent(event)

    def _show_ring(self, is_shown: bool) -> None:
        """Around all messages, for whoever came by key; who clicked knows where."""
        if is_shown != bool(self.property("ring")):
            self.setProperty("ring", is_shown)
            self.style().polish(self)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.selection.copy()
        elif event.key() == Qt.Key.Key_End:
            self.scroll_to_end()
        elif event.key() == Qt.Key.Key_Home and self._items:
            self.scroll_to_message(self._items[0].view.id)
        else:
            super().keyPressEvent(event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.setAccessibleName(self.tr("Messages"))
        self._latest.setText(self.tr("Latest"))
        self._latest.setIcon(icon("arrow-down", theme().palette.color("ink")))
        self._latest.setAccessibleName(self.tr("Go to the latest message"))


def _with_all_text(view: MessageView, shown: MessageView) -> MessageView:
    """The view, with the text on show where an answer is being written: that is never behind."""
    if view.state == "running" and shown.text.startswith(view.text):
        return replace(view, text=shown.text)
    return view
