"""How many processor threads decode with: measured on the model, and again when the load changes.

A step on all threads waits for the slowest of them. Beside a busy process one of two threads gets
half of its processor or less, and the whole step that half speed, where one thread alone would
have kept a processor to itself. So the count follows the machine: what others use is read every
quarter of a second, and when that has changed the next few steps, which are steps of the answer
like any others, are made with each count in turn; the fastest stays.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence

import psutil
import torch

from bilin_engine import processes

# How often the load is read. Systems count processor time in steps of 10 ms.
LOOK_S = 0.25
# After this long without a step the last reading says nothing about now.
STALE_S = 2.0
# Processors others use, more or less than when the count was last measured, to measure again.
CHANGE = 0.4
# No two measurements closer than this; and one after this long where fewer threads run than once
# were best, for loads that no reading shows.
RETRY_S = 1.5
REMEASURE_S = 10.0
TRIALS = 3  # steps with each count
# A count that takes this much longer than the best so far is not tried again.
HOPELESS = 1.5
TIE = 1.05  # within this, fewer threads
# A step this much slower than those measured is a change too, whatever the load says.
SLOWER = 1.6
SLOW_STEPS = 4


def physical_cores() -> int:
    """Cores this process may use; hyper-threads share what a step is bound by."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


def counts_for(cores: int) -> list[int]:
    """Counts worth a trial, ascending."""
    return sorted({1, max(1, cores // 2), max(1, cores - 1), cores})


class OtherLoad:
    """Processors that other processes use, averaged since the last reading."""

    def __init__(
        self, read: Callable[[], tuple[float, float, float]] = processes.cpu_seconds
    ) -> None:
        """read: (clock, seconds all processes used, seconds this one did)."""
        self._read = read
        self._last = read()

    def __call__(self) -> float:
        """At least 0.0; 0.0 where the system does not say."""
        now, before = self._read(), self._last
        self._last = now
        clock_s, all_s, own_s = (a - b for a, b in zip(now, before, strict=True))
        return max(0.0, (all_s - own_s) / clock_s) if clock_s > 0 else 0.0


class ThreadPacer:
    """Told of every decode step; sets torch's threads for the next. Not thread-safe."""

    def __init__(
        self,
        counts: Sequence[int],
        *,
        others: Callable[[], float] | None = None,
        set_threads: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """counts: the choice, ascending; the most is used until something was measured."""
        self._counts = list(counts)
        self._others = others or OtherLoad()
        self._set_threads = set_threads
        self._clock = clock
        self.count = self._counts[-1]
        self.most = self.count  # the most that was ever best: fewer are measured again in time
        self._load = 0.0  # of others, at the last measurement
        self._looked_s = self._measured_s = clock()
        self._step_s = 0.0  # with `count`, as measured; 0.0 = not yet
        self._num_slow = 0
        self._trial: _Trial | None = None
        set_threads(self.count)

    def start(self, count: int, step_s: float) -> None:
        """What a measurement outside found, at the load of this moment."""
        self._load = self._others()
        if self._load < CHANGE:
            self.most = count
        self._settle(count, step_s)

    def stepped(self, step_s: float) -> None:
        """A step took so long; chooses the threads of the next."""
        if len(self._counts) == 1:
            return
        if self._trial is not None:
            self._trial.add(step_s)
            self._go_on(self._trial)
            return
        is_slow = self._step_s > 0 and step_s > SLOWER * self._step_s
        self._num_slow = self._num_slow + 1 if is_slow else 0
        if self._should_measure():
            self._trial = _Trial(self._counts, first=self.count)
            self._go_on(self._trial)

    def _should_measure(self) -> bool:
        now_s = self._clock()
        since_s = now_s - self._looked_s
        if since_s < LOOK_S:
            return False
        self._looked_s = now_s
        load = self._others()
        if since_s > STALE_S or now_s - self._measured_s < RETRY_S:
            return False
        has_changed = abs(load - self._load) >= CHANGE or self._num_slow >= SLOW_STEPS
        is_low = self.count < self.most and now_s - self._measured_s >= REMEASURE_S
        if has_changed or is_low:
            self._load = load
        return has_changed or is_low

    def _go_on(self, trial: "_Trial") -> None:
        count = trial.next()
        if count is not None:
            self._set_threads(count)
            return
        self._trial = None
        self._settle(*trial.best())

    def _settle(self, count: int, step_s: float) -> None:
        self.count = count
        self._step_s = step_s
        self._num_slow = 0
        self._measured_s = self._looked_s = self._clock()
        self.most = max(self.most, count)
        self._set_threads(count)


class _Trial:
    """A few steps with each count in turn, so that a load that comes and goes meets all alike."""

    def __init__(self, counts: Sequence[int], first: int) -> None:
        self._times: dict[int, list[float]] = {count: [] for count in counts}
        order = [first, *(count for count in counts if count != first)]
        self._plan = [count for _ in range(TRIALS) for count in order]
        self._now = first

    def next(self) -> int | None:
        """The count of the next step; None when there is nothing more to try."""
        while self._plan:
            self._now = self._plan.pop(0)
            if not self._is_hopeless(self._now):
                return self._now
        return None

    def add(self, step_s: float) -> None:
        """How long the step took."""
        self._times[self._now].append(step_s)

    def best(self) -> tuple[int, float]:
        """The fastest count and its step; among equals the smallest."""
        medians = {c: statistics.median(times) for c, times in self._times.items() if times}
        fastest = min(medians.values())
        count = next(c for c, median in medians.items() if median <= TIE * fastest)
        return count, medians[count]

    def _is_hopeless(self, count: int) -> bool:
        own = self._times[count]
        others = [min(times) for times in self._times.values() if times]
        return bool(own) and min(own) > HOPELESS * min(others)
