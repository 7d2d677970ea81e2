"""The candidates for a blank as cards: text, log-probability, and why one fails."""

import re

from PySide6.QtCore import QCoreApplication, QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import QAbstractButton, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import BlankView
from bilin_app.text.document import count_characters, from_units, to_units
from bilin_app.theme.fonts import language_of, text_font
from bilin_app.theme.icons import paint_icon
from bilin_app.theme.theme import theme
from bilin_engine.protocol import Candidate, FillConstraints

MAX_LINES = 3
_PADDING_X, _PADDING_Y = 12, 9
_SCORE_WIDTH = 46
_COUNTED = re.compile(r"has (\d+) (characters|words), .*")  # as the engine says it


class CandidateCard(QAbstractButton):
    """One candidate. A failing one says why: by a sign, a sentence and a colour."""

    accepted = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._candidate = Candidate(text="", logprob=0.0, num_tokens=0)
        self._reason = ""
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the text its keys
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        theme().changed.connect(self.updateGeometry)

    def show_candidate(
        self, candidate: Candidate, constraints: FillConstraints, *, is_chosen: bool
    ) -> None:
        """Shows a candidate."""
        self._candidate = candidate
        self._reason = breaks_sentence(candidate, constraints)
        self.setChecked(is_chosen)
        score = self._score()
        likelihood = self.tr("log-probability {0}").format(score) if score else ""
        parts = (candidate.text, self._reason, likelihood)
        self.setAccessibleName(", ".join(part for part in parts if part))
        self.setToolTip(candidate.text)
        self.setMinimumHeight(0)
        self.setFixedHeight(self._height(max(self.width(), 200)))
        self.update()

    def _score(self) -> str:
        return f"−{-self._candidate.logprob:.1f}" if self._candidate.logprob else ""

    def _font(self):  # noqa: ANN202 - QFont
        return text_font(language_of(self._candidate.text), theme().sizes.ui, use="text")

    def _small(self):  # noqa: ANN202 - QFont
        return text_font(theme().language, theme().sizes.small)

    def _lines(self, width: float) -> list[str]:
        text = " ".join(self._candidate.text.split()) or "∅"
        units = to_units(text)  # Qt's offsets count them
        layout = QTextLayout(text, self._font())
        option = QTextOption()
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        layout.setTextOption(option)
        layout.beginLayout()
        lines: list[str] = []
        while (line := layout.createLine()).isValid():
            line.setLineWidth(max(width, 40.0))
            at = line.textStart()
            if len(lines) == MAX_LINES - 1:
                metrics = QFontMetricsF(self._font())
                rest = metrics.elidedText(
                    from_units(units[at:]), Qt.TextElideMode.ElideRight, width
                )
                lines.append(rest)
                break
            lines.append(from_units(units[at : at + line.textLength()]))
        layout.endLayout()
        return lines

    def _height(self, width: float) -> int:
        inner = width - 2 * _PADDING_X - _SCORE_WIDTH
        height = len(self._lines(inner)) * self._line_height() + 2 * _PADDING_Y
        if self._reason:
            height += QFontMetricsF(self._small()).height() + 4
        return round(height)

    def _line_height(self) -> float:
        return QFontMetricsF(self._font()).height()

    @override
    def sizeHint(self) -> QSize:
        return QSize(200, self._height(max(self.width(), 200)))

    @override
    def paintEvent(self, e: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = theme().palette
        box = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        edge = "accent" if self.isChecked() or self.hasFocus() else "line"
        painter.setPen(QPen(colors.color(edge), 2 if self.hasFocus() else 1))
        painter.setBrush(colors.color("raised" if self.underMouse() else "surface"))
        painter.drawRoundedRect(box, 8, 8)
        if self.isChecked():
            painter.save()
            painter.setClipRect(QRectF(0, 0, 4, self.height()))
            painter.setBrush(colors.color("accent"))
            painter.drawRoundedRect(box, 8, 8)
            painter.restore()
        self._paint_texts(painter)
        painter.end()

    def _paint_texts(self, painter: QPainter) -> None:
        colors = theme().palette
        inner = self.width() - 2 * _PADDING_X - _SCORE_WIDTH
        y = float(_PADDING_Y)
        painter.setFont(self._font())
        painter.setPen(colors.color("muted" if self._reason else "ink"))
        for line in self._lines(inner):
            box = QRectF(_PADDING_X, y, inner + 4, self._line_height())
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, line)
            y += self._line_height()
        painter.setFont(self._small())
        painter.setPen(colors.color("muted"))
        right = QRectF(0, _PADDING_Y, self.width() - _PADDING_X + 1, self._line_height())
        align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight
        painter.drawText(right, align, self._score())
        if self._reason:
            height = QFontMetricsF(self._small()).height()
            color = colors.color("danger")
            paint_icon(painter, "warning", QRectF(_PADDING_X, y + 4, 13, height), color)
            painter.setPen(color)
            box = QRectF(_PADDING_X + 18, y + 3, self.width() - 2 * _PADDING_X - 18, height)
            line = QFontMetricsF(self._small()).elidedText(
                self._reason, Qt.TextElideMode.ElideRight, box.width()
            )
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, line)

    @override
    def mouseDoubleClickEvent(self, e: QMouseEvent) -> None:
        self.accepted.emit()

    @override
    def keyPressEvent(self, e: QKeyEvent) -> None:
        if e.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
            self.accepted.emit()
            return
        super().keyPressEvent(e)


class Candidates(QWidget):
    """chosen(int), accepted(), again_requested(): R asks for others."""

    chosen = Signal(int)
    accepted = Signal()
    again_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._cards: list[CandidateCard] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(10)
        self._view: BlankView | None = None

    def show_blank(self, view: BlankView | None) -> None:
        """Shows a blank's candidates."""
        self._view = view
        candidates = view.candidates if view is not None else ()
        while len(self._cards) < len(candidates):
            card = CandidateCard(self)
            index = len(self._cards)
            card.clicked.connect(lambda _checked=False, i=index: self._on_clicked(i))
            card.accepted.connect(self.accepted)
            self._cards.append(card)
            self._column.addWidget(card)
        for index, card in enumerate(self._cards):
            card.setVisible(index < len(candidates))
            if view is not None and index < len(candidates):
                is_chosen = index == view.chosen
                card.show_candidate(candidates[index], view.constraints, is_chosen=is_chosen)

    def _on_clicked(self, index: int) -> None:
        if self._view is not None:
            self._cards[index].setChecked(index == self._view.chosen)
        self.chosen.emit(index)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_R and not event.modifiers():
            self.again_requested.emit()
            return
        super().keyPressEvent(event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self.show_blank(self._view)
        super().changeEvent(event)


def breaks_sentence(candidate: Candidate, constraints: FillConstraints) -> str:
    """Why a candidate fails what is asked for now, in the window's language; "" = it does not.

    What was asked may have changed since the candidate was drawn. Words were counted by the engine
    and only where it found too many or too few.
    """
    text = candidate.text.strip()
    translate = QCoreApplication.translate
    if constraints.choices and text not in {choice.strip() for choice in constraints.choices}:
        return translate("Breaks", "Not one of the choices")
    if constraints.digits_only and not (text.isascii() and text.isdigit()):
        return translate("Breaks", "Not digits only")
    if candidate.breaks.startswith("does not end with"):
        return translate("Breaks", "The answer broke off before its end")
    counted = _COUNTED.fullmatch(candidate.breaks)
    limit = constraints.length
    if limit is None:
        return ""
    if limit.unit == "characters":
        count = count_characters(text)
        found = translate("Breaks", "{0} characters").format(count)
    elif counted is not None and counted[2] == "words":
        count = int(counted[1])
        found = translate("Breaks", "{0} words").format(count)
    else:
        return ""
    if limit.exact and count != limit.count:
        return translate("Breaks", "{found}, asked for exactly {count}").format(
            found=found, count=limit.count
        )
    if count > limit.count:
        return translate("Breaks", "{found}, asked for at most {count}").format(
            found=found, count=limit.count
        )
    return ""
