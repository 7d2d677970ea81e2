"""Imports GGUF files: ggml's quantized blocks become our INT4, Q4_0's without loss.

Q4_0 is INT4 in symmetric groups of 32 with a float16 scale, so its codes and scales are kept as
they are (a scale may be negative and a code -8). Every other type is taken out of its blocks by the
`gguf` package and quantized anew; how far the result is from the file is measured on the way and
written into bilin.json. The header is checked by `gguf_file`, never by the package.
"""

import dataclasses
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import torch

from bilin_engine.checkpoints import gguf_config
from bilin_engine.checkpoints.gguf_config import PLAIN_TYPES, Q4_0_GROUP, Origin
from bilin_engine.checkpoints.gguf_file import BLOCKS, GgufModel
from bilin_engine.checkpoints.huggingface import GENERATION_FILE, ImportSettings
from bilin_engine.checkpoints.imported import CalibrateSource, calibration_of, describe
from bilin_engine.checkpoints.model_folder import BILIN_FILE
from bilin_engine.checkpoints.streaming import (
    OnProgress,
    QuantizationError,
    stream_to_folder,
    write_json,
)
from bilin_engine.config import (
    CONFIG_FILE,
    CausalConfig,
    Glm4Config,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    TensorSpec,
)
from bilin_engine.errors import BadRequestError, ModelBrokenError
from bilin_engine.tokenizers.gguf_vocabulary import GgufTokenizer, read_tokenizer
from bilin_engine.tokenizers.huggingface import TOKENIZER_FILE
from bilin_engine.tokenizers.load import CONFIG_FILE as TOKENIZER_CONFIG_FILE
from bilin_engine.tokenizers.load import load_tokenizer

TEMPLATE_FILE = "chat_template.jinja"
_UNPACKED_BYTES = 2  # of a value, for the size of a block: quantizing takes some times as much


def import_gguf(
    src: Path,
    dst: Path,
    settings: ImportSettings,
    *,
    on_progress: OnProgress = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    calibrate: CalibrateSource | None = None,
) -> Path:
    """Writes the model folder `dst`; goes on where an interrupted call with the same values was.

    src: the file, or the first of its parts. Raises BadRequestError (dst exists, a later part),
    ModelBrokenError, UnsupportedModelError (architecture, key, type or tokenizer that we do not
    know: named), DiskFullError, ConversionStopped.
    """
    if dst.exists():
        raise BadRequestError(f"{dst} exists already; choose another name or remove it first")
    with GgufCheckpoint(src) as source:
        config = source.target(settings)

        def write_small_files(folder: Path, error: QuantizationError) -> None:
            source.write_small_files(folder, config, error, settings.chat_format)

        return stream_to_folder(
            source,
            config,
            dst,
            write_small_files,
            on_progress=on_progress,
            should_stop=should_stop,
            calibrate=calibration_of(calibrate, source, source.config, source.encode),
        )


class GgufCheckpoint:
    """An opened model, read by blocks of rows under published names: a `TensorSource`.

    Attributes:
        config: what it computes, without quantization. tokenizer: what it carries.
    """

    def __init__(self, path: Path) -> None:
        """Opens and checks everything but the data. Raises as `import_gguf`."""
        self.path = path
        self.folder = path.parent
        self._model = GgufModel(path)
        try:
            self.config: CausalConfig = gguf_config.read_config(self._model)
            self._origins = gguf_config.origins(self._model, self.config)
            self.tokenizer: GgufTokenizer = read_tokenizer(self._model.metadata, str(path))
            num_tokens = len(self.tokenizer.content["model"]["vocab"])
            if num_tokens > self.config.vocab_size:
                raise ModelBrokenError(
                    f"{path}: {num_tokens} tokens for {self.config.vocab_size} rows of embeddings"
                )
        except BaseException:
            self.close()
            raise

    def target(self, settings: ImportSettings) -> ModelConfig:
        """The result's configuration."""
        if settings.target == "plain":
            return self.config
        bits = {"": 4, "int4": 4, "int8": 8}[settings.target]
        default = gguf_config.default_group(self._model, self.config, bits)
        quantization = QuantizationConfig.uniform(bits, settings.group_size or default)
        return dataclasses.replace(self.config, quantization=quantization)

    def types(self) -> Counter[str]:
        """How many tensors of each type the file's matrices are."""
        return Counter(t.type for t in self._model.tensors.values() if len(t.shape) > 1)

    def files(self) -> Sequence[Path]:
        """As `TensorSource.files`."""
        return [file.path for file in self._model.files]

    def row_bytes(self, spec: TensorSpec) -> int:
        """As `TensorSource.row_bytes`; a packed row counts as the 16-bit values it becomes."""
        tensor = self._origins[spec.name].tensor
        if len(spec.shape) < 2:
            return BLOCKS[tensor.type][1]
        return max(tensor.row_bytes, _UNPACKED_BYTES * spec.shape[1])

    def rows(self, spec: TensorSpec, start: int, stop: int) -> torch.Tensor:
        """As `TensorSource.rows`."""
        origin = self._origins[spec.name]
        return _in_order(origin, spec, start, stop, lambda a, b: self._values(origin, spec, a, b))

    def stored_codes(
        self, spec: TensorSpec, scheme: QuantizationScheme, start: int, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Q4_0's codes and scales for groups of 32, which are the very same thing."""
        origin = self._origins[spec.name]
        same = (scheme.bits, scheme.group_size) == (4, Q4_0_GROUP)
        if origin.tensor.type != "Q4_0" or not same:
            return None

        def blocks(first: int, last: int) -> torch.Tensor:
            data = self._model.read(origin.tensor.name, first, last)
            return torch.frombuffer(data, dtype=torch.uint8).view(last - first, -1, 18)

        stored = _in_order(origin, spec, start, stop, blocks)
        scales = stored[:, :, :2].contiguous().view(torch.float16).squeeze(2)
        nibbles = stored[:, :, 2:]  # byte i holds values i and i + 16
        codes = torch.cat((nibbles & 15, nibbles >> 4), dim=2).to(torch.int8) - 8
        return codes.flatten(1), scales

    def encode(self, text: str) -> list[int]:
        """Token ids by the tokenizer that the file carries."""
        with tempfile.TemporaryDirectory(prefix="bilin-tokenizer-") as scratch:
            folder = Path(scratch)
            write_json(folder / TOKENIZER_FILE, self.tokenizer.content)
            write_json(folder / TOKENIZER_CONFIG_FILE, self.tokenizer.config)
            return load_tokenizer(folder).encode(text)

    def write_small_files(
        self, folder: Path, config: ModelConfig, error: QuantizationError, chat_format: str
    ) -> None:
        """Writes configuration, tokenizer, template and bilin.json into the unfinished folder."""
        tokenizer = self.tokenizer
        write_json(folder / CONFIG_FILE, {**config.to_json(), **tokenizer.token_ids})
        write_json(folder / GENERATION_FILE, {"eos_token_id": list(tokenizer.eos_ids)})
        write_json(folder / TOKENIZER_FILE, tokenizer.content)
        write_json(folder / TOKENIZER_CONFIG_FILE, tokenizer.config)
        if tokenizer.chat_template:
            (folder / TEMPLATE_FILE).write_text(tokenizer.chat_template, encoding="utf-8")
        else:
            chat_format = chat_format or self._family_format()
        types = ", ".join(f"{n} {t}" for t, n in self.types().most_common())
        stem = re.sub(r"\.partial$", "", folder.name.removeprefix("."))
        source = f"GGUF file {self.path.name} (matrices: {types})"
        description = msgspec.structs.replace(
            describe(stem, config, folder, source, chat_format),
            licence=self._text("general.license")[:120] or "unknown",
            quantization_error=error.relative,
        )
        encoded = msgspec.json.format(msgspec.json.encode(description))
        (folder / BILIN_FILE).write_bytes(encoded + b"\n")

    def close(self) -> None:
        """Closes the files. Safe to call twice."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _values(self, origin: Origin, spec: TensorSpec, first: int, last: int) -> torch.Tensor:
        """Rows of the GGUF tensor in floating point."""
        tensor = origin.tensor
        data = self._model.read(tensor.name, first, last)
        if len(spec.shape) < 2:
            return _floats(data, tensor.type)[first:last]
        return _floats(data, tensor.type).view(last - first, spec.shape[1])

    def _family_format(self) -> Literal["", "glm4", "chatglm3"]:
        """The chat format of a GLM whose file has no template."""
        if not isinstance(self.config, Glm4Config):
            return ""
        vocabulary = self.tokenizer.content["model"]["vocab"]
        if {"[gMASK]", "<sop>", "<|assistant|>"} <= vocabulary.keys():
            return "glm4"
        return "chatglm3" if {"[gMASK]", "sop", "<|assistant|>"} <= vocabulary.keys() else ""

    def _text(self, key: str) -> str:
        return gguf_config.texts_of(self._model.metadata, key)


def _in_order(
    origin: Origin,
    spec: TensorSpec,
    start: int,
    stop: int,
    read: Callable[[int, int], torch.Tensor],
) -> torch.Tensor:
    """Rows start..stop of the published tensor; `read` gives rows of the GGUF tensor."""
    if not origin.heads:
        return read(origin.first + start, origin.first + stop)
    head = spec.shape[0] // origin.heads
    first, last = start // head * head, -(-stop // head) * head
    # Row 2i of a head there is row i here, row 2i + 1 is row i + head / 2.
    rows = read(origin.first + first, origin.first + last)
    rows = rows.unflatten(0, (-1, head // 2, 2)).transpose(1, 2)
    return rows.flatten(0, 2)[start - first : stop - first]


def _floats(data: bytearray, kind: str) -> torch.Tensor:
    """What bytes of a type hold, one value after another."""
    if kind in PLAIN_TYPES:
        dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
        return torch.frombuffer(data, dtype=dtypes[kind])
    import numpy as np
    from gguf import GGMLQuantizationType, dequantize

    blocks = np.frombuffer(data, dtype=np.uint8).reshape(-1, BLOCKS[kind][1])
    # Scales that are no numbers are found, and named, where the values are used.
    with np.errstate(over="ignore", invalid="ignore"):
        values: Any = dequantize(blocks, GGMLQuantizationType[kind])
    return torch.from_numpy(np.ascontiguousarray(values)).flatten()
