"""The app's side of a `stdio` engine for tests: a child process, frames, events by request."""

import os
import queue
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from bilin_engine import __version__
from bilin_engine.channel import Channel
from bilin_engine.protocol import (
    PROTOCOL_VERSION,
    Cancelled,
    Done,
    Failed,
    FrameError,
    Hello,
    decode_event,
)

ENDS = (Done, Cancelled, Failed)


class StdioApp:
    def __init__(self, command, *, hello=True, env=None, stderr=subprocess.PIPE, cwd=None):
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.channel = Channel(self.process.stdout.fileno(), self.stdin.fileno(), decode_event)
        self.seen = []
        self.error = None
        self.stderr = b""
        self._queue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._read, daemon=True)]
        if self.process.stderr is not None:
            read = threading.Thread(
                target=self._read_stderr, args=(self.process.stderr,), daemon=True
            )
            self._threads.append(read)
        for thread in self._threads:
            thread.start()
        self._last_id = 0
        if hello:
            self.channel.send(Hello(PROTOCOL_VERSION, __version__, "app"))

    def _read(self):
        try:
            while (event := self.channel.receive()) is not None:
                self._queue.put(event)
        except (FrameError, OSError) as error:
            self.error = error
        self._queue.put(None)

    def _read_stderr(self, stderr):
        while data := stderr.read(65536):
            self.stderr += data

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def leave(self, timeout_s=10.0):
        """Waits for the process and its last words; its exit code."""
        code = self.process.wait(timeout_s)
        for thread in self._threads:
            thread.join(timeout_s)
        return code

    def next(self, timeout_s=30.0):
        """The next event; None at the end of the stream."""
        event = self._queue.get(timeout=timeout_s)
        if event is not None:
            self.seen.append(event)
        return event

    def send(self, make):
        self._last_id += 1
        self.channel.send(make(self._last_id))
        return self._last_id

    def until(self, is_wanted, timeout_s=30.0):
        for event in self.seen:
            if is_wanted(event):
                return event
        deadline = time.monotonic() + timeout_s
        while True:
            event = self.next(max(0.01, deadline - time.monotonic()))
            assert event is not None, f"the engine ended: {self.stderr.decode()}"
            if is_wanted(event):
                return event

    def end(self, request_id):
        return self.until(lambda e: isinstance(e, ENDS) and e.id == request_id)

    def ask(self, make):
        return self.end(self.send(make))


def children_of(pid: int) -> list[int]:
    """Pids of direct children (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended since
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def command_line(pid: int) -> bytes:
    """Its arguments, separated by NUL; b"" once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(pids, timeout_s=10.0):
    """Waits until none of `pids` runs; those that still do."""
    deadline = time.monotonic() + timeout_s
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
