"""Set before Qt is imported: without a platform Qt aborts the whole run, and the system's language
is that of Qt's own texts, of dates and of strerror. And before torch is: two test processes whose
threads wait by spinning take the processors from one another.
"""

import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell's background jobs have it; whatever tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.update(LANG="C.UTF-8", LC_ALL="C.UTF-8", LANGUAGE="en")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import logging
import threading

import pytest
from hypothesis import settings

# Tests assert no timing: a busy machine must not fail them.
settings.register_profile("bilin", deadline=None)
settings.load_profile("bilin")


@pytest.fixture(autouse=True)
def fail_on_unexpected_warning(caplog, request):
    """Fails a test that logs a warning it did not ask for with @pytest.mark.expects_log."""
    yield
    if request.node.get_closest_marker("expects_log"):
        return
    records = [
        record
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING and record.name.startswith("bilin")
    ]
    assert not records, "unexpected log: " + "; ".join(r.getMessage() for r in records)


@pytest.fixture(autouse=True)
def fail_on_leftover_thread():
    """Fails a test that leaves a thread of ours running (they are named `bilin-…`).

    Threads of a fixture that several tests share were there before the test.
    """
    before = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("bilin-") and thread not in before and thread.is_alive():
            thread.join(timeout=5)
            assert not thread.is_alive(), f"thread {thread.name} is still running"
