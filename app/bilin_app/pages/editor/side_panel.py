"""What the panels beside the text share: a column that scrolls, and rows below it that stay."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

WIDTH = 276


class SidePanel(QWidget):
    """The panels add to `column`; `add_row` below it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("blankPanel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        inner = QWidget(self)
        inner.setObjectName("panelInner")
        self.column = QVBoxLayout(inner)
        self.column.setContentsMargins(16, 16, 16, 8)
        self.column.setSpacing(10)
        scroll = QScrollArea(self)
        scroll.setObjectName("panelScroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inner)
        self._outer = QVBoxLayout(self)
        self._outer.setContentsMargins(1, 0, 0, 16)
        self._outer.setSpacing(12)
        self._outer.addWidget(scroll, 1)

    def add_row(self, *widgets: tuple[QWidget, int]) -> None:
        """Puts widgets with their stretches beside each other below all that is there."""
        row = QHBoxLayout()
        row.setContentsMargins(16, 0, 16, 0)
        row.setSpacing(8)
        for widget, stretch in widgets:
            row.addWidget(widget, stretch)
        self._outer.addLayout(row)
