"""Workers that break the rules: each costs its model and nothing else."""

import os
import signal
import time

import pytest
from letter_models import Engine, scripted_worker, worker_command
from misbehaving_worker import HALF, REPLY
from stdio_app import wait_gone

from bilin_engine.protocol import (
    Cancel,
    Cancelled,
    Chat,
    Done,
    Failed,
    ListModels,
    LoadModel,
    Message,
    TextDelta,
)
from bilin_engine.server.worker_pool import WorkerPool
from bilin_engine.server.worker_process import WorkerCommand

pytestmark = [pytest.mark.e2e, pytest.mark.expects_log]


def misbehaving(mode, delay=0.5, **limits):
    return Engine(
        worker_command("misbehaving_worker.py", "--mode", mode, "--delay", str(delay)), **limits
    )


def load(i):
    return LoadModel(id=i, model="letters")


def chat(i):
    return Chat(id=i, model="letters", messages=(Message("user", "hi"),))


def text_of(engine, request):
    return "".join(delta.text for delta in engine.about(request, TextDelta))


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("bad_frame", "sent something that is no message"),
        ("oversize", "a frame announces 3221225472 bytes"),
        ("stray_print", "Something that is not a frame was written"),
        ("dies", "ended unexpectedly: signal 9 (SIGKILL)"),
        ("dies_in_frame", "ended unexpectedly: signal 9 (SIGKILL)"),
        ("exits", "ended unexpectedly: exit code 7"),
        ("gives_up", "gave up: nothing fits together"),
    ],
)
def test_worker_that_breaks_in_mid_answer_fails_the_answer_with_its_reason(mode, sentence):
    with misbehaving(mode) as engine:
        assert isinstance(engine.ask(load), Done)
        request = engine.send(chat)
        failed = engine.end(request)
        assert isinstance(failed, Failed)
        assert failed.code == "worker_died"
        assert sentence in failed.message
        assert text_of(engine, request) == HALF  # what was said stays valid
        assert engine.state("fault").reason == failed.message
        assert isinstance(engine.ask(ListModels), Done)
        assert isinstance(engine.ask(load), Done)  # the next load works


@pytest.mark.parametrize("mode", ["hangs", "stops", "child_hangs"])
def test_worker_that_hangs_is_ended(mode):
    with misbehaving(mode, delay=5, hang_s=0.6) as engine:
        engine.ask(load)
        failed = engine.ask(chat)
        assert failed.code == "worker_died"
        assert "hung: for 0.6 s it neither answered nor used the processor" in failed.message


@pytest.mark.parametrize("mode", ["works", "child_works"])
def test_worker_that_works_in_silence_is_left_alone(mode):
    """A slow processor is no hang: well beyond the limit without a word, at full load.

    Nor is a compiler, which is a child.
    """
    with misbehaving(mode, delay=1.9, hang_s=0.7) as engine:
        engine.ask(load)
        assert engine.ask(chat).result.text == REPLY


@pytest.mark.parametrize("mode", ["ignores_cancel", "hangs", "ignores_end"])
def test_worker_that_ignores_a_cancel_is_killed(mode):
    with misbehaving(mode, cancel_s=0.3) as engine:
        engine.ask(load)
        request = engine.send(chat)
        engine.until(lambda e: isinstance(e, TextDelta))
        engine.ask(lambda i: Cancel(i, request))
        assert isinstance(engine.end(request), Cancelled)
        reason = engine.state("fault").reason
        assert reason.startswith("The model did not stop within 0.3 s")
        assert isinstance(engine.ask(load), Done)


def test_slow_start_within_the_limit_is_no_fault():
    with misbehaving("slow_start", delay=0.5, start_s=10) as engine:
        assert isinstance(engine.ask(load), Done)
        assert engine.ask(chat).result.text == REPLY


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("no_hello", "did not answer within 0.5 s"),
        ("wrong_version", "speaks protocol 999"),
        ("no_load", "exit code 5"),
    ],
)
def test_worker_that_does_not_come_up_fails_the_load(mode, sentence):
    with misbehaving(mode, start_s=0.5 if mode == "no_hello" else 30) as engine:
        failed = engine.ask(load)
        assert failed.code == "worker_died"
        assert sentence in failed.message
        assert engine.state("fault").reason == failed.message
        assert isinstance(engine.ask(ListModels), Done)


def test_worker_that_dies_idle_is_told_at_once():
    with misbehaving("dies_idle", delay=0.1) as engine:
        engine.ask(load)
        assert "signal 9 (SIGKILL)" in engine.state("fault").reason
        assert engine.ask(chat).code == "not_loaded"


def test_program_that_is_not_there_is_a_sentence():
    with Engine(WorkerCommand(("/nowhere/python",))) as engine:
        failed = engine.ask(load)
        assert failed.code == "worker_died"
        begin = "the model's process (rank 0) cannot be started: /nowhere/python"
        assert failed.message.startswith(begin)


def test_worker_killed_from_outside_costs_the_model_and_the_next_load_works():
    with misbehaving("works", delay=30) as engine:
        engine.ask(load)
        request = engine.send(chat)
        engine.until(lambda e: isinstance(e, TextDelta))
        (pid,) = engine.worker_pids()
        os.kill(pid, signal.SIGKILL)
        assert "SIGKILL" in engine.end(request).message
        assert isinstance(engine.ask(load), Done)
        assert engine.worker_pids() != (pid,)


def test_worker_that_ignores_the_end_is_gone_when_the_supervisor_is():
    with misbehaving("ignores_end") as engine:
        engine.ask(load)
        pids = engine.worker_pids()
        engine.supervisor.close()
        assert wait_gone(pids) == []


def test_worker_runs_at_lower_priority():
    command = worker_command("misbehaving_worker.py", "--mode", "slow_start")
    assert "--nice" in WorkerCommand(command.arguments).for_rank(0)
    assert WorkerCommand().for_rank(0)[1:4] == ["-P", "-m", "bilin_engine.worker"]


def test_worker_leaves_when_its_input_ends():
    with misbehaving("slow_start", delay=0) as engine:
        engine.ask(load)
        pids = engine.worker_pids()
        engine.ask(lambda i: LoadModel(id=i, model="other"))
        assert wait_gone(pids) == []


@pytest.mark.parametrize("is_late", [False, True])
def test_a_process_that_can_no_longer_use_its_gpu_ends(is_late, monkeypatch):
    """A green dot over a model of which every answer fails is no state to leave a person in.

    is_late: what it said is waited for when it has ended already.
    """
    if is_late:
        following = WorkerPool._next

        def next_event(*arguments):
            time.sleep(0.5)
            return following(*arguments)

        monkeypatch.setattr(WorkerPool, "_next", next_event)
    error = "CUDA error: an illegal memory access was encountered"
    with Engine(scripted_worker("--cuda-error", error)) as engine:
        engine.ask(load)
        failed = engine.ask(chat)
        assert failed.code == "worker_died"
        assert error in failed.message
        assert engine.state("fault").reason == failed.message
        assert isinstance(engine.ask(load), Done)


def test_a_gpu_that_is_full_keeps_its_model():
    error = "CUDA out of memory. Tried to allocate 2.00 GiB"
    with Engine(scripted_worker("--cuda-error", error)) as engine:
        engine.ask(load)
        pids = engine.worker_pids()
        assert engine.ask(chat).code == "out_of_memory"
        assert engine.worker_pids() == pids
