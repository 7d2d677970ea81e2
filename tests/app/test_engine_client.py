"""The engine as a child process that behaves, and as one that does not."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bilin_app.engine_client.client import (
    ENGINE_ENDED,
    NOT_CONNECTED,
    EngineClient,
    RequestFailure,
    RequestHandle,
)
from bilin_app.engine_client.process import EngineCommand, EngineEnd, EngineLimits
from bilin_engine.protocol import Chat, ChatResult, ListModels, Message, ModelsListed

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")
# A busy machine is not to be taken for an engine that hangs.
PATIENT = EngineLimits(hello_s=60, stop_s=0.3, silence_s=5, answer_s=20, cancel_s=20)
QUICK = replace(PATIENT, silence_s=0.2, answer_s=0.4, cancel_s=0.4)  # for one that does hang


def command(*arguments: str) -> EngineCommand:
    return EngineCommand(sys.executable, ("-P", SCRIPT, *arguments))


class Heard:
    """Everything one request said, in order of arrival."""

    def __init__(self, handle: RequestHandle) -> None:
        self.handle = handle
        self.text = ""
        self.num_deltas = 0
        self.endings: list[object] = []
        handle.delta_received.connect(self._on_delta)
        handle.done.connect(self.endings.append)
        handle.cancelled.connect(lambda: self.endings.append("cancelled"))
        handle.failed.connect(self.endings.append)

    def _on_delta(self, delta) -> None:
        self.text += delta.text
        self.num_deltas += 1


def test_ctrl_c_in_the_terminal_does_not_reach_the_engine(qtbot):
    client = EngineClient(command(), QUICK)
    with qtbot.waitSignal(client.greeted, timeout=20_000):
        client.start()
    assert os.getsid(client.process_id) != os.getsid(0)
    client.finish()


def test_a_spawned_engine_is_heard_from_the_start_on(qtbot):
    client = EngineClient(command(), PATIENT)
    hellos: list[object] = []
    client.greeted.connect(hellos.append)
    client.spawn()
    assert client.is_running
    assert not client.is_started
    assert client.process_id
    process = client._process._process
    assert process is not None
    qtbot.waitUntil(lambda: process.bytesAvailable() > 0, timeout=20_000)
    assert not hellos
    with qtbot.waitSignal(client.greeted, timeout=20_000):
        client.start()
    assert client.is_started
    client.finish()


@pytest.mark.parametrize("program", ["-c", "/nowhere/at/all"])
def test_an_engine_that_ends_before_it_is_heard_is_told(qtbot, program):
    ends_at_once = EngineCommand(sys.executable, ("-c", "raise SystemExit(3)"))
    nowhere = EngineCommand(program, ())
    client = EngineClient(ends_at_once if program == "-c" else nowhere, PATIENT)
    ends: list[EngineEnd] = []
    client.ended.connect(ends.append)
    client.spawn()
    process = client._process._process
    assert process is not None
    qtbot.waitUntil(lambda: process.state() == process.ProcessState.NotRunning, timeout=20_000)
    assert not ends
    with qtbot.waitSignal(client.ended, timeout=20_000):
        client.start()
    assert [(end.kind, end.code) for end in ends] == [
        ("exited", 3) if program == "-c" else ("not_started", -1)
    ]
    assert not client.is_running


@pytest.fixture
def start_client(qtbot):
    clients: list[EngineClient] = []

    def start(*arguments: str, limits: EngineLimits = PATIENT, is_greeted: bool = True):
        client = EngineClient(command(*arguments), limits)
        clients.append(client)
        if is_greeted:
            with qtbot.waitSignal(client.greeted, timeout=20_000):
                client.start()
        return client

    yield start
    for client in clients:
        client.finish()


def chat(client: EngineClient, prefill: str = "") -> Heard:
    messages = (Message("user", "hello"),)
    return Heard(
        client.send(lambda i: Chat(id=i, model="bilin-mini", messages=messages, prefill=prefill))
    )


def end_of(qtbot, client: EngineClient) -> EngineEnd:
    ends: list[EngineEnd] = []
    client.ended.connect(ends.append)
    qtbot.waitUntil(lambda: bool(ends), timeout=20_000)
    assert len(ends) == 1
    return ends[0]


def test_a_request_is_answered_once_and_deltas_make_the_text(qtbot, start_client):
    client = start_client("--tokens", "100")
    heard = chat(client)
    qtbot.waitUntil(lambda: bool(heard.endings), timeout=20_000)
    assert heard.text == "".join(f"w{i} " for i in range(100))
    assert heard.num_deltas == 100
    [result] = heard.endings
    assert isinstance(result, ChatResult)
    assert result.text == heard.text


def test_four_thousand_tokens_arrive_whole(qtbot, start_client):
    client = start_client("--tokens", "4000")
    heard = chat(client)
    qtbot.waitUntil(lambda: bool(heard.endings), timeout=30_000)
    assert heard.num_deltas == 4000
    assert heard.text.endswith("w3999 ")


def test_requests_beside_a_running_answer_are_answered(qtbot, start_client):
    client = start_client("--behave", "pauses")
    running = chat(client)
    qtbot.waitUntil(lambda: running.num_deltas == 5, timeout=20_000)
    models = Heard(client.send(lambda i: ListModels(id=i)))
    qtbot.waitUntil(lambda: bool(models.endings), timeout=20_000)
    assert isinstance(models.endings[0], ModelsListed)
    assert running.endings == []
    running.handle.cancel()
    qtbot.waitUntil(lambda: running.endings == ["cancelled"], timeout=20_000)


def test_a_silent_generation_of_a_living_engine_is_left_alone(qtbot, start_client):
    client = start_client("--behave", "pauses", limits=replace(PATIENT, silence_s=0.2))
    running = chat(client)
    qtbot.waitUntil(lambda: running.num_deltas == 5, timeout=20_000)
    signs_of_life: list[object] = []
    client._process.event_received.connect(signs_of_life.append)
    qtbot.waitUntil(lambda: len(signs_of_life) == 3, timeout=20_000)
    assert client.is_connected
    assert running.endings == []


def test_a_request_without_an_engine_fails_later_and_once(qtbot):
    client = EngineClient(command())
    heard = chat(client)
    assert heard.endings == []
    qtbot.waitUntil(lambda: bool(heard.endings), timeout=5_000)
    [failure] = heard.endings
    assert isinstance(failure, RequestFailure)
    assert failure.code == NOT_CONNECTED


def test_a_slow_start_is_waited_for(start_client):
    client = start_client("--behave", "slow_start", "--delay", "0.5")
    assert client.is_connected


@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("behave", "limits", "kind", "words"),
    [
        ("no_hello", EngineLimits(hello_s=0.3), "no_hello", "no Hello within 0.3 s"),
        ("wrong_version", PATIENT, "refused", "protocol 999, this side"),
    ],
)
def test_a_bad_start_ends_with_its_reason(qtbot, start_client, behave, limits, kind, words):
    client = start_client("--behave", behave, limits=limits, is_greeted=False)
    client.start()
    end = end_of(qtbot, client)
    assert end.kind == kind
    assert words in end.message
    assert not client.is_running


def test_a_missing_program_ends_with_its_reason(qtbot):
    client = EngineClient(EngineCommand("/nowhere/bilin-engine", ()))
    ends: list[EngineEnd] = []
    client.ended.connect(ends.append)
    client.start()
    qtbot.waitUntil(lambda: bool(ends), timeout=5_000)
    assert ends[0].kind == "not_started"
    assert not client.is_running


@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("behave", "kind", "code", "words"),
    [
        ("bad_frame", "bad_frame", None, "is not a message"),
        ("oversize_frame", "bad_frame", None, "announces 3221225472 bytes"),
        ("stray_print", "bad_frame", None, "not a frame was written"),
        ("dies", "crashed", signal.SIGKILL, "SIGKILL"),
        ("exits", "exited", 3, "exit code 3"),
        ("hangs", "hung", None, "no sign of life within 0.4 s"),
        ("closes", "hung", None, "no sign of life"),
    ],
)
def test_an_engine_that_breaks_mid_answer(qtbot, start_client, behave, kind, code, words):
    client = start_client("--behave", behave, limits=QUICK if kind == "hung" else PATIENT)
    heard = chat(client)
    end = end_of(qtbot, client)
    assert heard.text == "w0 w1 w2 w3 w4 "
    assert end.kind == kind
    assert words in end.message
    assert code is None or end.code == code
    [failure] = heard.endings
    assert isinstance(failure, RequestFailure)
    assert failure.code == ENGINE_ENDED
    if behave == "exits":
        assert "no kernel image" in end.stderr_tail


@pytest.mark.expects_log
def test_a_cancel_that_is_ignored_ends_the_engine(qtbot, start_client):
    options = ("--behave", "ignores_cancel", "--tokens", "100000", "--gap", "0.01")
    client = start_client(*options, limits=QUICK)
    heard = chat(client)
    qtbot.waitUntil(lambda: heard.num_deltas > 2, timeout=20_000)
    heard.handle.cancel()
    end = end_of(qtbot, client)
    assert end.kind == "hung"
    assert "cancel was not obeyed within 0.4 s" in end.message


def test_it_can_be_started_again_after_its_death(qtbot, start_client, tmp_path):
    client = start_client("--behave", "dies", "--once", str(tmp_path / "died"))
    first = chat(client)
    end_of(qtbot, client)
    with qtbot.waitSignal(client.greeted, timeout=20_000):
        client.start()
    second = chat(client, prefill=first.text)
    qtbot.waitUntil(lambda: bool(second.endings), timeout=20_000)
    assert first.text + second.text == "".join(f"w{i} " for i in range(12))


def test_stop_ends_the_process_by_end_of_file(qtbot, start_client):
    client = start_client()
    client.stop()
    assert end_of(qtbot, client).kind == "stopped"


@pytest.mark.expects_log
def test_stop_kills_what_ignores_end_of_file_and_sigterm(qtbot, start_client):
    client = start_client("--behave", "ignores_stop")
    process = psutil.Process(client.process_id)
    client.stop()
    end = end_of(qtbot, client)
    assert (end.kind, end.code) == ("stopped", signal.SIGKILL)
    assert not process.is_running()


def test_finish_waits_until_the_process_is_gone(start_client):
    client = start_client()
    process = psutil.Process(client.process_id)
    client.finish()
    assert not process.is_running()


def test_killed_from_outside_every_request_ends_once(qtbot, start_client):
    client = start_client("--behave", "pauses")
    heard = chat(client)
    qtbot.waitUntil(lambda: heard.num_deltas == 5, timeout=20_000)
    os.kill(client.process_id, signal.SIGKILL)
    with qtbot.waitSignal(client.ended, timeout=10_000):
        pass
    assert len(heard.endings) == 1
