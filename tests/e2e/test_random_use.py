"""The real window, used at random for a minute a seed: `pytest -m soak` and this file.

What is drawn, and what must hold while it is, says tests/helpers/random_person.py. Here: what must
hold once the window is closed. Several faults were found so that no test had thought of.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stdio_app import wait_gone

from bilin_app.paths import app_paths
from bilin_app.storage.database import open_reader

pytestmark = [pytest.mark.e2e, pytest.mark.gui, pytest.mark.soak]

PROGRAM = Path(__file__).parents[1] / "helpers" / "random_person.py"
ROUND_S = 25
NUM_LAST_STEPS = 25


def use(data_dir, seed):
    """A whole life of the window; returns the lines that it told."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LANGUAGE": "en"}
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        environment[name] = str(data_dir / name)
    arguments = ["--data-dir", str(data_dir), "--seed", seed, "--seconds", str(ROUND_S)]
    ended = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), *arguments],
        capture_output=True, text=True, timeout=300,
        env=environment, check=False,
    )  # fmt: skip
    (data_dir / f"{seed}.jsonl").write_text(ended.stdout)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    if ended.returncode:
        lines.append({"finding": f"ended with {ended.returncode}: {ended.stderr[-3000:]}"})
    return lines


def unkept(data_dir, tokens):
    """Which of the texts that were sent are not stored once, in their order, and what else is bad.

    A message that is edited has its token in several versions, all in one place.
    """
    reader = open_reader(app_paths(data_dir).database)
    try:
        integrity = reader.execute("PRAGMA integrity_check").fetchone()[0]
        running = reader.execute("SELECT count(*) FROM messages WHERE state = 'running'").fetchone()
        query = "SELECT id, conversation_id, parent_id, text FROM messages WHERE role = 'user'"
        messages = reader.execute(f"{query} ORDER BY id").fetchall()
    finally:
        reader.close()
    problems = [] if integrity == "ok" else [integrity]
    if running[0]:
        problems.append(f"{running[0]} answers are left running")
    last: dict[int, int] = {}
    for token in tokens:
        found = [row[:3] for row in messages if f"{token} " in row[3]]
        if len({row[1:] for row in found}) != 1:
            problems.append(f"{token} is stored in the places {found}")
        else:
            first, conversation = found[0][:2]
            if first < last.get(conversation, 0):
                problems.append(f"{token} is stored before what was sent before it")
            last[conversation] = first
    return problems


@pytest.mark.timeout(700)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_or_wrong_however_the_window_is_used(tmp_path, seed):
    for life in ("a", "b"):  # on the same data
        lines = use(tmp_path, f"{seed}{life}")
        findings = [line["finding"] for line in lines if "finding" in line]
        tokens = dict.fromkeys(line["sent"] for line in lines if "sent" in line)
        findings += unkept(tmp_path, tokens)
        processes = [pid for line in lines for pid in line.get("processes", ())]
        findings += [f"the process {pid} is left" for pid in wait_gone(processes)]
        steps = [line["step"] for line in lines if "step" in line][-NUM_LAST_STEPS:]
        assert findings == [], f"seed {seed}{life}, {tmp_path}, the last steps: {steps}"
        assert tokens
