"""The app in a process of its own, driven by what it shows: driven_app.py seen from outside."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PROGRAM = Path(__file__).with_name("driven_app.py")


class Window:
    """The app in a process of its own, seen through what it shows."""

    def __init__(self, data_dir):
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LANGUAGE": "en"}
        environ["LANG"] = environ["LC_ALL"] = "C.UTF-8"
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "--data-dir", str(data_dir)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.ticks = threading.Event()
        self.wait_s = 60.0

    def do(self, **command):
        self.stdin.write(json.dumps(command).encode() + b"\n")
        self.stdin.flush()
        line = self.stdout.readline()
        assert line, f"the app is gone: {self.process.wait(10)}"
        return json.loads(line)

    def until(self, is_so, what=""):
        deadline = time.monotonic() + self.wait_s
        while True:
            state = self.do()
            if is_so(state):
                return state
            assert time.monotonic() < deadline, (what, state)
            self.ticks.wait(0.05)

    def click(self, text):
        """Presses a button as soon as it is there."""
        self.until(lambda state: text in state["buttons"], f"a button {text!r}")
        state = self.do(click=text)
        assert not state["error"], state
        return state

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self._close_pipes()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.kill()

    def close(self):
        self.stdin.close()
        assert self.process.wait(60) == 0
        self.stdout.close()

    def _close_pipes(self):
        self.stdin.close()
        self.stdout.close()


def job(state):
    return state["jobs"][0] if state["jobs"] else {"state": "", "fraction": 0.0}
