"""What every job needs: to tell how far it is, and to hear that it shall stop."""

import time
from collections.abc import Callable

from bilin_engine.protocol import JobProgress

TELL_INTERVAL_S = 0.2


class JobStopped(Exception):  # noqa: N818 - an outcome, not an error
    """The supervisor closed the stream. What is done stays and is taken up again."""


class JobReporter:
    """Sends progress at most five times a second; asks whether to go on."""

    def __init__(
        self, send: Callable[[JobProgress], None], should_stop: Callable[[], bool]
    ) -> None:
        self._send = send
        self.should_stop = should_stop
        self._stage = ""
        self._told_at = 0.0
        self._begun_at = 0.0
        self._begun_done = 0

    def tell(
        self, stage: str, done: int, total: int, *, shard: int = 0, num_shards: int = 0
    ) -> None:
        """How far a stage is, in bytes. Rate and time left are of this run, not of earlier ones.

        Raises JobStopped once the work shall stop.
        """
        if self.should_stop():
            raise JobStopped
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun_at, self._begun_done = stage, now, done
            self._told_at = 0.0
        if now - self._told_at < TELL_INTERVAL_S and done < total:
            return
        self._told_at = now
        elapsed = now - self._begun_at
        rate = (done - self._begun_done) / elapsed if elapsed > 0 else 0.0
        eta = (total - done) / rate if rate > 0 else None
        self._send(
            JobProgress(
                stage=stage,
                done=done,
                total=total,
                rate_bytes_s=max(0.0, rate),
                eta_s=eta,
                shard=shard,
                num_shards=num_shards,
            )
        )
