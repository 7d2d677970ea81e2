"""The placement card: a bar for each device, what may be changed, and what to expect of it."""

from dataclasses import replace
from itertools import pairwise

from PySide6.QtCore import QEvent, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.model_views import (
    MODES,
    DeviceBar,
    ModelRow,
    PlacementChoice,
    PlacementMode,
    PlacementView,
    Suggestion,
)
from bilin_app.pages.controls import SPIN_MARGINS, TextButton, label
from bilin_app.pages.dates import day
from bilin_app.pages.models import words
from bilin_app.pages.models.bars import Bar, Legend
from bilin_app.pages.wheel import leave_wheel_to_page

CHOICE_DELAY_MS = 60  # a moving slider asks for a plan so often at most
NUM_CONTEXT_STEPS = 64
CONTEXT_ROW_HEIGHT = 28
SMALLEST_CONTEXT_STEP = 32


class _DeviceRow:
    """Switch, bar and figure of one device, in the card's grid."""

    def __init__(self, card: "PlacementCard", grid: QGridLayout, row: int) -> None:
        self.name = ""
        self.switch = QCheckBox(card)
        self.bar = Bar(card)
        self.figure = label(card, "muted")
        align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        grid.addWidget(self.switch, row, 0)
        grid.addWidget(self.bar, row, 1)
        grid.addWidget(self.figure, row, 2, align)

    def set_visible(self, visible: bool) -> None:
        for widget in (self.switch, self.bar, self.figure):
            widget.setVisible(visible)


class PlacementCard(QFrame):
    """Shows a PlacementView; says `choice_changed(PlacementChoice)` after each change.

    measure_requested(), self_test_requested(): their buttons.
    """

    choice_changed = Signal(object)
    measure_requested = Signal()
    self_test_requested = Signal()
    convert_requested = Signal(str)  # with this group size

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._choice = PlacementChoice()
        self._view = PlacementView()
        self._max_context = 0
        self._step = SMALLEST_CONTEXT_STEP
        self._measured_tok_s = self._measured_at = 0.0
        self._num_layers = 0
        self._rows: list[_DeviceRow] = []
        self._suggested: tuple[Suggestion, ...] = ()  # what the buttons offer
        self._buttons: list[TextButton] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(CHOICE_DELAY_MS)
        self._timer.timeout.connect(lambda: self.choice_changed.emit(self._choice))
        self._make_controls()
        self._build()
        leave_wheel_to_page(self)
        self._retranslate()

    # --- Construction -----------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self._title = label(self, "section")
        self._segments = QFrame(self)
        self._segments.setObjectName("segments")
        self._modes = QButtonGroup(self)
        for index, _mode in enumerate(MODES):
            button = TextButton("segment", self._segments)
            button.setCheckable(True)
            self._modes.addButton(button, index)
        self._modes.idClicked.connect(lambda index: self._choose(mode=MODES[index]))
        self._problem = label(self, "danger", wraps=True)
        self._legend = Legend(self)
        self._context_name = label(self)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setMinimum(1)
        self.slider.valueChanged.connect(self._on_slider_moved)
        self._context_value = label(self)
        self._rate = label(self, "section")
        self._first_word = label(self, "muted")
        self._measured = label(self, "muted")
        self._prompt_name = label(self, "muted")
        self._prompt = self._spin(1, 1 << 20, 64, "")
        self._prompt.valueChanged.connect(lambda value: self._choose(prompt_tokens=value))
        self._reserve_name = label(self, "muted")
        self._reserve = self._spin(0, 1 << 16, 128, " MiB")
        self._reserve.valueChanged.connect(lambda value: self._choose(reserve_mib=value))
        self._cpu_name = label(self, "muted")
        self._cpu = self._spin(0, 1, 1, "")
        self._cpu.setFixedWidth(84)
        self._cpu.valueChanged.connect(lambda value: self._choose(cpu_layers=value))
        self.measure = TextButton("link", self, icon_name="play")
        self.measure.clicked.connect(self.measure_requested)
        self.self_test = TextButton("link", self, icon_name="check-circle")
        self.self_test.clicked.connect(self.self_test_requested)
        self._devices_name = label(self, "muted")
        self.devices = QLineEdit(self)
        self.devices.setClearButtonEnabled(True)
        self.devices.editingFinished.connect(self._on_devices_edited)

    def _spin(self, low: int, high: int, step: int, suffix: str) -> QSpinBox:
        box = QSpinBox(self)
        box.setRange(low, high)
        box.setSingleStep(step)
        box.setSuffix(suffix)
        box.setGroupSeparatorShown(True)
        box.setKeyboardTracking(False)
        box.lineEdit().setTextMargins(*SPIN_MARGINS)
        box.setFixedWidth(104)
        box.editingFinished.connect(self._show)  # what came while it was left alone
        return box

    def _build(self) -> None:
        segments = QHBoxLayout(self._segments)
        segments.setContentsMargins(0, 0, 0, 0)
        segments.setSpacing(0)
        for button in self._modes.buttons():
            segments.addWidget(button)
        head = QHBoxLayout()
        head.addWidget(self._title)
        head.addStretch()
        head.addWidget(self._segments)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(20)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnMinimumWidth(0, 144)
        self._grid.setColumnMinimumWidth(2, 148)
        self._grid.setColumnStretch(1, 1)
        context = QHBoxLayout()
        context.setSpacing(16)
        self.slider.setMaximumWidth(300)
        self.slider.setMinimumHeight(CONTEXT_ROW_HEIGHT)
        context.addWidget(self._context_name)
        context.addWidget(self.slider, 1)
        context.addWidget(self._context_value)
        context.addStretch()
        context.addWidget(self._rate)
        context.addWidget(self._first_word)
        expected = QHBoxLayout()
        expected.setSpacing(8)
        expected.addWidget(self._measured, 1)
        expected.addWidget(self.measure)
        expected.addWidget(self.self_test)
        self._suggestions = QHBoxLayout()
        self._suggestions.setSpacing(8)
        self._suggestions.addStretch()
        more = QHBoxLayout()
        more.setSpacing(8)
        for name, control in (
            (self._prompt_name, self._prompt),
            (self._reserve_name, self._reserve),
            (self._cpu_name, self._cpu),
            (self._devices_name, self.devices),
        ):
            if more.count():
                more.addSpacing(12)
            more.addWidget(name)
            more.addWidget(control)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(10)
        column.addLayout(head)
        column.addWidget(self._problem)
        column.addLayout(self._grid)
        column.addWidget(self._legend)
        column.addLayout(context)
        column.addLayout(self._suggestions)
        column.addLayout(more)
        column.addLayout(expected)

    # --- Data in ----------------------------------------------------------------------------------

    def show_model(self, row: ModelRow, choice: PlacementChoice) -> None:
        """Another model, and what was chosen for it."""
        self._timer.stop()
        max_context = row.model.context_length
        self._max_context = max_context
        self._num_layers = row.num_layers
        self._measured_tok_s, self._measured_at = row.measured_tok_s, row.measured_at
        self.measure.setVisible(row.is_here)
        self._step = max(SMALLEST_CONTEXT_STEP, max_context // NUM_CONTEXT_STEPS)
        self._choice = choice
        self._view = PlacementView(context=choice.context or max_context)
        self._show(is_typing_kept=False)

    def show_measured(self, measured_tok_s: float, measured_at: float) -> None:
        """What this model reached on this machine, and when (seconds since the epoch)."""
        self._measured_tok_s, self._measured_at = measured_tok_s, measured_at
        self._show_expected()

    def show_placement(self, view: PlacementView) -> None:
        """A plan for the choice on show."""
        self._view = view
        self._show()

    @property
    def choice(self) -> PlacementChoice:
        """What is set now."""
        return self._choice

    def _show(self, *, is_typing_kept: bool = True) -> None:
        view, choice = self._view, self._choice
        self._show_rows(view.bars)
        self._modes.button(MODES.index(choice.mode)).setChecked(True)
        problem = view.problem
        if not problem and view.short_bytes:
            short = words.whole(-(-view.short_bytes // words.MIB))
            device = self._device_name(view.short_device)
            problem = self.tr("Needs {0} MiB more on {1}").format(short, device)
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        context = choice.context or view.context or self._max_context
        with QSignalBlocker(self.slider):
            self.slider.setMaximum(max(1, -(-self._max_context // self._step)))
            self.slider.setValue(-(-context // self._step))
        for box, most, value in (
            (self._prompt, context, choice.prompt_tokens or view.prompt_tokens or 1),
            (self._reserve, self._reserve.maximum(), choice.reserve_mib),
            (self._cpu, self._num_layers, choice.cpu_layers),
        ):
            if is_typing_kept and box.hasFocus():
                continue  # plans come every few seconds and would overwrite what is being typed
            with QSignalBlocker(box):
                box.setMaximum(max(1, most))
                box.setValue(value)
        names = [bar.name for bar in view.bars]
        can_share = len(names) > 1 and "cpu" in names and "cpu" not in choice.off
        self._cpu.setVisible(can_share)
        self._cpu_name.setVisible(can_share)
        has_gpus = any(name != "cpu" for name in names)
        self._reserve.setVisible(has_gpus)
        self._reserve_name.setVisible(has_gpus)
        self._segments.setVisible(len(names) > 1)
        if not (is_typing_kept and self.devices.hasFocus()):
            self.devices.setText(choice.devices)
        self._show_context(context)
        self._show_expected()
        self._show_suggestions(view.suggestions)

    def _show_rows(self, bars: tuple[DeviceBar, ...]) -> None:
        while len(self._rows) < len(bars):
            row = _DeviceRow(self, self._grid, len(self._rows))
            row.switch.toggled.connect(lambda on, row=row: self._on_switched(row.name, on))
            self._rows.append(row)
        for index, row in enumerate(self._rows):
            row.set_visible(index < len(bars))
            if index < len(bars):
                self._show_row(row, bars[index])
        self._legend.setVisible(bool(bars))
        self._legend.set_shows_real(any(bar.real_bytes is not None for bar in bars))

    def _show_row(self, row: _DeviceRow, bar: DeviceBar) -> None:
        row.name = bar.name
        with QSignalBlocker(row.switch):
            row.switch.setChecked(bar.is_on)
        name = self._device_name(bar.name)
        model = words.device_model(bar.label).partition(", ")[0]
        metrics = row.switch.fontMetrics()
        text = f"{name}  {model}" if model.casefold() not in ("cpu", name.casefold()) else name
        row.switch.setText(metrics.elidedText(text, Qt.TextElideMode.ElideRight, 190))
        row.switch.setToolTip(bar.label)
        row.switch.setAccessibleName(self.tr("Use {0}").format(f"{name} {bar.label}"))
        row.bar.show_bar(bar)
        if not bar.is_on:
            figure = self.tr("off")
        elif bar.free < 0:
            figure = self.tr("needs {0} MiB more").format(words.whole(-(bar.free // words.MIB)))
        else:
            figure = words.memory(bar.used, bar.total)
            if bar.is_used and 0 < bar.num_layers < self._num_layers and not self._is_parallel:
                figure = self.tr("{0} layers").format(bar.num_layers) + "   " + figure
        row.figure.setText(figure)
        _set_role(row.figure, "danger" if bar.is_on and bar.free < 0 else "muted")

    @property
    def _is_parallel(self) -> bool:
        return self._view.mode == "tensor_parallel"

    def _show_context(self, context: int) -> None:
        text = words.whole(context)
        self._context_value.setText(text)
        self.slider.setAccessibleDescription(self.tr("{0} tokens").format(text))

    def _show_expected(self) -> None:
        view = self._view
        rate_text = first_text = measured_text = ""
        if view.rate_tok_s and not view.problem:
            rate = words.tokens_per_s(view.rate_tok_s)
            expected = self.tr("expected {0} tok/s")
            rate_text = expected if view.is_measured else self.tr("estimated {0} tok/s")
            rate_text = rate_text.format(rate)
            first_text = self.tr("first word {0} s").format(words.seconds(view.first_token_s))
        if self._measured_tok_s:
            rate = words.tokens_per_s(self._measured_tok_s)
            measured_text = self.tr("measured {0} tok/s on {1}")
            measured_text = measured_text.format(rate, day(self._measured_at))
        self._rate.setText(rate_text)
        self._first_word.setText(first_text)
        self._measured.setText(measured_text)
        for one in (self._rate, self._first_word):
            one.setToolTip("\n".join(view.assumptions))

    def _show_suggestions(self, suggestions: tuple[Suggestion, ...]) -> None:
        if suggestions != self._suggested:  # a new button has not the focus of the old one
            self._suggested = suggestions
            self._make_buttons()
        for button, suggestion in zip(self._buttons, suggestions, strict=True):
            button.set_texts(self._suggestion_words(suggestion))
        self._order_tabs()

    def _make_buttons(self) -> None:
        for button in self._buttons:
            self._suggestions.removeWidget(button)
            button.deleteLater()
        self._buttons = [TextButton("suggestion", self) for _ in self._suggested]
        for index, button in enumerate(self._buttons):
            suggestion = self._suggested[index]
            button.clicked.connect(lambda _checked, s=suggestion: self._on_suggested(s))
            self._suggestions.insertWidget(index, button)

    def _order_tabs(self) -> None:
        """From top to bottom: devices and suggestions come and go, and Qt puts new ones last."""
        way: list[QWidget] = [*self._modes.buttons(), *(row.switch for row in self._rows)]
        way += [self.slider, *self._buttons, self._prompt, self._reserve, self._cpu, self.devices]
        way += [self.measure, self.self_test]
        for before, after in pairwise(way):
            QWidget.setTabOrder(before, after)

    # --- Words ------------------------------------------------------------------------------------

    def _device_name(self, name: str) -> str:
        if name == "cpu":
            return self.tr("CPU")
        return self.tr("GPU {0}").format(name.partition(":")[2])

    def _mode_words(self) -> dict[PlacementMode, str]:
        return {
            "auto": self.tr("Automatic"),
            "single": self.tr("One device"),
            "layer_split": self.tr("Layer split"),
            "tensor_parallel": self.tr("Tensor parallel"),
        }

    def _suggestion_words(self, suggestion: Suggestion) -> str:
        choice = suggestion.choice
        match suggestion.kind:
            case "mode":
                mode = self._mode_words()[choice.mode]
                return self.tr("Use: {0}").format(mode)
            case "context":
                return self.tr("Use context {0}").format(words.whole(choice.context))
            case "rows":
                return self.tr("Convert with one scale per row")
            case "cpu":
                return self.tr("Let the CPU help")
            case "kv":
                return self.tr("Keep the KV cache in 8 bits")

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
            self._show()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._title.setText(self.tr("Placement"))
        about = {
            "auto": self.tr("The fastest that fits"),
            "single": self.tr("Everything on the fastest device that holds it"),
            "layer_split": self.tr("Whole layers, one device after the other"),
            "tensor_parallel": self.tr("A part of each layer on every GPU, all at the same time"),
        }
        for index, mode in enumerate(MODES):
            button = self._modes.button(index)
            assert isinstance(button, TextButton)
            button.set_texts(self._mode_words()[mode], about[mode])
            button.setAccessibleName(self._mode_words()[mode])
        self._context_name.setText(self.tr("Context"))
        self.slider.setAccessibleName(self.tr("Context"))
        for name, control, text, tip in (
            (self._prompt_name, self._prompt, self.tr("Prompt"), self.tr("Tokens of a prompt")),
            (
                self._reserve_name,
                self._reserve,
                self.tr("Reserve"),
                self.tr("Memory kept free on each GPU"),
            ),
            (
                self._cpu_name,
                self._cpu,
                self.tr("CPU layers"),
                self.tr("Layers that the CPU computes at least; those no GPU holds come on top"),
            ),
            (
                self._devices_name,
                self.devices,
                self.tr("Devices"),
                self.tr("Plan for other devices than this machine's, for example 4x24GiB"),
            ),
        ):
            name.setText(text)
            name.setToolTip(tip)
            control.setToolTip(tip)
            control.setAccessibleName(text)
            control.setAccessibleDescription(tip)
        self._cpu.setSpecialValueText(self.tr("none"))
        self.measure.set_texts(
            self.tr("Measure speed"),
            self.tr("Times this model here, about 20 seconds; predictions then follow from it"),
        )
        self.self_test.set_texts(
            self.tr("Self-test"),
            self.tr("Checks that this machine computes what it should; gives a report to send"),
        )
        self.devices.setPlaceholderText(self.tr("this machine, or e.g. 4x24GiB"))

    # --- Events -----------------------------------------------------------------------------------

    def _choose(self, *, at_once: bool = True, **changes: object) -> None:
        choice = replace(self._choice, **changes)  # type: ignore[arg-type]
        if choice == self._choice:
            return
        self._choice = choice
        if at_once:
            self._timer.stop()
            self.choice_changed.emit(choice)
        elif not self._timer.isActive():
            self._timer.start()

    def _on_slider_moved(self, value: int) -> None:
        context = min(value * self._step, self._max_context)
        self._show_context(context)
        prompt = min(self._choice.prompt_tokens, context)
        self._choose(at_once=False, context=context, prompt_tokens=prompt)

    def _on_switched(self, name: str, on: bool) -> None:
        off = self._choice.off - {name} if on else self._choice.off | {name}
        self._choose(off=off)

    def _on_devices_edited(self) -> None:
        text = self.devices.text().strip()
        if text != self._choice.devices:
            self._choose(devices=text, off=frozenset())

    def _on_suggested(self, suggestion: Suggestion) -> None:
        if suggestion.group_size:
            self.convert_requested.emit(suggestion.group_size)
            return
        self._choice = suggestion.choice
        self._show()
        self.choice_changed.emit(self._choice)


def _set_role(text: QLabel, role: str) -> None:
    if text.property("role") != role:
        text.setProperty("role", role)
        text.style().unpolish(text)
        text.style().polish(text)
