"""Measuring a model: loads it if it is not, then has the engine time it. One at a time."""

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.engine_client.client import RequestFailure
from bilin_engine.protocol import Cancel, MeasureModel, ModelLoaded, Progress, SpeedMeasured


class SpeedRun(QObject):
    """changed(): another state. measured(model id, MeasuredSpeed). failed(str): the reason."""

    changed = Signal()
    measured = Signal(str, object)
    failed = Signal(str)

    def __init__(self, engine: EngineController, parent: QObject) -> None:
        super().__init__(parent)
        self._engine = engine
        self._request_id: int | None = None
        self.model_id = ""  # of the model that is measured or loaded for it, "" = none
        self.fraction = 0.0
        engine.loaded.connect(self._on_loaded)
        engine.view_changed.connect(self._on_engine_changed)
        engine.interrupted.connect(self.stop)

    @property
    def is_running(self) -> bool:
        """Whether the engine is timing the model now."""
        return self._request_id is not None

    def start(self, model_id: str) -> None:
        """Measures a model in place of any other; one that is loaded is unloaded for it."""
        if self.model_id == model_id:
            return
        self.stop()
        self.model_id, self.fraction = model_id, 0.0
        if self._engine.model is not None and self._engine.model.id == model_id:
            self._measure()
        else:
            self._engine.load(model_id)

    def stop(self) -> None:
        """Gives it up; nothing is kept."""
        request_id = self._request_id
        if request_id is not None:
            self._engine.send(lambda i: Cancel(id=i, target=request_id))
            self._end()

    def _measure(self) -> None:
        model_id = self.model_id
        handle = self._engine.send(lambda i: MeasureModel(i, model_id))
        self._request_id = request_id = handle.id
        handle.progressed.connect(lambda progress: self._on_progressed(request_id, progress))
        handle.done.connect(lambda result: self._on_measured(request_id, result))
        handle.failed.connect(lambda failure: self._on_failed(request_id, failure))
        self.changed.emit()

    def _end(self) -> None:
        self._request_id = None
        self.model_id = ""
        self.changed.emit()

    def _on_loaded(self, loaded: ModelLoaded) -> None:
        if self.model_id and not self.is_running:
            if loaded.model == self.model_id:
                self._measure()
            else:
                self._end()  # another one was asked for meanwhile

    def _on_engine_changed(self, view: EngineView) -> None:
        if self.model_id and not self.is_running and view.state in ("fault", "empty", "stopped"):
            self._end()

    def _on_progressed(self, request_id: int, progress: Progress) -> None:
        if request_id != self._request_id:  # it was given up
            return
        self.fraction = progress.fraction
        self.changed.emit()

    def _on_measured(self, request_id: int, result: SpeedMeasured) -> None:
        if request_id != self._request_id:
            return
        model_id = self.model_id
        self._end()
        self.measured.emit(model_id, result.speed)

    def _on_failed(self, request_id: int, failure: RequestFailure) -> None:
        if request_id != self._request_id:
            return
        self._end()
        if failure.end is None:
            self.failed.emit(sentences.request_failed(failure.code, failure.message))
