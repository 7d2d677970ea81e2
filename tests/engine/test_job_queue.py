"""The work queue and the disk it is kept on: hung, unreadable, held by another."""

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from failing_disk import fail_disk
from letter_models import Engine
from library_folders import make_model, speed
from typing_extensions import override

from bilin_engine import processes
from bilin_engine.cli.session import open_session
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.library import Library, download_folder
from bilin_engine.protocol import (
    AddJob,
    AddTokenizer,
    CatalogListed,
    ChangeJob,
    ConvertModel,
    DeleteModel,
    Done,
    DownloadModel,
    EmptyTrash,
    ImportFolder,
    JobDone,
    JobInfo,
    JobsChanged,
    ListCatalog,
    ListJobs,
    ListModels,
    ModelsListed,
    MoveLibrary,
    RenameModel,
    Repository,
    RestoreModel,
    SelfTest,
    VerifyModel,
)
from bilin_engine.server import hub_rests, job_queue
from bilin_engine.server.job_process import JobCommand
from bilin_engine.server.job_queue import QUEUE_FILE, JobQueue
from bilin_engine.server.library_ops import LibraryOps
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import Supervisor
from bilin_engine.whole_file import partial_folder, write_whole

WAIT_S = 20.0


class HungLibrary(Library):
    """Its disk answers nothing until `wake`; `is_asked` once somebody waits for it."""

    def __init__(self, models_dir: Path) -> None:
        super().__init__(models_dir, bundled_dir=models_dir / "none")
        self.wake, self.is_asked = threading.Event(), threading.Event()
        wake, is_asked = self.wake, self.is_asked

        class HungPath(type(Path())):
            @override
            def is_file(self) -> bool:
                is_asked.set()
                assert wake.wait(WAIT_S)
                return super().is_file()

        self._state_dir = HungPath(super().state_dir)

    @property
    @override
    def state_dir(self) -> Path:
        return self._state_dir


class Heard:
    """Events of an engine, waited for."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._news = threading.Condition()

    def __call__(self, event: object) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def wait_for(self, is_wanted) -> Any:
        def found():
            return next((event for event in self.events if is_wanted(event)), None)

        with self._news:
            assert self._news.wait_for(found, WAIT_S), self.events
            return found()


def paused(number: int) -> JobInfo:
    return JobInfo(job=number, work=VerifyModel(folder=f"/models/{number}"), state="paused")


@pytest.fixture
def models(tmp_path):
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    library.state_dir.mkdir(parents=True)
    (library.state_dir / QUEUE_FILE).write_bytes(msgspec.json.encode([paused(3), paused(7)]))
    return tmp_path / "models"


def test_an_engine_answers_while_the_disk_of_its_models_hangs(models):
    heard, library = Heard(), HungLibrary(models)
    supervisor = Supervisor(heard, ModelTexts(library))
    assert library.is_asked.wait(WAIT_S)
    supervisor.submit(ListJobs(id=1))  # waits for the disk, and for nobody else
    supervisor.submit(ListCatalog(id=2))
    told = heard.wait_for(lambda event: isinstance(event, Done) and event.id == 2)
    assert isinstance(told.result, CatalogListed)
    assert not any(isinstance(event, JobsChanged) for event in heard.events)
    library.wake.set()
    queue = heard.wait_for(lambda event: isinstance(event, JobsChanged))
    assert [job.job for job in queue.jobs] == [3, 7]
    supervisor.close()


@pytest.mark.expects_log
def test_an_engine_starts_on_models_whose_queue_cannot_be_locked(models, caplog):
    (models / ".bilin" / "lock").mkdir()  # no file can be opened there, whoever asks
    heard = Heard()
    queue = JobQueue(Library(models, bundled_dir=models / "none"), heard, JobCommand())
    queue.tell()
    assert heard.events == [JobsChanged(())]
    assert "the work of last time is not taken up" in caplog.text
    with pytest.raises(BilinError, match="cannot be written"):
        queue.add(SelfTest())
    queue.close()


def test_two_engines_on_one_folder_tell_which_of_them_works_and_take_turns(models):
    first_heard, second_heard = Heard(), Heard()
    first = JobQueue(Library(models, bundled_dir=models / "none"), first_heard, JobCommand())
    first.tell()
    assert [job.job for job in first.jobs] == [3, 7]
    second = JobQueue(Library(models, bundled_dir=models / "none"), second_heard, JobCommand())
    second.tell()
    assert second.jobs == ()
    with pytest.raises(BilinError, match="another Bilin works on the models"):
        second.add(VerifyModel(folder=str(models / "one")))
    first.change(3, "cancel")
    first.close()
    event = second_heard.wait_for(lambda event: event.jobs)  # taken up as soon as it is free
    assert [job.job for job in event.jobs] == [7]
    second.change(7, "cancel")
    assert second.jobs == ()
    second.close()


def test_a_terminal_s_command_leaves_the_window_s_work_to_the_window(models):
    """It held the lock for as long as it ran, and began with the work that waited."""
    kept = models / ".bilin" / QUEUE_FILE
    waiting = JobInfo(job=4, work=VerifyModel(folder=str(models / "none")))
    kept.write_bytes(msgspec.json.encode([waiting]))
    asked = kept.read_bytes()
    with open_session(argparse.Namespace(models_dir=models, log_dir=None)) as session:
        session.ask(ListModels, ModelsListed)
        assert kept.read_bytes() == asked
        ends_at_once = JobCommand((sys.executable, "-c", ""))
        window = JobQueue(Library(models, bundled_dir=models / "none"), Heard(), ends_at_once)
        window.add(VerifyModel(folder=str(models / "other")))
        assert [job.job for job in window.jobs] == [4, 5]
        window.close()


def test_two_jobs_never_make_one_folder(models):
    """They would share unfinished files: cancelling the one that waits deleted the other's."""
    queue = JobQueue(Library(models, bundled_dir=models / "none"), Heard(), JobCommand())
    folder = str(models / "glm")
    try:
        download = DownloadModel(
            repository=Repository(hub="hugging_face", name="a/glm"), folder=folder
        )
        queue.add(VerifyModel(folder="/elsewhere"))  # takes its turn first
        queue.add(download)
        for other in (
            ConvertModel(source="/a", folder=folder),
            ImportFolder(source="/a", folder=folder),
        ):
            with pytest.raises(BadRequestError, match="has other work that makes"):
                queue.add(other)
    finally:
        queue.close()


@pytest.mark.parametrize(
    ("wanted", "left"), [("cancel", []), ("pause", ["paused"]), (None, ["waiting"])]
)
def test_a_download_that_was_done_before_it_heard_of_it_obeys_all_the_same(models, wanted, left):
    """Between its last message and the queue's reading of it: nothing is converted unasked."""
    queue = JobQueue(Library(models, bundled_dir=models / "none"), Heard(), JobCommand())
    queue.tell()  # the queue of last time is read
    folder = str(models / "glm")
    fetched = models / ".bilin" / "downloads" / "glm"
    fetched.mkdir(parents=True)
    download = DownloadModel(repository=Repository(hub="hugging_face", name="a/glm"), folder=folder)
    then = ConvertModel(source=str(fetched), folder=folder, removes_source=True)
    try:
        with queue._condition:
            queue._jobs = [JobInfo(job=9, work=download, state="running")]
            queue._wanted = wanted
            queue._finish(9, JobDone(folder, then=then))
            assert [job.state for job in queue._jobs if job.work == then] == left
            assert any(job.job == 9 for job in queue._jobs) == (wanted != "cancel")
            queue._jobs = []
        assert fetched.exists() == (wanted != "cancel")
    finally:
        queue.close()


def test_nothing_is_begun_or_changed_while_the_models_are_moved(tmp_path):
    """It would be left in the old folder, or come back from the new one."""
    folder = make_model(tmp_path / "models", "glm")
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    library.state_dir.mkdir()
    move = MoveLibrary(source=str(library.models_dir), folder=str(tmp_path / "disk"))
    kept = msgspec.json.encode([JobInfo(job=4, work=move, state="paused")])
    (library.state_dir / QUEUE_FILE).write_bytes(kept)
    download = DownloadModel(
        repository=Repository(hub="hugging_face", name="a/b"), folder=str(library.models_dir / "b")
    )
    refused = "the models are being moved; wait until that is done, or cancel it"
    with Engine(texts=ModelTexts(library)) as engine:
        for make in (
            lambda i: DeleteModel(i, "tiny"),
            lambda i: RenameModel(i, "tiny", "新名字"),
            lambda i: RestoreModel(i, "deleted-1"),
            lambda i: AddTokenizer(id=i, model="tiny", path="/ice_text.model"),
            EmptyTrash,
            lambda i: AddJob(i, download),
            lambda i: AddJob(i, MoveLibrary(source=move.source, folder="/third")),
        ):
            assert engine.ask(make).message == refused
        assert folder.is_dir()
        assert isinstance(engine.ask(lambda i: ChangeJob(i, 4, "cancel")), Done)
        assert isinstance(engine.ask(lambda i: DeleteModel(i, "tiny")), Done)
    assert not folder.exists()


def test_models_are_not_moved_while_there_is_other_work_on_them(models):
    library = Library(models, bundled_dir=models / "none")
    queue = JobQueue(library, Heard(), JobCommand())
    try:
        with pytest.raises(BadRequestError, match="unfinished work on these models"):
            queue.add(MoveLibrary(source=str(models), folder="/third"))
    finally:
        queue.close()


def test_a_new_model_has_no_speed_of_a_deleted_one_whose_folder_name_it_takes(tmp_path):
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    make_model(library.models_dir, "glm")
    ops = LibraryOps(library)
    ops.keep_speed("tiny", speed(processes.cpu_label(), 5.0))
    ops.restore(ops.delete("tiny").trashed)
    assert library.find("tiny").speed is not None
    queue = JobQueue(library, Heard(), JobCommand())
    try:
        queue.tell()

        def end(work):
            with queue._condition:
                queue._jobs = [JobInfo(job=9, work=work, state="running")]
                queue._finish(9, JobDone(str(folder)))

        folder = library.models_dir / "glm"
        end(VerifyModel(folder=str(folder)))
        assert library.find("tiny").speed is not None
        ops.delete("tiny")
        make_model(library.models_dir, "glm")
        end(ImportFolder(source="/elsewhere", folder=str(folder)))
        info = library.find("tiny")
        assert info.speed is None
        assert info.verified_at > 0
    finally:
        queue.close()


def test_a_model_that_arrives_takes_nobody_s_id(tmp_path):
    """It had that of the model whose folder comes after its own, and this one another."""
    source = make_model(tmp_path / "source", "a")
    library, heard = Library(tmp_path / "models", bundled_dir=tmp_path / "none"), Heard()
    make_model(library.models_dir, "b")
    assert library.find("tiny").path.endswith("b")
    queue = JobQueue(library, heard, JobCommand())
    try:
        queue.add(ImportFolder(source=str(source), folder=str(library.models_dir / "a")))
        heard.wait_for(lambda event: event.library_changed)
    finally:
        queue.close()
    assert library.find("tiny").path.endswith("b")
    assert library.find("tiny-2").path.endswith("a")
    make_model(library.models_dir, "0")  # copied by hand
    assert library.find("tiny-2").path.endswith("a")


def test_work_on_models_that_cannot_be_listed_ends(tmp_path, monkeypatch):
    source = make_model(tmp_path / "source", "a")
    library, heard = Library(tmp_path / "models", bundled_dir=tmp_path / "none"), Heard()

    def failing():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(library, "entries", failing)
    queue = JobQueue(library, heard, JobCommand())
    try:
        queue.add(ImportFolder(source=str(source), folder=str(library.models_dir / "a")))
        heard.wait_for(lambda event: event.library_changed)
        assert [job.state for job in queue.jobs] == ["done"]
    finally:
        queue.close()


CONVERTING = """
from pathlib import Path

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.protocol import JobDone, JobProgress, decode_job_request, hello

channel = Channel(*processes.take_stdio(), decode_job_request)
channel.receive()
work = channel.receive()
channel.send(hello("job"))
for done in range(1, 21):
    channel.send(JobProgress(stage="convert", done=done, total=20, rate_bytes_s=100.0 + done))
Path(work.folder).mkdir()
channel.send(JobDone(work.folder))
channel.receive()
"""


def test_reports_that_come_faster_than_they_are_told_hold_nothing_up(tmp_path, monkeypatch):
    """Each was told, and its rate written to the disk: a slow one fell ever further behind."""

    class SlowlyHeard(Heard):
        @override
        def __call__(self, event):
            time.sleep(2 * job_queue.EMIT_INTERVAL_S)
            super().__call__(event)

    written = []

    def write(path, content):
        written.append((path.name, content))
        write_whole(path, content)

    monkeypatch.setattr(job_queue, "write_whole", write)
    library, heard = Library(tmp_path / "models", bundled_dir=tmp_path / "none"), SlowlyHeard()
    queue = JobQueue(library, heard, JobCommand((sys.executable, "-P", "-c", CONVERTING)))
    try:
        queue.add(ConvertModel(source="/a", folder=str(library.models_dir / "b")))
        heard.wait_for(lambda event: event.library_changed)
    finally:
        queue.close()
    assert [content for name, content in written if name == job_queue.SPEED_FILE] == [b"120.0"]
    assert queue.conversion_rate == 120.0
    told = {job.fraction for event in heard.events for job in event.jobs if job.stage}
    assert len(told) < 5


DOWNLOADING = """
import sys
from pathlib import Path

from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.protocol import (
    DownloadModel, Failed, JobDone, JobProgress, decode_job_request, hello
)

hub = Path(sys.argv[1])  # holds what becomes of the hub: "cut", then what it is from then on
channel = Channel(*processes.take_stdio(), decode_job_request)
channel.receive()
work = channel.receive()
channel.send(hello("job"))


def done():
    if not isinstance(work, DownloadModel):
        return JobDone("")
    state = hub.read_text()
    if state == "gone":
        return Failed(id=1, code="hub_unreachable", message="the hub cannot be reached")
    for done in (1, 2):
        channel.send(JobProgress(stage="download", done=done, total=4))
    if state.startswith("cut"):
        hub.write_text(state.split()[1])
        return Failed(id=1, code="hub_unreachable", message="the connection broke")
    Path(work.folder).mkdir()
    return JobDone(work.folder)


channel.send(done())
channel.receive()
"""


@pytest.fixture
def downloads(tmp_path):
    """A queue of two downloads from a hub (a file that says how it fares), and a self-test."""
    library = Library(tmp_path / "models", bundled_dir=tmp_path / "none")
    heard, hub = Heard(), tmp_path / "hub"
    queue = JobQueue(
        library, heard, JobCommand((sys.executable, "-P", "-c", DOWNLOADING, str(hub)))
    )

    def start(state):
        hub.write_text(state)
        for name in ("one", "two"):
            repository = Repository(hub="hugging_face", name=f"a/{name}")
            folder = str(library.models_dir / name)
            queue.add(DownloadModel(repository=repository, folder=folder))
        queue.add(SelfTest())

    def until(*states):
        heard.wait_for(lambda event: tuple(job.state for job in event.jobs) == states)
        return queue.jobs

    yield queue, hub, start, until
    queue.close()


def test_downloads_wait_for_a_hub_that_went_away_and_other_work_goes_on(downloads):
    queue, hub, start, until = downloads
    start("cut gone")
    one, two, _ = until("waiting", "waiting", "done")
    assert (one.reason, one.eta_s) == ("the connection broke", None)
    assert two.reason == ""
    hub.write_text("there")
    queue.change(one.job, "first")  # a person who knows that it is back
    assert [job.reason for job in until("done", "done", "done")] == ["", "", ""]


def test_a_hub_that_went_away_is_tried_again_by_itself(downloads, monkeypatch):
    monkeypatch.setattr(hub_rests, "HUB_REST_S", 0.1)
    _, _, start, until = downloads
    start("cut there")
    until("done", "done", "done")


def test_a_hub_that_never_gave_a_byte_fails_its_downloads_at_once(downloads):
    """As a mistyped address does."""
    _, _, start, until = downloads
    start("gone")
    jobs = until("failed", "failed", "done")
    assert [job.reason for job in jobs[:2]] == ["the hub cannot be reached"] * 2


def test_a_hub_that_stays_away_is_given_up(downloads, monkeypatch):
    monkeypatch.setattr(hub_rests, "HUB_REST_S", 0.01)
    monkeypatch.setattr(hub_rests, "NUM_RESTS", 3)
    _, _, start, until = downloads
    start("cut gone")
    until("failed", "failed", "done")


WORKING = """
from bilin_engine import processes
from bilin_engine.channel import Channel
from bilin_engine.protocol import JobDone, SelfTest, decode_job_request, hello

channel = Channel(*processes.take_stdio(), decode_job_request)
channel.receive()
work = channel.receive()
channel.send(hello("job"))
if isinstance(work, SelfTest):
    channel.send(JobDone(""))
channel.receive()
"""


@pytest.mark.parametrize("kind", ["convert", "download"])
def test_work_on_a_disk_that_fails_is_cancelled_and_other_work_follows(tmp_path, monkeypatch, kind):
    library, heard = Library(tmp_path / "models", bundled_dir=tmp_path / "none"), Heard()
    folder = library.models_dir / "far"
    if kind == "convert":
        work, unfinished = ConvertModel(source="/a", folder=str(folder)), partial_folder(folder)
    else:
        repository = Repository(hub="hugging_face", name="a/far")
        work = DownloadModel(repository=repository, folder=str(folder))
        unfinished = download_folder(folder)
    queue = JobQueue(library, heard, JobCommand((sys.executable, "-P", "-c", WORKING)))
    try:
        queue.add(work)
        heard.wait_for(lambda event: [job.state for job in event.jobs] == ["running"])
        fail_disk(monkeypatch, unfinished)
        queue.change(1, "cancel")
        heard.wait_for(lambda event: not event.jobs)
        queue.add(SelfTest())
        heard.wait_for(lambda event: [job.state for job in event.jobs] == ["done"])
    finally:
        queue.close()


def test_work_of_a_library_that_was_moved_is_done_where_it_lies_now(tmp_path):
    """The data folder was moved, or the disk is mounted elsewhere: queue.json comes along."""
    old, new = tmp_path / "old", tmp_path / "new"
    fetched = old / ".bilin" / "downloads" / "glm"
    repository = Repository(hub="hugging_face", name="a/glm")
    asked = [
        DownloadModel(repository=repository, folder=str(old / "glm")),
        ConvertModel(source=str(fetched / "m.gguf"), folder=str(old / "b"), removes_source=True),
        ConvertModel(source="/elsewhere", folder=str(old / "c")),
        VerifyModel(folder="/elsewhere/d"),
        MoveLibrary(source=str(old), folder="/third"),
    ]
    library = Library(new, bundled_dir=tmp_path / "none")
    library.state_dir.mkdir(parents=True)
    jobs = [JobInfo(job=n, work=work, state="paused") for n, work in enumerate(asked)]
    (library.state_dir / QUEUE_FILE).write_bytes(msgspec.json.encode(jobs))
    queue = JobQueue(library, Heard(), JobCommand())
    try:
        queue.tell()
        works = [job.work for job in queue.jobs]
    finally:
        queue.close()
    fetched = new / ".bilin" / "downloads" / "glm"
    assert works == [
        DownloadModel(repository=repository, folder=str(new / "glm")),
        ConvertModel(source=str(fetched / "m.gguf"), folder=str(new / "b"), removes_source=True),
        ConvertModel(source="/elsewhere", folder=str(new / "c")),
        VerifyModel(folder="/elsewhere/d"),
    ]


def test_a_queue_closed_while_the_disk_hangs_lets_the_lanes_go(models):
    heard, library = Heard(), HungLibrary(models)
    queue = JobQueue(library, heard, JobCommand())
    teller = threading.Thread(target=queue.tell)
    teller.start()
    closer = threading.Thread(target=queue.close)
    closer.start()
    teller.join(WAIT_S)
    assert not teller.is_alive()
    library.wake.set()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert queue.jobs == ()
