"""Before the first load on several new cards: the self-test, once, and what may be used.

Some machines move data between cards wrongly, and a model then answers nonsense without an error.
So a model is put on a set of cards only after the self-test passed there. That it passed is
remembered for these cards, this driver and these versions of Bilin and torch. What failed is not
used: another collective, then a layer split, then one device; the person is told. A failure counts
until the engine ends and no longer: its cause may be gone then, like a card that was full or a
container's small /dev/shm.

The test itself needs torch and runs in a process of its own; this module knows its report only.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from bilin_engine import __version__
from bilin_engine.errors import WorkerDiedError
from bilin_engine.protocol import DeviceInfo, LoadSettings, PlacementMode
from bilin_engine.server.devices import driver_version, list_devices
from bilin_engine.server.tasks import Task
from bilin_engine.whole_file import write_whole

logger = logging.getLogger(__name__)

RESULTS_FILE = "selftest.json"
# Checks by name: what a layer split needs.
PEERS = "peer to peer"
SPLIT = "layer split against one rank"

Collective = Literal["auto", "gloo", "nccl", "shared_memory"]


class SelftestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the report says of running on several devices; the names are the report's own.

    collectives: those over which ranks agreed with one, fastest first. failed: checks that did.
    is_known: False where the kernels could not be checked: nothing to remember.
    """

    mode: Literal["tensor_parallel", "layer_split", "single"]
    collectives: tuple[str, ...]
    failed: tuple[str, ...]
    kernels_passed: bool = True
    is_known: bool = True

    @property
    def can_split(self) -> bool:
        """Whether layers may lie on several of the devices."""
        return self.mode != "single" and not {PEERS, SPLIT} & set(self.failed)


class SelftestProgress(msgspec.Struct, frozen=True, tag="check"):
    """A line of the process: this check begins, number `done` of about `total`."""

    name: str
    done: int
    total: int


class SelftestDone(msgspec.Struct, frozen=True, tag="done"):
    """The process's last line."""

    outcome: SelftestOutcome


_LINE = msgspec.json.Decoder(SelftestProgress | SelftestDone)


@dataclass(frozen=True, slots=True)
class SelftestCommand:
    """How the test is started. covers_cpu: ranks on the processor are tested too, for tests."""

    arguments: tuple[str, ...] = (sys.executable, "-P", "-m", "bilin_engine.selftest", "--report")
    covers_cpu: bool = False

    def for_devices(self, names: Sequence[str], world_size: int) -> list[str]:
        """The whole command line."""
        gpus = [name.partition(":")[2] for name in names if name.startswith("cuda:")]
        command = [*self.arguments, "--parent", str(os.getpid()), "--world-size", str(world_size)]
        return [*command, "--gpus", ",".join(gpus)] if gpus else command


@dataclass(frozen=True, slots=True)
class Allowed:
    """Settings that may be used, and the sentence that says what is not, or "".

    failed: the checks' names, "" where none had a consequence.
    """

    settings: LoadSettings
    notice: str = ""
    failed: str = ""


class SelftestGate:
    """Asked before workers are started. Belongs to the supervisor's work thread."""

    def __init__(
        self,
        state_dir: Path,
        command: SelftestCommand | None = None,
        devices: Callable[[], Sequence[DeviceInfo]] = list_devices,
        driver: Callable[[], str] = driver_version,
    ) -> None:
        """state_dir: where passes are remembered; it may not exist yet."""
        self._file = state_dir / RESULTS_FILE
        self._failed: dict[str, SelftestOutcome] = {}
        self._command = command or SelftestCommand()
        self._devices = devices
        self._driver = driver

    def allow(
        self,
        settings: LoadSettings,
        mode: PlacementMode,
        world_size: int,
        task: Task,
        on_progress: Callable[[float], None],
    ) -> Allowed:
        """What these settings become. Tests the devices first if they are new.

        mode: what the settings amount to. world_size: ranks, of one process for a layer split.
        on_progress hears 0..1 while the test runs. Raises CancelledTaskError, and WorkerDiedError
        where the test itself cannot run: then nothing is known, so nothing is used.
        """
        names = [name.strip() for name in settings.device.split(",")]
        cards = [name for name in names if name.startswith("cuda:")]
        # On one card nothing moves between cards, whatever lies on the processor beside it.
        has_several = len(set(cards)) > 1 or self._command.covers_cpu
        if mode == "single" or not has_several:
            return Allowed(settings)
        tested, world_size = cards or names, len(cards) or world_size
        key = self._key(tested, world_size)
        passed = self._read()
        outcome = self._failed.get(key) or passed.get(key)
        if outcome is None:
            outcome = self._test(tested, world_size, task, on_progress)
            if outcome.is_known and outcome.failed:
                self._failed[key] = outcome
            elif outcome.is_known:
                self._write({**passed, key: outcome})
        free = {device.name: device.free_bytes for device in self._devices()}
        roomiest = max(tested, key=lambda name: free.get(name, 0))
        kept = [roomiest, *(name for name in names if name not in tested)]
        return _allowed(settings, mode, kept, outcome)

    def _key(self, names: Sequence[str], world_size: int) -> str:
        """These cards in these places, the driver and the versions."""
        labels = {device.name: device.label for device in self._devices()}
        cards = [f"{name} {labels.get(name, '')}".strip() for name in names]
        parts = (*cards, f"{world_size} ranks", f"driver {self._driver() or 'none'}")
        return "; ".join((*parts, f"bilin {__version__}", f"torch {metadata.version('torch')}"))

    def _test(
        self,
        names: Sequence[str],
        world_size: int,
        task: Task,
        on_progress: Callable[[float], None],
    ) -> SelftestOutcome:
        logger.info("testing %s before the first load on them", ", ".join(names))
        try:
            process = subprocess.Popen(
                self._command.for_devices(names, world_size),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise WorkerDiedError(f"the self-test cannot be started: {error}") from error
        task.wake_with(process.kill)
        outcome: SelftestOutcome | None = None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                try:
                    said = _LINE.decode(line)
                except msgspec.DecodeError:
                    logger.warning("the self-test said %r", line[:200])
                    continue
                if isinstance(said, SelftestDone):
                    outcome = said.outcome
                else:
                    on_progress(said.done / max(said.total, 1))
        finally:
            task.wake_with(None)
            process.kill()
            process.wait()
            process.stdout.close()
        task.check()
        if outcome is None:
            raise WorkerDiedError(
                "the self-test of these devices ended without a result, so several of them are not "
                "used together; load on one device, or run bilin-engine selftest to see why"
            )
        return outcome

    def _read(self) -> dict[str, SelftestOutcome]:
        """What passed, by key; earlier versions wrote failures, too."""
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=dict[str, SelftestOutcome])
        except (OSError, msgspec.DecodeError):
            return {}
        return {key: outcome for key, outcome in found.items() if not outcome.failed}

    def _write(self, passed: dict[str, SelftestOutcome]) -> None:
        """Best kept, not needed: without it the next load tests again."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, msgspec.json.encode(passed))
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._file, error)


def _allowed(
    settings: LoadSettings, mode: PlacementMode, kept: Sequence[str], outcome: SelftestOutcome
) -> Allowed:
    """kept: the device that is left where several may not be used, and what lies beside it."""
    notices: list[str] = []
    failed = ", ".join(outcome.failed)
    if not outcome.kernels_passed and settings.backend in ("auto", "cuda"):
        settings = msgspec.structs.replace(settings, backend="reference")
        notices.append("the kernels are replaced by the slower reference")
    if mode == "tensor_parallel" and outcome.mode == "tensor_parallel":
        asked = settings.collective
        usual = "nccl" if kept[0].startswith("cuda") else "shared_memory"
        wanted = usual if asked == "auto" else asked
        if wanted not in outcome.collectives:
            other: Collective = outcome.collectives[0]  # pyright: ignore[reportAssignmentType]
            settings = msgspec.structs.replace(settings, collective=other)
            notices.append(f"the ranks meet over {other} instead of {wanted}")
    elif not outcome.can_split:
        left: PlacementMode = "single" if len(kept) == 1 else "layer_split"
        settings = msgspec.structs.replace(
            settings, mode=left, world_size=0, collective="auto", device=",".join(kept)
        )
        where = f"{kept[0]} alone" if left == "single" else " and ".join(kept)
        notices.append(f"the model is on {where} instead of on several GPUs")
    elif mode == "tensor_parallel":
        settings = msgspec.structs.replace(
            settings, mode="layer_split", world_size=0, collective="auto"
        )
        notices.append("the model is split by layers instead of tensor parallel")
    if not notices:
        return Allowed(settings)
    said = f"The self-test of these devices failed ({failed}): {'; '.join(notices)}."
    return Allowed(settings, said, failed)
