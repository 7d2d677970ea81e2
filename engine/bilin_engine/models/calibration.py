"""How much reaches every column of a checkpoint's linears: the mean square over a text.

The model is passed through once, every weight read once and in blocks, in float32; so memory stays
that of a block and of a few hundred tokens, whatever the model's size. An error in a column that
large values reach counts for more: what a quantizer can do with that, engine/README.md, "What
quantizing loses".

The text is `calibration.txt`: prose, questions and answers, code, tables and formulas, in English,
Chinese and some of other languages. Ours, but for a passage of the World English Bible and a Tang
poem, both in the public domain.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bilin_engine.checkpoints.streaming import (
    Clock,
    ColumnWeights,
    ConversionStopped,
    OnProgress,
    TensorSource,
)
from bilin_engine.collectives.base import SingleRank
from bilin_engine.config import CausalConfig, ModelConfig, QuantizationScheme, TensorSpec
from bilin_engine.layers.attention import Span
from bilin_engine.layers.linear import Linear
from bilin_engine.layers.split_cache import LayerBlocks
from bilin_engine.layers.weights import ComputePlan, Part, RankWeights, StoredRows
from bilin_engine.models.registry import model_class

logger = logging.getLogger(__name__)

TEXT_FILE = Path(__file__).with_name("calibration.txt")
WINDOW = 512  # tokens that see each other
# Up to so many parameters the whole text is used, above it a window: a token costs two operations a
# weight, and a pass should not take longer than quantizing.
SMALL_MODEL = 1_000_000_000
BLOCK_BYTES = 64 * 1024 * 1024  # of weights in float32
# A column that nothing reached in this text counts still for so much of the mean.
LEAST_SHARE = 1e-3


def calibrate(
    source: TensorSource,
    config: ModelConfig,
    encode: Callable[[str], list[int]],
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> ColumnWeights:
    """float32 [k] for each linear by its module's name, with mean 1; {} for what cannot be run.

    config: of the source, unquantized. Raises ConversionStopped, ModelBrokenError.
    """
    if not isinstance(config, CausalConfig):
        return {}
    text = TEXT_FILE.read_text(encoding="utf-8")
    is_small = config.num_parameters <= SMALL_MODEL
    # A vocabulary may have tokens that the model has no rows for; it was never trained on them.
    token_ids = [token for token in encode(text) if token < config.vocab_size]
    token_ids = token_ids[: None if is_small else WINDOW]
    if not token_ids:
        return {}
    weights = _StreamedWeights(source, config, token_ids, on_progress, should_stop)
    with torch.inference_mode():
        _pass(weights, config)
    return weights.columns()


def _pass(weights: "_StreamedWeights", config: CausalConfig) -> None:
    """The tokens through all layers, in windows, none of which needs the other's keys."""
    model = model_class(config)(weights, head_dtype=torch.float32)
    ids, window = weights.token_rows, min(WINDOW, config.max_sequence_length)
    shape = (2, config.num_key_value_heads, window, config.head_dim)
    spans = [
        Span(first, min(window, len(ids) - first), 0, 0, _one_layer(torch.empty(shape), config))
        for first in range(0, len(ids), window)
    ]
    positions = torch.arange(len(ids)) % window
    model.forward(ids, positions, spans, torch.empty(0, dtype=torch.int64), weights.poll)


def _one_layer(block: torch.Tensor, config: CausalConfig) -> LayerBlocks:
    """A slot's memory in which a layer overwrites the one before: none is asked for again."""
    return LayerBlocks([block] * config.num_layers)


class _StreamedWeights(RankWeights):
    """A checkpoint's weights, read whenever they are multiplied; remembers what they met."""

    def __init__(
        self,
        source: TensorSource,
        config: CausalConfig,
        token_ids: Sequence[int],
        on_progress: OnProgress,
        should_stop: Callable[[], bool],
    ) -> None:
        plan = ComputePlan("reference", torch.float32, torch.device("cpu"))
        rows = _Rows(source, config)
        super().__init__(rows, plan, SingleRank())
        self.checkpoint = source
        self.specs = rows.specs
        self.met: dict[str, torch.Tensor] = {}  # sums of squares by module
        # Only rows of tokens that occur are read of the embedding; ids become places among them.
        self._used, self.token_rows = torch.tensor(token_ids).unique(return_inverse=True)
        self._should_stop = should_stop
        linears = [spec for spec in config.tensors() if spec.is_linear]
        total = sum(spec.shape[0] * source.row_bytes(spec) for spec in linears)
        self.clock = Clock("calibrate", total, on_progress)

    def poll(self) -> None:
        """Raises ConversionStopped when asked to stop."""
        if self._should_stop():
            raise ConversionStopped

    def rows(self, name: str, part: Part, dtype: torch.dtype | None) -> torch.Tensor:
        """Of the embedding the tokens' rows; of a head nothing, as no logits are wanted."""
        del part
        spec = self.specs[name]
        if "embed" not in name:
            return torch.zeros(1, spec.shape[1])
        found = [self.checkpoint.rows(spec, i, i + 1) for i in self._used.tolist()]
        return torch.cat(found).to(dtype or torch.float32)

    def stacked_linear(self, rows: Sequence[StoredRows], k: int) -> Linear:
        """As `RankWeights.stacked_linear`; nothing is read yet."""
        return _StreamedLinear(self, [(of.module, part) for of in rows for part in of.parts], k)

    def column_linear(self, module: str, shape: tuple[int, int], part: Part) -> Linear:
        """As `RankWeights.column_linear`; one rank has all columns."""
        del part
        return _StreamedLinear(self, [(module, Part(0, shape[0]))], shape[1])

    def columns(self) -> ColumnWeights:
        """Mean squares with mean 1; {} if they are no numbers, which whoever converts will name."""
        result = {}
        for module, squares in self.met.items():
            mean = squares.mean()
            if not torch.isfinite(mean) or mean == 0:
                logger.warning("no calibration: what reaches %s is no number", module)
                return {}
            result[module] = (squares / mean).clamp_min_(LEAST_SHARE)
        return result


class _Rows:
    """A `TensorSource` as a `WeightSource` of small tensors: norms and biases."""

    def __init__(self, source: TensorSource, config: CausalConfig) -> None:
        self.config: ModelConfig = config
        self._source = source
        self.specs = {spec.name: spec for spec in config.tensors()}

    def scheme(self, module: str) -> QuantizationScheme | None:
        """Nothing is packed here."""
        del module

    def tensor(
        self, name: str, rows: slice = slice(None), columns: slice = slice(None)
    ) -> torch.Tensor:
        """A vector or a range of it."""
        del columns
        spec = self.specs[name]
        start, stop, _ = rows.indices(spec.shape[0])
        return self._source.rows(spec, start, stop)


class _StreamedLinear(Linear):
    """y = x @ weight.T, a block of the weight at a time; adds x^2 to what its modules met."""

    def __init__(
        self, weights: _StreamedWeights, parts: Sequence[tuple[str, Part]], k: int
    ) -> None:
        self.n, self.k = sum(part.size for _, part in parts), k
        self._weights = weights
        self._parts = parts

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [m, k] -> float32 [m, n]."""
        weights = self._weights
        squares = x.square().sum(dim=0)
        for module in {module for module, _ in self._parts}:
            weights.met[module] = weights.met.get(module, 0) + squares
        step = max(1, BLOCK_BYTES // (4 * self.k))
        products = []
        for module, part in self._parts:
            spec: TensorSpec = weights.specs[f"{module}.weight"]
            row_bytes = weights.checkpoint.row_bytes(spec)
            for start in range(part.start, part.stop, step):
                weights.poll()
                stop = min(start + step, part.stop)
                block = weights.checkpoint.rows(spec, start, stop).float()
                products.append(x @ block.T)
                weights.clock.add((stop - start) * row_bytes)
        return torch.cat(products, dim=1)

    @property
    def size_bytes(self) -> int:
        """Nothing is held."""
        return 0
