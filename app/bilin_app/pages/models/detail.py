"""One model in detail: what it is, whether it is in memory, where it would lie."""

from PySide6.QtCore import QEvent, QLocale, Qt, Signal
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

from bilin_app.controllers.model_views import LoadView, ModelRow
from bilin_app.controllers.views import ModelView
from bilin_app.pages.chat.message import model_name
from bilin_app.pages.controls import ElidedLabel, IconButton, TextButton, label
from bilin_app.pages.models import words
from bilin_app.pages.models.placement import PlacementCard

HEADER_HEIGHT = 52
MASKS = {"short": "[MASK]", "long": "[gMASK]", "sentence": "[sMASK]"}
NUM_FACT_COLUMNS = 4
FACTS = ("parameters", "precision", "disk", "licence", "layers", "window", "family", "source")


class DetailHeader(QWidget):
    """Name, badges and what can be done with the model."""

    acted = Signal(str)  # "load", "unload", "stop", "verify", "reveal", "delete"

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
        self.reveal = IconButton("folder-open", self)
        self.delete = IconButton("trash", self)
        self.verify = TextButton("", self)
        self.load = TextButton("primary", self)
        self.reveal.clicked.connect(lambda: self.acted.emit("reveal"))
        self.delete.clicked.connect(lambda: self.acted.emit("delete"))
        self.verify.clicked.connect(lambda: self.acted.emit("verify"))
        self.load.clicked.connect(lambda: self.acted.emit(self._load_action()))
        row = QHBoxLayout(self)
        row.setContentsMargins(24, 0, 24, 0)
        row.setSpacing(10)
        row.addWidget(self._name)
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
        return {"unloaded": "load", "loading": "stop", "loaded": "unload"}[self._load.state]

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
            badge.setVisible(bool(text))
        is_usable = bool(model.id) and not model.problem
        self.verify.setVisible(is_usable)
        self.load.setVisible(is_usable)
        self.delete.setVisible(bool(model.id) and not model.is_bundled)
        self.reveal.setVisible(bool(row.path))
        self.verify.set_texts(self.tr("Verify"), self.tr("Compare every file with its sha256"))
        self.reveal.set_texts("", self.tr("Show in the file manager"))
        self.delete.set_texts("", self.tr("Delete this model"))
        load_words = {
            "unloaded": self.tr("Load"),
            "loading": self.tr("Stop loading"),
            "loaded": self.tr("Unload"),
        }
        self.load.set_texts(load_words[self._load.state])
        role = "primary" if self._load.state == "unloaded" else ""
        if self.load.property("role") != role:
            self.load.setProperty("role", role)
            self.load.style().unpolish(self.load)
            self.load.style().polish(self.load)

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
            "window": f"{model.context_length:,}" if model.context_length else "",
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
    """How far loading is, why it did not work, or what of it was done otherwise than asked."""

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
        column.addWidget(self._words)
        column.addWidget(self._bar)

    def show_load(self, load: LoadView) -> None:
        self._load = load
        self._show()

    def _show(self) -> None:
        load = self._load
        self.setObjectName("notice" if load.reason else "card")
        self.style().unpolish(self)
        self.style().polish(self)
        self.setVisible(load.state == "loading" or bool(load.reason))
        self._bar.setVisible(load.state == "loading")
        self._bar.setValue(round(load.fraction * 1000))
        self._bar.setAccessibleName(self.tr("Loading"))
        stages = {
            "open": self.tr("Opening the files"),
            "weights": self.tr("Reading the weights"),
            "threads": self.tr("Choosing the number of threads"),
            "selftest": self.tr("Testing these devices, once"),
        }
        text = stages.get(load.stage, self.tr("Starting"))
        percent = QLocale.c().toString(round(load.fraction * 100))
        loading = self.tr("{0}: {1} %").format(text, percent)
        if load.eta_s is not None:
            loading += "   " + self.tr("{0} s left").format(round(load.eta_s))
        self._words.setText(load.reason or loading)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


class Detail(QWidget):
    """Header and cards of the chosen model."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.header = DetailHeader(self)
        self._problem = QFrame(self)
        self._problem.setObjectName("notice")
        self._problem_text = label(self._problem, wraps=True)
        box = QVBoxLayout(self._problem)
        box.setContentsMargins(20, 14, 20, 14)
        box.addWidget(self._problem_text)
        self._load = _LoadCard(self)
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
        self._problem.setVisible(bool(row.model.problem))
        self._problem_text.setText(row.model.problem)
        self.placement.setVisible(not row.model.problem)
        self.placement.show_measured(row.measured_tok_s)

    def show_load(self, load: LoadView) -> None:
        """Shows whether it is in memory."""
        self.header.show_load(load)
        self._load.show_load(load)
