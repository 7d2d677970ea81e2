"""One model in detail: what it is, whether it is in memory, where it would lie."""

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.model_views import Fix, LoadView, ModelRow
from bilin_app.pages.controls import ElidedLabel, IconButton, TextButton, label
from bilin_app.pages.model_name import model_name
from bilin_app.pages.models import words
from bilin_app.pages.models.placement import PlacementCard

HEADER_HEIGHT = 52
MASKS = {"short": "[MASK]", "long": "[gMASK]", "sentence": "[sMASK]"}
NUM_FACT_COLUMNS = 4
NAME_WIDTH = 140  # px that a name keeps beside its badges
FACTS = ("parameters", "precision", "disk", "licence", "layers", "window", "family", "source")


class DetailHeader(QWidget):
    """Name, badges and what can be done with the model."""

    acted = Signal(str)  # "load", "unload", "stop", "verify", "rename", "reveal", "delete"

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEADER_HEIGHT)
        self._row = ModelRow(ModelView("", "", ""))
        self._load = LoadView()
        self._name = ElidedLabel(self)
        self._name.setObjectName("headerTitle")
        self._precision = label(self, "badge")
        self._languages = label(self, "plainBadge")
        self._masks = label(self, "plainBadge")
        self.rename = IconButton("pencil-simple", self)
        self.reveal = IconButton("folder-open", self)
        self.delete = IconButton("trash", self)
        self.verify = TextButton("", self)
        self.load = TextButton("primary", self)
        self.rename.clicked.connect(lambda: self.acted.emit("rename"))
        self.reveal.clicked.connect(lambda: self.acted.emit("reveal"))
        self.delete.clicked.connect(lambda: self.acted.emit("delete"))
        self.verify.clicked.connect(lambda: self.acted.emit("verify"))
        self.load.clicked.connect(lambda: self.acted.emit(self._load_action()))
        row = self._layout = QHBoxLayout(self)
        row.setContentsMargins(24, 0, 24, 0)
        row.setSpacing(10)
        row.addWidget(self._name)
        row.addWidget(self.rename)
        for badge in (self._precision, self._languages, self._masks):
            row.addWidget(badge, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addStretch(1)
        for button in (self.reveal, self.delete, self.verify, self.load):
            row.addWidget(button)
        self._show()

    def show_row(self, row: ModelRow) -> None:
        """Shows a model."""
        self._row = row
        self._show()

    def show_load(self, load: LoadView) -> None:
        """Shows whether it is in memory."""
        self._load = load
        self._show()

    def _load_action(self) -> str:
        return {
            "unloaded": "load",
            "loading": "stop",
            "loaded": "unload",
            "measuring": "stop measuring",
        }[self._load.state]

    def _show(self) -> None:
        row, model = self._row, self._row.model
        self._name.set_full_text(model_name(model))
        languages = {"zh": "中文", "en": "English"}
        spoken = " · ".join(languages.get(code, code) for code in row.languages)
        for badge, text in (
            (self._precision, model.precision.partition(" ")[0].rstrip(",")),
            (self._languages, spoken),
            (self._masks, " ".join(MASKS[kind] for kind in row.blanks)),
        ):
            badge.setText(text)
        is_usable = bool(model.id) and not model.problem and row.is_here
        is_own = bool(model.id) and not model.is_bundled and row.is_here
        self.rename.setVisible(is_own and bool(row.family))
        self.verify.setVisible(is_usable)
        self.load.setVisible(is_usable)
        self.delete.setVisible(is_own)
        self.reveal.setVisible(bool(row.path))
        self.verify.set_texts(self.tr("Verify"), self.tr("Compare every file with its sha256"))
        self.rename.set_texts("", self.tr("Rename this model"))
        self.reveal.set_texts("", self.tr("Show in the file manager"))
        self.delete.set_texts("", self.tr("Delete this model"))
        load_words = {
            "unloaded": self.tr("Load"),
            "loading": self.tr("Stop loading"),
            "loaded": self.tr("Unload"),
            "measuring": self.tr("Stop measuring"),
        }
        self.load.set_texts(load_words[self._load.state])
        role = "primary" if self._load.state == "unloaded" else ""
        if self.load.property("role") != role:
            self.load.setProperty("role", role)
            self.load.style().unpolish(self.load)
            self.load.style().polish(self.load)
        self._fit()

    def _fit(self) -> None:
        """Leaves out badges, from the last, where name and buttons need the room."""
        row = self._layout
        buttons = (self.rename, self.reveal, self.delete, self.verify, self.load)
        shown = [button for button in buttons if not button.isHidden()]
        room = self.width() - row.contentsMargins().left() - row.contentsMargins().right()
        room -= min(self._name.sizeHint().width(), NAME_WIDTH)
        room -= sum(button.sizeHint().width() + row.spacing() for button in shown)
        for badge in (self._precision, self._languages, self._masks):
            room -= badge.sizeHint().width() + row.spacing()
            badge.setVisible(bool(badge.text()) and room >= 0)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


class _FactsCard(QFrame):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._row: ModelRow | None = None
        self._names: dict[str, QLabel] = {}
        self._values: dict[str, ElidedLabel] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(20, 16, 20, 16)
        grid.setHorizontalSpacing(20)
        grid.setVerticalSpacing(2)
        for index, key in enumerate(FACTS):
            line, column = divmod(index, NUM_FACT_COLUMNS)
            self._names[key] = label(self, "muted")
            self._values[key] = ElidedLabel(self)
            grid.addWidget(self._names[key], line * 3, column)
            grid.addWidget(self._values[key], line * 3 + 1, column)
            grid.setColumnStretch(column, 1)
        grid.setRowMinimumHeight(2, 10)

    def show_row(self, row: ModelRow) -> None:
        self._row = row
        self._show()

    def _show(self) -> None:
        names = {
            "parameters": self.tr("Parameters"),
            "precision": self.tr("Precision"),
            "disk": self.tr("On disk"),
            "licence": self.tr("Licence"),
            "layers": self.tr("Layers / heads"),
            "window": self.tr("Window"),
            "family": self.tr("Family"),
            "source": self.tr("Source"),
        }
        for key, name in names.items():
            self._names[key].setText(name)
        if self._row is None:
            return
        row, model = self._row, self._row.model
        values = {
            "parameters": words.parameters(model.num_parameters),
            "precision": model.precision,
            "disk": words.disk_size(row.size_bytes),
            "licence": row.licence,
            "layers": f"{row.num_layers} / {row.num_heads}" if row.num_layers else "",
            "window": words.whole(model.context_length) if model.context_length else "",
            "family": row.family,
            "source": row.source,
        }
        for key, value in values.items():
            self._values[key].set_full_text(value or "—")

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


class _LoadCard(QFrame):
    """How far loading is, or why it did not work and what may be changed with one click.

    Also what of a load was done otherwise than asked.
    """

    fixed = Signal(object)  # Fix

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._load = LoadView()
        self._words = label(self, wraps=True)
        self._bar = QProgressBar(self)
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 14, 20, 14)
        column.setSpacing(8)
        self._fixes = QHBoxLayout()
        self._fixes.setSpacing(8)
        self._fixes.addStretch()
        self._buttons: list[TextButton] = []
        column.addWidget(self._words)
        column.addWidget(self._bar)
        column.addLayout(self._fixes)

    def show_load(self, load: LoadView) -> None:
        if load.fixes != self._load.fixes:
            self._make_buttons(load.fixes)
        self._load = load
        self._show()

    def _make_buttons(self, fixes: tuple[Fix, ...]) -> None:
        for button in self._buttons:
            self._fixes.removeWidget(button)
            button.deleteLater()
        self._buttons = [TextButton("suggestion", self) for _ in fixes]
        for index, (button, fix) in enumerate(zip(self._buttons, fixes, strict=True)):
            button.clicked.connect(lambda _checked, fix=fix: self.fixed.emit(fix))
            self._fixes.insertWidget(index, button)

    def _fix_words(self, fix: Fix) -> str:
        match fix.kind:
            case "context":
                return self.tr("Load with context {0}").format(words.whole(fix.choice.context))
            case "without":
                number = fix.device.partition(":")[2]
                return self.tr("Load without GPU {0}").format(number)
            case "cpu":
                return self.tr("Load with the CPU's help")
            case "again":
                return self.tr("Load again")

    def _show(self) -> None:
        load = self._load
        self.setObjectName("notice" if load.reason else "card")
        self.style().unpolish(self)
        self.style().polish(self)
        is_under_way = load.state in ("loading", "measuring")
        self.setVisible(is_under_way or bool(load.reason))
        for button, fix in zip(self._buttons, load.fixes, strict=True):
            button.set_texts(self._fix_words(fix))
        self._bar.setVisible(is_under_way)
        self._bar.setValue(round(load.fraction * 1000))
        self._bar.setAccessibleName(self.tr("Loading"))
        stages = {
            "open": self.tr("Opening the files"),
            "weights": self.tr("Reading the weights"),
            "threads": self.tr("Choosing the number of threads"),
            "selftest": self.tr("Testing these devices, once"),
            "measure": self.tr("Measuring the speed"),
        }
        text = stages.get(load.stage, self.tr("Starting"))
        loading = self.tr("{0}: {1} %").format(text, words.whole(load.fraction * 100))
        if load.eta_s is not None:
            loading += "   " + self.tr("{0} s left").format(words.whole(load.eta_s))
        self._words.setText(load.reason or loading)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


class Detail(QWidget):
    """Header and cards of the chosen model. fixed(Fix): a failed load is to be tried that way."""

    tokenizer_requested = Signal()
    fixed = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._row: ModelRow | None = None
        self.header = DetailHeader(self)
        self._problem = QFrame(self)
        self._problem.setObjectName("notice")
        self._problem_text = label(self._problem, wraps=True)
        self.add_tokenizer = TextButton("suggestion", self._problem)
        self.add_tokenizer.clicked.connect(self.tokenizer_requested)
        self.add_tokenizer.hide()
        box = QVBoxLayout(self._problem)
        box.setContentsMargins(20, 14, 20, 14)
        box.setSpacing(8)
        box.addWidget(self._problem_text)
        box.addWidget(self.add_tokenizer, 0, Qt.AlignmentFlag.AlignLeft)
        self._load = _LoadCard(self)
        self._load.fixed.connect(self.fixed)
        self.placement = PlacementCard(self)
        self._facts = _FactsCard(self)
        inner = QWidget(self)
        cards = QVBoxLayout(inner)
        cards.setContentsMargins(24, 20, 24, 20)
        cards.setSpacing(14)
        for card in (self._problem, self._load, self.placement, self._facts):
            cards.addWidget(card)
        cards.addStretch()
        scroll = QScrollArea(self)
        scroll.setObjectName("modelScroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inner)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(scroll, 1)

    def show_row(self, row: ModelRow) -> None:
        """Shows a model."""
        self.header.show_row(row)
        self._facts.show_row(row)
        self._row = row
        self._problem.setVisible(bool(row.model.problem))
        self.add_tokenizer.setVisible(row.lacks_tokenizer)
        self.placement.setVisible(not row.model.problem)
        self.placement.show_measured(row.measured_tok_s, row.measured_at)
        self._retranslate()

    def _retranslate(self) -> None:
        row = self._row
        if row is None:
            return
        text = row.model.problem
        if row.lacks_tokenizer:
            text = self.tr(
                "This model cannot read text yet: its tokenizer, ice_text.model, is missing. It is"
                " published beside GLM-130B's code (the icetk package)."
            )
        self._problem_text.setText(text)
        self.add_tokenizer.set_texts(self.tr("Choose ice_text.model…"))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def show_load(self, load: LoadView) -> None:
        """Shows whether it is in memory."""
        self.header.show_load(load)
        self._load.show_load(load)
