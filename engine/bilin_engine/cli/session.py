"""A supervisor in this process, asked one thing at a time: what every headless command uses."""

import argparse
import queue
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from bilin_engine.errors import BilinError
from bilin_engine.library import Library
from bilin_engine.protocol import (
    Cancel,
    Cancelled,
    Done,
    EngineStatus,
    Event,
    Failed,
    Hello,
    JobsChanged,
    LoadModel,
    LoadSettings,
    ModelInfo,
    ModelLoaded,
    Progress,
    Request,
    Result,
)
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import Supervisor, SupervisorSettings
from bilin_engine.server.worker_process import WorkerCommand

ResultT = TypeVar("ResultT", bound=Result)


class RequestFailedError(BilinError):
    """What the engine answered with `Failed`."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message, detail=failed.detail)
        self.code = failed.code


class StoppedByPersonError(Exception):
    """Ctrl-C; the request has ended."""


class Session:
    """Starts with `with`, ends the workers with it. Not thread-safe."""

    def __init__(self, texts: ModelTexts, settings: SupervisorSettings) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._texts = texts
        self._supervisor = Supervisor(self._events.put, texts, settings)
        self._last_id = 0

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._supervisor.close()

    def ask(
        self,
        make: Callable[[int], Request],
        result_type: type[ResultT],
        on_event: Callable[[Event], None] = lambda _event: None,
    ) -> ResultT:
        """Sends `make(id)`; returns its result. `on_event` sees what comes before it.

        Raises RequestFailedError, and StoppedByPersonError after Ctrl-C.
        """
        self._last_id += 1
        request_id = self._last_id
        self._supervisor.submit(make(request_id))
        is_stopping = False
        while True:
            try:
                end = self._step(request_id, on_event)
            except KeyboardInterrupt:
                if is_stopping:
                    raise
                is_stopping = True
                self._last_id += 1
                self._supervisor.submit(Cancel(self._last_id, request_id))
                continue
            match end:
                case Done(result=result):
                    if not isinstance(result, result_type):
                        raise TypeError(f"{result!r} is no {result_type.__name__}")
                    return result
                case Failed():
                    raise RequestFailedError(end)
                case Cancelled():
                    raise StoppedByPersonError

    def _step(
        self, request_id: int, on_event: Callable[[Event], None]
    ) -> Done | Cancelled | Failed | None:
        """Takes one event; returns it when it ends the request."""
        event = self._events.get()
        if isinstance(event, EngineStatus | JobsChanged | Hello) or event.id != request_id:
            return None
        if isinstance(event, Done | Cancelled | Failed):
            return event
        on_event(event)
        return None

    def model(self, model_id: str) -> ModelInfo:
        """The library's entry. Raises ModelNotFoundError."""
        return self._texts.info(model_id)

    def load(
        self,
        model_id: str,
        settings: LoadSettings,
        on_event: Callable[[Event], None] | None = None,
        *,
        tells_memory: bool | None = None,
    ) -> ModelLoaded:
        """Loads a model; says on stderr what it took and what was not done as asked.

        tells_memory: None = where stderr is a terminal. Raises as `ask`.
        """
        loaded = self.ask(
            lambda i: LoadModel(id=i, model=model_id, settings=settings),
            ModelLoaded,
            on_event or _LoadProgress(),
        )
        if loaded.notice:
            print(f"bilin-engine: {loaded.notice}", file=sys.stderr)
        if tells_memory if tells_memory is not None else sys.stderr.isatty():
            for line in memory_lines(loaded):
                print(line, file=sys.stderr)
        return loaded


class _LoadProgress:
    """Says once that the devices are being tested: that takes a minute or two."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "selftest" and not self._is_said:
            self._is_said = True
            print(
                "These devices have not passed the self-test yet: they are tested before several "
                "of them share a model (up to 2 minutes). "
                "这些设备尚未通过自检，并行前先自检（至多两分钟）。",
                file=sys.stderr,
            )


def memory_lines(loaded: ModelLoaded) -> list[str]:
    """What the load took of each device, beside what was planned."""
    names = dict.fromkeys((*loaded.memory_bytes, *loaded.predicted))
    return [_memory_line(name, loaded.memory_bytes.get(name, 0), loaded) for name in names]


def _memory_line(name: str, taken: int, loaded: ModelLoaded) -> str:
    line = f"{name}: {_mib(taken)} taken"
    planned = loaded.predicted.get(name)
    if planned is None:
        return f"{line}; nothing was planned there"
    return (
        f"{line} now; planned {_mib(planned.weights)} weights, and as it is used up to "
        f"{_mib(planned.kv_cache)} KV cache and {_mib(planned.activations)} working, "
        f"{_mib(planned.communication)} communication: {_mib(planned.total)} in all"
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


def open_session(options: argparse.Namespace) -> Session:
    """The session that --models-dir, --log-dir and download's --token-file describe."""
    settings = SupervisorSettings(
        # A terminal is for the answer: workers and jobs speak up when something is wrong.
        WorkerCommand(log_dir=options.log_dir, log_level="WARNING"),
        job_command=JobCommand(
            log_dir=options.log_dir,
            log_level="WARNING",
            token_file=getattr(options, "token_file", None),
        ),
        # The window's work would run beside what is asked here, and the window be refused its own.
        takes_up_work=False,
    )
    return Session(ModelTexts(Library(options.models_dir)), settings)
