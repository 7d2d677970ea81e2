"""`PlanModel`: finds the model and the devices, then asks placement."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bilin_engine.config import GroupSize, ModelConfig, read_model_config
from bilin_engine.errors import BadRequestError, ModelBrokenError, ModelNotFoundError
from bilin_engine.placement.cost import file_bytes
from bilin_engine.placement.devices import PlanDevice, cpu_device, cuda_device, parse_devices
from bilin_engine.placement.known_configs import KNOWN_CONFIGS, known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import DeviceInfo, MeasuredSpeed, ModelInfo, PlanModel, PlanResult
from bilin_engine.server.devices import NOTHING_LOADED, OwnMemory, list_devices

_PLANNABLE = {
    "glm-130b": "GLM-130B",
    "glm-4-9b-0414": "GLM-4-9B-0414",
    "glm-4-32b-0414": "GLM-4-32B-0414",
}
_BITS = {"": 4, "int4": 4, "int8": 8, "fp16": 16}


def plan_model(
    request: PlanModel,
    models: Sequence[ModelInfo],
    own: OwnMemory = NOTHING_LOADED,
    stored: ModelConfig | None = None,
) -> PlanResult:
    """Answers a `PlanModel`. Raises BilinError with a sentence.

    stored: the config of the model's folder where that was read already; nothing is read then.
    own: what the loaded model holds; a plan may have it, since loading another model frees it.
    """
    config = _config(request, models, stored)
    if request.devices:
        devices = parse_devices(request.devices)
    else:
        devices = with_speeds(real_devices(list_devices(own)), request.model, models)
    result = plan(config, _enabled(devices, request.enabled), request.settings)
    return msgspec.structs.replace(result, available=tuple(_info(device) for device in devices))


def real_devices(found: Sequence[DeviceInfo]) -> tuple[PlanDevice, ...]:
    """This machine's devices with the table's speeds."""
    devices: list[PlanDevice] = []
    for device in found:
        free_bytes = min(device.total_bytes, device.free_bytes + device.own_bytes)
        if device.name == "cpu":
            devices.append(cpu_device(device.total_bytes, free_bytes, label=device.label))
        else:
            index = int(device.name.partition(":")[2])
            devices.append(cuda_device(index, device.label, device.total_bytes, free_bytes))
    return tuple(devices)


def with_speeds(
    devices: Sequence[PlanDevice], model_id: str, models: Sequence[ModelInfo]
) -> tuple[PlanDevice, ...]:
    """Devices with what was measured on them: this model's own rates, main memory's bandwidth."""
    found = {model.id: model.speed for model in models if model.speed is not None}
    with_memory = [speed for speed in found.values() if speed.read_bytes_s]
    latest = max(with_memory, key=lambda speed: speed.at, default=None)
    own = found.get(model_id)
    return tuple(_with_speed(device, own, latest) for device in devices)


def _with_speed(
    device: PlanDevice, own: MeasuredSpeed | None, latest: MeasuredSpeed | None
) -> PlanDevice:
    """latest: the last of any model that has main memory's bandwidth."""
    if device.kind == "cpu" and latest is not None:
        device = _with_bandwidth(device, latest.read_bytes_s)
    if own is not None and own.devices == (device.name,):
        if device.kind == "cpu" and own.read_bytes_s:
            device = _with_bandwidth(device, own.read_bytes_s)
        return dataclasses.replace(
            device,
            decode_bytes_s=own.decode_tok_s * own.bytes_per_token,
            prefill_tok_s=own.prefill_tok_s,
        )
    return device


def _with_bandwidth(device: PlanDevice, bytes_s: float) -> PlanDevice:
    return dataclasses.replace(device, bandwidth=bytes_s, bandwidth_source="measured")


def known_models() -> tuple[ModelInfo, ...]:
    """What can be planned without its files, as INT4 in groups of 128."""
    return tuple(_known_info(name) for name in _PLANNABLE)


def _known_info(name: str) -> ModelInfo:
    config = known_config(name)
    return ModelInfo(
        id=name,
        name_zh=_PLANNABLE[name],
        name_en=_PLANNABLE[name],
        family="",
        num_parameters=config.num_parameters,
        precision="INT4 · 128",
        size_bytes=file_bytes(config),
        languages=("zh", "en"),
        can_chat=True,
        blank_kinds=(),
        context_length=config.max_sequence_length,
        licence="",
        source="",
        path="",
        is_bundled=False,
        num_layers=config.num_layers,
        num_heads=config.num_attention_heads,
    )


def _config(
    request: PlanModel, models: Sequence[ModelInfo], stored: ModelConfig | None
) -> ModelConfig:
    """A model of the library is planned as it lies on disk; a known one as it would be stored."""
    info = next((model for model in models if model.id == request.model), None)
    if info is not None and not request.group_size and not request.precision:
        if info.problem:
            raise ModelBrokenError(info.problem)
        return stored or read_model_config(Path(info.path))
    if request.model in KNOWN_CONFIGS:
        return known_config(
            request.model,
            bits=_BITS[request.precision],
            group_size=_group_size(request.group_size),
        )
    if info is not None:
        raise BadRequestError(
            f'"{request.model}" is stored as {info.precision} already; leave precision and group '
            "size out"
        )
    names = [*(model.id for model in models), *sorted(KNOWN_CONFIGS)]
    raise ModelNotFoundError(f'there is no model "{request.model}"; known: {", ".join(names)}')


def _group_size(text: str) -> GroupSize:
    if not text:
        return 128
    if text == "row":
        return "row"
    if not re.fullmatch(r"\d{1,6}", text):
        raise BadRequestError(f'group size "{text}" is none; use row, 128, 64 or 32')
    return int(text)


def _info(device: PlanDevice) -> DeviceInfo:
    return DeviceInfo(
        name=device.name,
        label=device.label,
        total_bytes=device.total_bytes,
        free_bytes=device.free_bytes,
    )


def _enabled(devices: Sequence[PlanDevice], names: Sequence[str]) -> Sequence[PlanDevice]:
    if not names:
        return devices
    unknown = sorted(set(names) - {device.name for device in devices})
    if unknown:
        raise BadRequestError(
            f"there is no device {unknown[0]}; there are "
            f"{', '.join(device.name for device in devices)}"
        )
    return [device for device in devices if device.name in names]
