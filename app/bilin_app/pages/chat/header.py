"""The line above the messages: title, model, sampling."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QLocale, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QWidget
from typing_extensions import override

from bilin_app.pages.controls import TextButton
from bilin_app.pages.model_name import model_name
from bilin_app.pages.title_edit import TitleEdit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bilin_app.controllers.engine_views import ModelView
    from bilin_app.pages.chat.sampling import SamplingPopover
    from bilin_engine.protocol import Sampling

HEIGHT = 52
TEMPERATURE = 0.7  # Sampling's own, shown until one is known: the protocol is imported later


class Header(QWidget):
    """Shows which conversation and model this is; says what the person changes."""

    title_changed = Signal(str)
    model_chosen = Signal(str)
    sampling_changed = Signal(object)
    system_prompt_changed = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._model: ModelView | None = None
        self._models: Sequence[ModelView] = ()
        self._chosen: ModelView | None = None
        self._sampling: Sampling | None = None
        self._system_prompt = ""
        self.title = TitleEdit(self)
        self.title.changed.connect(self._on_title_changed)
        self.model = TextButton("pill", self)
        self.model.clicked.connect(self._open_models)
        self.sampling = TextButton("pill", self)
        self.sampling.clicked.connect(self._open_sampling)
        row = QHBoxLayout(self)
        row.setContentsMargins(24, 0, 24, 0)
        row.setSpacing(10)
        row.addWidget(self.title, 100)
        row.addStretch(1)
        row.addWidget(self.model)
        row.addWidget(self.sampling)
        self._show()

    @cached_property
    def popover(self) -> SamplingPopover:
        """The sampling and the system prompt, to be changed."""
        from bilin_app.pages.chat.sampling import SamplingPopover

        popover = SamplingPopover(self)
        if self._sampling is not None:
            popover.show_values(self._sampling, self._system_prompt)
        popover.show_thinking(can_skip=self._can_skip_thinking)
        popover.sampling_changed.connect(self._on_sampling_changed)
        popover.system_prompt_changed.connect(self._on_system_prompt_changed)
        return popover

    def show_title(self, title: str, *, can_rename: bool) -> None:
        """Shows a conversation's title; "" for a new one."""
        self.title.show_title(title, can_rename=can_rename)
        self._show()

    def show_models(self, model: ModelView | None, models: Sequence[ModelView]) -> None:
        """Shows the model in use and those that may take its place."""
        self._model, self._models = model, models
        self._show()

    def show_chosen_model(self, chosen: ModelView | None) -> None:
        """Shows the model that was chosen for this conversation; None = whichever is loaded."""
        self._chosen = chosen
        self._show()

    def show_sampling(self, sampling: Sampling, system_prompt: str) -> None:
        """Shows how answers are drawn."""
        self._sampling, self._system_prompt = sampling, system_prompt
        if "popover" in self.__dict__:
            self.popover.show_values(sampling, system_prompt)
        self._show()

    @property
    def _shown_model(self) -> ModelView | None:
        return self._chosen or self._model

    @property
    def _can_skip_thinking(self) -> bool:
        return self._shown_model is not None and self._shown_model.can_skip_thinking

    def _show(self) -> None:
        if "popover" in self.__dict__:
            self.popover.show_thinking(can_skip=self._can_skip_thinking)
        self.title.set_texts(
            self.tr("New chat"), self.tr("Rename this conversation"), self.tr("Title")
        )
        shown = self._shown_model
        if shown is None:
            self.model.set_texts(self.tr("No model") + "  ▾", self.tr("Choose a model"))
        else:
            parts = [model_name(shown), shown.precision]
            about = self.tr("Model: {0}").format(" · ".join(part for part in parts if part))
            parts[1] = shown.precision.partition(" ")[0]  # without the groups' size
            text = " · ".join(part for part in parts if part)
            if self._chosen is not None:
                about = self.tr("Chosen for this conversation: {0}").format(text)
                if self._model is None or self._model.id != self._chosen.id:
                    about = self.tr("{0}. It is loaded when you send a message.").format(about)
                    text = self.tr("{0} · not loaded").format(text)
            self.model.set_texts(f"{text}  ▾", about)
        temperature = TEMPERATURE if self._sampling is None else self._sampling.temperature
        value = QLocale.c().toString(temperature, "g", 2)
        self.sampling.set_texts(
            self.tr("Sampling {0}").format(value),
            self.tr("Sampling: temperature {0}").format(value),
        )

    def _open_models(self) -> None:
        self.make_menu().popup(self.model.mapToGlobal(self.model.rect().bottomLeft()))

    def make_menu(self) -> QMenu:
        """The models that can chat: one for this conversation, or whichever is loaded."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        shown = self._shown_model
        for model in self._models:
            action = menu.addAction(model_name(model))
            action.setCheckable(True)
            action.setChecked(shown is not None and model.id == shown.id)
            action.setEnabled(model.can_chat and not model.problem)
            action.setToolTip(model.problem)
            action.triggered.connect(lambda _checked, name=model.id: self.model_chosen.emit(name))
        menu.addSeparator()
        follow = menu.addAction(self.tr("Whichever model is loaded"))
        follow.setCheckable(True)
        follow.setChecked(self._chosen is None)
        follow.triggered.connect(lambda: self.model_chosen.emit(""))
        return menu

    def _open_sampling(self) -> None:
        self.popover.open_below(self.sampling)

    def _on_sampling_changed(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._show()
        self.sampling_changed.emit(sampling)

    def _on_system_prompt_changed(self, text: str) -> None:
        self._system_prompt = text
        self.system_prompt_changed.emit(text)

    def _on_title_changed(self, title: str) -> None:
        self.show_title(title, can_rename=True)
        self.title_changed.emit(title)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
