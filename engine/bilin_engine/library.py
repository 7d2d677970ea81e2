"""The models on this computer: the bundled one and the person's own folders, whole or broken.

Only small files are read (config.json, bilin.json); weights are the worker's business. A folder
that cannot be used is listed with the sentence why, never left out in silence.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from bilin_engine import processes
from bilin_engine.app_folders import default_models_dir
from bilin_engine.config import ModelConfig, QuantizationConfig, read_model_config
from bilin_engine.errors import BilinError, ModelBrokenError, ModelNotFoundError
from bilin_engine.protocol import (
    BlankKind,
    Example,
    MeasuredSpeed,
    ModelInfo,
    ModelsFolderState,
    ProofreadFigures,
    Sampling,
    TrashedModel,
)
from bilin_engine.whole_file import write_whole

DESCRIPTION_FILE = "bilin.json"
# Below the models folder, beside the models: names with a leading point are no models.
STATE_DIR = ".bilin"
TRASH_DIR = ".trash"
DOWNLOADS_DIR = "downloads"  # in STATE_DIR: files that are no model yet
LINKED_FILE = "linked.json"
VERIFIED_FILE = "verified.json"
SPEEDS_FILE = "speeds.json"
IDS_FILE = "ids.json"
MAX_FILES = 20_000
THINKING_TOKENS = 4096  # of an answer with its reasoning, where the makers say nothing
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

State = TypeVar("State")

_SAFE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DTYPE_NAMES = {"float16": "FP16", "bfloat16": "BF16", "float32": "FP32"}


class ModelNames(msgspec.Struct, frozen=True):
    """A model's name in both languages of the interface."""

    zh: str
    en: str


class Capabilities(msgspec.Struct, frozen=True):
    """What a model was made for: conversation, and which kinds of blanks.

    proofread: how well it finds wrong words, where that was measured. thinking: whether its answers
    begin with reasoning: never (""), always, or unless it is told not to.
    """

    chat: bool = False
    blanks: tuple[BlankKind, ...] = ()
    proofread: ProofreadFigures | None = None
    thinking: Literal["", "always", "switchable"] = ""


class FileRecord(msgspec.Struct, frozen=True):
    """One file of a model folder as it was written."""

    size_bytes: int
    sha256: str


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`bilin.json`: what a model is, as far as its configuration does not say.

    id: lower-case letters, digits, ".", "_", "-". chat_format: a name of chat_format.CHAT_FORMATS,
    needed for chat. examples: things this model was measured to do. files: by name, without
    bilin.json itself. quantization_error: of the linears that a conversion quantized, as a share
    of the weights (root mean squares); 0.0 = none, or it was not measured. Keys that a later
    version writes are passed over.
    """

    id: str
    names: ModelNames
    family: str
    languages: tuple[str, ...]
    capabilities: Capabilities
    licence: str
    source: str
    chat_format: str = ""
    examples: tuple[Example, ...] = ()
    quantization_error: float = 0.0
    files: dict[str, FileRecord] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SAFE_ID.fullmatch(self.id):
            message = (
                f"id is {self.id!r}; use up to 64 lower-case letters, digits, '.', '_' and '-'"
            )
            raise ValueError(message)
        if self.capabilities.chat and not self.chat_format:
            raise ValueError("capabilities.chat is true without a chat_format")


def download_folder(folder: Path) -> Path:
    """Where the files for a model folder lie until it is one."""
    return folder.parent / STATE_DIR / DOWNLOADS_DIR / folder.name


def read_description(folder: Path) -> ModelDescription:
    """The `bilin.json` of a model folder. Raises ModelBrokenError, naming the key."""
    path = folder / DESCRIPTION_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelDescription)
    except FileNotFoundError as error:
        message = f"{path} is missing: the folder was not written or imported by Bilin"
        raise ModelBrokenError(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ModelBrokenError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path} is damaged: {error}"
        raise ModelBrokenError(message) from error


def change_description(folder: Path, **changes: object) -> None:
    """Puts other values into `bilin.json`, which stays as it is otherwise: a later version's keys.

    Raises ModelBrokenError with the reason.
    """
    read_description(folder)
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8")) | msgspec.to_builtins(changes)
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        write_whole(path, text.encode())
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise ModelBrokenError(message) from error


def write_proofread_figures(folder: Path, figures: ProofreadFigures) -> None:
    """Puts measured figures among the capabilities in `bilin.json`."""
    capabilities = read_description(folder).capabilities
    change_description(
        folder, capabilities=msgspec.structs.replace(capabilities, proofread=figures)
    )


def bundled_models_dir() -> Path:
    """Where the models that come with Bilin lie: inside the wheel, or in a checkout's resources."""
    package = Path(__file__).parent
    inside_wheel = package / "_models"
    return inside_wheel if inside_wheel.is_dir() else package.parents[1] / "resources" / "models"


class VerifiedFiles(msgspec.Struct, frozen=True):
    """When a folder's files agreed with their hashes, and which files those were."""

    files: str
    at: float


def files_fingerprint(folder: Path) -> str:
    """Changes when a file of the folder is replaced, cut or touched."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name != DESCRIPTION_FILE and path.is_file():
            state = path.stat()
            digest.update(os.fsencode(path.name))
            digest.update(f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """One folder. `description` and `config` are None where they could not be read."""

    info: ModelInfo
    description: ModelDescription | None
    config: ModelConfig | None

    @property
    def chat_format(self) -> str:
        """Its name, "" where the model cannot chat."""
        description = self.description
        return description.chat_format if description and description.capabilities.chat else ""


class Library:
    """Model folders in two places; read anew at every call, so that a change on disk shows."""

    def __init__(self, models_dir: Path | None = None, *, bundled_dir: Path | None = None) -> None:
        """None = `default_models_dir()` and `bundled_models_dir()`; neither has to exist."""
        self.models_dir = default_models_dir() if models_dir is None else models_dir
        self.bundled_dir = bundled_models_dir() if bundled_dir is None else bundled_dir

    def entries(self) -> list[LibraryEntry]:
        """Every model folder: bundled ones first, then by folder name; ids are unique."""
        entries = []
        verified, speeds = self.verified(), self.speeds()
        machine = processes.cpu_label() if speeds else ""
        folders = list(self._folders())
        found = [_read_entry(folder, is_bundled) for folder, is_bundled in folders]
        keys = [self.key(folder) for folder, _ in folders]
        ids = _unique_ids(keys, found, self.ids())
        for (folder, _), key, entry, unique in zip(folders, keys, found, ids, strict=True):
            info = msgspec.structs.replace(
                entry.info,
                id=unique,
                verified_at=_verified_at(folder, verified.get(key)),
                speed=_latest_speed(speeds.get(key, []), machine),
            )
            entries.append(LibraryEntry(info, entry.description, entry.config))
        return entries

    def models(self) -> list[ModelInfo]:
        """What `entries` says of each model to the app."""
        return [entry.info for entry in self.entries()]

    def entry(self, model_id: str) -> LibraryEntry:
        """The folder of `model_id`. Raises ModelNotFoundError, naming the known ids."""
        entries = self.entries()
        for entry in entries:
            if entry.info.id == model_id:
                return entry
        known = ", ".join(entry.info.id for entry in entries) or "none"
        message = f"there is no model {model_id!r} in the library; known: {known}"
        raise ModelNotFoundError(message)

    def find(self, model_id: str) -> ModelInfo:
        """The model called `model_id`, usable or not. Raises ModelNotFoundError."""
        return self.entry(model_id).info

    def chat_format(self, model_id: str) -> str:
        """The name of the model's chat format, "" where it cannot chat."""
        return self.entry(model_id).chat_format

    @property
    def state_dir(self) -> Path:
        """Where the library keeps its own files; it may not exist yet."""
        return self.models_dir / STATE_DIR

    def linked(self) -> tuple[Path, ...]:
        """Model folders that were added in place and lie elsewhere."""
        return tuple(Path(p) for p in _read_state(self.state_dir / LINKED_FILE, list[str]) or ())

    def key(self, folder: Path) -> str:
        """What a folder is called in the library's own files: they move with it."""
        folder = folder.absolute()
        return folder.name if folder.parent == self.models_dir.absolute() else str(folder)

    def ids(self) -> dict[str, str]:
        """The ids that models keep whatever others there are, by `key`."""
        return _read_state(self.state_dir / IDS_FILE, dict[str, str]) or {}

    def verified(self) -> dict[str, VerifiedFiles]:
        """What is known of verified folders, by `key`."""
        found = _read_state(self.state_dir / VERIFIED_FILE, dict[str, VerifiedFiles]) or {}
        return {self.key(Path(path)) if "/" in path else path: v for path, v in found.items()}

    def speeds(self) -> dict[str, list[MeasuredSpeed]]:
        """What was measured, by `key`; of several machines where the folder was moved."""
        return _read_state(self.state_dir / SPEEDS_FILE, dict[str, list[MeasuredSpeed]]) or {}

    def folder_state(self) -> ModelsFolderState:
        """Whether the models folder can be read."""
        try:
            with os.scandir(self.models_dir):
                return "there"
        except FileNotFoundError:
            return "there" if self.models_dir.parent.is_dir() else "missing"
        except OSError:
            return "unreadable"

    def trash(self) -> list[TrashedModel]:
        """Deleted models, the latest first."""
        found = []
        for place in subfolders(self.models_dir / TRASH_DIR):
            for folder in subfolders(place):
                info = _read_entry(folder, is_bundled=False).info
                found.append(
                    TrashedModel(
                        trashed=place.name,
                        name=info.name_en,
                        size_bytes=info.size_bytes,
                        deleted_at=_changed_at(place),
                    )
                )
        return sorted(found, key=lambda one: -one.deleted_at)

    def _folders(self) -> Iterator[tuple[Path, bool]]:
        for parent, is_bundled in ((self.bundled_dir, True), (self.models_dir, False)):
            for folder in subfolders(parent):
                yield folder, is_bundled
        for folder in self.linked():
            yield folder, False


def subfolders(parent: Path) -> list[Path]:
    """What may be models; a folder that cannot be read holds none."""
    try:
        names = [path for path in sorted(parent.iterdir()) if not path.name.startswith(".")]
    except OSError:
        return []
    # Path.is_dir raises for a link onto a disk that fails, and would hide all the others.
    return [path for path in names if os.path.isdir(path)]  # noqa: PTH112


def _read_state(path: Path, kind: type[State]) -> State | None:
    """One of the library's own files; None where it is missing or not usable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _latest_speed(speeds: list[MeasuredSpeed], machine: str) -> MeasuredSpeed | None:
    own = [speed for speed in speeds if speed.machine == machine]
    return max(own, key=lambda speed: speed.at, default=None)


def _verified_at(folder: Path, known: VerifiedFiles | None) -> float:
    if known is None:
        return 0.0
    try:
        return known.at if known.files == files_fingerprint(folder) else 0.0
    except OSError:
        return 0.0


def _printable(path: Path) -> Path:
    """`path` with marks for bytes that are no UTF-8: a message cannot carry those."""
    return Path(os.fsencode(path).decode("utf-8", "replace"))


def _read_entry(folder: Path, is_bundled: bool) -> LibraryEntry:
    config = description = None
    problem = ""
    if (shown := _printable(folder)) != folder:
        problem = f"the name of the folder {shown} is not UTF-8; rename the folder"
        return LibraryEntry(_info(shown, is_bundled, None, None, problem), None, None)
    try:
        config = read_model_config(folder)
    except BilinError as error:
        problem = error.message
    try:
        description = read_description(folder)
    except BilinError as error:
        problem = problem or error.message
    if description is not None and not problem:
        problem = _missing_file(folder, description)
    return LibraryEntry(
        _info(folder, is_bundled, config, description, problem), description, config
    )


def _info(
    folder: Path,
    is_bundled: bool,
    config: ModelConfig | None,
    description: ModelDescription | None,
    problem: str,
) -> ModelInfo:
    capabilities = description.capabilities if description else Capabilities()
    return ModelInfo(
        id=description.id if description else id_from_name(folder.name),
        name_zh=description.names.zh if description else folder.name,
        name_en=description.names.en if description else folder.name,
        family=description.family if description else "",
        num_parameters=config.num_parameters if config else 0,
        precision=_precision(config) if config else "",
        size_bytes=_size_bytes(folder),
        languages=description.languages if description else (),
        can_chat=capabilities.chat,
        blank_kinds=capabilities.blanks,
        context_length=config.max_sequence_length if config else 0,
        licence=description.licence if description else "",
        source=description.source if description else "",
        path=str(folder),
        is_bundled=is_bundled,
        examples=description.examples if description else (),
        problem=problem,
        num_layers=config.num_layers if config else 0,
        num_heads=config.num_attention_heads if config else 0,
        sampling=recommended_sampling(folder, thinks=bool(capabilities.thinking)),
        proofread=capabilities.proofread,
        can_skip_thinking=capabilities.thinking == "switchable",
        lacks_tokenizer=description is not None and _lacks_tokenizer(folder, description),
    )


def recommended_sampling(folder: Path, *, thinks: bool = False) -> Sampling:
    """How the model's makers draw tokens: `generation_config.json`, the defaults for the rest.

    Values that are no sampling (or no file at all) are passed over: they are a recommendation.
    thinks: an answer needs room for the reasoning before it.
    """
    chosen = Sampling(max_new_tokens=THINKING_TOKENS) if thinks else Sampling()
    try:
        content = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return chosen
    values = content if isinstance(content, dict) else {}
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens"):
        wanted = {"max_new_tokens": int, "top_k": int}.get(name, float)
        value = values.get(name)
        if not isinstance(value, wanted | int) or isinstance(value, bool):
            continue
        if 0 <= value < 1 << 31:
            chosen = msgspec.structs.replace(chosen, **{name: wanted(value)})
    if values.get("do_sample") is False:
        chosen = msgspec.structs.replace(chosen, temperature=0.0)
    return chosen


def _missing_file(folder: Path, description: ModelDescription) -> str:
    """The sentence about the first file that is not as it was written, or ""."""
    for name, record in description.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{folder / name} is missing: copy or convert the model again"
        if size != record.size_bytes:
            return (
                f"{folder / name} has {size} bytes instead of {record.size_bytes}: it was cut "
                f"short or changed; copy or convert the model again"
            )
    if _lacks_tokenizer(folder, description):
        return f"{folder / TOKENIZER_CONFIG_FILE} is missing: the model cannot read text without it"
    return ""


def _lacks_tokenizer(folder: Path, description: ModelDescription) -> bool:
    needs_text = description.capabilities.chat or description.capabilities.blanks
    # Path.is_file raises for a file that the disk cannot read, and would hide all other models.
    return bool(needs_text) and not os.path.isfile(folder / TOKENIZER_CONFIG_FILE)  # noqa: PTH113


def _precision(config: ModelConfig) -> str:
    """As "INT4 · 32", "INT8 · row", "FP16"; mixed groups of one width as "INT4 · row/1536"."""
    quantization: QuantizationConfig | None = config.quantization
    if quantization is None:
        return _DTYPE_NAMES[config.dtype]
    by_bits: dict[int, list[str]] = {}
    for scheme in quantization.schemes:
        groups = by_bits.setdefault(scheme.bits, [])
        if str(scheme.group_size) not in groups:
            groups.append(str(scheme.group_size))
    return ", ".join(f"INT{bits} · {'/'.join(groups)}" for bits, groups in by_bits.items())


def _size_bytes(folder: Path) -> int:
    """Bytes of the files in a folder. What cannot be read counts nothing; links are not followed.

    A model folder is flat; at most `MAX_FILES` are looked at, so a wrong folder costs no minute.
    """
    total = 0
    try:
        for path in islice(folder.rglob("*"), MAX_FILES):
            if not path.is_symlink() and path.is_file():
                total += path.stat().st_size
    except OSError:
        return total
    return total


def id_from_name(name: str) -> str:
    """What of a name an id can hold; "model" where that is nothing."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "model"


def _unique_ids(keys: list[str], found: list[LibraryEntry], kept: dict[str, str]) -> list[str]:
    """One id each, in this order; who has kept one gives it up to none but a bundled model."""

    def is_kept(index: int) -> bool:
        if keys[index] not in kept:
            return False
        description = found[index].description
        # Without Bilin's knowledge another model may have taken the place.
        return description is None or _may_be_of(kept[keys[index]], description.id)

    def is_new(index: int) -> bool:
        return not found[index].info.is_bundled and not is_kept(index)

    ids: dict[int, str] = {}
    for index in sorted(range(len(found)), key=is_new):
        wanted = kept[keys[index]] if is_kept(index) else found[index].info.id
        ids[index] = _unique(wanted, ids.values())
    return [ids[index] for index in range(len(found))]


def _unique(wanted: str, taken: Collection[str]) -> str:
    number, unique = 2, wanted
    while unique in taken:
        unique, number = _numbered(wanted, str(number)), number + 1
    return unique


def _may_be_of(unique: str, wanted: str) -> bool:
    """Whether `_unique` may have made the one of the other."""
    number = unique.rpartition("-")[2]
    return unique == wanted or (number.isdecimal() and unique == _numbered(wanted, number))


def _numbered(wanted: str, number: str) -> str:
    suffix = f"-{number}"
    return wanted[: 64 - len(suffix)] + suffix
