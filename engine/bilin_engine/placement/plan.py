"""The plan: bytes per device and the speed to expect, or the reason why a model does not fit."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bilin_engine.config import ModelConfig, QuantizationConfig
from bilin_engine.errors import BadRequestError
from bilin_engine.placement.cost import ModelCost, check_degree, kv_dtype_on, require_gpu_shapes
from bilin_engine.placement.devices import PlanDevice
from bilin_engine.protocol import (
    DevicePlan,
    PlacementMode,
    PlanResult,
    PlanSettings,
    PlanSuggestion,
)

# Shares of the bandwidth that decoding reaches, until a device's own speed was measured.
CUDA_DECODE_SHARE = 0.75
CPU_DECODE_SHARE = 0.75  # with our own kernels: engine/README.md
# A token's own work on the processor whatever the model's size: sampling, the loop, the message to
# the window. Bilin Mini takes 1.5 ms a token where its weights are read in 0.3 ms.
CPU_TOKEN_S = 0.001
PREFILL_SHARE = 0.5
ALL_REDUCE_S = 30e-6
CPU_RESERVE_BYTES = 1024**3
CONTEXT_STEPS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


@dataclass(frozen=True, slots=True)
class LayerAssignment:
    """Which blocks a device computes, in order; the device that holds embedding and head."""

    layers: tuple[int, ...]  # number of blocks, by device
    head_device: int


def plan(config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings) -> PlanResult:
    """Places a model. Raises BadRequestError for settings no plan can have.

    "auto" takes, of the modes that fit, the one with the highest expected decode rate.
    """
    settings = _checked(config, devices, settings)
    result = _plan_mode(config, devices, settings)
    if result.fits:
        return result
    return msgspec.structs.replace(result, suggestions=_suggest(config, devices, settings))


def _checked(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanSettings:
    if not any(device.kind == "cuda" or settings.use_cpu for device in devices):
        raise BadRequestError("no device is switched on; at least one is needed")
    longest = config.max_sequence_length
    context = settings.context or longest
    if not 1 <= context <= longest:
        raise BadRequestError(f"context {context} is outside 1 to {longest} of this model")
    prompt = settings.prompt_tokens or max(1, context // 2)
    if not 1 <= prompt <= context:
        raise BadRequestError(f"prompt_tokens {prompt} is outside 1 to the context, {context}")
    if not 0 <= settings.cpu_layers <= config.num_layers:
        raise BadRequestError(
            f"cpu_layers {settings.cpu_layers} is outside 0 to {config.num_layers} of this model"
        )
    if settings.reserve_bytes < 0:
        raise BadRequestError(f"reserve_bytes {settings.reserve_bytes} is negative")
    kept = settings.kv_dtype
    if kept not in ("auto", "float16") and any(d.kind == "cuda" for d in devices):
        raise BadRequestError(
            f"kv_dtype {kept} is for the processor alone, the CUDA kernels keep float16; use "
            "float16 or auto, or switch the GPUs off"
        )
    if any(d.kind == "cuda" for d in devices):
        require_gpu_shapes(config)
    return msgspec.structs.replace(settings, context=context, prompt_tokens=prompt)


def _plan_mode(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanResult:
    if settings.mode != "auto":
        return _BY_MODE[settings.mode](config, devices, settings)
    results: list[PlanResult] = []
    modes = ("single", "tensor_parallel", "layer_split")
    for mode in modes if not _cpu_layers(devices, settings) else ("layer_split",):
        try:
            results.append(_BY_MODE[mode](config, devices, settings))
        except BadRequestError:  # a mode these devices cannot have
            continue
    fitting = [result for result in results if result.fits]
    if fitting:
        return max(fitting, key=lambda result: result.decode_tok_s)
    return min(results, key=lambda result: result.short_bytes)


def _cpu_layers(devices: Sequence[PlanDevice], settings: PlanSettings) -> int:
    """How many layers a person wants on the processor; 0 where it is the only device anyway."""
    kinds = {device.kind for device in devices}
    return settings.cpu_layers if settings.use_cpu and kinds == {"cpu", "cuda"} else 0


def _plan_single(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanResult:
    """The whole model on the fastest device that holds it (or the one that misses least)."""
    cost = ModelCost(config)
    gpus = [d for d in devices if d.kind == "cuda"]
    candidates = gpus or list(devices)
    if gpus and settings.use_cpu:
        candidates = [*gpus, *(d for d in devices if d.kind == "cpu")]
    plans = [
        (_device_plan(d, cost, settings, config.num_layers, has_head=True), d) for d in candidates
    ]
    fitting = [item for item in plans if item[0].free >= 0]
    chosen = (
        max(fitting, key=lambda item: _share(item[1]) * item[1].bandwidth)
        if fitting
        else max(plans, key=lambda item: item[0].free)
    )
    device = chosen[1]
    read = cost.weights_bytes + _kv_bytes(cost, device, settings, config.num_layers)
    seconds = read / device.bandwidth
    return _result(
        "single",
        settings,
        [chosen[0]],
        [device],
        roofline_s=seconds,
        decode_s=seconds / _share(device),
        first_s=_prefill_s(cost, device, settings.prompt_tokens, config.num_layers),
    )


def _plan_tensor_parallel(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanResult:
    """Every GPU holds an equal slice of every layer; the slowest and the smallest decide."""
    gpus = [d for d in devices if d.kind == "cuda"]
    if len(gpus) < 2:
        raise BadRequestError(f"tensor parallel needs 2 or more GPUs; {len(gpus)} is switched on")
    check_degree(config, len(gpus), on_gpus=True)
    cost = ModelCost(config, len(gpus))
    plans = [_device_plan(gpu, cost, settings, config.num_layers, has_head=True) for gpu in gpus]
    read = cost.weights_bytes + _kv_bytes(cost, gpus[0], settings, config.num_layers)
    slowest = min(gpu.bandwidth for gpu in gpus)
    communication_s = (2 * config.num_layers + 2) * ALL_REDUCE_S
    prefill_s = max(
        _prefill_s(cost, gpu, settings.prompt_tokens, config.num_layers) for gpu in gpus
    )
    return _result(
        "tensor_parallel",
        settings,
        plans,
        gpus,
        roofline_s=read / slowest,
        decode_s=read / slowest / CUDA_DECODE_SHARE + communication_s,
        first_s=prefill_s,
        extra=(f"{ALL_REDUCE_S * 1e6:.0f} us per all-reduce, not measured",),
    )


def _plan_layer_split(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanResult:
    """Each device computes its own run of layers; what no GPU holds goes to the processor."""
    used = [d for d in devices if d.kind == "cuda"]
    cpus = [d for d in devices if d.kind == "cpu"]
    if settings.use_cpu:
        used += cpus
    cost = ModelCost(config)
    assignment = assign_layers(cost, used, settings)
    plans = [
        _device_plan(device, cost, settings, count, has_head=index == assignment.head_device)
        for index, (device, count) in enumerate(zip(used, assignment.layers, strict=True))
    ]
    roofline_s = decode_s = first_s = 0.0
    done = 0
    for index, (device, count) in enumerate(zip(used, assignment.layers, strict=True)):
        read = sum(cost.layer_bytes[done : done + count])
        read += _kv_bytes(cost, device, settings, count)
        done += count
        if index == assignment.head_device:
            read += cost.head_bytes + cost.final_bytes
        roofline_s += read / device.bandwidth
        decode_s += read / device.bandwidth / _share(device)
        first_s += _prefill_s(cost, device, settings.prompt_tokens, count)
    # A device that computes nothing is not part of the placement.
    kept = [i for i, p in enumerate(plans) if p.num_layers or i == assignment.head_device]
    return _result(
        "layer_split",
        settings,
        [plans[i] for i in kept],
        [used[i] for i in kept],
        roofline_s=roofline_s,
        decode_s=decode_s,
        first_s=first_s,
    )


_BY_MODE = {
    "single": _plan_single,
    "tensor_parallel": _plan_tensor_parallel,
    "layer_split": _plan_layer_split,
}


def assign_layers(
    cost: ModelCost, devices: Sequence[PlanDevice], settings: PlanSettings, num_slots: int = 1
) -> LayerAssignment:
    """Layers by device: GPUs in proportion to what they can hold, the processor gets the rest.

    num_slots: texts at a time, each with keys and values of its own. Where all devices together
    cannot hold the model the last one is overfull, so that the result says by how much.
    """
    layer_bytes = [
        max(cost.layer_bytes) + num_slots * _kv_bytes(cost, device, settings, 1)
        for device in devices
    ]
    head_bytes = cost.head_bytes + cost.final_bytes
    room = [_usable(device, cost, settings) for device in devices]
    head_device = max(
        range(len(devices)),
        key=lambda i: (devices[i].kind == "cuda" and room[i] >= head_bytes, room[i]),
    )
    capacity = [
        max(0, (room[i] - (head_bytes if i == head_device else 0)) // layer_bytes[i])
        for i in range(len(devices))
    ]
    on_cpu = _cpu_layers(devices, settings)
    total = cost.config.num_layers - on_cpu
    gpus = [i for i, device in enumerate(devices) if device.kind == "cuda"]
    gpu_capacity = sum(capacity[i] for i in gpus)
    counts = [0] * len(devices)
    if gpu_capacity >= total:
        left = total
        for position, i in enumerate(gpus):
            rest = sum(capacity[j] for j in gpus[position:])
            counts[i] = min(capacity[i], -(-left * capacity[i] // rest)) if rest else 0
            left -= counts[i]
    else:
        for i in gpus:
            counts[i] = capacity[i]
        others = [i for i in range(len(devices)) if i not in gpus]
        counts[others[-1] if others else head_device] += total - gpu_capacity
    if on_cpu:
        counts[next(i for i, device in enumerate(devices) if device.kind == "cpu")] += on_cpu
    return LayerAssignment(layers=tuple(counts), head_device=head_device)


def _usable(device: PlanDevice, cost: ModelCost, settings: PlanSettings) -> int:
    taken = _working(device, cost, settings) + _reserve(device, settings)
    return device.free_bytes - taken


def _working(device: PlanDevice, cost: ModelCost, settings: PlanSettings) -> int:
    kept = kv_dtype_on(device.name, settings.kv_dtype)
    widened = cost.kv_working_bytes(settings.context, kept)
    return cost.activation_bytes(settings.prompt_tokens) + widened


def _kv_bytes(cost: ModelCost, device: PlanDevice, settings: PlanSettings, num_layers: int) -> int:
    kept = kv_dtype_on(device.name, settings.kv_dtype)
    return cost.kv_bytes(settings.context, num_layers, kept)


def _reserve(device: PlanDevice, settings: PlanSettings) -> int:
    return settings.reserve_bytes if device.kind == "cuda" else CPU_RESERVE_BYTES


def _share(device: PlanDevice) -> float:
    """Of the bandwidth, reached while decoding; above 1 where the weights lie in a cache."""
    if device.decode_bytes_s:
        return device.decode_bytes_s / device.bandwidth
    return CUDA_DECODE_SHARE if device.kind == "cuda" else CPU_DECODE_SHARE


def _device_plan(
    device: PlanDevice, cost: ModelCost, settings: PlanSettings, num_layers: int, *, has_head: bool
) -> DevicePlan:
    weights = sum(sorted(cost.layer_bytes, reverse=True)[:num_layers])
    if has_head:
        weights += cost.head_bytes + cost.final_bytes
    in_use = num_layers > 0 or has_head
    kv_cache = _kv_bytes(cost, device, settings, num_layers)
    activations = _working(device, cost, settings) if in_use else 0
    communication = cost.communication_bytes(settings.prompt_tokens)
    reserve = _reserve(device, settings) if in_use else 0
    used = weights + kv_cache + activations + communication + reserve
    return DevicePlan(
        name=device.name,
        label=device.label,
        total=device.total_bytes,
        other_programs=device.total_bytes - device.free_bytes,
        weights=weights,
        kv_cache=kv_cache,
        activations=activations,
        communication=communication,
        reserve=reserve,
        free=device.free_bytes - used,
        num_layers=num_layers,
    )


def _prefill_s(cost: ModelCost, device: PlanDevice, prompt_tokens: int, num_layers: int) -> float:
    if device.prefill_tok_s:
        return prompt_tokens / device.prefill_tok_s * num_layers / cost.config.num_layers
    compute = cost.prefill_flop(prompt_tokens, num_layers) / (device.rate * PREFILL_SHARE)
    if device.kind == "cpu" or not cost.is_quantized:
        return compute
    # INT4 weights are read, written as fp16 and read again once per prompt: 2.5 bytes a weight
    # beside the matrix product's own traffic.
    return compute + 2.5 * sum(cost.layer_weights[:num_layers]) / device.bandwidth


def _result(
    mode: PlacementMode,
    settings: PlanSettings,
    plans: Sequence[DevicePlan],
    devices: Sequence[PlanDevice],
    *,
    roofline_s: float,
    decode_s: float,
    first_s: float,
    extra: tuple[str, ...] = (),
) -> PlanResult:
    tightest = min(plans, key=lambda p: p.free)
    short = max(0, -tightest.free)
    reason = ""
    if short:
        needed = tightest.total - tightest.other_programs + short
        reason = (
            f"{tightest.name} ({tightest.label}) needs {short / 2**20:,.0f} MiB more: "
            f"{needed / 2**30:.2f} GiB needed at context {settings.context} and prompts of "
            f"{settings.prompt_tokens} tokens, "
            f"{(tightest.total - tightest.other_programs) / 2**30:.2f} GiB free"
        )
    is_measured = all(d.decode_bytes_s > 0 for d in devices)
    if not is_measured and all(d.kind == "cpu" for d in devices):
        decode_s += CPU_TOKEN_S
    assumptions = tuple(
        f"{d.name}: {d.bandwidth / 1e9:.0f} GB/s "
        f"{_BANDWIDTH_WORDS[d.bandwidth_source]}, "
        f"{_share(d):.0%} of it reached"
        f"{', as measured of this model' if d.decode_bytes_s else ''}"
        for d in devices
    )
    return PlanResult(
        fits=not short,
        mode=mode,
        context=settings.context,
        prompt_tokens=settings.prompt_tokens,
        devices=tuple(plans),
        roofline_tok_s=1 / roofline_s,
        decode_tok_s=1 / decode_s,
        first_token_s=first_s + decode_s,
        reason=reason,
        short_device=tightest.name if short else "",
        short_bytes=short,
        assumptions=assumptions + extra,
        is_measured=is_measured,
    )


_BANDWIDTH_WORDS = {
    "data_sheet": "by its data sheet",
    "measured": "measured",
    "given": "as given",
}


def _suggest(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> tuple[PlanSuggestion, ...]:
    """Settings near the asked ones that fit, best first; each was planned, not guessed."""
    found: list[PlanSuggestion] = []
    if settings.mode != "auto":
        other = msgspec.structs.replace(settings, mode="auto")
        result = _plan_mode(config, devices, other)
        if result.fits:
            words = _MODE_WORDS[result.mode]
            chosen = msgspec.structs.replace(other, mode=result.mode)
            found.append(PlanSuggestion(text=f"Use {words} instead", settings=chosen))
    longest = _longest_context(config, devices, settings)
    if longest is not None:
        text = f"Lower the context to {longest.context:,}"
        if longest.prompt_tokens < settings.prompt_tokens:
            text += f" with prompts of {longest.prompt_tokens:,} tokens"
        found.append(PlanSuggestion(text=text, settings=longest))
    coarser = _with_row_groups(config)
    if coarser is not None and _plan_mode(coarser, devices, settings).fits:
        found.append(
            PlanSuggestion(
                text="Convert with one scale per row (group size row)",
                settings=settings,
                group_size="row",
            )
        )
    if settings.kv_dtype != "int8" and all(d.kind == "cpu" for d in devices):
        narrow = msgspec.structs.replace(settings, kv_dtype="int8")
        if _plan_mode(config, devices, narrow).fits:
            found.append(PlanSuggestion(text="Keep keys and values as INT8", settings=narrow))
    if not settings.use_cpu and any(d.kind == "cpu" for d in devices):
        with_cpu = msgspec.structs.replace(settings, use_cpu=True, mode="layer_split")
        if _plan_mode(config, devices, with_cpu).fits:
            text = "Let the processor compute the layers that do not fit"
            found.append(PlanSuggestion(text=text, settings=with_cpu))
    return tuple(found)


_MODE_WORDS = {
    "single": "one device",
    "tensor_parallel": "tensor parallel",
    "layer_split": "layer split",
}


def _longest_context(
    config: ModelConfig, devices: Sequence[PlanDevice], settings: PlanSettings
) -> PlanSettings | None:
    for context in sorted(CONTEXT_STEPS, reverse=True):
        if context >= settings.context:
            continue
        prompt = min(settings.prompt_tokens, context // 2)
        shorter = msgspec.structs.replace(settings, context=context, prompt_tokens=prompt)
        if _plan_mode(config, devices, shorter).fits:
            return shorter
    return None


def _with_row_groups(config: ModelConfig) -> ModelConfig | None:
    """The same model with one scale per row, or None where that saves nothing."""
    quantization = config.quantization
    if quantization is None or all(s.group_size == "row" for s in quantization.schemes):
        return None
    schemes = tuple(dataclasses.replace(s, group_size="row") for s in quantization.schemes)
    coarser = QuantizationConfig(schemes=schemes, ignore=quantization.ignore)
    return dataclasses.replace(config, quantization=coarser)
