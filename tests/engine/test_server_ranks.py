"""Several ranks behind one supervisor: how many, what a load takes, and what a bad rank costs."""

import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from letter_models import Engine
from listening import foreign_listeners
from stdio_app import command_line, wait_gone
from tiny_glm import tiny_config
from tiny_glm import write_tiny_model as write_weights
from tiny_model import write_tiny_model

from bilin_engine.config import QuantizationConfig, read_model_config
from bilin_engine.errors import BadRequestError
from bilin_engine.library import Library
from bilin_engine.placement.cost import ModelCost
from bilin_engine.placement.devices import cpu_device, cuda_device
from bilin_engine.placement.plan import assign_layers, plan
from bilin_engine.protocol import (
    BlankSegment,
    Chat,
    ChatResult,
    DeviceInfo,
    Done,
    Failed,
    Fill,
    FillResult,
    LayerStage,
    ListModels,
    LoadModel,
    LoadSettings,
    Message,
    ModelLoaded,
    PlanSettings,
    PredictedMemory,
    Sampling,
    TextSegment,
)
from bilin_engine.server.model_host import _num_slots
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.planning import real_devices
from bilin_engine.server.ranks import RankLayout, lay_out, shortage, slots_beside
from bilin_engine.server.worker_process import WorkerCommand

GIB = 1024**3


def gpu(index, gib):
    return DeviceInfo(name=f"cuda:{index}", label="", total_bytes=gib * GIB, free_bytes=gib * GIB)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "model"
    config = tiny_config(num_layers=3, hidden_size=128, inner_hidden_size=128)
    write_weights(path, config, quantization=QuantizationConfig.uniform(4, 32))
    return path


def test_what_a_card_lacks_for_a_model_is_told_as_a_plan_tells_it(folder):
    full = DeviceInfo(name="cuda:0", label="RTX 3090", total_bytes=24 * GIB, free_bytes=GIB // 2)
    alone = LoadSettings(device="cuda:0", mode="single", context=16)
    assert re.match(
        r"cuda:0 \(RTX 3090\) needs \d+ MiB more", shortage(alone, folder, lambda: [full])
    )
    assert shortage(alone, folder, lambda: [gpu(0, 24)]) == ""
    beside = LoadSettings(device="cuda:0,cpu", mode="layer_split", context=16)
    cpu = DeviceInfo(name="cpu", label="", total_bytes=8 * GIB, free_bytes=8 * GIB)
    assert shortage(beside, folder, lambda: [gpu(0, 1), cpu]) == ""
    assert shortage(LoadSettings(context=16), folder, lambda: [full, cpu]) == ""  # no device named


def test_one_device_is_one_rank(folder):
    layout = lay_out(LoadSettings(context=16), folder)
    cost = ModelCost(read_model_config(folder))
    assert (layout.mode, layout.world_size, layout.stages) == ("single", 1, ())
    kv_cache = cost.kv_bytes(16, kv_dtype="float32")  # as the processor keeps it
    expected = PredictedMemory(
        weights=cost.weights_bytes, kv_cache=kv_cache, activations=cost.activation_bytes(8)
    )
    assert layout.predicted == {"cpu": expected}


@pytest.mark.parametrize("kv_dtype", ["auto", "float16", "int8"])
def test_a_plan_and_a_load_predict_the_same(folder, kv_dtype):
    layout = lay_out(LoadSettings(context=16, kv_dtype=kv_dtype), folder, tuple)
    config = read_model_config(folder)
    device = cpu_device(64 * GIB, 64 * GIB)
    (planned,) = plan(config, [device], PlanSettings(context=16, kv_dtype=kv_dtype)).devices
    found = layout.predicted["cpu"]
    assert (found.weights, found.kv_cache) == (planned.weights, planned.kv_cache)
    assert (found.activations, found.communication) == (planned.activations, 0)


def test_ranks_on_gpus_are_predicted_as_planned(folder):
    cards = (gpu(0, 24), gpu(1, 24))
    for mode in ("tensor_parallel", "layer_split"):
        layout = lay_out(LoadSettings(device="cuda:0,cuda:1", mode=mode), folder, lambda: cards)
        planned = plan(
            read_model_config(folder), real_devices(cards), PlanSettings(mode=mode)
        ).devices
        for device in planned:
            found = layout.predicted[device.name]
            assert (found.weights, found.kv_cache, found.activations, found.communication) == (
                (device.weights, device.kv_cache, device.activations, device.communication)
            )


def test_world_size_asks_for_ranks_on_the_processor(folder):
    layout = lay_out(LoadSettings(world_size=2), folder)
    assert (layout.mode, layout.world_size) == ("tensor_parallel", 2)
    assert list(layout.predicted) == ["cpu"]


def test_a_rank_for_each_device_named(folder):
    settings = LoadSettings(device="cuda:0,cuda:1", mode="tensor_parallel")
    layout = lay_out(settings, folder, lambda: (gpu(0, 24), gpu(1, 24)))
    assert layout.world_size == 2
    first, second = layout.predicted.values()
    assert first == second


def test_texts_at_a_time_count_where_layers_are_placed(folder):
    """Each slot keeps keys and values of its own beside every layer."""
    cost = ModelCost(read_model_config(folder))
    cards = [cuda_device(0, "", 4 * GIB, 4 * GIB), cpu_device(64 * GIB, 64 * GIB)]
    kept = cost.kv_bytes(1 << 20, 1, "float16")
    room = cards[0].free_bytes - cost.activation_bytes(512) - PlanSettings().reserve_bytes
    assert room > 3 * kept  # all layers fit, with one text
    counts = [
        assign_layers(cost, cards, PlanSettings(context=1 << 20, prompt_tokens=512), slots).layers
        for slots in (1, room // kept + 1)
    ]
    assert counts == [(3, 0), (0, 3)]


def test_a_gpu_gets_as_many_texts_at_a_time_as_it_holds():
    """Each has keys and values of its own; a plan counted those of one."""
    needed = PredictedMemory(weights=3 * GIB, kv_cache=2 * GIB, activations=GIB)

    def slots(*free_gib, names=("cuda:0",)):
        layout = RankLayout(predicted=dict.fromkeys(names, needed))
        cards = [gpu(index, gib) for index, gib in enumerate(free_gib)]
        return slots_beside(layout, 8, GIB, lambda: cards)

    assert [slots(gib) for gib in (5, 7, 8, 9, 14, 99)] == [1, 1, 1, 2, 4, 8]
    assert slots(99, 11, names=("cuda:0", "cuda:1")) == 3
    assert slots(5, names=("cpu",)) == 8


def test_beams_get_the_slots_that_fit_beside_a_layout_for_one_text(monkeypatch):
    needed = PredictedMemory(weights=3 * GIB, kv_cache=2 * GIB, activations=GIB)
    layout = RankLayout(predicted={"cuda:0": needed})
    monkeypatch.setattr("bilin_engine.server.model_host.slots_beside", partial(
        slots_beside, devices=lambda: [gpu(0, 11)]
    ))  # fmt: skip
    assert _num_slots(layout, 1, GIB) == 3
    assert _num_slots(layout, 5, GIB) == 5  # asked for, and in the layout already


def test_layers_go_where_placement_puts_them(folder):
    settings = LoadSettings(device="cuda:0,cuda:1", mode="layer_split")
    layout = lay_out(settings, folder, lambda: (gpu(0, 24), gpu(1, 11)))
    assert layout.world_size == 1
    assert sum(stage.num_layers for stage in layout.stages) == 3
    assert layout.stages[0].num_layers >= layout.stages[1].num_layers


def test_layers_split_over_parts_of_one_processor(folder):
    layout = lay_out(LoadSettings(device="cpu,cpu", mode="layer_split"), folder)
    assert layout.stages == (LayerStage("cpu:0", 1), LayerStage("cpu:1", 2))
    assert layout.head_stage == 1


def test_a_folder_that_cannot_be_read_is_left_to_the_worker(tmp_path):
    assert lay_out(LoadSettings(), tmp_path) == RankLayout()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"world_size": 3}, "tensor parallel over 3 devices does not divide .* possible: 1, 2, 4$"),
        ({"mode": "single", "world_size": 2}, "mode single takes one device and one rank"),
        ({"mode": "layer_split", "world_size": 2}, "runs in one process"),
        ({"mode": "tensor_parallel"}, "needs 2 or more devices, or a world_size"),
        ({"device": "cuda:0,cuda:1", "world_size": 4}, "leave it out or give 2"),
        ({"device": "cuda:0,,cuda:1"}, "a name is missing"),
        ({"device": "cuda:7,cuda:0", "mode": "layer_split"}, "there is no device cuda:7"),
        ({"world_size": -1}, "world_size -1"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_starts(folder, settings, words):
    with pytest.raises(BadRequestError, match=words):
        lay_out(LoadSettings(**settings), folder, lambda: (gpu(0, 24),))


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranked") / "models"
    write_tiny_model(path)
    return path


class Ranks:
    """A supervisor with the tiny model on several ranks."""

    def __init__(self, models_dir: Path):
        command = WorkerCommand(nice=0, log_level="CRITICAL")
        self.engine = Engine(command, texts=ModelTexts(Library(models_dir)))

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.engine.supervisor.close()

    def load(self, **settings):
        settings = LoadSettings(num_threads=1, dtype="float32", **settings)
        return self.engine.ask(lambda i: LoadModel(id=i, model="tiny", settings=settings))

    def chat(self, num_tokens=12):
        return self.engine.send(
            lambda i: Chat(
                id=i,
                model="tiny",
                messages=(Message("user", "你好"),),
                sampling=Sampling(temperature=0.0, max_new_tokens=num_tokens),
            )
        )


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_large_model_computes_one_text_at_a_time_and_yet_searches_with_beams(
    models_dir, monkeypatch, world_size
):
    """From 2 B parameters on it had one slot: "Beam search" was offered and never worked."""
    monkeypatch.setattr("bilin_engine.server.model_host.SMALL_MODEL_PARAMETERS", 0)
    with Ranks(models_dir) as ranks:
        assert isinstance(ranks.load(world_size=world_size), Done)
        filled = ranks.engine.ask(
            lambda i: Fill(
                id=i,
                model="tiny",
                segments=(TextSegment("a"), BlankSegment("short")),
                num_candidates=3,
                sampling=Sampling(num_beams=3, max_new_tokens=4, seed=1),
            )
        )
        assert isinstance(filled, Done), filled
        assert isinstance(filled.result, FillResult)
        assert len(filled.result.blanks[0].candidates) == 3


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ranks_answer_as_one_and_listen_nowhere(models_dir):
    with Ranks(models_dir) as ranks:
        answers = {}
        for name, settings in {
            "one": {},
            "shared memory": {"world_size": 2},
            "gloo": {"world_size": 2, "collective": "gloo"},
            "split": {"mode": "layer_split"},
        }.items():
            loaded = ranks.load(**settings)
            assert isinstance(loaded, Done), loaded
            assert isinstance(loaded.result, ModelLoaded)
            assert loaded.result.world_size == settings.get("world_size", 1)
            assert loaded.result.memory_bytes
            assert loaded.result.predicted_bytes
            assert loaded.result.predicted.keys() == loaded.result.predicted_bytes.keys()
            answer = ranks.engine.end(ranks.chat())
            assert isinstance(answer, Done)
            assert isinstance(answer.result, ChatResult)
            answers[name] = answer.result.text
            pids = ranks.engine.worker_pids()
            assert len(pids) == settings.get("world_size", 1)
            assert foreign_listeners({os.getpid(), *pids}) == []
        assert set(answers.values()) == {answers["one"]}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("sent", "words"),
    [(signal.SIGKILL, r"rank 1.*SIGKILL"), (signal.SIGSTOP, "Rank 1 of the model hung: for 3 s")],
)
@pytest.mark.parametrize("collective", ["shared_memory", "gloo"])
def test_a_rank_that_dies_or_hangs_fails_the_request_soon(models_dir, sent, words, collective):
    with Ranks(models_dir) as ranks:
        assert isinstance(ranks.load(world_size=2, collective=collective), Done)
        pids = ranks.engine.worker_pids()
        [rank_1] = (pid for pid in pids if b"--rank\x001\x00" in command_line(pid))
        os.kill(rank_1, sent)
        started_s = time.monotonic()
        request = ranks.chat(num_tokens=200)
        failed = ranks.engine.end(request)
        waited_s = time.monotonic() - started_s
        assert isinstance(failed, Failed)
        assert failed.code in ("worker_died", "not_loaded")
        reason = ranks.engine.state("fault").reason
        assert re.search(words, reason), reason
        assert waited_s < 15
        assert wait_gone(pids) == []
        assert isinstance(ranks.engine.ask(ListModels), Done)
        assert isinstance(ranks.load(), Done)
