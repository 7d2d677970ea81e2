"""From load settings to processes: how many ranks, which layers where, and how much that takes.

Reads config.json alone. What placement expects is told beside what a load then really takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bilin_engine.config import ModelConfig, read_model_config
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.placement.cost import ModelCost, check_degree, kv_dtype_on
from bilin_engine.placement.plan import assign_layers, plan
from bilin_engine.protocol import (
    DeviceInfo,
    LayerStage,
    LoadSettings,
    PlacementMode,
    PlanSettings,
    PredictedMemory,
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
    predicted: dict[str, PredictedMemory] = field(default_factory=dict)


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
    if mode == "auto":
        mode = _best_mode(config, context, names, devices())
    if mode == "tensor_parallel":
        return _tensor_parallel(config, context, names, settings)
    if mode == "layer_split":
        return _layer_split(ModelCost(config), context, names, settings, devices)
    name = _alone_on(names[0], settings, devices)
    return RankLayout(predicted={name: _predicted(ModelCost(config), context, name, settings)})


def slots_beside(
    layout: RankLayout,
    most: int,
    reserve_bytes: int,
    devices: Callable[[], Sequence[DeviceInfo]] = list_devices,
) -> int:
    """Texts at a time, 1 to `most`, whose keys and values the GPUs of a layout for one text hold.

    On the processor memory goes to tokens really written: there it is `most`.
    """
    held = {n: part for n, part in layout.predicted.items() if n.startswith("cuda")}
    free = {device.name: device.free_bytes for device in devices()} if held else {}
    fitting = [
        1 + (free[name] - reserve_bytes - part.total) // max(1, part.kv_cache)
        for name, part in held.items()
        if name in free
    ]
    return max(1, min([most, *fitting]))


def fitting_slots(settings: LoadSettings, folder: Path, most: int) -> int:
    """Texts at a time, 1 to `most`, that a load's devices hold beside the model in `folder`."""
    alone = lay_out(msgspec.structs.replace(settings, num_slots=1), folder)
    return slots_beside(alone, most, settings.reserve_bytes)


def shortage(
    settings: LoadSettings,
    folder: Path,
    devices: Callable[[], Sequence[DeviceInfo]] = list_devices,
) -> str:
    """What the devices of `settings` lack for the model in `folder`, as a plan says it, or ""."""
    names = [name.strip() for name in settings.device.split(",")]
    named = [device for device in real_devices(devices()) if device.name in names]
    config = read_model_config(folder)
    asked = _plan_settings(settings, settings.context or config.max_sequence_length)
    return plan(config, named, asked).reason if named else ""


def _plan_settings(settings: LoadSettings, context: int) -> PlanSettings:
    return PlanSettings(
        context=context,
        prompt_tokens=settings.prompt_tokens or _prompt_tokens(context),
        mode=settings.mode,
        reserve_bytes=settings.reserve_bytes,
        cpu_layers=settings.cpu_layers,
        kv_dtype=settings.kv_dtype,
    )


def _alone_on(
    name: str, settings: LoadSettings, devices: Callable[[], Sequence[DeviceInfo]]
) -> str:
    """The device that a model alone goes to, as far as one can say without torch."""
    if name != "auto":
        return name
    wants_gpu = settings.backend in ("auto", "cuda") and settings.dtype != "float32"
    gpus = [d.name for d in devices() if d.name.startswith("cuda")] if wants_gpu else []
    return gpus[0] if gpus else "cpu"


def _predicted(
    cost: ModelCost,
    context: int,
    device: str,
    settings: LoadSettings,
    layers: range | None = None,
    *,
    has_head: bool = True,
) -> PredictedMemory:
    """What one rank or stage takes on a device; the same figures as a plan's."""
    layers = layers if layers is not None else range(cost.config.num_layers)
    kept = kv_dtype_on(device, settings.kv_dtype)
    prompt = _prompt_tokens(context)
    weights = sum(cost.layer_bytes[layers.start : layers.stop])
    kv_cache = cost.kv_bytes(context, len(layers), kept)
    return PredictedMemory(
        weights=weights + (cost.head_bytes + cost.final_bytes) * has_head,
        kv_cache=kv_cache * max(1, settings.num_slots),
        activations=cost.activation_bytes(prompt) + cost.kv_working_bytes(context, kept),
        communication=cost.communication_bytes(prompt),
    )


def _prompt_tokens(context: int) -> int:
    """Half of the context, as plans assume."""
    return max(1, context // 2)


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
    config: ModelConfig, context: int, names: Sequence[str], settings: LoadSettings
) -> RankLayout:
    ranks = settings.world_size or len(names)
    on_gpus = all(name.startswith("cuda") for name in names)
    check_degree(config, ranks, on_gpus=on_gpus)
    cost = ModelCost(config, ranks)
    predicted: dict[str, PredictedMemory] = {}
    for rank in range(ranks):
        name = names[rank] if len(names) > 1 else names[0]
        name = "cpu" if name.partition(":")[0] in ("auto", "cpu") else name
        each = _predicted(cost, context, name, settings)
        predicted[name] = predicted[name].plus(each) if name in predicted else each
    return RankLayout("tensor_parallel", ranks, predicted=predicted)


def _layer_split(
    cost: ModelCost,
    context: int,
    names: Sequence[str],
    settings: LoadSettings,
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
        asked = _plan_settings(settings, context)
        assignment = assign_layers(cost, named, asked, max(1, settings.num_slots))
        counts, head = list(assignment.layers), assignment.head_device
        stage_names = [device.name for device in named]
    predicted: dict[str, PredictedMemory] = {}
    done = 0
    for index, (name, count) in enumerate(zip(stage_names, counts, strict=True)):
        layers = range(done, done + count)
        done += count
        predicted[name] = _predicted(cost, context, name, settings, layers, has_head=index == head)
    stages = tuple(map(LayerStage, stage_names, counts))
    return RankLayout("layer_split", 1, stages, head, predicted)
