"""One device's memory as a bar. It paints and does nothing else, so a change costs no time."""

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from bilin_app.controllers.model_views import DeviceBar
from bilin_app.pages.models.words import GIB, real
from bilin_app.theme.fonts import text_font
from bilin_app.theme.theme import theme

HEIGHT = 20
REAL_HEIGHT = 4
RADIUS = 4
PARTS = ("weights", "kv_cache", "activations", "other")  # in the order they are drawn
TOKENS = {
    "weights": "bar_weights",
    "kv_cache": "bar_kv_cache",
    "activations": "bar_activations",
    "other": "bar_other",
}


class Bar(QWidget):
    """Weights, kv_cache, activations, other programs, reserve; what the model really holds below.

    More than the device has is drawn beyond a mark at its capacity.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._bar = DeviceBar("", "", 1, 0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT + REAL_HEIGHT + 2)
        theme().changed.connect(self.update)

    def show_bar(self, bar: DeviceBar) -> None:
        """Shows a device."""
        self._bar = bar
        self._describe()
        self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(320, HEIGHT + REAL_HEIGHT + 2)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        bar, colors = self._bar, theme().palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(0, 3, self.width(), HEIGHT)
        shape = QPainterPath()
        shape.addRoundedRect(box, RADIUS, RADIUS)
        painter.setClipPath(shape)
        painter.fillRect(box, colors.color("bar_track"))
        if not bar.is_on:
            painter.fillRect(box, QBrush(colors.color("line"), Qt.BrushStyle.BDiagPattern))
            painter.end()
            return
        whole = max(bar.total, bar.used, 1)
        x = box.left()
        for part in PARTS:
            width = box.width() * getattr(bar, part) / whole
            token = "danger" if part == "weights" and bar.free < 0 else TOKENS[part]
            painter.fillRect(QRectF(x, box.top(), width, box.height()), colors.color(token))
            x += width
        reserve = QRectF(x, box.top(), box.width() * bar.reserve / whole, box.height())
        painter.fillRect(reserve, QBrush(colors.color("muted"), Qt.BrushStyle.BDiagPattern))
        if bar.free < 0:
            edge = box.left() + box.width() * bar.total / whole
            painter.setPen(QPen(colors.color("ink"), 2))
            painter.drawLine(round(edge), round(box.top()), round(edge), round(box.bottom()))
        painter.setClipping(False)
        if bar.real_bytes is not None:
            width = box.width() * min(1.0, bar.real_bytes / whole)
            line = QRectF(box.left(), box.bottom() + 1, width, REAL_HEIGHT - 1)
            painter.fillRect(line, colors.color("ink"))
        painter.end()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._describe()
        super().changeEvent(event)

    def part_words(self) -> dict[str, str]:
        """What the parts are called, for legend and description."""
        return {
            "weights": self.tr("weights"),
            "kv_cache": self.tr("KV cache"),
            "activations": self.tr("activations"),
            "other": self.tr("other programs"),
            "reserve": self.tr("reserve"),
            "real": self.tr("in use by the model"),
        }

    def _describe(self) -> None:
        bar, words = self._bar, self.part_words()
        parts = [
            f"{words[name]} {real(getattr(bar, name) / GIB, 2)} GiB"
            for name in (*PARTS, "reserve")
            if getattr(bar, name)
        ]
        if bar.num_layers:
            parts.append(self.tr("{0} layers").format(bar.num_layers))
        if bar.real_bytes is not None:
            parts.append(f"{words['real']} {real(bar.real_bytes / GIB, 2)} GiB")
        text = "\n".join(parts)
        self.setToolTip(text)
        self.setAccessibleName(", ".join(parts))


class Legend(QWidget):
    """Names the colours, each with its swatch."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._shows_real = False
        self._bar = Bar(self)
        self._bar.hide()
        self.setFixedHeight(22)
        theme().changed.connect(self.update)

    def set_shows_real(self, shows: bool) -> None:
        """Whether the line of the loaded model is on show and needs its name."""
        self._shows_real = shows
        self.update()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self.update()
        super().changeEvent(event)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors, words = theme().palette, self._bar.part_words()
        painter.setFont(text_font(theme().language, theme().sizes.small))
        x = 0.0
        names = [*PARTS, "reserve", *(("real",) if self._shows_real else ())]
        for name in names:
            box = QRectF(x, 6, 10, 10)
            painter.setPen(Qt.PenStyle.NoPen)
            if name == "reserve":
                painter.setBrush(QBrush(colors.color("muted"), Qt.BrushStyle.BDiagPattern))
            elif name == "real":
                box = QRectF(x, 10, 10, 3)
                painter.setBrush(colors.color("ink"))
            else:
                painter.setBrush(colors.color(TOKENS[name]))
            painter.drawRoundedRect(box, 2, 2)
            painter.setPen(colors.color("muted"))
            width = painter.fontMetrics().horizontalAdvance(words[name])
            line = QRectF(x + 16, 0, width + 2, self.height())
            painter.drawText(line, Qt.AlignmentFlag.AlignVCenter, words[name])
            x += 16 + width + 18
        painter.end()
