"""The decode step for CUDA, on its kernels' reference, against the models' own forward.

The kernels themselves are held to that reference by tests/kernels; on a GPU the tests marked `gpu`
close the circle.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_causal
import tiny_glm
import torch

from bilin_engine.checkpoints.model_folder import ModelFolder, write_model_folder
from bilin_engine.collectives.base import SingleRank
from bilin_engine.config import (
    CausalConfig,
    ChatGLM6BConfig,
    GLMConfig,
    ModelConfig,
    QuantizationConfig,
    parse_model_config,
)
from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.packed_linear import PackedLinear
from bilin_engine.layers.weights import ComputePlan, RankWeights
from bilin_engine.models.decode_step import check_sizes
from bilin_engine.models.registry import model_class
from bilin_engine.runners.base import PrefillRow, StoppedError
from bilin_engine.runners.cuda import CudaRunner
from bilin_engine.runners.load import load_runner

CPU = torch.device("cpu")
PROMPTS = ([5, 17, 3, 60, 42, 42, 9, 61], [7, 1, 2], [11])
ANSWER = [30, 7, 11, 2]
WIDE = {  # what the kernels take: heads of 64 or 128, k in multiples of 64
    "hidden_size": 128,
    "inner_hidden_size": 192,
    "head_dim": 64,
}


@dataclass(frozen=True)
class Case:
    family: str
    quantization: QuantizationConfig | None = None
    ratio: int = 1

    def __str__(self):
        stored = "plain"
        if self.quantization is not None:
            scheme = self.quantization.schemes[0]
            stored = f"int{scheme.bits} {scheme.group_size}"
        return f"{self.family} {stored} {self.ratio}"


INT4, INT8 = QuantizationConfig.uniform(4, 64), QuantizationConfig.uniform(8, "row")
CASES = [
    Case("glm130b", INT4),
    Case("glm130b", QuantizationConfig.uniform(4, "row")),
    Case("glm130b", QuantizationConfig.uniform(4, 32)),
    Case("glm130b", INT8),
    Case("glm130b"),
    Case("chatglm6b", INT4),
    Case("glm", INT4, 2),
    Case("glm4", INT4, 4),
    Case("glm4 yarn", INT8, 2),
    Case("llama", INT4, 2),
    Case("llama 3"),
    Case("qwen2", INT4, 4),
    Case("qwen3", INT4, 2),
]


def config_of(case) -> ModelConfig:
    if case.family == "glm130b":
        return tiny_glm.tiny_config(hidden_size=128, num_attention_heads=2, inner_hidden_size=192)
    if case.family == "chatglm6b":
        content = {
            "model_type": "chatglm",
            "position_encoding_2d": True,
            "hidden_size": 128,
            "inner_hidden_size": 192,
            "num_attention_heads": 2,
            "num_layers": 3,
            "vocab_size": 96,
            "max_sequence_length": 64,
            "layernorm_epsilon": 1e-5,
            "torch_dtype": "float32",
        }
        config = parse_model_config(content, "tiny")
        assert isinstance(config, ChatGLM6BConfig)
        return config
    config = tiny_causal.tiny_config(
        case.family, num_attention_heads=4, num_key_value_heads=4 // case.ratio, **WIDE
    )
    assert isinstance(config, CausalConfig)
    turned = 64 if case.family.startswith(("llama", "qwen")) else 32
    return dataclasses.replace(config, rope=dataclasses.replace(config.rope, rotary_dim=turned))


def write(folder, case):
    config = config_of(case)
    if isinstance(config, GLMConfig):
        weights = tiny_glm.random_weights(config)
    else:
        weights = tiny_causal.random_weights(config)
    for name in weights:
        if "word_embeddings" in name:  # logits of an ordinary size
            weights[name] = weights[name] / weights[name].std() * (2.0 / 128**0.5)
    write_model_folder(folder, config, weights.items(), quantization=case.quantization)
    return folder


def step_runner(folder, device=CPU, *, captures=False, dtype=torch.float16, num_slots=4):
    plan = ComputePlan("cuda", dtype, device, kv_dtype=torch.float16)
    with ModelFolder(folder) as source, torch.inference_mode():
        weights = RankWeights(source, plan, SingleRank())
        model = model_class(source.config)(weights, head_dtype=torch.float32)
    return CudaRunner(
        model, num_slots=num_slots, max_length=40, num_threads=1, dtype=dtype, captures=captures
    )


def answer(runner, is_causal):
    """Logits of a prefill of three slots and of four steps, the last without the second slot."""
    rows = [
        PrefillRow(slot, ids, list(range(len(ids))), 0 if is_causal else len(ids) - 1)
        for slot, ids in enumerate(PROMPTS)
    ]
    logits = [torch.cat(runner.prefill(rows))]
    lengths = [len(ids) for ids in PROMPTS]
    for count, token in enumerate(ANSWER):
        slots = [2, 0, 1] if count < 3 else [0, 2]
        ids = [(token + slot) % 64 for slot in slots]
        logits.append(runner.decode(slots, ids, [lengths[slot] + count for slot in slots]))
    return logits


# Half a unit in the last place of float16 is 5e-4, taken some ten times a layer, mostly cancelling;
# measured up to 0.004 at logits of up to 15. A wrong head, pair, norm or residual gives units.
TOLERANCE = 0.01


@pytest.mark.parametrize("case", CASES, ids=str)
def test_step_equals_the_models_forward(tmp_path, case):
    folder = write(tmp_path / "model", case)
    is_causal = case.family not in ("glm130b", "chatglm6b")
    exact = load_runner(folder, dtype="float32", device="cpu", num_threads=1, num_slots=4)
    expected = answer(exact, is_causal)
    runner = step_runner(folder)
    for got, wanted in zip(answer(runner, is_causal), expected, strict=True):
        assert got.shape == wanted.shape
        assert (got - wanted).abs().max() < TOLERANCE
        assert wanted.std() > 0.5, "the logits say nothing"
    assert [runner.length(slot) for slot in range(4)] == [12, 6, 5, 0]
    runner.close()
    exact.close()


def test_the_model_that_ships_has_a_step():
    """Bilin Mini: INT4 in groups of 32, as it lies in resources/."""
    folder = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini"
    exact = load_runner(folder, dtype="float32", device="cpu", num_threads=1, num_slots=4)
    for got, wanted in zip(
        answer(step_runner(folder), is_causal=False), answer(exact, is_causal=False), strict=True
    ):
        assert (got - wanted).abs().max() < 5 * TOLERANCE  # six layers, logits three times as large


def test_copied_slots_go_on_as_the_original(tmp_path):
    runner = step_runner(write(tmp_path / "model", CASES[0]))
    runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])
    runner.copy_slots([0, 0], [1, 2])
    logits = runner.decode([0, 1, 2], [5, 5, 7], [3, 3, 3])
    assert torch.equal(logits[0], logits[1])
    runner.truncate(1, 3)
    # Another number of slots is another shape for the products of plain weights on the CPU.
    assert torch.allclose(runner.decode([1], [5], [3])[0], logits[0], atol=TOLERANCE)


def test_step_in_bfloat16(tmp_path):
    folder = write(tmp_path / "model", Case("llama", INT4, 2))
    exact = load_runner(folder, dtype="float32", device="cpu", num_threads=1)
    runner = step_runner(folder, dtype=torch.bfloat16)
    for got, wanted in zip(answer(runner, True), answer(exact, True), strict=True):
        assert (got - wanted).abs().max() < 8 * TOLERANCE  # three bits less


def test_a_stop_is_obeyed_before_the_step(tmp_path):
    runner = step_runner(write(tmp_path / "model", CASES[0]))
    runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])
    with pytest.raises(StoppedError):
        runner.decode([0], [5], [3], should_stop=lambda: True)
    assert runner.length(0) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0], [96], [3]), "token id 96 is outside the vocabulary"),
        (([0], [1], [64]), "position 64 is outside the model's context"),
        (([0, 0], [1, 1], [3, 3]), "different ones are needed"),
        (([0], [1, 2], [3, 4]), "1 slots with 2 tokens"),
    ],
)
def test_steps_that_cannot_be_are_refused(tmp_path, arguments, words):
    runner = step_runner(write(tmp_path / "model", CASES[4]))
    with pytest.raises(ValueError, match=words):
        runner.decode(*arguments)
    runner.prefill([PrefillRow(0, [1] * 40, list(range(40)), 0)])
    with pytest.raises(ValueError, match="slot 0 is full: it holds 40 of 40"):
        runner.decode([0], [1], [40])
    runner.close()
    with pytest.raises(ValueError, match="closed"):
        runner.decode([0], [1], [3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 4}, "head_dim 32: decode attention on CUDA takes 64 or 128"),
        ({"hidden_size": 12544, "num_attention_heads": 98}, "hidden_size 12544: the norm on CUDA"),
    ],
)
def test_sizes_that_no_kernel_takes_are_named(changes, words):
    sizes = {"hidden_size": 128, "num_attention_heads": 2}
    with pytest.raises(UnsupportedModelError, match=words):
        check_sizes(tiny_glm.tiny_config(**{**sizes, **changes}))


def make_packed(n, k, bits=4):
    generator = torch.Generator().manual_seed(n)
    per_word = 32 // bits
    words = torch.randint(-(1 << 31), 1 << 31, (n, k // per_word), generator=generator)
    scales = torch.rand(n, 1, generator=generator).half() / 100
    return PackedLinear(words.to(torch.int32), scales, k, bits, torch.float16, "some.linear")


@pytest.mark.parametrize("gating", ["gate_up", "up_gate"])
def test_paired_rows_come_back_in_their_order(gating):
    """Prefill reads the same weights as the step, and sees the model folder's order of rows."""
    linear = make_packed(96, 64)
    x = torch.randn(5, 64)
    before = linear(x)
    linear.pair(gating)
    assert torch.equal(linear(x), before)
    first, second = before.chunk(2, dim=1)
    gate, up = (first, second) if gating == "gate_up" else (second, first)
    fused = linear.fused(x.half(), None, "silu", torch.float32)
    torch.testing.assert_close(fused, up * torch.nn.functional.silu(gate), rtol=1e-4, atol=1e-4)


def test_shapes_that_no_kernel_takes_are_named():
    with pytest.raises(UnsupportedModelError, match=r"some\.linear: backend cuda: n = 24 is not"):
        make_packed(24, 64)
    with pytest.raises(UnsupportedModelError, match=r"some\.linear: backend cuda: k = 96 is not"):
        make_packed(32, 96)
    with pytest.raises(UnsupportedModelError, match="a gated pair of 48 rows"):
        make_packed(48, 64).pair("gate_up")


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_the_gpu_the_graph_equals_the_step_and_the_reference(tmp_path, case):
    folder = write(tmp_path / "model", case)
    is_causal = case.family not in ("glm130b", "chatglm6b")
    exact = load_runner(folder, dtype="float32", device="cpu", num_threads=1, num_slots=4)
    device = torch.device("cuda", torch.cuda.current_device())
    eager = answer(step_runner(folder, device), is_causal)
    runner = step_runner(folder, device, captures=True)
    captured = answer(runner, is_causal)
    again = answer(runner, is_causal)
    for got, same, repeated, wanted in zip(
        captured, eager, again, answer(exact, is_causal), strict=True
    ):
        assert torch.equal(got, same), "the graph is not the step"
        assert torch.equal(got, repeated), "two runs differ"
        assert (got - wanted).abs().max() < TOLERANCE


@pytest.mark.gpu
def test_on_the_gpu_memory_is_told(tmp_path):
    folder = write(tmp_path / "model", CASES[0])
    warm = load_runner(folder, device="cuda", num_slots=2)
    warm.decode([0], [5], [0])
    warm.close()  # what cuBLAS takes for each stream at first stays
    before = torch.cuda.memory_allocated()
    runner = load_runner(folder, device="cuda", num_slots=2)
    runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])
    runner.decode([0], [5], [3])
    ((name, told),) = runner.memory_bytes().items()
    assert name.startswith("cuda:")
    held = torch.cuda.memory_allocated() - before
    assert told <= held <= told + (160 << 20)  # beside it: the workspace, a graph's few buffers
    runner.close()
