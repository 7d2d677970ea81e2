import json

import psutil
import pytest
import tiny_causal
import tiny_glm
import torch
from tiny_model import write_tiny_model

from bilin_engine import bench, processes
from bilin_engine.bench import (
    BenchSettings,
    measure,
    measure_random,
    measure_runner,
    read_bandwidth,
)
from bilin_engine.cli.main import run
from bilin_engine.config import QuantizationConfig, read_model_config
from bilin_engine.errors import BadRequestError
from bilin_engine.placement.cost import ModelCost
from bilin_engine.placement.known_configs import KNOWN_CONFIGS
from bilin_engine.protocol import LoadSettings
from bilin_engine.runners import load
from bilin_engine.runners.base import StoppedError
from bilin_engine.runners.load import load_runner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models"))


def test_bytes_per_token_are_the_weights_and_the_cache_at_mean_length(folder):
    report = measure(folder, LoadSettings(num_threads=1), BenchSettings(40, 20, beside_busy=False))
    cost = ModelCost(read_model_config(folder))
    assert report.bytes_per_token == cost.weights_bytes + cost.kv_bytes(50, kv_dtype="float32")
    assert report.num_threads == 1
    share = report.read_per_token * report.decode_tok_s / report.read_bytes_s
    assert report.share_of_bandwidth == pytest.approx(share)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (250, 10)])
def test_sizes_that_do_not_fit_are_refused(folder, sizes):
    with pytest.raises(BadRequestError):
        measure(folder, LoadSettings(num_threads=1), BenchSettings(*sizes))


def test_bandwidth_is_that_of_reading():
    assert read_bandwidth(1 << 20) > 0


@pytest.mark.parametrize("family", ["glm130b", "llama"])
def test_random_weights_are_measured_without_a_folder(family):
    if family == "glm130b":
        config = tiny_glm.tiny_config(quantization=QuantizationConfig.uniform(4, 32))
    else:
        config = tiny_causal.tiny_config("llama")
    report = measure_random(
        config, LoadSettings(num_threads=1, device="cpu"), BenchSettings(20, 4, beside_busy=False)
    )
    cost = ModelCost(config)
    assert report.bytes_per_token == cost.weights_bytes + cost.kv_bytes(22, kv_dtype="float32")
    assert report.backend == "cpu"
    held = report.memory_bytes["cpu"]
    assert report.read_per_token < held + cost.kv_bytes(22, kv_dtype="float32")


def test_a_measurement_stops_within_a_step(folder, monkeypatch):
    """A step of a large model takes longer than a cancel may wait."""
    runner = load_runner(folder, num_slots=1, num_threads=1)
    asked = []

    def decode(_slots, _token_ids, _position_ids, should_stop=None):
        asked.append(should_stop)
        raise StoppedError

    monkeypatch.setattr(runner, "decode", decode)
    with pytest.raises(StoppedError):
        measure_runner(
            runner, has_prefix=False, on_progress=lambda _f: None, should_stop=lambda: False
        )
    assert asked[0]
    assert asked[0]() is False
    runner.close()


@pytest.mark.parametrize(("device", "is_read"), [("cpu", True), ("cuda:0", False)])
def test_main_memory_is_measured_where_the_model_lies_in_it(folder, monkeypatch, device, is_read):
    """Whatever computes: the reference does on a GPU, too."""
    runner = load_runner(folder, num_slots=1, num_threads=1, backend="reference")
    monkeypatch.setattr(runner, "memory_bytes", lambda: {device: 1})
    monkeypatch.setattr(bench, "read_bandwidth", lambda _size: 25e9)
    rates = measure_runner(
        runner, has_prefix=False, on_progress=lambda _f: None, should_stop=lambda: False
    )
    assert rates.read_bytes_s == (25e9 if is_read else 0.0)
    runner.close()


def test_the_command_measures_a_known_configuration_without_files(monkeypatch, capsys):
    monkeypatch.setitem(KNOWN_CONFIGS, "tiny", tiny_glm.tiny_config(hidden_size=128))
    sizes = ["--prompt-tokens", "20", "--new-tokens", "4", "--device", "cpu", "--threads", "1"]
    sizes.append("--no-busy")
    made_up = ["bench", "--config", "tiny", *sizes]
    assert run([*made_up, "--group-size", "32", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["precision"], facts["backend"]) == ("tiny", "INT4 · 32", "cpu")
    assert run([*made_up, "--group-size", "32"]) == 0
    assert "tiny, random weights · INT4 · 32" in capsys.readouterr().out
    assert run([*made_up, "--group-size", "wide"]) == 1
    assert 'group size "wide" is unknown' in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["some-model", "--random-weights"], ["m", "--config", "c"]])
def test_the_command_says_what_it_measures(words, capsys):
    assert run(["bench", *words]) == 1
    assert "a model of the library, or --config NAME" in capsys.readouterr().err


def test_weights_that_no_memory_holds_are_refused_before_the_first_byte(monkeypatch, capsys):
    monkeypatch.setattr(processes, "main_memory_bytes", lambda: (24 * 2**30, 20 * 2**30))
    assert run(["bench", "--config", "glm-130b", "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "the weights take 62.5 GiB and 20.0 GiB of main memory are free" in said


def test_the_same_is_measured_beside_a_busy_process(monkeypatch):
    """With the idle machine's threads first, then as the pacer leads; nobody is left behind."""
    monkeypatch.setattr(bench, "SETTLE_S", 0.0)
    monkeypatch.setattr(load, "physical_cores", lambda: 2)
    before = torch.get_num_threads()
    config = tiny_glm.tiny_config(quantization=QuantizationConfig.uniform(4, 32))
    report = measure_random(config, LoadSettings(device="cpu"), BenchSettings(20, 4))
    torch.set_num_threads(before)
    busy = report.busy
    assert busy is not None
    assert min(busy.prefill_tok_s, busy.decode_tok_s, busy.kept_tok_s) > 0
    share = report.share_of_bandwidth * busy.decode_tok_s / report.decode_tok_s
    assert busy.share_of_bandwidth == pytest.approx(share)
    assert busy.num_threads in (1, 2)
    running = [c.cmdline() for c in psutil.Process().children()]
    assert not [command for command in running if "while True: pass" in command]
