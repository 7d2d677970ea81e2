"""A real GGUF file's way through the window: dropped, converted, loaded, asked. Real processes."""

import pytest
from smollm2 import gguf_file_or_skip
from window_process import Window, job

pytestmark = [pytest.mark.e2e, pytest.mark.gui, pytest.mark.model, pytest.mark.oracle]


@pytest.mark.timeout(900)
def test_a_dropped_gguf_file_answers_in_english(tmp_path):
    source = gguf_file_or_skip()
    with Window(tmp_path / "profile") as window:
        window.wait_s = 600
        window.until(lambda state: state["rows"], "the bundled model")
        window.do(drop=str(source))
        window.until(lambda state: "Convert" in state["buttons"], "the dialog")
        window.click("Convert")
        state = window.until(lambda state: job(state)["state"] in ("done", "failed"), "the end")
        assert job(state)["state"] == "done", job(state)["reason"]
        state = window.until(lambda state: len(state["rows"]) == 2, "the new model")
        model_id, _name, problem, is_verified = state["rows"][1]
        assert (problem, is_verified) == ("", True)
        window.do(page="models", choose=model_id)
        window.click("Load")
        window.until(lambda state: state["loaded"] == model_id, "to be loaded")
        window.do(send="What is the capital of France?")
        state = window.until(lambda state: "Paris" in state["answer"] or state["failure"], "Paris")
        assert not state["failure"]
        window.close()
