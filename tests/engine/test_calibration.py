"""What reaches the linears' columns is measured, and INT4 loses less where more comes."""

import pytest
import torch
from gguf_files import write_gguf
from published_model import gptq_config, gptq_tensors, weights_of, write_source
from tiny_causal import tiny_config

from bilin_engine.checkpoints import int4, streaming
from bilin_engine.checkpoints.gguf_import import import_gguf
from bilin_engine.checkpoints.huggingface import (
    HuggingFaceCheckpoint,
    ImportSettings,
    import_folder,
)
from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.checkpoints.streaming import ConversionStopped
from bilin_engine.config import ChatGLM6BConfig, GLMConfig
from bilin_engine.layers.linear import DenseLinear
from bilin_engine.library import read_description
from bilin_engine.models import calibration
from bilin_engine.models.calibration import LEAST_SHARE, calibrate
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

CASES = ["glm", "glm4", "llama", "llama tied with biases", "qwen2", "qwen3", "chatglm"]
IDS = [5, 17, 3, 60, 42, 42, 9, 61, 5, 30]


def measured(source, encode=lambda _text: IDS, **options):
    with HuggingFaceCheckpoint(source) as checkpoint:
        return calibrate(
            checkpoint,
            checkpoint.config,
            encode,
            options.get("on_progress", lambda _progress: None),
            options.get("should_stop", lambda: False),
        )


def squares_of(folder, monkeypatch) -> list[torch.Tensor]:
    """Mean squares of what each dense linear meets in a plain pass, in the order of the calls."""
    found = []
    call = DenseLinear.__call__

    def spy(self, x):
        found.append(x.square().mean(dim=0))
        return call(self, x)

    runner = load_runner(folder, dtype="float32", num_threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(DenseLinear, "__call__", spy)
        runner.prefill([PrefillRow(0, IDS, list(range(len(IDS))), 0)])
    return found


@pytest.mark.parametrize("case", CASES)
def test_columns_are_the_mean_squares_of_a_plain_pass(tmp_path, monkeypatch, case):
    source = write_source(tmp_path / "src", case)
    columns = measured(source)
    linears = [spec.module for spec in tiny_config(case).tensors() if spec.is_linear]
    assert columns.keys() == set(linears)
    plain = import_folder(source, tmp_path / "plain", ImportSettings(target="plain"))
    expected = squares_of(plain, monkeypatch)
    met = [columns[module] for module in linears]
    for squares in expected:
        squares = (squares / squares.mean()).clamp_min(LEAST_SHARE)
        assert any(
            len(one) == len(squares) and torch.allclose(one, squares, rtol=1e-3) for one in met
        )


def test_windows_see_only_themselves(tmp_path, monkeypatch):
    """Then it does not matter which comes first."""
    source = write_source(tmp_path / "src", "llama")
    monkeypatch.setattr(calibration, "WINDOW", 5)
    columns = measured(source)
    swapped = measured(source, lambda _text: IDS[5:] + IDS[:5])
    monkeypatch.setattr(calibration, "WINDOW", 10)
    together = measured(source)
    last = "model.layers.1.mlp.down_proj"
    assert torch.allclose(columns[last], swapped[last], rtol=1e-4)
    assert not torch.allclose(columns[last], together[last], rtol=1e-4)


def weighted_error(folder, plain, columns) -> float:
    total = 0.0
    with ModelFolder(folder) as model, ModelFolder(plain) as exact:
        for spec in exact.config.tensors():
            if not spec.is_linear:
                continue
            packed = model.tensor(f"{spec.module}.weight_packed")
            scales = model.tensor(f"{spec.module}.weight_scale")
            codes = int4.unpack(packed, spec.shape[1], 4)
            made = int4.dequantize(int4.QuantizedWeight(codes, scales, 4))
            off = (made - exact.tensor(spec.name).float()).square()
            total += float((off * columns[spec.module]).sum())
    return total


@pytest.mark.parametrize("case", ["llama", "glm4"])
def test_an_import_loses_less_where_more_comes(tmp_path, case):
    source = write_source(tmp_path / "src", case)
    settings = ImportSettings(group_size=32)
    plain = import_folder(source, tmp_path / "plain", ImportSettings(target="plain"))
    without = import_folder(source, tmp_path / "without", settings)
    calibrated = import_folder(source, tmp_path / "with", settings, calibrate=calibrate)
    with HuggingFaceCheckpoint(source) as checkpoint:
        from bilin_engine.tokenizers.load import load_tokenizer

        encode = load_tokenizer(source).encode
        columns = calibrate(checkpoint, checkpoint.config, encode, lambda _p: None, lambda: False)
    assert weighted_error(calibrated, plain, columns) < 0.97 * weighted_error(
        without, plain, columns
    )
    assert not list(calibrated.glob("columns*"))


def test_a_gptq_folder_that_left_some_linears_plain_is_measured_too(tmp_path):
    """What is plain in it is rounded here, by what reaches it through the kept codes."""
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    module = next(name for name in stored if name.endswith("o_proj.qweight")).rpartition(".")[0]
    mixed = {name: value for name, value in stored.items() if not name.startswith(f"{module}.")}
    mixed[f"{module}.weight"] = weights_of("llama")[f"{module}.weight"]
    source = write_source(tmp_path / "src", "llama", mixed, quantization_config=gptq_config())
    with HuggingFaceCheckpoint(source) as checkpoint:
        for spec in checkpoint.config.tensors():
            if spec.is_linear and spec.module != module:
                kept = checkpoint.rows(spec, 1, 5)
                assert torch.equal(kept, gptq_tensors("llama", 4, 32, 7)[1][spec.name][1:5])
    result = import_folder(source, tmp_path / "dst", ImportSettings(), calibrate=calibrate)
    with ModelFolder(result) as model:
        packed = model.tensor(f"{module}.weight_packed")
        scales = model.tensor(f"{module}.weight_scale")
        codes = int4.unpack(packed, mixed[f"{module}.weight"].shape[1], 4)
    off = int4.dequantize(int4.QuantizedWeight(codes, scales, 4)) - mixed[f"{module}.weight"]
    assert off.norm() < 0.2 * mixed[f"{module}.weight"].float().norm()


def test_a_stop_keeps_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 4096)
    source = write_source(tmp_path / "src", "glm4")
    whole = import_folder(source, tmp_path / "whole", ImportSettings(), calibrate=calibrate)
    asked, stopping = [], False

    def counted(*arguments):
        nonlocal stopping
        asked.append(1)
        columns = calibrate(*arguments)
        stopping = True
        return columns

    def stop_after_some():
        return stopping and len(list((tmp_path / ".dst.partial").iterdir())) > 0 and next(left) < 0

    left = iter(range(10, -100, -1))
    with pytest.raises(ConversionStopped):
        import_folder(
            source, tmp_path / "dst", ImportSettings(), should_stop=stop_after_some,
            calibrate=counted,
        )  # fmt: skip
    again = import_folder(source, tmp_path / "dst", ImportSettings(), calibrate=counted)
    assert len(asked) == 1
    for path in whole.glob("*.safetensors"):
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_a_stop_while_hashes_are_made_keeps_what_was_measured(tmp_path):
    source = write_source(tmp_path / "src", "llama")
    described = tmp_path / ".dst.partial" / "bilin.json"
    asked = []

    def counted(*arguments):
        asked.append(1)
        return calibrate(*arguments)

    with pytest.raises(ConversionStopped):
        import_folder(
            source, tmp_path / "dst", ImportSettings(), should_stop=described.exists,
            calibrate=counted,
        )  # fmt: skip
    made = import_folder(source, tmp_path / "dst", ImportSettings(), calibrate=counted)
    assert len(asked) == 1
    assert read_description(made).files.keys() == {p.name for p in made.iterdir()} - {"bilin.json"}
    assert not list(made.glob("columns*"))


def test_it_stops_when_asked_and_tells_how_far_it_is(tmp_path):
    source = write_source(tmp_path / "src", "llama")
    told = []
    measured(source, on_progress=told.append)
    assert (told[-1].stage, told[-1].done) == ("calibrate", told[-1].total)
    with pytest.raises(ConversionStopped):
        measured(source, should_stop=lambda: True)


def test_what_is_kept_as_it_is_is_not_measured(tmp_path):
    def never(*_arguments):
        raise AssertionError("asked in vain")

    q4_0 = write_gguf(tmp_path / "m.gguf", "llama", kind="Q4_0")
    import_gguf(q4_0, tmp_path / "kept", ImportSettings(), calibrate=never)
    source = write_source(tmp_path / "src", "llama")
    import_folder(source, tmp_path / "int8", ImportSettings(target="int8"), calibrate=never)
    rows = ImportSettings(group_size="row")
    import_folder(source, tmp_path / "rows", rows, calibrate=never)


def test_a_gguf_file_is_measured_by_its_own_tokenizer(tmp_path):
    source = write_gguf(tmp_path / "m.gguf", "llama", kind="F16")
    made = import_gguf(source, tmp_path / "dst", ImportSettings(), calibrate=calibrate)
    without = import_gguf(source, tmp_path / "without", ImportSettings())
    name = "model-00001-of-00001.safetensors"
    assert (made / name).read_bytes() != (without / name).read_bytes()


def test_models_that_are_no_causal_ones_are_left_to_their_weights():
    for config in (GLMConfig, ChatGLM6BConfig):
        made = object.__new__(config)
        assert calibrate(None, made, lambda _t: IDS, lambda _p: None, lambda: False) == {}  # type: ignore[arg-type]


def test_the_text_holds_both_languages():
    text = calibration.TEXT_FILE.read_text(encoding="utf-8")
    assert "def " in text
    assert sum("一" <= letter <= "鿿" for letter in text) > 300
