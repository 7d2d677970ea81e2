"""A small window that hangs on a control and closes when one clicks elsewhere."""

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

GAP = 6
MARGIN = 8  # to the window's edges


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
        self.fit()
        self._open_at(control, QPoint(control.width() - self.width(), control.height() + GAP))

    def open_beside(self, control: QWidget) -> None:
        """Shows it at the right of a control, bottom edges in line."""
        self.fit()
        self._open_at(control, QPoint(control.width() + GAP, control.height() - self.height()))

    def fit(self) -> None:
        """As high as its wrapped texts are at its width."""
        for child in self.findChildren(QWidget):
            child.ensurePolished()
        self.column.activate()
        layout = self.layout()
        assert layout is not None
        layout.activate()
        self.resize(self.width(), max(layout.totalHeightForWidth(self.width()), 0))

    def _open_at(self, control: QWidget, place: QPoint) -> None:
        """Inside the window, as near to the control as it can be."""
        window = control.window()
        corner = window.mapFromGlobal(control.mapToGlobal(place))
        x = max(MARGIN, min(corner.x(), window.width() - self.width() - MARGIN))
        y = max(MARGIN, min(corner.y(), window.height() - self.height() - MARGIN))
        self.move(window.mapToGlobal(QPoint(x, y)))
        self.show()
        self.setFocus()
