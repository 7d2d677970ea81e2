"""How many processor threads a model runs on: measured, and again when the load changes.

A step on all threads waits for the slowest of them. Beside a busy process one of two threads gets
half of its processor or less, and the whole step that half speed, where one thread alone would
have kept a processor to itself. So the count follows the machine: what others use is read every
quarter of a second, and when that has changed the next few steps, which are steps of the answer
like any others, are made with each count in turn; the fastest stays.

Counts are compared by their mean, not by their best or their middle step: a thread that lost its
processor keeps the others waiting for milliseconds, in one step of ten where steps are short.

A step is bound by memory, which a part of the cores may have to itself; many rows are bound by
arithmetic, and take all cores that others leave.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
TURNS = 3  # of each count
# A turn is one step, or as many as take this long: processors are taken away for milliseconds.
TURN_S = 0.02
# A count that takes this much longer than the best so far is not tried again.
HOPELESS = 1.5
TIE = 1.05  # within this, fewer threads
ALONE = 1.2  # within this all cores were as good as the fastest count: nobody else was on them
# So many steps this much slower than those measured are a change too, whatever the load says.
SLOWER = 1.6
SLOW_STEPS = 4
# What a measurement outside an answer may take.
ASIDE_S = 0.25


def physical_cores() -> int:
    """Cores this process may use; hyper-threads share what a step is bound by."""
    return min(psutil.cpu_count(logical=False) or 1, processes.num_usable_threads())


def counts_for(cores: int) -> list[int]:
    """Counts worth a trial, ascending."""
    return sorted({1, max(1, cores // 2), max(1, cores - 1), cores})


class OtherLoad:
    """Processors that others use of those this process could, averaged since the last reading."""

    def __init__(
        self, read: Callable[[], tuple[float, float, float]] = processes.cpu_seconds
    ) -> None:
        """read: (clock, seconds all processes used, seconds this one did)."""
        self._read = read
        self._last = read()
        # Under a quota most of a machine is never ours, and who works there takes nothing from us.
        self._spare = processes.num_processors() - processes.num_usable_threads()

    def __call__(self) -> float:
        """At least 0.0; 0.0 where the system does not say."""
        now, before = self._read(), self._last
        self._last = now
        clock_s, all_s, own_s = (a - b for a, b in zip(now, before, strict=True))
        return max(0.0, (all_s - own_s) / clock_s - self._spare) if clock_s > 0 else 0.0


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
        self._has_all_cores = True  # then, as far as steps tell
        self._looked_s = self._measured_s = clock()
        self._step_s = 0.0  # with `count`, as measured; 0.0 = not yet
        self._since = _Mean()  # the steps since it was last asked whether they are slow
        self._trial: _Trial | None = None
        set_threads(self.count)

    def start(self, step: Callable[[], float], budget_s: float) -> None:
        """Measures for the first time, with steps of its own: `step` makes one, and says its time.

        Every count has one turn; what is left of `budget_s` goes to more of them.
        """
        if len(self._counts) == 1:
            return
        self._others()  # the next reading covers the measurement alone
        self._run(step, budget_s)
        self._load = self._others()
        if self._load < CHANGE:
            self.most = self.count

    def stepped(self, step_s: float) -> None:
        """A step of an answer took so long; chooses the threads of the next."""
        if len(self._counts) == 1:
            return
        if self._trial is not None:
            self._trial.add(step_s)
            self._go_on(self._trial)
            return
        self._since.add(step_s)
        if self._should_measure():
            self._trial = _Trial(self._counts, first=self.count)
            self._go_on(self._trial)

    def before_prefill(self, step: Callable[[], float]) -> None:
        """Measures with steps of its own where the load has changed and a step is short.

        For those who score and never decode. A step that takes longer than a wait for threads is
        worth less than the time that measuring would take.
        """
        num_steps = len(self._counts) * TURNS
        is_short = 0 < self._step_s * num_steps <= ASIDE_S
        if len(self._counts) > 1 and self._trial is None and is_short and self._should_measure():
            self._run(step, ASIDE_S)

    def for_many_rows(self) -> int:
        """Threads for products of many rows: all cores, unless others were met on them."""
        is_alone = self._load < CHANGE and self._has_all_cores
        return self._counts[-1] if is_alone else self.count

    @contextmanager
    def many_rows(self) -> Iterator[None]:
        """Has torch's threads be `for_many_rows` in its body, and afterwards what they were."""
        self._set_threads(self.for_many_rows())
        try:
            yield
        finally:
            self._set_threads(self.count if self._trial is None else self._trial.now)

    def _run(self, step: Callable[[], float], budget_s: float) -> None:
        """A trial at once."""
        trial = _Trial(self._counts, first=self.count)
        end_s = self._clock() + budget_s
        while (count := trial.next()) is not None:
            if self._clock() >= end_s and trial.has_met_all():
                break
            self._set_threads(count)
            trial.add(step())
        self._settle(trial)

    def _should_measure(self) -> bool:
        now_s = self._clock()
        since_s = now_s - self._looked_s
        if since_s < LOOK_S:
            return False
        self._looked_s = now_s
        load = self._others()
        if since_s > STALE_S or now_s - self._measured_s < RETRY_S:
            return False
        is_slow = False
        if self._since.count >= SLOW_STEPS:
            is_slow = 0 < SLOWER * self._step_s < self._since.mean()
            self._since = _Mean()
        has_changed = abs(load - self._load) >= CHANGE or is_slow
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
        self._settle(trial)

    def _settle(self, trial: "_Trial") -> None:
        count, self._step_s = trial.best()
        self.count = count
        self._has_all_cores = trial.is_within(ALONE, self._counts[-1])
        self._since = _Mean()
        self._measured_s = self._looked_s = self._clock()
        self.most = max(self.most, count)
        self._set_threads(count)


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    def mean(self) -> float:
        return self.total / self.count


class _Trial:
    """Each count in turn, and again, so that a load that comes and goes meets all alike."""

    def __init__(self, counts: Sequence[int], first: int) -> None:
        self._times = {count: _Mean() for count in counts}
        order = [first, *(count for count in counts if count != first)]
        self._plan = [count for _ in range(TURNS) for count in order]
        self.now = self._plan.pop(0)
        self._turn_s = 0.0

    def next(self) -> int | None:
        """The count of the next step; None when there is nothing more to try."""
        if self._turn_s < TURN_S:
            return self.now
        while self._plan:
            self.now = self._plan.pop(0)
            if self.is_within(HOPELESS, self.now):
                self._turn_s = 0.0
                return self.now
        return None

    def add(self, step_s: float) -> None:
        """How long the step took."""
        self._times[self.now].add(step_s)
        self._turn_s += step_s

    def has_met_all(self) -> bool:
        """Whether every count made a step."""
        return all(times.count for times in self._times.values())

    def best(self) -> tuple[int, float]:
        """The fastest count and its step; among equals the smallest."""
        means = {c: times.mean() for c, times in self._times.items() if times.count}
        fastest = min(means.values())
        count = next(c for c, mean in means.items() if mean <= TIE * fastest)
        return count, means[count]

    def is_within(self, factor: float, count: int) -> bool:
        """Whether the count's step took at most `factor` times the fastest; True where unknown."""
        own = self._times[count]
        fastest = min((times.mean() for times in self._times.values() if times.count), default=0.0)
        return own.count == 0 or own.mean() <= factor * fastest
