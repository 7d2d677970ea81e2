"""config.json: what is read, and what is refused with which words."""

import json

import pytest

from bilin_engine.config import (
    GLMConfig,
    QuantizationConfig,
    QuantizationScheme,
    SpecialIds,
    parse_model_config,
    read_model_config,
)
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

GLM_130B = GLMConfig.create(
    num_layers=70,
    hidden_size=12288,
    num_attention_heads=96,
    inner_hidden_size=32768,
    vocab_size=150528,
    max_sequence_length=2048,
    quantization=QuantizationConfig.uniform(4, 128),
    special_ids=SpecialIds(eos=20002, mask=150000, gmask=150001, sop=150004, eop=150005),
)


def changed(**changes) -> dict:
    content = GLM_130B.to_json()
    content.update(changes)
    return content


def test_a_config_survives_writing_and_reading(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(GLM_130B.to_json()))
    assert read_model_config(tmp_path) == GLM_130B


def test_glm_130b_has_the_published_number_of_parameters():
    assert GLM_130B.num_parameters == 128_697_794_560


def test_every_tensor_of_glm_130b_has_its_published_shape():
    shapes = {spec.name: (spec.shape, spec.split) for spec in GLM_130B.tensors()}
    layer = "transformer.layers.69"
    assert len(shapes) == 1 + 70 * 12 + 2
    assert shapes["transformer.word_embeddings.weight"] == ((150528, 12288), "rows")
    assert shapes[f"{layer}.attention.query_key_value.weight"] == ((36864, 12288), "rows")
    assert shapes[f"{layer}.attention.dense.weight"] == ((12288, 12288), "columns")
    assert shapes[f"{layer}.mlp.dense_h_to_4h.bias"] == ((65536,), "glu_rows")
    assert shapes[f"{layer}.mlp.dense_4h_to_h.weight"] == ((12288, 32768), "columns")
    assert shapes[f"{layer}.mlp.dense_4h_to_h.bias"] == ((12288,), "none")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model_type": "bert"}, UnsupportedModelError, 'model_type "bert".*known: .*glm130b'),
        ({"sliding_window": 4096}, UnsupportedModelError, "does not know.*: sliding_window"),
        ({"num_layers": 0}, ModelBrokenError, "num_layers is 0; a whole number from 1"),
        ({"num_layers": True}, ModelBrokenError, "num_layers is true"),
        ({"num_layers": "70"}, ModelBrokenError, 'num_layers is "70"'),
        ({"hidden_size": 12289}, ModelBrokenError, "hidden_size 12289 is not a multiple of .* 96"),
        ({"hidden_size": 96 * 127}, ModelBrokenError, "= 127: rotary positions need an even"),
        ({"layernorm_epsilon": 0}, ModelBrokenError, "layernorm_epsilon is 0"),
        ({"rope_precision": "float8"}, UnsupportedModelError, "supported: float32, float16"),
        ({"dtype": "int8"}, UnsupportedModelError, "dtype is .*supported: float16, bfloat16"),
        ({"special_ids": {"mask": 1}}, ModelBrokenError, "special_ids: eos is missing"),
        ({"special_ids": {"eos": 1, "x": 2}}, UnsupportedModelError, "special_ids has keys .*: x"),
    ],
)
def test_wrong_values_are_refused_by_name(changes, error, words):
    with pytest.raises(error, match=f"model/config.json.*{words}"):
        parse_model_config(changed(**changes), "model/config.json")


def test_a_missing_key_is_named():
    content = GLM_130B.to_json()
    del content["inner_hidden_size"]
    with pytest.raises(ModelBrokenError, match="inner_hidden_size is missing"):
        parse_model_config(content, "config.json")


def weights(**changes) -> dict:
    scheme = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"}
    scheme.update({"group_size": 128, "dynamic": False, **changes})
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme}},
    }


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (weights(symmetric=False), "symmetric is false; only true"),
        (weights(num_bits=3), "3-bit weights are not supported; use 4 or 8"),
        (weights(type="float"), "type is .float.; supported: int"),
        (weights(group_size=96), "group_size 96 is not supported; use 32, a multiple of 64"),
        (weights(strategy="block"), "strategy is .block.; supported: group, channel"),
        (weights(actorder="group"), "actorder is .group.; supported: static, weight"),
        ({**weights(), "quant_method": "gptq"}, "quant_method is .gptq."),
        ({**weights(), "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme is"),
    ],
)
def test_unknown_quantization_is_refused_with_the_reason(quantization, words):
    with pytest.raises(UnsupportedModelError, match=words):
        parse_model_config(changed(quantization_config=quantization), "config.json")


@pytest.mark.parametrize("actorder", [None, "static", "weight"])
def test_settings_of_other_writers_that_change_nothing_are_read(actorder):
    quantization = weights(observer="minmax", observer_kwargs={}, actorder=actorder)
    quantization["kv_cache_scheme"] = None
    quantization["global_compression_ratio"] = 1.5
    quantization["config_groups"]["group_0"]["input_activations"] = None
    config = parse_model_config(changed(quantization_config=quantization), "config.json")
    assert config.quantization == QuantizationConfig.uniform(4, 128)


def test_the_first_scheme_that_matches_stores_a_linear():
    rows = QuantizationScheme(4, 1536, ("re:.*attention.dense",))
    rest = QuantizationScheme(4, "row")
    config = QuantizationConfig((rows, rest), ignore=("transformer.layers.0.mlp.dense_h_to_4h",))
    assert config.scheme_for("transformer.layers.3.attention.dense") == rows
    assert config.scheme_for("transformer.layers.3.attention.query_key_value") == rest
    assert config.scheme_for("transformer.layers.0.mlp.dense_h_to_4h") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "does not hold a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"num_layers": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b" " * (4 * 1024 * 1024 + 1), "bytes is no configuration"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, words):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelBrokenError, match=words):
        read_model_config(tmp_path)


def test_a_folder_without_config_is_no_model(tmp_path):
    with pytest.raises(ModelBrokenError, match=r"config\.json is missing"):
        read_model_config(tmp_path)
