"""Python's cyclic garbage, collected between events of the GUI thread and nowhere else.

Left alone, Python collects in whichever thread allocates next, and in the middle of whatever Qt is
doing. A widget that dies in the storage's thread, or while `QApplication.setStyleSheet` walks over
all widgets, takes the process with it.
"""

import gc

from PySide6.QtCore import QObject, QTimer

PERIOD_MS = 1000
# Objects that came into being in a period in which nobody does anything, and how many such periods
# in a row say that nobody is there.
IDLE_OBJECTS = 300
IDLE_PERIODS = 5
# So many times the younger generations may be collected before all of it is, idle or not.
LATEST = 200


class GarbageCollector(QObject):
    """Takes over from Python's own trigger for as long as the process runs. GUI thread only.

    All of it takes a tenth of a second on a slow machine: that waits until nobody is there.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        self._idle_periods = 0
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(self.collect_if_due)
        self._timer.start()

    def collect_if_due(self) -> None:
        """Collects the oldest generation that Python itself would collect now, if any."""
        counts, thresholds = gc.get_count(), gc.get_threshold()
        self._idle_periods = self._idle_periods + 1 if counts[0] <= IDLE_OBJECTS else 0
        may_take_long = self._idle_periods >= IDLE_PERIODS or counts[2] > LATEST
        if counts[2] > thresholds[2] and may_take_long:
            gc.collect(2)
        elif counts[1] > thresholds[1]:
            gc.collect(1)
        elif counts[0] > thresholds[0]:
            gc.collect(0)


def settle() -> None:
    """What the start has made stays as long as the process: no collection looks at it again."""
    gc.freeze()
