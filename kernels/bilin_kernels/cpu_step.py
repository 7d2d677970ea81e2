"""A decode step on the processor: one token for each of T slots, any layers in one call.

    step = CpuStep(shape, layers, final_norm)
    step.begin(embedded, cos, sin, blocks, lengths)
    step.layers(0, step.num_layers)                   # or some at a time
    x = step.end()                                    # float32 (T, h), for the head

csrc/cpu/step.c says what a layer is. What it is held to: the models' own `forward`, and for its
parts reference.add_norm, rotate, linear and decode_attention. The same bits whatever the number of
threads, which is torch's.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bilin_kernels import cpu_library
from bilin_kernels.checks import require_tensor
from bilin_kernels.cpu_ops import BLOCK_ROWS, CpuWeight, LinearStructure
from bilin_kernels.decode_ops import HeadLayout, HeadNorms
from bilin_kernels.packing import Gating
from bilin_kernels.reference import Activation

MAX_HEAD_DIM = 256
_CPU = torch.device("cpu")
_KEYS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_ACTIVATIONS: dict[Activation, int] = {"none": 0, "gelu": 1, "gelu_tanh": 2, "silu": 3}
_GATINGS: dict[Gating, int] = {"none": 0, "gate_up": 1, "up_gate": 2}


@dataclass(frozen=True, slots=True)
class StepNorm:
    """A norm and, in a sandwich, the RMSNorm of what is added before it. float32 (h,) each."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    inner_weight: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class StepLayer:
    """Weights with their biases; `up` holds both halves of a gated pair.

    heads: norms of queries and keys, contiguous.
    """

    input: StepNorm
    post: StepNorm
    query_key_value: CpuWeight
    output: CpuWeight
    up: CpuWeight
    down: CpuWeight
    heads: HeadNorms | None = None


@dataclass(frozen=True, slots=True)
class StepShape:
    """What all layers share. kv_dtype and max_length: of the slots' memory.

    epsilon, is_rms: of every norm. alpha, keeps_sum: as decode_ops.add_norm.
    """

    heads: HeadLayout
    max_length: int
    kv_dtype: torch.dtype
    epsilon: float
    is_rms: bool
    alpha: float
    keeps_sum: bool
    activation: Activation
    gating: Gating

    def check(self, layers: Sequence[StepLayer]) -> None:
        """Raises ValueError for what the step does not compute."""
        dim = self.heads.head_dim
        if dim % 16 or dim > MAX_HEAD_DIM:
            raise ValueError(f"head_dim {dim}; a step takes multiples of 16 up to {MAX_HEAD_DIM}")
        pair = self.heads.pair
        if pair & (pair - 1) or dim % (2 * pair):  # d ^ pair is another dimension else
            raise ValueError(f"dimensions {pair} apart turn in heads of {dim}; use a power of two")
        if self.kv_dtype not in _KEYS:
            raise ValueError(f"keys and values of {self.kv_dtype}; use float32, float16, bfloat16")
        parts = 1 if self.gating == "none" else 2
        for layer in layers:
            for weight, n in (
                (layer.query_key_value, self.heads.width),
                (layer.output, layer.query_key_value.k),
                (layer.up, parts * layer.down.k),
                (layer.down, layer.up.k),
            ):
                if weight.n != n or n % BLOCK_ROWS or weight.k % 8:
                    raise ValueError(
                        f"a linear of {weight.n} outputs where {n} are wanted; a step takes "
                        f"multiples of {BLOCK_ROWS}"
                    )
            if layer.down.k % BLOCK_ROWS:
                raise ValueError(f"inner size {layer.down.k}; use a multiple of {BLOCK_ROWS}")


class _Norm(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("weight", "bias", "inner_weight")]


class _HeadNorms(ctypes.Structure):
    _fields_ = [
        ("query", ctypes.c_void_p),
        ("key", ctypes.c_void_p),
        ("epsilon", ctypes.c_float),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        ("input", _Norm),
        ("post", _Norm),
        ("heads", _HeadNorms),
        ("query_key_value", LinearStructure),
        ("output", LinearStructure),
        ("up", LinearStructure),
        ("down", LinearStructure),
    ]


_HEADS = ("num_heads", "num_kv_heads", "head_dim", "pair", "q_stride", "k_offset", "k_stride",
          "v_offset", "v_stride")  # fmt: skip


_BUFFERS = ("stream", "next_stream", "delta", "x", "mixed", "context", "inner")


class _Heads(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in _HEADS]


class _Model(ctypes.Structure):
    _fields_ = [
        ("heads", _Heads),
        ("width", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("max_length", ctypes.c_int64),
        ("kv_kind", ctypes.c_int64),
        ("is_rms", ctypes.c_int64),
        ("keeps_sum", ctypes.c_int64),
        ("activation", ctypes.c_int64),
        ("gating", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("alpha", ctypes.c_float),
    ]


class _State(ctypes.Structure):
    _fields_ = [
        ("tokens", ctypes.c_int64),
        ("has_stream", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _BUFFERS),
        *((name, ctypes.c_void_p) for name in ("cos", "sin", "blocks", "lengths", "own")),
        ("own_bytes", ctypes.c_int64),
    ]


class CpuStep:
    """The layers of a model between embedding and head, for one token a slot. Not thread-safe."""

    def __init__(self, shape: StepShape, layers: Sequence[StepLayer], final_norm: StepNorm) -> None:
        """Raises ValueError for what a step does not compute, CpuLibraryError without a library."""
        shape.check(layers)
        self.num_layers = len(layers)
        self._library = cpu_library.load()
        self._team = cpu_library.team()
        self._kept = (list(layers), final_norm)  # the structures hold addresses only
        self._layers = (_Layer * len(layers))(*(_layer(layer) for layer in layers))
        self._final = _norm(final_norm)
        linears = [
            weight
            for layer in layers
            for weight in (layer.query_key_value, layer.output, layer.up, layer.down)
        ]
        first = layers[0]
        width, inner = first.down.n, first.down.k
        self._widths = (width, width, width, width, shape.heads.width, first.output.k, inner)
        self._head_dim = shape.heads.head_dim
        # Of a row of x in 16 bits, with its scales and sums.
        self._row_bytes = max(2 * w.k + 8 * (w.k // w.chunk) for w in linears)
        self._model = _Model(
            _Heads(*(getattr(shape.heads, name) for name in _HEADS)),
            width,
            inner,
            shape.max_length,
            _KEYS[shape.kv_dtype],
            shape.is_rms,
            shape.keeps_sum,
            _ACTIVATIONS[shape.activation],
            _GATINGS[shape.gating],
            shape.epsilon,
            shape.alpha,
        )
        self._state = _State()
        self._buffers: dict[str, torch.Tensor] = {}
        self._own = torch.empty(0, dtype=torch.uint8)
        self._most_tokens = 0
        self._inputs: tuple[torch.Tensor, ...] = ()

    def begin(
        self,
        embedded: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        blocks: Sequence[int],
        lengths: Sequence[int],
    ) -> None:
        """Takes in a step's tokens.

        embedded: float32 (T, h). cos, sin: float32 (T, D), sin with the sign of its place. blocks:
        addresses of the slots' memory [layers, 2, G, max_length, D]; lengths: tokens they hold.
        Raises ValueError.
        """
        tokens = len(blocks)
        for name, tensor, width in (
            ("embedded", embedded, self._widths[0]),
            ("cos", cos, self._head_dim),
            ("sin", sin, self._head_dim),
        ):
            require_tensor(name, tensor, device=_CPU, shape=(tokens, width), dtype=torch.float32)
        if tokens > self._most_tokens:
            self._most_tokens = tokens
            for name, width in zip(_BUFFERS, self._widths, strict=True):
                self._buffers[name] = torch.empty(tokens, width)
                setattr(self._state, name, self._buffers[name].data_ptr())
        addresses = torch.tensor([list(blocks), list(lengths)], dtype=torch.int64)
        self._inputs = (cos, sin, addresses)
        state = self._state
        state.tokens, state.has_stream = tokens, 0
        state.cos, state.sin = cos.data_ptr(), sin.data_ptr()
        state.blocks, state.lengths = addresses[0].data_ptr(), addresses[1].data_ptr()
        self._buffers["delta"][:tokens] = embedded

    def layers(self, first: int, count: int) -> None:
        """Passes the tokens through layers and appends to the slots' memory, in order."""
        threads, state = torch.get_num_threads(), self._state
        state.own_bytes = 4 * self._widths[0] + state.tokens * self._row_bytes
        if self._own.nbytes < threads * state.own_bytes:
            self._own = torch.empty(threads * state.own_bytes, dtype=torch.uint8)
        state.own = self._own.data_ptr()
        self._library.bilin_step_layers(
            ctypes.byref(self._team),
            ctypes.c_int64(threads),
            ctypes.byref(self._model),
            self._layers,
            ctypes.c_int64(first),
            ctypes.c_int64(count),
            ctypes.byref(state),
        )
        state.has_stream = 1

    def end(self) -> torch.Tensor:
        """float32 (T, h): the last norm's values, until the next step begins."""
        self._library.bilin_step_norm(
            ctypes.byref(self._model), ctypes.byref(self._final), ctypes.byref(self._state)
        )
        return self._buffers["x"][: self._state.tokens]


def _norm(norm: StepNorm) -> _Norm:
    return _Norm(
        norm.weight.data_ptr(),
        None if norm.bias is None else norm.bias.data_ptr(),
        None if norm.inner_weight is None else norm.inner_weight.data_ptr(),
    )


def _head_norms(norms: HeadNorms | None) -> _HeadNorms:
    if norms is None:
        return _HeadNorms()
    return _HeadNorms(norms.query.data_ptr(), norms.key.data_ptr(), norms.epsilon)


def _layer(layer: StepLayer) -> _Layer:
    return _Layer(
        _norm(layer.input),
        _norm(layer.post),
        _head_norms(layer.heads),
        layer.query_key_value.structure,
        layer.output.structure,
        layer.up.structure,
        layer.down.structure,
    )
