"""Which files of a repository make a model here, or the sentence why none do.

Only what the import reads is fetched: configuration, tokenizer, licence, safetensors; or one GGUF
file. Never code, never pickles, never a file of a folder inside the repository.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bilin_engine.hubs.base import HubFile

MAX_NAME_BYTES = 200
SMALL_FILES = frozenset(
    {
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "MODEL_LICENSE",
        "NOTICE",
        "added_tokens.json",
        "bilin.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "ice_text.model",
        "merges.txt",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    }
)
_PART = re.compile(
    r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<kind>\.safetensors|\.gguf)"
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Selection:
    """files: to be fetched, small ones first. ggufs: to choose from. problem: a sentence or ""."""

    files: tuple[HubFile, ...]
    ggufs: tuple[HubFile, ...] = ()
    problem: str = ""


def choose_files(listed: Sequence[HubFile], where: str, gguf: str = "") -> Selection:
    """What of a listing is fetched. where: the repository, for sentences. gguf: the file wanted."""
    usable = [file for file in listed if len(file.name.encode()) <= MAX_NAME_BYTES]
    all_ggufs = [file for file in usable if file.name.endswith(".gguf")]
    ggufs = tuple(file for file in all_ggufs if _is_first(file.name))
    if gguf:
        found = tuple(file for file in all_ggufs if _model_of(file.name) == _model_of(gguf))
        has_it = any(file.name == gguf for file in found)
        problem = _missing(found, where) if has_it else f"{where} has no file {gguf[:120]}"
        return Selection(found, ggufs, problem)
    small = [file for file in usable if file.name in SMALL_FILES]
    weights = _weights(usable)
    names = {file.name for file in usable}
    if weights and "config.json" not in names:
        problem = f"{where} has weights but no config.json, so nothing says what they are"
        return Selection((), ggufs, problem)
    if weights:
        files = (*sorted(small, key=lambda f: f.size_bytes), *weights)
        return Selection(files, ggufs, _missing(weights, where))
    if ggufs:
        return Selection((), ggufs, f"{where} holds GGUF files; choose one of them")
    if pickles := [file.name for file in usable if file.name.endswith(_PICKLES)]:
        return Selection(
            (),
            problem=f"{where} has its weights as pickles only ({pickles[0]}), which can run code "
            "when they are read; take a repository with safetensors",
        )
    return Selection((), problem=f"{where} holds no weights: neither safetensors nor GGUF files")


def _weights(files: Sequence[HubFile]) -> list[HubFile]:
    """The model's own safetensors; an adapter's or another format's beside them are left."""
    found = [file for file in files if file.name.endswith(".safetensors")]
    own = [f for f in found if f.name == "model.safetensors" or f.name.startswith("model-")]
    others = [f for f in found if not f.name.startswith(("adapter_", "consolidated"))]
    return sorted(own or others, key=lambda file: file.name)


def _is_first(name: str) -> bool:
    """Whether a file is a whole model, or the first part of one."""
    match = _PART.fullmatch(name)
    return match is None or int(match["index"]) == 1


def _model_of(name: str) -> str:
    """What the parts of one model have in common."""
    match = _PART.fullmatch(name)
    return f"{match['stem']} of {match['count']}" if match else name


def _missing(weights: Sequence[HubFile], where: str) -> str:
    names = {file.name for file in weights}
    for file in weights:
        match = _PART.fullmatch(file.name)
        if match is None:
            continue
        for index in range(1, int(match["count"]) + 1):
            name = f"{match['stem']}-{index:05d}-of-{match['count']}{match['kind']}"
            if name not in names:
                return f"{where} is not whole: {name} is missing"
    return ""
