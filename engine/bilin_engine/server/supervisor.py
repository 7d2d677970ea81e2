"""The supervisor: takes requests, answers them in lanes, never computes and never hangs.

A lane is a thread that answers one request after the other; none waits for another.
  work     load, unload, chat, generate, fill, score, proofread, measure
  library  list, inspect and change model folders: a disk may be slow, or gone
  queue    add, pause and cancel jobs, whose state lies in the models folder too
  hub      questions to model hubs, which may take long
  control  all else: count, plan, devices, from what the library lane read last
A cancel is obeyed by the caller's thread, behind nothing. Torch is in the workers alone.
"""

import logging
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from bilin_engine.errors import BadRequestError, BilinError, ModelNotFoundError
from bilin_engine.hubs.tokens import TokenFile, default_token_file
from bilin_engine.protocol import (
    AddInPlace,
    AddJob,
    AddTokenizer,
    Cancel,
    Cancelled,
    CatalogListed,
    ChangeJob,
    Chat,
    CountTokens,
    DeleteModel,
    DevicesListed,
    Done,
    EmptyTrash,
    EngineStatus,
    Event,
    Failed,
    Fill,
    Generate,
    GenerateBatch,
    InspectFolder,
    InspectPrompt,
    InspectWindow,
    KeepToken,
    ListCatalog,
    ListDevices,
    ListJobs,
    ListModels,
    ListRepository,
    LoadModel,
    MeasureModel,
    ModelsListed,
    PlanModel,
    Proofread,
    RenameModel,
    Request,
    RestoreModel,
    Result,
    Score,
    SpeedMeasured,
    UnloadModel,
)
from bilin_engine.server.answers import Answering
from bilin_engine.server.batch_answers import answer_batch
from bilin_engine.server.catalog import list_catalog
from bilin_engine.server.devices import list_devices
from bilin_engine.server.fill_prompts import inspect_fill, inspect_window
from bilin_engine.server.inspect_folder import inspect_folder
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.job_queue import JobQueue
from bilin_engine.server.library_ops import LibraryOps
from bilin_engine.server.model_host import HostSettings, ModelHost
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.planning import known_models, plan_model
from bilin_engine.server.repositories import list_repository
from bilin_engine.server.selftest_gate import SelftestCommand
from bilin_engine.server.tasks import CancelledTaskError, Task, TaskQueue
from bilin_engine.server.worker_pool import WorkerLimits, WorkerPool
from bilin_engine.server.worker_process import WorkerCommand

logger = logging.getLogger(__name__)

JOIN_S = 10.0

_Answered = Chat | Generate | GenerateBatch | Fill | Score | Proofread  # by the loaded model
_Changing = AddInPlace | DeleteModel | RenameModel | RestoreModel | AddTokenizer | EmptyTrash


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """What the command line decides. idle_unload_s: 0 = a loaded model stays.

    takes_up_work: whether the work queue of last time goes on here.
    """

    command: WorkerCommand = field(default_factory=WorkerCommand)
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    idle_unload_s: float = 0.0
    job_command: JobCommand = field(default_factory=JobCommand)
    selftest: SelftestCommand = field(default_factory=SelftestCommand)
    takes_up_work: bool = True


class Supervisor:
    """`submit` never blocks for long; events come through `emit`, from several threads."""

    def __init__(
        self,
        emit: Callable[[Event], None],
        texts: ModelTexts,
        settings: SupervisorSettings | None = None,
    ) -> None:
        """Starts the lanes. `emit` must be thread-safe; `close` ends what this starts.

        texts: the library with its tokenizers.
        """
        settings = settings or SupervisorSettings()
        self._emit = emit
        self._idle_unload_s = settings.idle_unload_s
        self._texts = texts
        host = HostSettings(settings.command, settings.limits, settings.selftest)
        self._host = ModelHost(host, self._texts, emit, self._on_gone)
        self._ops = LibraryOps(texts.library)
        self._queue = JobQueue(
            texts.library, emit, settings.job_command, takes_up=settings.takes_up_work
        )
        self._lock = threading.Lock()
        self._tasks: dict[int, Task] = {}
        self._work = TaskQueue()
        self._lanes = {name: TaskQueue() for name in ("control", "library", "queue", "hub")}
        self._job_command = settings.job_command
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._run_work, name="bilin-work", daemon=True),
            *(
                threading.Thread(
                    target=self._run_lane, args=(lane,), name=f"bilin-{name}", daemon=True
                )
                for name, lane in self._lanes.items()
            ),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def status(self) -> EngineStatus:
        """What was last told of the loaded model."""
        return self._host.status

    def submit(self, request: Request) -> None:
        """Takes one request (`Shutdown` aside: that ends with `close`). Any thread."""
        if isinstance(request, Cancel):
            self._cancel(request)
            return
        task = Task(request)
        with self._lock:
            problem = ""
            if request.id < 1:
                problem = f"request id {request.id}; ids count from 1"
            elif request.id in self._tasks:
                problem = f"request id {request.id} is in use by a request that has not ended"
            elif self._is_closed:
                problem = "the engine is stopping"
            else:
                self._tasks[request.id] = task
        if problem:
            error = BadRequestError(problem)
            self._emit(Failed(id=request.id, code=error.code, message=error.message))
        else:
            self._lane(request).put(task)

    def close(self) -> None:
        """Ends workers and lanes; open requests end in `Cancelled`. Any thread but the lanes'."""
        with self._lock:
            self._is_closed = True
            tasks = list(self._tasks.values())
        for task in tasks:
            self._cancel_task(task)
        self._work.close()
        for lane in self._lanes.values():
            lane.close()
        self._host.stop()
        self._queue.close()
        for thread in self._threads:
            thread.join(JOIN_S)

    def _lane(self, request: Request) -> TaskQueue:
        match request:
            case LoadModel() | UnloadModel() | MeasureModel():
                return self._work
            case _ if isinstance(request, _Answered):
                return self._work
            case ListModels() | InspectFolder():
                return self._lanes["library"]
            case AddJob() | ChangeJob() | ListJobs():
                return self._lanes["queue"]
            case ListRepository():
                return self._lanes["hub"]
            case _ if isinstance(request, _Changing):
                return self._lanes["library"]
            case _:
                return self._lanes["control"]

    def _cancel(self, request: Cancel) -> None:
        with self._lock:
            task = self._tasks.get(request.target)
        if task is not None:
            self._cancel_task(task)
        self._emit(Done(request.id))

    def _cancel_task(self, task: Task) -> None:
        task.cancel()
        if any(lane.remove(task) for lane in (self._work, *self._lanes.values())):
            self._end(task, Cancelled(task.request.id))

    def _end(self, task: Task, event: Done | Cancelled | Failed) -> None:
        with self._lock:
            self._tasks.pop(task.request.id, None)
        self._emit(event)

    def _run_work(self) -> None:
        # Workers are killed when the thread that started them ends: this one outlives them all.
        while not self._work.is_closed:
            can_idle = self._idle_unload_s > 0 and self._host.has_workers
            item = self._work.take(self._idle_unload_s if can_idle else None)
            if isinstance(item, Task):
                self._answer(item)
            elif item is not None:
                item()
            elif not self._work.is_closed:
                self._host.unload_idle()
        self._host.unload()

    def _run_lane(self, lane: TaskQueue) -> None:
        while not lane.is_closed:
            item = lane.take()
            if isinstance(item, Task):
                self._answer(item)

    def _on_gone(self, pool: WorkerPool, reason: str) -> None:
        self._work.put(lambda: self._host.workers_gone(pool, reason))

    def _answer(self, task: Task) -> None:
        request_id = task.request.id
        try:
            task.check()
            end = Done(request_id, self._result(task))
        except CancelledTaskError:
            end = Cancelled(request_id)
        except BilinError as error:
            end = Failed(id=request_id, code=error.code, message=error.message, detail=error.detail)
        except Exception as error:
            logger.exception("request %d failed", request_id)
            end = Failed(
                id=request_id,
                code=BilinError.code,
                message=f"the engine failed unexpectedly: {type(error).__name__}: {error}",
                detail=traceback.format_exc(),
            )
        self._end(task, end)

    def _result(self, task: Task) -> Result | None:
        match task.request:
            case ListModels():
                return self._list_models()
            case ListDevices():
                return DevicesListed(list_devices(self._host.own_memory))
            case PlanModel() as request:
                return self._plan(request)
            case CountTokens() as request:
                text = self._texts.get(request.model)
                return text.count_tokens(request, self._host.context_length(text.info))
            case InspectPrompt() as request:
                text = self._texts.get(request.model)
                context_length = self._host.context_length(text.info)
                if request.messages:
                    return text.inspect_chat(request, context_length)
                return inspect_fill(text, request, context_length)
            case InspectWindow() as request:
                return inspect_window(self._texts.get(request.model), request)
            case LoadModel() | UnloadModel() | MeasureModel():
                return self._host_result(task)
            case InspectFolder() | ListCatalog() | ListRepository():
                return self._to_add(task)
            case Chat() | Generate() | GenerateBatch() | Fill() | Score() | Proofread():
                return self._generate(task)
            case request if isinstance(request, _Changing):
                try:
                    return self._change_library(request)
                finally:
                    self._texts.models()
            case request:
                return self._change(request)

    def _list_models(self) -> ModelsListed:
        library = self._texts.library
        return ModelsListed(
            self._texts.models(), tuple(library.trash()), known_models(), library.folder_state()
        )

    def _plan(self, request: PlanModel) -> Result:
        """From what was listed last: a slider that is moved waits for no disk."""
        own = self._host.own_memory
        try:
            listed = self._texts.listed(request.model)
            stored = listed.config if listed is not None else None
            return plan_model(request, self._texts.listed_models(), own, stored)
        except ModelNotFoundError:  # or it came since
            return plan_model(request, self._texts.models(), own)

    def _to_add(self, task: Task) -> Result:
        """What a person may add to the library."""
        library = self._texts.library
        match task.request:
            case InspectFolder(path=path):
                return inspect_folder(path, library, self._queue.conversion_rate)
            case ListCatalog(devices=devices):
                return CatalogListed(list_catalog(devices, self._host.own_memory))
            case request:
                assert isinstance(request, ListRepository)
                return list_repository(task, request, self._job_command, library)

    def _host_result(self, task: Task) -> Result | None:
        match task.request:
            case LoadModel() as request:
                return self._host.load(task, request)
            case MeasureModel(model=model):
                speed = self._host.measure(task, model)
                try:
                    self._ops.keep_speed(model, speed)
                    self._texts.models()
                except BilinError as error:  # a read-only library: measured all the same
                    logger.warning("the measurement cannot be kept: %s", error)
                return SpeedMeasured(speed)
            case _:
                self._host.unload()
                return None

    def _change_library(self, request: _Changing) -> Result | None:
        self._queue.check_changes()
        match request:
            case DeleteModel(model=model):
                return self._ops.delete(model)
            case AddInPlace(path=path):
                self._ops.add_in_place(path)
            case RenameModel(model=model, name=name):
                self._ops.rename(model, name)
            case RestoreModel(trashed=trashed):
                self._ops.restore(trashed)
            case AddTokenizer(model=model, path=path):
                self._ops.add_tokenizer(model, path)
            case EmptyTrash():
                self._ops.empty_trash()
        return None

    def _change(self, request: Request) -> None:
        """Requests that change the queue or a token and have nothing to tell."""
        match request:
            case AddJob(work=work):
                self._queue.add(work)
            case KeepToken(hub=hub, endpoint=endpoint, token=token):
                tokens = TokenFile(self._job_command.token_file or default_token_file())
                tokens.keep(hub, endpoint, token, os.environ)
            case ChangeJob(job=job, action=action):
                self._queue.change(job, action)
            case ListJobs():
                self._queue.tell()
            case _:
                raise BadRequestError(f"the engine cannot answer {type(request).__name__}")

    def _generate(self, task: Task) -> Result:
        request = task.request
        assert isinstance(request, _Answered)
        model = self._host.use(task, request.model)
        answering = Answering(model, task, self._emit)
        try:
            match request:
                case Chat():
                    return answering.chat(request)
                case Generate():
                    return answering.generate(request)
                case GenerateBatch():
                    return answer_batch(model, task, request, self._emit)
                case Fill():
                    return answering.fill(request)
                case Score():
                    return answering.score(request)
                case Proofread():
                    return answering.proofread(request)
        finally:
            self._host.release()
