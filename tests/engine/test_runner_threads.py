"""Threads of a decode step on a simulated machine: lowered beside others, raised after."""

import math
import os
import time

import pytest
import torch
from tiny_glm import write_tiny_model

from bilin_engine import cgroups, processes
from bilin_engine.runners import load
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner
from bilin_engine.runners.threads import OtherLoad, ThreadPacer, counts_for


class Machine:
    """`cores` processors, `busy` of them taken by others whom our threads share them with.

    A step is `work_s` of work spread over the threads; it lasts until the slowest thread is done.
    A thread on a shared processor gets a fifth of it; where it `stalls`, all of it but for one step
    in ten, which waits 40 ms. Memory keeps no more than `memory_cores` threads busy.
    """

    def __init__(self, cores: int, work_s: float = 0.06) -> None:
        self.cores = cores
        self.work_s = work_s
        self.busy = 0.0
        self.stalls = False
        self.memory_cores = cores
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
        step_s = self.work_s / min(self.threads, self.memory_cores)
        if self.threads > self.cores - self.busy:
            if not self.stalls:
                step_s *= 5
            elif len(self.used) % 10 == 0:
                step_s += 0.04
        self.now_s += step_s
        return step_s


def pacer_on(machine: Machine) -> ThreadPacer:
    pacer = ThreadPacer(
        counts_for(machine.cores),
        others=machine.others,
        set_threads=machine.set_threads,
        clock=machine.clock,
    )
    pacer.start(machine.step, budget_s=0.5)
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


@pytest.mark.parametrize("work_s", [0.002, 0.06, 2.0])
def test_the_fastest_count_is_measured_at_the_start(work_s):
    """A step of two seconds is made once a count, whatever the budget."""
    machine = Machine(4, work_s)
    machine.busy = 1
    pacer = pacer_on(machine)
    assert pacer.count == machine.threads == 3
    assert machine.now_s - 100 < max(0.6, 2 + 1 + 2 / 3 + 5 * 0.5 + 0.1)
    if work_s > 1:
        assert sorted(machine.used) == [1, 2, 3, 4]


def test_one_step_in_ten_that_waits_costs_the_mean():
    """Neither the best nor the middle step of two threads shows it: both are half as long."""
    machine = Machine(2, 0.001)
    machine.busy, machine.stalls = 1, True
    pacer = pacer_on(machine)
    assert pacer.count == 1
    machine.busy = 0
    run(machine, pacer, 20)
    assert pacer.count == 2
    machine.busy, machine.is_load_told = 1, False  # only the steps tell
    run(machine, pacer, 5)
    assert pacer.count == 1


def test_many_rows_take_the_cores_that_memory_leaves_idle():
    machine = Machine(8)
    machine.memory_cores = 4
    pacer = pacer_on(machine)
    run(machine, pacer, 3)
    assert (pacer.count, pacer.for_many_rows()) == (4, 8)
    with pacer.many_rows():
        assert machine.threads == 8
    assert machine.threads == 4


@pytest.mark.parametrize("is_load_told", [True, False], ids=["load", "steps"])
def test_many_rows_leave_a_busy_process_its_core(is_load_told):
    machine = Machine(8)
    machine.memory_cores = 4
    pacer = pacer_on(machine)
    machine.busy, machine.is_load_told = 5, is_load_told
    run(machine, pacer, 5)
    assert pacer.for_many_rows() == pacer.count == 1
    machine.busy = 0
    run(machine, pacer, 15)
    assert (pacer.count, pacer.for_many_rows()) == (4, 8)


def test_a_measurement_goes_on_after_many_rows():
    machine = Machine(8)
    pacer = pacer_on(machine)
    machine.busy = 1
    while pacer._trial is None:
        pacer.stepped(machine.step())
    before = machine.threads
    with pacer.many_rows():
        pass
    assert machine.threads == before


def prefill(machine: Machine, pacer: ThreadPacer, seconds: float) -> list[int]:
    """As one scores text after text, 10 ms each; the threads they were read with."""
    threads = []
    end_s = machine.now_s + seconds
    while machine.now_s < end_s:
        pacer.before_prefill(machine.step)
        threads.append(machine.threads)
        machine.now_s += 0.01
    return threads


def test_who_never_decodes_has_the_threads_measured_too():
    machine = Machine(2, 0.001)
    pacer = pacer_on(machine)
    machine.used.clear()
    assert set(prefill(machine, pacer, 10)) == {2}
    assert machine.used == []  # nothing has changed
    machine.busy = 1
    assert prefill(machine, pacer, 3)[-1] == pacer.count == 1
    machine.busy = 0
    assert prefill(machine, pacer, 3)[-1] == pacer.count == 2


def test_long_steps_are_not_made_before_a_prefill():
    machine = Machine(2, 0.2)
    pacer = pacer_on(machine)
    machine.used.clear()
    machine.busy = 1
    prefill(machine, pacer, 5)
    assert machine.used == []


def test_a_steady_machine_is_measured_once():
    cores = 4
    machine = Machine(cores)
    pacer = pacer_on(machine)
    machine.used.clear()
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
    for _ in range(20):
        pacer.stepped(0.01)
    assert pacer.count == used[-1] == 1


def test_the_load_of_others_is_theirs_alone(monkeypatch):
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: math.inf)
    readings = iter([(10.0, 50.0, 7.0), (12.0, 53.0, 8.0), (12.0, 53.0, 8.0), (14.0, 54.0, 9.5)])
    others = OtherLoad(lambda: next(readings))
    assert others() == 1.0  # three seconds in two, one of them ours
    assert others() == 0.0  # no time has passed
    assert others() == 0.0  # ours was counted later than all: never negative


@pytest.mark.parametrize(("busy", "load"), [(10, 0.0), (62, 2.0)])
def test_under_a_quota_others_are_met_where_no_processor_is_spare(monkeypatch, busy, load):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: 4.0)
    readings = iter([(10.0, 0.0, 0.0), (12.0, 2.0 * busy + 1.0, 1.0)])
    others = OtherLoad(lambda: next(readings))
    assert others() == load


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
        assert runner.length(0) == 0  # of the measured steps nothing is left
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


@pytest.mark.parametrize(("num_tokens", "threads"), [(64, [2, 1]), (4, [])])
def test_a_long_prompt_is_read_on_all_cores(tmp_path, num_tokens, threads):
    write_tiny_model(tmp_path / "m")
    before = torch.get_num_threads()
    runner = load_runner(tmp_path / "m", num_slots=1, num_threads=1)
    try:
        assert isinstance(runner, LocalRunner)
        used = []
        runner.pacer = ThreadPacer([1, 2], others=lambda: 0.0, set_threads=used.append)
        runner.pacer.count = 1
        used.clear()
        runner.prefill([PrefillRow(0, [1] * num_tokens, list(range(num_tokens)), 0)])
        assert used == threads
    finally:
        runner.close()
        torch.set_num_threads(before)


def test_a_measurement_before_a_prefill_changes_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "physical_cores", lambda: 2)
    write_tiny_model(tmp_path / "m")
    before = torch.get_num_threads()
    runner = load_runner(tmp_path / "m", num_slots=1)
    try:
        assert isinstance(runner, LocalRunner)
        rows = [PrefillRow(0, [1, 2, 3], [0, 1, 2], 2), PrefillRow(0, [4, 5], [3, 4], 0, start=3)]
        plain = [runner.prefill([row], "all")[0] for row in rows]
        runner.truncate(0, 0)
        lengths = []

        def measure(_self, step):
            lengths.append(runner.length(0))
            assert step() > 0

        monkeypatch.setattr(ThreadPacer, "before_prefill", measure)
        again = [runner.prefill([row], "all")[0] for row in rows]
        assert lengths == [0, 3]
        assert all(map(torch.equal, plain, again))
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
