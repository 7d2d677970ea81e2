"""What an empty conversation shows: a greeting and four things to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.pages.chat.column import COLUMN_WIDTH
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.model_name import model_name
from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from bilin_app.controllers.engine_views import ModelView
    from bilin_app.controllers.views import ExampleView

NUM_EXAMPLES = 4


class EmptyConversation(QWidget):
    """Offers only what the loaded model was measured to do."""

    example_chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._model: ModelView | None = None
        self._examples: tuple[ExampleView, ...] = ()
        self._greeting = label(self, "greeting")
        self._subtitle = label(self, "muted", wraps=True)
        self._try = label(self, "muted")
        self._cards = [TextButton("card", self) for _ in range(NUM_EXAMPLES)]
        self._note = label(self, "muted", wraps=True)
        for index, card in enumerate(self._cards):
            card.clicked.connect(lambda _checked=False, i=index: self._choose(i))
        self._build()
        self._show()

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(10)
        for index, card in enumerate(self._cards):
            grid.addWidget(card, index // 2, index % 2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        column = QVBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.addStretch(2)
        column.addWidget(self._greeting)
        column.addSpacing(4)
        column.addWidget(self._subtitle)
        column.addSpacing(28)
        column.addWidget(self._try)
        column.addSpacing(4)
        column.addLayout(grid)
        column.addSpacing(14)
        column.addWidget(self._note)
        column.addStretch(3)
        inner = QWidget(self)
        inner.setMaximumWidth(COLUMN_WIDTH)
        inner.setLayout(column)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(24, 0, 24, 0)
        outer.addStretch()
        outer.addWidget(inner, 100)
        outer.addStretch()

    def show_model(self, model: ModelView | None, examples: tuple[ExampleView, ...]) -> None:
        """Shows the loaded model's name and examples, those in the interface's language first."""
        self._model = model
        self._examples = examples
        self._show()

    def _choose(self, index: int) -> None:
        self.example_chosen.emit(self._shown()[index].text)

    def _shown(self) -> list[ExampleView]:
        mine = [e for e in self._examples if e.lang == theme().language]
        others = [e for e in self._examples if e.lang != theme().language]
        # Both languages are shown where the model speaks both: that is what it is for.
        chosen = [*mine[:3], *others[:1]] if len(mine) >= 3 else [*mine, *others]
        return [*chosen, *mine[3:], *others[1:]][:NUM_EXAMPLES] if chosen else []

    def _show(self) -> None:
        shown = self._shown()
        for index, card in enumerate(self._cards):
            card.setVisible(index < len(shown))
            if index < len(shown):
                card.set_texts(shown[index].text)
        self._try.setVisible(bool(shown))
        self._greeting.setText("你好，比邻 · Hello, neighbour")
        self._subtitle.setText(
            self.tr("A bilingual model on your own computer. No account, no network.")
        )
        self._try.setText(self.tr("Try"))
        is_small = self._model is not None and self._model.is_bundled
        self._note.setVisible(is_small)
        if self._model is not None:
            self._note.setText(
                self.tr(
                    "{0} is a small demonstration model: it shows how Bilin works and makes "
                    "mistakes."
                ).format(model_name(self._model))
            )

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
