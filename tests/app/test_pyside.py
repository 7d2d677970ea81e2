"""What we need of the binding itself."""

import subprocess
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


def test_the_first_import_leaves_the_stub_generator_out_and_all_else_in():
    program = """
import builtins
before = builtins.compile
from bilin_app.pyside_imports import import_pyside
import_pyside()
assert builtins.compile is before
from shibokensupport.signature.lib import enum_sig, pyi_generator
assert hasattr(enum_sig, "ExactEnumerator")
assert not [name for name in vars(pyi_generator) if not name.startswith("__")]
from PySide6.QtCore import QPoint
assert "x: int" in QPoint.setX.__doc__
try:
    QPoint().setX("one")
except TypeError as error:
    assert "Supported signatures" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)
