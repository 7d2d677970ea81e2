"""The engine for the rail and for whoever sends requests: start, model, faults, one mending button.

Knows models and the engine's states; knows nothing of conversations.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.engine_views import EngineAction, EngineView, ModelView
from bilin_app.controllers.restart_limit import RestartLimit
from bilin_app.controllers.views import ExampleView
from bilin_app.engine_client.client import EngineClient, RequestFailure, RequestHandle
from bilin_app.engine_client.process import EngineCommand, EngineEnd
from bilin_engine.protocol import (
    Cancel,
    EngineStatus,
    ListModels,
    LoadModel,
    LoadSettings,
    ModelInfo,
    ModelLoaded,
    ModelsFolderState,
    ModelsListed,
    Progress,
    ProofreadFigures,
    Request,
    Sampling,
    TrashedModel,
    UnloadModel,
)

logger = logging.getLogger(__name__)

Place = Callable[
    [str, Callable[[LoadSettings], None], Callable[[RequestFailure], None]],
    None,
]

_MODEL_AT_FAULT = ("model_broken", "model_not_found", "unsupported_model")


class EngineController(QObject):
    """The engine's state, always with a reason and the one thing that mends it.

    mended(): the engine is ready after a person pressed that button. ready(str): a model can be
    asked. model_chosen(str): one that a person asked for is loaded, to be remembered.
    loaded(ModelLoaded), load_progressed(Progress): as the engine says them. interrupted(): what is
    being written has to stop. text_awaited(): a person waits for a text that was just asked for.
    place: finds out how a model is to be loaded, and says that or why it cannot be known; whoever
    knows may put it in. It is asked before every load, whoever wants that one.
    """

    view_changed = Signal(object)
    models_changed = Signal(object)
    examples_changed = Signal(object)
    notice = Signal(str)
    ready = Signal(str)
    mended = Signal()
    model_chosen = Signal(str)
    loaded = Signal(object)
    interrupted = Signal()
    text_awaited = Signal()
    load_progressed = Signal(object)

    def __init__(
        self, client: EngineClient, last_model: str = "", parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._wanted = last_model
        self._infos: tuple[ModelInfo, ...] = ()
        self._restart_limit = RestartLimit()
        self._is_mending = self._is_restarting = False
        self._load_id: int | None = None
        self._given_up: set[int] = set()  # loads that the engine still has to end
        self._num_loads = 0
        self._placing: int | None = None  # the load that waits to hear how
        self._trash: tuple[TrashedModel, ...] = ()
        self._known: tuple[ModelInfo, ...] = ()
        self.models_folder: ModelsFolderState = "there"  # when it was last read
        self.place: Place = lambda _model_id, placed, _refused: placed(LoadSettings())
        self.view = EngineView("stopped", action="restart")
        self.context_length = 0
        client.greeted.connect(self._on_greeted)
        client.status_changed.connect(self._on_status)
        client.ended.connect(self._on_ended)

    @property
    def client(self) -> EngineClient:
        """Where requests go and events come from."""
        return self._client

    @property
    def infos(self) -> tuple[ModelInfo, ...]:
        """The library as last listed, as the engine says it."""
        return self._infos

    @property
    def trash(self) -> tuple[TrashedModel, ...]:
        """Deleted models as last listed."""
        return self._trash

    @property
    def known(self) -> tuple[ModelInfo, ...]:
        """Models that can be planned without being here."""
        return self._known

    @property
    def models(self) -> list[ModelView]:
        """The library as last listed, bundled model first."""
        return [model_view(info) for info in self._infos]

    @property
    def examples(self) -> list[ExampleView]:
        """What the loaded (or loading) model was measured to answer in a chat."""
        info = self._info(self.view.model.id if self.view.model else "")
        if info is None:
            return []
        return [ExampleView(e.lang, e.text) for e in info.examples if e.kind == "chat"]

    @property
    def proofread_figures(self) -> ProofreadFigures | None:
        """How well the model in use finds wrong words; None = untested, or no model."""
        info = self._info(self.view.model.id) if self.view.model is not None else None
        return info.proofread if info is not None else None

    @property
    def blank_examples(self) -> list[ExampleView]:
        """What the loaded (or loading) model was measured to fill; masks as literal tokens."""
        info = self._info(self.view.model.id if self.view.model else "")
        if info is None:
            return []
        return [ExampleView(e.lang, e.text) for e in info.examples if e.kind == "blank"]

    @property
    def model(self) -> ModelView | None:
        """The model that can be asked now, or None."""
        return self.view.model if self.view.state in ("ready", "busy") else None

    def spawn(self) -> None:
        """Lets the engine's process begin, for a `start()` that follows soon."""
        self._client.spawn()

    def start(self) -> None:
        """Starts the engine and then loads the model of last time, or the bundled one."""
        if not self._client.is_started:
            self._restart_limit.started()
            self._set(EngineView("starting", model=self.view.model))
            self._client.start()

    def restart(self, command: EngineCommand) -> None:
        """Ends the engine and starts it as another command says."""
        self._client.set_command(command)
        if self._client.is_running:
            self._is_restarting = True
            self._client.stop()
        else:
            self.start()

    def load(self, model_id: str) -> None:
        """Loads a model in place of the loaded one."""
        self._wanted = model_id
        if self._client.is_connected:
            self._load(model_id)
        else:
            self.start()

    def _load(self, model_id: str) -> None:
        info = self._info(model_id)
        self._set(EngineView("loading", model=model_view(info) if info else None))
        self._give_up_load()
        self._num_loads += 1
        self._placing = number = self._num_loads
        self.place(
            model_id,
            lambda settings: self._on_placed(number, model_id, settings),
            lambda failure: self._on_place_refused(number, failure),
        )

    def _on_placed(self, number: int, model_id: str, settings: LoadSettings) -> None:
        if number != self._placing:
            return
        self._placing = None
        handle = self._client.send(lambda i: LoadModel(id=i, model=model_id, settings=settings))
        # The id, not the handle: a handle whose own connection holds it is never freed.
        self._load_id = load_id = handle.id
        handle.progressed.connect(lambda progress: self._on_progress(load_id, progress))
        handle.done.connect(lambda result: self._on_loaded(load_id, result))
        handle.failed.connect(lambda failure: self._on_load_failed(load_id, failure))
        handle.cancelled.connect(lambda: self._on_load_cancelled(load_id))

    def _give_up_load(self) -> None:
        """Another model is wanted: the engine would end the load under way before it begins."""
        load_id, self._load_id = self._load_id, None
        if load_id is not None:
            self._given_up.add(load_id)
            self._client.send(lambda i: Cancel(id=i, target=load_id))

    def _on_place_refused(self, number: int, failure: RequestFailure) -> None:
        if number != self._placing:
            return
        self._placing = None
        if failure.end is None:
            self._fault(failure, "models")  # what was set there is what has to change

    @property
    def _is_loading(self) -> bool:
        return self._load_id is not None or self._placing is not None

    def stop_loading(self) -> None:
        """Gives up the load that is under way; nothing is loaded then."""
        load_id = self._load_id
        if self._placing is not None:
            self._end_load()
        elif load_id is not None:
            self._client.send(lambda i: Cancel(id=i, target=load_id))

    def load_wanted(self) -> None:
        """Loads the model again that was there before (an idle engine lets go of it)."""
        if not self._client.is_running:
            self.start()
        elif self._client.is_connected and not self._is_loading:
            self._choose_and_load()

    def interrupt(self) -> None:
        """A person wants the engine for something else: whoever asked it for a text stops."""
        self.interrupted.emit()

    def unload(self) -> None:
        """Frees the memory; the engine stays."""
        self._client.send(lambda i: UnloadModel(id=i))

    def mend(self) -> None:
        """The one button: starts the engine again or loads the model again, whatever is missing."""
        self._restart_limit.reset()
        self._is_mending = True
        self.load_wanted()

    def recover(self) -> bool:
        """As `mend`, but by itself, after the engine died at work: False if it did too often."""
        if not self._restart_limit.may_restart():
            return False
        self.load_wanted()
        return True

    def can_load(self, model_id: str) -> bool:
        """Whether a model is in the library, fit to chat."""
        info = self._info(model_id)
        return info is not None and info.can_chat and not info.problem

    def model_named(self, model_id: str) -> ModelView | None:
        """A model of the library, loaded or not."""
        info = self._info(model_id)
        return model_view(info) if info is not None else None

    def send(self, make: Callable[[int], Request]) -> RequestHandle:
        """Sends a request; see EngineClient.send."""
        return self._client.send(make)

    def send_for_text(self, make: Callable[[int], Request]) -> RequestHandle:
        """Sends a request whose text a person waits for: it goes before what is read meanwhile."""
        handle = self._client.send(make)
        self.text_awaited.emit()
        return handle

    def finish(self) -> None:
        """Ends the engine and waits for it: for the app's last moments."""
        self._client.ended.disconnect(self._on_ended)
        self._client.finish()

    @property
    def recommended_sampling(self) -> Sampling:
        """What the model on show recommends; the protocol's defaults while there is none."""
        info = self._info(self.view.model.id) if self.view.model else None
        return info.sampling if info is not None else Sampling()

    def refresh_models(self) -> None:
        """Reads the library again; models_changed follows. The first that is usable is loaded."""
        handle = self._client.send(lambda i: ListModels(id=i))
        handle.done.connect(self._on_models)

    def _info(self, model_id: str) -> ModelInfo | None:
        return next((info for info in self._infos if info.id == model_id), None)

    def _set(self, view: EngineView) -> None:
        if view == self.view:
            return
        old, self.view = self.view, view
        self.view_changed.emit(view)
        if view != self.view:  # a listener loads another model: those after it heard that first
            self.view_changed.emit(self.view)
        if (old.model and old.model.id) != (view.model and view.model.id):
            self.examples_changed.emit(self.examples)

    def _on_greeted(self, _hello: object) -> None:
        handle = self._client.send(lambda i: ListModels(id=i))
        handle.done.connect(self._on_first_models)
        handle.failed.connect(self._on_list_failed)

    def _on_first_models(self, result: ModelsListed) -> None:
        self._take_models(result)
        self._choose_and_load()

    def _on_models(self, result: ModelsListed) -> None:
        self._take_models(result)
        if (self.view.state, self.view.action) == ("empty", "models") and self._usable:
            self._is_mending = True  # a message may wait for it
            self._choose_and_load()

    def _take_models(self, result: ModelsListed) -> None:
        self._infos, self._trash, self._known = result.models, result.trash, result.known
        self.models_folder = result.folder
        self.models_changed.emit(self.models)

    def _on_list_failed(self, failure: RequestFailure) -> None:
        if failure.end is None:  # otherwise _on_ended tells it better
            self._fault(failure, "restart")

    @property
    def _usable(self) -> list[ModelInfo]:
        return [info for info in self._infos if not info.problem]

    def _choose_and_load(self) -> None:
        usable = self._usable
        chosen = next((info for info in usable if info.id == self._wanted), None)
        if chosen is None and usable:
            chosen = usable[0]
            if self._wanted:
                self.notice.emit(sentences.model_gone(self._wanted))
        if chosen is not None:
            self._load(chosen.id)
        else:
            self._is_mending = False
            self._set(EngineView("empty", reason=sentences.no_usable_model(), action="models"))

    def _on_progress(self, load_id: int, progress: Progress) -> None:
        if load_id != self._load_id:
            return
        if self.view.state == "loading":
            self._set(replace(self.view, fraction=progress.fraction))
        self.load_progressed.emit(progress)

    def _on_loaded(self, load_id: int, loaded: ModelLoaded) -> None:
        if load_id != self._load_id:
            self._given_up.discard(load_id)
            if not self._is_loading:  # it was done before the engine heard that nobody wants it
                self.unload()
            return
        self._load_id = None
        self.context_length = loaded.context_length
        info = self._info(loaded.model)  # None where it was deleted while it was loaded
        model = model_view(info) if info else self.view.model
        self._set(EngineView("ready", model=model, fraction=1.0))
        if loaded.model == self._wanted:
            self.model_chosen.emit(loaded.model)
        self.loaded.emit(loaded)
        self.ready.emit(loaded.model)
        if self._is_mending:
            self._is_mending = False
            self.mended.emit()

    def _on_load_cancelled(self, load_id: int) -> None:
        self._given_up.discard(load_id)
        if load_id == self._load_id:
            self._end_load()

    def _end_load(self) -> None:
        self._load_id = self._placing = None
        self._is_mending = False
        self._set(EngineView("empty", model=self.view.model, action="load"))

    def _on_load_failed(self, load_id: int, failure: RequestFailure) -> None:
        self._given_up.discard(load_id)
        if load_id != self._load_id:
            return
        self._load_id = None
        if failure.end is None:
            self._fault(failure, "models" if failure.code in _MODEL_AT_FAULT else "load")

    def _fault(self, failure: RequestFailure, action: EngineAction) -> None:
        self._is_mending = False
        reason = sentences.request_failed(failure.code, failure.message)
        logger.warning("the engine is at fault (%s)", failure.code)
        model = self.view.model
        self._set(
            EngineView(
                "fault",
                model=model,
                reason=reason,
                detail=failure.detail,
                action=action,
                code=failure.code,
            )
        )

    def _on_status(self, status: EngineStatus) -> None:
        if self._is_loading or self._given_up or self.view.state in ("starting", "stopped"):
            return  # the request that is under way tells more
        info = self._info(status.model)
        model = model_view(info) if info else self.view.model
        match status.state:
            case "ready" | "busy":
                self._set(EngineView(status.state, model=model, fraction=1.0))
            case "loading":
                self._set(EngineView("loading", model=model, fraction=status.fraction))
            case "empty":
                self._set(EngineView("empty", model=model, action="load"))
            case "fault":
                reason = sentences.request_failed("worker_died", status.reason)
                self._set(
                    EngineView(
                        "fault", model=model, reason=reason, action="load", code="worker_died"
                    )
                )

    def _on_ended(self, end: EngineEnd) -> None:
        was_idle = self.view.state in ("ready", "empty")
        self._load_id = self._placing = None
        self._is_mending = False
        reason = sentences.engine_ended(end)
        detail = f"{end.message}\n{end.stderr_tail}".strip()
        if end.kind == "stopped":
            self._set(EngineView("stopped", model=self.view.model, action="restart"))
            if self._is_restarting:
                self._is_restarting = False
                self.start()
            return
        logger.warning("the engine is gone (%s): %s", end.kind, end.message)
        if was_idle:
            if self._restart_limit.may_restart():
                self.notice.emit(sentences.engine_restarted(reason))
                self._set(EngineView("fault", self.view.model, 0.0, reason, detail, "restart"))
                self.start()
                return
            reason = sentences.restart_limit(reason, self._restart_limit.num_restarts + 1)
        self._set(EngineView("fault", self.view.model, 0.0, reason, detail, "restart"))


def model_view(info: ModelInfo) -> ModelView:
    """The part of a model that pages show beside a name."""
    return ModelView(
        id=info.id,
        name_zh=info.name_zh,
        name_en=info.name_en,
        num_parameters=info.num_parameters,
        precision=info.precision,
        context_length=info.context_length,
        can_chat=info.can_chat,
        blank_kinds=tuple(info.blank_kinds),
        is_bundled=info.is_bundled,
        problem=engine_sentence(info.problem),
        can_skip_thinking=info.can_skip_thinking,
    )
