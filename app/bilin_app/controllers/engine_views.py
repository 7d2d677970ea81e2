"""The engine and its models as the whole window shows them: frozen values, no Qt."""

from dataclasses import dataclass
from typing import Literal

EngineState = Literal["starting", "empty", "loading", "ready", "busy", "stopped", "fault"]
EngineAction = Literal["", "restart", "load", "models"]


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model's id and its names for people. `problem`: why it cannot be used, or "".

    blank_kinds: the masks it has; one without fills blanks by instruction. can_skip_thinking: it
    reasons before it answers, unless it is asked not to.
    """

    id: str
    name_zh: str
    name_en: str
    num_parameters: int = 0
    precision: str = ""
    context_length: int = 0
    can_chat: bool = True
    blank_kinds: tuple[Literal["short", "long", "sentence"], ...] = ()
    is_bundled: bool = False
    problem: str = ""
    can_skip_thinking: bool = False


@dataclass(frozen=True, slots=True)
class EngineView:
    """The engine's state for the rail.

    fraction: 0..1 of loading. reason: the sentence behind "fault" or "stopped", else "".
    detail: the last log lines, for the button beside the sentence.
    action: what `EngineController.mend()` would do: "restart" the engine, "load" the model, open
    the "models" page (nothing can be loaded), or "" (nothing to mend). code: of a fault, the
    engine's word for it.
    """

    state: EngineState
    model: ModelView | None = None
    fraction: float = 0.0
    reason: str = ""
    detail: str = ""
    action: EngineAction = ""
    code: str = ""
