"""One child process that speaks frames: its start, its messages, its end. Workers and jobs.

Knows nothing of models. Messages go to a callback, on the child's reading thread; the last one is
`Gone`.
"""

import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.errors import BadRequestError, WorkerDiedError
from bilin_engine.protocol import FrameError, Hello, check_hello, hello

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 0.5  # how long a process may take to end after its stream did

EventT = TypeVar("EventT")


@dataclass(frozen=True, slots=True)
class Gone:
    """A child is no longer there. `reason`: the sentence why, for a person; "" = as asked."""

    reason: str


class ChildProcess(Generic[EventT]):
    """A running child. Start it from a thread that lives as long as it: see end_with_parent."""

    def __init__(
        self,
        command: Sequence[str],
        on_event: "Callable[[EventT | Gone], None]",
        *,
        decode: "Callable[[bytes], EventT]",
        noun: str,
    ) -> None:
        """Starts the process; `on_event` gets every message, `Hello` included.

        decode: one of protocol's `decode_…` functions. noun: for sentences, as "model's process
        (rank 1)". Raises WorkerDiedError when the program cannot be started.
        """
        self._noun = noun
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
            message = f"the {noun} cannot be started: {command[0]}: {error.strerror}"
            raise WorkerDiedError(message) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno(), decode)
        self._reader = threading.Thread(
            target=self._read, name=f"bilin-child-{self._process.pid}-events", daemon=True
        )
        self._reader.start()
        self.send(hello("supervisor"))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: msgspec.Struct) -> None:
        """Sends one message. A child that is gone says so through `Gone`, not here.

        Raises BadRequestError for one that no frame can hold (too large, or the name of a file that
        is no UTF-8); nothing of it was sent.
        """
        if self._is_closing:
            return
        try:
            self._channel.send(message)
        except FrameError as error:
            message_text = f"this is too much for one request to the {self._noun}: {error}"
            raise BadRequestError(message_text) from error
        except UnicodeEncodeError as error:
            name = error.object[:200].encode("utf-8", "replace").decode()
            raise BadRequestError(
                f'"{name}" is no UTF-8 name; rename the file or folder'
            ) from error
        except (OSError, ValueError) as error:
            logger.debug("the %s no longer reads: %s", self._noun, error)

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
            logger.info("the %s did not leave at end of input and is killed", self._noun)
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        try:
            first = self._channel.receive()
            if first is not None:
                check_hello(first, self._noun)
                self._on_event(first)
                while (event := self._channel.receive()) is not None:
                    if isinstance(event, Hello):
                        raise FrameError(f"the {self._noun} said Hello twice")
                    self._on_event(event)
        except FrameError as error:
            if not self._has_ended():  # else its end cut the frame, and is what there is to tell
                self.kill(f"The {self._noun} sent something that is no message: {error}.")
        except OSError as error:
            self.kill(f"The {self._noun} can no longer be read: {error}.")
        self._on_event(Gone(self._end_reason()))

    def _has_ended(self) -> bool:
        try:
            self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end_reason(self) -> str:
        if not self._has_ended():
            self._process.kill()
        code = self._process.wait()
        if self._is_closing:
            return ""
        if self._fault:
            return self._fault
        return (
            f"The {self._noun} ended unexpectedly: {processes.exit_sentence(code)}. "
            f"The log has its last words."
        )
