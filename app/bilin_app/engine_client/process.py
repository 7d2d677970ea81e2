"""The engine's supervisor as a child process: start, handshake, frames in and out, the end.

Knows frames and `Hello`, and nothing of what requests mean. Never blocks, save in `finish()`.
"""

import logging
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from bilin_app import __version__
from bilin_engine.protocol import (
    CONNECTION_ID,
    PROTOCOL_VERSION,
    Failed,
    FrameBuffer,
    FrameError,
    Hello,
    check_hello,
    decode_event,
    encode_frame,
)

logger = logging.getLogger(__name__)
# What the engine writes to its stderr; `logs.py` gives it a file of its own.
stderr_logger = logging.getLogger("bilin_engine_stderr")

STDERR_TAIL_LINES = 40
STDERR_LINE_CHARACTERS = 2_000

EndKind = Literal[
    "stopped", "not_started", "no_hello", "refused", "bad_frame", "hung", "exited", "crashed"
]


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """The program that speaks the protocol on its standard streams."""

    program: str
    arguments: tuple[str, ...]


def installed_engine(
    *, log_dir: Path, models_dir: Path, token_file: Path, idle_unload_s: float = 0.0, nice: int = 10
) -> EngineCommand:
    """The engine of this installation. idle_unload_s 0 = a model stays loaded.

    `-P`: a person's own bilin_engine.py in the current folder is never run.
    """
    options = {
        "--log-dir": log_dir,
        "--models-dir": models_dir,
        "--token-file": token_file,
        "--idle-unload": idle_unload_s,
        "--nice": nice,
    }
    pairs = (str(part) for pair in options.items() for part in pair)
    return EngineCommand(sys.executable, ("-P", "-m", "bilin_engine", "stdio", *pairs))


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How long the engine may take, in seconds.

    hello_s: from start to its `Hello`. stop_s: to leave after end of file, then again after
    SIGTERM. silence_s: with requests open, after this long without a frame it is asked for a sign
    of life, and has answer_s to give one. cancel_s: to end a request after its `Cancel`.
    """

    hello_s: float = 15.0
    stop_s: float = 2.0
    silence_s: float = 5.0
    answer_s: float = 10.0
    cancel_s: float = 5.0


@dataclass(frozen=True, slots=True)
class EngineEnd:
    """Why the engine is no longer there.

    code: the exit status, or for "crashed" the signal's number. message: what happened, in
    English, for logs and reports. stderr_tail: its last lines.
    """

    kind: EndKind
    code: int
    message: str
    stderr_tail: str


class EngineProcess(QObject):
    """One engine process at a time. `ended` follows every `start()` exactly once.

    greeted(Hello); event_received(Event) for all that follows; ended(EngineEnd).
    """

    greeted = Signal(object)
    event_received = Signal(object)
    ended = Signal(object)

    def __init__(
        self,
        command: EngineCommand,
        limits: EngineLimits | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._command = command
        self._limits = limits or EngineLimits()
        self._process: QProcess | None = None
        self._frames = FrameBuffer()
        self._is_heard = False
        self._is_greeted = False
        self._is_stopping = False
        self._is_terminated = False
        self._fault: tuple[EndKind, str] | None = None
        self._stderr_tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self._stderr_rest = b""
        self._timer = QTimer(self)  # the one deadline that is running: hello, stop or terminate
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_deadline)

    @property
    def is_running(self) -> bool:
        """Between `spawn()` or `start()` and `ended`."""
        return self._process is not None

    @property
    def is_heard(self) -> bool:
        """Between `start()` and `ended`."""
        return self._process is not None and self._is_heard

    @property
    def is_greeted(self) -> bool:
        """Whether messages may be sent."""
        return self._is_greeted and not self._is_stopping and self._fault is None

    @property
    def process_id(self) -> int:
        """The supervisor's, or 0."""
        return self._process.processId() if self._process is not None else 0

    def set_command(self, command: EngineCommand) -> None:
        """What the next `start` starts."""
        self._command = command

    def spawn(self) -> None:
        """Starts the process and says Hello; nothing is heard of it before `start()`.

        Does nothing while one is running.
        """
        if self._process is not None:
            return
        self._frames = FrameBuffer()
        self._is_greeted = self._is_stopping = self._is_terminated = False
        self._fault = None
        self._stderr_tail.clear()
        self._stderr_rest = b""
        process = QProcess(self)
        self._process = process
        self._is_heard = False
        # Ctrl+C in a terminal reaches the window alone, which ends the engine in good order.
        process.setUnixProcessParameters(QProcess.UnixProcessFlag.CreateNewSession)
        process.start(self._command.program, list(self._command.arguments))
        self._write(Hello(protocol=PROTOCOL_VERSION, version=__version__, role="app"))

    def start(self) -> None:
        """Starts the process, unless it is there already, and hears what it says from now on."""
        self.spawn()
        process = self._process
        if process is None or self._is_heard:
            return
        self._is_heard = True
        process.readyReadStandardOutput.connect(self._on_stdout)
        process.readyReadStandardError.connect(self._on_stderr)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._timer.start(_ms(self._limits.hello_s))
        QTimer.singleShot(0, process, self._catch_up)

    def _catch_up(self) -> None:
        """What the process did before it was heard."""
        process = self._process
        if process is None:
            return
        if process.state() != QProcess.ProcessState.NotRunning:
            self._on_stdout()
            self._on_stderr()
        elif process.error() == QProcess.ProcessError.FailedToStart:
            self._on_error(process.error())
        else:
            self._on_finished(process.exitCode(), process.exitStatus())

    def send(self, message: msgspec.Struct) -> None:
        """Queues one frame. Raises FrameError when it is too large; RuntimeError before Hello."""
        if not self.is_greeted:
            raise RuntimeError("the engine is not connected")
        self._write(message)

    def stop(self) -> None:
        """Asks the engine to leave: end of file, then SIGTERM, then SIGKILL, each after stop_s."""
        if self._process is None or self._is_stopping:
            return
        self.start()  # whoever stops it hears its end
        self._is_stopping = True
        self._process.closeWriteChannel()
        self._timer.start(_ms(self._limits.stop_s))

    def fail(self, kind: EndKind, message: str) -> None:
        """Ends an engine that can no longer be trusted; `ended` will carry this reason."""
        if self._process is None or self._fault is not None:
            return
        self._fault = (kind, message)
        self._process.kill()
        logger.warning("the engine is ended: %s", message)

    def finish(self) -> None:
        """As `stop()`, but waits: at most twice stop_s. For the app's last moments only."""
        process = self._process
        if process is None:
            return
        self._is_stopping = True
        self._timer.stop()
        process.closeWriteChannel()
        if not process.waitForFinished(_ms(self._limits.stop_s)):
            process.terminate()
            if not process.waitForFinished(_ms(self._limits.stop_s)):
                process.kill()
                process.waitForFinished(_ms(self._limits.stop_s))

    def _write(self, message: msgspec.Struct) -> None:
        if self._process is not None:
            self._process.write(encode_frame(message))

    def _on_stdout(self) -> None:
        if self._process is None or self._fault is not None:
            return
        data = bytes(self._process.readAllStandardOutput().data())
        try:
            for body in self._frames.feed(data):
                self._take(decode_event(body))
                if self._fault is not None:
                    return
        except FrameError as error:
            self.fail("bad_frame", str(error))

    def _take(self, event: object) -> None:
        if not self._is_greeted:
            if isinstance(event, Failed) and event.id == CONNECTION_ID:
                self.fail("refused", event.message)
                return
            try:
                check_hello(event, "engine")
            except FrameError as error:
                self.fail("refused", str(error))
                return
            self._is_greeted = True
            if not self._is_stopping:
                self._timer.stop()
            self.greeted.emit(event)
        elif isinstance(event, Failed) and event.id == CONNECTION_ID:
            self.fail("refused", event.message)
        else:
            self.event_received.emit(event)

    def _on_stderr(self) -> None:
        if self._process is None:
            return
        data = self._stderr_rest + bytes(self._process.readAllStandardError().data())
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep_stderr(line)
        if len(rest) > STDERR_LINE_CHARACTERS:
            self._keep_stderr(rest)
            rest = b""
        self._stderr_rest = rest

    def _keep_stderr(self, line: bytes) -> None:
        text = line[:STDERR_LINE_CHARACTERS].decode("utf-8", "replace").rstrip()
        if text:
            self._stderr_tail.append(text)
            stderr_logger.info("%s", text)

    def _on_deadline(self) -> None:
        if self._process is None:
            return
        if not self._is_stopping:
            self.fail("no_hello", f"no Hello within {self._limits.hello_s:g} s of its start")
        elif not self._is_terminated:
            self._is_terminated = True
            self._process.terminate()
            self._timer.start(_ms(self._limits.stop_s))
        else:
            logger.warning("the engine ignored end of file and SIGTERM and is killed")
            self._process.kill()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and self._process is not None:
            self._end("not_started", -1, self._process.errorString())

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if self._process is None:
            return
        self._on_stdout()
        self._on_stderr()
        self._keep_stderr(self._stderr_rest)
        if self._fault is not None:
            kind, message = self._fault
            self._end(kind, code, message)
        elif self._is_stopping:
            self._end("stopped", code, "stopped as asked")
        elif status == QProcess.ExitStatus.CrashExit:
            self._end("crashed", code, f"ended by {_signal_name(code)}")
        else:
            self._end("exited", code, f"ended with exit code {code}")

    def _end(self, kind: EndKind, code: int, message: str) -> None:
        self._timer.stop()
        process, self._process = self._process, None
        self._is_greeted = False
        if process is not None:
            process.deleteLater()
        self.ended.emit(EngineEnd(kind, code, message, "\n".join(self._stderr_tail)))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
