"""Between the engine's plans and the placement card: requests out, bars and suggestions back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast, get_args

from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.model_views import (
    MODES,
    DeviceBar,
    PlacementChoice,
    PlacementMode,
    PlacementView,
    Suggestion,
)
from bilin_app.storage.model_notes import ModelNote
from bilin_engine.protocol import (
    DeviceInfo,
    DevicePlan,
    KVDType,
    LoadSettings,
    PlanResult,
    PlanSettings,
    PlanSuggestion,
)

MIB = 2**20


def noted_choice(note: ModelNote) -> PlacementChoice:
    """What was set for a model the last time."""
    mode = cast(PlacementMode, note.mode) if note.mode in MODES else "auto"
    return PlacementChoice(
        context=note.context,
        prompt_tokens=note.prompt_tokens,
        mode=mode,
        off=frozenset(note.off),
        reserve_mib=note.reserve_mib,
        cpu_layers=note.cpu_layers,
        kv_dtype=note.kv_dtype,
    )


def note_values(choice: PlacementChoice) -> dict[str, object]:
    """The fields of a ModelNote that keep a choice."""
    return {
        "context": choice.context,
        "prompt_tokens": choice.prompt_tokens,
        "mode": choice.mode,
        "off": tuple(sorted(choice.off)),
        "reserve_mib": choice.reserve_mib,
        "cpu_layers": choice.cpu_layers,
        "kv_dtype": choice.kv_dtype,
    }


def plan_settings(choice: PlacementChoice) -> PlanSettings:
    """A choice as the engine plans it."""
    return PlanSettings(
        context=choice.context,
        prompt_tokens=choice.prompt_tokens,
        mode=choice.mode,
        reserve_bytes=choice.reserve_mib * MIB,
        use_cpu="cpu" not in choice.off,
        cpu_layers=choice.cpu_layers,
        kv_dtype=_kv_dtype(choice.kv_dtype),
    )


def _kv_dtype(name: str) -> KVDType:
    """A kept name as the engine takes it; one of another version is "auto"."""
    return cast(KVDType, name) if name in get_args(KVDType) else "auto"


def is_placed(note: ModelNote) -> bool:
    """Whether a person said where a model is to lie."""
    return note.mode != "auto" or bool(note.off) or note.cpu_layers > 0


def load_settings(note: ModelNote, plan: PlanResult | None) -> LoadSettings:
    """How a model is loaded: on the devices and in the way that its card shows.

    Without a plan, or where it does not fit and nobody said where it is to lie, the engine chooses,
    as on a machine that has only a processor.
    """
    if (
        plan is None
        or not (plan.fits or is_placed(note))
        or all(one.name == "cpu" for one in plan.available)
    ):
        return LoadSettings(context=note.context, kv_dtype=_kv_dtype(note.kv_dtype))
    used = [one.name for one in plan.devices if one.weights]
    return LoadSettings(
        context=note.context or plan.context,
        device=",".join(used),
        mode=plan.mode,
        cpu_layers=note.cpu_layers,
        prompt_tokens=plan.prompt_tokens,
        reserve_bytes=note.reserve_mib * MIB,
        kv_dtype=_kv_dtype(note.kv_dtype),
    )


def placement_view(
    plan: PlanResult, choice: PlacementChoice, real: dict[str, int]
) -> PlacementView:
    """A plan as the card shows it. real: bytes the loaded model holds, by device."""
    return PlacementView(
        fits=plan.fits,
        mode=plan.mode,
        context=plan.context,
        prompt_tokens=plan.prompt_tokens,
        bars=device_bars(plan, choice, real),
        rate_tok_s=plan.decode_tok_s,
        first_token_s=plan.first_token_s,
        short_device=plan.short_device,
        short_bytes=plan.short_bytes,
        suggestions=tuple(_suggestion(s, plan, choice) for s in plan.suggestions),
        assumptions=tuple(map(engine_sentence, plan.assumptions)),
        is_measured=plan.is_measured,
    )


def device_bars(
    plan: PlanResult, choice: PlacementChoice, real: dict[str, int]
) -> tuple[DeviceBar, ...]:
    """A bar for every device there is, those that are off or not needed included."""
    plans = {device.name: device for device in plan.devices}
    return tuple(
        _bar(device, plans.get(device.name), choice, real.get(device.name))
        for device in plan.available
    )


def bare_bars(devices: Sequence[DeviceInfo], choice: PlacementChoice) -> tuple[DeviceBar, ...]:
    """A bar for every device there is, where no plan says what would lie on it."""
    return tuple(_bar(device, None, choice, None) for device in devices)


def _bar(
    device: DeviceInfo, planned: DevicePlan | None, choice: PlacementChoice, real: int | None
) -> DeviceBar:
    other = max(0, device.total_bytes - device.free_bytes - device.own_bytes)
    bar = DeviceBar(
        name=device.name,
        label=device.label,
        total=device.total_bytes,
        other=other,
        is_on=device.name not in choice.off,
        real_bytes=real,
    )
    if planned is None:
        return bar
    return replace(
        bar,
        other=planned.other_programs,
        weights=planned.weights,
        kv_cache=planned.kv_cache,
        activations=planned.activations + planned.communication,
        reserve=planned.reserve,
        num_layers=planned.num_layers,
        is_used=planned.weights > 0,
    )


def _suggestion(
    suggestion: PlanSuggestion, plan: PlanResult, choice: PlacementChoice
) -> Suggestion:
    settings = suggestion.settings
    off = choice.off - {"cpu"} if settings.use_cpu else choice.off
    changed = replace(
        choice,
        context=settings.context,
        prompt_tokens=settings.prompt_tokens,
        mode=settings.mode,
        off=off,
        cpu_layers=settings.cpu_layers,
        kv_dtype=settings.kv_dtype,
    )
    kind: Literal["mode", "context", "rows", "cpu", "kv"]
    if suggestion.group_size:
        kind = "rows"
    elif settings.kv_dtype != choice.kv_dtype:
        kind = "kv"
    elif off != choice.off:
        kind = "cpu"
    elif settings.context != plan.context:
        kind = "context"
    else:
        kind = "mode"
    return Suggestion(kind, changed, suggestion.group_size)
