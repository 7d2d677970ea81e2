"""Ctrl+C, `kill` and a terminal that closes, as the window's process gets them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stdio_app import wait_gone

from bilin_app.paths import app_paths
from bilin_app.storage.conversations import new_draft
from bilin_app.storage.database import open_reader

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[1] / "helpers" / "scripted_engine.py"
# Types something, and hangs if it is told to, as soon as all of it is there.
PROGRAM = f"""
import sys, time
from pathlib import Path
import bilin_app.__main__ as start
import bilin_app.application as whole
from PySide6.QtCore import QTimer
from bilin_app.engine_client.process import EngineCommand

whole._engine_command = lambda *_: EngineCommand(sys.executable, ("-P", {str(SCRIPT)!r}))
true_go_on = start.go_on

def hang():
    print("hangs", flush=True)
    while True:
        time.sleep(60)

def go_on(*arguments, **options):
    application = true_go_on(*arguments, **options)

    def completed():
        application.window.chat.composer.insert("a thought")
        print(application.engine.client.process_id, flush=True)
        if "hang" in sys.argv:
            QTimer.singleShot(0, hang)

    application.completed.connect(completed)
    return application

start.go_on = go_on
sys.exit(start._run(Path(sys.argv[1]), [], ""))
"""


@pytest.fixture
def begin(tmp_path):
    started = []

    def begin(*arguments, hangup=signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(tmp_path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a signal can go to its group, as a terminal's does
            preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),  # these tests may have another
        )
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_window_closes_with_all_that_was_typed(begin, tmp_path, number):
    process, engine = begin()
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert "Traceback" not in told
    assert wait_gone([engine]) == []
    paths = app_paths(tmp_path)
    assert paths.window_state.exists()
    reader = open_reader(paths.database)
    assert new_draft(reader).text == "a thought"
    reader.close()


def test_what_nohup_lets_pass_ends_nothing(begin):
    process, _ = begin(hangup=signal.SIG_IGN)
    os.killpg(process.pid, signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0


def test_a_second_ctrl_c_ends_a_window_that_hangs(begin):
    process, engine = begin("hang")
    assert process.stdout.readline() == "hangs\n"
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    assert wait_gone([engine]) == []
