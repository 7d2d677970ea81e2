"""Python's cyclic garbage, collected between events of the GUI thread and nowhere else.

Left alone, Python collects in whichever thread allocates next, and in the middle of whatever Qt is
doing. A widget that dies in the storage's thread, or while `QApplication.setStyleSheet` walks over
all widgets, takes the process with it.
"""

import gc

from PySide6.QtCore import QObject, QTimer

PERIOD_MS = 1000


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
    """Collects the oldest generation that Python itself would collect now, if any."""
    counts, thresholds = gc.get_count(), gc.get_threshold()
    for generation in (2, 1, 0):
        if counts[generation] > thresholds[generation]:
            gc.collect(generation)
            return
