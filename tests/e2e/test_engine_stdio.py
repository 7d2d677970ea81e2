"""`python -P -m bilin_engine stdio` as an app meets it: a real child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stdio_app import StdioApp, children_of, is_alive, wait_gone

from bilin_engine import __version__
from bilin_engine.protocol import (
    CONNECTION_ID,
    PROTOCOL_VERSION,
    Cancel,
    Cancelled,
    Chat,
    Done,
    Failed,
    Hello,
    ListDevices,
    ListModels,
    LoadModel,
    Message,
    Shutdown,
    TextDelta,
    encode_frame,
)

pytestmark = pytest.mark.e2e

HELPERS = Path(__file__).parents[1] / "helpers"
REAL = (sys.executable, "-P", "-m", "bilin_engine", "stdio")
BUSY = ("--reply", "a long answer " * 1000, "--gap", "0.02", "--layer", "0.02")


def real(tmp_path, *arguments, **options):
    folders = ("--log-dir", str(tmp_path / "log"), "--models-dir", str(tmp_path / "models"))
    return StdioApp((*REAL, *folders, *arguments), **options)


def scripted(*worker, **options):
    program = (sys.executable, str(HELPERS / "scripted_stdio.py"), "--worker")
    return StdioApp((*program, *(worker or ("scripted_worker.py",))), **options)


def load(i):
    return LoadModel(id=i, model="letters")


def chat(i):
    return Chat(id=i, model="letters", messages=(Message("user", "你好"),))


def start_answer(app):
    """Loads and starts to answer; (request id, pids of supervisor and worker)."""
    assert isinstance(app.ask(load), Done)
    request = app.send(chat)
    app.until(lambda e: isinstance(e, TextDelta))
    return request, (app.process.pid, *children_of(app.process.pid))


def test_engine_greets_answers_and_leaves_at_the_end_of_input(tmp_path):
    with real(tmp_path) as app:
        assert app.next() == Hello(PROTOCOL_VERSION, __version__, "supervisor")
        assert isinstance(app.ask(ListModels), Done)
        assert app.ask(ListDevices).result.devices[-1].name == "cpu"
        app.stdin.close()
        assert app.leave() == 0


def test_engine_greets_before_it_is_greeted(tmp_path):
    with real(tmp_path, hello=False) as app:
        assert isinstance(app.next(), Hello)


def test_shutdown_is_answered_and_exits_with_0():
    with scripted("scripted_worker.py", *BUSY) as app:
        request, pids = start_answer(app)
        assert isinstance(app.ask(Shutdown), Done)
        assert isinstance(app.end(request), Cancelled)
        assert app.leave() == 0
        assert wait_gone(pids) == []


def test_sigterm_ends_engine_and_worker_in_good_order():
    with scripted("scripted_worker.py", *BUSY) as app:
        request, pids = start_answer(app)
        app.process.terminate()
        assert isinstance(app.end(request), Cancelled)
        assert app.leave() == 0
        assert wait_gone(pids) == []


OUR_HELLO = encode_frame(Hello(PROTOCOL_VERSION, "1", "app"))


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (encode_frame(Hello(999, "9.9", "app")), "the app speaks protocol 999, this side"),
        (encode_frame(ListModels(1)), "ListModels before its Hello"),
        (b"GET / HTTP/1.1\r\n\r\n", "a frame announces"),
        (OUR_HELLO + OUR_HELLO, "said Hello twice"),
        (OUR_HELLO + b"\x02\x00\x00\x00\xc1\xc1", "is not a message"),
        (OUR_HELLO + b"\xff\xff\xff\xff", "a frame announces 4294967295 bytes"),
    ],
)
def test_broken_stream_is_answered_with_its_reason(tmp_path, stream, sentence):
    with real(tmp_path, hello=False) as app:
        app.stdin.write(stream)
        failed = app.until(lambda e: isinstance(e, Failed))
        assert failed.id == CONNECTION_ID
        assert sentence in failed.message
        assert app.leave() == 3


def test_prints_of_libraries_reach_stderr_and_never_the_stream():
    noisy = (
        "import ctypes, os, sys\n"
        "from bilin_engine import processes\n"
        "read_fd, write_fd = processes.take_stdio()\n"
        "print('from Python', flush=True)\n"
        "os.write(1, b'from below\\n')\n"
        "ctypes.CDLL(None).puts(b'from C')\n"
        "ctypes.CDLL(None).fflush(None)\n"
        "os.system('echo from a child')\n"
        "from bilin_engine.channel import Channel\n"
        "from bilin_engine.protocol import decode_request, hello\n"
        "Channel(read_fd, write_fd, decode_request).send(hello('supervisor'))\n"
    )
    with StdioApp((sys.executable, "-P", "-c", noisy), hello=False) as app:
        assert isinstance(app.next(), Hello)
        assert app.next() is None
        assert app.error is None
        app.leave()
    for line in (b"from Python", b"from below", b"from C", b"from a child"):
        assert line in app.stderr


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_kill_of_the_supervisor_leaves_no_worker(state):
    with scripted("scripted_worker.py", *BUSY) as app:
        request, pids = start_answer(app)
        assert len(pids) == 2
        if state == "idle":
            app.ask(lambda i: Cancel(i, request))
            app.end(request)
        app.process.kill()
        assert wait_gone(pids) == []


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_kill_of_the_app_leaves_no_engine(state, tmp_path):
    """The app is a process of its own that is killed; the engine hangs on its pipe alone."""
    report = tmp_path / "pids"
    code = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(HELPERS)!r})\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_engine_stdio as t\n"
        "app = t.scripted('scripted_worker.py', *t.BUSY)\n"
        "request, pids = t.start_answer(app)\n"
        f"if {state!r} == 'idle':\n"
        "    app.ask(lambda i: t.Cancel(i, request)); app.end(request)\n"
        f"open({str(report)!r} + '.new', 'w').write(' '.join(map(str, pids)))\n"
        f"import os; os.rename({str(report)!r} + '.new', {str(report)!r})\n"
        "time.sleep(600)\n"
    )
    app = subprocess.Popen((sys.executable, "-c", code))
    try:
        deadline = time.monotonic() + 30
        while not report.exists():
            assert app.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pids = [int(pid) for pid in report.read_text().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
    finally:
        app.kill()
        app.wait()
    assert wait_gone(pids) == []


def test_kill_of_the_worker_fails_the_answer_and_the_next_load_works():
    with scripted("scripted_worker.py", *BUSY) as app:
        request, (_, worker) = start_answer(app)
        os.kill(worker, signal.SIGKILL)
        failed = app.end(request)
        assert failed.code == "worker_died"
        assert "signal 9 (SIGKILL)" in failed.message
        start_answer(app)


def test_supervisor_never_imports_torch():
    """All that `stdio` imports, and a whole answer: nothing heavy gets into the process."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(HELPERS)!r})\n"
        "import bilin_engine.cli.stdio, bilin_engine.server.stdio\n"
        "from letter_models import Engine\n"
        "import test_server_supervisor as t\n"
        "with Engine() as engine:\n"
        "    engine.ask(t.load()); engine.ask(t.chat()); engine.ask(t.ListDevices)\n"
        "    engine.ask(t.fill(t.BlankSegment('short')))\n"
        "    assert engine.ask(t.chat()).result.text == '你好，hello!'\n"
        "heavy = {'torch', 'numpy', 'safetensors', 'accelerate', 'PySide6'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    tests = Path(__file__).parents[1] / "engine"
    subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(tests)},
    )


def test_only_the_pipe_connects_engine_and_worker():
    """A worker does not hold the app's pipes: it can neither read, write nor keep them open."""
    with scripted("scripted_worker.py") as app:
        app.ask(load)
        (worker,) = children_of(app.process.pid)
        streams = {f"pipe:[{os.fstat(fd).st_ino}]" for fd in _pipes(app)}
        held = {str(path.readlink()) for path in Path(f"/proc/{worker}/fd").iterdir()}
        assert not streams & held


def _pipes(app):
    return app.stdin.fileno(), app.process.stdout.fileno()


def test_log_file_tells_the_start_and_no_word_of_the_talk(tmp_path):
    with real(tmp_path) as app:
        app.ask(lambda i: Chat(id=i, model="nope", messages=(Message("user", "my secret 秘密"),)))
        app.stdin.close()
        app.leave()
    log = (tmp_path / "log" / "engine.log").read_text(encoding="utf-8")
    assert __version__ in log
    assert "secret" not in log + app.stderr.decode()


def test_log_folder_that_cannot_be_written_costs_the_file_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with StdioApp((*REAL, "--log-dir", str(blocked / "log"))) as app:
        assert isinstance(app.ask(ListModels), Done)
        app.stdin.close()
        app.leave()
    assert b"no log file" in app.stderr


def test_wrong_argument_is_a_sentence_and_exit_code_2(tmp_path):
    with real(tmp_path, "--idle-unload", "soon") as app:
        assert app.leave() == 2
    assert b"invalid float value: 'soon'" in app.stderr


def test_engine_of_a_stray_folder_is_not_the_one_that_runs(tmp_path):
    (tmp_path / "bilin_engine.py").write_text("raise SystemExit('a stray engine')")
    with real(tmp_path, cwd=tmp_path) as app:
        assert isinstance(app.next(), Hello)
