"""Icons: the Phosphor font that QtAwesome carries, drawn in the palette's colours.

QtAwesome itself is not imported: it costs about 150 ms of the start and loads every icon font.
Only its one font file is read.
"""

import importlib.util
from functools import cache
from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontDatabase,
    QIcon,
    QIconEngine,
    QPainter,
    QPixmap,
)
from typing_extensions import override

FONT_FILE = "phosphor-1.3.0.ttf"

# Code points in that font (phosphor-charmap-1.3.0.json); a test compares them with its charmap.
ICONS = {
    "arrow-clockwise": 0xF020,
    "arrow-down": 0xF022,
    "arrow-elbow-down-right": 0xF026,
    "arrow-line-up": 0xF041,
    "arrow-u-up-left": 0xF066,
    "arrow-up": 0xF061,
    "brackets-square": 0xF09D,
    "caret-down": 0xF0C2,
    "caret-left": 0xF0C3,
    "caret-right": 0xF0C4,
    "chat-text": 0xF0E6,
    "check": 0xF0E7,
    "check-circle": 0xF0E8,
    "copy": 0xF114,
    "cube": 0xF120,
    "dots-three": 0xF145,
    "download-simple": 0xF14C,
    "eject": 0xF152,
    "eye": 0xF15B,
    "file-text": 0xF170,
    "folder": 0xF186,
    "folder-open": 0xF18C,
    "gear": 0xF19B,
    "keyboard": 0xF1E5,
    "link-break": 0xF1F4,
    "magnifying-glass": 0xF20A,
    "paperclip": 0xF258,
    "pause": 0xF25E,
    "pencil-simple": 0xF266,
    "play": 0xF27C,
    "plus": 0xF27F,
    "push-pin": 0xF28D,
    "push-pin-fill": 0xF9F7,
    "sliders-horizontal": 0xF2D0,
    "stop-fill": 0xFA62,
    "trash": 0xF334,
    "warning": 0xF35C,
    "warning-circle": 0xF35D,
    "x": 0xF36D,
}


def icon_font_path() -> Path:
    """The font file inside QtAwesome. Raises FileNotFoundError if QtAwesome is not installed."""
    spec = importlib.util.find_spec("qtawesome")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("QtAwesome is not installed: its icon font is missing")
    return Path(spec.origin).parent / "fonts" / FONT_FILE


@cache
def _family() -> str:
    font_id = QFontDatabase.addApplicationFont(str(icon_font_path()))
    if font_id < 0:
        raise FileNotFoundError(f"the icon font {icon_font_path()} cannot be read")
    return QFontDatabase.applicationFontFamilies(font_id)[0]


def paint_icon(painter: QPainter, name: str, rect: QRectF, color: QColor) -> None:
    """Draws an icon as large as `rect`. Raises KeyError for a name that is not in ICONS."""
    font = QFont(_family())
    font.setPixelSize(max(1, round(rect.height())))
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
    painter.setFont(font)
    painter.setPen(color)
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, chr(ICONS[name]))
    painter.restore()


class _FontIconEngine(QIconEngine):
    """Draws one icon at any size: sharp at every scale."""

    def __init__(self, name: str, color: QColor, disabled: QColor) -> None:
        super().__init__()
        self._name, self._color, self._disabled = name, color, disabled

    @override
    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        color = self._disabled if mode == QIcon.Mode.Disabled else self._color
        paint_icon(painter, self._name, QRectF(rect), color)

    @override
    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        pixmap = QPixmap(size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return pixmap

    @override
    def clone(self) -> QIconEngine:
        return _FontIconEngine(self._name, self._color, self._disabled)


def icon(name: str, color: QColor, *, disabled: QColor | None = None) -> QIcon:
    """An icon in one colour, and in another (a paler one) while its button is disabled."""
    if name not in ICONS:
        raise KeyError(f"no icon {name!r}; known are {', '.join(sorted(ICONS))}")
    if disabled is None:
        disabled = QColor(color)
        disabled.setAlphaF(0.4 * color.alphaF())
    return QIcon(_FontIconEngine(name, color, disabled))
