"""`evaluate` without its printing: files to tasks, one model or two."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilin_engine.errors import BadRequestError, BilinError, out_of_memory
from bilin_engine.evaluate.model import EvaluatedModel, RunnerModel, load_model
from bilin_engine.evaluate.probe import read_probe, run_probe
from bilin_engine.evaluate.report import (
    Report,
    TaskResult,
    as_json,
    as_text,
    comparison_as_json,
    comparison_as_text,
)
from bilin_engine.evaluate.scoring import run_task
from bilin_engine.evaluate.tasks import read_task, task_files
from bilin_engine.library import Library
from bilin_engine.protocol import LoadSettings

PROBE_SUFFIXES = {".jsonl", ".json"}
TASK_SUFFIXES = {".yaml", ".yml"}

# Hears what is being done and how far it is, 0..1.
OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One report, or with `--compare` two on the same files.

    skipped: a sentence for each task file of a folder that cannot be run. problem: why there is no
    second report, or "".
    """

    first: Report
    second: Report | None = None
    skipped: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was to be run has its result."""
        tasks = [*self.first.tasks, *(self.second.tasks if self.second else ())]
        return not self.problem and not any(task.problem for task in tasks)

    def as_text(self) -> str:
        """For a terminal."""
        if self.second is None:
            found = as_text(self.first)
        else:
            found = comparison_as_text(self.first, self.second)
        lines = [f"skipped: {sentence}" for sentence in self.skipped]
        lines += [self.problem] if self.problem else []
        return found + "".join(f"{line}\n" for line in lines)

    def as_json(self) -> dict[str, Any]:
        """For json.dumps."""
        if self.second is None:
            found = as_json(self.first)
        else:
            found = comparison_as_json(self.first, self.second)
        return {**found, "skipped": list(self.skipped), "problem": self.problem}


def run(
    options: argparse.Namespace, library: Library, settings: LoadSettings, on_stage: OnStage
) -> Evaluation:
    """Loads the model in this process and evaluates it.

    Raises BilinError with a sentence where nothing was found.
    """
    files, skipped = runnable_files(options.files, options.data_path)

    def report(model_id: str) -> Report:
        on_stage(f"load {model_id}", 0.0)
        model: RunnerModel = load_model(library, model_id, settings)
        try:
            return evaluate(model, files, options.data_path, on_stage)
        finally:
            model.runner.close()

    first = report(options.model)
    if not options.compare:
        return Evaluation(first, skipped=skipped)
    try:
        return Evaluation(first, report(options.compare), skipped)
    except (BilinError, MemoryError, RuntimeError) as error:
        stopped = _as_sentence(error)
        if stopped is None:
            raise
        problem = f"{options.compare} has no results: {stopped.message}"
        return Evaluation(first, skipped=skipped, problem=problem)


def evaluate(
    model: EvaluatedModel, files: Sequence[Path], data_path: Path | None, on_stage: OnStage
) -> Report:
    """Runs every file on a loaded model. data_path: None = beside each task file.

    What stops one file is told in its result, and raised where it left no file with any.
    """
    results: list[TaskResult] = []
    failure: BilinError | None = None
    for path in files:

        def on_progress(fraction: float, name: str = path.name) -> None:
            on_stage(name, fraction)

        task = None if path.suffix in PROBE_SUFFIXES else read_task(path)
        try:
            if task is None:
                results.append(run_probe(model, path, on_progress))
            else:
                results.append(run_task(model, task, data_path or path.parent, on_progress))
        except (BilinError, MemoryError, RuntimeError) as error:
            stopped = _as_sentence(error)
            if stopped is None:
                raise
            failure = failure or stopped
            name, kind = (task.name, task.type) if task else (path.stem, "probe")
            results.append(TaskResult(name, kind, (), 0.0, problem=stopped.message))
    if failure is not None and all(result.problem for result in results):
        raise failure
    return Report(model.name, tuple(results))


def _as_sentence(error: Exception) -> BilinError | None:
    """What stops one file or one model only; None for anything else, which is a fault of ours."""
    return error if isinstance(error, BilinError) else out_of_memory(error)


def runnable_files(
    paths: Sequence[Path], data_path: Path | None
) -> tuple[list[Path], tuple[str, ...]]:
    """The files to run, and a sentence for each file below a folder that cannot be.

    Raises BadRequestError for a file that was named itself, and where none is left: a folder of the
    reference's holds tasks that are Python of its own program, and its data are many downloads.
    """
    usable, refused = [], []
    for path in find_files(paths):
        try:
            if path.suffix in PROBE_SUFFIXES:
                read_probe(path)
            else:
                task_files(read_task(path), data_path or path.parent)
        except BadRequestError as error:
            if path in paths:
                raise
            refused.append(error.message)
        else:
            usable.append(path)
    if not usable:
        raise BadRequestError(f"no task file can be run; the first: {refused[0]}")
    return usable, tuple(refused)


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
