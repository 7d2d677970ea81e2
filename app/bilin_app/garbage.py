"""Python's cyclic garbage, collected between events of the GUI thread and nowhere else.

Left alone, Python collects in whichever thread allocates next, and in the middle of whatever Qt is
doing. A widget that dies in the storage's thread, or while `QApplication.setStyleSheet` walks over
all widgets, takes the process with it.
"""

import gc

from PySide6.QtCore import QObject, QTimer

PERIOD_MS = 1000
# Objects that came into being in a period in which nobody does anything.
IDLE_OBJECTS = 300
# So many times the youngest generations may be collected before all of it is, idle or not.
LATEST = 200


class GarbageCollector(QObject):
    """Takes over from Python's own trigger for as long as the process runs. GUI thread only."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(collect_if_due)
        self._timer.start()


def collect_if_due() -> None:
    """Collects the oldest generation that Python itself would collect now, if any.

    All of it takes a tenth of a second on a slow machine: that waits until the app is idle.
    """
    counts, thresholds = gc.get_count(), gc.get_threshold()
    is_idle = counts[0] <= IDLE_OBJECTS
    if counts[2] > thresholds[2] and (is_idle or counts[2] > LATEST):
        gc.collect(2)
    elif counts[1] > thresholds[1]:
        gc.collect(1)
    elif counts[0] > thresholds[0]:
        gc.collect(0)


def settle() -> None:
    """What the start has made stays as long as the process: no collection looks at it again."""
    gc.freeze()
