"""Requests to the engine, each with a handle that ends exactly once whatever the engine does.

Knows the protocol's ids and endings; knows nothing of conversations, models or retries.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.engine_client.process import EngineCommand, EngineEnd, EngineLimits, EngineProcess
from bilin_engine.protocol import (
    CONNECTION_ID,
    Cancel,
    Cancelled,
    Done,
    EngineStatus,
    Failed,
    FrameError,
    Hello,
    JobsChanged,
    Progress,
    Request,
    SentenceRead,
    Started,
    TextDelta,
)

logger = logging.getLogger(__name__)

ENGINE_ENDED = "engine_ended"
NOT_CONNECTED = "engine_not_connected"
TOO_LARGE = "request_too_large"

_OfRequest = Started | TextDelta | SentenceRead | Progress | Done | Cancelled | Failed


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """How a request failed. `code`: the engine's, or ENGINE_ENDED, NOT_CONNECTED, TOO_LARGE.

    end: with ENGINE_ENDED, how the engine ended.
    """

    code: str
    message: str
    detail: str = ""
    end: EngineEnd | None = None


class RequestHandle(QObject):
    """One request on its way. Exactly one of done, cancelled, failed is emitted, and is the last.

    started(Started), delta_received(TextDelta), sentence_read(SentenceRead), progressed(Progress),
    done(Result | None), cancelled(), failed(RequestFailure).
    """

    started = Signal(object)
    delta_received = Signal(object)
    sentence_read = Signal(object)
    progressed = Signal(object)
    done = Signal(object)
    cancelled = Signal()
    failed = Signal(object)

    def __init__(self, request_id: int, cancel: Callable[["RequestHandle"], None]) -> None:
        super().__init__()
        self.id = request_id
        self.is_ended = False
        self.is_cancelling = False
        self.cancel_waited_s = 0.0
        self._cancel = cancel

    def cancel(self) -> None:
        """Asks the engine to end this request. Once is enough; after the end it does nothing."""
        if not self.is_ended and not self.is_cancelling:
            self.is_cancelling = True
            self._cancel(self)

    def end_done(self, result: object) -> None:
        """The request succeeded."""
        self.is_ended = True
        self.done.emit(result)

    def end_cancelled(self) -> None:
        """The request was cancelled."""
        self.is_ended = True
        self.cancelled.emit()

    def end_failed(self, failure: RequestFailure) -> None:
        """The request failed."""
        self.is_ended = True
        self.failed.emit(failure)


class EngineClient(QObject):
    """The engine as typed signals.

    greeted(Hello), status_changed(EngineStatus), jobs_changed(JobsChanged), ended(EngineEnd).
    request_failed(RequestFailure): of any request, after its handle said so.
    Open requests fail with ENGINE_ENDED before `ended` is emitted. An engine that holds requests
    open in silence, or lets a cancel pass, is ended as "hung".
    """

    greeted = Signal(object)
    status_changed = Signal(object)
    jobs_changed = Signal(object)
    request_failed = Signal(object)
    ended = Signal(object)

    def __init__(
        self,
        command: EngineCommand,
        limits: EngineLimits | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._limits = limits or EngineLimits()
        self._process = EngineProcess(command, self._limits, self)
        self._process.greeted.connect(self._on_greeted)
        self._process.event_received.connect(self._on_event)
        self._process.ended.connect(self._on_ended)
        self._handles: dict[int, RequestHandle] = {}
        self._last_id = CONNECTION_ID
        # Waiting is counted in ticks of the watch, not on a clock: a window that stood still (a
        # suspended machine, a debugger) has not been waiting.
        self._silence_s = 0.0
        self._answer_wait_s: float | None = None  # since a sign of life was asked for
        self._watch = QTimer(self)
        self._watch.timeout.connect(self._on_watch)

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._process.is_greeted

    @property
    def is_running(self) -> bool:
        """Whether the process exists, greeted or not."""
        return self._process.is_running

    @property
    def process_id(self) -> int:
        """The supervisor's, or 0."""
        return self._process.process_id

    def set_command(self, command: EngineCommand) -> None:
        """What the next `start` starts."""
        self._process.set_command(command)

    @property
    def is_started(self) -> bool:
        """Between `start()` and `ended`."""
        return self._process.is_heard

    def spawn(self) -> None:
        """Lets the process begin; nothing is heard of it before `start()`."""
        self._process.spawn()

    def start(self) -> None:
        """Starts the engine; `greeted` or `ended` follows."""
        self._process.start()

    def stop(self) -> None:
        """Asks the engine to leave; `ended` follows."""
        self._process.stop()

    def finish(self) -> None:
        """Stops the engine and waits for it: for the app's last moments only."""
        self._process.finish()

    def send(self, make: Callable[[int], Request]) -> RequestHandle:
        """Sends `make(id)`. The handle's signals come later, never from inside this call."""
        self._last_id += 1
        handle = RequestHandle(self._last_id, self._send_cancel)
        self._handles[handle.id] = handle
        if not self._process.is_greeted:
            self._fail_later(handle, RequestFailure(NOT_CONNECTED, "the engine is not running"))
            return handle
        try:
            self._process.send(make(handle.id))
        except FrameError as error:
            self._fail_later(handle, RequestFailure(TOO_LARGE, str(error)))
            return handle
        if not self._watch.isActive():
            self._silence_s = 0.0
            self._answer_wait_s = None
            self._watch.start(self._watch_interval_ms())
        return handle

    def _fail_later(self, handle: RequestHandle, failure: RequestFailure) -> None:
        def fail() -> None:
            if self._handles.pop(handle.id, None) is not None:
                handle.end_failed(failure)

        QTimer.singleShot(0, self, fail)

    def _send_cancel(self, handle: RequestHandle) -> None:
        if self._process.is_greeted:
            self._last_id += 1
            self._process.send(Cancel(id=self._last_id, target=handle.id))

    def _watch_interval_ms(self) -> int:
        shortest = min(self._limits.silence_s, self._limits.answer_s, self._limits.cancel_s)
        return max(10, round(shortest * 1000 / 4))

    def _on_greeted(self, hello: Hello) -> None:
        logger.info("engine %s connected", hello.version)
        self.greeted.emit(hello)

    def _on_event(self, event: object) -> None:
        self._silence_s = 0.0
        self._answer_wait_s = None
        if isinstance(event, EngineStatus):
            self.status_changed.emit(event)
            return
        if isinstance(event, JobsChanged):
            self.jobs_changed.emit(event)
            return
        if isinstance(event, Hello):
            self._process.fail("bad_frame", "the engine said Hello twice")
            return
        if not isinstance(event, _OfRequest):
            raise AssertionError(f"not an event: {type(event).__name__}")
        handle = self._handles.get(event.id)
        if handle is None:
            return  # the answer to a Cancel, or to a request that was given up
        if isinstance(event, TextDelta):
            handle.delta_received.emit(event)
        elif isinstance(event, SentenceRead):
            handle.sentence_read.emit(event)
        elif isinstance(event, Started):
            handle.started.emit(event)
        elif isinstance(event, Progress):
            handle.progressed.emit(event)
        else:
            self._finish(handle, event)

    def _finish(self, handle: RequestHandle, event: Done | Cancelled | Failed) -> None:
        del self._handles[handle.id]
        if not self._handles:
            self._watch.stop()
        if isinstance(event, Done):
            handle.end_done(event.result)
        elif isinstance(event, Cancelled):
            handle.end_cancelled()
        else:
            failure = RequestFailure(event.code, event.message, event.detail)
            handle.end_failed(failure)
            self.request_failed.emit(failure)

    def _on_watch(self) -> None:
        tick_s = self._watch.interval() / 1000
        for handle in self._handles.values():
            if handle.is_cancelling:
                handle.cancel_waited_s += tick_s
                if handle.cancel_waited_s > self._limits.cancel_s:
                    limit_s = self._limits.cancel_s
                    self._process.fail("hung", f"a cancel was not obeyed within {limit_s:g} s")
                    return
        if self._answer_wait_s is not None:
            self._answer_wait_s += tick_s
            if self._answer_wait_s > self._limits.answer_s:
                limit_s = self._limits.answer_s
                self._process.fail("hung", f"no sign of life within {limit_s:g} s of being asked")
            return
        self._silence_s += tick_s
        if self._silence_s > self._limits.silence_s and self._process.is_greeted:
            # Cancelling no request is answered at once by a supervisor that still listens.
            self._answer_wait_s = 0.0
            self._last_id += 1
            self._process.send(Cancel(id=self._last_id, target=CONNECTION_ID))

    def _on_ended(self, end: EngineEnd) -> None:
        self._watch.stop()
        handles, self._handles = list(self._handles.values()), {}
        failure = RequestFailure(ENGINE_ENDED, end.message, end.stderr_tail, end)
        for handle in handles:
            handle.end_failed(failure)
        self.ended.emit(end)
