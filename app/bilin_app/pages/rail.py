"""The narrow rail at the window's left: pages, the engine's state, settings."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.engine_views import EngineView
from bilin_app.pages.controls import is_enter
from bilin_app.pages.keymap import keymap
from bilin_app.theme.fonts import text_font
from bilin_app.theme.icons import paint_icon
from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from bilin_app.pages.engine_popover import EnginePopover

PAGES = ("chat", "editor", "models", "settings")
RAIL_WIDTH = 60
BUTTON_SIZE = QSize(46, 46)

_ICONS = {
    "chat": "chat-text",
    "editor": "brackets-square",
    "models": "cube",
    "settings": "gear",
}


class RailButton(QAbstractButton):
    """An icon over a short word."""

    def __init__(self, icon_name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self.setCheckable(True)
        self.setFixedSize(BUTTON_SIZE)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if is_enter(event):
            self.click()
        else:
            super().keyPressEvent(event)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = theme().palette
        box = QRectF(self.rect()).adjusted(1, 0, -1, 0)
        ground = "accent_soft" if self.isChecked() else "raised" if self.underMouse() else ""
        if ground:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colors.color(ground))
            painter.drawRoundedRect(box, 8, 8)
        if self.hasFocus():
            _paint_focus(painter, box)
        color = colors.color("accent" if self.isChecked() else "muted")
        self._paint_icon(painter, QRectF(box.center().x() - 9, box.top() + 6, 18, 18))
        painter.setPen(color)
        painter.setFont(text_font(theme().language, theme().sizes.tiny))
        word = QRectF(box.left(), box.top() + 25, box.width(), 18)
        painter.drawText(word, Qt.AlignmentFlag.AlignCenter, self.text())
        painter.end()

    def _paint_icon(self, painter: QPainter, box: QRectF) -> None:
        token = "accent" if self.isChecked() else "muted"
        paint_icon(painter, self._icon_name, box, theme().palette.color(token))


class EngineButton(RailButton):
    """The engine's state as a shape and a word: never by colour alone."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("", parent)
        self.setCheckable(False)
        self._view = EngineView("starting")

    def show_view(self, view: EngineView) -> None:
        """Shows a state."""
        self._view = view
        self.update()

    @override
    def _paint_icon(self, painter: QPainter, box: QRectF) -> None:
        colors = theme().palette
        center = QPointF(box.center().x(), box.center().y() + 2)
        painter.setPen(Qt.PenStyle.NoPen)
        match self._view.state:
            case "ready" | "busy":
                painter.setBrush(colors.color("accent"))
                painter.drawEllipse(center, 4.5, 4.5)
                if self._view.state == "busy":
                    painter.setBrush(Qt.BrushStyle.NoBrush)
                    painter.setPen(QPen(colors.color("accent"), 1.5))
                    painter.drawEllipse(center, 7.5, 7.5)
            case "loading" | "starting":
                ring = QRectF(center.x() - 6, center.y() - 6, 12, 12)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(colors.color("line"), 2.5))
                painter.drawEllipse(ring)
                painter.setPen(QPen(colors.color("accent"), 2.5))
                share = max(0.06, self._view.fraction)
                painter.drawArc(ring, 90 * 16, round(-360 * 16 * share))
            case "fault":
                place = QRectF(center.x() - 9, center.y() - 9, 18, 18)
                paint_icon(painter, "warning", place, colors.color("danger"))
            case "stopped":
                painter.setBrush(colors.color("muted"))
                painter.drawRoundedRect(QRectF(center.x() - 4, center.y() - 4, 8, 8), 1.5, 1.5)
            case "empty":  # it runs and has nothing in it
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(colors.color("muted"), 1.5))
                painter.drawEllipse(center, 4.5, 4.5)


class Rail(QWidget):
    """Says which page a person asks for; shows the engine's state."""

    page_requested = Signal(str)
    mend_requested = Signal()
    report_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("rail")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(RAIL_WIDTH)
        self._engine_view = EngineView("starting")
        self._buttons: dict[str, RailButton] = {}
        self._group = QButtonGroup(self)
        self.engine = EngineButton(self)
        self.engine.clicked.connect(self.open_engine)
        self._top = QVBoxLayout()
        self._top.setSpacing(6)
        bottom = QVBoxLayout()
        bottom.setSpacing(6)
        bottom.addWidget(self.engine, 0, Qt.AlignmentFlag.AlignHCenter)
        self._bottom = bottom
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 14, 0, 12)
        column.addLayout(self._top)
        column.addStretch()
        column.addLayout(bottom)
        theme().changed.connect(self._update_all)

    @cached_property
    def popover(self) -> EnginePopover:
        """The engine's state in words; built when it is first opened."""
        from bilin_app.pages.engine_popover import EnginePopover

        popover = EnginePopover(self)
        popover.mend_requested.connect(self.mend_requested)
        popover.report_requested.connect(self.report_requested)
        popover.show_view(self._engine_view)
        return popover

    def add_page(self, name: str) -> None:
        """Adds a page's button; settings go to the bottom."""
        button = RailButton(_ICONS[name], self)
        self._group.addButton(button)
        self._buttons[name] = button
        button.clicked.connect(lambda: self.page_requested.emit(name))
        if name != "settings":
            QWidget.setTabOrder(button, self.engine)
        target = self._bottom if name == "settings" else self._top
        target.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        self._retranslate()

    def set_page(self, name: str) -> None:
        """Marks the page on show."""
        self._buttons[name].setChecked(True)

    def show_engine(self, view: EngineView) -> None:
        """Shows the engine's state."""
        self._engine_view = view
        self.engine.show_view(view)
        if "popover" in self.__dict__:
            self.popover.show_view(view)
        self._retranslate()

    def open_engine(self) -> None:
        """Opens the popover with the reason and the button that mends it."""
        self.popover.open_beside(self.engine)

    def _update_all(self) -> None:
        for button in (*self._buttons.values(), self.engine):
            button.update()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        names = {
            "chat": self.tr("Chat"),
            "editor": self.tr("Editor"),
            "models": self.tr("Models"),
            "settings": self.tr("Settings"),
        }
        for name, button in self._buttons.items():
            button.setText(names[name])
            button.setAccessibleName(names[name])
            button.setToolTip(f"{names[name]}  {keymap().text(name)}".strip())
        self.engine.setText(self._engine_word())
        self.engine.setAccessibleName(self.tr("Engine: {0}").format(self._engine_word()))
        self.engine.setToolTip(self._engine_view.reason or self.engine.accessibleName())

    def _engine_word(self) -> str:
        match self._engine_view.state:
            case "ready":
                return self.tr("Ready")
            case "busy":
                return self.tr("Busy")
            case "loading":
                return f"{round(self._engine_view.fraction * 100)} %"
            case "starting":
                return self.tr("Starting")
            case "fault":
                return self.tr("Fault")
            case "stopped":
                return self.tr("Stopped")
            case "empty":
                return self.tr("Idle", "the engine runs and no model is loaded")


def _paint_focus(painter: QPainter, box: QRectF) -> None:
    painter.setPen(QPen(theme().palette.color("accent"), 2))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(box.adjusted(1, 1, -1, -1), 7, 7)
