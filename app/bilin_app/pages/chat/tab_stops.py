"""What of a message the keyboard comes to, and whether it is there."""

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QWidget


def has_focus(message: QWidget) -> bool:
    """Whether something in a message has the focus."""
    focused = QApplication.focusWidget()
    return focused is not None and message.isAncestorOf(focused)


def tab_stops(message: QWidget) -> list[QWidget]:
    """What Tab comes to in a message, from top to bottom and from left to right."""
    places = []
    for control in message.findChildren(QWidget):
        if control.focusPolicy() & Qt.FocusPolicy.TabFocus and control.isVisibleTo(message):
            corner = control.mapTo(message, QPoint(0, 0))
            places.append((corner.y(), corner.x(), control))
    return [control for *_, control in sorted(places, key=lambda place: place[:2])]
