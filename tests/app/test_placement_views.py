"""The card against the engine's own plan: same numbers, suggestions that fit, few redraws."""

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QWidget

from bilin_app.controllers import placement_views
from bilin_app.controllers.model_views import MODES, PlacementChoice
from bilin_app.pages.models.bars import Bar
from bilin_app.pages.models.placement import PlacementCard
from bilin_app.storage.model_notes import ModelNote
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour_models import planned
from bilin_engine.cli.main import run
from bilin_engine.errors import BadRequestError
from bilin_engine.protocol import PlanModel, PlanResult
from bilin_engine.server.planning import plan_model

MACHINES = ["4x24GiB", "8x11GiB", "1x80GiB", "24GiB,11GiB", "cpu:128GiB", "24GiB,cpu:128GiB"]


def plan_of(choice: PlacementChoice, model: str = "glm-130b") -> PlanResult:
    """As the controller asks for it."""
    request = PlanModel(
        id=1, model=model, devices=choice.devices, settings=placement_views.plan_settings(choice)
    )
    return plan_model(request, ())


@pytest.mark.parametrize("devices", MACHINES)
def test_what_the_expected_speed_rests_on_is_told_in_chinese(qapp, devices):
    start_theme(qapp, Look("light", "zh"))
    choice = PlacementChoice(devices=devices)
    told = placement_views.placement_view(plan_of(choice), choice, {}).assumptions
    start_theme(qapp, Look("light", "en"))
    assert told
    assert all("产品标称" in line or "未实测" in line for line in told)
    assert not any(word in line for line in told for word in ("data sheet", "reached", "measured"))


@pytest.mark.parametrize("devices", MACHINES)
def test_the_card_shows_the_numbers_of_plan_json(devices, capsys):
    assert run(["plan", "glm-130b", "--devices", devices, "--json"]) == 0
    told = msgspec.json.decode(capsys.readouterr().out, type=PlanResult)
    choice = PlacementChoice(devices=devices)
    view = placement_views.placement_view(plan_of(choice), choice, {})
    assert (view.fits, view.mode, view.context) == (told.fits, told.mode, told.context)
    assert (view.rate_tok_s, view.first_token_s) == (told.decode_tok_s, told.first_token_s)
    assert (view.short_device, view.short_bytes) == (told.short_device, told.short_bytes)
    assert len(view.suggestions) == len(told.suggestions)
    bars = {bar.name: bar for bar in view.bars}
    assert set(bars) == {device.name for device in told.available}
    for device in told.devices:
        bar = bars[device.name]
        assert (bar.total, bar.other) == (device.total, device.other_programs)
        assert (bar.weights, bar.kv_cache) == (device.weights, device.kv_cache)
        assert bar.activations == device.activations + device.communication
        assert (bar.reserve, bar.free) == (device.reserve, device.free)
        assert bar.num_layers == device.num_layers


@settings(max_examples=12)
@given(
    devices=st.sampled_from(["4x16GiB", "2x24GiB", "3x24GiB,cpu:32GiB", "1x80GiB", "24GiB,11GiB"]),
    model=st.sampled_from(["glm-130b", "glm-4-32b-0414", "glm-4-9b-0414"]),
    context=st.sampled_from([0, 512, 2048]),
    mode=st.sampled_from(MODES),
    has_cpu=st.booleans(),
    reserve_mib=st.integers(0, 8192),
)
def test_every_suggestion_the_card_offers_really_fits(
    devices, model, context, mode, has_cpu, reserve_mib
):
    off = frozenset() if has_cpu else frozenset({"cpu"})
    choice = PlacementChoice(
        context=context, mode=mode, devices=devices, off=off, reserve_mib=reserve_mib
    )
    try:
        result = plan_of(choice, model)
    except BadRequestError:  # a mode that these devices cannot have
        return
    view = placement_views.placement_view(result, choice, {})
    for suggestion in view.suggestions:
        if suggestion.group_size:
            continue  # asks for another conversion; see test_placement
        assert plan_of(suggestion.choice, model).fits, suggestion


@pytest.mark.parametrize("devices", ["4x24GiB", "8x11GiB", "24GiB,cpu:128GiB"])
def test_a_model_is_loaded_as_its_card_shows_it(devices):
    choice = PlacementChoice(devices=devices, context=512)
    result = plan_of(choice)
    note = ModelNote(context=512)
    asked = placement_views.load_settings(note, result)
    assert asked.mode == result.mode
    assert asked.device == ",".join(d.name for d in result.devices if d.weights)
    assert (asked.context, asked.prompt_tokens) == (512, result.prompt_tokens)


def test_a_processor_alone_is_left_to_the_engine():
    result = plan_of(PlacementChoice(devices="cpu:128GiB"))
    assert placement_views.load_settings(ModelNote(), result).device == "auto"


def test_what_does_not_fit_is_loaded_where_a_person_put_it_and_else_left_to_the_engine():
    choice = PlacementChoice(devices="4x8GiB", mode="tensor_parallel")
    result = plan_of(choice)
    assert not result.fits
    note = ModelNote(mode="tensor_parallel", cpu_layers=0, reserve_mib=1000)
    asked = placement_views.load_settings(note, result)
    assert (asked.mode, asked.device) == ("tensor_parallel", "cuda:0,cuda:1,cuda:2,cuda:3")
    assert asked.reserve_bytes == 1000 * 2**20
    assert placement_views.load_settings(ModelNote(), result).device == "auto"


class _Paints(QObject):
    """Counts how often each bar is painted."""

    def __init__(self):
        super().__init__()
        self.bars = []

    def eventFilter(self, watched, event):  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.Paint:
            self.bars.append(watched)
        return False


@pytest.mark.gui
def test_a_slider_move_paints_each_bar_once_and_makes_no_widget(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    card = PlacementCard(None)  # pyright: ignore[reportArgumentType] - a window of its own here
    qtbot.addWidget(card)
    choice = PlacementChoice(devices="8x11GiB")
    card.show_model(planned(), choice)
    card.show_placement(placement_views.placement_view(plan_of(choice), choice, {}))
    card.resize(860, 480)
    card.show()
    qapp.processEvents()
    paints = _Paints()
    for bar in card.findChildren(Bar):
        bar.installEventFilter(paints)
    before = len(card.findChildren(QWidget))
    shorter = dataclasses.replace(choice, context=1024)
    card.slider.setValue(card.slider.maximum() // 2)
    card.show_placement(placement_views.placement_view(plan_of(shorter), shorter, {}))
    qapp.processEvents()
    assert len(paints.bars) == len(set(paints.bars)) == 8
    assert len(card.findChildren(QWidget)) == before
