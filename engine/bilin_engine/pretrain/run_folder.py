"""A run's folder: settings, progress, checkpoints that survive a kill, and the log's length.

    settings.json      TrainSettings
    log.csv            a line an update
    checkpoint/        state.safetensors (weights and moments by name), progress.json
    lock               locked while the run is trained

While a checkpoint is written, `checkpoint.new` and `checkpoint.old` are there too; one of
`checkpoint` and `checkpoint.old` is always whole.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bilin_engine.pretrain.folder_lock import lock_folder
from bilin_engine.pretrain.model import GlmSize
from bilin_engine.whole_file import take_place

LOG_FILE = "log.csv"
LOG_HEADER = (
    "step,batches,loss_tokens,loss,learning_rate,gradient_norm,batches_per_step,fake_quant,seconds,"
    "event\r\n"
)
NEW_RUN_EVENT = "new run from weights"  # begins the event of --init-from
_SETTINGS_FILE = "settings.json"
_FREE_SETTINGS = (
    "max_seconds",
    "checkpoint_steps",
    "device",
    "loader_processes",
    "ends_at",
    "shard_weights",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How to train. Defaults are the command's.

    steps: optimizer updates. warmup_steps: of the learning rate. batches_per_step: of
    `tokens_per_batch` tokens, over all processes; reached from `first_batches_per_step` within
    `batch_warmup_steps`. fake_quant_share: of the steps, at the end, with INT4 rounding in groups
    of fake_quant_group. checkpoint_steps: also what the spike guard rolls back to. max_seconds: of
    one call; the run can go on later. schedule_seconds: 0, or the time of the whole run, which
    then replaces `steps` in all schedules (a run of that kind is not repeatable). ends_at: 0, or
    the Unix time at which those seconds are over, however long the run was stopped in between.
    shard_weights: every process keeps its share of weights and moments (FSDP), not a copy.
    loader_processes: that make batches ahead. vocabulary, samples: sha256 of the vocabulary's file
    and of the samples' index, which holds that of the samples; "" for unknown.
    """

    size: GlmSize = field(default_factory=GlmSize)
    vocabulary: str = ""
    samples: str = ""
    seed: int = 1
    steps: int = 6000
    learning_rate: float = 1.2e-3
    final_learning_rate_share: float = 0.05
    warmup_steps: int = 120
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    tokens_per_batch: int = 1024
    batches_per_step: int = 1
    first_batches_per_step: int = 1
    batch_warmup_steps: int = 0
    embedding_gradient: float = 0.1
    fake_quant_share: float = 0.0
    fake_quant_group: int = 32
    precision: Literal["bf16", "fp32"] = "bf16"
    device: Literal["auto", "cpu"] = "auto"
    shard_weights: bool = False
    checkpoint_steps: int = 200
    max_seconds: float = math.inf
    schedule_seconds: float = 0.0
    ends_at: float = 0.0
    loader_processes: int = 0


@dataclass(slots=True)
class Progress:
    """Where a run stands. step: updates made; cursor: batches taken; seconds: of training.

    scheduled: seconds of `schedule_seconds` that are over. device: what it was last trained on.
    Runs that a new one began with count in loss_tokens and seconds, not in the others.
    """

    step: int = 0
    cursor: int = 0
    loss_tokens: int = 0
    seconds: float = 0.0
    scheduled: float = 0.0
    num_spikes: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """tensors: "weight/NAME" and "optimizer/PART/NAME". log_lines: of log.csv, header included."""

    tensors: dict[str, Tensor]
    progress: Progress
    guard: tuple[float, float, int]
    log_lines: int

    def weights(self) -> dict[str, Tensor]:
        """The weights under their tensor names, float32."""
        return {
            name.removeprefix("weight/"): value
            for name, value in self.tensors.items()
            if name.startswith("weight/")
        }


@contextmanager
def lock_run(run: Path) -> Iterator[None]:
    """Keeps the folder to this process. Raises ValueError where another one trains in it."""
    message = f"{run} is being trained by another process; stop it or name another folder"
    with lock_folder(run, message):
        yield


def has_checkpoint(run: Path) -> bool:
    """Whether there is one to go on from."""
    return (run / "checkpoint").exists() or (run / "checkpoint.old").exists()


def read_checkpoint(run: Path) -> Checkpoint:
    """The newest whole checkpoint. Raises ValueError where there is none or it is damaged."""
    if not has_checkpoint(run):
        message = f"{run} is no run folder: train has written no checkpoint there"
        raise ValueError(message)
    place = run / "checkpoint"
    if not place.exists():
        place = run / "checkpoint.old"
    try:
        state = json.loads((place / "progress.json").read_text(encoding="utf-8"))
        mean, variance, num_seen = state["guard"]
        return Checkpoint(
            load_file(place / "state.safetensors"),
            Progress(**state["progress"]),
            (mean, variance, num_seen),
            state["log_lines"],
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        message = f"{place} is damaged ({error}); put a copy there, or train in another folder"
        raise ValueError(message) from error


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Writes beside the old one, then swaps: a kill or a power cut leaves one of them whole.

    Raises OSError, where the disk is full for one, and leaves nothing of the new one.
    """
    fresh, current, old = (run / n for n in ("checkpoint.new", "checkpoint", "checkpoint.old"))
    state = {
        "progress": asdict(checkpoint.progress),
        "guard": checkpoint.guard,
        "log_lines": checkpoint.log_lines,
    }
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        save_file(checkpoint.tensors, fresh / "state.safetensors")
        (fresh / "progress.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    except (SafetensorError, OSError) as error:
        _remove(fresh)
        kept = "; the one before is kept" if has_checkpoint(run) else ""
        message = f"the checkpoint in {run} cannot be written ({error}){kept}"
        raise OSError(message) from error
    if current.exists():
        _remove(old)
        current.rename(old)
    take_place(fresh, current)
    _remove(old)


def read_log_lines(run: Path) -> list[str]:
    """The lines of log.csv with their ends; [] where there is none yet."""
    path = run / LOG_FILE
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def log_line(
    progress: Progress,
    event: str = "",
    *,
    loss: float = 0.0,
    norm: float = 0.0,
    rate: float = 0.0,
    num_batches: int = 0,
    is_quantized: bool = False,
) -> str:
    """A line of log.csv: an update, or what happened between two."""
    line = io.StringIO()
    csv.writer(line).writerow(
        (
            progress.step,
            progress.cursor,
            progress.loss_tokens,
            f"{loss:.5f}",
            f"{rate:.3e}",
            f"{norm:.4f}",
            num_batches,
            int(is_quantized),
            f"{progress.seconds:.1f}",
            event,
        )
    )
    return line.getvalue()


def write_log_lines(run: Path, lines: list[str]) -> None:
    """Replaces log.csv; a kill leaves it or the new one whole."""
    fresh = run / f"{LOG_FILE}.new"
    fresh.write_text("".join(lines), encoding="utf-8")
    fresh.replace(run / LOG_FILE)


def weights_hash(weights: dict[str, Tensor]) -> str:
    """sha256 over names and float32 values, names in order: says whose log a log is."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_settings(run: Path, settings: TrainSettings) -> None:
    """Writes settings.json."""
    (run / _SETTINGS_FILE).write_text(
        json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8"
    )


def read_settings(run: Path) -> TrainSettings:
    """What `write_settings` wrote. Raises ValueError where it has not been."""
    path = run / _SETTINGS_FILE
    if not path.is_file():
        message = f"{run} is no run folder: train has written no {_SETTINGS_FILE} there"
        raise ValueError(message)
    values = json.loads(path.read_text(encoding="utf-8"))
    values["size"] = GlmSize(**values["size"])
    values["betas"] = tuple(values["betas"])
    return TrainSettings(**values)


def require_same_settings(run: Path, settings: TrainSettings) -> None:
    """Raises ValueError naming the settings that differ from those the run was begun with."""
    saved, mine = _comparable(read_settings(run)), _comparable(settings)
    for name in ("vocabulary", "samples"):
        if not (saved[name] and mine[name]):  # a run from before it was noted
            saved[name] = mine[name]
    different = [name for name, value in saved.items() if mine[name] != value]
    if different:
        message = (
            f"{run} was begun with other settings ({', '.join(different)}); "
            f"use the same ones or another folder"
        )
        raise ValueError(message)


def require_same_vocabulary(one: Path, its: str, other: Path, others: str) -> None:
    """Raises ValueError where both hashes are known and differ: ids would mean other words."""
    if its and others and its != others:
        message = (
            f"{one} and {other} have different vocabularies (sha256 {its[:12]} and {others[:12]}); "
            "a token of one is another word in the other. Pack with `prepare --tokenizer`, which "
            "keeps a vocabulary"
        )
        raise ValueError(message)


def _comparable(settings: TrainSettings) -> dict[str, Any]:
    values = asdict(settings)
    for name in _FREE_SETTINGS:
        values.pop(name)
    return values


def _remove(folder: Path) -> None:
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
