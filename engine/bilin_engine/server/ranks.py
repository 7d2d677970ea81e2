"""From load settings to processes: how many ranks, which layers where, and how much that takes.

Reads config.json alone. What placement expects is told beside what a load then really takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bilin_engine.config import ModelConfig, read_model_config
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.placement.cost import ModelCost, check_degree
from bilin_engine.placement.plan import assign_layers, plan
from bilin_engine.protocol import (
    DeviceInfo,
    LayerStage,
    LoadSettings,
    PlacementMode,
    PlanSettings,
)
from bilin_engine.server.devices import list_devices
from bilin_engine.server.planning import real_devices


@dataclass(frozen=True, slots=True)
class RankLayout:
    """mode is never "auto". stages: of a layer split, else empty. head_stage: index in them."""

    mode: PlacementMode = "single"
    world_size: int = 1
    stages: tuple[LayerStage, ...] = ()
    head_stage: int = 0
    predicted_bytes: dict[str, int] = field(default_factory=dict)


def lay_out(
    settings: LoadSettings,
    folder: Path,
    devices: Callable[[], Sequence[DeviceInfo]] = list_devices,
) -> RankLayout:
    """Decides for one load. Raises BadRequestError for settings that no load can have.

    A folder whose configuration cannot be read is left to the worker, whose sentence is better.
    """
    names = [name.strip() for name in settings.device.split(",")]
    if not all(names):
        raise BadRequestError(f'device "{settings.device}": a name is missing between commas')
    if settings.world_size < 0:
        raise BadRequestError(f"world_size {settings.world_size}: 0 (one a device) or more")
    mode = _mode(settings, names)
    try:
        config = read_model_config(folder)
    except BilinError:
        return RankLayout(mode="single")
    context = settings.context or config.max_sequence_length
    cost = ModelCost(config)
    working = cost.activation_bytes(max(1, context // 2))
    if mode == "auto":
        mode = _best_mode(config, context, names, devices())
    if mode == "tensor_parallel":
        return _tensor_parallel(config, context, names, settings.world_size)
    if mode == "layer_split":
        return _layer_split(cost, context, names, working, devices)
    name = "cpu" if names[0] == "auto" else names[0]
    total = cost.weights_bytes + cost.kv_bytes(context) + working
    return RankLayout(predicted_bytes={name: total})


def _mode(settings: LoadSettings, names: Sequence[str]) -> PlacementMode:
    """The mode as far as the settings alone decide it."""
    mode, world_size, several = settings.mode, settings.world_size, len(names) > 1
    if mode == "single" and (several or world_size > 1):
        raise BadRequestError(
            f'mode single takes one device and one rank, not device "{settings.device}" and '
            f"world_size {world_size}"
        )
    if mode == "layer_split" and world_size > 1:
        raise BadRequestError(f"mode layer_split runs in one process, not {world_size} ranks")
    if several and world_size not in (0, len(names)):
        raise BadRequestError(
            f'world_size {world_size} does not suit device "{settings.device}"; '
            f"leave it out or give {len(names)}"
        )
    if mode == "tensor_parallel" and not several and world_size < 2:
        raise BadRequestError("mode tensor_parallel needs 2 or more devices, or a world_size")
    if mode == "auto":
        if world_size > 1:
            return "tensor_parallel"
        return "auto" if several else "single"
    return mode


def _best_mode(
    config: ModelConfig, context: int, names: Sequence[str], found: Sequence[DeviceInfo]
) -> PlacementMode:
    """Of several devices: what placement expects to be fastest."""
    named = [device for device in real_devices(found) if device.name in names]
    if len(named) < len(names):  # some are parts of one processor, or are not there
        return "tensor_parallel"
    mode = plan(config, named, PlanSettings(context=context)).mode
    return "layer_split" if mode == "single" else mode


def _tensor_parallel(
    config: ModelConfig, context: int, names: Sequence[str], world_size: int
) -> RankLayout:
    ranks = world_size or len(names)
    check_degree(config, ranks)
    cost = ModelCost(config, ranks)
    prompt = max(1, context // 2)
    each = cost.weights_bytes + cost.kv_bytes(context)
    each += cost.activation_bytes(prompt) + cost.communication_bytes(prompt)
    predicted: dict[str, int] = {}
    for rank in range(ranks):
        name = names[rank] if len(names) > 1 else names[0]
        name = "cpu" if name.partition(":")[0] in ("auto", "cpu") else name
        predicted[name] = predicted.get(name, 0) + each
    return RankLayout("tensor_parallel", ranks, predicted_bytes=predicted)


def _layer_split(
    cost: ModelCost,
    context: int,
    names: Sequence[str],
    working: int,
    devices: Callable[[], Sequence[DeviceInfo]],
) -> RankLayout:
    num_layers = cost.config.num_layers
    if all(name.partition(":")[0] in ("auto", "cpu") for name in names):
        # Parts of one processor, for trying a split without GPUs: the same number of layers each.
        parts = max(2, len(names))
        counts = [num_layers * (i + 1) // parts - num_layers * i // parts for i in range(parts)]
        stage_names, head = [f"cpu:{i}" for i in range(parts)], parts - 1
    else:
        found = real_devices(devices())
        named = [d for d in found if d.name in names]
        if missing := sorted(set(names) - {device.name for device in named}):
            raise BadRequestError(
                f"there is no device {missing[0]}; there are {', '.join(d.name for d in found)}"
            )
        assignment = assign_layers(cost, named, PlanSettings(context=context, prompt_tokens=1))
        counts, head = list(assignment.layers), assignment.head_device
        stage_names = [device.name for device in named]
    predicted: dict[str, int] = {}
    done = 0
    for index, (name, count) in enumerate(zip(stage_names, counts, strict=True)):
        size = sum(cost.layer_bytes[done : done + count]) + cost.kv_bytes(context, count) + working
        done += count
        if index == head:
            size += cost.head_bytes + cost.final_bytes
        predicted[name] = size
    stages = tuple(map(LayerStage, stage_names, counts))
    return RankLayout("layer_split", 1, stages, head, predicted)
