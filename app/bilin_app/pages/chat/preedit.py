"""Knows whether an input method is composing, so that Enter then never sends."""

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget
from typing_extensions import override

_CURSOR_KEYS = (
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
)


class PreeditGuard(QObject):
    """Watches a text field. `is_composing`: a preedit exists, keys belong to the input method.

    WORKAROUND: keys that move the cursor do nothing then, where an input method lets them through:
    Qt (6.8 to 6.11) may move it beyond the end of the text, and crash there.
    """

    def __init__(self, field: QWidget) -> None:
        super().__init__(field)
        self.is_composing = False
        field.installEventFilter(self)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QInputMethodEvent):
            self.is_composing = bool(event.preeditString())
        elif event.type() == QEvent.Type.FocusOut:
            self.is_composing = False
        elif self.is_composing and isinstance(event, QKeyEvent):
            return event.type() == QEvent.Type.KeyPress and event.key() in _CURSOR_KEYS
        return super().eventFilter(watched, event)


class PlaceholderGuard(QObject):
    """Takes a field's placeholder away while an input method composes.

    WORKAROUND: Qt (6.8 to 6.11) draws it behind what is being composed.
    """

    def __init__(self, field: QPlainTextEdit) -> None:
        super().__init__(field)
        self._field = field
        self._text = ""  # taken away
        field.installEventFilter(self)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        is_composing = isinstance(event, QInputMethodEvent) and bool(event.preeditString())
        is_over = isinstance(event, QInputMethodEvent) or event.type() == QEvent.Type.FocusOut
        if is_composing and self._field.placeholderText():
            self._text = self._field.placeholderText()
            self._field.setPlaceholderText("")
        elif is_over and not is_composing and self._text:
            self._field.setPlaceholderText(self._text)
            self._text = ""
        return super().eventFilter(watched, event)
