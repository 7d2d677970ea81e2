"""What a model thought before it answered: a line that unfolds."""

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QLabel, QWidget
from typing_extensions import override

from bilin_app.pages.controls import IconButton, label

LINE_HEIGHT = 28
INDENT = 14
GAP = 8


class Thought(QWidget):
    """Folded at first. toggled(bool): whether it is open now."""

    toggled = Signal(bool)

    def __init__(self, parent: QWidget, *, is_open: bool) -> None:
        super().__init__(parent)
        self._is_open = is_open
        self._is_thinking = False
        self._line = IconButton("caret-right", self)
        self._line.clicked.connect(self._on_clicked)
        self._text: QLabel = label(self, "thought", wraps=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._show()

    def set_thought(self, text: str, *, is_thinking: bool) -> None:
        """Shows the thought as far as it is known; plain text, whatever is in it."""
        self._is_thinking = is_thinking
        self._text.setText(text)
        self._show()

    def unfold(self) -> None:
        """Shows the thought."""
        if not self._is_open:
            self._on_clicked()

    def height_for(self, width: int) -> int:
        """The height at a width, px."""
        if not self._is_open or not self._text.text():
            return LINE_HEIGHT + 2
        return LINE_HEIGHT + self._text.heightForWidth(width - INDENT) + GAP

    def _show(self) -> None:
        self._line.set_icon("caret-down" if self._is_open else "caret-right")
        name = self.tr("Thinking …") if self._is_thinking else self.tr("Thought before answering")
        self._line.set_texts(name, name)
        self._line.adjustSize()
        self._line.move(-5, 0)
        self._text.setVisible(self._is_open)

    def _on_clicked(self) -> None:
        self._is_open = not self._is_open
        self._show()
        self.toggled.emit(self._is_open)

    @override
    def resizeEvent(self, event: QEvent) -> None:  # type: ignore[override]
        super().resizeEvent(event)  # type: ignore[arg-type]
        width = self.width() - INDENT
        self._text.setGeometry(INDENT, LINE_HEIGHT, width, self._text.heightForWidth(width))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
