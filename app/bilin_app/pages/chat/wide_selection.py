"""A selection that reaches over several messages: dragged, kept while scrolling, copied as one."""

from dataclasses import dataclass
from typing import Protocol

from PySide6.QtCore import QPoint, QTimer
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QScrollBar, QWidget

from bilin_app.pages.chat.document import MessageDocument
from bilin_app.pages.chat.message import MessageWidget
from bilin_app.pages.chat.message_body import MessageBody, plain_text

SCROLL_MS = 30
MAX_STEP = 60  # px a scroll


class Messages(Protocol):
    """The transcript, as far as a selection needs it."""

    def message_ids(self) -> list[int]:
        """All messages, in order."""
        ...

    def widgets_in_order(self) -> list[MessageWidget]:
        """The widgets that exist now, in the order of their messages."""
        ...

    def document_of(self, message_id: int) -> MessageDocument:
        """What the body of a message without a widget would show; the caller deletes it."""
        ...

    def viewport(self) -> QWidget:
        """What the widgets lie in."""
        ...

    def verticalScrollBar(self) -> QScrollBar:  # noqa: N802 - Qt's name
        """Moves what is in view."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    message: int  # its id
    position: int  # in its document


class WideSelection:
    """What messages' bodies ask while a mouse selects in them.

    Within one message the body selects by itself; over several, each body's cursor selects its
    part, and a body that is made later is given its part by `show_on`.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._anchor: _Place | None = None
        self._head: _Place | None = None  # in another message; None = within one
        self._dragged: MessageBody | None = None
        self._pointer = QPoint()
        self._timer = QTimer(messages.viewport())
        self._timer.setInterval(SCROLL_MS)
        self._timer.timeout.connect(self._scroll)

    @property
    def is_wide(self) -> bool:
        """Whether several messages are selected."""
        return self._head is not None

    @property
    def grabbing(self) -> int | None:
        """The message whose widget holds the mouse: it must not go away."""
        widget = self._widget_of(self._dragged) if self._dragged is not None else None
        return widget.view.id if widget is not None else None

    # --- The mouse in a body ----------------------------------------------------------------------

    def press(self, body: MessageBody, at: QPoint, *, extends: bool) -> bool:
        """The left button went down. True = it extends a selection from another message."""
        widget = self._widget_of(body)
        if widget is None:
            return False
        self._dragged = body
        here = _Place(widget.view.id, _position(body, at))
        if extends and self._anchor is not None:
            is_elsewhere = self._anchor.message != here.message
            self._reach_to(here if is_elsewhere else None)
            return is_elsewhere
        # A body may drag what it has selected itself, but not its part of a wide selection.
        self.clear(but=body if self._head is None else None)
        self._anchor = here
        return False

    def drag(self, at: QPoint) -> bool:
        """The mouse moved with the button down; at: on the screen. True = over another message."""
        self._pointer = at
        y = self._messages.viewport().mapFromGlobal(at).y()
        is_outside = not 0 <= y <= self._messages.viewport().height()
        if is_outside != self._timer.isActive():
            self._timer.start() if is_outside else self._timer.stop()
        anchor, target = self._anchor, self._widget_at(y)
        if anchor is None or target is None:
            return False
        is_elsewhere = target.view.id != anchor.message
        head = _Place(target.view.id, _position(target.body, at)) if is_elsewhere else None
        self._reach_to(head)
        return is_elsewhere

    def release(self) -> None:
        """The button went up."""
        self._timer.stop()
        self._dragged = None

    # --- What is selected -------------------------------------------------------------------------

    def clear(self, *, but: MessageBody | None = None) -> None:
        """Selects nothing, except in one body, which sees to that itself."""
        self._anchor = self._head = None
        for widget in self._messages.widgets_in_order():
            if widget.body is not but:
                _deselect(widget.body)

    def messages_changed(self) -> None:
        """Selects nothing if an end of the selection is gone."""
        ends = {place.message for place in (self._anchor, self._head) if place is not None}
        if not ends.issubset(self._messages.message_ids()):
            self.clear()

    def show_on(self, widget: MessageWidget) -> None:
        """Selects a body's part."""
        part = self._parts().get(widget.view.id)
        if part is None:
            return
        cursor = QTextCursor(widget.body.document())
        last = cursor.document().characterCount() - 1
        start, end = (last if place is None else min(place, last) for place in part)
        if self._anchor is not None and self._anchor == _Place(widget.view.id, end):
            start, end = end, start  # the body goes on from the anchor when the mouse comes back
        cursor.setPosition(start)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        shown = widget.body.textCursor()
        if (shown.anchor(), shown.position()) != (start, end):  # what stays is not painted again
            widget.body.setTextCursor(cursor)

    def text(self) -> str:
        """What is selected, a blank line between messages; "" within one message."""
        bodies = {w.view.id: w.body for w in self._messages.widgets_in_order()}
        pieces: list[str] = []
        for message, (start, end) in self._parts().items():
            body = bodies.get(message)
            content = body.content if body is not None else self._messages.document_of(message)
            last = content.qt.characterCount() - 1
            pieces.append(plain_text(content.qt, start, last if end is None else end))
            if body is None:
                content.deleteLater()
        return "\n\n".join(piece for piece in pieces if piece)

    def _parts(self) -> dict[int, tuple[int, int | None]]:
        """Start and end in each message's document, in order; end None = to its end."""
        anchor, head = self._anchor, self._head
        if anchor is None or head is None:
            return {}
        order = self._messages.message_ids()
        first, last = sorted((anchor, head), key=lambda place: order.index(place.message))
        among = order[order.index(first.message) : order.index(last.message) + 1]
        parts: dict[int, tuple[int, int | None]] = dict.fromkeys(among, (0, None))
        parts[first.message] = (first.position, None)
        parts[last.message] = (0, last.position)
        return parts

    def _reach_to(self, head: _Place | None) -> None:
        if head != self._head:
            self._head = head
            self._show()

    def _show(self) -> None:
        parts = self._parts()
        for widget in self._messages.widgets_in_order():
            if widget.view.id in parts:
                self.show_on(widget)
            elif widget.body is not self._dragged:
                _deselect(widget.body)

    # --- Where things are -------------------------------------------------------------------------

    def _scroll(self) -> None:
        """Goes on towards where the mouse is held, outside the view."""
        viewport = self._messages.viewport()
        y = viewport.mapFromGlobal(self._pointer).y()
        beyond = y if y < 0 else max(0, y - viewport.height())
        bar = self._messages.verticalScrollBar()
        bar.setValue(bar.value() + max(-MAX_STEP, min(MAX_STEP, beyond)))
        self.drag(self._pointer)

    def _widget_of(self, body: MessageBody) -> MessageWidget | None:
        return next((w for w in self._messages.widgets_in_order() if w.body is body), None)

    def _widget_at(self, y: int) -> MessageWidget | None:
        """The message in view at a height, or the next one: the last that begins above it."""
        found = None
        for widget in self._messages.widgets_in_order():
            # Those far from the view wait above it.
            if widget.geometry().bottom() >= 0 and (found is None or widget.y() <= y):
                found = widget
        return found


def _deselect(body: MessageBody) -> None:
    cursor = body.textCursor()
    if cursor.hasSelection():
        cursor.clearSelection()
        body.setTextCursor(cursor)


def _position(body: MessageBody, at: QPoint) -> int:
    """The letter next to a point of the screen; above the text its start, below it its end."""
    point = body.viewport().mapFromGlobal(at)
    if point.y() < 0:
        return 0
    if point.y() > body.viewport().height():
        return body.document().characterCount() - 1
    return body.cursorForPosition(point).position()
