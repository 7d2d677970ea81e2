"""What a job does with its messages: takes one piece of work, tells how far it is, leaves.

The main thread works; a reader thread notices the end of input. The work then stops at its next
block, and what is done stays: the same work begun again goes on from there.
"""

import errno
import logging
import os
import threading
import traceback
from pathlib import Path

from bilin_engine.channel import Channel
from bilin_engine.errors import BilinError
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.library import read_description
from bilin_engine.protocol import (
    ConvertModel,
    DownloadModel,
    Failed,
    FrameError,
    Hello,
    ImportFolder,
    InspectRepository,
    JobDone,
    JobProgress,
    JobRequest,
    MoveLibrary,
    RepositoryListed,
    SelfTest,
    VerifyModel,
    check_hello,
    hello,
)

logger = logging.getLogger(__name__)

JOB_ID = 1  # of a job's `Failed`: there is one piece of work
STOP_WAIT_S = 20.0  # a block of rows may take this long; a kill costs no more than that block
EXIT_FAILED = 1
EXIT_BROKEN = 3
EXIT_STOPPED = 5


class JobLoop:
    """Serves whoever started the process."""

    def __init__(self, channel: Channel[JobRequest], token_file: Path | None = None) -> None:
        """token_file: a person's tokens for model hubs; None = where they lie by default."""
        self._channel = channel
        self._token_file = token_file
        self._is_ended = threading.Event()

    def run(self) -> None:
        """Never returns: the process ends with its work."""
        self._channel.send(hello("job"))
        try:
            check_hello(self._channel.receive(), "job's parent")
            work = self._channel.receive()
        except FrameError as error:
            logger.error("the parent's stream broke: %s", error)  # noqa: TRY400 - no bug of ours
            self._send(Failed(id=JOB_ID, code="protocol", message=str(error)))
            os._exit(EXIT_BROKEN)
        if work is None:
            os._exit(0)
        threading.Thread(target=self._wait_for_end, name="bilin-job-reader", daemon=True).start()
        os._exit(self._do(work))

    def _wait_for_end(self) -> None:
        try:
            while self._channel.receive() is not None:
                logger.warning("a job takes one piece of work; more was sent")
        except (FrameError, OSError) as error:
            logger.warning("the parent's stream broke and the work stops: %s", error)
        self._is_ended.set()
        threading.Timer(STOP_WAIT_S, lambda: os._exit(EXIT_STOPPED)).start()

    def _do(self, work: JobRequest) -> int:
        """The work; returns the process's exit code."""
        try:
            end = do(work, JobReporter(self._send, self._is_ended.is_set), self._token_file)
        except JobStopped:
            logger.info("stopped as asked; what is done stays")
            return EXIT_STOPPED
        except Exception as error:
            if not isinstance(error, BilinError | OSError):
                logger.exception("the job failed")
            self._send(failed(error))
            return EXIT_FAILED
        self._send(end)
        return 0

    def _send(self, message: JobProgress | JobDone | RepositoryListed | Failed) -> None:
        try:
            self._channel.send(message)
        except OSError:
            self._is_ended.set()  # nobody reads: as good as the end of input


def do(
    work: JobRequest, reporter: JobReporter, token_file: Path | None
) -> JobDone | RepositoryListed:
    """One piece of work; returns its last message. Raises JobStopped, BilinError or OSError."""
    match work:
        case ConvertModel():
            from bilin_engine.jobs.convert import convert_model

            return _made(convert_model(work, reporter))
        case VerifyModel():
            from bilin_engine.jobs.convert import verify_model

            return _made(verify_model(work, reporter))
        case ImportFolder():
            from bilin_engine.jobs.import_folder import import_folder

            return _made(import_folder(work, reporter))
        case MoveLibrary():
            from bilin_engine.jobs.move_library import move_library

            return JobDone(str(move_library(work, reporter)))
        case SelfTest():
            from bilin_engine.jobs.self_test import self_test

            return JobDone("", report=self_test(reporter))
        case DownloadModel():
            from bilin_engine.jobs.download import download_model

            return download_model(work, reporter, token_file)
        case InspectRepository(repository=repository, file=file):
            from bilin_engine.hubs.inspect import inspect_repository
            from bilin_engine.hubs.open import open_repository

            with open_repository(repository, token_file) as source:
                return inspect_repository(source, repository, file)
        case Hello():
            raise FrameError("a job's parent said Hello twice")


def _made(folder: Path) -> JobDone:
    """With what bilin.json says was lost. A folder just verified may be without one."""
    try:
        lost = read_description(folder).quantization_error
    except BilinError:
        lost = 0.0
    return JobDone(str(folder), quantization_error=lost)


def failed(error: Exception) -> Failed:
    """The sentence for a person."""
    if isinstance(error, BilinError):
        return Failed(id=JOB_ID, code=error.code, message=error.message, detail=error.detail)
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = "The disk is full. Free some space, then resume: what is done stays."
            return Failed(id=JOB_ID, code="disk_full", message=message, detail=detail)
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        return Failed(id=JOB_ID, code=BilinError.code, message=message, detail=detail)
    message = f"the work failed unexpectedly: {type(error).__name__}: {error}"
    return Failed(id=JOB_ID, code=BilinError.code, message=message, detail=detail)
