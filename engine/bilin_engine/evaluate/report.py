"""What an evaluation found: values, and how they read as a table, as JSON and side by side."""

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bilin_engine.evaluate.metrics import percent, summarize

TaskType = Literal["probe", "mul", "gen", "lm"]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One question. predicted: what the model said or chose; score: 1.0 right, 0.0 wrong."""

    question: str
    expected: str
    predicted: str
    score: float


@dataclass(frozen=True, slots=True)
class FileResult:
    """One data file. metrics by name; items in the file's order, none for a language model."""

    group: str
    path: str
    num_samples: int
    metrics: dict[str, float]
    items: tuple[ItemResult, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task or probe file. notes: what differed from how the task asks to be run.

    problem: why it was not run to its end; it has no files then.
    """

    name: str
    type: TaskType
    files: tuple[FileResult, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    problem: str = ""

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Group -> metric -> max, median and average over its files; "overall" when several."""
        groups: dict[str, list[FileResult]] = {}
        for file in self.files:
            groups.setdefault(file.group, []).append(file)
        if len(groups) > 1:
            groups["overall"] = list(self.files)
        return {name: _summaries(files) for name, files in groups.items()}


def _summaries(files: Sequence[FileResult]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for file in files for name in file.metrics)
    found = {}
    for name in names:
        having = [file for file in files if name in file.metrics]
        found[name] = summarize(
            [file.metrics[name] for file in having], [file.num_samples for file in having]
        )
    return found


@dataclass(frozen=True, slots=True)
class Report:
    """All tasks on one model."""

    model: str
    tasks: tuple[TaskResult, ...]


# --- In words ------------------------------------------------------------------------------------


def as_text(report: Report) -> str:
    """A table of every task's metrics, then the probe questions that were not answered."""
    rows = [("task", "group", "metric", "average", "median", "max", "samples")]
    for task in report.tasks:
        for group, metrics in task.summary().items():
            num_samples = _num_samples(task, group)
            rows.extend(
                (
                    task.name,
                    group,
                    name,
                    f"{values['average']:.3f}",
                    f"{values['median']:.3f}",
                    f"{values['max']:.3f}",
                    str(num_samples),
                )
                for name, values in metrics.items()
            )
    lines = [report.model, "", *_table(rows)]
    for task in report.tasks:
        lines += [f"{task.name}: {note}" for note in task.notes]
        lines += _problems(task)
        lines += _failed_probes(task)
    return "\n".join(lines) + "\n"


def comparison_as_text(first: Report, second: Report) -> str:
    """Both models' averages side by side, their difference, and how often both said the same."""
    rows = [("task", "group", "metric", first.model, second.model, "difference")]
    lines = []
    for one, two in zip(first.tasks, second.tasks, strict=True):
        if one.problem or two.problem:
            lines += dict.fromkeys([*_problems(one), *_problems(two)])
            continue
        other = two.summary()
        for group, metrics in one.summary().items():
            for name, values in metrics.items():
                a, b = values["average"], other[group][name]["average"]
                rows.append((one.name, group, name, f"{a:.3f}", f"{b:.3f}", f"{b - a:+.3f}"))
        if (same := agreement(one, two)) is not None:
            lines.append(f"{one.name}: both gave the same answer to {same:.1f} % of the questions")
    return "\n".join([*_table(rows), "", *lines]) + "\n"


def agreement(first: TaskResult, second: TaskResult) -> float | None:
    """Percent of items on which both said the same; None for a task without items.

    None too where one of them was not run to its end.
    """
    if first.problem or second.problem:
        return None
    pairs = list(zip(_items(first), _items(second), strict=True))
    return percent([float(a.predicted == b.predicted) for a, b in pairs]) if pairs else None


# --- As data -------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """Everything, the items of every file included, for json.dumps."""
    return {
        "model": report.model,
        "tasks": [{**asdict(task), "summary": task.summary()} for task in report.tasks],
    }


def comparison_as_json(first: Report, second: Report) -> dict[str, Any]:
    """Both reports, and the agreement by task."""
    pairs = zip(first.tasks, second.tasks, strict=True)
    return {
        "first": as_json(first),
        "second": as_json(second),
        "agreement": {one.name: agreement(one, two) for one, two in pairs},
    }


def _items(task: TaskResult) -> list[ItemResult]:
    return [item for file in task.files for item in file.items]


def _problems(task: TaskResult) -> list[str]:
    return [f"{task.name} has no result: {task.problem}"] if task.problem else []


def _num_samples(task: TaskResult, group: str) -> int:
    return sum(file.num_samples for file in task.files if group in (file.group, "overall"))


def _failed_probes(task: TaskResult) -> list[str]:
    failed = [item for item in _items(task) if not item.score] if task.type == "probe" else []
    lines = [
        f"{item.question}  ->  {_short(item.predicted)}  (/{item.expected}/)" for item in failed
    ]
    return ["", f"{task.name}, not answered as asked:", *lines] if lines else []


def _short(text: str, length: int = 80) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell on a terminal; numbers to the right."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - _width(cell))
            cells.append(cell + padding if column < 3 else padding + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    """Cells of a terminal: full-width characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
