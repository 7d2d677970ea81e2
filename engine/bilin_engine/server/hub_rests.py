"""Hubs that went away: how long downloads from them wait, and when they are given up.

Knows no queue. Whoever asks holds the queue's lock.
"""

import time

from bilin_engine.hubs.base import HubBusyError
from bilin_engine.protocol import DownloadModel, Failed, JobInfo, JobProgress, JobWork

HUB_REST_S = 60.0
NUM_RESTS = 100  # in a row without one new byte; with the tries between them over two hours

_Way = tuple[str, str, str]


def _way(work: DownloadModel) -> _Way:
    """The address and the proxy it is asked through: a mistyped one has nothing of a right one."""
    repository = work.repository
    return repository.hub, repository.endpoint, repository.proxy


class HubRests:
    """The rests of each hub. Work that is no download has none."""

    def __init__(self) -> None:
        self._num_rests: dict[_Way, int] = {}  # since the last byte; no entry = none ever came
        self._ends_at: dict[_Way, float] = {}

    def note_progress(self, before: JobInfo, progress: JobProgress) -> None:
        """Hears how a job goes on: new bytes say that its hub is there."""
        is_more = progress.done / max(1, progress.total) > before.fraction
        if (
            isinstance(before.work, DownloadModel)
            and before.stage == progress.stage == "download"
            and is_more
        ):
            self._num_rests[_way(before.work)] = 0

    def begin(self, work: JobWork, end: Failed) -> bool:
        """Whether this work, and what else is from its hub, rests now, after such an end.

        False where the hub never gave a byte, as a mistyped address, or none for too long.
        """
        if not isinstance(work, DownloadModel) or end.code != HubBusyError.code:
            return False
        way = _way(work)
        num_rests = self._num_rests.pop(way, NUM_RESTS)
        if num_rests >= NUM_RESTS:
            return False
        self._num_rests[way] = num_rests + 1
        self._ends_at[way] = time.monotonic() + HUB_REST_S
        return True

    def end(self, work: JobWork) -> None:
        """A person wants it done now."""
        if isinstance(work, DownloadModel):
            self._ends_at.pop(_way(work), None)

    def left_s(self, work: JobWork) -> float:
        """Seconds until this work may be done, 0.0 = now."""
        if not isinstance(work, DownloadModel):
            return 0.0
        return max(0.0, self._ends_at.get(_way(work), 0.0) - time.monotonic())
