"""A blank that is not filled, drawn in the line of text as a dashed box with its number."""

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QRect, QRectF, QSizeF, Qt
from PySide6.QtGui import (
    QFontMetricsF,
    QPainter,
    QPen,
    QPyTextObject,
    QTextCharFormat,
    QTextDocument,
    QTextFormat,
)
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import BlankState
from bilin_app.pages.keymap import keymap
from bilin_app.theme.fonts import text_font
from bilin_app.theme.theme import theme
from bilin_engine.protocol import BlankKind

OBJECT_TYPE = QTextFormat.ObjectTypes.UserObject.value + 1
ID_PROPERTY = QTextFormat.Property.UserProperty.value + 1

BLANK_SIGN = "▁▁▁"  # a blank where nothing but text can stand
_PADDING = 12
_GAP = 14


class BlankObject(QPyTextObject):
    """`look` tells of a blank id: its number, kind, state, and whether it is the one in hand."""

    def __init__(
        self, parent: QWidget, look: Callable[[int], tuple[int, BlankKind, BlankState, bool]]
    ) -> None:
        super().__init__(parent)
        self._look = look

    @override
    def intrinsicSize(self, doc: QTextDocument, posInDocument: int, format: QTextFormat) -> QSizeF:
        name, hint = self._texts(format)
        metrics = QFontMetricsF(self._font())
        width = metrics.horizontalAdvance(name) + 2 * _PADDING
        if hint:
            width += _GAP + metrics.horizontalAdvance(hint)
        # As high as the letters above the line they stand on: a line with a blank is no higher.
        return QSizeF(width + 2, metrics.ascent())

    @override
    def drawObject(
        self,
        painter: QPainter,
        rect: QRectF | QRect,
        doc: QTextDocument,
        posInDocument: int,
        format: QTextFormat,
    ) -> None:
        _, _, _, is_current = self._look(int(format.property(ID_PROPERTY) or 0))
        name, hint = self._texts(format)
        colors = theme().palette
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = QFontMetricsF(self._font())
        box = QRectF(rect).adjusted(1.5, 1.5, -1.5, metrics.descent() + 0.5)
        pen = QPen(colors.color("accent"), 1, Qt.PenStyle.CustomDashLine)
        pen.setDashPattern([3, 2])
        if is_current:
            pen = QPen(colors.color("accent"), 1.5)
        painter.setPen(pen)
        painter.setBrush(colors.color("accent_soft") if is_current else Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box, 5, 5)
        painter.setFont(self._font())
        painter.setPen(colors.color("accent"))
        inner = box.adjusted(_PADDING - 1, 0, 0, 0)
        align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(inner, align, name)
        if hint:
            shift = metrics.horizontalAdvance(name) + _GAP
            painter.drawText(inner.adjusted(shift, 0, 0, 0), align, hint)
        painter.restore()

    def _font(self):  # noqa: ANN202 - QFont
        return text_font(theme().language, theme().sizes.text, use="text")

    def _texts(self, format: QTextFormat) -> tuple[str, str]:
        number, kind, state, _ = self._look(int(format.property(ID_PROPERTY) or 0))
        name = blank_name(number, kind)
        if state in ("waiting", "streaming"):
            return f"{name} …", ""
        hint = QCoreApplication.translate("Blank", "{0} fills").format(keymap().text("fill"))
        return name, hint if kind == "long" else ""


def blank_format(blank_id: int) -> QTextCharFormat:
    """The format of a blank's one character."""
    result = QTextCharFormat()
    result.setObjectType(OBJECT_TYPE)
    result.setProperty(ID_PROPERTY, blank_id)
    return result


def blank_name(number: int, kind: BlankKind) -> str:
    """What a blank is called: by its kind and number."""
    match kind:
        case "short":
            text = QCoreApplication.translate("Blank", "blank {0}")
        case "long":
            text = QCoreApplication.translate("Blank", "long blank {0}")
        case "sentence":
            text = QCoreApplication.translate("Blank", "sentence blank {0}")
    return text.format(number)
