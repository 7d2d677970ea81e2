"""What an empty document shows: how blanks are made, and samples the model was measured to fill."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.views import ExampleView
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.editor.blank_object import BLANK_SIGN
from bilin_app.pages.keymap import keymap
from bilin_app.text.document import with_marks
from bilin_app.theme.theme import theme

NUM_SAMPLES = 4


def in_order(samples: Sequence[ExampleView]) -> list[ExampleView]:
    """Those in the language of the window first."""
    return sorted(samples, key=lambda sample: sample.lang != theme().language)


def one_line(sample: ExampleView) -> str:
    """A sample for people: its blanks as lines."""
    return with_marks(" ".join(sample.text.split()), BLANK_SIGN)


class EmptyDocument(QWidget):
    """Lies below the cursor of an empty document."""

    sample_chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._samples: Sequence[ExampleView] = ()
        self._about = label(self, "muted", wraps=True)
        self._try = label(self, "muted")
        self._cards = [TextButton("card", self) for _ in range(NUM_SAMPLES)]
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        column.addWidget(self._about)
        column.addSpacing(18)
        column.addWidget(self._try)
        for index, card in enumerate(self._cards):
            card.clicked.connect(lambda _checked=False, i=index: self._choose(i))
            column.addWidget(card)
        column.addStretch()
        self._show()

    def show_samples(self, samples: Sequence[ExampleView]) -> None:
        """Shows samples, those in the interface's language first."""
        self._samples = samples
        self._show()

    def _shown(self) -> list[ExampleView]:
        return in_order(self._samples)[:NUM_SAMPLES]

    def _choose(self, index: int) -> None:
        self.sample_chosen.emit(self._shown()[index].text)

    def _show(self) -> None:
        shown = self._shown()
        self._about.setText(
            self.tr(
                "Write, or open a file. {0} puts a blank at the cursor or makes one of what is "
                "selected; {1} lets the model fill it with the text on both sides in view."
            ).format(keymap().text("blank"), keymap().text("fill"))
        )
        self._try.setVisible(bool(shown))
        self._try.setText(self.tr("Try"))
        for index, card in enumerate(self._cards):
            card.setVisible(index < len(shown))
            if index < len(shown):
                text = one_line(shown[index])
                card.set_texts(text if len(text) <= 56 else text[:55] + "…", text)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
