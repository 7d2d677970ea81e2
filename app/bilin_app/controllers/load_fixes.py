"""What a person may change after a load or a model failed: at most three clicks, likeliest first.

The reasons are the engine's; a device that fails is known by its name in the sentence.
"""

import re
from dataclasses import replace

from bilin_app.controllers.model_views import Fix, PlacementChoice
from bilin_engine.protocol import PlanResult

SHORTEST_CONTEXT = 256
_MODEL_AT_FAULT = ("model_broken", "model_not_found", "unsupported_model")
_MEMORY = ("out of memory", "memory runs out", "more memory", "mib more", "gib more")


def load_fixes(
    code: str, reason: str, choice: PlacementChoice, plan: PlanResult | None
) -> tuple[Fix, ...]:
    """Clicks that may mend a failed load. code, reason: of the fault. plan: of this model, if any.

    Empty for a model that is itself at fault: another placement does not mend its files. A device
    that is named is at fault, whatever the code: it cannot be reached, or lacks what is needed.
    """
    lost = re.search(r"cuda:\d+", reason)
    if code in _MODEL_AT_FAULT and not lost:
        return ()
    fixes: list[Fix] = []
    context = choice.context or (plan.context if plan is not None else 0)
    is_memory = code == "out_of_memory" or any(word in reason.casefold() for word in _MEMORY)
    if is_memory and context // 2 >= SHORTEST_CONTEXT:
        shorter = context // 2
        prompt = min(choice.prompt_tokens, shorter // 2)
        fixes.append(Fix("context", replace(choice, context=shorter, prompt_tokens=prompt)))
    names = [device.name for device in plan.available] if plan is not None else []
    others = [name for name in names if name not in choice.off and lost and name != lost[0]]
    if lost and lost[0] in names and others:
        without = replace(choice, off=choice.off | {lost[0]}, mode="auto")
        fixes.append(Fix("without", without, lost[0]))
    if "cpu" in choice.off and len(names) > 1:
        fixes.append(Fix("cpu", replace(choice, off=choice.off - {"cpu"}, mode="auto")))
    return (*fixes[:2], Fix("again", choice))
