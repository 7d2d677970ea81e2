"""What lies at a path that a person wants to add: told from names and small files alone.

Of weight files only the header of a GGUF is read, where the model's sizes stand; the rest is the
job's business.
"""

import os
import re
from itertools import islice
from pathlib import Path

from bilin_engine import processes
from bilin_engine.checkpoints.gguf_config import default_group, origins
from bilin_engine.checkpoints.gguf_config import read_config as read_gguf_config
from bilin_engine.checkpoints.gguf_file import SUFFIX, GgufModel, models_among, parts_of
from bilin_engine.config import (
    CONFIG_FILE,
    is_huggingface_folder,
    parse_model_config,
    read_config_content,
)
from bilin_engine.errors import BadRequestError, BilinError, ModelBrokenError
from bilin_engine.hubs.inspect import needed_bytes, parse_config
from bilin_engine.library import DESCRIPTION_FILE, MAX_FILES, Library, read_description
from bilin_engine.placement.cost import file_bytes_by_group
from bilin_engine.placement.known_configs import GLM_130B
from bilin_engine.protocol import FolderInspected, FolderKind
from bilin_engine.tokenizers.gguf_vocabulary import read_tokenizer

MAX_LATEST_BYTES = 4096
TOKENIZER_FILE = "ice_text.model"  # GLM-130B's, which its checkpoint does not hold
_RANK_FILE = re.compile(r"mp_rank_(\d{2,3})_model_states\.pt")


def inspect_folder(path: str, library: Library, rate_bytes_s: float) -> FolderInspected:
    """Tells what a path is. Raises BilinError for a path that cannot be looked at."""
    asked = Path(path)
    if not asked.is_absolute():
        raise BadRequestError(f"{path} is not an absolute path")
    folder = asked if asked.is_dir() else asked.parent
    try:
        files = _files(folder)
    except OSError as error:
        raise BadRequestError(f"{asked} cannot be read: {error.strerror}") from error
    kind: FolderKind = "gguf"
    if asked.suffix != SUFFIX or not asked.is_file():
        kind, folder, files = _recognize(folder, files)
        asked = folder
    if kind == "gguf":
        asked, files = _gguf(asked, files)
        folder = asked
    needed, problem = _needs(kind, folder, files, library)
    return FolderInspected(
        kind=kind,
        path=str(folder),
        title=folder.name if kind != "gguf" else folder.stem,
        size_bytes=sum(files.values()),
        free_bytes=processes.disk_free_bytes(library.models_dir),
        needed_bytes=needed,
        rate_bytes_s=rate_bytes_s,
        problem=problem,
        lacks_tokenizer=kind == "reference" and not (folder / TOKENIZER_FILE).is_file(),
    )


def _files(folder: Path) -> dict[str, int]:
    """Plain files by name, with their sizes; links out of the folder are not counted."""
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in islice(entries, MAX_FILES):
            if entry.is_file():
                found[entry.name] = entry.stat().st_size
    return found


def _recognize(folder: Path, files: dict[str, int]) -> tuple[FolderKind, Path, dict[str, int]]:
    if DESCRIPTION_FILE in files:
        return "model", folder, files
    if is_huggingface_folder(folder):  # first, as `jobs.convert` takes it
        return "hugging_face", folder, files
    if any(_RANK_FILE.fullmatch(name) for name in files):
        # The folder above names the iteration that is to be read.
        above = folder.parent
        if is_huggingface_folder(above):
            return "hugging_face", above, _files(above)
        return "reference", above if (above / "latest").is_file() else folder, _ranks(files)
    if "latest" in files:
        inner = folder / _latest(folder)
        try:
            ranks = _ranks(_files(inner))
        except OSError:
            ranks = {}
        return "reference", folder, ranks
    if CONFIG_FILE in files and any(name.endswith(".safetensors") for name in files):
        return "hugging_face", folder, files
    if any(name.endswith(".gguf") for name in files):
        return "gguf", folder, files
    return "unknown", folder, files


def _gguf(path: Path, files: dict[str, int]) -> tuple[Path, dict[str, int]]:
    """The file of a model and its parts' sizes; of a folder with several the folder itself."""
    if path.is_dir():
        models = models_among(list(files))
        if len(models) != 1:
            return path, {name: size for name, size in files.items() if name.endswith(SUFFIX)}
        path = path / models[0]
    try:
        parts = parts_of(path)
    except BilinError:
        parts = [path]  # said as the problem when it is opened
    return path, {part.name: part.stat().st_size for part in parts}


def _gguf_needs(path: Path, files: dict[str, int]) -> tuple[dict[str, int], str]:
    """By group size, the one that loses least first. Raises BilinError for what is refused."""
    if path.is_dir():
        return {}, f"{path} holds {len(files)} GGUF files; choose one of them instead of the folder"
    with GgufModel(path) as model:
        config = read_gguf_config(model)
        origins(model, config)
        read_tokenizer(model.metadata, str(path))
        best = default_group(model, config, 4)
    needs = file_bytes_by_group(config)
    return {size: needs[size] for size in sorted(needs, key=lambda s: s != str(best))}, ""


def _ranks(files: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in files.items() if _RANK_FILE.fullmatch(name)}


def _latest(folder: Path) -> str:
    """The folder that `latest` names, "" unless it is a plain name."""
    with (folder / "latest").open(encoding="utf-8", errors="replace") as file:
        name = file.read(MAX_LATEST_BYTES).strip()
    return name if name and Path(name).name == name and name not in (".", "..") else ""


def _needs(
    kind: FolderKind, folder: Path, files: dict[str, int], library: Library
) -> tuple[dict[str, int], str]:
    """Bytes the result takes, by group size ("" = a copy); or the sentence why there is none."""
    try:
        match kind:
            case "model":
                read_description(folder)
                return {"": sum(files.values())}, _known(folder, library)
            case "reference":
                return _reference_needs(folder, files)
            case "hugging_face":
                content = read_config_content(folder / CONFIG_FILE)
                config = parse_config(content, str(folder))
                if config.quantization is not None:  # a model already, but for its description
                    return {"": sum(files.values())}, ""
                return needed_bytes(config, content), ""
            case "gguf":
                return _gguf_needs(folder, files)
            case "unknown":
                return {}, (
                    f"{folder} holds no model: neither bilin.json, nor config.json with "
                    "safetensors, nor mp_rank_XX_model_states.pt or GGUF files"
                )
    except BilinError as error:
        return {}, error.message


def _reference_needs(folder: Path, files: dict[str, int]) -> tuple[dict[str, int], str]:
    ranks = sorted(int(match[1]) for name in files if (match := _RANK_FILE.fullmatch(name)))
    missing = sorted(set(range(max(ranks, default=0) + 1)) - set(ranks))
    if missing:
        first = f"mp_rank_{missing[0]:02d}_model_states.pt"
        raise ModelBrokenError(f"{first} is missing in {folder}")
    beside = folder / CONFIG_FILE
    if not beside.is_file():
        return file_bytes_by_group(GLM_130B), ""
    content = {"model_type": "glm130b", **read_config_content(beside)}
    return file_bytes_by_group(parse_model_config(content, str(beside))), ""


def _known(folder: Path, library: Library) -> str:
    known = [Path(info.path) for info in library.models()]
    return f"{folder} is in the library already" if folder.absolute() in known else ""
