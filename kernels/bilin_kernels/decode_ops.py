"""What a decode step does between its linears: norm, rotary positions and KV append, attention.

    heads = HeadLayout.per_head(num_heads=96, head_dim=128, pair=64)         # GLM-130B
    cache = SlotCache(blocks, lengths, num_layers, num_kv_heads, max_length, head_dim)

    stream, x = add_norm(delta, weight, bias=bias, residual=stream, alpha=11.83, epsilon=1e-5,
                         is_rms=False, keeps_sum=False, dtype=torch.float16)
    query = rope_append(qkv, heads, cos, sin, rows, cache, layer)
    context = decode_attention(query, cache, layer, dtype=torch.float16)

One token for each of T slots. The residual stream is float32, what a linear reads 16 bits, keys
and values float16. Where the slots lie and how long they are is data on the device, so one
captured graph serves any slots and lengths; nothing here waits for the device. The workspace must
be reserved before a capture: ops.reserve_workspace.

These are functions, no torch operators: they write into memory that is given by its address, which
operators of torch.library must not. backend: "cuda" or "reference", as in ops.py; the reference
follows the same addresses.
"""

import ctypes
import math
from dataclasses import dataclass

import torch

from bilin_kernels import reference
from bilin_kernels.checks import require_half, require_tensor
from bilin_kernels.loader import Argument, Launcher, default_launcher
from bilin_kernels.ops import DTYPES, Backend, address, check_backend
from bilin_kernels.plan import AttentionPlan, plan_attention
from bilin_kernels.workspace import Workspace

MAX_NORM_WIDTH = 3 * 4096
HEAD_DIMS = (64, 128)


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Where the heads lie in a row of the QKV linear, in elements, and who turns with whom.

    pair: dimension d turns with d ^ pair: 1 (neighbours), head_dim / 2 (half-split), or
    head_dim / 4 (half-split in each half); a power of two, or d ^ pair is another dimension.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    pair: int
    q_stride: int
    k_offset: int
    k_stride: int
    v_offset: int
    v_stride: int

    @classmethod
    def per_head(cls, *, num_heads: int, head_dim: int, pair: int) -> "HeadLayout":
        """q, k and v of head 0, then of head 1, and so on (GLM-130B, ChatGLM-6B)."""
        d = head_dim
        return cls(num_heads, num_heads, d, pair, 3 * d, d, 3 * d, 2 * d, 3 * d)

    @classmethod
    def in_blocks(
        cls, *, num_heads: int, num_kv_heads: int, head_dim: int, pair: int
    ) -> "HeadLayout":
        """All of q, all of k, all of v (GLM-4, LLaMA)."""
        d, q = head_dim, num_heads * head_dim
        return cls(num_heads, num_kv_heads, d, pair, d, q, d, q + num_kv_heads * d, d)

    @property
    def width(self) -> int:
        """Elements of a row."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    def check(self) -> None:
        """Raises ValueError for heads that the kernels do not take."""
        if self.head_dim not in HEAD_DIMS:
            raise ValueError(f"head_dim {self.head_dim} is not supported; use 64 or 128")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is no multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.pair not in (1, self.head_dim // 2, self.head_dim // 4):
            raise ValueError(
                f"pair {self.pair} is not supported; use 1, {self.head_dim // 2} or "
                f"{self.head_dim // 4}"
            )


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """RMSNorm of every query and key head before it turns (Qwen3). float32 (D,) each."""

    query: torch.Tensor
    key: torch.Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class SlotCache:
    """Keys and values of T slots, and how much each holds before this step.

    blocks: int64 (T,), addresses of float16 memory [num_layers, 2, G, max_length, head_dim], each
    slot its own. lengths: int64 (T,), 0 to max_length - 1. Who fills them sees to it that they are
    right: the kernels cannot.
    """

    blocks: torch.Tensor
    lengths: torch.Tensor
    num_layers: int
    num_kv_heads: int
    max_length: int
    head_dim: int

    def layer_offset(self, layer: int) -> int:
        """Elements from a block's beginning to the layer's keys."""
        if not 0 <= layer < self.num_layers:
            raise ValueError(f"layer {layer}; the cache has layers 0 to {self.num_layers - 1}")
        return layer * 2 * self.num_kv_heads * self.max_length * self.head_dim

    def view(self, token: int, layer: int) -> torch.Tensor:
        """float16 [2, G, max_length, head_dim] of a block in the CPU's memory."""
        shape = (2, self.num_kv_heads, self.max_length, self.head_dim)
        at = int(self.blocks[token]) + 2 * self.layer_offset(layer)
        memory = (ctypes.c_char * (2 * math.prod(shape))).from_address(at)
        return torch.frombuffer(memory, dtype=torch.float16).view(shape)

    def check(self, tokens: int, device: torch.device) -> None:
        """Raises ValueError unless the tables are of `tokens` slots and on `device`."""
        for name, table in (("blocks", self.blocks), ("lengths", self.lengths)):
            require_tensor(
                name, table, device=device, shape=(tokens,), dtype=torch.int64, alignment=8
            )


# --- what callers use -----------------------------------------------------------------------------


def add_norm(
    delta: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    alpha: float = 1.0,
    inner_weight: torch.Tensor | None = None,
    epsilon: float,
    is_rms: bool,
    keeps_sum: bool,
    dtype: torch.dtype,
    backend: Backend = "cuda",
) -> tuple[torch.Tensor, torch.Tensor]:
    """(stream, x): s = alpha * residual + delta, x = norm(s) rounded to `dtype`.

    delta, residual: float32 (T, h). weight, bias, inner_weight: float32 (h,). inner_weight: delta
    is normalized by itself first (RMSNorm). stream: s if keeps_sum (pre-norm), else the normalized
    value (DeepNorm), float32 (T, h). Raises ValueError.
    """
    check_backend(backend, delta)
    if delta.ndim != 2 or delta.shape[0] == 0:
        raise ValueError(f"delta of shape {tuple(delta.shape)}; use (T, h) with T >= 1")
    width = delta.shape[1]
    if width % 4 or not 0 < width <= MAX_NORM_WIDTH:
        raise ValueError(f"width {width}; use a multiple of 4 up to {MAX_NORM_WIDTH}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype}; use torch.float16 or torch.bfloat16")
    device = delta.device
    every = tuple(delta.shape)
    for name, tensor, shape in (
        ("delta", delta, every),
        ("residual", residual, every),
        ("weight", weight, (width,)),
        ("bias", bias, (width,)),
        ("inner_weight", inner_weight, (width,)),
    ):
        if tensor is not None:
            require_tensor(
                name, tensor, device=device, shape=shape, dtype=torch.float32, alignment=16
            )
    if backend == "reference":
        total, y = reference.add_norm(
            delta,
            weight,
            bias=bias,
            residual=residual,
            alpha=alpha,
            inner_weight=inner_weight,
            epsilon=epsilon,
            is_rms=is_rms,
        )
        return total if keeps_sum else y, y.to(dtype)
    stream = torch.empty_like(delta)
    out = torch.empty(delta.shape, dtype=dtype, device=device)
    launch_add_norm(
        default_launcher(),
        stream,
        out,
        delta,
        weight,
        bias=bias,
        residual=residual,
        alpha=alpha,
        inner_weight=inner_weight,
        epsilon=epsilon,
        is_rms=is_rms,
        keeps_sum=keeps_sum,
    )
    return stream, out


def rope_append(
    qkv: torch.Tensor,
    heads: HeadLayout,
    cos: torch.Tensor,
    sin: torch.Tensor,
    rows: torch.Tensor,
    cache: SlotCache,
    layer: int,
    *,
    norms: HeadNorms | None = None,
    backend: Backend = "cuda",
) -> torch.Tensor:
    """Turns q and k, appends k and v to the slots, and returns q as float16 (T, H, D).

    qkv: 16-bit (T, heads.width). cos, sin: float32 (P, D), sin with the sign of its place. rows:
    int64 (T,), which row of them a token takes. norms: of q and k, before they turn. Raises
    ValueError.
    """
    check_backend(backend, qkv)
    heads.check()
    require_half("qkv", qkv)
    tokens = qkv.shape[0]
    device = qkv.device
    require_tensor("qkv", qkv, device=device, shape=(tokens, heads.width), alignment=16)
    for name, table in (("cos", cos), ("sin", sin)):
        shape = (cos.shape[0], heads.head_dim)
        require_tensor(name, table, device=device, shape=shape, dtype=torch.float32, alignment=16)
    require_tensor("rows", rows, device=device, shape=(tokens,), dtype=torch.int64, alignment=8)
    if norms is not None:
        for name, weight in (("norms.query", norms.query), ("norms.key", norms.key)):
            shape = (heads.head_dim,)
            require_tensor(
                name, weight, device=device, shape=shape, dtype=torch.float32, alignment=16
            )
    cache.check(tokens, device)
    query = torch.empty(
        (tokens, heads.num_heads, heads.head_dim), dtype=torch.float16, device=device
    )
    if backend == "cuda":
        launch_rope_append(
            default_launcher(), query, qkv, heads, cos, sin, rows, cache, layer, norms
        )
        return query
    q, k, v = split_heads(qkv, heads)
    if norms is not None:
        q = reference.norm_heads(q, norms.query, norms.epsilon)
        k = reference.norm_heads(k, norms.key, norms.epsilon)
    query.copy_(reference.rotate(q, cos[rows], sin[rows], heads.pair))
    k = reference.rotate(k, cos[rows], sin[rows], heads.pair)
    for token in range(tokens):
        block, at = cache.view(token, layer), int(cache.lengths[token])
        block[0, :, at], block[1, :, at] = k[token], v[token]
    return query


def decode_attention(
    query: torch.Tensor,
    cache: SlotCache,
    layer: int,
    *,
    dtype: torch.dtype,
    backend: Backend = "cuda",
) -> torch.Tensor:
    """softmax(q k^T / sqrt(D)) v over lengths + 1 cached tokens: `dtype` (T, H * D).

    query: float16 (T, H, D), as rope_append returns it. Raises ValueError.
    """
    check_backend(backend, query)
    tokens, num_heads, head_dim = query.shape
    device = query.device
    if head_dim != cache.head_dim or head_dim not in HEAD_DIMS:
        raise ValueError(
            f"query has head_dim {head_dim}, the cache {cache.head_dim}; use 64 or 128 for both"
        )
    if num_heads % cache.num_kv_heads:
        raise ValueError(f"{num_heads} heads cannot share {cache.num_kv_heads} key heads equally")
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype}; use torch.float16 or torch.bfloat16")
    require_tensor("query", query, device=device, dtype=torch.float16, alignment=16)
    cache.check(tokens, device)
    out = torch.empty((tokens, num_heads * head_dim), dtype=dtype, device=device)
    if backend == "cuda":
        launcher = default_launcher()
        plan = plan_attention(
            tokens,
            num_heads,
            cache.num_kv_heads,
            head_dim,
            cache.max_length,
            num_sms=launcher.num_sms(device),
        )
        launch_decode_attention(launcher, plan, out, query, cache, layer)
        return out
    for token in range(tokens):
        block = cache.view(token, layer)[:, :, : int(cache.lengths[token]) + 1]
        context = reference.decode_attention(query[token].float(), block[0], block[1])
        out[token] = context.flatten()
    return out


def split_heads(qkv: torch.Tensor, heads: HeadLayout) -> list[torch.Tensor]:
    """float32 q (T, H, D), k and v (T, G, D)."""
    d = heads.head_dim
    parts = []
    for offset, stride, count in (
        (0, heads.q_stride, heads.num_heads),
        (heads.k_offset, heads.k_stride, heads.num_kv_heads),
        (heads.v_offset, heads.v_stride, heads.num_kv_heads),
    ):
        shape, strides = (qkv.shape[0], count, d), (heads.width, stride, 1)
        parts.append(qkv.as_strided(shape, strides, qkv.storage_offset() + offset).float())
    return parts


# --- launches, the same on a GPU and on the shim --------------------------------------------------


def launch_add_norm(
    launcher: Launcher,
    stream: torch.Tensor,
    out: torch.Tensor,
    delta: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    alpha: float,
    inner_weight: torch.Tensor | None,
    epsilon: float,
    is_rms: bool,
    keeps_sum: bool,
) -> None:
    """Arguments are taken as checked by add_norm."""
    rows, width = delta.shape
    vectors = width // 4
    per_thread = -(-vectors // 1024)
    threads = -(-vectors // per_thread // 32) * 32
    arguments: list[Argument] = [
        *(address(t) for t in (delta, inner_weight, residual)),
        ctypes.c_float(alpha),
        *(address(t) for t in (weight, bias)),
        ctypes.c_float(epsilon),
        *(address(t) for t in (stream, out)),
        *(ctypes.c_int32(v) for v in (width, is_rms, keeps_sum)),
    ]
    kernel = f"add_norm_{DTYPES[out.dtype]}_v{per_thread}"
    launcher.launch("norm", kernel, (rows, 1, 1), threads, arguments, delta.device)


def launch_rope_append(
    launcher: Launcher,
    query: torch.Tensor,
    qkv: torch.Tensor,
    heads: HeadLayout,
    cos: torch.Tensor,
    sin: torch.Tensor,
    rows: torch.Tensor,
    cache: SlotCache,
    layer: int,
    norms: HeadNorms | None = None,
) -> None:
    """Arguments are taken as checked by rope_append."""
    items = heads.width // 8
    sizes = (heads.num_heads, heads.num_kv_heads, heads.head_dim, cache.max_length, heads.pair)
    places = (heads.q_stride, heads.k_offset, heads.k_stride, heads.v_offset, heads.v_stride)
    arguments: list[Argument] = [
        *(address(t) for t in (qkv, cos, sin, rows)),
        *(address(t) for t in ((norms.query, norms.key) if norms else (None, None))),
        ctypes.c_float(norms.epsilon if norms else 0.0),
        *(address(t) for t in (query, cache.blocks, cache.lengths)),
        ctypes.c_int64(cache.layer_offset(layer)),
        *(ctypes.c_int32(v) for v in (*sizes, *places, heads.width)),
    ]
    grid = (-(-items // 128), qkv.shape[0], 1)
    kernel = f"rope_append_{DTYPES[qkv.dtype]}"
    launcher.launch("rope_kv", kernel, grid, 128, arguments, qkv.device)


def launch_decode_attention(
    launcher: Launcher,
    plan: AttentionPlan,
    out: torch.Tensor,
    query: torch.Tensor,
    cache: SlotCache,
    layer: int,
    workspace: Workspace | None = None,
) -> None:
    """Runs a plan of plan_attention. Arguments are taken as checked by decode_attention."""
    _, num_heads, head_dim = query.shape
    workspace = workspace or Workspace.of(query.device)
    workspace.reserve(plan.workspace_floats, plan.num_counters)
    arguments: list[Argument] = [
        *(address(t) for t in (query, cache.blocks, cache.lengths, out)),
        address(workspace.sums),
        address(workspace.counters),
        ctypes.c_int64(cache.layer_offset(layer)),
        *(ctypes.c_int32(v) for v in (num_heads, cache.num_kv_heads, cache.max_length)),
        ctypes.c_float(math.log2(math.e) / math.sqrt(head_dim)),
    ]
    kernel = f"decode_attention_{DTYPES[out.dtype]}_d{head_dim}"
    launcher.launch("decode_attention", kernel, plan.grid, 128, arguments, query.device)
