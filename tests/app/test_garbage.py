"""Cyclic garbage is collected by the GUI thread's timer, never by Python's own trigger."""

import gc
import weakref

import pytest
from PySide6.QtCore import QObject

from bilin_app import garbage
from bilin_app.garbage import GarbageCollector


class Cycle:
    def __init__(self):
        self.self = self


def test_only_the_timer_collects(qtbot, monkeypatch):
    monkeypatch.setattr(garbage, "PERIOD_MS", 5)
    owner = QObject()
    GarbageCollector(owner)
    assert not gc.isenabled()
    gc.collect()
    lost = weakref.ref(Cycle())
    more = [Cycle() for _ in range(gc.get_threshold()[0] + 1)]
    assert lost() is not None
    qtbot.waitUntil(lambda: lost() is None, timeout=5000)
    assert len(more) > 0
    owner.deleteLater()


class Counts:
    """Stands for gc: tells how many of each generation wait, and what was collected."""

    def __init__(self, *counts: int) -> None:
        self.counts = counts
        self.collected: list[int] = []

    def disable(self) -> None:
        pass

    def get_count(self) -> tuple[int, ...]:
        return self.counts

    def get_threshold(self) -> tuple[int, int, int]:
        return (700, 10, 10)

    def collect(self, generation: int) -> None:
        self.collected.append(generation)


@pytest.mark.parametrize(
    ("counts", "collected"),
    [
        ((20, 3, 11), [2]),  # nobody is there: all of it
        ((9000, 3, 11), [0] * garbage.IDLE_PERIODS),  # an answer is written: the young ones only
        ((9000, 11, 11), [1] * garbage.IDLE_PERIODS),
        ((9000, 3, garbage.LATEST + 1), [2] * garbage.IDLE_PERIODS),  # never idle: all the same
        ((20, 3, 3), []),
    ],
)
def test_all_of_it_is_collected_when_nobody_is_there(monkeypatch, counts, collected):
    stand_in = Counts(*counts)
    monkeypatch.setattr(garbage, "gc", stand_in)
    owner = QObject()
    collector = GarbageCollector(owner)
    for _ in range(garbage.IDLE_PERIODS):
        collector.collect_if_due()
    assert stand_in.collected == collected
    owner.deleteLater()
