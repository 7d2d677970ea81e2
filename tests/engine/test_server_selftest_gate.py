"""Before ranks compute on new devices these are tested, once; what failed is not used."""

import sys
import threading
from pathlib import Path

import pytest
from letter_models import HELPERS
from tiny_model import write_tiny_model

from bilin_engine.cli.session import Session
from bilin_engine.errors import WorkerDiedError
from bilin_engine.library import Library
from bilin_engine.protocol import (
    Chat,
    ChatResult,
    DeviceInfo,
    LoadSettings,
    Message,
    Progress,
    Sampling,
    Shutdown,
)
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.selftest_gate import RESULTS_FILE, SelftestCommand, SelftestGate
from bilin_engine.server.supervisor import SupervisorSettings
from bilin_engine.server.tasks import CancelledTaskError, Task
from bilin_engine.server.worker_process import WorkerCommand

CARDS = LoadSettings(device="cuda:0,cuda:1", mode="tensor_parallel")
RANKS = LoadSettings(world_size=2)


class Place:
    """A gate with a scripted test; `runs` are the arguments of each run."""

    def __init__(self, folder: Path, words: str, *, covers_cpu: bool = True) -> None:
        self._count_file = folder / "runs"
        self._folder = folder
        self.label = "RTX 3090"
        self.driver = "580.65"
        self.covers_cpu = covers_cpu
        self.told: list[float] = []
        self.say(words)

    def say(self, words: str) -> None:
        script = str(HELPERS / "scripted_selftest.py")
        command = (sys.executable, script, words, str(self._count_file))
        self.gate = SelftestGate(
            self._folder / "state",
            SelftestCommand(command, covers_cpu=self.covers_cpu),
            self._devices,
            lambda: self.driver,
        )

    def _devices(self):
        return tuple(
            DeviceInfo(name=f"cuda:{i}", label=self.label, total_bytes=1, free_bytes=1)
            for i in range(3)
        )

    def allow(self, settings=RANKS, task=None):
        return self.gate.allow(settings, 2, task or Task(Shutdown(1)), self.told.append)

    @property
    def runs(self) -> list[str]:
        if not self._count_file.exists():
            return []
        return self._count_file.read_text(encoding="utf-8").splitlines()


def test_new_devices_are_tested_once_and_the_result_is_remembered(tmp_path):
    place = Place(tmp_path, "shared_memory,gloo")
    assert place.allow().settings == RANKS
    assert place.allow().notice == ""
    assert len(place.runs) == 1
    assert place.told == [0.0, 0.5]
    place.say("gloo")  # another supervisor, which would be told something else
    assert place.allow().notice == ""
    assert len(place.runs) == 1


def test_other_cards_and_another_driver_are_tested_anew(tmp_path):
    place = Place(tmp_path, "nccl,shared_memory", covers_cpu=False)
    place.allow(CARDS)
    assert "--gpus 0,1" in place.runs[0]
    assert "--world-size 2" in place.runs[0]
    place.driver = "590.12"
    place.allow(CARDS)
    place.label = "RTX 4090"
    place.allow(CARDS)
    place.allow(LoadSettings(device="cuda:1,cuda:2"))
    assert len(place.runs) == 4
    place.allow(CARDS)
    assert len(place.runs) == 4


def test_ranks_on_the_processor_or_on_one_card_need_no_test(tmp_path):
    place = Place(tmp_path, "dies", covers_cpu=False)
    for settings in (RANKS, LoadSettings(device="cuda:0", world_size=2)):
        assert place.allow(settings).settings == settings
    assert place.runs == []


def test_a_collective_that_failed_is_replaced_and_that_is_said(tmp_path):
    place = Place(tmp_path, "gloo")
    allowed = place.allow()
    assert allowed.settings.collective == "gloo"
    assert allowed.settings.mode == RANKS.mode
    assert allowed.notice == (
        "The self-test of these devices failed (all-reduce, shared_memory): the ranks meet over "
        "gloo instead of shared_memory."
    )
    asked = LoadSettings(world_size=2, collective="gloo")
    assert place.allow(asked).settings == asked  # that one passed
    assert place.allow(asked).notice == ""


def test_without_any_collective_the_layers_are_split_then_one_device_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    split = Place(tmp_path / "a", "layer_split", covers_cpu=False)
    allowed = split.allow(CARDS)
    assert (allowed.settings.mode, allowed.settings.device) == ("layer_split", CARDS.device)
    assert "split by layers instead of tensor parallel" in allowed.notice
    (tmp_path / "b").mkdir()
    alone = Place(tmp_path / "b", "single", covers_cpu=False)
    allowed = alone.allow(CARDS)
    assert (allowed.settings.mode, allowed.settings.device) == ("single", "cuda:0")
    assert allowed.settings.world_size == 0
    assert "on cuda:0 alone" in allowed.notice


def test_kernels_that_failed_are_replaced_by_the_reference(tmp_path):
    allowed = Place(tmp_path, "kernels,shared_memory").allow()
    assert allowed.settings.backend == "reference"
    assert "kernels against reference" in allowed.notice


def test_what_could_not_be_checked_is_used_and_checked_again_at_the_next_load(tmp_path):
    place = Place(tmp_path, "unknown,shared_memory")
    assert place.allow().settings == RANKS
    assert place.allow().notice == ""
    assert len(place.runs) == 2


def test_a_test_that_dies_lets_nothing_through_and_is_not_remembered(tmp_path):
    place = Place(tmp_path, "dies")
    with pytest.raises(WorkerDiedError, match=r"ended without a result.*load on one device"):
        place.allow()
    place.say("shared_memory")
    assert place.allow().notice == ""
    assert len(place.runs) == 2


def test_a_cancel_ends_the_test(tmp_path):
    place = Place(tmp_path, "hangs")
    task = Task(Shutdown(1))
    heard = threading.Event()

    def cancel():
        heard.wait(20)
        task.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(CancelledTaskError):
        place.gate.allow(RANKS, 2, task, lambda _fraction: heard.set())


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"x": {"mode": "fast"}}'])
def test_a_broken_memory_of_results_is_no_result(tmp_path, content):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / RESULTS_FILE).write_bytes(content)
    place = Place(tmp_path, "shared_memory")
    assert place.allow().notice == ""
    assert len(place.runs) == 1


# --- Through all processes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("gated") / "models"
    write_tiny_model(path)
    return path


def faulty() -> SelftestCommand:
    script = str(HELPERS / "faulty_selftest.py")
    return SelftestCommand((sys.executable, "-P", script, "--report"), covers_cpu=True)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.expects_log
def test_a_planted_fault_in_one_collective_falls_to_the_other_and_the_model_answers(
    models_dir, capsys
):
    """Real ranks: what rank 1 reads over shared memory is off by one, so gloo is used."""
    settings = SupervisorSettings(WorkerCommand(nice=0, log_level="CRITICAL"), selftest=faulty())
    load = LoadSettings(world_size=2, num_threads=1, dtype="float32")
    for attempt in (1, 2):
        with Session(ModelTexts(Library(models_dir)), settings) as session:
            loaded = session.load("tiny", load, tells_memory=True)
            answer = session.ask(
                lambda i: Chat(
                    id=i,
                    model="tiny",
                    messages=(Message("user", "你好"),),
                    sampling=Sampling(temperature=0.0, max_new_tokens=4),
                ),
                ChatResult,
            )
        assert answer.stats.new_tokens > 0
        assert (loaded.mode, loaded.world_size) == ("tensor_parallel", 2)
        said = capsys.readouterr().err
        assert "all-reduce, shared_memory" in loaded.notice
        assert loaded.notice in said
        assert ("These devices are new" in said) == (attempt == 1)
        assert "MiB taken now; planned" in said


@pytest.mark.e2e
@pytest.mark.expects_log
def test_a_load_tells_of_the_test_and_of_what_it_changed(models_dir, tmp_path):
    """Scripted test, real workers: a split by layers instead of ranks."""
    script = str(HELPERS / "scripted_selftest.py")
    command = (sys.executable, script, "layer_split", str(tmp_path / "runs"))
    settings = SupervisorSettings(
        WorkerCommand(nice=0, log_level="CRITICAL"),
        selftest=SelftestCommand(command, covers_cpu=True),
    )
    events = []
    with Session(ModelTexts(Library(models_dir)), settings) as session:
        loaded = session.load(
            "tiny", LoadSettings(world_size=2, num_threads=1), events.append, tells_memory=False
        )
    assert loaded.mode == "layer_split"
    assert "split by layers" in loaded.notice
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert stages.index("selftest") < stages.index("weights")
    assert sorted(loaded.predicted) == ["cpu:0", "cpu:1"]
