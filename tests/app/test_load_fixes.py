"""What is offered after a load failed: changes that can mend it, none for a broken model."""

import pytest

from bilin_app.controllers.load_fixes import load_fixes
from bilin_app.controllers.model_views import PlacementChoice
from bilin_engine.protocol import DeviceInfo, PlanResult


def plan_for(*names, context=2048):
    devices = [DeviceInfo(name=n, label=n, total_bytes=24, free_bytes=24) for n in names]
    return PlanResult(
        fits=True, mode="single", context=context, prompt_tokens=100, devices=(),
        roofline_tok_s=1.0, decode_tok_s=1.0, first_token_s=1.0, available=tuple(devices),
    )  # fmt: skip


def kinds(*arguments):
    return [fix.kind for fix in load_fixes(*arguments)]


def test_out_of_memory_offers_half_the_context_and_the_other_cards():
    reason = "cuda:1 (RTX 3090) is out of memory: 1.3 GiB more are needed"
    plan = plan_for("cuda:0", "cuda:1", "cpu")
    fixes = load_fixes("out_of_memory", reason, PlacementChoice(), plan)
    assert [fix.kind for fix in fixes] == ["context", "without", "again"]
    assert fixes[0].choice.context == 1024
    assert fixes[1].device == "cuda:1"
    assert fixes[1].choice.off == {"cuda:1"}


def test_a_gpu_that_is_lost_is_left_out():
    reason = "The model's process gave up: rank 1: cuda:1 fell off the bus."
    plan = plan_for("cuda:0", "cuda:1")
    assert kinds("worker_died", reason, PlacementChoice(), plan) == ["without", "again"]


def test_the_only_device_is_never_left_out():
    plan = plan_for("cuda:0")
    assert kinds("worker_died", "cuda:0 is lost", PlacementChoice(), plan) == ["again"]


def test_a_killed_worker_is_taken_for_want_of_memory_where_the_reason_says_so():
    reason = "The model's process was killed; when memory runs out, the system does that."
    found = kinds("worker_died", reason, PlacementChoice(context=512), plan_for("cpu"))
    assert found == ["context", "again"]


def test_a_switched_off_processor_is_offered():
    choice = PlacementChoice(context=256, off=frozenset({"cpu"}))
    plan = plan_for("cuda:0", "cpu")
    assert kinds("out_of_memory", "no room", choice, plan) == ["cpu", "again"]


@pytest.mark.parametrize("code", ["model_broken", "unsupported_model", "model_not_found"])
def test_a_model_at_fault_is_not_mended_by_another_placement(code):
    assert load_fixes(code, "out of memory", PlacementChoice(), plan_for("cpu")) == ()


def test_a_gpu_that_this_torch_does_not_see_is_left_out():
    reason = 'device "cuda:0": this torch sees no GPU; use "cpu" or "auto"'
    plan = plan_for("cuda:0", "cpu")
    fixes = load_fixes("unsupported_model", reason, PlacementChoice(), plan)
    assert [(fix.kind, fix.choice.off) for fix in fixes] == [
        ("without", {"cuda:0"}), ("again", frozenset()),
    ]  # fmt: skip
