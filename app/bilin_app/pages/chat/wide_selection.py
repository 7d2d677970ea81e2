"""A selection that reaches over several messages: dragged, kept while scrolling, copied as one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QTextCursor, QTextDocument
from PySide6.QtWidgets import QScrollBar, QWidget

from bilin_app.controllers.views import MessageView
from bilin_app.pages.chat.aside import deselect
from bilin_app.pages.chat.document import MessageDocument
from bilin_app.pages.chat.message import MessageWidget
from bilin_app.pages.chat.message_body import MessageBody, plain_text
from bilin_app.text.thinking import part_thought

SCROLL_MS = 30
MAX_STEP = 60  # px a scroll


class Messages(Protocol):
    """The transcript, as far as a selection needs it."""

    def views(self) -> list[MessageView]:
        """All messages, in order."""
        ...

    def widgets_in_order(self) -> list[MessageWidget]:
        """The widgets that exist now, in the order of their messages."""
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


# Start and end in each message's document, in order; end None = to its end.
_Parts = dict[int, tuple[int, int | None]]


class WideSelection:
    """What messages' bodies ask while a mouse selects in them.

    Within one message the body selects by itself; over several, each body's cursor selects its
    part. `refresh` gives them their parts again when bodies were made or written anew.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._anchor: _Place | None = None
        self._head: _Place | None = None  # None = a body selects by itself
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
        self._dragged, self._anchor = body, here
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
        # Pressed with Shift in another message, the anchor's own body knows of no mouse.
        is_elsewhere = target.view.id != anchor.message or target.body is not self._dragged
        head = _Place(target.view.id, _position(target.body, at)) if is_elsewhere else None
        self._reach_to(head)
        return is_elsewhere

    def release(self) -> None:
        """The button went up."""
        self._timer.stop()
        self._dragged = None

    def took(self, body: MessageBody) -> None:
        """A body selects by itself now: by key, or a word by a double click."""
        dragged = self._dragged
        self.clear(but=body)
        self._dragged = dragged
        widget = self._widget_of(body)
        if widget is not None:
            self._anchor = _Place(widget.view.id, body.textCursor().anchor())

    # --- What is selected -------------------------------------------------------------------------

    def clear(self, *, but: MessageBody | None = None) -> None:
        """Selects nothing, except in one body, which sees to that itself."""
        self.release()
        self._anchor = self._head = None
        for widget in self._messages.widgets_in_order():
            widget.deselect_asides()
            if widget.body is not but:
                deselect(widget.body)

    def messages_changed(self) -> None:
        """Selects nothing if an end of the selection is gone."""
        ends = {place.message for place in (self._anchor, self._head) if place is not None}
        if not ends.issubset(view.id for view in self._messages.views()):
            self.clear()

    def refresh(self) -> None:
        """Gives every body its part again."""
        if self.is_wide:
            self._show()

    def moved(self, body: MessageBody) -> None:
        """The letters of a body have moved, and its cursor with them: a formula was drawn."""
        widget, anchor, head = self._widget_of(body), self._anchor, self._head
        if widget is None or head is None or anchor is None:
            return
        cursor = body.textCursor()
        if anchor.message == widget.view.id:
            self._anchor = _Place(anchor.message, cursor.anchor())
        if head.message == widget.view.id:
            is_end = self._parts().get(head.message, (0, None))[1] is not None
            position = cursor.selectionEnd() if is_end else cursor.selectionStart()
            self._head = _Place(head.message, position)

    def text(self) -> str:
        """What is selected, a blank line between messages; "" within one message."""
        bodies = {w.view.id: w.body for w in self._messages.widgets_in_order()}
        views = {view.id: view for view in self._messages.views()}
        return _joined(
            _text_in(bodies[message].document(), part)
            if message in bodies
            else _text_of(views[message], part)
            for message, part in self._parts().items()
        )

    def copy(self) -> None:
        """Brings what is selected to the clipboard, within one message, too."""
        if self.is_wide:
            QGuiApplication.clipboard().setText(self.text())
            return
        for widget in self._messages.widgets_in_order():
            widget.copy_selected()

    def snapshot(self) -> Callable[[], str]:
        """Makes the text of what is selected now, however things look by then."""
        parts = self._parts()
        views = [view for view in self._messages.views() if view.id in parts]
        return lambda: _joined(_text_of(view, parts[view.id]) for view in views)

    def _parts(self) -> _Parts:
        anchor, head = self._anchor, self._head
        if anchor is None or head is None:
            return {}
        if anchor.message == head.message:
            start, end = sorted((anchor.position, head.position))
            return {anchor.message: (start, end)}
        order = [view.id for view in self._messages.views()]
        first, last = sorted((anchor, head), key=lambda place: order.index(place.message))
        among = order[order.index(first.message) : order.index(last.message) + 1]
        parts: _Parts = dict.fromkeys(among, (0, None))
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
                self._show_on(widget, parts[widget.view.id])
            elif widget.body is not self._dragged or parts:
                deselect(widget.body)

    def _show_on(self, widget: MessageWidget, part: tuple[int, int | None]) -> None:
        cursor = _selecting(widget.body.document(), part)
        if self._anchor == _Place(widget.view.id, cursor.position()):
            # The body goes on from the anchor when the mouse comes back.
            start, end = cursor.position(), cursor.anchor()
            cursor.setPosition(start)
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        shown = widget.body.textCursor()
        if (shown.anchor(), shown.position()) != (cursor.anchor(), cursor.position()):
            widget.body.setTextCursor(cursor)  # what stays is not painted again

    # --- Where things are -------------------------------------------------------------------------

    def _scroll(self) -> None:
        """Goes on towards where the mouse is held, outside the view."""
        if not QGuiApplication.mouseButtons() & Qt.MouseButton.LeftButton:
            self.release()  # it went up where nobody told us: over a dialog, say
            return
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


def _selecting(document: QTextDocument, part: tuple[int, int | None]) -> QTextCursor:
    """A cursor that selects a part, as Qt does: what crosses a table's edge takes all of it."""
    last = document.characterCount() - 1
    start, end = (last if place is None else min(place, last) for place in part)
    cursor = QTextCursor(document)
    cursor.setPosition(start)
    cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
    return cursor


def _joined(pieces: Iterable[str]) -> str:
    return "\n\n".join(piece for piece in pieces if piece)


def _text_in(document: QTextDocument, part: tuple[int, int | None]) -> str:
    cursor = _selecting(document, part)
    # Before a table lies an empty line.
    return plain_text(document, cursor.selectionStart(), cursor.selectionEnd()).strip("\n")


def _text_of(view: MessageView, part: tuple[int, int | None]) -> str:
    """A part of a message without a widget: its document is made for the moment."""
    owner = QObject()
    document = MessageDocument(owner)
    if view.role == "user":
        document.set_plain_text(view.text)
    else:
        document.set_text(part_thought(view.text, is_complete=True).answer, is_complete=True)
    text = _text_in(document.qt, part)
    owner.deleteLater()  # at once, where there are thousands
    QCoreApplication.sendPostedEvents(owner, QEvent.Type.DeferredDelete.value)
    return text


def _position(body: MessageBody, at: QPoint) -> int:
    """The letter next to a point of the screen; above the text its start, below it its end."""
    point = body.viewport().mapFromGlobal(at)
    if point.y() < 0:
        return 0
    if point.y() > body.viewport().height():
        return body.document().characterCount() - 1
    return body.cursorForPosition(point).position()
