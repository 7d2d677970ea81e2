"""How often an engine that ends by itself is started again."""

from collections.abc import Callable
from time import monotonic

MAX_RESTARTS = 3
STABLE_S = 60.0


class RestartLimit:
    """Allows MAX_RESTARTS in a row; an engine that lasted STABLE_S starts the count anew."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._started_at = 0.0
        self.num_restarts = 0

    def started(self) -> None:
        """The engine was started."""
        self._started_at = self._clock()

    def reset(self) -> None:
        """A person asked for the start: count anew."""
        self.num_restarts = 0

    def may_restart(self) -> bool:
        """Whether an engine that has just ended may be started again; counts it if so."""
        if self._clock() - self._started_at >= STABLE_S:
            self.num_restarts = 0
        if self.num_restarts >= MAX_RESTARTS:
            return False
        self.num_restarts += 1
        return True
