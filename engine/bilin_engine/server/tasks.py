"""One request on its way through the supervisor, and the line in which requests wait.

Knows neither models nor workers.
"""

import threading
from collections import deque
from collections.abc import Callable

from bilin_engine.protocol import Request


class CancelledTaskError(Exception):
    """The request was cancelled; its work stops here."""


class Task:
    """A request and whether it was cancelled. `cancel` may come from any thread, at any time."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel was asked for."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Marks the task and wakes whoever works on it."""
        with self._lock:
            self._is_cancelled = True
            on_cancel = self._on_cancel
        if on_cancel is not None:
            on_cancel()

    def wake_with(self, on_cancel: Callable[[], None] | None) -> None:
        """`on_cancel` is called once a cancel comes, at once if it came before. None: nobody."""
        with self._lock:
            self._on_cancel = on_cancel
            is_cancelled = self._is_cancelled
        if is_cancelled and on_cancel is not None:
            on_cancel()

    def check(self) -> None:
        """Raises CancelledTaskError once cancelled."""
        if self._is_cancelled:
            raise CancelledTaskError


class TaskQueue:
    """First in, first out; a task that waits can be taken out again. Thread-safe."""

    def __init__(self) -> None:
        self._tasks: deque[Task | Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._is_closed = False

    def put(self, item: "Task | Callable[[], None]") -> None:
        """Adds a task, or a piece of the supervisor's own work, at the end."""
        with self._condition:
            self._tasks.append(item)
            self._condition.notify()

    def take(self, timeout_s: float | None = None) -> "Task | Callable[[], None] | None":
        """The next item; blocks. None after `timeout_s`, and once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._tasks or self._is_closed, timeout_s)
            return None if self._is_closed or not self._tasks else self._tasks.popleft()

    def remove(self, task: Task) -> bool:
        """Takes a waiting task out; False when it is not waiting (any more)."""
        with self._condition:
            if task not in self._tasks:
                return False
            self._tasks.remove(task)
            return True

    def close(self) -> None:
        """Wakes the taker, who gets None from now on."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed
