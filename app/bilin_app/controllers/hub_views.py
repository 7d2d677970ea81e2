"""What the controllers hand to the hub dialog, and it to them: frozen values, no Qt, no protocol.

Bytes are bytes. Device names are the engine's: "cuda:0", "cpu".
"""

from dataclasses import dataclass, field
from typing import Literal

HubName = Literal["hugging_face", "modelscope"]
HUBS: tuple[HubName, ...] = ("hugging_face", "modelscope")


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """A model that is known by name. Sizes are 0 where only the hub knows them.

    repositories: by hub. fit: in INT4 at `context` tokens on this machine. short_bytes: what
    short_device misses.
    """

    id: str
    name: str
    family: str
    languages: tuple[str, ...]
    licence: str
    repositories: dict[HubName, str]
    is_runnable: bool = True
    num_parameters: int = 0
    download_bytes: int = 0
    int4_bytes: int = 0
    fit: Literal["fits", "short", "unknown"] = "unknown"
    context: int = 0
    needed_bytes: int = 0
    short_device: str = ""
    short_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HubChoice:
    """What a person asks for. endpoint, proxy "" = the environment's. file: a GGUF of several.

    revision: a branch, a tag or a commit, "" = the hub's default.
    """

    hub: HubName
    name: str
    endpoint: str = ""
    proxy: str = ""
    revision: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class HubFileView:
    """One file."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RepositoryView:
    """What a download would fetch. problem: why it makes no model here, or "".

    hosts: those the weights come from. needed_bytes: of the model, by group size ("" = as it is).
    is_ready: nothing has to be converted.
    """

    choice: HubChoice
    files: tuple[HubFileView, ...] = ()
    hosts: tuple[str, ...] = ()
    licence: str = ""
    needed_bytes: dict[str, int] = field(default_factory=dict)
    is_ready: bool = False
    gguf_files: tuple[HubFileView, ...] = ()
    free_bytes: int = 0
    has_token: bool = False
    problem: str = ""

    @property
    def download_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)
