"""A GLM-130B checkpoint's whole way through the window: real app, engine, jobs and kill.

Dropped, recognised, planned, converted, paused, the app killed with -9, opened again, resumed,
verified, loaded, measured, chatted with, deleted. The small size is slow; 1 GB is a soak.
Loading needs icetk's ice_text.model (BILIN_ICETK_MODEL); without it the rest is done.
"""

import json
import os
from pathlib import Path

import pytest
from reference_checkpoint import random_model, write_checkpoint
from tiny_model import write_tiny_model
from window_process import Window, job

from bilin_engine.config import GLMConfig

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.gui]

ROOT = Path(__file__).parents[2]
ICETK = Path(
    os.environ.get(
        "BILIN_ICETK_MODEL", ROOT.parent / "shared" / "data" / "tokenizers" / "ice_text.model"
    )
)
VOCAB_SIZE = 150_528  # icetk's, which the tokenizer insists on


SIZES = [
    pytest.param({"layers": 24, "hidden": 512, "inner": 1024}, id="small"),
    pytest.param(
        {"layers": 20, "hidden": 1536, "inner": 4096},
        id="1GB",
        marks=[pytest.mark.soak, pytest.mark.timeout(1800)],
    ),
]


@pytest.mark.timeout(2000)
@pytest.mark.parametrize("size", SIZES)
def test_a_checkpoint_goes_all_the_way_through_the_window(tmp_path, size):
    source = tmp_path / "田中　模型 🙂"
    config = GLMConfig.create(
        num_layers=size["layers"], hidden_size=size["hidden"], num_attention_heads=8,
        inner_hidden_size=size["inner"], vocab_size=VOCAB_SIZE, max_sequence_length=256,
    )  # fmt: skip
    write_checkpoint(source, random_model(config), world_size=8)
    (source / "config.json").write_text(json.dumps(config.to_json()))
    before = {path.name: path.stat().st_mtime_ns for path in source.rglob("*")}
    data_dir = tmp_path / "profile"
    folder = data_dir / "models" / "田中　模型 🙂-int4"

    with Window(data_dir) as window:
        window.until(lambda state: state["rows"], "the bundled model")
        window.do(drop=str(source))
        state = window.until(lambda state: "Convert" in state["buttons"], "the dialog")
        assert any("GLM-130B checkpoint" in text for text in state["labels"])
        assert any("of disk" in text for text in state["labels"])
        assert "Tokenizer" in state["labels"]
        window.click("Convert")
        state = window.until(lambda state: 0 < job(state)["fraction"] < 1, "progress")
        window.click(f"Pause: {source.name} → {folder.name}")
        window.until(lambda state: job(state)["state"] == "paused", "a pause")
        window.click(f"Resume: {source.name} → {folder.name}")
        state = window.until(lambda state: job(state)["state"] == "running", "to go on")
        window.kill()
        assert not folder.exists()

    with Window(data_dir) as window:
        state = window.until(lambda state: job(state)["state"] in ("done", "failed"), "the end")
        assert job(state)["state"] == "done", job(state)["reason"]
        state = window.until(lambda state: len(state["rows"]) == 2, "the new model")
        model_id, _name, problem, is_verified = state["rows"][1]
        assert is_verified
        assert "tokenizer_config.json is missing" in problem
        assert {path.name: path.stat().st_mtime_ns for path in source.rglob("*")} == before

        window.do(page="models", choose=model_id)
        if ICETK.is_file():
            window.until(lambda state: "Choose ice_text.model…" in state["buttons"], "the way out")
            window.do(drop=str(ICETK))
            window.until(lambda state: not state["rows"][1][2], "a usable model")
            window.click("Load")
            window.until(lambda state: state["loaded"] == model_id, "to be loaded")
            window.click("Times this model here, about 20 seconds; predictions then follow from it")
            window.until(lambda state: state["load"] == "measuring", "to measure")
            state = window.until(
                lambda state: any(" tok/s on " in text for text in state["labels"]), "a figure"
            )
            window.until(
                lambda state: any("expected" in text for text in state["labels"]), "its prediction"
            )
            window.do(send="你好")
            state = window.until(lambda state: state["answer"] or state["failure"], "an answer")
            assert not state["failure"]
            window.do(page="models")
            window.click("Unload")
            if "Stop it" in window.do()["buttons"]:
                window.click("Stop it")
            window.until(lambda state: not state["loaded"], "to be unloaded")
            window.click("Compare every file with its sha256")
            state = window.until(
                lambda state: [j["state"] for j in state["jobs"]] == ["done", "done"], "verified"
            )
        window.click("Delete this model")
        window.click("Delete")
        window.until(lambda state: len(state["rows"]) == 1, "to be gone")
        assert not folder.exists()
        window.click("Undo")
        window.until(lambda state: len(state["rows"]) == 2, "to be back")
        assert folder.is_dir()
        window.close()


@pytest.mark.timeout(200)
def test_two_windows_share_one_models_folder(tmp_path):
    models = tmp_path / "模型"
    write_tiny_model(models, "shared")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.toml").write_text(
            f"models_dir = {json.dumps(str(models), ensure_ascii=False)}\n", encoding="utf-8"
        )
    verify = "Compare every file with its sha256"
    with Window(tmp_path / "a") as first, Window(tmp_path / "b") as second:
        for window in (first, second):
            state = window.until(lambda state: len(state["rows"]) == 2, "both models")
            model_id = state["rows"][1][0]
            window.do(page="models", choose=model_id)
        first.click(verify)
        first.until(lambda state: job(state)["state"] == "done", "to be verified")
        second.click(verify)
        told = f"nother Bilin works on the models in {models}; close it first"
        second.until(lambda state: any(told in text for text in state["labels"]), "the reason")
        assert not second.do()["jobs"]
        first.click("Delete this model")
        first.click("Delete")
        first.until(lambda state: len(state["rows"]) == 1, "to be gone")
        second.do(page="chat")
        second.do(page="models")
        second.until(lambda state: len(state["rows"]) == 1, "to be gone here as well")
        first.click("Undo")
        first.until(lambda state: len(state["rows"]) == 2, "to be back")
        first.close()
        second.do(page="chat")
        second.do(page="models")
        second.until(lambda state: len(state["rows"]) == 2, "to be back here as well")
        second.do(choose=model_id)
        second.click(verify)
        second.until(lambda state: job(state)["state"] == "done", "to be verified")
        assert (models / "shared").is_dir()
        second.close()
