"""What a job process does with its messages: one piece of work, progress, one end.

The main thread works; a reader thread notices the end of input, which means "stop and keep it".
"""

import errno
import logging
import os
import threading
import traceback
from pathlib import Path

from bilin_engine.channel import Channel
from bilin_engine.errors import BilinError, UnsupportedModelError
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.protocol import (
    ConvertModel,
    Failed,
    FrameError,
    Hello,
    ImportFolder,
    JobDone,
    JobProgress,
    JobRequest,
    JobWork,
    VerifyModel,
    check_hello,
    hello,
)

logger = logging.getLogger(__name__)

JOB_ID = 1
EXIT_BROKEN = 4


class JobLoop:
    """Serves one supervisor."""

    def __init__(self, channel: Channel[JobRequest]) -> None:
        self._channel = channel
        self._stop = threading.Event()

    def run(self) -> None:
        """Works until the work is done or the input ends; then the process is to leave."""
        self._channel.send(hello("job"))
        try:
            check_hello(self._channel.receive(), "supervisor")
            work = self._channel.receive()
        except FrameError:
            logger.exception("the supervisor's stream broke")
            os._exit(EXIT_BROKEN)
        if work is None or isinstance(work, Hello):
            return
        threading.Thread(target=self._watch, name="bilin-job-input", daemon=True).start()
        try:
            folder = self._do(work)
        except JobStopped:
            logger.info("stopped as asked; what is done stays")
        except BilinError as error:
            self._send(Failed(id=JOB_ID, code=error.code, message=error.message))
        except OSError as error:
            code = "disk_full" if error.errno == errno.ENOSPC else BilinError.code
            detail = traceback.format_exc()
            self._send(Failed(id=JOB_ID, code=code, message=_os_sentence(error), detail=detail))
        except Exception as error:
            logger.exception("the job failed")
            message = f"the work failed unexpectedly: {type(error).__name__}: {error}"
            detail = traceback.format_exc()
            self._send(Failed(id=JOB_ID, code=BilinError.code, message=message, detail=detail))
        else:
            self._send(JobDone(str(folder)))

    def _do(self, work: JobWork) -> Path:
        """Returns the folder that was made or checked."""
        reporter = JobReporter(self._send, self._stop.is_set)
        match work:
            case ConvertModel():
                from bilin_engine.jobs.convert import convert_model

                return convert_model(work, reporter)
            case VerifyModel():
                from bilin_engine.jobs.convert import verify_model

                return verify_model(work, reporter)
            case ImportFolder():
                from bilin_engine.jobs.import_folder import import_folder

                return import_folder(work, reporter)
            case _:
                raise UnsupportedModelError(f"this version has no job {type(work).__name__}")

    def _send(self, message: JobProgress | JobDone | Failed) -> None:
        try:
            self._channel.send(message)
        except OSError:
            self._stop.set()  # nobody reads: as good as the end of input

    def _watch(self) -> None:
        try:
            while self._channel.receive() is not None:
                logger.warning("a second message to a job is passed over")
        except (FrameError, OSError) as error:
            logger.warning("the supervisor's stream broke: %s", error)
        self._stop.set()


def _os_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full. Free some space, then resume: what is done stays."
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
