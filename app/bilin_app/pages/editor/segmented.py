"""A row of words of which one is chosen."""

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QHBoxLayout, QSizePolicy, QWidget
from typing_extensions import override

from bilin_app.theme.fonts import text_font
from bilin_app.theme.theme import theme

HEIGHT = 31


class _Segment(QAbstractButton):
    def __init__(self, parent: "Segmented", position: int) -> None:
        super().__init__(parent)
        self._row = parent
        self._position = position
        self.setCheckable(True)
        self.setFixedHeight(HEIGHT)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @override
    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + 20, HEIGHT)

    @override
    def paintEvent(self, e: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = theme().palette
        whole = QPainterPath()
        x = self.x() - self._row.rect().left()
        outline = QRectF(0.5 - x, 0.5, self._row.width() - 1, HEIGHT - 1)
        whole.addRoundedRect(outline, 7.5, 7.5)
        painter.setClipRect(self.rect())
        ground = "accent_soft" if self.isChecked() else "raised" if self.underMouse() else "surface"
        painter.save()
        painter.setClipPath(whole, Qt.ClipOperation.IntersectClip)
        painter.fillRect(self.rect(), colors.color(ground if self.isEnabled() else "paper"))
        painter.restore()
        painter.setPen(QPen(colors.color("line"), 1))
        painter.drawPath(whole)
        if self._position:
            painter.drawLine(0, 1, 0, HEIGHT - 2)
        if self.hasFocus():
            painter.setPen(QPen(colors.color("accent"), 2))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(2, 2, -2, -2), 6, 6)
        token = "muted" if not self.isEnabled() or not self.isChecked() else "accent"
        painter.setPen(colors.color(token))
        painter.setFont(text_font(theme().language, theme().sizes.ui - 1))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.text())
        painter.end()

    @override
    def keyPressEvent(self, e: QKeyEvent) -> None:
        if e.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            self._row.step(1 if e.key() == Qt.Key.Key_Right else -1)
            return
        super().keyPressEvent(e)


class Segmented(QWidget):
    """chosen(int): a person chose the segment with this index."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget, num_segments: int) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self._buttons = [_Segment(self, i) for i in range(num_segments)]
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for index, button in enumerate(self._buttons):
            self._group.addButton(button, index)
            row.addWidget(button, 1)
        self._group.idClicked.connect(self.chosen)
        theme().changed.connect(self.update)

    def set_texts(self, name: str, texts: Sequence[str]) -> None:
        """The row's name, for screen readers, and its words."""
        self.setAccessibleName(name)
        for button, text in zip(self._buttons, texts, strict=True):
            button.setText(text)
            button.setAccessibleName(f"{name}: {text}")

    def set_current(self, index: int) -> None:
        """Shows one as chosen, without `chosen`."""
        self._buttons[index].setChecked(True)

    @property
    def current(self) -> int:
        """The chosen segment's index."""
        return max(0, self._group.checkedId())

    def set_offered(self, index: int, offered: bool, why_not: str = "") -> None:
        """Whether a segment can be chosen, and the sentence why not."""
        self._buttons[index].setEnabled(offered)
        self._buttons[index].setToolTip("" if offered else why_not)

    def step(self, delta: int) -> None:
        """Chooses the neighbour that can be chosen."""
        at = self._group.checkedId() + delta
        while 0 <= at < len(self._buttons) and not self._buttons[at].isEnabled():
            at += delta
        if 0 <= at < len(self._buttons):
            self._buttons[at].click()
            self._buttons[at].setFocus(Qt.FocusReason.TabFocusReason)
