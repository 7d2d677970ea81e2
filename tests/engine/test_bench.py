import json

import pytest
import tiny_causal
import tiny_glm
from tiny_model import write_tiny_model

from bilin_engine.bench import BenchSettings, measure, measure_random, read_bandwidth
from bilin_engine.cli.main import run
from bilin_engine.config import QuantizationConfig, read_model_config
from bilin_engine.errors import BadRequestError
from bilin_engine.placement.cost import ModelCost
from bilin_engine.placement.known_configs import KNOWN_CONFIGS
from bilin_engine.protocol import LoadSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models"))


def test_bytes_per_token_are_the_weights_and_the_cache_at_mean_length(folder):
    report = measure(folder, LoadSettings(num_threads=1), BenchSettings(40, 20))
    cost = ModelCost(read_model_config(folder))
    assert report.bytes_per_token == cost.weights_bytes + cost.kv_bytes(50, kv_dtype="float32")
    assert report.num_threads == 1
    share = report.bytes_per_token * report.decode_tok_s / report.read_bytes_s
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
    report = measure_random(config, LoadSettings(num_threads=1, device="cpu"), BenchSettings(20, 4))
    cost = ModelCost(config)
    assert report.bytes_per_token == cost.weights_bytes + cost.kv_bytes(22, kv_dtype="float32")
    assert report.backend == "cpu"


def test_the_command_measures_a_known_configuration_without_files(monkeypatch, capsys):
    monkeypatch.setitem(KNOWN_CONFIGS, "tiny", tiny_glm.tiny_config(hidden_size=128))
    sizes = ["--prompt-tokens", "20", "--new-tokens", "4", "--device", "cpu", "--threads", "1"]
    made_up = ["bench", "--config", "tiny", "--random-weights", *sizes]
    assert run([*made_up, "--group-size", "32", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["precision"], facts["backend"]) == ("tiny", "INT4 · 32", "cpu")
    assert run([*made_up, "--group-size", "32"]) == 0
    assert "tiny, random weights · INT4 · 32" in capsys.readouterr().out
    assert run([*made_up, "--group-size", "wide"]) == 1
    assert 'group size "wide" is unknown' in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["--config", "glm-130b"], ["some-model", "--random-weights"]]
)
def test_the_command_says_what_it_measures(words, capsys):
    assert run(["bench", *words]) == 1
    assert "--config NAME --random-weights" in capsys.readouterr().err
