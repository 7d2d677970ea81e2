"""Imports Hugging Face folders: plain safetensors become our INT4, GPTQ's codes are kept.

Names stay and nothing is fused, so the result also serves programs that read compressed-tensors.
A folder that is in that format already is described where it lies (`adopt`). Everything else is
refused with its reason. The source is only read.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import torch

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.imported import (
    CalibrateSource,
    calibration_of,
    describe,
    eos_ids_of,
    write_tokenizer_files,
)
from bilin_engine.checkpoints.model_folder import (
    BILIN_FILE,
    ModelFolder,
    shard_names,
    write_bilin_file,
)
from bilin_engine.checkpoints.safetensors_file import SafetensorsFile, StoredEntry
from bilin_engine.checkpoints.streaming import (
    OnProgress,
    QuantizationError,
    stream_to_folder,
    write_json,
)
from bilin_engine.config import (
    CONFIG_FILE,
    GroupSize,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    TensorSpec,
    largest_group,
    parse_model_config,
    read_config_content,
)
from bilin_engine.config.gptq import Gptq, gptq_of
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError
from bilin_engine.tokenizers.load import load_tokenizer

GENERATION_FILE = "generation_config.json"
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_FLOATS = ("F16", "BF16", "F32")
# Stored beside the weights and computed anew, or equal to the embedding.
_NEEDLESS = re.compile(r".*rotary_(pos_)?emb\.inv_freq|.*\.masked_bias|lm_head\.weight")


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What the result is. target "" = INT4, or the codes the source has.

    group_size None = the largest of 128, 64 and 32 that divides every row, else "row".
    chat_format "" = the folder's template, or its family's own.
    """

    target: Literal["", "int4", "int8", "plain"] = ""
    group_size: GroupSize | None = None
    chat_format: str = ""


def import_folder(
    src: Path,
    dst: Path,
    settings: ImportSettings,
    *,
    on_progress: OnProgress = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    max_shard_bytes: int = 4 * 1024**3,
    calibrate: CalibrateSource | None = None,
) -> Path:
    """Writes the model folder `dst`; goes on where an interrupted call with the same values was.

    Raises BadRequestError (dst exists, settings that contradict the source), ModelBrokenError,
    UnsupportedModelError (architecture, config key or quantization we do not run: why),
    DiskFullError, ConversionStopped.
    """
    if dst.exists():
        raise BadRequestError(f"{dst} exists already; choose another name or remove it first")
    with HuggingFaceCheckpoint(src) as source:
        config = source.target(settings)
        load_tokenizer(src)  # `describe` would refuse an unreadable one only at the end

        def write_small_files(folder: Path, error: QuantizationError) -> None:
            write_json(folder / CONFIG_FILE, {**config.to_json(), **source.token_ids()})
            write_json(folder / GENERATION_FILE, _generation_config(src, source.content))
            write_tokenizer_files(src, folder)
            how = f"GPTQ INT{source.gptq.bits}" if source.gptq else source.dtype
            stem = re.sub(r"\.partial$", "", folder.name.removeprefix("."))
            origin = str(source.content.get("_name_or_path", ""))
            how = f"Hugging Face folder, {how}"
            description = describe(stem, config, folder, how, settings.chat_format, origin)
            description = msgspec.structs.replace(description, quantization_error=error.relative)
            encoded = msgspec.json.format(msgspec.json.encode(description))
            (folder / BILIN_FILE).write_bytes(encoded + b"\n")

        return stream_to_folder(
            source,
            config,
            dst,
            write_small_files,
            on_progress=on_progress,
            should_stop=should_stop,
            max_shard_bytes=max_shard_bytes,
            calibrate=calibration_of(
                calibrate, source, source.config, lambda text: load_tokenizer(src).encode(text)
            ),
        )


def adopt(folder: Path, chat_format: str = "", *, name: str = "") -> None:
    """Describes a ready compressed-tensors folder where it lies: writes bilin.json into it.

    name: the model's, "" = the folder's.
    Checks names, shapes and the tokenizer first. Raises BadRequestError for a folder that has a
    bilin.json or cannot be written, ModelBrokenError, UnsupportedModelError.
    """
    if (folder / BILIN_FILE).exists():
        raise BadRequestError(f"{folder} is a model of Bilin's already")
    for shard in shard_names(folder):
        SafetensorsFile(folder / shard).close()
    with ModelFolder(folder, hashes=False) as model:
        config = model.config
    if config.quantization is None:
        raise BadRequestError(
            f"{folder} holds plain weights; import them, so that they are quantized"
        )
    source = "compressed-tensors folder, described in place"
    description = describe(name or folder.name, config, folder, source, chat_format)
    try:
        write_bilin_file(folder, msgspec.to_builtins(description))
    except OSError as error:
        raise BadRequestError(
            f"{folder} cannot be written ({error.strerror}); copy it to where it can"
        ) from error


class HuggingFaceCheckpoint:
    """An opened folder, read by blocks of rows: a `TensorSource`.

    Attributes:
        config: what it computes, without quantization. content: config.json.
        gptq: how its codes are stored, None for plain weights. dtype: of the weights, for people.
    """

    def __init__(self, folder: Path) -> None:
        """Opens and checks every file.

        Raises ModelBrokenError (missing, damaged, misshapen: named) and UnsupportedModelError
        (architecture, keys, quantization or tensors that we do not know: named).
        """
        self.folder = folder
        self.content = read_config_content(folder / CONFIG_FILE)
        where = str(folder / CONFIG_FILE)
        plain = {k: v for k, v in self.content.items() if k != "quantization_config"}
        self.gptq = gptq_of(self.content.get("quantization_config"), where)
        self.config: ModelConfig = parse_model_config(plain, where)
        self.dtype: str = self.config.dtype
        self._stack = ExitStack()
        self._file_of: dict[str, SafetensorsFile] = {}
        try:
            self._open()
            wanted = {name for spec in self.config.tensors() for name in self._check(spec)}
            self._refuse_others(wanted)
        except BaseException:
            self.close()
            raise

    def target(self, settings: ImportSettings) -> ModelConfig:
        """The result's configuration. Raises BadRequestError where settings contradict GPTQ."""
        if settings.target == "plain":
            if self.gptq is not None:
                raise BadRequestError(
                    "GPTQ codes stay codes: leave the target out, or take the original weights"
                )
            return self.config
        bits = {"": 4, "int4": 4, "int8": 8}[settings.target]
        group = settings.group_size
        if self.gptq is not None:
            same_bits = settings.target == "" or bits == self.gptq.bits
            if not same_bits or group not in (None, self.gptq.group_size):
                raise BadRequestError(
                    f"this folder is GPTQ INT{self.gptq.bits} with group size "
                    f"{self.gptq.group_size}, which is kept; for another take the original weights"
                )
            bits, group = self.gptq.bits, self.gptq.group_size
        quantization = QuantizationConfig.uniform(bits, group or largest_group(self.config))
        return dataclasses.replace(self.config, quantization=quantization)

    def files(self) -> list[Path]:
        """As `TensorSource.files`."""
        return sorted({file.path for file in self._file_of.values()})

    def row_bytes(self, spec: TensorSpec) -> int:
        """As `TensorSource.row_bytes`."""
        if self._is_packed(spec):
            return max(1, spec.shape[1] // 2)
        entry = self._entry(spec.name)
        return max(1, (entry.stop - entry.start) // max(1, entry.shape[0]))

    def rows(self, spec: TensorSpec, start: int, stop: int) -> torch.Tensor:
        """As `TensorSource.rows`; float32 code * scale where the codes are kept."""
        if self._is_packed(spec):
            codes, scales = self._codes(spec, start, stop)
            return int4.dequantize(int4.QuantizedWeight(codes, scales, self._packing().bits))
        return self._file_of[spec.name].rows(spec.name, start, stop)

    def stored_codes(
        self, spec: TensorSpec, scheme: QuantizationScheme, start: int, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """GPTQ's codes and scales of some rows, as int8 [rows, k] and [rows, groups]."""
        if not self._is_packed(spec):
            return None
        assert scheme.group_size == self._packing().group_size, "`target` keeps the groups"
        return self._codes(spec, start, stop)

    def _codes(self, spec: TensorSpec, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        gptq = self._packing()
        module, k = spec.module, spec.shape[1]
        words = self._columns(f"{module}.qweight", start, stop)
        per_word = 32 // gptq.bits
        shifts = torch.arange(0, 32, gptq.bits, dtype=torch.int32).view(1, per_word, 1)
        codes = (words.unsqueeze(1) >> shifts) & (2**gptq.bits - 1)
        codes = codes.flatten(0, 1)[:k] - 2 ** (gptq.bits - 1)
        self._check_zeros(module, start, stop)
        scales = self._columns(f"{module}.scales", start, stop)
        return codes.T.to(torch.int8).contiguous(), scales.T.to(torch.float16).contiguous()

    def token_ids(self) -> dict[str, Any]:
        """The ids of config.json that only other programs read there."""
        found = {key: self.content.get(key) for key in _TOKEN_IDS}
        return {key: value for key, value in found.items() if value is not None}

    def close(self) -> None:
        """Closes the files. Safe to call twice."""
        self._file_of = {}
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        for name in shard_names(self.folder):
            file = self._stack.enter_context(SafetensorsFile(self.folder / name))
            for tensor in file.entries:
                if tensor in self._file_of:
                    raise ModelBrokenError(f"{self.folder}: two shards hold {tensor}")
                self._file_of[tensor] = file

    def _check(self, spec: TensorSpec) -> Iterator[str]:
        """Yields the names under which a tensor is stored, their shapes checked."""
        if not self._is_packed(spec):
            entry = self._entry(spec.name)
            if entry.dtype not in _FLOATS:
                raise UnsupportedModelError(
                    f"{self.folder}: {spec.name} holds {entry.dtype}; {', '.join(_FLOATS)} can be "
                    "imported"
                )
            self._expect(spec.name, spec.shape)
            yield spec.name
            return
        gptq = self.gptq
        assert gptq is not None, "asked by _is_packed"
        n, k = spec.shape
        groups, per_word, module = gptq.num_groups(k), 32 // gptq.bits, spec.module
        yield self._expect(f"{module}.qweight", (-(-k // per_word), n))
        yield self._expect(f"{module}.scales", (groups, n))
        yield self._expect(f"{module}.qzeros", (groups, -(-n // per_word)))
        order = f"{module}.g_idx"
        if order in self._file_of:
            yield self._expect(order, (k,))
            size = k if gptq.group_size == "row" else gptq.group_size
            index = self._file_of[order].rows(order, 0, k)
            if not torch.equal(index.long(), torch.arange(k) // size):
                raise UnsupportedModelError(
                    f"{self.folder}: {order} reorders columns (desc_act), which other programs' "
                    "INT4 format cannot say; take a GPTQ model without desc_act"
                )

    def _refuse_others(self, wanted: set[str]) -> None:
        others = sorted(set(self._file_of) - wanted)
        unknown = [
            name
            for name in others
            if not _NEEDLESS.fullmatch(name) and not self._is_zero_bias(name)
        ]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UnsupportedModelError(
                f"{self.folder} holds {unknown[0]}{more}, which {self.config.architecture} as "
                "config.json describes it does not use: the result would be another model"
            )

    def _is_zero_bias(self, name: str) -> bool:
        """AutoGPTQ wrote a bias of zeros beside every linear, whether the model has one or not."""
        module, _, part = name.rpartition(".")
        if part != "bias" or f"{module}.qweight" not in self._file_of:
            return False
        return not self._file_of[name].rows(name, 0, self._entry(name).shape[0]).any()

    def _check_zeros(self, module: str, start: int, stop: int) -> None:
        gptq = self._packing()
        per_word = 32 // gptq.bits
        first, last = start // per_word, -(-stop // per_word)
        words = self._columns(f"{module}.qzeros", first, last)
        shifts = torch.arange(0, 32, gptq.bits, dtype=torch.int32)
        zeros = ((words.unsqueeze(2) >> shifts) & (2**gptq.bits - 1)).flatten(1)
        zeros = zeros[:, start - first * per_word : stop - first * per_word]
        if not (zeros == gptq.zero).all():
            raise UnsupportedModelError(
                f"{self.folder}: {module}.qzeros are not all {gptq.zero}: the codes are "
                "asymmetric, and only symmetric ones can be kept"
            )

    def _columns(self, name: str, start: int, stop: int) -> torch.Tensor:
        return self._file_of[name].columns(name, start, stop)

    def _is_packed(self, spec: TensorSpec) -> bool:
        return (
            self.gptq is not None and spec.is_linear and f"{spec.module}.qweight" in self._file_of
        )

    def _packing(self) -> Gptq:
        assert self.gptq is not None, "asked by _is_packed"
        return self.gptq

    def _entry(self, name: str) -> StoredEntry:
        file = self._file_of.get(name)
        if file is None:
            raise ModelBrokenError(
                f"{self.folder}: no shard holds the tensor {name}, which config.json asks for"
            )
        return file.entries[name]

    def _expect(self, name: str, shape: tuple[int, ...]) -> str:
        found = self._entry(name).shape
        if found != shape:
            raise ModelBrokenError(
                f"{self.folder}: {name} has shape {list(found)}; config.json asks for {list(shape)}"
            )
        return name


def _generation_config(src: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The source's own, with the end ids that some folders only have in config.json."""
    path = src / GENERATION_FILE
    generation: dict[str, Any] = {}
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelBrokenError(f"{path} cannot be read: {error}") from error
        if isinstance(found, dict):
            generation = found
    if not eos_ids_of(generation) and eos_ids_of(content):
        generation["eos_token_id"] = content["eos_token_id"]
    return generation
