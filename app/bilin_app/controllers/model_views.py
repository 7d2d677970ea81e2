"""What the models controller hands to its page: frozen values, no Qt, no protocol.

Bytes are bytes, times seconds. Device names are the engine's: "cuda:0", "cpu".
"""

from dataclasses import dataclass, field
from typing import Literal

from bilin_app.controllers.views import ModelView

PlacementMode = Literal["auto", "single", "layer_split", "tensor_parallel"]
MODES: tuple[PlacementMode, ...] = ("auto", "single", "layer_split", "tensor_parallel")
JobKind = Literal["convert", "verify", "download", "import"]
JobState = Literal["waiting", "running", "paused", "failed", "done"]
JobAction = Literal["pause", "resume", "retry", "cancel", "first", "clear"]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of the library. `is_verified`: its files were compared with their hashes.

    blanks: which mask tokens it fills. measured_tok_s: on this machine, 0.0 = never measured.
    """

    model: ModelView
    size_bytes: int = 0
    languages: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()
    family: str = ""
    licence: str = ""
    source: str = ""
    path: str = ""
    num_layers: int = 0
    num_heads: int = 0
    is_verified: bool = False
    measured_tok_s: float = 0.0

    @property
    def id(self) -> str:
        """The model's id."""
        return self.model.id


@dataclass(frozen=True, slots=True)
class PlacementChoice:
    """What a person set on the placement card. context and prompt_tokens 0 = the engine's choice.

    devices: invented ones as "4x24GiB", "" = this machine's. off: devices not to be used.
    """

    context: int = 0
    prompt_tokens: int = 0
    mode: PlacementMode = "auto"
    devices: str = ""
    off: frozenset[str] = frozenset()
    reserve_mib: int = 768


@dataclass(frozen=True, slots=True)
class DeviceBar:
    """One device's memory. total = other + weights + kv_cache + activations + reserve + free.

    free < 0: that much is missing. is_used: the plan puts something there. real_bytes: what the
    loaded model holds there, None where it is not loaded.
    """

    name: str
    label: str
    total: int
    other: int
    weights: int = 0
    kv_cache: int = 0
    activations: int = 0
    reserve: int = 0
    num_layers: int = 0
    is_on: bool = True
    is_used: bool = False
    real_bytes: int | None = None

    @property
    def used(self) -> int:
        """All but what is free, other programs included."""
        return self.other + self.weights + self.kv_cache + self.activations + self.reserve

    @property
    def free(self) -> int:
        """What stays; negative = what is missing."""
        return self.total - self.used


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings that fit. kind: what is different in them. group_size: for a new conversion."""

    kind: Literal["mode", "context", "rows", "cpu"]
    choice: PlacementChoice
    group_size: str = ""


@dataclass(frozen=True, slots=True)
class PlacementView:
    """Where a model would lie, or why nowhere (`problem`, a sentence; or short_bytes > 0)."""

    fits: bool = False
    mode: PlacementMode = "auto"
    context: int = 0
    prompt_tokens: int = 0
    bars: tuple[DeviceBar, ...] = ()
    rate_tok_s: float = 0.0
    first_token_s: float = 0.0
    short_device: str = ""
    short_bytes: int = 0
    suggestions: tuple[Suggestion, ...] = ()
    assumptions: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """One piece of work of the queue. reason: why it failed or waits for a person."""

    id: str
    kind: JobKind
    title: str
    state: JobState
    fraction: float = 0.0
    stage: str = ""
    rate_bytes_s: float = 0.0
    eta_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LoadView:
    """Whether the model on show is in memory. stage: the engine's word while it loads.

    reason: why it is not, or what of the load was done otherwise than asked.
    """

    state: Literal["unloaded", "loading", "loaded"] = "unloaded"
    fraction: float = 0.0
    stage: str = ""
    eta_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FolderView:
    """What lies in a folder that a person wants to add. problem: why it cannot be added, or "".

    size_bytes: of the source. needed_bytes: by group size, "" = a copy. free_bytes: on the disk of
    the models folder. rate_bytes_s: of the last conversion on this machine, 0.0 = none yet.
    """

    path: str
    kind: Literal["model", "reference", "hugging_face", "gguf", "unknown"]
    title: str = ""
    size_bytes: int = 0
    needed_bytes: dict[str, int] = field(default_factory=dict)
    free_bytes: int = 0
    rate_bytes_s: float = 0.0
    problem: str = ""
