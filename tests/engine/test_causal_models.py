"""The causal families against `transformers`, from files its logits are kept in."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
import torch
from oracle_environment import oracle_python
from rank_threads import run_ranks
from safetensors.torch import load_file
from tiny_causal import (
    ANSWER,
    CHATGLM,
    CONFIGS,
    PROMPT,
    as_chatglm,
    random_weights,
    tiny_config,
)

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.model_folder import ModelFolder, write_model_folder
from bilin_engine.config import (
    CausalConfig,
    QuantizationConfig,
    QuantizationScheme,
    parse_model_config,
)
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.weights import ComputePlan, RankWeights
from bilin_engine.models.registry import model_class
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner

DATA = Path(__file__).parents[1] / "data" / "causal"
# float32 on both sides, other orders of sums; measured 1e-5 at logits of up to 10.
TOLERANCE = 1e-4
WHOLE = [*PROMPT, *ANSWER]


@pytest.fixture(scope="module")
def goldens():
    return load_file(DATA / "goldens.safetensors")


def write(folder, case, weights=None, **changes):
    config = tiny_config(case, **changes)
    weights = weights or random_weights(config)
    quantization = config.quantization
    write_model_folder(folder, config, weights.items(), quantization=quantization)
    return folder


def prefill(runner, ids=WHOLE, slot=0, start=0):
    row = PrefillRow(slot, ids, list(range(start, start + len(ids))), 0, start=start)
    return runner.prefill([row], "all")[0]


@pytest.mark.parametrize("case", CONFIGS)
def test_logits_equal_transformers(tmp_path, goldens, case):
    runner = load_runner(write(tmp_path / "m", case), dtype="float32", num_threads=1)
    assert (prefill(runner) - goldens[case]).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", CONFIGS)
def test_decode_with_cache_equals_transformers(tmp_path, goldens, case):
    runner = load_runner(write(tmp_path / "m", case), dtype="float32", num_threads=1)
    rows = [prefill(runner, PROMPT)]
    for step, token in enumerate(ANSWER):
        rows.append(runner.decode([0], [token], [len(PROMPT) + step]))
    assert (torch.cat(rows) - goldens[case]).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", ["glm4", "llama"])
def test_a_prompt_appended_in_parts_equals_the_whole(tmp_path, goldens, case):
    runner = load_runner(write(tmp_path / "m", case), dtype="float32", num_threads=1)
    rows = [prefill(runner, PROMPT[:3]), prefill(runner, WHOLE[3:], start=3)]
    assert (torch.cat(rows) - goldens[case]).abs().max() < TOLERANCE


def test_chatglm_layout_computes_what_glm_does(tmp_path, goldens):
    weights = as_chatglm(random_weights(tiny_config("glm")))
    folder = write(tmp_path / "m", "chatglm", weights)
    runner = load_runner(folder, dtype="float32", num_threads=1)
    assert (prefill(runner) - goldens["glm"]).abs().max() < TOLERANCE


@pytest.mark.parametrize("ratio", [1.0, 500.0])
def test_rope_ratio_multiplies_the_base(ratio):
    config = parse_model_config({**CHATGLM, "rope_ratio": ratio}, "x")
    assert isinstance(config, CausalConfig)
    assert config.rope.base == 10000 * ratio
    assert config.rope.scaling is None


def test_chatglm2_32k_stretches_positions_instead():
    content = {**CHATGLM, "rope_ratio": 4, "seq_length": 32768, "padded_vocab_size": 65024}
    config = parse_model_config(content, "x")
    assert isinstance(config, CausalConfig)
    rope = config.rope
    assert rope.scaling is not None
    assert (rope.base, rope.scaling.kind, rope.scaling.factor) == (10000, "linear", 4)


@pytest.mark.parametrize("case", [*CONFIGS, "chatglm"])
def test_a_configuration_survives_writing_and_reading(case):
    config = tiny_config(case)
    assert parse_model_config(config.to_json(), "again") == config
    packed = dataclasses.replace(config, quantization=QuantizationConfig.uniform(4, 32))
    assert parse_model_config(packed.to_json(), "again") == packed
    assert packed.quantization is not None
    assert "lm_head" in packed.quantization.ignore


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 64}, "sliding_window"),
        ({"logit_scale": 0.5}, "logit_scale"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 0.7}}, "mscale"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "surprise": 1}}, "surprise"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
    ],
)
def test_keys_that_change_the_maths_are_refused_by_name(changes, words):
    with pytest.raises(UnsupportedModelError, match=words):
        parse_model_config({**CONFIGS["llama"], **changes}, "config.json")


def test_a_scaling_that_was_added_to_a_new_configuration_counts():
    """As a model's card tells people to: transformers takes it before `rope_parameters`."""
    added = {
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    }
    config = parse_model_config({**CONFIGS["qwen2"], **added, "use_mrope": False}, "config.json")
    assert isinstance(config, CausalConfig)
    assert config.rope.base == 5e5
    assert config.rope.scaling is not None
    assert (config.rope.scaling.kind, config.rope.scaling.factor) == ("yarn", 4.0)
    with pytest.raises(UnsupportedModelError, match="use_mrope"):
        parse_model_config({**CONFIGS["qwen2"], "use_mrope": True}, "config.json")


@pytest.mark.parametrize("case", ["glm4", "llama tied with biases", "qwen2", "qwen3", "chatglm"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_together_equal_one(tmp_path, goldens, case, ranks):
    """Two key heads for four ranks: each head is held twice."""
    of_glm = case == "chatglm"
    weights = as_chatglm(random_weights(tiny_config("glm"))) if of_glm else None
    folder = write(tmp_path / "m", case, weights)
    logits = run_ranks(ranks, lambda collective: rank_logits(folder, collective))
    expected = goldens["glm" if of_glm else case]
    for found in logits:
        assert (found - expected).abs().max() < TOLERANCE


def rank_logits(folder, collective):
    plan = ComputePlan("reference", torch.float32, torch.device("cpu"))
    with ModelFolder(folder) as source, torch.inference_mode():
        weights = RankWeights(source, plan, collective)
        model = model_class(source.config)(weights, head_dtype=torch.float32)
        runner = LocalRunner(model, num_slots=1, max_length=32, backend="reference", num_threads=1)
        rows = [prefill(runner, PROMPT)]
        for step, token in enumerate(ANSWER):
            rows.append(runner.decode([0], [token], [len(PROMPT) + step]))
        return torch.cat(rows)


@pytest.mark.parametrize("ranks", [2, 4])
def test_int4_ranks_together_equal_one(tmp_path, ranks):
    quantization = QuantizationConfig.uniform(4, 32)
    changes = {"hidden_size": 128, "inner_hidden_size": 128, "quantization": quantization}
    folder = write(tmp_path / "m", "glm4", head_dim=32, **changes)
    (whole,) = run_ranks(1, lambda collective: rank_logits(folder, collective))
    for found in run_ranks(ranks, lambda collective: rank_logits(folder, collective)):
        assert (found - whole).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", ["glm4", "llama", "chatglm"])
def test_int4_weights_compute_what_their_dequantized_values_do(tmp_path, case):
    scheme = QuantizationScheme(4, 32)
    config = tiny_config(case)
    rounded = {}
    for spec in config.tensors():
        value = random_weights(config)[spec.name]
        if spec.is_linear:
            value = int4.dequantize(int4.quantize(value, scheme, spec.name, torch.float32))
        rounded[spec.name] = value
    plain = load_runner(write(tmp_path / "plain", case, rounded), dtype="float32", num_threads=1)
    packed_folder = write(tmp_path / "packed", case, quantization=QuantizationConfig.uniform(4, 32))
    packed = load_runner(packed_folder, dtype="float32", num_threads=1)
    assert (prefill(packed) - prefill(plain)).abs().max() < TOLERANCE


def test_the_cpu_backend_computes_int4_in_bfloat16(tmp_path):
    folder = write(tmp_path / "m", "glm4", quantization=QuantizationConfig.uniform(4, 32))
    exact = prefill(load_runner(folder, dtype="float32", num_threads=1))
    fast = load_runner(folder, backend="cpu", num_threads=1)
    # bfloat16 keeps 8 bits: some 1 % of logits up to 10.
    assert (prefill(fast) - exact).abs().max() < 0.3


def test_modules_packed_in_different_ways_compute_apart(tmp_path):
    mixed = QuantizationConfig(
        schemes=(
            QuantizationScheme(8, 32, ("re:.*v_proj$",)),
            QuantizationScheme(4, 32, ("re:.*(q_proj|k_proj|o_proj|gate_proj|down_proj)$",)),
        )
    )
    folder = write(tmp_path / "m", "llama", quantization=mixed)
    runner = load_runner(folder, dtype="float32", num_threads=1)
    uniform = write(tmp_path / "u", "llama", quantization=QuantizationConfig.uniform(8, 32))
    close = prefill(load_runner(uniform, dtype="float32", num_threads=1))
    assert 0 < (prefill(runner) - close).abs().mean() < 1.0


@pytest.mark.parametrize("kv_dtype", ["float16", "bfloat16", "int8"])
def test_keys_and_values_at_less_than_full_size(tmp_path, goldens, kv_dtype):
    runner = load_runner(
        write(tmp_path / "m", "glm4"), dtype="float32", kv_dtype=kv_dtype, num_threads=1
    )
    exact = load_runner(write(tmp_path / "e", "glm4"), dtype="float32", num_threads=1)
    # 11 and 8 bits of keys and values; INT8 is off by up to 1/254 of its head's largest value,
    # twice what bfloat16 (1/512 of each value) rounds away.
    tolerance = {"float16": 0.02, "bfloat16": 0.15, "int8": 0.3}[kv_dtype]
    assert (prefill(runner) - goldens["glm4"]).abs().max() < tolerance
    prefill(exact)
    held = {name: r.memory_bytes()["cpu"] for name, r in (("less", runner), ("whole", exact))}
    heads = 2 * 2 * 2  # layers, keys and values, heads
    width = {"float16": 2 * 16, "bfloat16": 2 * 16, "int8": 16 + 4}[kv_dtype]
    assert held["whole"] - held["less"] == heads * (4 * 16 - width) * len(WHOLE)


@pytest.mark.parametrize("case", ["glm4", "llama"])
def test_int8_keys_and_values_decode_as_they_prefill(tmp_path, case):
    """What a step reads back is what a prefill of the whole reads: the same codes and scales."""
    folder = write(tmp_path / "m", case)
    runner = load_runner(folder, dtype="float32", kv_dtype="int8", num_threads=1)
    whole = prefill(runner)
    prefill(runner, PROMPT)
    steps = [
        runner.decode([0], [token], [len(PROMPT) + index])[0] for index, token in enumerate(ANSWER)
    ]
    assert torch.allclose(torch.stack(steps), whole[-len(ANSWER) :], atol=1e-4)


@pytest.mark.oracle
@pytest.mark.timeout(900)
def test_transformers_still_says_so(tmp_path, goldens):
    root = Path(__file__).parents[2]
    python = oracle_python("transformers", "torch==2.13.0", "transformers>=5,<6", "safetensors")
    path = os.pathsep.join(str(root / part) for part in ("engine", "tests/helpers"))
    subprocess.run(
        [str(python), str(DATA / "make_goldens.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    anew = load_file(tmp_path / "goldens.safetensors")
    assert anew.keys() == goldens.keys()
    for case, logits in anew.items():
        assert (logits - goldens[case]).abs().max() < TOLERANCE
