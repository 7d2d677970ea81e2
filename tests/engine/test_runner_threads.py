"""Threads of a decode step on a simulated machine: lowered beside others, raised after."""

import time

import pytest
import torch
from tiny_glm import write_tiny_model

from bilin_engine import processes
from bilin_engine.runners import load
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner
from bilin_engine.runners.threads import OtherLoad, ThreadPacer, counts_for


class Machine:
    """`cores` processors, `busy` of them taken by others whom our threads share them with.

    A step is 60 ms of work spread over the threads; it lasts until the slowest thread is done, and
    a thread on a shared processor gets a fifth of it.
    """

    def __init__(self, cores: int, busy: float = 0.0) -> None:
        self.cores = cores
        self.busy = busy
        self.now_s = 100.0
        self.threads = 0
        self.used: list[int] = []
        self.is_load_told = True

    def others(self) -> float:
        return self.busy if self.is_load_told else 0.0

    def clock(self) -> float:
        return self.now_s

    def set_threads(self, count: int) -> None:
        self.threads = count

    def step(self) -> float:
        self.used.append(self.threads)
        step_s = 0.06 / self.threads
        if self.threads > self.cores - self.busy:
            step_s *= 5
        self.now_s += step_s
        return step_s


def pacer_on(machine: Machine) -> ThreadPacer:
    pacer = ThreadPacer(
        counts_for(machine.cores),
        others=machine.others,
        set_threads=machine.set_threads,
        clock=machine.clock,
    )
    pacer.start(machine.cores, 0.06 / machine.cores)
    return pacer


def run(machine: Machine, pacer: ThreadPacer, seconds: float) -> None:
    end_s = machine.now_s + seconds
    while machine.now_s < end_s:
        pacer.stepped(machine.step())


@pytest.mark.parametrize(("cores", "left"), [(2, 1), (4, 3), (16, 15)])
@pytest.mark.parametrize("is_load_told", [True, False], ids=["load", "steps"])
def test_threads_are_lowered_beside_a_busy_process_and_raised_again(cores, left, is_load_told):
    """Also where no load can be read: then slow steps tell, and a measurement from time to time."""
    machine = Machine(cores)
    machine.is_load_told = is_load_told
    pacer = pacer_on(machine)
    run(machine, pacer, 3)
    assert pacer.count == machine.threads == cores
    machine.busy = 1
    run(machine, pacer, 5)
    assert pacer.count == machine.threads == left
    machine.busy = 0
    run(machine, pacer, 15)
    assert pacer.count == machine.threads == cores


def test_a_steady_machine_is_measured_once():
    cores = 4
    machine = Machine(cores)
    pacer = pacer_on(machine)
    run(machine, pacer, 60)
    assert set(machine.used) == {cores}


def test_what_is_hopeless_is_tried_once_a_measurement():
    machine = Machine(2)
    pacer = pacer_on(machine)
    machine.busy = 1
    run(machine, pacer, 1.4)  # before anything is measured again
    machine.used.clear()
    run(machine, pacer, 3)
    both = machine.used.index(1)  # steps on two threads before the first on one
    assert machine.used[both:].count(2) <= 1


def test_a_reading_over_a_pause_counts_for_nothing():
    """Between two questions an hour passed: what was used then says nothing about now."""
    machine = Machine(2)
    pacer = pacer_on(machine)
    run(machine, pacer, 3)
    machine.now_s += 3600
    machine.busy = 1.0
    pacer.stepped(0.03)
    assert pacer._trial is None


def test_a_tie_goes_to_fewer_threads():
    used = []
    clock = iter(range(1000))
    pacer = ThreadPacer(
        [1, 2], others=lambda: 1.0, set_threads=used.append, clock=lambda: next(clock)
    )
    pacer._load = 0.0
    for _ in range(12):
        pacer.stepped(0.01)
    assert pacer.count == used[-1] == 1


def test_the_load_of_others_is_theirs_alone():
    readings = iter([(10.0, 50.0, 7.0), (12.0, 53.0, 8.0), (12.0, 53.0, 8.0), (14.0, 54.0, 9.5)])
    others = OtherLoad(lambda: next(readings))
    assert others() == 1.0  # three seconds in two, one of them ours
    assert others() == 0.0  # no time has passed
    assert others() == 0.0  # ours was counted later than all: never negative


def test_processor_time_is_read_from_the_system():
    before = processes.cpu_seconds()
    while time.process_time() - before[2] < 0.1:
        sum(range(1000))
    after = processes.cpu_seconds()
    clock_s, all_s, own_s = (a - b for a, b in zip(after, before, strict=True))
    assert own_s >= 0.1
    assert clock_s >= 0.09
    assert all_s >= 0.05  # in steps of 10 ms, some way behind


def test_a_runner_follows_its_pacer(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "physical_cores", lambda: 2)
    write_tiny_model(tmp_path / "m")
    before = torch.get_num_threads()
    runner = load_runner(tmp_path / "m", num_slots=1)
    try:
        assert isinstance(runner, LocalRunner)
        pacer = runner.pacer
        assert pacer is not None
        assert runner.num_threads == torch.get_num_threads() == pacer.count
        heard = []
        monkeypatch.setattr(ThreadPacer, "stepped", lambda _self, step_s: heard.append(step_s))
        runner.prefill([PrefillRow(0, [1], [0], 0)])
        runner.decode([0], [1], [1])
        pacer.count = 7
        runner.decode([0], [1], [2])
        assert len(heard) == 2
        assert runner.num_threads == 7
    finally:
        runner.close()
        torch.set_num_threads(before)


def test_threads_that_were_asked_for_stay(tmp_path):
    write_tiny_model(tmp_path / "m")
    before = torch.get_num_threads()
    runner = load_runner(tmp_path / "m", num_threads=1)
    assert isinstance(runner, LocalRunner)
    assert runner.pacer is None
    runner.close()
    torch.set_num_threads(before)
