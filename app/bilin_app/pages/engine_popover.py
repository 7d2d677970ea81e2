"""The engine's state in words, its reason, and the one button that mends it."""

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QWidget
from typing_extensions import override

from bilin_app.controllers.engine_views import EngineView, ModelView
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.popover import Popover
from bilin_app.theme.theme import theme

WIDTH = 376
DETAIL_HEIGHT = 140


class EnginePopover(Popover):
    """Opens beside the rail's engine button."""

    mend_requested = Signal()
    report_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFixedWidth(WIDTH)
        self._view = EngineView("starting")
        self._heading = label(self, "section")
        self._model = label(self, "muted", wraps=True)
        self._reason = label(self, wraps=True)
        self._detail = QPlainTextEdit(self)
        self._detail.setObjectName("detail")
        self._detail.setReadOnly(True)
        self._detail.setFixedHeight(DETAIL_HEIGHT)
        self._detail.hide()
        self._details = TextButton("link", self)
        self._details.clicked.connect(self._on_details_clicked)
        self._report = TextButton("link", self)
        self._report.clicked.connect(self._on_report_clicked)
        self._mend = TextButton("primary", self)
        self._mend.clicked.connect(self._on_mend_clicked)
        row = QHBoxLayout()
        row.addWidget(self._details)
        row.addWidget(self._report)
        row.addStretch()
        row.addWidget(self._mend)
        for widget in (self._heading, self._model, self._reason, self._detail):
            self.column.addWidget(widget)
        self.column.addLayout(row)
        self._show()

    def show_view(self, view: EngineView) -> None:
        """Shows a state."""
        self._view = view
        if not view.detail:
            self._detail.hide()
        self._show()

    def _show(self) -> None:
        view = self._view
        self._heading.setText(self._state_words())
        self._model.setVisible(view.model is not None)
        if view.model is not None:
            self._model.setText(_model_words(view.model))
        self._reason.setVisible(bool(view.reason))
        self._reason.setText(view.reason)
        self._detail.setPlainText(view.detail)
        self._details.setVisible(bool(view.detail))
        is_open = self._detail.isVisibleTo(self)
        self._details.set_texts(self.tr("Hide details") if is_open else self.tr("Details"))
        self._detail.setAccessibleName(self.tr("Details"))
        self._report.set_texts(self.tr("Copy report"))
        self._mend.setVisible(bool(view.action))
        self._mend.set_texts(self._action_words())
        if self.isVisible():
            self.fit()

    def _state_words(self) -> str:
        match self._view.state:
            case "ready":
                return self.tr("The engine is ready")
            case "busy":
                return self.tr("The engine is writing")
            case "loading":
                percent = round(self._view.fraction * 100)
                return self.tr("Loading the model: {0} %").format(percent)
            case "starting":
                return self.tr("The engine is starting")
            case "fault":
                return self.tr("The engine has a fault")
            case "stopped":
                return self.tr("The engine is stopped")
            case "empty":
                return self.tr("No model is loaded")

    def _action_words(self) -> str:
        match self._view.action:
            case "restart":
                return self.tr("Start the engine")
            case "load":
                return self.tr("Load the model")
            case "models":
                return self.tr("Choose a model")
            case "":
                return ""

    def _on_details_clicked(self) -> None:
        self._detail.setVisible(not self._detail.isVisibleTo(self))
        self._show()

    def _on_report_clicked(self) -> None:
        self.close()
        self.report_requested.emit()

    def _on_mend_clicked(self) -> None:
        self.close()
        self.mend_requested.emit()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


def _model_words(model: ModelView) -> str:
    name = model.name_zh if theme().language == "zh" else model.name_en
    return " · ".join(part for part in (name, model.precision) if part)
