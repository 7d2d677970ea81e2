"""The work queue: one job at a time, in order, kept on disk, taken up again after a restart.

Knows what a job leaves behind (`partial_folder`); the work itself is a process's business.
"""

import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bilin_engine import processes
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.library import DOWNLOADS_DIR, TRASH_DIR, Library, download_folder, subfolders
from bilin_engine.protocol import (
    ConvertModel,
    DownloadModel,
    Failed,
    Hello,
    JobAction,
    JobDone,
    JobEvent,
    JobInfo,
    JobProgress,
    JobsChanged,
    JobState,
    JobWork,
    MoveLibrary,
    RepositoryListed,
    SelfTest,
    VerifyModel,
)
from bilin_engine.server.child_process import Gone
from bilin_engine.server.hub_rests import HubRests
from bilin_engine.server.job_process import STOP_S, JobCommand, JobProcess
from bilin_engine.server.library_ops import LibraryOps
from bilin_engine.whole_file import partial_folder, write_whole

logger = logging.getLogger(__name__)

QUEUE_FILE = "queue.json"
LOCK_FILE = "lock"
SPEED_FILE = "speed.json"
JOIN_S = 10.0
EMIT_INTERVAL_S = 0.2
LOCK_RETRY_S = 0.5
MAX_JOBS = 200


def _made_folder(work: JobWork) -> str:
    """The model folder that work makes, "" for work that makes none."""
    return "" if isinstance(work, VerifyModel | SelfTest | MoveLibrary) else work.folder


def _refuse_during_move(unfinished: Iterable[JobWork]) -> None:
    if any(isinstance(work, MoveLibrary) for work in unfinished):
        raise BadRequestError("the models are being moved; wait until that is done, or cancel it")


def _discard_copies(source: Path, target: Path) -> None:
    """Removes what a move left half copied; models that are whole there stay.

    A folder with more in it than the original is unfinished work of the other library's.
    """
    for place in (source, source / TRASH_DIR):
        for folder in subfolders(place):
            partial = partial_folder(target / folder.relative_to(source))
            inner = (folder / path.relative_to(partial) for path in partial.rglob("*"))
            if not partial.is_symlink() and all(map(os.path.lexists, inner)):
                shutil.rmtree(partial, ignore_errors=True)


class JobQueue:
    """Jobs of one library. `emit` hears `JobsChanged`, from several threads."""

    def __init__(
        self,
        library: Library,
        emit: Callable[[JobsChanged], None],
        command: JobCommand,
        *,
        takes_up: bool = True,
    ) -> None:
        """Goes on with the queue of last time; `close` ends what this starts.

        takes_up: False = the queue of last time, and the lock on it, are left to whoever wants
        them until work is added here.

        The disk is read by this queue's own thread: one that hangs keeps nobody else waiting.
        """
        self._library = library
        self._ops = LibraryOps(library)
        self._emit = emit
        self._command = command
        self._takes_up = takes_up
        self._condition = threading.Condition()
        self._jobs: list[JobInfo] = []
        self._next_id = 1
        self._running: JobProcess | None = None
        self._wanted: JobAction | None = None  # what shall become of the running job
        self._is_closed = False
        self._lock_fd: int | None = None
        self._opening = threading.Lock()  # held while the disk is asked for the lock and the queue
        self._was_looked_for = threading.Event()  # the queue of last time: read, held, or not there
        self._told_at = 0.0
        self._rate_bytes_s = 0.0  # of the conversion that runs, as it last said
        self._rests = HubRests()
        self._thread = threading.Thread(target=self._run, name="bilin-jobs", daemon=True)
        self._thread.start()

    @property
    def jobs(self) -> tuple[JobInfo, ...]:
        """The queue as it is."""
        with self._condition:
            return tuple(self._jobs)

    @property
    def conversion_rate(self) -> float:
        """Source bytes a second of the last conversion on this machine; 0.0 = none yet."""
        if rate := self._rate_bytes_s:
            return rate
        try:
            content = (self._library.state_dir / SPEED_FILE).read_bytes()
            return msgspec.json.decode(content, type=float)
        except (OSError, msgspec.DecodeError):
            return 0.0

    def tell(self) -> None:
        """Says how the queue stands. Waits until the queue of last time is read."""
        self._was_looked_for.wait()
        self._emit(JobsChanged(self.jobs))

    def add(self, work: JobWork) -> None:
        """Puts work at the end. Raises BilinError where this library cannot be worked on."""
        self._check(work)
        if not self._open():
            raise BilinError(
                f"another Bilin works on the models in {self._library.models_dir}; close it "
                "first, or give this one a models folder of its own"
            )
        with self._condition:
            unfinished = self._unfinished()
            if work in unfinished:
                raise BadRequestError("this is in the queue already")
            _refuse_during_move(unfinished)
            if isinstance(work, MoveLibrary) and unfinished:
                raise BadRequestError(
                    "the queue holds unfinished work on these models; finish or cancel it first"
                )
            # Two would share their unfinished files, and cancelling one would delete the other's.
            if (made := _made_folder(work)) and made in map(_made_folder, unfinished):
                raise BadRequestError(
                    f"the queue has other work that makes {made}; choose another name"
                )
            if len(self._jobs) >= MAX_JOBS:
                raise BadRequestError(f"the queue holds {MAX_JOBS} jobs; clear some first")
            self._jobs = [job for job in self._jobs if job.work != work]
            self._jobs.append(JobInfo(job=self._next_id, work=work))
            self._next_id += 1
            self._changed()
            self._condition.notify_all()

    def check_changes(self) -> None:
        """Raises BadRequestError while the models are being moved: a change would be lost.

        Waits until the queue of last time is read.
        """
        self._was_looked_for.wait()
        with self._condition:
            _refuse_during_move(self._unfinished())

    def change(self, job_id: int, action: JobAction) -> None:
        """What a person asks of a job. Raises BadRequestError for what cannot be now."""
        self._was_looked_for.wait()
        with self._condition:
            index = next((i for i, job in enumerate(self._jobs) if job.job == job_id), None)
            if index is None:
                raise BadRequestError(f"there is no job {job_id}")
            job = self._jobs[index]
            if action in ("pause", "cancel") and job.state == "running":
                self._wanted = action
                if self._running is not None:
                    self._running.end_input()
                return
            self._change_waiting(index, job, action)
            self._changed()
            self._condition.notify_all()

    def _change_waiting(self, index: int, job: JobInfo, action: JobAction) -> None:
        match action:
            case "pause" if job.state == "waiting":
                self._put(index, state="paused")
            case "resume" | "retry" if job.state in ("paused", "failed"):
                self._rests.end(job.work)
                self._put(index, state="waiting", reason="")
            case "first" if job.state == "waiting":
                self._rests.end(job.work)
                self._jobs.insert(0, self._jobs.pop(index))
            case "cancel" | "clear" if job.state != "running":
                if job.state != "done":
                    self._discard(job.work)
                del self._jobs[index]
            case _:
                raise BadRequestError(f"a job that is {job.state} cannot {action}")

    def close(self) -> None:
        """Stops the running job, keeping what it did; it waits for the next start."""
        with self._condition:
            self._is_closed = True
            self._was_looked_for.set()
            self._condition.notify_all()
            if self._running is not None:
                self._running.end_input()
        self._thread.join(JOIN_S)
        with self._condition:
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    # --- The thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._takes_up:
            self._take_up_last()
        else:
            self._was_looked_for.set()
        while True:
            with self._condition:
                while not self._is_closed and self._next() is None:
                    rests = (self._rests.left_s(job.work) for job in self._waiting())
                    self._condition.wait(min(rests, default=None))
                if self._is_closed:
                    return
                job = self._next()
                assert job is not None
                self._wanted = None
                index = self._jobs.index(job)
                self._put(index, state="running", reason="", stage="", fraction=job.fraction)
                self._changed()
            begun_at = time.monotonic()
            end = self._do(job)
            logger.info("job %d ended after %.1f s", job.job, time.monotonic() - begun_at)
            if self._rate_bytes_s:
                self._write_state(SPEED_FILE, msgspec.json.encode(self._rate_bytes_s))
                self._rate_bytes_s = 0.0
            with self._condition:
                self._running = None
                self._finish(job.job, end)

    def _take_up_last(self) -> None:
        """Reads the queue of last time, once the engine that holds it is gone.

        After a crash that one may still be finishing its block while this one starts. What cannot
        be read is left alone: the next piece of work says what is the matter.
        """
        was_held = False
        try:
            while (self._library.state_dir / QUEUE_FILE).is_file():
                if self._open():
                    if was_held:
                        self._emit(JobsChanged(self.jobs, library_changed=True))
                    return
                was_held = True
                self._was_looked_for.set()
                with self._condition:
                    if self._condition.wait_for(lambda: self._is_closed, LOCK_RETRY_S):
                        return
        except (BilinError, OSError) as error:
            logger.warning("the work of last time is not taken up: %s", error)
        finally:
            self._was_looked_for.set()

    def _do(self, job: JobInfo) -> JobDone | Failed:
        """Runs a job's process to its end, which may be that it was asked to stop."""
        if not isinstance(job.work, VerifyModel | SelfTest):
            self._ops.keep_ids()
        events: queue.SimpleQueue[JobEvent | Gone] = queue.SimpleQueue()
        try:
            process = JobProcess(self._command, job.work, events.put)
        except BilinError as error:
            return Failed(id=1, code=error.code, message=error.message)
        with self._condition:
            self._running = process
            if self._wanted is not None or self._is_closed:
                process.end_input()
        try:
            while True:
                match events.get():
                    case JobProgress() as progress:
                        self._on_progress(job.job, progress, is_latest=events.empty())
                    case JobDone() | Failed() as end:
                        return end
                    case Gone(reason):
                        return Failed(id=1, code="job_died", message=reason)
                    case Hello() | RepositoryListed():
                        continue
        finally:
            process.close(STOP_S)

    def _next(self) -> JobInfo | None:
        return next((job for job in self._waiting() if not self._rests.left_s(job.work)), None)

    def _waiting(self) -> list[JobInfo]:
        return [job for job in self._jobs if job.state == "waiting"]

    def _on_progress(self, job_id: int, progress: JobProgress, *, is_latest: bool) -> None:
        if progress.stage == "convert" and progress.rate_bytes_s:
            self._rate_bytes_s = progress.rate_bytes_s
        with self._condition:
            index = self._index(job_id)
            if index is None:
                return
            self._rests.note_progress(self._jobs[index], progress)
            self._put(
                index,
                stage=progress.stage,
                fraction=progress.done / max(1, progress.total),
                rate_bytes_s=progress.rate_bytes_s,
                eta_s=progress.eta_s,
                shard=progress.shard,
                num_shards=progress.num_shards,
            )
            now = time.monotonic()
            if not is_latest or now - self._told_at < EMIT_INTERVAL_S:
                return
            self._told_at = now
            jobs = tuple(self._jobs)
        self._emit(JobsChanged(jobs))

    def _finish(self, job_id: int, end: JobDone | Failed) -> None:
        index = self._index(job_id)
        if index is None:
            return
        work = self._jobs[index].work
        has_news = False
        if isinstance(end, JobDone) and end.then is not None and self._wanted == "cancel":
            self._discard(end.then)  # it was done before it heard of it
            del self._jobs[index]
        elif isinstance(end, JobDone):
            self._put(index, state="done", fraction=1.0, eta_s=None, reason="", report=end.report)
            if isinstance(work, SelfTest | MoveLibrary):
                has_news = isinstance(work, MoveLibrary)
            else:
                has_news = self._take_up(index, work, end)
        elif self._wanted == "cancel":
            self._discard(work)
            del self._jobs[index]
        elif self._wanted == "pause":
            self._put(index, state="paused", eta_s=None, rate_bytes_s=0.0)
        elif self._is_closed:
            self._put(index, state="waiting", eta_s=None)
        elif end.code == "disk_full":
            self._put(index, state="paused", reason=end.message, eta_s=None)
        elif self._rests.begin(work, end):
            self._put(index, state="waiting", reason=end.message, eta_s=None)
        else:
            self._put(index, state="failed", reason=end.message, eta_s=None)
            if isinstance(work, VerifyModel) and end.code == "model_broken":
                self._mark(Path(work.folder), is_whole=False)
                has_news = True
        self._wanted = None
        self._changed(library_changed=has_news)

    def _take_up(self, index: int, work: JobWork, end: JobDone) -> bool:
        """What follows from work that is done; whether the library has news."""
        if end.then is not None:
            state: JobState = "paused" if self._wanted == "pause" else "waiting"
            following = JobInfo(job=self._next_id, work=end.then, state=state)
            self._next_id += 1
            self._jobs.insert(index + 1, following)
            return False
        if isinstance(work, ConvertModel) and work.removes_source:
            self._remove_download(work.folder)
        self._mark(Path(end.folder), is_whole=True, is_new=bool(_made_folder(work)))
        return True

    def _mark(self, folder: Path, *, is_whole: bool, is_new: bool = False) -> None:
        try:
            if is_new:
                self._ops.forget_speed(folder)
                self._ops.keep_ids()
            if is_whole:
                self._ops.mark_verified(folder)
            else:
                self._ops.mark_changed(folder)
        except (BilinError, OSError) as error:
            logger.warning("what is known of %s cannot be kept: %s", folder, error)

    # --- State ------------------------------------------------------------------------------------

    def _check(self, work: JobWork) -> None:
        """Nothing is written outside the models folder, but by a move to another one."""
        if isinstance(work, VerifyModel | SelfTest):
            return
        if isinstance(work, MoveLibrary):
            self._check_move(work)
            return
        folder = Path(work.folder)
        if folder.parent != self._library.models_dir.absolute() or folder.name.startswith("."):
            raise BadRequestError(
                f"{folder} is not in the models folder, {self._library.models_dir}"
            )
        if folder.exists():
            raise BadRequestError(f"{folder} exists already; choose another name")

    def _check_move(self, work: MoveLibrary) -> None:
        if Path(work.source) != self._library.models_dir.absolute():
            raise BadRequestError(f"the models lie in {self._library.models_dir}")
        if not Path(work.folder).is_absolute():
            raise BadRequestError(f"{work.folder} is not an absolute path")

    def _discard(self, work: JobWork) -> None:
        if isinstance(work, VerifyModel | SelfTest):
            return
        if isinstance(work, MoveLibrary):
            try:
                _discard_copies(Path(work.source), Path(work.folder))
            except OSError as error:  # the other disk may be gone: why the move was cancelled
                logger.warning("half copied models cannot be removed: %s", error)
            return
        partial = partial_folder(Path(work.folder))
        is_ours = partial.parent == self._library.models_dir.absolute()
        # Path.is_symlink raises where a disk fails.
        if is_ours and not os.path.islink(partial):  # noqa: PTH114
            shutil.rmtree(partial, ignore_errors=True)
        is_of_download = isinstance(work, ConvertModel) and work.removes_source
        if isinstance(work, DownloadModel) or is_of_download:
            self._remove_download(work.folder)

    def _remove_download(self, folder: str) -> None:
        """Removes the files that were fetched for a model folder."""
        downloads = self._library.state_dir.absolute() / DOWNLOADS_DIR
        place = download_folder(Path(folder))
        links = (downloads, downloads.parent, place)
        if place.parent == downloads and not any(map(os.path.islink, links)):
            shutil.rmtree(place, ignore_errors=True)

    def _unfinished(self) -> list[JobWork]:
        return [job.work for job in self._jobs if job.state != "done"]

    def _index(self, job_id: int) -> int | None:
        return next((i for i, job in enumerate(self._jobs) if job.job == job_id), None)

    def _put(self, index: int, **values: object) -> None:
        self._jobs[index] = msgspec.structs.replace(self._jobs[index], **values)

    def _changed(self, *, library_changed: bool = False) -> None:
        """Keeps the queue and tells of it. The lock is held."""
        self._write_state(QUEUE_FILE, msgspec.json.encode(self._jobs))
        self._emit(JobsChanged(tuple(self._jobs), library_changed))

    def _open(self) -> bool:
        """Whether this process is the one that works on the library; reads its queue if so.

        Raises BilinError where nothing can be written.
        """
        with self._opening:
            if self._lock_fd is not None:
                return True
            fd = self._lock()
            if fd is None:
                return False
            jobs = self._read()
            with self._condition:
                if self._is_closed:
                    os.close(fd)
                    return False
                self._lock_fd = fd
                self._jobs = jobs
                self._next_id = 1 + max((job.job for job in jobs), default=0)
                self._condition.notify_all()
            return True

    def _lock(self) -> int | None:
        folder = self._library.state_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BilinError(f"{folder} cannot be written: {error.strerror}") from error
        if not processes.lock_file(fd):
            os.close(fd)
            return None
        return fd

    def _read(self) -> list[JobInfo]:
        """The queue of last time. A download waits for a person: nothing is fetched unasked."""
        path = self._library.state_dir / QUEUE_FILE
        try:
            jobs = msgspec.json.decode(path.read_bytes(), type=list[JobInfo])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("the queue in %s cannot be read and starts empty: %s", path, error)
            return []
        taken_up = []
        for job in jobs:
            work = self._rebased(job.work)
            if work is None:
                continue
            state = job.state
            if state in ("running", "waiting"):
                state = "paused" if isinstance(job.work, DownloadModel) else "waiting"
            taken_up.append(msgspec.structs.replace(job, work=work, state=state, eta_s=None))
        return taken_up

    def _rebased(self, work: JobWork) -> JobWork | None:
        """Work of a library that lay elsewhere when it was asked for, as it is here.

        None for a move that is no longer from here.
        """
        models = self._library.models_dir.absolute()
        if isinstance(work, VerifyModel | SelfTest):
            return work
        if isinstance(work, MoveLibrary):
            return work if Path(work.source) == models else None
        old = Path(work.folder).parent
        if old == models:
            return work
        folder = str(models / Path(work.folder).name)
        if isinstance(work, ConvertModel) and Path(work.source).is_relative_to(old):
            source = str(models / Path(work.source).relative_to(old))
            return msgspec.structs.replace(work, folder=folder, source=source)
        return msgspec.structs.replace(work, folder=folder)

    def _write_state(self, name: str, content: bytes) -> None:
        folder = self._library.state_dir
        try:
            write_whole(folder / name, content)
        except OSError as error:
            logger.warning("%s cannot be written: %s", folder / name, error)
