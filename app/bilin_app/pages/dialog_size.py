"""Dialogs on small screens: never higher than the screen, their buttons always on it."""

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QDialog, QFrame, QScrollArea, QSizePolicy, QWidget
from typing_extensions import override

FRAME_HEIGHT = 60  # px that a title bar and some air take
LEAST_HEIGHT = 64  # px: what is scrolled is still seen


def resize_within_screen(dialog: QDialog, width: int, height: int) -> None:
    """Gives a dialog its first size, less where the screen has less height."""
    screen = (dialog.parentWidget() or dialog).screen()
    dialog.resize(width, min(height, screen.availableGeometry().height() - FRAME_HEIGHT))


class DialogScroll(QScrollArea):
    """As high as what it holds; where there is no room for that, it is scrolled."""

    def __init__(self, parent: QWidget, content: QWidget, width: int = 0) -> None:
        """width: px that it will have at least; texts that wrap are as high as that makes them."""
        super().__init__(parent)
        self._content = content
        self.setObjectName("dialogScroll")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setMinimumWidth(width)
        self.setWidget(content)

    @override
    def sizeHint(self) -> QSize:
        hint = self._content.sizeHint()
        if self._content.hasHeightForWidth():
            width = max(self.width(), self.minimumWidth())
            hint.setHeight(self._content.heightForWidth(width))
        return hint

    @override
    def minimumSizeHint(self) -> QSize:
        bar = self.verticalScrollBar().sizeHint()
        width = self._content.minimumSizeHint().width() + bar.width()
        return QSize(width, min(LEAST_HEIGHT, self.sizeHint().height()))

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._content and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()
