"""A small window that hangs on a control and closes when one clicks elsewhere."""

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

GAP = 6


class Popover(QFrame):
    """A bordered panel. Fill `column`, then `open_below` or `open_beside` a control."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        panel = QFrame(self)
        panel.setObjectName("popover")
        outer.addWidget(panel)
        self.column = QVBoxLayout(panel)
        self.column.setContentsMargins(16, 14, 16, 14)
        self.column.setSpacing(8)

    def open_below(self, control: QWidget) -> None:
        """Shows it under a control, right edges in line."""
        self.adjustSize()
        corner = control.mapToGlobal(QPoint(control.width() - self.width(), control.height() + GAP))
        self._open_at(corner)

    def open_beside(self, control: QWidget) -> None:
        """Shows it at the right of a control, bottom edges in line."""
        self.adjustSize()
        corner = control.mapToGlobal(
            QPoint(control.width() + GAP, control.height() - self.height())
        )
        self._open_at(corner)

    def _open_at(self, corner: QPoint) -> None:
        screen = self.screen().availableGeometry()
        x = max(screen.left(), min(corner.x(), screen.right() - self.width()))
        y = max(screen.top(), min(corner.y(), screen.bottom() - self.height()))
        self.move(x, y)
        self.show()
        self.setFocus()
