"""What a model costs: bytes of weights, KV cache and activations, bytes read and flop per token."""

import dataclasses
import math
import re

from bilin_engine.config import (
    GroupSize,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    TensorSpec,
)
from bilin_engine.errors import BadRequestError

GROUP_SIZES: tuple[GroupSize, ...] = (128, 64, 32, "row")
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
SCALE_BYTES = 2
WEIGHT_SHAPE_BYTES = 16  # compressed-tensors keeps (out, in) beside each packed weight: int64[2]
# Bytes of one key or value, and beside each head's of one token: INT8 has a float32 scale there.
KV_BYTES = {"float32": (4, 0), "float16": (2, 0), "bfloat16": (2, 0), "int8": (1, 4)}
KV_WIDENED_BYTES = 16 * 1024**2  # of INT8 heads, made float32 a few at a time
PREFILL_CHUNK = 512  # rows a block computes at once; the residual stream holds the whole prompt
DEQUANT_WORKSPACE_BYTES = 256 * 1024**2
TILE_ROWS, TILE_COLUMNS = 16, 64  # of packed matrices on a GPU; bilin_kernels.packing's own
SMALL_GROUP = 32  # the one below a tile's columns that they take, of INT4
WORD_COLUMNS = 8  # what the processor's kernels take groups in multiples of

_LAYER = re.compile(r"\.layers\.(\d+)\.")


def layer_of(spec: TensorSpec) -> int | None:
    """Index of the block a tensor belongs to; None for embedding, head and final norm."""
    return layer_index(spec.name)


def layer_index(name: str) -> int | None:
    """`layer_of` by the tensor's name."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def scheme_of(spec: TensorSpec, config: ModelConfig) -> QuantizationScheme | None:
    """How a tensor is packed, or None where it is stored as plain numbers."""
    if not spec.is_linear or config.quantization is None:
        return None
    return config.quantization.scheme_for(spec.module)


def stored_bytes(spec: TensorSpec, config: ModelConfig, world_size: int = 1) -> int:
    """Bytes of one rank's share of a tensor as the model folder stores it (weight_shape aside).

    A group of a "columns" split that lies on two ranks has its scale on both.
    """
    scheme = scheme_of(spec, config)
    if scheme is None:
        if spec.split == "columns":
            share = math.prod(spec.shape) // world_size
        else:
            share = _rank_rows(spec, config, world_size) * math.prod(spec.shape[1:])
        return share * DTYPE_BYTES[config.dtype]
    n, k = _rank_rows(spec, config, world_size), spec.shape[1]
    if spec.split == "columns":
        k //= world_size
    if scheme.group_size == "row":
        groups = 1
    elif k % scheme.group_size and world_size > 1:
        groups = k // math.gcd(scheme.group_size, k)
    else:
        groups = -(-k // scheme.group_size)
    return n * k * scheme.bits // 8 + n * groups * SCALE_BYTES


def _rank_rows(spec: TensorSpec, config: ModelConfig, world_size: int) -> int:
    """Rows of a tensor that one rank holds; K and V heads fewer than ranks are held by several."""
    rows = spec.shape[0]
    if spec.split in ("none", "columns"):
        return rows
    kv_heads = config.num_key_value_heads
    own_heads = max(1, kv_heads // world_size)
    if spec.split == "kv_rows":
        return rows // kv_heads * own_heads
    if spec.split == "qkv_rows":
        query = config.num_attention_heads * config.head_dim
        return query // world_size + (rows - query) // kv_heads * own_heads
    return rows // world_size


def file_bytes(config: ModelConfig) -> int:
    """Bytes of all tensors of a model folder, weight_shape included, safetensors headers aside."""
    return sum(
        stored_bytes(spec, config) + WEIGHT_SHAPE_BYTES * (scheme_of(spec, config) is not None)
        for spec in config.tensors()
    )


def file_bytes_by_group(config: ModelConfig) -> dict[str, int]:
    """`file_bytes` in INT4 by each group size that divides every linear's inputs.

    Of a quantized model under "", as it is.
    """
    if config.quantization is not None:
        return {"": file_bytes(config)}
    widths = {spec.shape[1] for spec in config.tensors() if spec.is_linear}
    return {
        str(size): file_bytes(
            dataclasses.replace(config, quantization=QuantizationConfig.uniform(4, size))
        )
        for size in GROUP_SIZES
        if size == "row" or all(k % size == 0 for k in widths)
    }


class ModelCost:
    """Sizes of one model at one tensor-parallel degree, listed once.

    layer_bytes: stored bytes of each block on one rank. head_bytes: embedding and head.
    final_bytes: the final norm.
    """

    def __init__(self, config: ModelConfig, world_size: int = 1) -> None:
        self.config = config
        self.world_size = world_size
        self.layer_bytes = [0] * config.num_layers
        self.layer_weights = [0] * config.num_layers
        self.head_bytes = 0
        self.final_bytes = 0
        self.is_quantized = False
        self._largest_linear = 0
        for spec in config.tensors():
            self._add(spec)

    def _add(self, spec: TensorSpec) -> None:
        size = stored_bytes(spec, self.config, self.world_size)
        layer = layer_of(spec)
        if layer is not None:
            self.layer_bytes[layer] += size
        elif len(spec.shape) == 2:
            self.head_bytes += size
        else:
            self.final_bytes += size
        if spec.is_linear and layer is not None:
            weights = math.prod(spec.shape) // self.world_size
            self.layer_weights[layer] += weights
            self._largest_linear = max(self._largest_linear, weights)
            self.is_quantized |= scheme_of(spec, self.config) is not None

    @property
    def weights_bytes(self) -> int:
        """Everything one rank holds."""
        return sum(self.layer_bytes) + self.head_bytes + self.final_bytes

    def kv_bytes(
        self, context: int, num_layers: int | None = None, kv_dtype: str = "float16"
    ) -> int:
        """KV cache of one rank for `context` tokens of `num_layers` blocks (default: all)."""
        config = self.config
        layers = config.num_layers if num_layers is None else num_layers
        heads = max(1, config.num_key_value_heads // self.world_size)
        value_bytes, head_bytes = KV_BYTES[kv_dtype]
        return 2 * heads * (config.head_dim * value_bytes + head_bytes) * context * layers

    def kv_working_bytes(self, context: int, kv_dtype: str) -> int:
        """What attention needs to read a cache of `context` tokens: INT8 is widened in parts."""
        if kv_dtype != "int8":
            return 0
        heads = max(1, self.config.num_key_value_heads // self.world_size)
        one_head = 2 * context * self.config.head_dim * 4
        return min(heads * one_head, max(one_head, KV_WIDENED_BYTES))

    def activation_bytes(self, prompt_tokens: int) -> int:
        """Most that encoding a prompt holds beside weights and cache, on one rank.

        Residual stream and its norm in fp32 for the whole prompt (a bidirectional prefix cannot be
        encoded piece by piece), the largest of what attention, its output product and a chunk of
        the MLP hold beside them, one dequantized matrix or a part of it, the logits of one token.
        """
        config, ranks = self.config, self.world_size
        hidden = prompt_tokens * config.hidden_size
        queries = prompt_tokens * config.num_attention_heads * config.head_dim // ranks
        keys = prompt_tokens * max(1, config.num_key_value_heads // ranks) * config.head_dim
        # Q, K and V; Q and K turned; then the queries and what they take, in 16 bits and in 32.
        attention = 4 * (queries + 2 * keys) + 4 * (queries + keys) + (2 + 2 + 4) * queries
        # What was attended to in 32 and 16 bits; the product before and after its bias.
        output = (4 + 2) * queries + (4 + 4) * hidden
        chunk = min(prompt_tokens, PREFILL_CHUNK)
        mlp = 4 * hidden + 4 * chunk * 3 * config.inner_hidden_size // ranks
        workspace = min(DEQUANT_WORKSPACE_BYTES, self._largest_linear * 2) * self.is_quantized
        return 2 * 4 * hidden + max(attention, output, mlp) + workspace + 4 * config.vocab_size

    def communication_bytes(self, prompt_tokens: int) -> int:
        """Buffers of the all-reduce: the library's own and one prompt's activations in fp16."""
        if self.world_size == 1:
            return 0
        return 64 * 1024**2 + prompt_tokens * self.config.hidden_size * 2

    def prefill_flop(self, prompt_tokens: int, num_layers: int) -> float:
        """Multiply-adds count two."""
        return 2.0 * prompt_tokens * sum(self.layer_weights[:num_layers])


def kv_dtype_on(device: str, kv_dtype: str) -> str:
    """The type keys and values really have on a device ("cuda:0", "cpu"); never "auto"."""
    if kv_dtype != "auto":
        return kv_dtype
    return "float16" if device.startswith("cuda") else "float32"


def check_degree(config: ModelConfig, world_size: int, *, on_gpus: bool = False) -> None:
    """Raises BadRequestError unless every split divides; the message names degrees that would.

    on_gpus: their kernels take packed matrices in tiles.
    """
    if not _divides(config, world_size, on_gpus=on_gpus):
        possible = [str(n) for n in range(1, 65) if _divides(config, n, on_gpus=on_gpus)]
        raise BadRequestError(
            f"tensor parallel over {world_size} devices does not divide this model "
            f"({config.num_attention_heads} heads, inner size {config.inner_hidden_size}, "
            f"vocabulary {config.vocab_size}); possible: {', '.join(possible)}"
        )


def _divides(config: ModelConfig, world_size: int, *, on_gpus: bool) -> bool:
    # KV heads fewer than ranks are held by several ranks each.
    kv_heads = config.num_key_value_heads
    if kv_heads % world_size and world_size % kv_heads:
        return False
    sizes = (config.num_attention_heads, config.inner_hidden_size, config.vocab_size)
    if any(size % world_size for size in sizes):
        return False
    for spec in config.tensors():
        if layer_of(spec) not in (0, None):
            break
        scheme = scheme_of(spec, config)
        if scheme is None:
            continue
        columns = spec.shape[1] // (world_size if spec.split == "columns" else 1)
        whole = spec.shape[1] if scheme.group_size == "row" else scheme.group_size
        # A group may be cut: both ranks keep its scale (`RankWeights.column_linear`).
        group = math.gcd(whole, columns)
        if spec.shape[1] % whole or group % WORD_COLUMNS:
            return False
        rows = _rank_rows(spec, config, world_size)
        if on_gpus and not _fits_tiles(rows, columns, group, scheme.bits):
            return False
    return True


def _fits_tiles(rows: int, columns: int, group: int, bits: int) -> bool:
    """Whether the GPU kernels take such a matrix: `bilin_kernels.packing.check_shape`."""
    takes_group = group % TILE_COLUMNS == 0 or (group == SMALL_GROUP and bits == 4)
    return takes_group and columns % TILE_COLUMNS == 0 and rows % TILE_ROWS == 0


def require_gpu_shapes(config: ModelConfig) -> None:
    """Raises BadRequestError for packed matrices that no GPU kernel takes, on however many GPUs."""
    if _divides(config, 1, on_gpus=True):
        return
    raise BadRequestError(
        f"this model's weights ({_named_schemes(config)}) are packed in a way that the GPU kernels "
        f"do not take: INT4 in groups of {SMALL_GROUP} or a multiple of {TILE_COLUMNS}, INT8 in "
        f"groups of a multiple of {TILE_COLUMNS}, in rows of a multiple of {TILE_COLUMNS} columns; "
        "switch the GPUs off, or convert the original weights again"
    )


def _named_schemes(config: ModelConfig) -> str:
    schemes = config.quantization.schemes if config.quantization is not None else ()
    return ", ".join(f"INT{scheme.bits} · {scheme.group_size}" for scheme in schemes)
