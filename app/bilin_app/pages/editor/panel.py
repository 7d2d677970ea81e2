"""The blank in hand: its kind, what a fill must keep, the candidates, and the buttons that fill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import msgspec
from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.editor_views import BlankView, FillSettings, WindowRuler
from bilin_app.pages.controls import SPIN_MARGINS, ElidedLabel, TextButton, label
from bilin_app.pages.editor.blank_object import blank_name
from bilin_app.pages.editor.candidates import Candidates
from bilin_app.pages.editor.segmented import Segmented
from bilin_app.pages.editor.side_panel import SidePanel
from bilin_app.pages.keymap import keymap
from bilin_app.pages.wheel import leave_wheel_to_page
from bilin_app.text.document import MASK_TEXTS
from bilin_engine.protocol import BlankKind, FillConstraints, LengthLimit

FIRST_LENGTH = 12  # what a limit begins with
KINDS: tuple[BlankKind, ...] = ("short", "sentence", "long")


class BlankPanel(SidePanel):
    """Data in, signals out; the blank's id is the owner's to know."""

    kind_changed = Signal(str)
    constraints_changed = Signal(object)
    settings_changed = Signal(object)
    restore_requested = Signal()
    candidate_chosen = Signal(int)
    accept_requested = Signal()
    again_requested = Signal()
    fill_requested = Signal()
    fill_all_requested = Signal()
    stop_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._view: BlankView | None = None
        self._kinds: tuple[BlankKind, ...] = KINDS
        self._ruler: WindowRuler | None = None
        self._settings = FillSettings()
        self._num_blanks = 0
        self._is_running = False
        self._is_showing = False
        self._in_words = False
        self._title = label(self, "section")
        self._empty = label(self, "muted", wraps=True)
        self.kind = Segmented(self, 3)
        self._original = QWidget(self)
        self._original_text = ElidedLabel(self._original)
        self._original_text.setProperty("role", "muted")
        self._restore = TextButton("link", self._original, icon_name="arrow-u-up-left")
        self._length_label = label(self, "muted")
        self._count = QSpinBox(self)
        self._count.setRange(1, 2000)
        self._count.setValue(FIRST_LENGTH)
        self._count.setFixedWidth(64)
        self._count.lineEdit().setTextMargins(*SPIN_MARGINS)
        self._count.setKeyboardTracking(False)
        self.length = Segmented(self, 3)
        self._choices = QLineEdit(self)
        self._digits = QCheckBox(self)
        self._candidates_label = label(self, "muted")
        self.candidates = Candidates(self)
        self._note = label(self, "muted", wraps=True)
        self._number_label = label(self, "muted")
        self._number = QSpinBox(self)
        self._number.setRange(1, 8)
        self._number.setFixedWidth(52)
        self._number.lineEdit().setTextMargins(*SPIN_MARGINS)
        self._draw = QComboBox(self)
        self._draw.addItems(["", ""])
        self.fill = TextButton("primary", self)
        self.fill_all = TextButton("", self)
        self._build()
        self._connect()
        self.show_settings(self._settings)
        leave_wheel_to_page(self)
        self._retranslate()

    def _build(self) -> None:
        original = QHBoxLayout(self._original)
        original.setContentsMargins(0, 0, 0, 0)
        original.setSpacing(2)
        original.addWidget(self._original_text, 1)
        original.addWidget(self._restore)
        length = QHBoxLayout()
        length.addWidget(self._length_label, 1)
        length.addWidget(self._count)
        self._form = QWidget(self)
        form = QVBoxLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(8)
        form.addWidget(self.kind)
        form.addWidget(self._original)
        form.addSpacing(2)
        form.addLayout(length)
        form.addWidget(self.length)
        form.addWidget(self._choices)
        form.addWidget(self._digits)
        form.addSpacing(2)
        form.addWidget(self._candidates_label)
        form.addWidget(self.candidates)
        form.addWidget(self._note)
        self.column.addWidget(self._title)
        self.column.addWidget(self._empty)
        self.column.addWidget(self._form)
        self.column.addStretch()
        self.add_row((self._number_label, 0), (self._number, 0), (self._draw, 1))
        self.fill.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.add_row((self.fill, 1), (self.fill_all, 0))

    def _connect(self) -> None:
        self.kind.chosen.connect(lambda index: self.kind_changed.emit(KINDS[index]))
        self._restore.clicked.connect(self.restore_requested)
        self.length.chosen.connect(lambda _index: self._on_constraints_changed())
        self._count.valueChanged.connect(self._on_count_changed)
        self._choices.editingFinished.connect(self._on_constraints_changed)
        self._digits.toggled.connect(lambda _on: self._on_constraints_changed())
        self.candidates.chosen.connect(self.candidate_chosen)
        self.candidates.accepted.connect(self.accept_requested)
        self.candidates.again_requested.connect(self.again_requested)
        self._number.valueChanged.connect(lambda _value: self._on_settings_changed())
        self._draw.activated.connect(lambda _index: self._on_settings_changed())
        self.fill.clicked.connect(self._on_fill)
        self.fill_all.clicked.connect(self.fill_all_requested)

    # --- Data in ----------------------------------------------------------------------------------

    def show_blank(self, view: BlankView | None, num_blanks: int) -> None:
        """Shows the blank in hand; None = none."""
        is_other = (view and view.id) != (self._view and self._view.id)
        self._view, self._num_blanks = view, num_blanks
        self._show(fields=is_other)

    def show_kinds(self, kinds: Sequence[BlankKind]) -> None:
        """The kinds that the model has masks for; none = it fills by instruction."""
        self._kinds = tuple(kinds) or KINDS
        self._show(fields=False)

    def show_ruler(self, ruler: WindowRuler | None) -> None:
        """What the model would see for this blank."""
        self._ruler = ruler
        self._show_note()

    def show_settings(self, settings: FillSettings) -> None:
        """How fills are drawn."""
        self._settings = settings
        with self._showing():
            self._number.setValue(settings.num_candidates)
            self._draw.setCurrentIndex(int(settings.with_beams))

    def set_running(self, running: bool) -> None:
        """Whether the model fills a blank now."""
        self._is_running = running
        self._show(fields=False)

    def set_unit(self, *, in_words: bool) -> None:
        """Whether lengths are counted in words: where the document is written in words."""
        self._in_words = in_words
        self._show(fields=False)

    # --- Showing ----------------------------------------------------------------------------------

    def _show(self, *, fields: bool) -> None:
        view = self._view
        self._form.setVisible(view is not None)
        self._empty.setVisible(view is None)
        self._title.setText(
            _capital(blank_name(view.number, view.kind)) if view else self.tr("No blank chosen")
        )
        running = self._is_running
        keys = keymap()
        self.fill.set_texts(
            self.tr("Stop") if running else self.tr("Fill"),
            self.tr("Stop filling ({0})").format(keys.text("stop"))
            if running
            else self.tr("Fill this blank ({0})").format(keys.text("fill")),
        )
        self.fill.setEnabled(running or view is not None)
        self.fill_all.setEnabled(not running and self._num_blanks > 0)
        if view is None:
            return
        with self._showing():
            self.kind.set_current(KINDS.index(view.kind))
            for index, kind in enumerate(KINDS):
                why_not = self.tr("This model has no {0} token").format(MASK_TEXTS[kind])
                self.kind.set_offered(index, kind in self._kinds or kind == view.kind, why_not)
            self._original.setVisible(bool(view.original))
            self._original_text.set_full_text(self.tr("Was: {0}").format(view.original))
            self._show_constraints(view.constraints, fields=fields)
            self._candidates_label.setText(self._candidates_text(view))
            self.candidates.show_blank(view)
        self._show_note()

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """What changes in here was changed by no person."""
        self._is_showing = True
        try:
            yield
        finally:
            self._is_showing = False

    def _show_constraints(self, constraints: FillConstraints, *, fields: bool) -> None:
        limit = constraints.length
        if limit is not None and (fields or not self._count.hasFocus()):
            self._count.setValue(limit.count)
        self.length.set_current(0 if limit is None else 2 if limit.exact else 1)
        count = self._count.value()
        in_words = limit.unit == "words" if limit is not None else self._in_words
        most = self.tr("≤ {0} words") if in_words else self.tr("≤ {0} chars")
        self.length.set_texts(
            self.tr("Length"),
            (self.tr("any"), most.format(count), self.tr("= {0}").format(count)),
        )
        if fields or not self._choices.hasFocus():
            self._choices.setText(self.tr(", ").join(constraints.choices))
        self._digits.setChecked(constraints.digits_only)

    def _candidates_text(self, view: BlankView) -> str:
        if view.state in ("waiting", "streaming"):
            return self.tr("The model is filling this blank …")
        if view.candidates:
            keys = keymap()
            text = self.tr("Candidates    {0} the next · {1} accepts")
            return text.format(keys.text("next"), keys.text("accept"))
        if self._is_running:
            return self.tr("Waits for the model …")
        return self.tr("{0} fills it with both sides in view").format(keymap().text("fill"))

    def _show_note(self) -> None:
        ruler, view = self._ruler, self._view
        if ruler is None or view is None or ruler.blank_id != view.id:
            self._note.setText("")
            return
        seen = (
            self.tr("Both sides are in the model's view")
            if ruler.is_whole
            else self.tr("The nearest text on both sides is in the model's view")
        )
        ways = {
            "mask": MASK_TEXTS[view.kind],
            "fim": self.tr("by fill-in-the-middle tokens"),
            "instruction": self.tr("asked in a chat"),
        }
        way = ways[ruler.way]
        self._note.setText(f"{seen} · {way}")

    # --- Events -----------------------------------------------------------------------------------

    def _on_fill(self) -> None:
        (self.stop_requested if self._is_running else self.fill_requested).emit()

    def _on_count_changed(self, _value: int) -> None:
        if not self._is_showing and self._view is not None:
            if self._view.constraints.length is None:
                self.length.set_current(1)
            self._on_constraints_changed()

    def _on_constraints_changed(self) -> None:
        if self._is_showing or self._view is None:
            return
        old = self._view.constraints
        index = self.length.current
        limit = None
        if index:
            unit = old.length.unit if old.length else "words" if self._in_words else "characters"
            limit = LengthLimit(self._count.value(), unit, exact=index == 2)
        text = self._choices.text().replace("，", ",").replace("、", ",")
        choices = tuple(part.strip() for part in text.split(",") if part.strip())
        new = FillConstraints(length=limit, choices=choices, digits_only=self._digits.isChecked())
        if msgspec.structs.asdict(new) != msgspec.structs.asdict(old):
            self.constraints_changed.emit(new)

    def _on_settings_changed(self) -> None:
        if not self._is_showing:
            self._settings = replace(
                self._settings,
                num_candidates=self._number.value(),
                with_beams=self._draw.currentIndex() == 1,
            )
            self.settings_changed.emit(self._settings)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        kinds = (self.tr("Short"), self.tr("Sentence"), self.tr("Long"))
        self.kind.set_texts(self.tr("Kind of blank"), kinds)
        self._empty.setText(
            self.tr(
                "{0} puts a blank at the cursor or makes one of what is selected; {1} a long one."
            ).format(keymap().text("blank"), keymap().text("long"))
        )
        self._restore.set_texts(self.tr("Restore"), self.tr("Put the original text back"))
        self._length_label.setText(self.tr("Length"))
        self._count.setAccessibleName(self.tr("Number of characters or words"))
        self._choices.setPlaceholderText(self.tr("Only from a list, with commas"))
        self._choices.setAccessibleName(self.tr("Only one of these"))
        self._digits.setText(self.tr("Digits only"))
        self._digits.setAccessibleName(self.tr("Digits only"))
        self._number_label.setText(self.tr("Candidates"))
        self._number.setAccessibleName(self.tr("Number of candidates"))
        self._draw.setItemText(0, self.tr("Sampling"))
        self._draw.setItemText(1, self.tr("Beam search"))
        self._draw.setAccessibleName(self.tr("How candidates are drawn"))
        self.fill_all.set_texts(
            self.tr("Fill all"),
            self.tr("Fill all blanks in order ({0})").format(keymap().text("fill_all")),
        )
        if self._view is None:
            self._show_constraints(FillConstraints(), fields=True)
        self._show(fields=True)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
