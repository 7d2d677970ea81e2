"""One job process, as any child: how it is started, and its work seen through to the end."""

import os
import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bilin_engine.errors import BadRequestError, BilinError, WorkerDiedError
from bilin_engine.protocol import (
    Failed,
    Hello,
    InspectRepository,
    JobDone,
    JobEvent,
    JobProgress,
    JobWork,
    RepositoryListed,
    decode_job_event,
)
from bilin_engine.server.child_process import ChildProcess, Gone

STOP_S = 20.0  # for the block in hand to be written when the work is to stop


@dataclass(frozen=True, slots=True)
class JobCommand:
    """How a job process is started. log_dir: None = stderr alone. log_level: as logging has it.

    token_file: a person's tokens for model hubs; None = where they lie by default.
    """

    arguments: tuple[str, ...] = (sys.executable, "-P", "-m", "bilin_engine.jobs")
    nice: int = 10
    log_dir: Path | None = None
    log_level: str = "INFO"
    token_file: Path | None = None

    def line(self) -> list[str]:
        """The whole command line."""
        line = [*self.arguments, "--parent", str(os.getpid()), "--nice", str(self.nice)]
        line += ["--log-level", self.log_level]
        if self.token_file is not None:
            line += ["--token-file", str(self.token_file)]
        return line if self.log_dir is None else [*line, "--log-dir", str(self.log_dir)]


class JobFailedError(BilinError):
    """What a job answered with `Failed`."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message, detail=failed.detail)
        self.code = failed.code


class JobProcess(ChildProcess[JobEvent]):
    """A running job. Start it from a thread that lives as long as it: see end_with_parent."""

    def __init__(
        self,
        command: JobCommand,
        work: JobWork | InspectRepository,
        on_event: "Callable[[JobEvent | Gone], None]",
    ) -> None:
        """Starts the process and sends it its work.

        Raises WorkerDiedError if it cannot start, BadRequestError for work that cannot be sent.
        """
        super().__init__(command.line(), on_event, decode=decode_job_event, noun="job's process")
        try:
            self.send(work)
        except BadRequestError:
            self.close()
            raise


def run_job(
    command: JobCommand, work: JobWork, on_progress: Callable[[JobProgress], None]
) -> JobDone:
    """Does one piece of work in a process of its own and waits for it.

    An exception raised meanwhile (Ctrl-C) stops the job in good order. Raises JobFailedError,
    WorkerDiedError when the process ends without an answer, BadRequestError as JobProcess.
    """
    events: queue.SimpleQueue[JobEvent | Gone] = queue.SimpleQueue()
    job = JobProcess(command, work, events.put)
    try:
        while True:
            match events.get():
                case JobProgress() as progress:
                    on_progress(progress)
                case JobDone() as done:
                    return done
                case Failed() as failed:
                    raise JobFailedError(failed)
                case Gone(reason):
                    raise WorkerDiedError(reason)
                case Hello() | RepositoryListed():
                    continue
    finally:
        job.close(STOP_S)
