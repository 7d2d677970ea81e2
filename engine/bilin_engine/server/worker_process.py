"""One worker process, as any child: how it is started, and what its events are."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bilin_engine.protocol import WorkerEvent, decode_worker_event
from bilin_engine.server.child_process import ChildProcess, Gone


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How workers are started; `arguments` come first, then what every worker gets.

    nice: steps of lower priority, so that a person's other programs stay quick. log_dir: None =
    stderr alone. log_level: as logging names it.
    """

    arguments: tuple[str, ...] = (sys.executable, "-P", "-m", "bilin_engine.worker")
    nice: int = 10
    log_dir: Path | None = None
    log_level: str = "INFO"

    def for_rank(self, rank: int) -> list[str]:
        """The whole command line."""
        command = [*self.arguments, "--parent", str(os.getpid()), "--rank", str(rank)]
        command += ["--nice", str(self.nice), "--log-level", self.log_level]
        if self.log_dir is not None:
            command += ["--log-dir", str(self.log_dir)]
        return command


class WorkerProcess(ChildProcess[WorkerEvent]):
    """A running worker. Start it from a thread that lives as long as it: see end_with_parent."""

    def __init__(
        self,
        command: Sequence[str],
        rank: int,
        on_event: "Callable[[int, WorkerEvent | Gone], None]",
    ) -> None:
        """Starts the process; `on_event` gets its rank with each event, `Hello` included.

        Raises WorkerDiedError when the program cannot be started.
        """
        self.rank = rank
        super().__init__(
            command,
            lambda event: on_event(rank, event),
            decode=decode_worker_event,
            noun=f"model's process (rank {rank})",
        )
