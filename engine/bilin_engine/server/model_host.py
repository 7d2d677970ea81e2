"""The one loaded model: loading it, letting it go, and what the app is told about it.

All methods belong to the supervisor's work thread, `stop` aside.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bilin_engine import processes
from bilin_engine.config import read_model_config
from bilin_engine.errors import ModelBrokenError, NotLoadedError, OutOfMemoryError
from bilin_engine.placement.cost import ModelCost, kv_dtype_on
from bilin_engine.protocol import (
    EngineState,
    EngineStatus,
    Event,
    LoadModel,
    LoadSettings,
    MeasuredSpeed,
    ModelInfo,
    ModelLoaded,
    Progress,
    WorkerLoad,
)
from bilin_engine.server.answers import LoadedModel
from bilin_engine.server.devices import OwnMemory
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.ranks import (
    RankLayout,
    fitting_slots,
    lay_out,
    shortage,
    slots_beside,
)
from bilin_engine.server.selftest_gate import Allowed, SelftestCommand, SelftestGate
from bilin_engine.server.tasks import CancelledTaskError, Task
from bilin_engine.server.worker_pool import WorkerLimits, WorkerPool
from bilin_engine.server.worker_process import WorkerCommand

logger = logging.getLogger(__name__)

# Slots cost a kv_cache each, from their first use on: as many as the GPU has room for beside what
# was planned. A small model computes all candidates of a blank at once; a large one (about 3.5 MiB
# a token for GLM-130B) one after the other, but for beams, which are one computation.
SMALL_MODEL_PARAMETERS = 2_000_000_000
MOST_SLOTS = 8


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How workers are started and how long they may take."""

    command: WorkerCommand
    limits: WorkerLimits
    selftest: SelftestCommand = field(default_factory=SelftestCommand)


class _StageClock:
    """The time left of a stage, from how long its done part took."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun_s = 0.0

    def eta_s(self, progress: Progress) -> float | None:
        """None until a part is done."""
        now_s = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._begun_s = progress.stage, now_s
        if not 0.0 < progress.fraction <= 1.0:
            return None
        return (now_s - self._begun_s) * (1.0 - progress.fraction) / progress.fraction


class ModelHost:
    """At most one model at a time. `texts` gives its text side."""

    def __init__(
        self,
        settings: HostSettings,
        texts: ModelTexts,
        emit: Callable[[Event], None],
        on_gone: Callable[[WorkerPool, str], None],
    ) -> None:
        """`on_gone(pool, reason)` is called from any thread when a pool's worker ends by itself."""
        self._settings = settings
        self._texts = texts
        self._emit = emit
        self._on_gone = on_gone
        self._pool: WorkerPool | None = None
        self._model: LoadedModel | None = None
        self._last_load: LoadModel | None = None  # what an idle unload may bring back
        self._loaded_context = ("", 0)  # the model that was loaded last, and its tokens
        self._status = EngineStatus(state="empty")
        self._is_stopping = False
        self._own_bytes: dict[str, int] = {}
        self._gate = SelftestGate(texts.library.state_dir, settings.selftest)

    @property
    def own_memory(self) -> OwnMemory:
        """What the loaded model holds. Any thread."""
        pool = self._pool
        return OwnMemory(self._own_bytes, pool.pids if pool is not None else ())

    def context_length(self, info: ModelInfo) -> int:
        """Tokens of prompt and answer: as the model was loaded last, else its most. Any thread."""
        model, loaded = self._loaded_context
        return loaded if model == info.id else info.context_length

    @property
    def status(self) -> EngineStatus:
        """What the app was told last."""
        return self._status

    @property
    def has_workers(self) -> bool:
        """Whether processes are running."""
        return self._pool is not None

    def load(self, task: Task, request: LoadModel) -> ModelLoaded:
        """Loads, replacing the loaded model. Raises what is wrong with the folder or the worker."""
        self.unload()
        info = self._texts.info(request.model)
        if info.problem:
            raise ModelBrokenError(info.problem)
        self._say("loading", info.id)
        try:
            return self._load(task, request, info)
        except CancelledTaskError:
            self._close()
            self._say("empty")
            raise
        except Exception as error:
            self._close()
            self._say("fault", info.id, reason=getattr(error, "message", str(error)))
            raise

    def _load(self, task: Task, request: LoadModel, info: ModelInfo) -> ModelLoaded:
        start_s = time.monotonic()
        allowed = self._allowed(task, request, info)
        num_texts = _num_texts(allowed.settings, info)
        settings = msgspec.structs.replace(allowed.settings, num_slots=num_texts)
        layout = lay_out(settings, Path(info.path))
        pool = WorkerPool(
            self._settings.command, self._settings.limits, self._on_gone, layout.world_size
        )
        self._pool = pool
        text = self._texts.text(info)  # while the worker starts
        task.check()
        load = WorkerLoad(
            id=pool.next_id(),
            folder=str(Path(info.path).absolute()),
            settings=settings,
            num_slots=_num_slots(layout, num_texts, settings.reserve_bytes),
            num_texts=num_texts,
            world_size=layout.world_size,
            rendezvous=str(pool.rendezvous or ""),
            stages=layout.stages,
            head_stage=layout.head_stage,
        )

        clock = _StageClock()

        def on_progress(progress: Progress) -> None:
            self._emit(
                Progress(
                    id=request.id,
                    stage=progress.stage,
                    fraction=progress.fraction,
                    eta_s=clock.eta_s(progress),
                )
            )
            self._say("loading", info.id, fraction=progress.fraction)

        loaded = pool.load(task, load, on_progress)
        self._model = LoadedModel(
            text=text,
            pool=pool,
            context_length=loaded.context_length,
            vocab_size=loaded.vocab_size,
        )
        text.banned_ids(
            loaded.vocab_size
        )  # 0.1 s for a large vocabulary: now, not at the first word
        self._last_load = request
        self._loaded_context = (info.id, loaded.context_length)
        self._own_bytes = dict(loaded.memory_bytes)
        load_s = time.monotonic() - start_s
        if allowed.notice:
            logger.warning("%s", allowed.notice)
        logger.info("loaded %s in %.1f s (%s)", info.id, load_s, loaded.backend)
        self._say("ready", info.id)
        return ModelLoaded(
            model=info.id,
            context_length=loaded.context_length,
            backend=loaded.backend,
            num_threads=loaded.num_threads,
            load_s=load_s,
            memory_bytes=loaded.memory_bytes,
            mode=layout.mode,
            world_size=layout.world_size,
            predicted_bytes={name: part.total for name, part in layout.predicted.items()},
            predicted=layout.predicted,
            notice=allowed.notice,
        )

    def _allowed(self, task: Task, request: LoadModel, info: ModelInfo) -> Allowed:
        """What the self-test leaves of the settings. Raises OutOfMemoryError if too little."""
        folder, asked = Path(info.path), request.settings
        layout = lay_out(asked, folder)
        allowed = self._gate.allow(
            asked, layout.mode, layout.world_size, task, lambda f: self._tell(request, info, f)
        )
        is_moved = allowed.settings.device != asked.device
        if is_moved and (reason := shortage(allowed.settings, folder)):
            raise OutOfMemoryError(
                f"the self-test of these GPUs failed ({allowed.failed}), so they are not used "
                f"together; {reason}"
            )
        return allowed

    def _tell(self, request: LoadModel, info: ModelInfo, fraction: float) -> None:
        """How far the self-test is: a stage of the load."""
        self._emit(Progress(id=request.id, stage="selftest", fraction=fraction))
        self._say("loading", info.id)

    def measure(self, task: Task, model_id: str) -> MeasuredSpeed:
        """Times the loaded model. Raises NotLoadedError, WorkerDiedError, CancelledTaskError."""
        model = self.use(task, model_id)
        devices = tuple(self._own_bytes) or ("cpu",)

        def on_progress(progress: Progress) -> None:
            told = Progress(id=task.request.id, stage=progress.stage, fraction=progress.fraction)
            self._emit(told)

        try:
            measured = model.pool.measure(task, on_progress)
        finally:
            self.release()
        cost = ModelCost(read_model_config(Path(model.text.info.path)))
        asked = self._last_load.settings.kv_dtype if self._last_load is not None else "auto"
        kept = kv_dtype_on(devices[0], asked)
        return MeasuredSpeed(
            at=time.time(),
            machine=processes.cpu_label(),
            devices=devices,
            decode_tok_s=measured.decode_tok_s,
            prefill_tok_s=measured.prefill_tok_s,
            prompt_tokens=measured.prompt_tokens,
            bytes_per_token=cost.weights_bytes
            + cost.kv_bytes(measured.context_length, kv_dtype=kept),
            read_bytes_s=measured.read_bytes_s,
        )

    def use(self, task: Task, model_id: str) -> LoadedModel:
        """The loaded model, busy from now on. Loads it again when only idleness unloaded it.

        Raises NotLoadedError when it is not the one that is loaded.
        """
        last = self._last_load
        if self._model is None and last is not None and last.model == model_id:
            try:
                self.load(task, last)
            except CancelledTaskError:
                self._last_load = last  # the next request brings it back, as this one would have
                raise
        if self._model is None:
            raise NotLoadedError(f'the model "{model_id}" is not loaded; load it first')
        if self._model.text.info.id != model_id:
            raise NotLoadedError(
                f'the model "{model_id}" is not loaded; "{self._model.text.info.id}" is'
            )
        self._say("busy", model_id)
        return self._model

    def release(self) -> None:
        """After `use`: ready again, unless the workers are gone."""
        pool = self._pool
        if pool is not None and pool.death_reason:
            self.workers_gone(pool, pool.death_reason)
        elif self._status.state == "busy" and self._model is not None:
            self._say("ready", self._model.text.info.id)

    def unload(self) -> None:
        """Ends the workers; the person said so, or another model comes."""
        self._last_load = None
        self._close()
        if self._status.state != "empty":
            self._say("empty")

    def unload_idle(self) -> None:
        """Ends the workers because nobody asked anything; the next request brings them back."""
        if self._pool is not None:
            logger.info("unloaded after idling")
            self._close()
            self._say("empty")

    def workers_gone(self, pool: WorkerPool, reason: str) -> None:
        """A worker ended by itself. Costs the model; the engine goes on."""
        if pool is not self._pool or self._is_stopping:
            return  # a pool that was given up, or is being given up
        model_id = self._status.model
        logger.error("the workers of %s are gone: %s", model_id, reason)
        self._close()
        self._last_load = None
        self._say("fault", model_id, reason=reason)

    def stop(self) -> None:
        """Ends the processes at once, for good and as asked: no fault. Any thread."""
        self._is_stopping = True
        pool = self._pool
        if pool is not None:
            pool.kill("The engine is stopping.")

    def _close(self) -> None:
        pool, self._pool, self._model = self._pool, None, None
        self._own_bytes = {}
        if pool is not None:
            pool.close()

    def _say(
        self, state: EngineState, model: str = "", *, fraction: float = 0.0, reason: str = ""
    ) -> None:
        status = EngineStatus(state=state, model=model, fraction=fraction, reason=reason)
        if status != self._status:
            self._status = status
            self._emit(status)


def _num_texts(settings: LoadSettings, info: ModelInfo) -> int:
    """Texts at a time: as asked, else what suits the model and its devices."""
    if settings.num_slots or info.num_parameters >= SMALL_MODEL_PARAMETERS:
        return settings.num_slots or 1
    return fitting_slots(settings, Path(info.path), MOST_SLOTS)


def _num_slots(layout: RankLayout, num_texts: int, reserve_bytes: int) -> int:
    """Sequences held at once; a layout for one text says how many more there is room for."""
    return num_texts if num_texts > 1 else slots_beside(layout, MOST_SLOTS, reserve_bytes)
