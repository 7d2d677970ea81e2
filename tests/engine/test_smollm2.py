"""SmolLM2-135M-Instruct, a real model from a package registry: from its GGUF to an answer."""

import pytest
from smollm2 import gguf_file_or_skip

from bilin_engine.cli.main import run
from bilin_engine.library import read_description


@pytest.mark.model
@pytest.mark.oracle
@pytest.mark.timeout(1800)
def test_a_gguf_file_becomes_a_model_that_answers(tmp_path, capsys):
    gguf_file = gguf_file_or_skip()
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
