"""What a download would fetch and make, asked of the hub before anything is fetched."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from bilin_engine.config import (
    MAX_CONFIG_BYTES,
    ModelConfig,
    QuantizationConfig,
    parse_model_config,
)
from bilin_engine.config.gptq import Gptq, gptq_of, quant_method
from bilin_engine.errors import BilinError
from bilin_engine.hubs.base import HubFile, HubSource, Listing
from bilin_engine.hubs.selection import Selection, choose_files
from bilin_engine.placement.cost import file_bytes, file_bytes_by_group
from bilin_engine.protocol import Repository, RepositoryFile, RepositoryListed

CONFIG = "config.json"
DESCRIPTION = "bilin.json"
# Bytes of a value in a GGUF file, by the type in its name (github ggml-org/ggml, docs/gguf.md,
# "GGUF Naming Convention"); the least where the name stands for several types.
_GGUF_VALUE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "fp16": 2.0, "q8": 34 / 32, "q6": 210 / 256,
    "q5": 22 / 32, "q4": 18 / 32,
}  # fmt: skip
_GGUF_TYPE = re.compile(rf"(?<![^\W_])({'|'.join(_GGUF_VALUE_BYTES)})(?![^\W_])")
# Of a value of the model made of it: INT4 in groups of 32 takes 18/32, embedding and head 2, and
# those are up to 30 % of a small model's values.
_GGUF_MODEL_VALUE_BYTES = 1.0


def inspect_repository(source: HubSource, repository: Repository, file: str) -> RepositoryListed:
    """Asks for the listing, the configuration and one byte of the weights. Raises HubError.

    What makes no model here is `problem`, not an error.
    """
    listing = source.list_files()
    chosen = choose_files(listing.files, repository.name, file)
    by_name = {one.name: one for one in chosen.files}
    problem, family, hosts = chosen.problem, "", ()
    needed: dict[str, int] = {}
    is_ready = DESCRIPTION in by_name
    if not problem and CONFIG in by_name:
        try:
            content = read_config(source, by_name[CONFIG])
            config = parse_config(content, repository.name)
            family, needed = config.architecture, needed_bytes(config, content)
            is_ready = is_ready or config.quantization is not None
        except BilinError as error:
            problem = error.message
    elif not problem and file:
        needed = {"": gguf_model_bytes(chosen.files)}
    if chosen.files and not problem:
        hosts = _hosts(source, max(chosen.files, key=lambda one: one.size_bytes))
    return RepositoryListed(
        repository=repository,
        endpoint=source.endpoint,
        revision=listing.revision,
        files=_told(chosen.files),
        hosts=hosts,
        licence=listing.licence,
        family=family,
        needed_bytes=needed,
        is_ready=is_ready,
        gguf_files=_told(chosen.ggufs),
        num_others=_num_others(listing, chosen),
        has_token=source.has_token,
        problem=problem,
    )


def read_config(source: HubSource, file: HubFile) -> dict[str, Any]:
    """The repository's config.json. Raises HubError, ModelBrokenError."""
    content = bytearray()
    with source.open_range(file, 0, "") as opened:
        for block in opened.blocks:
            content += block
            if len(content) > MAX_CONFIG_BYTES:
                break
    try:
        parsed = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def parse_config(content: dict[str, Any], where: str) -> ModelConfig:
    """A published configuration. Raises UnsupportedModelError, ModelBrokenError.

    GPTQ's codes are kept by the import: its configuration is the plain one's.
    """
    if _gptq(content, where) is None:
        return parse_model_config(content, f"{where}: {CONFIG}")
    plain = {key: value for key, value in content.items() if key != "quantization_config"}
    return parse_model_config(plain, f"{where}: {CONFIG}")


def needed_bytes(config: ModelConfig, content: dict[str, Any]) -> dict[str, int]:
    """Disk the model takes, by group size; "" = codes that are kept as they are published."""
    gptq = _gptq(content, config.architecture)
    if gptq is not None:
        quantization = QuantizationConfig.uniform(gptq.bits, gptq.group_size)
        return {"": file_bytes(dataclasses.replace(config, quantization=quantization))}
    return file_bytes_by_group(config)


def gguf_model_bytes(files: Sequence[HubFile]) -> int:
    """A bound on the disk that the model made of a GGUF file takes. files: all its parts.

    From its size and name: what it holds is told behind its vocabulary, some MB into the file.
    """
    types = _GGUF_TYPE.findall(files[0].name.lower())
    value_bytes = min(_GGUF_VALUE_BYTES[kind] for kind in types or ("q4",))
    num_values = sum(file.size_bytes for file in files) / value_bytes
    return math.ceil(num_values * _GGUF_MODEL_VALUE_BYTES)


def _gptq(content: dict[str, Any], where: str) -> Gptq | None:
    if quant_method(content) != "gptq":
        return None
    return gptq_of(content["quantization_config"], f"{where}: {CONFIG}")


def _hosts(source: HubSource, file: HubFile) -> tuple[str, ...]:
    with source.open_range(file, max(0, file.size_bytes - 1), "") as opened:
        return opened.hosts


def _told(files: tuple[HubFile, ...]) -> tuple[RepositoryFile, ...]:
    return tuple(RepositoryFile(file.name, file.size_bytes) for file in files)


def _num_others(listing: Listing, chosen: Selection) -> int:
    return len(listing.files) + listing.num_below - len(chosen.files)
