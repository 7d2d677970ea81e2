"""What painted rows of lists have in common: a line of text, the ground of the chosen row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPen

from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from PySide6.QtWidgets import QStyleOptionViewItem


def draw_line(
    painter: QPainter, text: str, box: QRectF, font: QFont, token: str, *, at_right: bool = False
) -> float:
    """Draws one line in the middle of a box, with … where there is no room; returns its width."""
    metrics = QFontMetricsF(font)
    line = metrics.elidedText(text, Qt.TextElideMode.ElideRight, box.width())
    painter.setFont(font)
    painter.setPen(theme().palette.color(token))
    side = Qt.AlignmentFlag.AlignRight if at_right else Qt.AlignmentFlag.AlignLeft
    painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | side, line)
    return metrics.horizontalAdvance(line)


def draw_ground(
    painter: QPainter,
    option: QStyleOptionViewItem,
    box: QRectF,
    *,
    chosen: str,
    border: str = "",
    radius: float = 8,
) -> None:
    """The ground of a row: `chosen` (a token) or under the mouse, with a ring where the keys are.

    border: the token of the chosen row's edge, "" = none.
    """
    # Its many enums take longer to import than all the rest here; the first picture has no rows.
    from PySide6.QtWidgets import QStyle

    colors, state = theme().palette, option.state
    is_chosen = bool(state & QStyle.StateFlag.State_Selected)
    if is_chosen or state & QStyle.StateFlag.State_MouseOver:
        painter.setBrush(colors.color(chosen if is_chosen else "raised"))
        has_border = is_chosen and border
        painter.setPen(QPen(colors.color(border), 1) if has_border else Qt.PenStyle.NoPen)
        painter.drawRoundedRect(box, radius, radius)
    if is_chosen and state & QStyle.StateFlag.State_HasFocus:
        painter.setPen(QPen(colors.color("accent"), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box.adjusted(1, 1, -1, -1), radius - 1, radius - 1)
