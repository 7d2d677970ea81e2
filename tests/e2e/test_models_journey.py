"""A GLM-130B checkpoint's whole way through the engine, with real processes and a real kill.

Recognised, converted, paused, killed with -9, taken up again, verified, deleted, restored. The
synthetic checkpoint has no tokenizer, so it is not loaded. A small one here; 1 GB as a soak.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# Answers are looked at as what they must be; anything else fails the test all the same.

import json
import signal
import subprocess
import sys
import threading

import pytest
from reference_checkpoint import random_model, write_checkpoint

from bilin_engine.channel import Channel
from bilin_engine.config import GLMConfig
from bilin_engine.protocol import (
    AddJob,
    ChangeJob,
    ConvertModel,
    DeleteModel,
    Done,
    Failed,
    InspectFolder,
    JobsChanged,
    ListJobs,
    ListModels,
    RestoreModel,
    Shutdown,
    VerifyModel,
    decode_event,
    hello,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_S = 240


class Engine:
    """The engine as the app starts it."""

    def __init__(self, models_dir, log_dir):
        arguments = ["--models-dir", models_dir, "--log-dir", log_dir, "--nice", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bilin_engine", "stdio", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.channel = Channel(
            self.process.stdout.fileno(), self.process.stdin.fileno(), decode_event
        )
        self.last_id = 0
        self.jobs: tuple = ()
        self.ends = {}
        self.news = threading.Condition()
        self.channel.send(hello("app"))
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while (event := self.channel.receive()) is not None:
            with self.news:
                if isinstance(event, JobsChanged):
                    self.jobs = event.jobs
                elif isinstance(event, Done | Failed):
                    self.ends[event.id] = event
                self.news.notify_all()

    def until(self, is_so):
        with self.news:
            assert self.news.wait_for(is_so, WAIT_S), (self.jobs, self.ends)

    def ask(self, make):
        self.last_id += 1
        request_id = self.last_id
        self.channel.send(make(request_id))
        self.until(lambda: request_id in self.ends)
        end = self.ends[request_id]
        assert isinstance(end, Done), end
        return end.result

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.channel.send(Shutdown(self.last_id + 1))
        self.process.wait(30)
        self.reader.join(10)
        self.process.stdin.close()
        self.process.stdout.close()


def shape(size):
    return GLMConfig.create(
        num_layers=size["layers"], hidden_size=size["hidden"], num_attention_heads=8,
        inner_hidden_size=size["inner"], vocab_size=size["vocab"], max_sequence_length=128,
    )  # fmt: skip


SIZES = [
    pytest.param({"layers": 24, "hidden": 512, "inner": 2048, "vocab": 1024}, id="small"),
    pytest.param(
        {"layers": 14, "hidden": 2048, "inner": 5632, "vocab": 4096},
        id="1GB",
        marks=[pytest.mark.soak, pytest.mark.timeout(1200)],
    ),
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("size", SIZES)
def test_a_checkpoint_becomes_a_verified_model(tmp_path, size):
    source = tmp_path / "田中　模型 🙂"
    config = shape(size)
    write_checkpoint(source, random_model(config), world_size=8)
    (source / "config.json").write_text(json.dumps(config.to_json()))
    before = {p.name: p.stat().st_mtime_ns for p in source.rglob("*.pt")}
    models_dir = tmp_path / "models"
    folder = models_dir / "合成-int4"

    engine = Engine(models_dir, tmp_path / "logs")
    found = engine.ask(lambda i: InspectFolder(i, str(source)))
    assert (found.kind, found.problem) == ("reference", "")
    assert set(found.needed_bytes) == {"128", "64", "32", "row"}
    work = ConvertModel(source=str(source), folder=str(folder), group_size="128")
    engine.ask(lambda i: AddJob(i, work))
    engine.until(lambda: engine.jobs and engine.jobs[0].fraction > 0)
    engine.ask(lambda i: ChangeJob(i, 1, "pause"))
    engine.until(lambda: engine.jobs[0].state in ("paused", "done"))
    assert engine.jobs[0].state == "paused"
    assert not folder.exists()
    engine.ask(lambda i: ChangeJob(i, 1, "resume"))
    engine.until(lambda: engine.jobs[0].state == "running")
    engine.kill()
    assert not folder.exists()
    assert (models_dir / f".{folder.name}.partial").is_dir()

    engine = Engine(models_dir, tmp_path / "logs")
    engine.ask(ListJobs)
    engine.until(lambda: engine.jobs and engine.jobs[0].state in ("done", "failed"))
    assert engine.jobs[0].state == "done", engine.jobs[0].reason
    needed = found.needed_bytes["128"]
    stored = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    assert abs(stored - needed) < 100_000 + needed // 100
    info = next(m for m in engine.ask(ListModels).models if m.path == str(folder))
    assert "tokenizer_config.json is missing" in info.problem
    assert info.verified_at > 0
    assert {p.name: p.stat().st_mtime_ns for p in source.rglob("*.pt")} == before
    engine.ask(lambda i: AddJob(i, VerifyModel(str(folder))))
    engine.until(lambda: len(engine.jobs) == 2 and engine.jobs[1].state == "done")

    deleted = engine.ask(lambda i: DeleteModel(i, info.id))
    assert deleted.freed_bytes == info.size_bytes
    assert not folder.exists()
    engine.ask(lambda i: RestoreModel(i, deleted.trashed))
    assert folder.is_dir()
    engine.close()


def test_two_engines_do_not_work_on_one_library(tmp_path):
    models_dir = tmp_path / "models"
    first, second = (Engine(models_dir, tmp_path / f"logs{n}") for n in (1, 2))
    work = VerifyModel(str(tmp_path / "nothing"))
    first.ask(lambda i: AddJob(i, work))
    second.last_id += 1
    second.channel.send(AddJob(second.last_id, work))
    second.until(lambda: second.last_id in second.ends)
    end = second.ends[second.last_id]
    assert isinstance(end, Failed)
    assert "another Bilin works on the models" in end.message
    first.until(lambda: first.jobs and first.jobs[0].state == "failed")
    assert "nothing" in first.jobs[0].reason
    first.close()
    second.close()


def test_an_engine_that_started_too_early_takes_the_queue_up_once_the_other_is_gone(tmp_path):
    models_dir = tmp_path / "models"
    first = Engine(models_dir, tmp_path / "logs1")
    first.ask(lambda i: AddJob(i, VerifyModel(str(tmp_path / "nothing"))))
    first.until(lambda: first.jobs and first.jobs[0].state == "failed")
    second = Engine(models_dir, tmp_path / "logs2")
    second.ask(ListJobs)
    assert second.jobs == ()
    first.kill()
    second.until(lambda: bool(second.jobs))
    assert second.jobs[0].state == "failed"
    second.close()
