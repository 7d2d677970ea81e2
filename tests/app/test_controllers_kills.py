"""kill -9 of the app, the supervisor, the worker: nothing acknowledged is lost, nothing is left."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from chat_page import ChatPage
from stdio_app import children_of, wait_gone

from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand
from bilin_app.storage.search import find
from bilin_app.storage.store import Store

HELPERS = Path(__file__).parents[1] / "helpers"
# The real supervisor with a real worker process, whose model is a script.
WORDS = ("--reply", "a long answer " * 1000, "--gap", "0.02", "--layer", "0.02")
REAL = (str(HELPERS / "scripted_stdio.py"), "--worker", "scripted_worker.py", *WORDS)

pytestmark = pytest.mark.e2e


class HeadlessApp:
    def __init__(self, folder: Path, send: str = "") -> None:
        program = [sys.executable, str(HELPERS / "headless_app.py"), "--data-dir", str(folder)]
        engine = ["--", sys.executable, *REAL]
        search = [str(HELPERS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}
        self.process = subprocess.Popen(
            [*program, "--send", send, *engine], stdout=subprocess.PIPE, env=environment
        )
        self.events: list[dict] = []

    def until(self, event: str, count: int = 1) -> dict:
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, f"the app ended before {event}"
            self.events.append(json.loads(line))
            if sum(e["event"] == event for e in self.events) == count:
                return self.events[-1]

    def kill(self) -> tuple[float, list[dict]]:
        """When it was killed, and all that it had said until then."""
        assert self.process.stdout is not None
        at = time.monotonic()
        self.process.kill()
        self.events += [json.loads(line) for line in self.process.stdout if line.endswith(b"}\n")]
        self.process.wait()
        self.process.stdout.close()
        return at, self.events

    def engine_pids(self) -> list[int]:
        [supervisor] = children_of(self.process.pid)
        return [supervisor, *children_of(supervisor)]


@contextmanager
def opened(folder: Path):
    store = Store(folder / "bilin.db")
    try:
        yield store, store.open().result()
    finally:
        store.close()


def all_messages(store: Store):
    def read(connection):
        return connection.execute(
            "SELECT id, role, state, text FROM messages ORDER BY id"
        ).fetchall()

    return store.read(read).result()


def check_nothing_lost(folder: Path, killed_at: float, events: list[dict]) -> None:
    """All acknowledged messages are there, and all but the last seconds of the running answer.

    A second where the disk takes it at once; three beside whatever else uses this one.
    """
    shown = {e["id"]: e for e in events if e["event"] == "message"}
    with opened(folder) as (store, report):
        assert report.problem is None
        rows = {row[0]: row for row in all_messages(store)}
        for message_id, message in shown.items():
            assert rows[message_id][1] == message["role"]
            if message["role"] == "user":
                assert rows[message_id][3] == message["text"]
                assert store.read(find, message["text"]).result()
        old = [e for e in events if e["event"] == "text" and e["at"] < killed_at - 3.0]
        if old:
            assert len(rows[old[-1]["message"]][3]) >= old[-1]["length"]
        for row in rows.values():
            assert row[2] in ("done", "interrupted")
            if row[1] == "assistant":
                assert ("a long answer " * 1000).startswith(row[3])


def test_kill_of_the_idle_app_leaves_no_process(tmp_path):
    app = HeadlessApp(tmp_path)
    app.until("ready")
    pids = app.engine_pids()
    assert len(pids) == 2
    app.kill()
    assert wait_gone(pids) == []


def test_kill_of_the_busy_app_leaves_no_process_and_loses_the_last_seconds_at_most(tmp_path):
    app = HeadlessApp(tmp_path, "你好 neighbour")
    app.until("acknowledged")
    began = app.until("text")["at"]
    count = 2
    while app.until("text", count)["at"] < began + 4.0:
        count += 1
    pids = app.engine_pids()
    killed_at, events = app.kill()
    assert wait_gone(pids) == []
    check_nothing_lost(tmp_path, killed_at, events)
    with opened(tmp_path) as (store, _):
        rows = all_messages(store)
    assert [row[2] for row in rows] == ["done", "interrupted"]
    assert rows[1][3]


def test_kill_right_after_the_acknowledgement_keeps_the_message(tmp_path):
    app = HeadlessApp(tmp_path, "你好 neighbour")
    app.until("acknowledged")
    killed_at, events = app.kill()
    check_nothing_lost(tmp_path, killed_at, events)
    with opened(tmp_path) as (store, _):
        assert all_messages(store)[0][3] == "你好 neighbour"


@pytest.mark.expects_log
@pytest.mark.timeout(180)
@pytest.mark.parametrize("victim", ["supervisor", "worker"])
def test_after_a_kill_in_the_engine_the_same_answer_goes_on_and_tells_why(
    qtbot, tmp_path, monkeypatch, victim
):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    client = EngineClient(EngineCommand(sys.executable, REAL))
    engine = EngineController(client)
    store = Store(tmp_path / "bilin.db")
    chat = ChatController(store, engine)
    page = ChatPage(chat, engine)
    try:
        chat.start()
        engine.start()
        chat.send("one")
        qtbot.waitUntil(lambda: len(page.texts) == 2 and len(page.texts[1]) > 20, timeout=60_000)
        [worker] = children_of(client.process_id)
        os.kill(client.process_id if victim == "supervisor" else worker, signal.SIGKILL)
        qtbot.waitUntil(lambda: bool(page.messages[1].seams), timeout=30_000)
        [seam] = page.messages[1].seams
        so_far = page.texts[1][: seam.offset]
        assert len(so_far) > 20
        assert "SIGKILL" in seam.reason or "killed" in seam.reason
        qtbot.waitUntil(lambda: len(page.texts[1]) > len(so_far), timeout=30_000)
        assert page.texts[1].startswith(so_far)
        assert page.failures == []
        assert wait_gone([worker]) == []
        chat.stop()
        qtbot.waitUntil(lambda: bool(page.stopped), timeout=10_000)
    finally:
        chat.close()
        engine.finish()


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_two_hundred_random_kills_lose_nothing(tmp_path):
    """The app dies at any moment, again and again, on one growing database."""
    chance = random.Random(20261123)
    for round_number in range(200):
        app = HeadlessApp(tmp_path, f"message number {round_number}")
        app.until("ready")
        time.sleep(chance.uniform(0.0, 1.5))
        victims = app.engine_pids()
        if chance.random() < 0.3:  # first the engine, then the app in the middle of its reaction
            psutil.Process(chance.choice(victims)).kill()
            time.sleep(chance.uniform(0.0, 0.3))
        killed_at, events = app.kill()
        assert wait_gone(victims) == [], round_number
        check_nothing_lost(tmp_path, killed_at, events)
