"""The mean of the weights at two points of one training.

Each point is sharp about what it saw last; their mean keeps most of what either knows (Izmailov et
al. 2018, "Averaging weights leads to wider optima").
"""

import shutil
from dataclasses import replace
from pathlib import Path

from bilin_engine.pretrain.published import is_model_folder, read_published, vocabulary_of
from bilin_engine.pretrain.run_folder import (
    LOG_FILE,
    log_line,
    read_checkpoint,
    read_log_lines,
    require_same_vocabulary,
    weights_hash,
    write_checkpoint,
    write_log_lines,
)


def average(run: Path, other: Path, out: Path) -> None:
    """Writes `out`: `run` with half of its weights and half of `other`'s, and a line in its log.

    other: an earlier run that `run` went on from, or a model folder. Raises ValueError where the
    weights are not of one shape or of one vocabulary, or `out` is there.
    """
    if out.exists():
        message = f"{out} exists already; name another folder for the mean"
        raise ValueError(message)
    checkpoint = read_checkpoint(run)
    earlier = read_published(other)[0] if is_model_folder(other) else read_checkpoint(other)
    mine, its = checkpoint.weights(), earlier.weights()
    if {n: w.shape for n, w in mine.items()} != {n: w.shape for n, w in its.items()}:
        message = f"{run} and {other} are models of different sizes; only one model has a mean"
        raise ValueError(message)
    require_same_vocabulary(run, vocabulary_of(run), other, vocabulary_of(other))
    weights = {f"weight/{name}": (mine[name] + its[name]) / 2 for name in mine}
    event = (
        f"mean with weights {weights_hash(its)[:16]}, step {earlier.progress.step}, "
        f"{earlier.progress.loss_tokens} loss tokens"
    )
    lines = read_log_lines(run)[: checkpoint.log_lines]
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoint*", LOG_FILE, "lock"))
    write_log_lines(out, [*lines, log_line(checkpoint.progress, event)])
    kept = {name: value for name, value in checkpoint.tensors.items() if name not in weights}
    write_checkpoint(
        out, replace(checkpoint, tensors={**kept, **weights}, log_lines=len(lines) + 1)
    )
