"""`PlanModel`: the right model, the right devices, and sentences for the wrong ones."""

import msgspec
import pytest

from bilin_engine.config import GLMConfig, QuantizationConfig
from bilin_engine.errors import BadRequestError, ModelBrokenError, ModelNotFoundError
from bilin_engine.placement.devices import cpu_device, cuda_device, parse_devices
from bilin_engine.placement.known_configs import known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import DeviceInfo, MeasuredSpeed, ModelInfo, PlanModel, PlanSettings
from bilin_engine.server.planning import known_models, plan_model, real_devices, with_speeds

GIB = 1024**3


def info(path: str = "", problem: str = "") -> ModelInfo:
    return ModelInfo(
        id="mine",
        name_zh="我的",
        name_en="Mine",
        family="GLM-130B",
        num_parameters=1,
        precision="INT4 · 64",
        size_bytes=1,
        languages=("zh",),
        can_chat=True,
        blank_kinds=(),
        context_length=64,
        licence="",
        source="",
        path=path,
        is_bundled=False,
        problem=problem,
    )


def test_a_known_model_is_planned_as_it_would_be_stored():
    request = PlanModel(
        id=1, model="glm-130b", devices="4x24GiB", precision="int8", group_size="row",
        settings=PlanSettings(context=512),
    )  # fmt: skip
    expected = plan(
        known_config("glm-130b", bits=8, group_size="row"),
        parse_devices("4x24GiB"),
        PlanSettings(context=512),
    )
    result = plan_model(request, [])
    assert msgspec.structs.replace(result, available=()) == expected
    assert [device.name for device in result.available] == [f"cuda:{i}" for i in range(4)]


def test_a_model_of_the_library_is_planned_as_it_lies_on_disk(tmp_path):
    import json

    config = GLMConfig.create(
        num_layers=2, hidden_size=256, num_attention_heads=4, inner_hidden_size=512,
        vocab_size=512, max_sequence_length=64, quantization=QuantizationConfig.uniform(4, 64),
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    request = PlanModel(id=1, model="mine", devices="1x8GiB")
    result = plan_model(request, [info(str(tmp_path))])
    assert msgspec.structs.replace(result, available=()) == plan(
        config, parse_devices("1x8GiB"), PlanSettings()
    )
    assert result.fits


def test_only_the_enabled_devices_are_used():
    request = PlanModel(id=1, model="glm-130b", devices="4x80GiB", enabled=("cuda:2",))
    result = plan_model(request, [])
    assert [device.name for device in result.devices] == ["cuda:2"]


def test_real_devices_keep_their_free_memory():
    found = [
        DeviceInfo(
            name="cuda:0", label="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB,
            free_bytes=20 * GIB,
        ),
        DeviceInfo(name="cpu", label="A CPU", total_bytes=64 * GIB, free_bytes=50 * GIB),
    ]  # fmt: skip
    gpu, cpu = real_devices(found)
    assert (gpu.kind, gpu.free_bytes, gpu.bandwidth) == ("cuda", 20 * GIB, 936e9)
    assert (cpu.kind, cpu.free_bytes) == ("cpu", 50 * GIB)


def measured(model_id: str, at: float, read_bytes_s: float, device: str = "cpu") -> ModelInfo:
    speed = MeasuredSpeed(
        at=at, machine="A CPU", devices=(device,), decode_tok_s=10.0, prefill_tok_s=100.0,
        prompt_tokens=16, bytes_per_token=1000, read_bytes_s=read_bytes_s,
    )  # fmt: skip
    return msgspec.structs.replace(info(), id=model_id, speed=speed)


def test_a_later_measurement_without_a_bandwidth_leaves_the_one_there_was():
    models = [measured("a", 1, 25e9), measured("b", 2, 0.0), measured("c", 3, 0.0, "cuda:0")]
    devices = [cpu_device(64 * GIB, 50 * GIB), cuda_device(0, "RTX 3090", 24 * GIB, 20 * GIB)]
    for model in ("", "a", "b", "c"):
        cpu, gpu = with_speeds(devices, model, models)
        assert (cpu.bandwidth, cpu.bandwidth_source) == (25e9, "measured")
        assert (gpu.bandwidth, gpu.bandwidth_source) == (936e9, "data_sheet")
        assert (cpu.decode_bytes_s > 0, gpu.decode_bytes_s > 0) == (
            model in ("a", "b"),
            model == "c",
        )


def test_main_memorys_bandwidth_is_no_gpus():
    """Earlier versions stored one with what the reference did on a GPU."""
    devices = [cuda_device(0, "RTX 3090", 24 * GIB, 20 * GIB)]
    (gpu,) = with_speeds(devices, "a", [measured("a", 1, 25e9, "cuda:0")])
    assert gpu.bandwidth == 936e9


@pytest.mark.parametrize(
    ("request_", "error", "sentence"),
    [
        (PlanModel(id=1, model="nothing"), ModelNotFoundError, "known: mine, .*glm-130b"),
        (
            PlanModel(id=1, model="glm-130b", group_size="many"),
            BadRequestError,
            "use row, 128, 64 or 32",
        ),
        (
            PlanModel(id=1, model="mine", precision="int8"),
            BadRequestError,
            "is stored as INT4 · 64 already",
        ),
        (
            PlanModel(id=1, model="glm-130b", devices="1x80GiB", enabled=("cuda:7",)),
            BadRequestError,
            "there is no device cuda:7; there are cuda:0",
        ),
        (PlanModel(id=1, model="mine"), ModelBrokenError, "a shard is missing"),
    ],
)
def test_what_cannot_be_planned_is_said(request_, error, sentence):
    with pytest.raises(error, match=sentence):
        plan_model(request_, [info(problem="a shard is missing")])


def test_known_models_can_be_planned_without_their_files():
    infos = known_models()
    assert "glm-130b" in [info.id for info in infos]
    for info in infos:
        result = plan_model(PlanModel(id=1, model=info.id, devices="8x80GiB"), ())
        assert result.context == info.context_length
