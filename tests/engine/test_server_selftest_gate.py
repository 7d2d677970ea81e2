"""Before ranks compute on new devices these are tested, once; what failed is not used."""

import sys
import threading
from pathlib import Path

import msgspec
import pytest
from letter_models import HELPERS
from tiny_model import write_tiny_model

from bilin_engine.cli.session import RequestFailedError, Session
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
from bilin_engine.server import model_host
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.selftest_gate import (
    PEERS,
    RESULTS_FILE,
    SPLIT,
    SelftestCommand,
    SelftestGate,
    SelftestOutcome,
)
from bilin_engine.server.supervisor import SupervisorSettings
from bilin_engine.server.tasks import CancelledTaskError, Task
from bilin_engine.server.worker_process import WorkerCommand

CARDS = LoadSettings(device="cuda:0,cuda:1", mode="tensor_parallel")
SPLIT_CARDS = LoadSettings(device="cuda:0,cuda:1", mode="layer_split")
RANKS = LoadSettings(world_size=2)
PARALLEL = "tensor_parallel"


class Place:
    """A gate with a scripted test; `runs` are the arguments of each run."""

    def __init__(self, folder: Path, words: str, *, covers_cpu: bool = True) -> None:
        self._count_file = folder / "runs"
        self._folder = folder
        self.label = "RTX 3090"
        self.driver = "580.65"
        self.covers_cpu = covers_cpu
        self.free: tuple[int, ...] = (1, 1, 1)
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
            DeviceInfo(name=f"cuda:{i}", label=self.label, total_bytes=9, free_bytes=free)
            for i, free in enumerate(self.free)
        )

    def allow(self, settings=RANKS, task=None):
        mode, ranks = ("layer_split", 1) if settings.mode == "layer_split" else (PARALLEL, 2)
        return self.gate.allow(settings, mode, ranks, task or Task(Shutdown(1)), self.told.append)

    @property
    def runs(self) -> list[str]:
        if not self._count_file.exists():
            return []
        return self._count_file.read_text(encoding="utf-8").splitlines()


def test_new_devices_are_tested_once_and_that_they_passed_is_remembered(tmp_path):
    place = Place(tmp_path, "shared_memory,gloo")
    assert place.allow().settings == RANKS
    assert place.allow().notice == ""
    assert len(place.runs) == 1
    assert place.told == [0.0, 0.5]
    place.say("gloo")  # another supervisor, which would be told something else
    assert place.allow().notice == ""
    assert len(place.runs) == 1


def test_a_failure_counts_until_the_engine_ends(tmp_path):
    place = Place(tmp_path, "gloo")
    for _ in range(2):
        assert "shared_memory" in place.allow().notice
    assert len(place.runs) == 1
    place.say("shared_memory,gloo")  # the next engine, and what was full or too small no longer is
    assert place.allow().notice == ""
    assert len(place.runs) == 2


def test_a_failure_that_an_earlier_version_stored_is_tested_again(tmp_path):
    place = Place(tmp_path, "shared_memory,gloo")
    place.allow()
    stored = tmp_path / "state" / RESULTS_FILE
    results = msgspec.json.decode(stored.read_bytes(), type=dict[str, SelftestOutcome])
    failed = SelftestOutcome(mode="single", collectives=(), failed=("all-reduce, gloo",))
    stored.write_bytes(msgspec.json.encode(dict.fromkeys(results, failed)))
    place.say("shared_memory,gloo")
    assert place.allow().notice == ""
    assert len(place.runs) == 2


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


@pytest.mark.parametrize(
    ("words", "failed"),
    [("peers,nccl", "peer to peer"), ("split,nccl", "layer split against one rank")],
)
def test_cards_that_change_what_they_send_hold_no_layers_together(tmp_path, words, failed):
    place = Place(tmp_path, words, covers_cpu=False)
    place.free = (2, 3, 4)
    allowed = place.allow(SPLIT_CARDS)
    assert "--gpus 0,1" in place.runs[0]
    assert (allowed.settings.mode, allowed.settings.device) == ("single", "cuda:1")
    assert failed in allowed.failed
    assert f"{failed}): the model is on cuda:1 alone instead of on several GPUs." in allowed.notice
    beside = LoadSettings(device="cuda:0,cuda:1,cpu", mode="layer_split")
    allowed = place.allow(beside)
    assert (allowed.settings.mode, allowed.settings.device) == ("layer_split", "cuda:1,cpu")
    assert "the model is on cuda:1 and cpu instead of on several GPUs" in allowed.notice
    assert place.allow(CARDS).settings.device == CARDS.device  # over a collective that passed
    assert len(place.runs) == 1  # of the same cards


def test_cards_that_send_what_they_should_hold_layers_together(tmp_path):
    place = Place(tmp_path, "nccl,shared_memory", covers_cpu=False)
    assert place.allow(SPLIT_CARDS).settings == SPLIT_CARDS
    assert len(place.runs) == 1


def test_one_card_beside_the_processor_needs_no_test(tmp_path):
    place = Place(tmp_path, "dies", covers_cpu=False)
    settings = LoadSettings(device="cuda:0,cpu", mode="layer_split")
    assert place.allow(settings).settings == settings
    assert place.runs == []


@pytest.mark.parametrize("check", [PEERS, SPLIT])
def test_ranks_that_fail_fall_to_no_layer_split_that_failed_too(check):
    outcome = SelftestOutcome(mode="layer_split", collectives=(), failed=("all-reduce", check))
    assert not outcome.can_split


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
        place.gate.allow(RANKS, PARALLEL, 2, task, lambda _fraction: heard.set())


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
    assert "These devices have not passed the self-test yet" in said
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


@pytest.fixture
def peers_at_fault(models_dir, tmp_path):
    """A session whose devices change what they send."""
    command = (sys.executable, str(HELPERS / "scripted_selftest.py"), "peers,shared_memory")
    settings = SupervisorSettings(
        WorkerCommand(nice=0, log_level="CRITICAL"),
        selftest=SelftestCommand((*command, str(tmp_path / "runs")), covers_cpu=True),
    )
    with Session(ModelTexts(Library(models_dir)), settings) as session:
        yield session


SPLIT_PARTS = LoadSettings(device="cpu:0,cpu:1", mode="layer_split", num_threads=1)


@pytest.mark.e2e
@pytest.mark.expects_log
def test_a_layer_split_is_loaded_on_one_device_where_several_are_at_fault(peers_at_fault):
    loaded = peers_at_fault.load("tiny", SPLIT_PARTS, tells_memory=False)
    assert (loaded.mode, list(loaded.memory_bytes)) == ("single", ["cpu"])
    assert "(peer to peer)" in loaded.notice


@pytest.mark.e2e
def test_a_model_that_one_device_does_not_hold_is_refused_then(peers_at_fault, monkeypatch):
    lack = "cpu (A CPU) needs 9 MiB more"
    monkeypatch.setattr(model_host, "shortage", lambda settings, _: f"{lack} on {settings.device}")
    with pytest.raises(RequestFailedError, match=r"failed \(peer to peer\).*; cpu .* on cpu:0$"):
        peers_at_fault.load("tiny", SPLIT_PARTS, tells_memory=False)
