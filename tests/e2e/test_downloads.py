"""Downloads with real processes: the queue's chain, kill -9, pause, cancel; the command line."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from hub_server import Fault, HubServer
from library_folders import make_model
from published_model import write_source

from bilin_engine.cli.main import run
from bilin_engine.errors import BadRequestError
from bilin_engine.library import Library, download_folder
from bilin_engine.protocol import (
    Cancel,
    Cancelled,
    Done,
    DownloadModel,
    EngineStatus,
    Failed,
    Hub,
    JobsChanged,
    KeepToken,
    ListCatalog,
    ListRepository,
    Repository,
)
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.job_queue import JobQueue
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import Supervisor, SupervisorSettings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

WAIT_S = 120
SMALL_DISK_BYTES = 4 * 1024**2
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "MODELSCOPE_", "HUGGING_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = write_source(tmp_path_factory.mktemp("published") / "src", "glm4", shards=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(published):
    server = HubServer(published)
    yield server
    server.close()


class Watched:
    """A queue of a library, and what it said last."""

    def __init__(self, models, token_file=None):
        self.library = Library(models, bundled_dir=models / "none")
        self.jobs: tuple = ()
        self.has_news = False
        self._news = threading.Condition()
        command = JobCommand(nice=0, log_level="ERROR", token_file=token_file)
        self.queue = JobQueue(self.library, self._hear, command)

    def _hear(self, event: JobsChanged) -> None:
        with self._news:
            self.jobs = event.jobs
            self.has_news = self.has_news or event.library_changed
            self._news.notify_all()

    def until(self, *states):
        with self._news:
            found = self._news.wait_for(lambda: tuple(j.state for j in self.jobs) == states, WAIT_S)
            assert found, self.jobs

    def until_file_has(self, path, size):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if path.exists() and path.stat().st_size > size:
                return
            time.sleep(0.01)
        raise AssertionError(f"{path} did not grow")


@pytest.fixture
def watched(tmp_path):
    (tmp_path / "models").mkdir()
    opened = []

    def open_it(**values):
        opened.append(Watched(tmp_path / "models", **values))
        return opened[-1]

    yield open_it
    for each in opened:
        each.queue.close()


def work(hub, models, hub_name: Hub = "hugging_face", **values):
    repository = Repository(hub=hub_name, name=hub.name, endpoint=hub.endpoint)
    return DownloadModel(
        repository=repository, folder=str(models / "田中　模型 🙂"), group_size="32", **values
    )


@pytest.mark.slow  # imports torch to convert
@pytest.mark.parametrize("hub_name", ["hugging_face", "modelscope"])
def test_a_download_is_converted_by_the_work_that_follows_it(hub, watched, tmp_path, hub_name):
    its = watched()
    its.queue.add(work(hub, tmp_path / "models", hub_name))
    its.until("done", "done")
    assert [type(job.work).__name__ for job in its.jobs] == ["DownloadModel", "ConvertModel"]
    infos = its.library.models()
    assert [(info.problem, info.precision) for info in infos] == [("", "INT4 · 32")]
    assert infos[0].verified_at > 0
    assert its.has_news
    assert not download_folder(tmp_path / "models" / "田中　模型 🙂").exists()


@pytest.mark.slow  # imports torch to convert
def test_a_killed_download_goes_on_where_it_was(hub, watched, tmp_path):
    hub.faults[SHARD] = [Fault("slow", pause_s=0.05)]
    its = watched()
    its.queue.add(work(hub, tmp_path / "models"))
    part = download_folder(tmp_path / "models" / "田中　模型 🙂") / f"{SHARD}.part"
    its.until_file_has(part, 3000)
    (job,) = [
        p for p in psutil.Process().children(recursive=True) if "bilin_engine.jobs" in p.cmdline()
    ]
    os.kill(job.pid, signal.SIGKILL)
    its.until("failed")
    assert "SIGKILL" in its.jobs[0].reason
    size = part.stat().st_size
    assert size > 3000
    assert its.library.models() == []
    its.queue.change(1, "retry")
    its.until("done", "done")
    assert hub.asked_for(SHARD)[-1].headers["Range"] == f"bytes={size}-"
    assert its.library.models()[0].problem == ""


@pytest.mark.slow  # imports torch to convert
def test_a_paused_download_waits_for_a_person_after_a_restart(hub, watched, tmp_path):
    hub.faults[SHARD] = [Fault("slow", pause_s=0.05)]
    its = watched()
    its.queue.add(work(hub, tmp_path / "models"))
    part = download_folder(tmp_path / "models" / "田中　模型 🙂") / f"{SHARD}.part"
    its.until_file_has(part, 2000)
    its.queue.close()
    assert part.stat().st_size > 2000
    num_asked = len(hub.asked)
    again = watched()
    again.queue.tell()  # once the queue of last time is read
    again.until("paused")
    assert len(hub.asked) == num_asked
    again.queue.change(1, "resume")
    again.until("done", "done")
    assert again.library.models()[0].problem == ""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own over the models folder, which a test can fill."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    models = tmp_path / "models"
    models.mkdir()
    size = f"size={SMALL_DISK_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "bilin-test", str(models)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield models
    subprocess.run(["umount", str(models)], check=True)


@pytest.mark.slow  # imports torch to convert
@pytest.mark.expects_log  # the queue's own file cannot be written either
def test_a_disk_that_fills_up_pauses_the_download_with_a_sentence(hub, small_disk, tmp_path):
    hub.faults[SHARD] = [Fault("slow", pause_s=0.05)]
    its = Watched(small_disk)
    its.queue.add(work(hub, small_disk))
    part = download_folder(small_disk / "田中　模型 🙂") / f"{SHARD}.part"
    its.until_file_has(part, 2000)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    its.until("paused")
    assert its.jobs[0].reason == (
        "The disk is full. Free some space, then resume: what is done stays."
    )
    kept = part.stat().st_size
    assert kept > 2000
    assert its.library.models() == []
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    ballast.unlink()
    its.queue.change(1, "resume")
    its.until("done", "done")
    assert its.library.models()[0].problem == ""
    assert hub.asked_for(SHARD)[-1].headers["Range"] == f"bytes={kept}-"
    its.queue.close()


def test_a_cancelled_download_leaves_nothing(hub, watched, tmp_path):
    hub.faults[SHARD] = [Fault("slow", pause_s=0.05)]
    its = watched()
    its.queue.add(work(hub, tmp_path / "models"))
    place = download_folder(tmp_path / "models" / "田中　模型 🙂")
    its.until_file_has(place / f"{SHARD}.part", 2000)
    its.queue.change(1, "cancel")
    its.until()
    assert not place.exists()
    assert its.library.models() == []


def test_a_download_to_elsewhere_is_refused(hub, watched, tmp_path):
    its = watched()
    with pytest.raises(BadRequestError, match="not in the models folder"):
        its.queue.add(work(hub, tmp_path))
    assert not hub.asked


# --- The supervisor -------------------------------------------------------------------------------


class Asked:
    """A supervisor and its answers."""

    def __init__(self, tmp_path):
        self.events: queue.SimpleQueue = queue.SimpleQueue()
        self.token_file = tmp_path / "tokens.json"
        command = JobCommand(log_level="ERROR", token_file=self.token_file)
        library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
        self.supervisor = Supervisor(
            self.events.put, ModelTexts(library), SupervisorSettings(job_command=command)
        )

    def end_of(self, request_id):
        while True:
            event = self.events.get(timeout=WAIT_S)
            if not isinstance(event, EngineStatus | JobsChanged) and event.id == request_id:
                return event


@pytest.fixture
def asked(tmp_path):
    its = Asked(tmp_path)
    yield its
    its.supervisor.close()


def test_a_repository_is_listed_while_the_control_lane_answers(hub, asked, published):
    hub.needs_token = "hf_1"
    repository = Repository(hub="hugging_face", name=hub.name, endpoint=hub.endpoint)
    submit = asked.supervisor.submit
    submit(ListRepository(id=1, repository=repository))
    refused = asked.end_of(1)
    assert isinstance(refused, Failed)
    assert (refused.code, "Enter a token" in refused.message) == ("hub_refused", True)
    submit(KeepToken(id=2, hub="hugging_face", token="hf_1", endpoint=hub.endpoint))
    assert asked.end_of(2) == Done(2)
    submit(ListRepository(id=3, repository=repository))
    submit(ListCatalog(id=4))
    ends = {}
    while len(ends) < 2:
        event = asked.events.get(timeout=WAIT_S)
        if isinstance(event, Done):
            ends[event.id] = event.result
    assert {file.name for file in ends[3].files} == set(published)
    assert ends[3].has_token
    assert ends[3].free_bytes > 0
    assert any(entry.is_runnable for entry in ends[4].entries)
    submit(KeepToken(id=5, hub="hugging_face", token="hf_old", endpoint=hub.endpoint))
    submit(ListRepository(id=6, repository=repository))
    assert asked.end_of(5) == Done(5)
    withdrawn = asked.end_of(6)
    assert isinstance(withdrawn, Failed)
    assert "refuses the token that it is sent (HTTP 401)" in withdrawn.message
    assert "hf_1" not in repr(KeepToken(id=2, hub="hugging_face", token="hf_1"))


def test_a_question_to_a_hub_that_hangs_is_cancelled(hub, asked):
    hub.faults["config.json"] = [Fault("slow", times=9, pause_s=60)]
    hub.files["config.json"] = b" " * 5000 + hub.files["config.json"]
    repository = Repository(hub="hugging_face", name=hub.name, endpoint=hub.endpoint)
    asked.supervisor.submit(ListRepository(id=1, repository=repository))
    while not hub.asked_for("config.json"):
        time.sleep(0.01)
    asked.supervisor.submit(Cancel(2, 1))
    assert asked.end_of(1) == Cancelled(1)


# --- The command line -----------------------------------------------------------------------------


@pytest.mark.slow  # imports torch to convert
def test_download_on_the_command_line(hub, tmp_path, capfd):
    models = tmp_path / "models"
    make_model(models, "小模型")
    command = ["download", hub.name, "--endpoint", hub.endpoint, "--models-dir", str(models)]
    assert run([*command, "--list"]) == 0
    told = capfd.readouterr().out
    assert SHARD in told
    assert "mit" in told
    assert run([*command, "--group-size", "32", "--json"]) == 0
    out, err = capfd.readouterr()
    folder = models / "模型-1"
    assert json.loads(out)["folder"] == str(folder)
    sums, licence, *later = err.splitlines()
    assert sums.startswith(f"{len(hub.files)} files, 0.00 GB, from 127.0.0.1")
    assert licence == "licence 许可证: mit"
    lines = [json.loads(line) for line in later if line.startswith("{")]
    assert {"download", "convert"} <= {line["stage"] for line in lines}
    library = Library(models, bundled_dir=tmp_path / "none")
    assert [info.problem for info in library.models()] == ["", ""]
    assert library.ids() == {"小模型": "tiny"}
    assert not download_folder(folder).exists()
    assert run(command) == 1
    assert "exists already" in capfd.readouterr().err
    assert run([*command[:1], "no name", *command[2:]]) == 1
    assert "write owner/name" in capfd.readouterr().err


@pytest.mark.slow  # imports torch to convert
def test_ctrl_c_pauses_and_the_same_command_goes_on(hub, tmp_path):
    hub.faults[SHARD] = [Fault("slow", times=2, pause_s=0.05)]  # the first byte is asked for alone
    models = tmp_path / "models"
    command = [sys.executable, "-P", "-m", "bilin_engine", "download", hub.name]
    command += ["--hub", "modelscope", "--endpoint", hub.endpoint, "--models-dir", str(models)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = download_folder(models / "模型-1") / f"{SHARD}.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in stderr
    assert "再次运行同一命令" in stderr
    size = part.stat().st_size
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert hub.asked_for(SHARD)[-1].headers["Range"] == f"bytes={size}-"
    assert (models / "模型-1" / "bilin.json").is_file()


def test_what_makes_no_model_is_not_fetched_on_the_command_line(hub, tmp_path, capfd):
    hub.files["config.json"] = b'{"model_type": "unheard-of"}'
    hub.files["bilin.json"] = b"{}"
    command = ["download", hub.name, "--endpoint", hub.endpoint, "--models-dir", str(tmp_path)]
    assert run(command) == 1
    assert "unheard-of" in capfd.readouterr().err
    assert not hub.asked_for(SHARD)


def test_the_token_file_is_for_the_listing_too(hub, tmp_path, capfd):
    hub.needs_token = "hf_1"
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({f"hugging_face {hub.endpoint}": "hf_1"}))
    command = ["download", hub.name, "--endpoint", hub.endpoint, "--models-dir", str(tmp_path)]
    assert run([*command, "--list", "--token-file", str(tokens)]) == 0
    assert SHARD in capfd.readouterr().out


def test_the_catalog_on_the_command_line(tmp_path, capsys):
    assert run(["catalog", "--devices", "1x24GiB", "--models-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "zai-org/GLM-4-9B-0414" in told
    assert "not runnable here 暂不支持 (glm4_moe)" in told
