"""`evaluate` without its printing: files to tasks, one model or two."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.model import EvaluatedModel, RunnerModel, load_model
from bilin_engine.evaluate.probe import run_probe
from bilin_engine.evaluate.report import (
    Report,
    TaskResult,
    as_json,
    as_text,
    comparison_as_json,
    comparison_as_text,
)
from bilin_engine.evaluate.scoring import run_task
from bilin_engine.evaluate.tasks import read_task
from bilin_engine.library import Library
from bilin_engine.protocol import LoadSettings

PROBE_SUFFIXES = {".jsonl", ".json"}
TASK_SUFFIXES = {".yaml", ".yml"}

# Hears what is being done and how far it is, 0..1.
OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One report, or with `--compare` two on the same files."""

    first: Report
    second: Report | None = None

    def as_text(self) -> str:
        """For a terminal."""
        if self.second is None:
            return as_text(self.first)
        return comparison_as_text(self.first, self.second)

    def as_json(self) -> dict[str, Any]:
        """For json.dumps."""
        if self.second is None:
            return as_json(self.first)
        return comparison_as_json(self.first, self.second)


def run(
    options: argparse.Namespace, library: Library, settings: LoadSettings, on_stage: OnStage
) -> Evaluation:
    """Loads the model in this process and evaluates it. Raises BilinError with a sentence."""
    files = find_files(options.files)
    reports = []
    for model_id in (options.model, *([options.compare] if options.compare else [])):
        on_stage(f"load {model_id}", 0.0)
        model: RunnerModel = load_model(library, model_id, settings)
        try:
            reports.append(evaluate(model, files, options.data_path, on_stage))
        finally:
            model.runner.close()
    return Evaluation(*reports)


def evaluate(
    model: EvaluatedModel, files: Sequence[Path], data_path: Path | None, on_stage: OnStage
) -> Report:
    """Runs every file on a loaded model. data_path: None = beside each task file."""
    results: list[TaskResult] = []
    for path in files:

        def on_progress(fraction: float, name: str = path.name) -> None:
            on_stage(name, fraction)

        if path.suffix in PROBE_SUFFIXES:
            results.append(run_probe(model, path, on_progress))
        else:
            task = read_task(path)
            results.append(run_task(model, task, data_path or path.parent, on_progress))
    return Report(model.name, tuple(results))


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the task files below the folders named.

    Raises BadRequestError for what is neither, before any model is loaded.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in TASK_SUFFIXES)
            if not inside:
                raise BadRequestError(f"{path} holds no task files (.yaml)")
            found += inside
        elif not path.is_file():
            raise BadRequestError(f"there is no file {path}")
        elif path.suffix not in PROBE_SUFFIXES | TASK_SUFFIXES:
            raise BadRequestError(
                f"{path}: probe questions end in .jsonl, GLM-130B's task files in .yaml"
            )
        else:
            found.append(path)
    return found
