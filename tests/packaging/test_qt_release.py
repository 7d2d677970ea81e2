"""The Qt release that is installed must not lose references, as PySide6 6.12.0 does on Python 3.11.

There every call that returns nothing drops one reference to None, and after some 7,000 calls the
process aborts. A short test suite does not show it, so this looks at the count itself.
"""

import sys

from PySide6.QtCore import QObject


def test_qt_calls_that_return_nothing_keep_their_references_to_none():
    thing = QObject()
    before = sys.getrefcount(None)
    for _ in range(1000):
        thing.setObjectName("x")
    assert sys.getrefcount(None) > before - 100
