"""One worker process: its start, its frames, its end.

Knows nothing of models. Events go to a callback, on the worker's reading thread; the last one is
`Gone`.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.errors import WorkerDiedError
from bilin_engine.protocol import (
    FrameError,
    Hello,
    WorkerEvent,
    check_hello,
    decode_worker_event,
    hello,
)

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 0.5  # how long a process may take to end after its stream did


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How workers are started; `arguments` come first, then what every worker gets.

    nice: steps of lower priority, so that a person's other programs stay quick. log_dir: None =
    stderr alone. log_level: as logging names it.
    """

    arguments: tuple[str, ...] = (sys.executable, "-P", "-m", "bilin_engine.worker")
    nice: int = 10
    log_dir: Path | None = None
    log_level: str = "INFO"

    def for_rank(self, rank: int) -> list[str]:
        """The whole command line."""
        command = [*self.arguments, "--parent", str(os.getpid()), "--rank", str(rank)]
        command += ["--nice", str(self.nice), "--log-level", self.log_level]
        if self.log_dir is not None:
            command += ["--log-dir", str(self.log_dir)]
        return command


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker is no longer there. `reason`: the sentence why, for a person."""

    reason: str


class WorkerProcess:
    """A running worker. Start it from a thread that lives as long as it: see end_with_parent."""

    def __init__(
        self,
        command: Sequence[str],
        rank: int,
        on_event: "Callable[[int, WorkerEvent | Gone], None]",
    ) -> None:
        """Starts the process; `on_event` gets its rank with each event, `Hello` included.

        Raises WorkerDiedError when the program cannot be started.
        """
        self.rank = rank
        self._on_event = on_event
        self._is_closing = False
        self._fault = ""
        try:
            # A session of its own: Ctrl-C in a terminal reaches the supervisor alone.
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            message = f"the model's process cannot be started: {command[0]}: {error.strerror}"
            raise WorkerDiedError(message) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(
            self._process.stdout.fileno(), self._process.stdin.fileno(), decode_worker_event
        )
        self._reader = threading.Thread(
            target=self._read, name=f"bilin-worker-{rank}-events", daemon=True
        )
        self._reader.start()
        self.send(hello("supervisor"))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: msgspec.Struct) -> None:
        """Sends one message. A worker that is gone says so through `Gone`, not here."""
        if self._is_closing:
            return
        try:
            self._channel.send(message)
        except (OSError, ValueError) as error:
            logger.debug("worker %d no longer reads: %s", self.rank, error)

    def kill(self, reason: str) -> None:
        """Ends the process at once; `Gone` will carry `reason`."""
        self._fault = self._fault or reason
        self._process.kill()

    def end_input(self) -> None:
        """Tells the process to leave, without waiting. Safe to call twice."""
        self._is_closing = True
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self, timeout_s: float = EXIT_WAIT_S) -> None:
        """Ends the process: end of input, then a kill after `timeout_s`. Safe to call twice."""
        self.end_input()
        assert self._process.stdout is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Nothing is lost: it was still starting, or deep in a library.
            logger.info("worker %d did not leave at end of input and is killed", self.rank)
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        try:
            first = self._channel.receive()
            if first is not None:
                check_hello(first, "model's process")
                self._on_event(self.rank, first)
                while (event := self._channel.receive()) is not None:
                    if isinstance(event, Hello):
                        raise FrameError("the model's process said Hello twice")
                    self._on_event(self.rank, event)
        except FrameError as error:
            self.kill(f"The model's process sent something that is no message: {error}.")
        except OSError as error:
            self.kill(f"The model's process can no longer be read: {error}.")
        self._on_event(self.rank, Gone(self._end_reason()))

    def _end_reason(self) -> str:
        try:
            code = self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._is_closing:
            return ""
        if self._fault:
            return self._fault
        return (
            f"The model's process (rank {self.rank}) ended unexpectedly: "
            f"{processes.exit_sentence(code)}. The log has its last words."
        )
