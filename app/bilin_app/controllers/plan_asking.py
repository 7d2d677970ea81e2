"""Asking the engine where a model would lie, as a person set it: one request, or two.

Which devices are on can only be said once it is known which there are: the first plan tells them.
"""

from collections.abc import Callable, Sequence

from bilin_app.controllers import placement_views
from bilin_app.controllers.model_views import PlacementChoice
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_engine.protocol import DeviceInfo, PlanModel, PlanResult, Request


def ask_plan(
    send: Callable[[Callable[[int], Request]], RequestHandle],
    model_id: str,
    choice: PlacementChoice,
    available: Sequence[DeviceInfo],
    *,
    planned: Callable[[PlanResult], None],
    none_on: Callable[[], None],
    refused: Callable[[RequestFailure], None],
) -> None:
    """Ends in one of the three: a plan with the devices that are on, none is on, or why not.

    available: the devices there are, where that is known already; else empty.
    """

    def ask(enabled: tuple[str, ...], then: Callable[[PlanResult], None]) -> None:
        handle = send(
            lambda i: PlanModel(
                id=i,
                model=model_id,
                devices=choice.devices,
                enabled=enabled,
                settings=placement_views.plan_settings(choice),
            )
        )
        handle.done.connect(then)
        handle.failed.connect(refused)

    def ask_of(found: Sequence[DeviceInfo]) -> None:
        names = tuple(device.name for device in found if device.name not in choice.off)
        if names:
            ask(names, planned)
        else:
            none_on()

    if not choice.off:
        ask((), planned)
    elif available:
        ask_of(available)
    else:
        ask((), lambda plan: ask_of(plan.available))
