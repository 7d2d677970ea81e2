"""Knows whether an input method is composing, so that Enter then never sends."""

from PySide6.QtCore import QEvent, QObject
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtWidgets import QWidget
from typing_extensions import override


class PreeditGuard(QObject):
    """Watches a text field. `is_composing`: a preedit exists, keys belong to the input method."""

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
        return super().eventFilter(watched, event)
