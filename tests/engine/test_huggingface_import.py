"""Hugging Face folders: what becomes of plain weights and of GPTQ's, and what is refused why."""

import dataclasses
import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from oracle_environment import oracle_python
from published_model import gptq_config, gptq_tensors, weights_of, write_source
from safetensors.torch import load_file
from tiny_causal import tiny_config

from bilin_engine.checkpoints import int4, scale_search, streaming
from bilin_engine.checkpoints.huggingface import (
    ImportSettings,
    adopt,
    import_folder,
)
from bilin_engine.checkpoints.model_folder import ModelFolder, write_model_folder
from bilin_engine.checkpoints.streaming import ConversionStopped, verify
from bilin_engine.config import QuantizationConfig, is_huggingface_folder
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError
from bilin_engine.jobs.base import JobReporter
from bilin_engine.jobs.convert import convert_model
from bilin_engine.jobs.import_folder import is_ready
from bilin_engine.library import read_description
from bilin_engine.protocol import ConvertModel
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

TEMPLATES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "templates" / "templates.py"))[
    "TEMPLATES"
]

IDS = [5, 17, 3, 60, 42, 42, 9, 61]


def logits(folder: Path) -> torch.Tensor:
    runner = load_runner(folder, dtype="float32", num_threads=1)
    return runner.prefill([PrefillRow(0, IDS, list(range(len(IDS))), 0)], "all")[0]


@pytest.mark.parametrize(
    "case", ["glm", "glm4", "llama tied with biases", "qwen2", "qwen3", "chatglm"]
)
@pytest.mark.parametrize("shards", [1, 3])
def test_plain_weights_are_quantized_as_the_whole_model_would(tmp_path, case, shards):
    source = write_source(tmp_path / "src", case, shards=shards)
    result = import_folder(source, tmp_path / "dst", ImportSettings())
    quantization = QuantizationConfig.uniform(4, 32)
    config = dataclasses.replace(tiny_config(case), quantization=quantization)
    with ModelFolder(result) as model:
        assert model.config == config
        for name, weight in weights_of(case).items():
            module = name.removesuffix(".weight")
            scheme = model.scheme(module) if f"{module}.weight_packed" in names(model) else None
            if scheme is None:
                assert torch.equal(model.tensor(name), weight)
                continue
            expected = scale_search.quantize(weight, scheme, name)
            assert torch.equal(
                model.tensor(f"{module}.weight_packed"), int4.pack(expected.codes, 4)
            )
            assert torch.equal(model.tensor(f"{module}.weight_scale"), expected.scales)
    verify(result)
    assert logits(result).isfinite().all()


def names(model: ModelFolder) -> set[str]:
    return {name for shard in model.path.glob("*.safetensors") for name in load_file(shard)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_sources_keep_their_type(tmp_path, dtype):
    tensors = {n: w.to(getattr(torch, dtype)) for n, w in weights_of("glm4").items()}
    source = write_source(tmp_path / "src", "glm4", tensors, torch_dtype=dtype)
    result = import_folder(source, tmp_path / "dst", ImportSettings(target="plain"))
    with ModelFolder(result) as model:
        assert model.config.dtype == dtype
        for name, weight in tensors.items():
            assert torch.equal(model.tensor(name), weight)


def test_the_result_says_what_it_is(tmp_path):
    source = write_source(tmp_path / "src", "glm4")
    (source / "LICENSE").write_text("\n  MIT License\n\nCopyright\n")
    result = import_folder(source, tmp_path / "GLM-4 Tiny", ImportSettings())
    description = read_description(result)
    assert (description.id, description.chat_format) == ("glm-4-tiny", "template")
    assert description.capabilities.chat
    assert not description.capabilities.blanks
    assert description.licence == "MIT License"
    assert description.files["tokenizer.json"].size_bytes > 0
    generation = json.loads((result / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, 3]


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("写作", "model-030fdb"),
        ("聊天", "model-4b3510"),
        ("GLM 写作", "glm-14ad6e"),
        ("G" * 80 + "字", "g" * 57 + "-7eed6d"),
    ],
)
def test_a_name_that_no_id_can_spell_has_an_id_of_its_own(tmp_path, name, model_id):
    result = import_folder(
        write_source(tmp_path / "src", "glm4"), tmp_path / name, ImportSettings()
    )
    assert read_description(result).id == model_id


@pytest.mark.parametrize(
    ("family", "thinking"),
    [("qwen3", "switchable"), ("glm-z1-0414", "always"), ("glm-4-0414", ""), ("qwen2", "")],
)
def test_the_result_says_whether_it_thinks(tmp_path, family, thinking):
    source = write_source(tmp_path / "src", "glm4")
    (source / "chat_template.jinja").write_text(TEMPLATES[family])
    result = import_folder(source, tmp_path / "model", ImportSettings())
    assert read_description(result).capabilities.thinking == thinking


@pytest.mark.parametrize(
    ("settings", "bits", "group"),
    [
        (ImportSettings(group_size="row"), 4, "row"),
        (ImportSettings(target="int8", group_size=32), 8, 32),
        (ImportSettings(target="int4"), 4, 32),
    ],
)
def test_settings_are_kept(tmp_path, settings, bits, group):
    result = import_folder(write_source(tmp_path / "src", "llama"), tmp_path / "dst", settings)
    with ModelFolder(result) as model:
        assert model.config.quantization is not None
        (scheme,) = model.config.quantization.schemes
        assert (scheme.bits, scheme.group_size) == (bits, group)


def test_a_stop_keeps_the_work_and_the_rest_is_byte_identical(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 4096)
    source = write_source(tmp_path / "src", "glm4")
    whole = import_folder(source, tmp_path / "whole", ImportSettings())
    left = 20

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(ConversionStopped):
        import_folder(source, tmp_path / "dst", ImportSettings(), should_stop=should_stop)
    again = import_folder(source, tmp_path / "dst", ImportSettings())
    for path in whole.glob("*.safetensors"):
        assert (again / path.name).read_bytes() == path.read_bytes()


# --- GPTQ ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "form", "zero"), [(4, "gptq", 7), (4, "gptq_v2", 8), (8, "gptq", 127)]
)
def test_gptqs_codes_are_kept(tmp_path, monkeypatch, bits, form, zero):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 1024)
    stored, plain = gptq_tensors("llama", bits, 32, zero)
    config = gptq_config(bits=bits, checkpoint_format=form)
    source = write_source(tmp_path / "src", "llama", stored, quantization_config=config)
    result = import_folder(source, tmp_path / "dst", ImportSettings())
    write_model_folder(tmp_path / "plain", tiny_config("llama"), plain.items())
    assert torch.allclose(logits(result), logits(tmp_path / "plain"), atol=1e-4)
    assert read_description(result).source == f"Hugging Face folder, GPTQ INT{bits}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sym": False}, "asymmetric GPTQ"),
        ({"desc_act": True}, "desc_act reorders columns"),
        ({"bits": 3}, "GPTQ with 3 bits"),
        ({"checkpoint_format": "marlin"}, "format 'marlin'"),
        ({"quant_method": "awq"}, "AWQ codes are asymmetric"),
        ({"quant_method": "bitsandbytes"}, "no integers"),
        ({"quant_method": "surprise"}, "not one Bilin knows"),
        ({"quant_method": "compressed-tensors"}, "describe the folder where it lies"),
        ({"group_size": 48}, "group_size 48"),
    ],
)
def test_other_schemes_are_refused_with_the_reason(tmp_path, change, words):
    config = gptq_config(**change)
    source = write_source(tmp_path / "src", "llama", quantization_config=config)
    with pytest.raises(UnsupportedModelError, match=words):
        import_folder(source, tmp_path / "dst", ImportSettings())
    assert not (tmp_path / "dst").exists()


def test_zero_points_that_are_not_the_middle_are_refused(tmp_path):
    stored, _ = gptq_tensors("llama", 4, 32, 6)
    source = write_source(tmp_path / "src", "llama", stored, quantization_config=gptq_config())
    with pytest.raises(UnsupportedModelError, match=r"qzeros are not all 7: .* asymmetric"):
        import_folder(source, tmp_path / "dst", ImportSettings())


def test_reordered_columns_are_refused(tmp_path):
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    key = next(name for name in stored if name.endswith("g_idx"))
    stored[key] = stored[key].flip(0).contiguous()
    source = write_source(tmp_path / "src", "llama", stored, quantization_config=gptq_config())
    with pytest.raises(UnsupportedModelError, match="reorders columns"):
        import_folder(source, tmp_path / "dst", ImportSettings())


def test_gptq_has_its_own_groups(tmp_path):
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    source = write_source(tmp_path / "src", "llama", stored, quantization_config=gptq_config())
    with pytest.raises(BadRequestError, match="GPTQ INT4 with group size 32, which is kept"):
        import_folder(source, tmp_path / "dst", ImportSettings(group_size=64))


# --- Ready folders -------------------------------------------------------------------------------


def test_bookkeeping_of_other_programs_is_passed_over(tmp_path):
    """As published: a flag of transformers' own, and null for what is not there."""
    extra = {"_attn_implementation_autoset": True, "use_sliding_window": None}
    source = write_source(tmp_path / "src", "qwen2", **extra, attention_dropout=0.0)
    import_folder(source, tmp_path / "dst", ImportSettings(target="plain"))


def test_why_a_ready_folder_is_none_is_told_by_what_is_wrong_with_it(tmp_path):
    source = write_source(tmp_path / "src", "llama")
    ready = import_folder(source, tmp_path / "ready", ImportSettings())
    (ready / "bilin.json").unlink()
    assert is_ready(ready)
    content = json.loads((ready / "config.json").read_text())
    content["quantization_config"]["config_groups"]["group_0"]["weights"]["actorder"] = "group"
    (ready / "config.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedModelError, match=r"actorder is .group."):
        is_ready(ready)
    assert not is_ready(source)


def test_a_ready_folder_is_described_where_it_lies(tmp_path):
    source = write_source(tmp_path / "src", "glm4")
    ready = import_folder(source, tmp_path / "ready", ImportSettings())
    (ready / "bilin.json").unlink()
    before = {p.name: p.read_bytes() for p in ready.iterdir()}
    expected = logits(ready)
    adopt(ready)
    assert {p.name: p.read_bytes() for p in ready.iterdir() if p.name != "bilin.json"} == before
    assert read_description(ready).source == "compressed-tensors folder, described in place"
    assert torch.equal(logits(ready), expected)
    with pytest.raises(BadRequestError, match="a model of Bilin's already"):
        adopt(ready)


def test_plain_folders_are_not_described_in_place(tmp_path):
    with pytest.raises(BadRequestError, match="plain weights; import them"):
        adopt(write_source(tmp_path / "src", "glm4"))


def test_an_asymmetric_ready_folder_is_refused(tmp_path):
    ready = import_folder(write_source(tmp_path / "s", "glm4"), tmp_path / "r", ImportSettings())
    (ready / "bilin.json").unlink()
    content = json.loads((ready / "config.json").read_text())
    content["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = False
    (ready / "config.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedModelError, match="symmetric is false"):
        adopt(ready)


# --- Sources that are not whole ------------------------------------------------------------------


def test_what_a_folder_lacks_or_has_too_much_of_is_named(tmp_path):
    tensors = weights_of("llama")
    missing = {n: w for n, w in tensors.items() if "layers.1.mlp.up_proj" not in n}
    with pytest.raises(ModelBrokenError, match=r"no shard holds .*layers\.1\.mlp\.up_proj"):
        import_folder(write_source(tmp_path / "a", "llama", missing), tmp_path / "d", SETTINGS)
    more = {**tensors, "model.layers.0.self_attn.q_norm.weight": torch.ones(16)}
    with pytest.raises(UnsupportedModelError, match=r"q_norm\.weight, which llama"):
        import_folder(write_source(tmp_path / "b", "llama", more), tmp_path / "d", SETTINGS)
    wide = {**tensors, "model.norm.weight": torch.ones(32)}
    with pytest.raises(ModelBrokenError, match=r"model\.norm\.weight has shape \[32\]"):
        import_folder(write_source(tmp_path / "c", "llama", wide), tmp_path / "d", SETTINGS)
    broken = {**tensors, "model.norm.weight": torch.full((64,), torch.nan)}
    with pytest.raises(ModelBrokenError, match=r"model\.norm\.weight holds nan"):
        import_folder(write_source(tmp_path / "e", "llama", broken), tmp_path / "d", SETTINGS)
    packed = {**tensors, "model.norm.weight": torch.ones(64, dtype=torch.int8)}
    with pytest.raises(UnsupportedModelError, match="holds I8"):
        import_folder(write_source(tmp_path / "f", "llama", packed), tmp_path / "d", SETTINGS)


SETTINGS = ImportSettings()


def test_needless_tensors_are_passed_over(tmp_path):
    more = {
        **weights_of("llama tied with biases"),
        "lm_head.weight": torch.ones(64, 64),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
    }
    source = write_source(tmp_path / "src", "llama tied with biases", more)
    assert logits(import_folder(source, tmp_path / "dst", SETTINGS)).isfinite().all()


def test_a_tokenizer_that_cannot_be_read_is_refused_before_anything_is_written(tmp_path):
    source = write_source(tmp_path / "src", "llama")
    (source / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"no tokenizer\.json"):
        import_folder(source, tmp_path / "dst", ImportSettings(target="int8"))
    assert not streaming.partial_folder(tmp_path / "dst").exists()


def test_a_template_that_cannot_answer_is_refused_before_anything_is_written(tmp_path):
    source = write_source(tmp_path / "src", "llama")
    (source / "chat_template.jinja").write_text("{% oops %}")
    work = ConvertModel(source=str(source), folder=str(tmp_path / "model"))
    with pytest.raises(UnsupportedModelError, match="unknown tag 'oops'"):
        convert_model(work, JobReporter(lambda _p: None, lambda: False))
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_folders_are_known_by_their_files(tmp_path):
    assert is_huggingface_folder(write_source(tmp_path / "src", "glm4"))
    assert not is_huggingface_folder(tmp_path)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", ["glm4", "llama"])
def test_our_folders_load_in_transformers_with_the_same_logits(tmp_path, case):
    """The public format, read by the package whose format it is."""
    result = import_folder(write_source(tmp_path / "src", case), tmp_path / "dst", SETTINGS)
    python = oracle_python(
        "compressed-transformers",
        "torch==2.13.0",
        "transformers>=5,<6",
        "compressed-tensors>=0.17",
        "accelerate",
    )
    script = Path(__file__).parents[1] / "data" / "causal" / "load_in_transformers.py"
    out = tmp_path / "logits.safetensors"
    subprocess.run(
        [str(python), str(script), str(result), str(out), *map(str, IDS)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert (load_file(out)["logits"] - logits(result)).abs().max() < 1e-3


def test_biases_of_zeros_that_gptq_tools_wrote_are_passed_over(tmp_path):
    """AutoGPTQ wrote one beside every linear, whether the model has any or not."""
    stored, _ = gptq_tensors("llama", 4, 32, 7)
    module = "model.layers.0.mlp.down_proj"
    bias = torch.zeros(stored[f"{module}.qweight"].shape[1], dtype=torch.float16)
    with_zeros = {**stored, f"{module}.bias": bias}
    import_folder(
        write_source(tmp_path / "a", "llama", with_zeros, quantization_config=gptq_config()),
        tmp_path / "m",
        ImportSettings(),
    )
    with_more = {**stored, f"{module}.bias": bias + 1}
    source = write_source(tmp_path / "b", "llama", with_more, quantization_config=gptq_config())
    with pytest.raises(UnsupportedModelError, match=r"down_proj\.bias, which llama"):
        import_folder(source, tmp_path / "n", ImportSettings())


def test_a_ready_folder_is_copied_as_it_says_of_itself_and_not_converted(tmp_path):
    """Bilin's own folder: names, licence and figures go along; what cannot be done is said."""
    ready = import_folder(
        write_source(tmp_path / "s", "glm4"), tmp_path / "Ready", ImportSettings()
    )
    reporter = JobReporter(lambda _progress: None, lambda: False)
    models = tmp_path / "models"
    work = ConvertModel(source=str(ready), folder=str(models / "copy"))
    copy = convert_model(work, reporter)
    assert read_description(copy) == read_description(ready)
    asked = ConvertModel(
        source=str(ready), folder=str(models / "other"), target="int8", group_size="64"
    )
    with pytest.raises(BadRequestError, match="is quantized already and is copied as it is"):
        convert_model(asked, reporter)


def test_one_file_of_weights_may_have_any_name(tmp_path):
    """As AutoGPTQ names it."""
    source = write_source(tmp_path / "src", "llama")
    (source / "model.safetensors.index.json").unlink()
    [weights] = source.glob("*.safetensors")
    weights.rename(source / "gptq_model-4bit-128g.safetensors")
    import_folder(source, tmp_path / "dst", ImportSettings())
    shutil.copyfile(source / "gptq_model-4bit-128g.safetensors", source / "more.safetensors")
    with pytest.raises(ModelBrokenError, match="holds no weights"):
        import_folder(source, tmp_path / "other", ImportSettings())
