"""A decode step on the processor: one token for each of T slots, a layer in one call.

    step = CpuStep(shape, layers, final_norm)
    step.begin(embedded, cos, sin, blocks, lengths)
    for index in range(len(layers)):
        step.layer(index)
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
from bilin_kernels.decode_ops import HeadLayout
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
    """Weights with their biases; `up` holds both halves of a gated pair."""

    input: StepNorm
    post: StepNorm
    query_key_value: CpuWeight
    output: CpuWeight
    up: CpuWeight
    down: CpuWeight


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


class _Layer(ctypes.Structure):
    _fields_ = [
        ("input", _Norm),
        ("post", _Norm),
        ("query_key_value", LinearStructure),
        ("output", LinearStructure),
        ("up", LinearStructure),
        ("down", LinearStructure),
    ]


_HEADS = ("num_heads", "num_kv_heads", "head_dim", "pair", "q_stride", "k_offset", "k_stride",
          "v_offset", "v_stride")  # fmt: skip


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
        *(
            (name, ctypes.c_void_p)
            for name in ("stream", "delta", "x", "mixed", "context", "inner")
        ),
        *((name, ctypes.c_void_p) for name in ("values", "scales", "sums")),
        *((name, ctypes.c_void_p) for name in ("cos", "sin", "blocks", "lengths")),
    ]


class CpuStep:
    """The layers of a model between embedding and head, for one token a slot. Not thread-safe."""

    def __init__(self, shape: StepShape, layers: Sequence[StepLayer], final_norm: StepNorm) -> None:
        """Raises ValueError for what a step does not compute, CpuLibraryError without a library."""
        shape.check(layers)
        self._library = cpu_library.load()
        self._team = cpu_library.team()
        self._kept = (list(layers), final_norm)  # the structures hold addresses only
        self._layers = [_layer(layer) for layer in layers]
        self._final = _Layer(input=_norm(final_norm))
        linears = [
            weight
            for layer in layers
            for weight in (layer.query_key_value, layer.output, layer.up, layer.down)
        ]
        first = layers[0]
        self._width, self._inner = first.down.n, first.down.k
        self._mixed, self._context = shape.heads.width, first.output.k
        self._head_dim = shape.heads.head_dim
        self._largest_k = max(weight.k for weight in linears)
        self._most_chunks = max(weight.k // weight.chunk for weight in linears)
        self._model = _Model(
            _Heads(*(getattr(shape.heads, name) for name in _HEADS)),
            self._width,
            self._inner,
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
        self._memory: list[torch.Tensor] = []
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
            ("embedded", embedded, self._width),
            ("cos", cos, self._head_dim),
            ("sin", sin, self._head_dim),
        ):
            require_tensor(name, tensor, device=_CPU, shape=(tokens, width), dtype=torch.float32)
        if tokens > self._most_tokens:
            self._allocate(tokens)
        addresses = torch.tensor([list(blocks), list(lengths)], dtype=torch.int64)
        self._inputs = (cos, sin, addresses)
        state = self._state
        state.tokens, state.has_stream = tokens, 0
        state.cos, state.sin = cos.data_ptr(), sin.data_ptr()
        state.blocks, state.lengths = addresses[0].data_ptr(), addresses[1].data_ptr()
        self._memory[1][:tokens] = embedded

    def layer(self, index: int) -> None:
        """Passes the tokens through a layer and appends to the slots' memory."""
        self._library.bilin_step_layer(
            ctypes.byref(self._team),
            ctypes.c_int64(torch.get_num_threads()),
            ctypes.byref(self._model),
            ctypes.byref(self._layers[index]),
            ctypes.c_int64(index),
            ctypes.byref(self._state),
        )
        self._state.has_stream = 1

    def end(self) -> torch.Tensor:
        """float32 (T, h): the last norm's values, until the next step begins."""
        self._library.bilin_step_norm(
            ctypes.byref(self._team),
            ctypes.c_int64(1),
            ctypes.byref(self._model),
            ctypes.byref(self._final),
            ctypes.byref(self._state),
        )
        return self._memory[2][: self._state.tokens]

    def _allocate(self, tokens: int) -> None:
        self._most_tokens = tokens
        widths = (self._width, self._width, self._width, self._mixed, self._context, self._inner)
        self._memory = [torch.empty(tokens, width) for width in widths]
        self._memory.append(torch.empty(tokens * self._largest_k, dtype=torch.int16))
        self._memory.append(torch.empty(tokens * self._most_chunks))
        self._memory.append(torch.empty(tokens * self._most_chunks, dtype=torch.int32))
        names = ("stream", "delta", "x", "mixed", "context", "inner", "values", "scales", "sums")
        for name, memory in zip(names, self._memory, strict=True):
            setattr(self._state, name, memory.data_ptr())


def _norm(norm: StepNorm) -> _Norm:
    return _Norm(
        norm.weight.data_ptr(),
        None if norm.bias is None else norm.bias.data_ptr(),
        None if norm.inner_weight is None else norm.inner_weight.data_ptr(),
    )


def _layer(layer: StepLayer) -> _Layer:
    return _Layer(
        _norm(layer.input),
        _norm(layer.post),
        layer.query_key_value.structure,
        layer.output.structure,
        layer.up.structure,
        layer.down.structure,
    )
