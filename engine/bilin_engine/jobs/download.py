"""Downloads a repository into the library, file by file, several at a time, each with its hash.

A file grows as NAME.part and gets its name when its size and hash are the hub's; a folder of whole
files lies in the library's state folder until it is a model. So whatever ends the process, nothing
that is not whole looks as if it were, and the same work goes on from the bytes that are there.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bilin_engine import processes
from bilin_engine.errors import BadRequestError, DiskFullError
from bilin_engine.hubs.base import HubBusyError, HubError, HubFile, HubSource
from bilin_engine.hubs.inspect import (
    CONFIG,
    DESCRIPTION,
    gguf_model_bytes,
    needed_bytes,
    parse_config,
    read_config,
)
from bilin_engine.hubs.open import open_repository
from bilin_engine.hubs.selection import choose_files
from bilin_engine.jobs.base import JobReporter
from bilin_engine.jobs.download_files import DownloadFolder, Part
from bilin_engine.jobs.import_folder import is_ready
from bilin_engine.library import download_folder
from bilin_engine.protocol import ConvertModel, DownloadModel, JobDone
from bilin_engine.whole_file import take_place

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

NUM_CONNECTIONS = 4
NUM_TRIES = 8  # in a row without one new byte
LONGEST_WAIT_S = 600.0
POLL_S = 0.1
END_S = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before asking again: first_s, doubled each time, up to most_s."""

    first_s: float = 1.0
    most_s: float = 60.0

    def wait_s(self, num_tries: int, asked_s: float | None) -> float:
        """Before the next try; what a server asks for goes first."""
        if asked_s is not None:
            return min(asked_s, LONGEST_WAIT_S)
        return min(self.first_s * 2.0 ** (num_tries - 1), self.most_s)


def download_model(
    work: DownloadModel,
    reporter: JobReporter,
    token_file: Path | None = None,
    patience: Patience | None = None,
) -> JobDone:
    """Fetches `work.repository`; a folder that is ready becomes `work.folder` at once.

    Raises HubError, DiskFullError, ModelBrokenError, UnsupportedModelError, BadRequestError,
    JobStopped.
    """
    folder = Path(work.folder)
    if folder.exists():
        raise BadRequestError(f"{folder} exists already; choose another name")
    place = DownloadFolder(download_folder(folder))
    with open_repository(work.repository, token_file) as source, contextlib.closing(place):
        fetch = _Fetch(source, place, reporter, patience or Patience())
        files, needed = fetch.prepare(work)
        _check_space(place.path, fetch.missing_bytes(files) + needed)
        fetch.all(files)
    return _finish(work, place.path, reporter)


class _Fetch:
    """Gets files of one repository into one folder."""

    def __init__(
        self, source: HubSource, place: DownloadFolder, reporter: JobReporter, patience: Patience
    ) -> None:
        self._source = source
        self._place = place
        self._reporter = reporter
        self._patience = patience
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}  # bytes of each file that are here
        self._waiting = 0
        self._stop = threading.Event()
        self._failure: Exception | None = None

    def prepare(self, work: DownloadModel) -> tuple[tuple[HubFile, ...], int]:
        """The files to fetch, and the bytes that converting them will take."""
        name = work.repository.name
        listing = self._patiently(self._source.list_files)
        chosen = choose_files(listing.files, name, work.file)
        if chosen.problem:
            raise HubError(chosen.problem)
        needed = gguf_model_bytes(chosen.files) if work.file else 0
        config_file = next((file for file in chosen.files if file.name == CONFIG), None)
        is_described = any(file.name == DESCRIPTION for file in chosen.files)
        if config_file is not None and not is_described:
            content = self._patiently(lambda: read_config(self._source, config_file))
            config = parse_config(content, name)
            if config.quantization is None:
                by_group = needed_bytes(config, content)
                if work.group_size and not {"", work.group_size} & by_group.keys():
                    raise BadRequestError(
                        f'group size "{work.group_size}" is not for this model; '
                        f"possible: {', '.join(by_group)}"
                    )
                needed = by_group.get(work.group_size) or max(by_group.values())
        self._place.open(work.repository)
        self._place.clear_others({file.name for file in chosen.files})
        return chosen.files, needed

    def missing_bytes(self, files: Sequence[HubFile]) -> int:
        """Bytes of the files that are not here yet."""
        here = sum(self._place.num_bytes(file) for file in files)
        return sum(file.size_bytes for file in files) - here

    def all(self, files: Sequence[HubFile]) -> None:
        """Fetches what is missing; tells how far it is from the calling thread."""
        self._done = {file.name: self._place.num_bytes(file) for file in files}
        total = sum(file.size_bytes for file in files)
        waiting = list(reversed(files))
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"bilin-download-{n}")
            for n in range(min(NUM_CONNECTIONS, len(files)))
        ]
        for thread in threads:
            thread.daemon = True  # a stalled read must not hold the process
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                with self._lock:
                    done = sum(self._done.values())
                    is_waiting = self._waiting >= sum(thread.is_alive() for thread in threads)
                self._reporter.tell("wait" if is_waiting else "download", done, total)
                self._stop.wait(POLL_S)
                if self._failure is not None:
                    break
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(END_S)
        if self._failure is not None:
            raise self._failure
        self._reporter.tell("download", total, total)

    def _work(self, waiting: list[HubFile]) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    if not waiting:
                        return
                    file = waiting.pop()
                self._get(file)
        except _Stopped:
            return
        except Exception as error:  # noqa: BLE001 - told by the thread that waits for this one
            with self._lock:
                self._failure = self._failure or error
            self._stop.set()

    def _get(self, file: HubFile) -> None:
        """One file, whole and compared; wrong bytes are fetched once more."""
        if self._place.has(file):
            return
        for is_last in (False, True):
            with self._place.part(file) as part:
                self._fill(file, part)
                wrong = part.difference()
                if not wrong:
                    self._place.keep(file, part)
                    return
                part.restart()
                self._count(file, 0)
            logger.warning("%s: %s", file.name, wrong)
            if is_last:
                raise HubError(
                    f"{file.name} arrives changed from {self._place.host(file)}: {wrong}. It was "
                    "fetched twice and thrown away; try another source, or later"
                )

    def _fill(self, file: HubFile, part: Part) -> None:
        """Reads until the part has the file's size, whatever breaks on the way."""
        num_tries = 0
        while part.size < file.size_bytes:
            before = part.size
            try:
                self._read(file, part)
                if part.size < file.size_bytes:
                    raise HubBusyError(
                        f"{self._place.host(file)} ended {file.name} after {part.size} of "
                        f"{file.size_bytes} bytes"
                    )
            except HubBusyError as error:
                num_tries = 1 if part.size > before else num_tries + 1
                if num_tries > NUM_TRIES:
                    raise
                self._pause(self._patience.wait_s(num_tries, error.wait_s), error)

    def _read(self, file: HubFile, part: Part) -> None:
        with self._source.open_range(file, part.size, self._place.etag(file)) as opened:
            if opened.start != part.size:
                part.restart()
                self._count(file, 0)
            self._place.begin(file, opened.etag, opened.hosts[-1])
            for block in opened.blocks:
                part.write(block)
                self._count(file, part.size)
                if part.size > file.size_bytes:
                    part.restart()
                    raise HubError(
                        f"{opened.hosts[-1]} sends more than the {file.size_bytes} bytes that the "
                        f"hub lists of {file.name}; it was thrown away"
                    )
                if self._stop.is_set():
                    raise _Stopped

    def _patiently(self, ask: "Callable[[], _Answer]") -> "_Answer":
        """Asks from the calling thread, again where the hub is busy."""
        num_tries = 0
        while True:
            try:
                return ask()
            except HubBusyError as error:
                num_tries += 1
                if num_tries > NUM_TRIES // 2:
                    raise
                wait_s = self._patience.wait_s(num_tries, error.wait_s)
                logger.info("%s; asking again in %.0f s", error, wait_s)
                waited = 0.0
                while waited < wait_s:
                    self._reporter.tell("wait", 0, 1)
                    self._stop.wait(POLL_S)
                    waited += POLL_S

    def _pause(self, wait_s: float, error: HubBusyError) -> None:
        logger.info("%s; asking again in %.0f s", error, wait_s)
        with self._lock:
            self._waiting += 1
        self._stop.wait(wait_s)
        with self._lock:
            self._waiting -= 1
        if self._stop.is_set():
            raise _Stopped

    def _count(self, file: HubFile, num_bytes: int) -> None:
        with self._lock:
            self._done[file.name] = num_bytes


class _Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """The other threads are done for."""


def _check_space(folder: Path, needed: int) -> None:
    free = processes.disk_free_bytes(folder)
    if needed > free:
        raise DiskFullError(
            f"{folder} has {processes.size_text(free)} free; the download and the model made of "
            f"it need {processes.size_text(needed)} more. Free some space, then resume"
        )


def _finish(work: DownloadModel, place: Path, reporter: JobReporter) -> JobDone:
    """Makes the files a model, or says what is left to do."""
    folder = Path(work.folder)
    gguf = place / work.file if work.file else None
    if gguf is None and not (place / DESCRIPTION).exists():
        from bilin_engine.checkpoints.huggingface import adopt

        if is_ready(place):
            DownloadFolder(place).forget()  # a model's files are all written down
            adopt(place)
    if (place / DESCRIPTION).exists():
        from bilin_engine.jobs.convert import verify_model
        from bilin_engine.protocol import VerifyModel

        verify_model(VerifyModel(str(place)), reporter)
        DownloadFolder(place).forget()
        take_place(place, folder)
        return JobDone(str(folder))
    then = ConvertModel(
        source=str(gguf or place),
        folder=work.folder,
        group_size=work.group_size,
        removes_source=True,
    )
    return JobDone(str(place), then)
