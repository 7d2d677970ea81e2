"""`ListRepository`: a hub is asked by a process of its own; the supervisor opens no connection.

One question at a time; a cancel ends the process.
"""

import queue

import msgspec

from bilin_engine import processes
from bilin_engine.errors import WorkerDiedError
from bilin_engine.library import Library
from bilin_engine.protocol import (
    Failed,
    Hello,
    InspectRepository,
    JobDone,
    JobEvent,
    JobProgress,
    ListRepository,
    RepositoryListed,
)
from bilin_engine.server.child_process import Gone
from bilin_engine.server.job_process import JobCommand, JobFailedError, JobProcess
from bilin_engine.server.tasks import Task


def list_repository(
    task: Task, request: ListRepository, command: JobCommand, library: Library
) -> RepositoryListed:
    """Asks the hub and waits. Raises JobFailedError, WorkerDiedError, CancelledTaskError."""
    events: queue.SimpleQueue[JobEvent | Gone] = queue.SimpleQueue()
    work = InspectRepository(repository=request.repository, file=request.file)
    process = JobProcess(command, work, events.put)
    task.wake_with(lambda: process.kill("cancelled"))
    try:
        while True:
            match events.get():
                case RepositoryListed() as listed:
                    free_bytes = processes.disk_free_bytes(library.models_dir)
                    return msgspec.structs.replace(listed, free_bytes=free_bytes)
                case Failed() as failed:
                    raise JobFailedError(failed)
                case Gone(reason):
                    task.check()
                    raise WorkerDiedError(reason)
                case Hello() | JobProgress() | JobDone():
                    continue
    finally:
        task.wake_with(None)
        process.close()
