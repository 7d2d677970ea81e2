"""Ctrl+C in the terminal, `kill`, a terminal that closes: the window is closed as by a person.

A thread hears of them, whatever keeps the GUI thread: a second Ctrl+C ends a window that hangs.
"""

import os
import signal
import threading

from PySide6.QtCore import QCoreApplication, QMetaObject, Qt

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def quit_on_signals(app: QCoreApplication) -> None:
    """Has them quit `app`, but for those that are ignored (nohup). Once, in the main thread."""
    heard, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    for number in _ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # without a handler no byte is written
    threading.Thread(target=_listen, args=(heard, app), name="bilin-signals", daemon=True).start()


def _listen(heard: int, app: QCoreApplication) -> None:
    was_interrupted = False
    while number := os.read(heard, 1):
        if number[0] == signal.SIGINT:
            if was_interrupted:
                os._exit(128 + signal.SIGINT)
            was_interrupted = True
        QMetaObject.invokeMethod(app, "quit", Qt.ConnectionType.QueuedConnection)
