"""Reads GLM-130B's published checkpoints: `latest` and one `mp_rank_XX_model_states.pt` a rank.

Merges the ranks of any tensor-parallel degree, a block of rows at a time: QKV by heads, the GLU
up-projection half by half, row-parallel linears by columns. Source: THUDM/GLM-130B 212215c,
tools/convert_tp.py and quantization/layers.py; names and splits in `GLMConfig.tensors`.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from bilin_engine.checkpoints.torch_file import TensorView, TorchFile
from bilin_engine.config import (
    GLMConfig,
    GroupSize,
    QuantizationScheme,
    TensorSpec,
    parse_model_config,
)
from bilin_engine.errors import BadRequestError, ModelBrokenError

LATEST_FILE = "latest"
WEIGHTS_KEY = "module"
MAX_LATEST_BYTES = 4096
_RANK_FILE = re.compile(r"mp_rank_(\d{2,3})_model_states\.pt")


def read_shape_config(path: Path) -> GLMConfig:
    """The sizes of a checkpoint that is not GLM-130B's, from a JSON file.

    Keys: num_layers, hidden_size, num_attention_heads, inner_hidden_size, vocab_size,
    max_sequence_length, special_ids. Raises ModelBrokenError or UnsupportedModelError by key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequestError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, dict):
        content.setdefault("model_type", "glm130b")
    config = parse_model_config(content, str(path))
    if not isinstance(config, GLMConfig):
        raise BadRequestError(
            f"{path}: model_type {config.architecture} has no mp_rank checkpoints; leave it out"
        )
    return config


class ReferenceCheckpoint:
    """An opened checkpoint. Blocks of rows are read on demand; files are mapped, never loaded.

    Attributes:
        config: the sizes it was opened with, without quantization.
        world_size: tensor-parallel degree of the files.
        bits: 4 or 8 for quantized files, 16 otherwise.
    """

    def __init__(self, folder: Path, config: GLMConfig) -> None:
        """Opens and checks every file against `config`.

        Raises ModelBrokenError (missing files, tensors or wrong shapes: named) and
        UnsupportedModelError (see torch_file).
        """
        self.config = config
        self.folder = _iteration_folder(folder)
        files = _rank_files(self.folder)
        self.world_size = len(files)
        self._files: list[TorchFile] = []
        self._ranks: list[dict[str, TensorView]] = []
        try:
            for path in files:
                file = TorchFile(path)
                self._files.append(file)
                self._ranks.append(file.tensors(WEIGHTS_KEY))
            self.bits = self._find_bits()
            for spec in config.tensors():
                self._check(spec)
        except BaseException:
            self.close()
            raise

    def rows(self, spec: TensorSpec, start: int, stop: int) -> torch.Tensor:
        """Rows start..stop of a merged tensor in floating point (quantized ones: code * scale)."""
        if not self.is_quantized(spec):
            return torch.cat(list(self._parts(spec, start, stop, spec.name)), dim=self._axis(spec))
        codes, scales = self.codes(spec, start, stop)
        grouped = codes.unflatten(1, (scales.shape[1], -1)).half() * scales.unsqueeze(2)
        return grouped.flatten(1)

    def codes(self, spec: TensorSpec, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 codes [rows, k] and fp16 scales [rows, groups] of a quantized tensor, unchanged.

        groups: 1, or one a rank where the ranks share columns.
        """
        axis = self._axis(spec)
        codes = [self._unpack(part) for part in self._parts(spec, start, stop, spec.name)]
        scales = [
            part.unsqueeze(1) for part in self._parts(spec, start, stop, f"{spec.name}_scale")
        ]
        return torch.cat(codes, dim=axis), torch.cat(scales, dim=axis)

    def is_quantized(self, spec: TensorSpec) -> bool:
        """Whether the files hold this tensor as codes and scales."""
        return spec.is_linear and self.bits != 16

    def group_size(self, spec: TensorSpec) -> GroupSize:
        """Columns that share a scale of a quantized tensor."""
        if spec.split == "columns" and self.world_size > 1:
            return spec.shape[1] // self.world_size
        return "row"

    def stored_codes(
        self, spec: TensorSpec, scheme: QuantizationScheme, start: int, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """As `TensorSource.stored_codes`."""
        is_same = self.bits == scheme.bits and scheme.group_size == self.group_size(spec)
        if not self.is_quantized(spec) or not is_same:
            return None
        return self.codes(spec, start, stop)

    def files(self) -> list[Path]:
        """As `TensorSource.files`."""
        return list(self.folder.glob("mp_rank_*.pt"))

    def row_bytes(self, spec: TensorSpec) -> int:
        """As `TensorSource.row_bytes`."""
        bits = self.bits if self.is_quantized(spec) else 16
        return max(1, math.prod(spec.shape[1:]) * bits // 8)

    def close(self) -> None:
        """Unmaps the files. Safe to call twice."""
        self._ranks = []
        for file in self._files:
            file.close()
        self._files = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _parts(self, spec: TensorSpec, start: int, stop: int, name: str) -> Iterator[torch.Tensor]:
        """The pieces of the ranks that make up merged rows start..stop, in order."""
        if spec.split == "none":
            yield self._ranks[0][name].read(slice(start, stop))
        elif spec.split == "columns":
            for rank in self._ranks:
                yield rank[name].read(slice(start, stop))
        else:
            for rank, local in _row_pieces(spec, self.world_size, start, stop):
                yield self._ranks[rank][name].read(local)

    def _axis(self, spec: TensorSpec) -> int:
        return 1 if spec.split == "columns" else 0

    def _unpack(self, stored: torch.Tensor) -> torch.Tensor:
        """int8 codes of stored bytes: INT4 holds the even column in the high nibble."""
        if self.bits == 8:
            return stored
        # Shifts on int8 are arithmetic, so they extend the sign.
        return torch.stack((stored >> 4, (stored << 4) >> 4), dim=2).flatten(1)

    def _find_bits(self) -> int:
        linear = next(spec for spec in self.config.tensors() if spec.is_linear)
        view = self._ranks[0].get(linear.name)
        if view is None:
            raise ModelBrokenError(
                f'{self._files[0].path}: "{WEIGHTS_KEY}" has no {linear.name}; it is no GLM-130B '
                "checkpoint"
            )
        if view.dtype != torch.int8:
            return 16
        stored_columns = view.shape[1] if len(view.shape) == 2 else 0
        if stored_columns == linear.shape[1]:
            return 8
        return 4

    def _check(self, spec: TensorSpec) -> None:
        for name, shape, dtypes in self._expected(spec):
            for file, rank in zip(self._files, self._ranks, strict=True):
                view = rank.get(name)
                if view is None:
                    raise ModelBrokenError(f"{file.path} lacks {name}")
                if view.shape != shape or view.dtype not in dtypes:
                    raise ModelBrokenError(
                        f"{file.path}: {name} is {view.dtype} {list(view.shape)}; "
                        f"{dtypes[0]} {list(shape)} is expected at {self.world_size} ranks. "
                        "Give sizes other than GLM-130B's with --config FILE.json"
                    )

    def _expected(
        self, spec: TensorSpec
    ) -> Iterator[tuple[str, tuple[int, ...], tuple[torch.dtype, ...]]]:
        """Name, local shape and allowed dtypes of what each file must hold for a tensor."""
        local = _local_shape(spec, self.world_size)
        floats = (torch.float16, torch.bfloat16, torch.float32)
        if not self.is_quantized(spec):
            yield spec.name, local, floats
            return
        yield spec.name, (local[0], local[1] * self.bits // 8), (torch.int8,)
        yield f"{spec.name}_scale", (local[0],), (torch.float16,)


def _iteration_folder(folder: Path) -> Path:
    """Where the rank files lie: the folder that `latest` names, or `folder` itself."""
    if not folder.is_dir():
        raise BadRequestError(f"{folder} is not a folder")
    latest = folder / LATEST_FILE
    if not latest.exists():
        return folder
    with latest.open(encoding="utf-8", errors="replace") as file:
        name = file.read(MAX_LATEST_BYTES).strip()
    inner = folder / name
    if not name or Path(name).name != name or name in (".", ".."):
        raise ModelBrokenError(f'{latest} says "{name[:80]}", which is no folder name')
    if not inner.is_dir():
        raise ModelBrokenError(f'{latest} says "{name}", but {inner} is missing')
    return inner


def _rank_files(folder: Path) -> list[Path]:
    found = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := _RANK_FILE.fullmatch(path.name)) is not None
    }
    if not found:
        raise ModelBrokenError(f"{folder} holds no mp_rank_XX_model_states.pt files")
    missing = [rank for rank in range(max(found) + 1) if rank not in found]
    if missing:
        raise ModelBrokenError(
            f"{folder} lacks mp_rank_{missing[0]:02d}_model_states.pt "
            f"(it has ranks up to {max(found):02d})"
        )
    return [found[rank] for rank in sorted(found)]


def _local_shape(spec: TensorSpec, world_size: int) -> tuple[int, ...]:
    """What one rank holds of a merged tensor."""
    axis = {"none": None, "columns": 1}.get(spec.split, 0)
    if axis is None:
        return spec.shape
    if spec.shape[axis] % world_size:
        raise ModelBrokenError(
            f"{spec.name} {list(spec.shape)} cannot be shared by {world_size} ranks"
        )
    local = list(spec.shape)
    local[axis] //= world_size
    return tuple(local)


def _row_pieces(
    spec: TensorSpec, world_size: int, start: int, stop: int
) -> Iterator[tuple[int, slice]]:
    """(rank, its rows) for merged rows start..stop of a tensor that ranks share by rows.

    A GLU's rank holds [its part of u; its part of g], while merged rows are [all u; all g].
    """
    num_halves = 2 if spec.split == "glu_rows" else 1
    half_rows = spec.shape[0] // num_halves
    part = half_rows // world_size
    row = start
    while row < stop:
        half, in_half = divmod(row, half_rows)
        rank, local = divmod(in_half, part)
        count = min(stop - row, part - local)
        offset = half * part + local
        yield rank, slice(offset, offset + count)
        row += count
