"""Below the text: how much of it is inside the model's window for the blank in hand."""

from PySide6.QtCore import QEvent, QLocale, Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import WindowRuler
from bilin_app.pages.controls import ThinBar, label

HEIGHT = 30


class RulerBar(QWidget):
    """A bar and a sentence; empty while there is no blank or no model."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("rulerBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._ruler: WindowRuler | None = None
        self._size = 0
        self._name = label(self, "muted")
        self._bar = ThinBar(self)
        self._text = label(self, "muted")
        row = QHBoxLayout(self)
        row.setContentsMargins(24, 0, 24, 0)
        row.setSpacing(20)
        row.addWidget(self._name)
        row.addWidget(self._bar, 1)
        row.addWidget(self._text)
        self._show()

    @property
    def text(self) -> str:
        """The sentence."""
        return self._text.text()

    def show_ruler(self, ruler: WindowRuler | None, size: int) -> None:
        """Shows a ruler for a document of `size` positions."""
        self._ruler, self._size = ruler, size
        self._show()

    def _show(self) -> None:
        ruler = self._ruler
        self._name.setText(self.tr("Window"))
        self._bar.show_stretch(*self._stretch())
        if ruler is None:
            self._text.setText(self.tr("no blank to fill"))
        else:
            locale = QLocale()
            counts = self.tr("{0} / {1} tokens").format(
                locale.toString(ruler.num_tokens), locale.toString(ruler.context_length)
            )
            where = (
                self.tr("all of the text is inside")
                if ruler.is_whole
                else self.tr("the nearest text; the rest is grey")
            )
            self._text.setText(f"{counts} · {where}")
        self._bar.setAccessibleName(f"{self._name.text()}: {self._text.text()}")

    def _stretch(self) -> tuple[float, float]:
        """Whole text inside: how full the window is. Else: which stretch of the text is inside."""
        ruler, size = self._ruler, max(1, self._size)
        if ruler is None:
            return 0.0, 0.0
        if ruler.is_whole:
            return 0.0, min(1.0, ruler.num_tokens / max(1, ruler.context_length))
        return ruler.start / size, ruler.end / size

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
