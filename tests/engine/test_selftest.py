"""The self-test: passes here with ranks on the processor, and does not use what failed."""

import json
import os
import subprocess

import pytest
import torch

from bilin_engine import selftest
from bilin_engine.cli.main import run
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.server import selftest_gate
from bilin_engine.server.selftest_gate import SelftestDone, SelftestOutcome, SelftestProgress


@pytest.fixture
def quick(monkeypatch):
    """Every check that computes for long or starts processes answers at once."""
    monkeypatch.setattr(selftest, "_check_kernels", lambda _devices: "close")
    monkeypatch.setattr(selftest, "_check_all_reduce", lambda _ranks, name: name)
    monkeypatch.setattr(selftest, "_check_ranks", lambda *_: "equal")
    monkeypatch.setattr(selftest, "_check_split", lambda *_: "equal")
    monkeypatch.setattr(selftest, "_bandwidth", lambda _device: "fast")


def fail(*_arguments):
    raise BilinError("sums are off")


def report(gpus=(), world_size=2):
    return selftest.run(gpus, world_size, lambda _name: None)


@pytest.mark.usefixtures("quick")
def test_everything_passes_and_the_fastest_way_is_named():
    found = report()
    assert found.has_passed
    assert (found.mode, found.collective) == ("tensor_parallel", "shared_memory")
    skipped = {check.name: check.detail for check in found.checks if check.state == "skipped"}
    assert skipped["peer to peer"] == "fewer than two GPUs"


@pytest.mark.usefixtures("quick")
def test_what_failed_is_not_used_but_the_next_safe_way(monkeypatch):
    def broken_shared_memory(_ranks, name):
        return fail() if name == "shared_memory" else name

    monkeypatch.setattr(selftest, "_check_all_reduce", broken_shared_memory)
    found = report()
    assert not found.has_passed
    assert (found.mode, found.collective) == ("tensor_parallel", "gloo")
    monkeypatch.setattr(selftest, "_check_ranks", fail)
    assert report().mode == "layer_split"
    monkeypatch.setattr(selftest, "_check_split", fail)
    assert report().mode == "single"


@pytest.mark.usefixtures("quick")
def test_a_check_that_hangs_or_tells_nonsense_failed_and_the_others_count(monkeypatch):
    def hang(*_args):
        raise subprocess.TimeoutExpired("check", 60)

    monkeypatch.setattr(selftest, "_check_kernels", hang)
    monkeypatch.setattr(selftest, "_check_ranks", lambda *_args: str(json.loads("")))
    found = report()
    assert {c.name for c in found.checks if c.state == "failed"} >= {found.checks[0].name}
    assert found.mode == "layer_split"


@pytest.mark.usefixtures("quick")
def test_the_command_says_what_failed_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "_check_ranks", fail)
    assert run(["selftest"]) == 1
    out = capsys.readouterr().out
    assert "FAILED tensor parallel against one rank, gloo" in out
    assert "layer split" in out.splitlines()[-3]
    assert run(["selftest", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["mode"] == "layer_split"


def test_int4_on_the_processor_that_is_off_is_noticed(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        monkeypatch.setattr(selftest, "INT4_TOLERANCE", 1e-9)
        with pytest.raises(BilinError, match="INT4 on the processor is off by"):
            selftest._check_kernels([])
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("quick")
def test_what_a_load_has_to_know_is_the_outcome(monkeypatch):
    monkeypatch.setattr(selftest, "_check_kernels", fail)
    monkeypatch.setattr(
        selftest, "_check_ranks", lambda *found: fail() if found[-1] == "gloo" else "equal"
    )
    assert report().outcome == SelftestOutcome(
        mode="tensor_parallel",
        collectives=("shared_memory",),
        failed=("kernels against reference", "tensor parallel against one rank, gloo"),
        kernels_passed=False,
    )


@pytest.mark.usefixtures("quick")
def test_the_report_for_a_supervisor_is_lines_it_can_read(monkeypatch, capfd):
    monkeypatch.setattr(selftest.processes, "end_with_parent", lambda _pid: None)
    selftest.main(["--report", "--world-size", "2", "--parent", str(os.getppid())])
    *begun, done = [
        selftest_gate._LINE.decode(line) for line in capfd.readouterr().out.splitlines()
    ]
    counts = [line.done for line in begun if isinstance(line, SelftestProgress)]
    assert counts == list(range(selftest.NUM_CHECKS))
    assert isinstance(done, SelftestDone)
    assert done.outcome.collectives == ("shared_memory", "gloo")


@pytest.mark.usefixtures("quick")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(BadRequestError, match="there is no GPU 63; torch sees"):
        report((63,))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("world_size", [-3, 0, 100_000])
def test_ranks_that_cannot_be_are_named(monkeypatch, world_size):
    monkeypatch.setattr(selftest, "_write_model", fail)  # one of 100,000 ranks would fill the disk
    with pytest.raises(BadRequestError, match=rf"world_size {world_size} .* from 1 to \d+ on"):
        report(world_size=world_size)


def test_sums_that_are_off_are_noticed(monkeypatch):
    """One rank adds something else than the others think."""
    monkeypatch.setattr(selftest, "SUM_TOLERANCE", -1.0)
    monkeypatch.setattr(selftest.subprocess, "Popen", ScriptedRank)
    with pytest.raises(BilinError, match=r"sums are off by 1\.0e-07"):
        selftest._check_all_reduce(["cpu", "cpu"], "gloo")


class ScriptedRank:
    returncode = 0

    def __init__(self, *_arguments, **_options):
        pass

    def communicate(self, timeout):
        del timeout
        return json.dumps({"error": 1e-7, "seconds": [0.0] * len(selftest.SIZES)}).encode(), b""

    def kill(self):
        pass

    def wait(self):
        pass


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_this_machine_passes():
    found = report()
    assert [check for check in found.checks if check.state == "failed"] == []
    assert found.mode == "tensor_parallel"


def kernels_checked(monkeypatch, returncode, names, said="all right"):
    """The commands that checked cards of these names, and what came of it."""
    commands = []

    def check(command, **_options):
        commands.append(command)
        if returncode is None:
            raise subprocess.TimeoutExpired(command, 300)
        return subprocess.CompletedProcess(command, returncode, said, "")

    monkeypatch.setattr(selftest.subprocess, "run", check)
    monkeypatch.setattr(selftest.torch.cuda, "get_device_name", lambda d: names[int(d[5:])])
    devices = [f"cuda:{index}" for index in range(1, len(names))]
    result = selftest._checked(selftest.KERNELS, lambda: selftest._check_kernels(devices))
    return [command[-1] for command in commands], result


def test_the_kernels_are_checked_on_one_card_of_each_kind_that_is_used(monkeypatch):
    """And never on the old card that drives the screen."""
    names = ["GTX 1050", "RTX 3090", "RTX 3090", "RTX 4090"]
    checked, result = kernels_checked(monkeypatch, 0, names)
    assert sorted(checked) == ["1", "3"]
    assert result.state == "passed"


def test_the_check_of_the_kernels_ends_with_the_self_test(monkeypatch):
    """One that went on would hold the card that the person wants for something else."""
    commands, told = [], []

    def start(command, **_options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "all right", "")

    monkeypatch.setattr(selftest.subprocess, "run", start)
    selftest._check_card("cuda:1")
    monkeypatch.setattr(selftest.processes, "end_with_parent", lambda pid: told.append(pid))
    monkeypatch.setattr(selftest.kernels_check, "main", lambda words: told.append(words) or 2)
    module, *words = commands[0][3:]
    assert module == "bilin_engine.selftest"
    with pytest.raises(SystemExit) as ended:
        selftest.main(words)
    assert told == [os.getpid(), ["--short", "--device", "1"]]
    assert ended.value.code == selftest.NOTHING_CHECKED


@pytest.mark.parametrize("returncode", [selftest.NOTHING_CHECKED, None])
def test_kernels_that_could_not_be_checked_are_not_called_wrong_for_good(monkeypatch, returncode):
    _, result = kernels_checked(monkeypatch, returncode, ["A", "B"])
    assert result.state == "skipped"
    report = selftest.SelftestReport(
        version="1", torch="2", devices=(), checks=(result,), mode="single", collective="",
        collectives=(), seconds=0.0,
    )  # fmt: skip
    assert report.outcome.kernels_passed
    assert not report.outcome.is_known
    _, wrong = kernels_checked(monkeypatch, 1, ["A", "B"], "3 failed")
    assert (wrong.state, wrong.detail) == (
        "failed", "the CUDA kernels' check failed on cuda:1: 3 failed",
    )  # fmt: skip
