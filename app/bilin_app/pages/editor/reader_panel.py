"""The second reader's side: what it can do, how far it is, and the words it finds unlikely."""

from html import escape

from PySide6.QtCore import QEvent, QLocale, Qt, QTimer, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import ReaderView, WordFlag
from bilin_app.pages.controls import IconButton, TextButton, ThinBar, label
from bilin_app.pages.editor.blank_object import BLANK_SIGN
from bilin_app.pages.editor.side_panel import SidePanel
from bilin_app.text.document import BLANK_MARK
from bilin_app.theme.theme import theme
from bilin_engine.protocol import ProofreadFigures

MAX_CARDS = 30
MAX_EXPECTED = 3
ROOM = 26  # Latin letters beside each other in a card


def _width(text: str) -> int:
    """About how wide a word is, in Latin letters."""
    return sum(1 if c.isascii() else 2 for c in text)


class FlagCard(QFrame):
    """An unlikely word in its place, and what the model expects there: a click puts it in."""

    chosen = Signal()
    replaced = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("flagCard")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._flag: WordFlag | None = None
        self._where = QLabel(self)
        self._where.setTextFormat(Qt.TextFormat.RichText)
        self._where.setWordWrap(True)
        self.expected = [TextButton("link", self) for _ in range(MAX_EXPECTED)]
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for number, button in enumerate(self.expected):
            button.clicked.connect(lambda _on=False, n=number: self._replace(n))
            row.addWidget(button)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 8, 6)
        column.setSpacing(2)
        column.addWidget(self._where)
        column.addLayout(row)
        theme().changed.connect(self._show)

    def show_flag(self, flag: WordFlag) -> None:
        """Shows a word."""
        self._flag = flag
        self._show()

    def _show(self) -> None:
        flag = self._flag
        if flag is None:
            return
        colors = theme().palette
        before, word, after = (
            escape(part.replace(BLANK_MARK, BLANK_SIGN))
            for part in (flag.before, flag.word, flag.after)
        )
        self._where.setText(
            f'<span style="color:{colors.muted}">{before}</span>'
            f'<span style="color:{colors.danger}; font-weight:700">{word}</span>'
            f'<span style="color:{colors.muted}">{after}</span>'
        )
        room = ROOM
        for number, button in enumerate(self.expected):
            word = flag.expected[number] if number < len(flag.expected) else ""
            room -= _width(word) + 3
            button.setVisible(bool(word) and (not number or room >= 0))
            if number < len(flag.expected):
                shown = flag.expected[number]
                replace = self.tr("Replace “{0}” with “{1}”").format(flag.word, shown)
                button.set_texts(shown if len(shown) <= 12 else shown[:11] + "…", replace)

    def _replace(self, number: int) -> None:
        if self._flag is not None:
            self.replaced.emit(self._flag.expected[number])

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        self.chosen.emit()


class ReaderPanel(SidePanel):
    """Data in, signals out. replaced(WordFlag, str), chosen(WordFlag)."""

    read_requested = Signal()
    selection_requested = Signal()
    stop_requested = Signal()
    closed = Signal()
    chosen = Signal(object)
    replaced = Signal(object, str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._view = ReaderView()
        self._shown: tuple[WordFlag, ...] = ()
        self._first: WordFlag | None = None
        self._title = label(self, "section")
        self._close = IconButton("x", self)
        self._close.clicked.connect(self.closed)
        self._measured = label(self, "muted", wraps=True)
        self._state = label(self, "muted", wraps=True)
        self._bar = ThinBar(self)
        self._more = label(self, "muted", wraps=True)
        self.cards: list[FlagCard] = []
        self.read = TextButton("primary", self)
        self.read.clicked.connect(self._on_read)
        self.selection = TextButton("", self)
        self.selection.clicked.connect(self.selection_requested)
        self._build()
        self._retranslate()

    def _build(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._close)
        self._list = QVBoxLayout()
        self._list.setSpacing(8)
        self.column.setContentsMargins(16, 12, 16, 8)
        self.column.addLayout(head)
        self.column.addWidget(self._measured)
        self.column.addWidget(self._bar)
        self.column.addWidget(self._state)
        self.column.addLayout(self._list)
        self.column.addWidget(self._more)
        self.column.addStretch()
        self.add_row((self.read, 1), (self.selection, 0))

    def show_reader(self, view: ReaderView) -> None:
        """Shows what the second reader does and has found."""
        self._view = view
        self._show()

    def show_first(self, number: int) -> None:
        """Puts one of the view's flags before all others: the cursor was put into it."""
        self._first = self._view.flags[number] if number < len(self._view.flags) else None
        self._show()

    @property
    def flags(self) -> tuple[WordFlag, ...]:
        """The words shown as cards: the least likely first."""
        return self._shown

    def _show(self) -> None:
        view = self._view
        self._measured.setText(self._measured_text(view.figures))
        self._state.setText(self._state_text())
        self._bar.setVisible(view.is_reading)
        self._bar.show_stretch(0.0, view.num_done / max(1, view.num_asked))
        is_partly = 0 < view.num_known < view.num_sentences
        self.read.set_texts(
            self.tr("Stop")
            if view.is_reading
            else self.tr("Read changes")
            if is_partly
            else self.tr("Read all")
        )
        self.selection.setEnabled(not view.is_reading)
        self._shown = tuple(self._ranked())
        for number, card in enumerate(self.cards):
            self._show_card(number, card)
        self._add_cards()
        num_more = len(view.flags) - len(self._shown)
        self._more.setVisible(num_more > 0)
        self._more.setText(self.tr("And {0} more, underlined in the text.").format(num_more))

    def _show_card(self, number: int, card: FlagCard) -> None:
        if number < len(self._shown):
            card.show_flag(self._shown[number])
        card.setVisible(number < len(self._shown))

    def _add_cards(self) -> None:
        """One at a time: a card takes some milliseconds to make."""
        if len(self.cards) < len(self._shown):
            self._add_card()
            self._show_card(len(self.cards) - 1, self.cards[-1])
            QTimer.singleShot(0, self, self._add_cards)

    def _ranked(self) -> list[WordFlag]:
        """Those that have a card: the first, if it is still there, then the least likely."""
        flags, first = self._view.flags, self._first
        least = flags.least(MAX_CARDS)
        if first is None or first not in flags:
            return least
        return [first, *(flag for flag in least if flag != first)][:MAX_CARDS]

    def _add_card(self) -> None:
        card = FlagCard(self)
        number = len(self.cards)
        card.chosen.connect(lambda: self.chosen.emit(self._shown[number]))
        card.replaced.connect(lambda word: self.replaced.emit(self._shown[number], word))
        self.cards.append(card)
        self._list.addWidget(card)

    def _state_text(self) -> str:
        view, locale = self._view, QLocale()
        if view.is_reading and not view.num_asked:
            return self.tr("Waiting for the model …")
        if view.is_reading:
            return self.tr("Sentence {0} of {1}").format(
                locale.toString(view.num_done + 1), locale.toString(view.num_asked)
            )
        if not view.num_known:
            return self.tr(
                "Masks one word after the other and compares it with what the model expects from "
                "both sides."
            )
        found = (
            self.tr("{0} unlikely words").format(locale.toString(len(view.flags)))
            if view.flags
            else self.tr("No unlikely words")
        )
        read = self.tr("{0} of {1} sentences read").format(
            locale.toString(view.num_known), locale.toString(view.num_sentences)
        )
        text = f"{found} · {read}"
        if view.rate_words_s >= 1.0:
            rate = self.tr("{0} words/s").format(locale.toString(round(view.rate_words_s)))
            text += f" · {rate}"
        return text

    def _measured_text(self, figures: ProofreadFigures | None) -> str:
        if figures is None or not (figures.num_zh or figures.num_en):
            return self.tr(
                "Untested: how well this model finds wrong words was not measured. Read its marks "
                "with care."
            )
        parts = [
            part.format(QLocale().toString(round(100 * rate)), number)
            for part, rate, number in (
                (self.tr("{0} % in Chinese ({1} sentences)"), figures.hit_rate_zh, figures.num_zh),
                (self.tr("{0} % in English ({1} sentences)"), figures.hit_rate_en, figures.num_en),
            )
            if number
        ]
        told = self.tr("Measured: of words planted wrong, among the three most unlikely were {0}.")
        return told.format(self.tr(", ").join(parts))

    def _on_read(self) -> None:
        (self.stop_requested if self._view.is_reading else self.read_requested).emit()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._title.setText(self.tr("Second reader"))
        self._close.set_texts("", self.tr("Close the second reader"))
        self.selection.set_texts(self.tr("Selection"), self.tr("Read what is selected"))
        self._show()
