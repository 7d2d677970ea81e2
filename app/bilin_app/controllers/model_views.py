"""What the models controller hands to its page: frozen values, no Qt, no protocol.

Bytes are bytes, times seconds. Device names are the engine's: "cuda:0", "cpu".
"""

from dataclasses import dataclass, field
from typing import Literal

from bilin_app.controllers.engine_views import ModelView

PlacementMode = Literal["auto", "single", "layer_split", "tensor_parallel"]
MODES: tuple[PlacementMode, ...] = ("auto", "single", "layer_split", "tensor_parallel")
JobKind = Literal["convert", "verify", "download", "import", "move", "self_test"]
JobState = Literal["waiting", "running", "paused", "failed", "done"]
JobAction = Literal["pause", "resume", "retry", "cancel", "first", "clear"]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of the library. `is_verified`: its files were compared with their hashes.

    blanks: which mask tokens it fills. measured_tok_s: on this machine, 0.0 = never measured;
    measured_at: when, seconds since the epoch. lacks_tokenizer: that is its problem, and can be
    mended. is_here: False for one that is only planned.
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
    measured_at: float = 0.0
    lacks_tokenizer: bool = False
    is_here: bool = True

    @property
    def id(self) -> str:
        """The model's id."""
        return self.model.id


@dataclass(frozen=True, slots=True)
class PlacementChoice:
    """What a person set on the placement card. context and prompt_tokens 0 = the engine's choice.

    devices: invented ones as "4x24GiB", "" = this machine's. off: devices not to be used.
    cpu_layers: that the processor computes at least, beside GPUs. kv_dtype: of keys and values.
    """

    context: int = 0
    prompt_tokens: int = 0
    mode: PlacementMode = "auto"
    devices: str = ""
    off: frozenset[str] = frozenset()
    reserve_mib: int = 768
    cpu_layers: int = 0
    kv_dtype: str = "auto"


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

    kind: Literal["mode", "context", "rows", "cpu", "kv"]
    choice: PlacementChoice
    group_size: str = ""


@dataclass(frozen=True, slots=True)
class PlacementView:
    """Where a model would lie, or why nowhere (`problem`, a sentence; or short_bytes > 0).

    is_measured: the speed follows from a measurement of this model here, else it is estimated.
    """

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
    is_measured: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """One piece of work of the queue. reason: why it failed or waits for a person.

    shard: which file of the result is being written, of num_shards; 0 = none. report: to be read.
    """

    id: str
    kind: JobKind
    title: str
    state: JobState
    fraction: float = 0.0
    stage: str = ""
    rate_bytes_s: float = 0.0
    eta_s: float | None = None
    reason: str = ""
    shard: int = 0
    num_shards: int = 0
    report: str = ""


@dataclass(frozen=True, slots=True)
class Fix:
    """One click that changes how a model is loaded, and loads it.

    kind: what is different. device: the one that is left out.
    """

    kind: Literal["again", "context", "without", "cpu"]
    choice: PlacementChoice
    device: str = ""


@dataclass(frozen=True, slots=True)
class LoadView:
    """Whether the model on show is in memory. stage: the engine's word while it loads.

    "measuring": it is loaded, and its speed is being taken. reason: why it is not there, or what of
    the load was done otherwise than asked; fixes: the clicks that may mend that.
    """

    state: Literal["unloaded", "loading", "loaded", "measuring"] = "unloaded"
    fraction: float = 0.0
    stage: str = ""
    eta_s: float | None = None
    reason: str = ""
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class TrashView:
    """A deleted model. deleted_at: seconds since the epoch."""

    trashed: str
    name: str
    size_bytes: int
    deleted_at: float


@dataclass(frozen=True, slots=True)
class LibraryView:
    """Where the models lie, and what is beside them.

    is_there, is_readable: the folder exists, and may be looked into.
    known: models that are not here and can be planned.
    """

    folder: str = ""
    is_there: bool = True
    is_readable: bool = True
    trash: tuple[TrashView, ...] = ()
    known: tuple[ModelView, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderView:
    """What lies in a folder that a person wants to add. problem: why it cannot be added, or "".

    size_bytes: of the source. needed_bytes: by group size, "" = a copy. free_bytes: on the disk of
    the models folder. rate_bytes_s: of the last conversion on this machine, 0.0 = none yet.
    lacks_tokenizer: a conversion needs a tokenizer file that is not there.
    """

    path: str
    kind: Literal["model", "reference", "hugging_face", "gguf", "unknown"]
    title: str = ""
    size_bytes: int = 0
    needed_bytes: dict[str, int] = field(default_factory=dict)
    free_bytes: int = 0
    rate_bytes_s: float = 0.0
    problem: str = ""
    lacks_tokenizer: bool = False
