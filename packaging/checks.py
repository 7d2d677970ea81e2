"""The checks of this repository: lint, type, test, gpu, full. Runs them in .venv, in that order."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

import console
from environment import ROOT, VENV, own_variables

PARTS = ("lint", "type", "test", "gpu", "full")
STAGES = {
    None: ("lint", "type", "test"),
    "lint": ("lint",),
    "type": ("type",),
    "test": ("test",),
    "gpu": ("gpu",),
    "full": ("lint", "type", "full"),
}
PROCESSES = 2
# In place of the markers left out by pyproject.toml.
FULL_MARKERS = "not gpu"


def commands(stage: str, build: str) -> list[list[str]]:
    """The commands of one stage. `build`: the build of torch in .venv."""
    if stage == "lint":
        sources = sorted(
            str(path.relative_to(ROOT))
            for path in (ROOT / "kernels" / "bilin_kernels" / "csrc").rglob("*")
            if path.suffix in {".c", ".cu", ".cuh", ".h", ".hpp", ".cpp"}
        )
        lint = [["ruff", "check"], ["ruff", "format", "--check"], ["lint-imports"]]
        return lint + ([["clang-format", "--dry-run", "-Werror", *sources]] if sources else [])
    if stage == "type":
        return [["basedpyright"]]
    pytest = ["pytest", "-n", str(PROCESSES)]
    # One process on the card: two would fight for its memory. A skip there is a failure.
    on_gpu = ["pytest", "-m", "gpu", "-p", "no_skips"]
    if stage == "gpu":
        return [on_gpu]
    if stage == "full":
        full = [[*pytest, "-m", FULL_MARKERS]]
        return full + ([on_gpu] if build != "cpu" else [])
    return [pytest]


def run(part: str | None, build: str) -> int:
    """Runs the stages of `part`, all of them even if one fails. Returns the exit status."""
    environment = own_variables(
        PATH=f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        PYTHONPATH=str(ROOT / "packaging"),  # for the plugin no_skips
    )
    # Hundreds of tests start programs of ours: each would compile all it imports anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    results: list[tuple[str, bool, float]] = []
    for stage in STAGES[part]:
        console.step(f"检查 {stage}", f"Checking: {stage}")
        started = time.monotonic()
        failed = [c for c in commands(stage, build) if not _succeeds(c, environment)]
        results.append((stage, not failed, time.monotonic() - started))
    told = [f"{stage} {'ok' if good else 'FAILED'} ({took:.0f} s)" for stage, good, took in results]
    console.step("检查结果", "Checks")
    console.note(", ".join(told))
    return 0 if all(good for _, good, _ in results) else 1


def _succeeds(command: Sequence[str], environment: dict[str, str]) -> bool:
    console.note("$ " + " ".join(command[:6]) + (" …" if len(command) > 6 else ""))
    program = str(VENV / "bin" / command[0])
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0
