"""Above the text: title, whether it is saved, who wrote what, and what can be done.

Where there is little room the title has it: first the legend's words go, then the word that all is
saved, then the legend. The first two stay reachable: in the legend's tool tip and in the menu.
"""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QHBoxLayout, QMenu, QSizePolicy, QWidget
from typing_extensions import override

from bilin_app.controllers.editor_views import SaveState
from bilin_app.controllers.views import ExampleView
from bilin_app.pages.controls import IconButton, TextButton
from bilin_app.pages.editor.empty import in_order, one_line
from bilin_app.pages.keymap import keymap
from bilin_app.pages.title_edit import TitleEdit
from bilin_app.theme.fonts import text_font
from bilin_app.theme.theme import theme

HEIGHT = 52
_SPACING = 10
TITLE_WIDTH = 120  # px that a title keeps beside the legend
_DOT_STEP = 16  # from a dot to its word, or to the next dot


class OriginsLegend(QAbstractButton):
    """Who wrote what: mine, the model's, edited. Pressed = shown in the text."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._words = ("", "", "")
        self._shows_words = True
        self.setCheckable(True)
        self.setChecked(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        theme().changed.connect(self.updateGeometry)

    def set_words(self, mine: str, model: str, edited: str) -> None:
        """The three words."""
        self._words = (mine, model, edited)
        self.updateGeometry()
        self.update()

    def set_shows_words(self, shows_words: bool) -> None:
        """Whether the words stand beside the dots, or in the tool tip only."""
        if shows_words != self._shows_words:
            self._shows_words = shows_words
            self.updateGeometry()
            self.update()

    def width_for(self, *, words: bool) -> int:
        """How wide it is with the words, and without."""
        metrics = QFontMetrics(self._font())
        widths = (metrics.horizontalAdvance(word) + 11 if words else 0 for word in self._words)
        return sum(widths) + 3 * _DOT_STEP + 14

    def _font(self) -> QFont:
        return text_font(theme().language, theme().sizes.small)

    @override
    def sizeHint(self) -> QSize:
        return QSize(self.width_for(words=self._shows_words), 26)

    @override
    def paintEvent(self, e: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = theme().palette
        box = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(colors.color("accent" if self.hasFocus() else "line"))
        painter.setBrush(colors.color("surface"))
        painter.drawRoundedRect(box, 12.5, 12.5)
        painter.setFont(self._font())
        metrics = painter.fontMetrics()
        x = 12.0
        for word, token in zip(self._words, ("muted", "model", "accent"), strict=True):
            dot = QRectF(x, self.height() / 2 - 5, 10, 10)
            painter.setPen(colors.color(token))
            painter.setBrush(colors.color(token) if self.isChecked() else Qt.BrushStyle.NoBrush)
            painter.drawEllipse(dot)
            x += _DOT_STEP
            if not self._shows_words:
                continue
            painter.setPen(colors.color("muted"))
            width = metrics.horizontalAdvance(word)
            place = QRectF(x - 2, 0, width + 2, self.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, word)
            x += width + 11
        painter.end()


class EditorHeader(QWidget):
    """Data in, signals out."""

    title_changed = Signal(str)
    origins_toggled = Signal(bool)
    blank_requested = Signal(str)  # short, sentence, long, bridge, continue
    open_requested = Signal()
    save_requested = Signal()
    history_requested = Signal()
    inspect_requested = Signal()
    reader_toggled = Signal(bool)
    proofread_requested = Signal()
    sample_chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._state: SaveState = "saved"
        self._samples: Sequence[ExampleView] = ()
        self.title = TitleEdit(self)
        self.title.changed.connect(self.title_changed)
        self.saved = TextButton("pill", self)
        self.saved.clicked.connect(self.history_requested)
        self.legend = OriginsLegend(self)
        self.legend.toggled.connect(self.origins_toggled)
        self.insert = TextButton("", self)
        self.insert.clicked.connect(lambda: self._popup(self.make_insert_menu(), self.insert))
        self.reader = TextButton("toggle", self)
        self.reader.setCheckable(True)
        self.reader.clicked.connect(self.reader_toggled)
        self.more = IconButton("dots-three", self)
        self.more.clicked.connect(lambda: self._popup(self.make_more_menu(), self.more))
        row = self._row = QHBoxLayout(self)
        row.setContentsMargins(24, 0, 16, 0)
        row.setSpacing(_SPACING)
        row.addWidget(self.title)
        row.addWidget(self.saved)
        row.addStretch(0)
        row.addWidget(self.legend)
        row.addWidget(self.insert)
        row.addWidget(self.reader)
        row.addWidget(self.more)
        self._show()

    def show_title(self, title: str) -> None:
        """Shows the document's title; "" for a new one."""
        self.title.show_title(title, can_rename=bool(title))
        self._show()

    def show_saved(self, state: SaveState) -> None:
        """Whether all that is written is kept."""
        self._state = state
        self._show()

    def show_samples(self, samples: Sequence[ExampleView]) -> None:
        """Texts that the loaded model was measured to fill."""
        self._samples = samples

    def _show(self) -> None:
        self.title.set_texts(
            self.tr("New document"), self.tr("Rename this document"), self.tr("Title")
        )
        texts = {
            "saved": (self.tr("Saved"), self.tr("Everything is saved. Earlier versions …")),
            "saving": (self.tr("Saving …"), self.tr("Being saved. Earlier versions …")),
            "refused": (self.tr("Not saved"), self.tr("Not saved: the disk refuses")),
        }
        self.saved.set_texts(*texts[self._state])
        self.legend.set_words(self.tr("mine"), self.tr("model"), self.tr("edited"))
        name = self.tr("Show who wrote what: mine, the model's, edited")
        self.legend.setAccessibleName(name)
        self.legend.setToolTip(name)
        self.insert.set_texts(self.tr("Blank ▾"), self.tr("Insert a blank"))
        self.reader.set_texts(
            self.tr("Proofread"),
            self.tr("The second reader: words that the model does not expect (F7)"),
        )
        self.more.set_texts("", self.tr("More"))
        self._fit()

    def _fit(self) -> None:
        """What gives way so that the title can be read whole."""
        margins = self._row.contentsMargins()
        fixed = (self.insert, self.reader, self.more)
        room = self.width() - margins.left() - margins.right() - 6 * _SPACING
        room -= self.title.sizeHint().width() + sum(part.sizeHint().width() for part in fixed)
        saved = self.saved.sizeHint().width()
        dots = self.legend.width_for(words=False)
        self.legend.set_shows_words(self.legend.width_for(words=True) + saved <= room)
        self.legend.setVisible(dots <= room + self._title_slack())
        self.saved.setVisible(dots + saved <= room or self._state != "saved")

    def _title_slack(self) -> int:
        """What a long title gives up before the legend does: it is readable shortened."""
        return max(0, self.title.sizeHint().width() - TITLE_WIDTH)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def make_insert_menu(self) -> QMenu:
        """The blanks that can be put into the text."""
        menu = QMenu(self)
        entries = (
            ("short", self.tr("Short blank") + "\t" + keymap().text("blank")),
            ("sentence", self.tr("Sentence blank")),
            ("long", self.tr("Long blank") + "\t" + keymap().text("long")),
            ("", ""),
            ("bridge", self.tr("Bridge: a passage after this paragraph")),
            ("continue", self.tr("Continue at the end")),
            ("rewrite", self.tr("Rewrite the selection")),
        )
        for name, text in entries:
            if not name:
                menu.addSeparator()
                continue
            action = menu.addAction(text)
            action.triggered.connect(lambda _on=False, n=name: self.blank_requested.emit(n))
        return menu

    def make_more_menu(self) -> QMenu:
        """Files, earlier versions, what the model sees, samples."""
        menu = QMenu(self)
        menu.addAction(self.tr("Open a file …") + "\t" + keymap().text("open")).triggered.connect(
            lambda: self.open_requested.emit()
        )
        menu.addAction(self.tr("Save as …") + "\t" + keymap().text("save")).triggered.connect(
            lambda: self.save_requested.emit()
        )
        menu.addSeparator()
        menu.addAction(self.tr("Earlier versions …")).triggered.connect(
            lambda: self.history_requested.emit()
        )
        menu.addAction(
            self.tr("Proofread …") + "\t" + keymap().text("proofread")
        ).triggered.connect(lambda: self.proofread_requested.emit())
        menu.addAction(self.tr("What the model sees …")).triggered.connect(
            lambda: self.inspect_requested.emit()
        )
        if self._samples:
            menu.addSeparator()
            samples = menu.addMenu(self.tr("Samples"))
            for sample in in_order(self._samples):
                shown = one_line(sample)
                action = samples.addAction(shown[:48] + ("…" if len(shown) > 48 else ""))
                action.triggered.connect(
                    lambda _on=False, text=sample.text: self.sample_chosen.emit(text)
                )
        return menu

    def _popup(self, menu: QMenu, button: QWidget) -> None:
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
