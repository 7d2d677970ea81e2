"""Cyclic garbage is collected by the GUI thread's timer, never by Python's own trigger."""

import gc
import weakref

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
