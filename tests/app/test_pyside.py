"""What we need of the binding itself."""

import sys

from PySide6.QtCore import QObject, Signal


class Sender(QObject):
    sent = Signal(str)


def test_void_calls_keep_the_references_to_none():
    """PySide6 6.12.0 drops one per call on Python 3.10 and 3.11, and then aborts."""
    sender = Sender()
    received = []
    sender.sent.connect(received.append)
    before = sys.getrefcount(None)
    for _ in range(1_000):
        sender.setObjectName("x")
        sender.sent.emit("x")
    assert sys.getrefcount(None) > before - 100
    assert len(received) == 1_000
