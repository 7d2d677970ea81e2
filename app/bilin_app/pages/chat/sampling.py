"""How the next answer is drawn, and the system prompt: a popover of the header."""

from collections.abc import Sequence

from msgspec import structs
from PySide6.QtCore import QEvent, QLocale, Qt, QTimer, Signal
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.prompt import MAX_SEED
from bilin_app.controllers.views import Preset
from bilin_app.pages.chat.long_line_edit import LongLineEdit
from bilin_app.pages.chat.preedit import PlaceholderGuard
from bilin_app.pages.chat.preset_row import PresetRow
from bilin_app.pages.controls import SPIN_MARGINS, TextButton, label
from bilin_app.pages.popover import Popover
from bilin_engine.protocol import Sampling

WIDTH = 340
CHANGE_DELAY_MS = 250


class _SeedValidator(QValidator):
    """Takes a whole number that an engine takes, or nothing."""

    @override
    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        text = text.strip()
        is_short = text.isdecimal() and len(text) <= len(str(MAX_SEED))
        is_seed = not text or (is_short and int(text) <= MAX_SEED)
        state = QValidator.State.Acceptable if is_seed else QValidator.State.Invalid
        return state, text, min(position, len(text))


class SamplingPopover(Popover):
    """Edits a Sampling and a system prompt; every change is said at once."""

    sampling_changed = Signal(object)
    reset_requested = Signal()  # to what the model recommends
    system_prompt_changed = Signal(str)
    preset_save_requested = Signal(str, str, object)  # name, system prompt, sampling

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._sampling = Sampling()
        self._is_showing = False
        self.setFixedWidth(WIDTH)
        self.presets = PresetRow(self)
        self._heading = label(self, "section")
        self._temperature = self._real(0.0, 5.0, 0.1)
        self._top_p = self._real(0.01, 1.0, 0.05)
        self._top_k = self._whole(0, 1000)
        self._repetition = self._real(1.0, 3.0, 0.05)
        self._max_tokens = self._whole(1, 1_000_000)
        self._thinks = QCheckBox(self)
        self._thinks.setVisible(False)
        self._seed = QLineEdit(self)
        self._seed.setValidator(_SeedValidator(self))
        self._system_label = label(self)
        self._system = LongLineEdit(self)
        self._system.setProperty("role", "field")
        self._system.setTabChangesFocus(True)
        PlaceholderGuard(self._system)
        self._reset = TextButton("link", self)
        self._labels = [label(self) for _ in range(6)]
        self._system_timer = QTimer(self)
        self._system_timer.setSingleShot(True)
        self._system_timer.setInterval(CHANGE_DELAY_MS)
        self._build()
        self.show_values(self._sampling, "")
        self._connect()
        self._retranslate()

    def _real(self, low: float, high: float, step: float) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        box.setRange(low, high)
        box.setSingleStep(step)
        box.setDecimals(2)
        box.lineEdit().setTextMargins(*SPIN_MARGINS)
        return box

    def _whole(self, low: int, high: int) -> QSpinBox:
        box = QSpinBox(self)
        box.setRange(low, high)
        box.lineEdit().setTextMargins(*SPIN_MARGINS)
        return box

    def _fields(self) -> tuple[QWidget, ...]:
        return (
            self._temperature,
            self._top_p,
            self._top_k,
            self._repetition,
            self._max_tokens,
            self._seed,
        )

    def _build(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self._heading)
        head.addStretch()
        head.addWidget(self._reset)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(8)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignVCenter)
        for text, field in zip(self._labels, self._fields(), strict=True):
            field.setFixedWidth(132)
            row = QHBoxLayout()
            row.addStretch()
            row.addWidget(field)
            form.addRow(text, row)
        self.column.addWidget(self.presets)
        self.column.addSpacing(2)
        self.column.addLayout(head)
        self.column.addLayout(form)
        self.column.addWidget(self._thinks)
        self.column.addSpacing(4)
        self.column.addWidget(self._system_label)
        self.column.addWidget(self._system)

    def _connect(self) -> None:
        for box in (self._temperature, self._top_p, self._repetition):
            box.valueChanged.connect(self._on_changed)
        for box in (self._top_k, self._max_tokens):
            box.valueChanged.connect(self._on_changed)
        self._thinks.toggled.connect(self._on_changed)
        self._seed.editingFinished.connect(self._on_changed)
        self._reset.clicked.connect(self.reset_requested)
        self._system.textChanged.connect(self._system_timer.start)
        self._system_timer.timeout.connect(self._on_system_changed)
        self.presets.save_requested.connect(
            lambda name: self.preset_save_requested.emit(name, self.system_prompt, self._sampling)
        )
        self.presets.height_changed.connect(self.fit)

    @property
    def system_prompt(self) -> str:
        """What is written now."""
        return self._system.toPlainText()

    def show_presets(self, presets: Sequence[Preset]) -> None:
        """Shows the presets there are."""
        self.presets.show_presets(presets)
        self.presets.show_values(self.system_prompt, self._sampling)

    def _on_system_changed(self) -> None:
        self.system_prompt_changed.emit(self.system_prompt)
        self.presets.show_values(self.system_prompt, self._sampling)

    def show_thinking(self, *, can_skip: bool) -> None:
        """Whether there is a choice: of the model on show."""
        if can_skip != self._thinks.isVisibleTo(self):
            self._thinks.setVisible(can_skip)
            self.fit()

    def show_values(self, sampling: Sampling, system_prompt: str) -> None:
        """Shows values without saying that they changed; a field being typed into keeps its own."""
        self._sampling = sampling
        self._is_showing = True
        for box, value in (
            (self._temperature, sampling.temperature),
            (self._top_p, sampling.top_p),
            (self._repetition, sampling.repetition_penalty),
            (self._top_k, sampling.top_k),
            (self._max_tokens, sampling.max_new_tokens),
        ):
            if not _is_typed_into(box.lineEdit()):
                box.setValue(value)  # type: ignore[arg-type]
        self._thinks.setChecked(sampling.thinks)
        if not _is_typed_into(self._seed):
            self._seed.setText("" if sampling.seed is None else str(sampling.seed))
        if self._system.toPlainText() != system_prompt:
            was_blocked = self._system.blockSignals(True)
            self._system.setPlainText(system_prompt)
            self._system.blockSignals(was_blocked)
        self._is_showing = False
        self.presets.show_values(system_prompt, sampling)

    def _on_changed(self) -> None:
        if self._is_showing:
            return
        seed = self._seed.text().strip()
        self._sampling = structs.replace(
            self._sampling,  # has more than there are fields
            temperature=self._temperature.value(),
            top_p=self._top_p.value(),
            top_k=self._top_k.value(),
            repetition_penalty=self._repetition.value(),
            max_new_tokens=self._max_tokens.value(),
            thinks=self._thinks.isChecked(),
            seed=int(seed) if seed else None,
        )
        self.sampling_changed.emit(self._sampling)
        self.presets.show_values(self.system_prompt, self._sampling)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._heading.setText(self.tr("Sampling"))
        self._reset.set_texts(self.tr("Reset"), self.tr("Back to what the model recommends"))
        names = (
            self.tr("Temperature"),
            self.tr("Top-p"),
            self.tr("Top-k (0 = off)"),
            self.tr("Repetition penalty"),
            self.tr("Longest answer, tokens"),
            self.tr("Seed"),
        )
        for text, field, name in zip(self._labels, self._fields(), names, strict=True):
            text.setText(name)
            field.setAccessibleName(name)
            field.setLocale(QLocale.c())
        self._thinks.setText(self.tr("Think before answering"))
        self._thinks.setToolTip(
            self.tr("Reasoning makes hard questions right more often, and takes its time")
        )
        self._seed.setPlaceholderText(self.tr("at random"))
        self._system_label.setText(self.tr("System prompt"))
        self._system.setAccessibleName(self.tr("System prompt"))
        self._system.setPlaceholderText(
            self.tr("What the model should know or how it should speak")
        )


def _is_typed_into(edit: QLineEdit) -> bool:
    """Whether a field has the keys and letters of the person's; a spin box has its edit's."""
    owner = edit.focusProxy() or edit
    return owner.hasFocus() and edit.isModified()
