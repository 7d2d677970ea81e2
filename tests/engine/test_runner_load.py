"""load_runner: what it picks, what it refuses, what it reports."""

import contextlib
import logging
from types import SimpleNamespace

import pytest
import torch
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.collectives.base import SingleRank
from bilin_engine.config import QuantizationConfig
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError
from bilin_engine.layers.kv_cache import KVCache
from bilin_engine.layers.weights import ComputePlan, RankWeights
from bilin_engine.runners import load
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.cuda import CudaRunner
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.local import LocalRunner
from bilin_kernels import loader
from bilin_kernels.loader import CudaLauncher, KernelLoadError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(path, quantization=QuantizationConfig.uniform(4, 32))
    return path


def test_progress_is_told_layer_by_layer(folder):
    heard = []
    load_runner(folder, num_threads=1, on_progress=lambda *e: heard.append(e)).close()
    assert [f for stage, f in heard if stage == "weights"] == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("options", "backend"),
    [
        ({}, "cpu"),
        ({"dtype": "float32"}, "reference"),
        ({"backend": "reference"}, "reference"),
        ({"backend": "cpu", "dtype": "bfloat16"}, "cpu"),
    ],
)
def test_the_backend_is_chosen_and_told(folder, options, backend):
    runner = load_runner(folder, num_threads=1, **options)
    assert runner.backend == backend
    runner.close()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"context": 65}, BadRequestError, "context 65 .* up to 64 tokens"),
        ({"context": -1}, BadRequestError, "context -1"),
        ({"num_slots": 0}, BadRequestError, "num_slots 0"),
        ({"num_threads": -2}, BadRequestError, "num_threads -2"),
        ({"num_threads": 100_000}, BadRequestError, r"num_threads 100000 .* \d+ processors"),
        ({"backend": "fast"}, BadRequestError, 'backend "fast" is unknown'),
        ({"dtype": "int4"}, BadRequestError, 'dtype "int4" is unknown'),
        ({"kv_dtype": "int4"}, BadRequestError, 'kv_dtype "int4" is unknown; use auto, .*int8'),
        ({"backend": "cpu", "dtype": "float32"}, BadRequestError, "use backend reference"),
        ({"device": "tpu"}, UnsupportedModelError, 'device "tpu"'),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(folder, options, error, words):
    with pytest.raises(error, match=words):
        load_runner(folder, **{"num_threads": 1, **options})


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelBrokenError, match=r"config\.json is missing"):
        load_runner(tmp_path / "nowhere")


def test_threads_are_measured_and_told(folder, monkeypatch):
    monkeypatch.setattr(load, "physical_cores", lambda: 2)
    runner = load_runner(folder)
    assert runner.num_threads in (1, 2)
    assert runner.num_threads == torch.get_num_threads()
    # Measuring leaves nothing behind in the cache.
    assert runner.length(0) == 0
    runner.close()


def test_memory_counts_weights_and_the_tokens_held(folder):
    runner = load_runner(folder, num_threads=1, backend="reference")
    empty = runner.memory_bytes()["cpu"]
    runner.prefill([PrefillRow(0, [1] * 10, list(range(10)), 9)])
    # 10 tokens, 3 layers, keys and values, 64 wide, float32.
    assert runner.memory_bytes()["cpu"] - empty == 10 * 3 * 2 * 64 * 4
    runner.close()


def test_too_little_memory_for_a_first_text_is_told_at_the_load(folder, monkeypatch):
    def no_room(_cache, _slot):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(KVCache, "block", no_room)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_runner(folder, num_threads=1)


def test_loading_is_logged_without_any_text(folder, caplog):
    with caplog.at_level(logging.INFO, logger="bilin_engine"):
        load_runner(folder, num_threads=1).close()
    assert "model loaded: glm130b, backend cpu" in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_plain_weights_run_in_every_dtype(tmp_path, dtype):
    write_tiny_model(tmp_path / "model", tiny_config(dtype="float16"))
    runner = load_runner(tmp_path / "model", dtype=dtype, num_threads=1)
    logits = runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])[0]
    exact = load_runner(tmp_path / "model", dtype="float32", num_threads=1)
    expected = exact.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])[0]
    # bfloat16 keeps 8 bits and logits reach 20.
    tolerance = {"float32": 1e-5, "float16": 0.05, "bfloat16": 0.3}[dtype]
    assert (logits - expected).abs().max() < tolerance


class RefusingLauncher:
    """Stands for kernels that this machine cannot run."""

    asked = 0

    def prepare(self, device):
        RefusingLauncher.asked += 1
        if device.index == 1:
            return
        raise KernelLoadError("the card has compute capability 6.1; the kernels need 7.5")


@pytest.fixture
def old_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(load, "default_launcher", RefusingLauncher)
    RefusingLauncher.asked = 0
    load._gpu_or_cpu.cache_clear()
    yield
    load._gpu_or_cpu.cache_clear()


@pytest.mark.usefixtures("old_gpu")
@pytest.mark.expects_log
def test_a_gpu_that_the_kernels_refuse_is_left_alone_and_told_once(folder, caplog):
    for _ in range(2):
        runner = load_runner(folder, num_threads=1)
        assert runner.backend == "cpu"
        runner.close()
    told = "not used: cuda:0: the card has compute capability 6.1"
    assert caplog.text.count(told) == 1
    assert RefusingLauncher.asked == 1


@pytest.mark.usefixtures("old_gpu")
@pytest.mark.expects_log
def test_a_newer_gpu_behind_it_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    assert load._gpu_or_cpu() == torch.device("cuda", 1)


@pytest.mark.usefixtures("old_gpu")
@pytest.mark.expects_log
def test_a_gpu_that_another_program_fills_is_passed_over(monkeypatch, caplog):
    def set_current():
        raise Exception("CUDA_ERROR_OUT_OF_MEMORY")  # as cuda.core: no RuntimeError

    core = SimpleNamespace(Device=lambda _index: SimpleNamespace(set_current=set_current))
    monkeypatch.setattr(loader, "cuda_core", lambda: core)
    monkeypatch.setattr(load, "default_launcher", CudaLauncher)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _index: "Some GPU")
    assert load._gpu_or_cpu() == torch.device("cpu")
    assert "not used: cuda:0: Some GPU cannot be used now (CUDA_ERROR_OUT_OF_MEMORY)" in caplog.text


@pytest.mark.usefixtures("old_gpu")
def test_a_gpu_asked_for_by_name_is_never_replaced(folder):
    with pytest.raises(
        UnsupportedModelError, match=r"cuda:0: the card has compute capability 6\.1"
    ):
        load_runner(folder, device="cuda", num_threads=1)
    with pytest.raises(BadRequestError, match="backend cuda computes in float16 or bfloat16"):
        load_runner(folder, device="cuda", backend="cuda", dtype="float32")


@pytest.mark.usefixtures("old_gpu")
def test_exact_arithmetic_stays_on_the_processor(folder):
    runner = load_runner(folder, dtype="float32", num_threads=1)
    assert runner.backend == "reference"
    assert RefusingLauncher.asked == 0
    runner.close()


@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"num_attention_heads": 1}, CudaRunner), ({"num_attention_heads": 4}, LocalRunner)],
)
def test_models_whose_heads_no_kernel_takes_run_without_the_step(tmp_path, changes, kind, caplog):
    """As on CUDA, on the kernels' reference: heads of 64 have a step, heads of 16 a warning."""
    config = tiny_config(inner_hidden_size=128, **changes)
    write_tiny_model(tmp_path / "model", config, quantization=QuantizationConfig.uniform(4, 32))
    plan = ComputePlan("cuda", torch.float16, torch.device("cpu"), kv_dtype=torch.float16)
    with ModelFolder(tmp_path / "model") as source:
        model = load._build(RankWeights(source, plan, SingleRank()), lambda *_: None)
    runner = load._local(model, plan, load._Sizes(2, 16), captures=False)
    assert type(runner) is kind
    assert ("slower: head_dim 16" in caplog.text) == (kind is LocalRunner)
    runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])
    assert runner.decode([0], [5], [3]).isfinite().all()


def test_the_cuda_kernels_refuse_int8_keys_and_values_and_say_what_would_be_right():
    plan = ComputePlan("cuda", torch.float16, torch.device("cuda", 0))
    with pytest.raises(BadRequestError, match=r"kv_dtype int8 is not computed .* use float16"):
        load._kv_dtype("int8", plan)
    assert load._kv_dtype("auto", plan) == torch.float16


def test_glm_130b_keeps_keys_and_values_in_int8(folder):
    """A quarter of float32 and a scale of 4 bytes a head; log-probs move by what rounding moves.

    A value is off by at most 1/254 of its head's largest, twice the 1/512 of each value that
    bfloat16 rounds away, which moves log-probs of this model by 0.02; 0.1 leaves room for both.
    """
    row = PrefillRow(0, list(range(5, 35)), list(range(30)), 20)
    found, sizes = {}, {}
    for kept in ("float16", "int8"):
        runner = load_runner(
            folder, num_threads=1, backend="reference", dtype="float32", kv_dtype=kept
        )
        weights = runner.memory_bytes()["cpu"]
        found[kept] = runner.prefill([row], "all")[0].log_softmax(-1)
        sizes[kept] = runner.memory_bytes()["cpu"] - weights
        runner.close()
    assert sizes == {"float16": 30 * 3 * 2 * 4 * 16 * 2, "int8": 30 * 3 * 2 * 4 * (16 + 4)}
    off = (found["int8"] - found["float16"]).abs()
    assert 0 < off.max() < 0.1
    assert off.mean() < 0.02
