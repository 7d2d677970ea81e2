"""Small controls that several pages share."""

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QSizePolicy, QToolButton, QWidget
from typing_extensions import override

from bilin_app.theme.icons import icon, paint_icon
from bilin_app.theme.theme import theme

# Inside a spin box, px: the style sheet's padding does not reach its line edit.
SPIN_MARGINS = (8, 0, 4, 0)


def is_enter(event: QKeyEvent) -> bool:
    """Whether a key is Enter on its own: a button that has the focus is pressed by it."""
    held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    return event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not held


class IconButton(QToolButton):
    """A flat button with an icon, and a text beside it unless that is empty."""

    def __init__(self, icon_name: str, parent: QWidget, *, token: str = "muted") -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self._token = token
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._is_faint = False
        self._color()
        theme().changed.connect(self._color)

    def set_faint(self, faint: bool) -> None:
        """Hides the icon without giving up its place or its turn in the focus order."""
        if faint != self._is_faint:
            self._is_faint = faint
            self._color()

    def set_texts(self, text: str, description: str) -> None:
        """The text on the button ("" for none) and what it does, for tool tip and screen reader."""
        self.setText(text)
        self.setToolTip("" if text == description else description)
        self.setAccessibleName(description)

    def set_icon(self, icon_name: str) -> None:
        """Shows another icon."""
        self._icon_name = icon_name
        self._color()

    def _color(self) -> None:
        color = theme().palette.color(self._token)
        if self._is_faint:
            color.setAlpha(0)
        self.setIcon(icon(self._icon_name, color))

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if is_enter(event):
            self.click()
        else:
            super().keyPressEvent(event)


class TextButton(QPushButton):
    """A push button in one of the style sheet's roles, with an optional icon."""

    def __init__(
        self, role: str, parent: QWidget, *, icon_name: str = "", token: str = "accent"
    ) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self._token = token
        self.setProperty("role", role)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAutoDefault(False)
        if icon_name:
            self._color()
            theme().changed.connect(self._color)

    def set_texts(self, text: str, description: str = "") -> None:
        """The text on the button and, where it needs one, a longer description."""
        self.setText(text)
        self.setAccessibleName(description or text)
        self.setToolTip(description)

    def _color(self) -> None:
        colors = theme().palette
        disabled = colors.color("muted")
        self.setIcon(icon(self._icon_name, colors.color(self._token), disabled=disabled))

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if is_enter(event):
            self.click()
        else:
            super().keyPressEvent(event)


class IconMark(QWidget):
    """An icon that is no button."""

    def __init__(self, icon_name: str, token: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self._token = token
        self.setFixedSize(18, 18)
        theme().changed.connect(self.update)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        color = theme().palette.color(self._token)
        paint_icon(painter, self._icon_name, QRectF(self.rect()), color)
        painter.end()


class KeepsEscape(QObject):
    """Leaves Esc to a field that means something by it; else the window's Esc would take it."""

    def __init__(self, field: QWidget, is_wanted: Callable[[], bool] = lambda: True) -> None:
        super().__init__(field)
        self._is_wanted = is_wanted
        field.installEventFilter(self)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        is_override = event.type() == QEvent.Type.ShortcutOverride
        if is_override and _is_escape(event) and self._is_wanted():
            event.accept()
            return True
        return False


def _is_escape(event: QEvent) -> bool:
    return isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape


class ClearsByEscape(KeepsEscape):
    """Esc empties a search; of an empty one it is the window's."""

    def __init__(self, field: QLineEdit) -> None:
        super().__init__(field, lambda: bool(field.text()))
        self._field = field

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        is_press = event.type() == QEvent.Type.KeyPress
        if is_press and _is_escape(event) and self._is_wanted():
            self._field.clear()
            return True
        return super().eventFilter(watched, event)


class ElidedLabel(QLabel):
    """A line of text with … at its end, or in its middle, where there is no room."""

    def __init__(
        self, parent: QWidget, elide: Qt.TextElideMode = Qt.TextElideMode.ElideRight
    ) -> None:
        super().__init__(parent)
        self._full = ""
        self._elide_mode = elide
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    def set_full_text(self, text: str) -> None:
        """Shows a text."""
        self._full = " ".join(text.split())
        self.setToolTip(self._full)
        self.setAccessibleName(self._full)
        self.updateGeometry()
        self._elide()

    @override
    def sizeHint(self) -> QSize:
        self.ensurePolished()
        width = QFontMetrics(self.font()).horizontalAdvance(self._full) + 2
        return QSize(width, super().sizeHint().height())

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(40, super().sizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics = QFontMetrics(self.font())
        self.setText(metrics.elidedText(self._full, self._elide_mode, self.width()))


class ThinBar(QWidget):
    """A stretch of a line, as shares of its length from 0 to 1."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFixedHeight(4)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._low = self._high = 0.0
        theme().changed.connect(self.update)

    def show_stretch(self, low: float, high: float) -> None:
        """Shows a stretch."""
        self._low, self._high = low, high
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        colors = theme().palette
        painter.setBrush(colors.color("raised"))
        painter.drawRoundedRect(QRectF(self.rect()), 2, 2)
        width = max((self._high - self._low) * self.width(), 4.0 if self._high else 0.0)
        painter.setBrush(colors.color("accent"))
        painter.drawRoundedRect(QRectF(self._low * self.width(), 0, width, self.height()), 2, 2)
        painter.end()


def label(parent: QWidget, role: str = "", *, wraps: bool = False) -> QLabel:
    """A plain-text label in one of the style sheet's roles."""
    result = QLabel(parent)
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setWordWrap(wraps)
    if role:
        result.setProperty("role", role)
    return result
