"""Environments of their own for other implementations, made once and kept in the user's cache."""

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest


def oracle_python(name: str, *requirements: str) -> Path:
    """The interpreter of an environment with `requirements`; skips the test if pip cannot make it.

    Kept under the user's cache folder as bilin-oracles/NAME, so a second run costs nothing.
    """
    folder = Path(platformdirs.user_cache_dir("bilin-oracles")) / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"
    wanted = "\n".join(requirements)
    if done.exists() and done.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    result = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        pytest.skip(f"{name} cannot be installed: {result.stderr.strip().splitlines()[-1]}")
    done.write_text(wanted)
    return python
