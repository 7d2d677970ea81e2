"""The kernels as functions on torch tensors. This is what the engine calls.

    from bilin_kernels.packing import prepack_int4, prepack_int8
    from bilin_kernels.ops import reserve_workspace, w4a16_linear, w8a16_linear

    packed = prepack_int4(weight_packed.to("cuda"), weight_scale.to("cuda", x.dtype))  # at load
    reserve_workspace(device)                            # once a device, before a graph capture
    y = w4a16_linear(x, packed, bias=bias)               # x (m, k) -> y (m, n)

    # GLM-130B's GeGLU up-projection: the value half first, the activated half second
    packed = prepack_int4(weight_packed, scales, gating="up_gate")
    y = w4a16_linear(x, packed, bias=bias, activation="gelu")          # -> (m, n / 2)
    # LLaMA, GLM-4: prepack_int4(..., gating="gate_up"), activation="silu"

    y = w4a16_linear(x, packed, residual=h, alpha=11.83)               # y + alpha * h
    y = w4a16_linear(x, packed, out_dtype=torch.float32)               # partial sums of a rank

x is 2-d, contiguous, 16-byte aligned, float16 or bfloat16 (float16 on sm_75), of the dtype of the
scales. What is not supported raises ValueError; nothing is padded or converted.

backend: "cuda" runs the kernels and wants CUDA tensors; "reference" computes the same from the same
packed weight in plain torch, on any device, slowly. Neither ever stands in for the other.

method: "decode" is the fused kernel, at any m; "dequantize" expands the weight piece by piece into
at most 256 MiB and leaves the product to cuBLAS; None takes the first up to m = DECODE_MAX_M.

Calls may be captured in a CUDA graph after one warm-up call of the same shapes. The workspace is
one per device: one stream at a time.
"""

import ctypes
from typing import Literal

import torch

from bilin_kernels import reference
from bilin_kernels.checks import require_half, require_tensor
from bilin_kernels.loader import Argument, Launcher, default_launcher
from bilin_kernels.packing import STEP_K, TILE_ROWS, Gating, PackedWeight, unpack_prepacked
from bilin_kernels.plan import DTypeName, GemmPlan, group_magic, plan_gemm
from bilin_kernels.workspace import Workspace

Backend = Literal["cuda", "reference"]
Method = Literal["decode", "dequantize"]

# Largest m for the fused kernel. An estimate, no measurement: 32 rows of x cost it about one
# reading of the INT4 weight; dequantizing first costs nine before cuBLAS has begun.
DECODE_MAX_M = 128

# Memory a dequantized piece of a weight may take.
DEQUANTIZE_BYTES = 256 << 20

ACTIVATIONS: dict[reference.Activation, int] = {"none": 0, "gelu": 1, "gelu_tanh": 2, "silu": 3}
GATINGS: dict[Gating, int] = {"none": 0, "gate_up": 1, "up_gate": 2}
_GATING_OF: dict[int, Gating] = {code: gating for gating, code in GATINGS.items()}
_ACTIVATION_OF: dict[int, reference.Activation] = {
    code: activation for activation, code in ACTIVATIONS.items()
}
DTYPES: dict[torch.dtype, DTypeName] = {torch.float16: "f16", torch.bfloat16: "bf16"}


# --- what callers use -----------------------------------------------------------------------------


def w4a16_linear(
    x: torch.Tensor,
    packed: PackedWeight,
    *,
    bias: torch.Tensor | None = None,
    activation: reference.Activation = "none",
    residual: torch.Tensor | None = None,
    alpha: float = 1.0,
    out_dtype: torch.dtype | None = None,
    method: Method | None = None,
    backend: Backend = "cuda",
) -> torch.Tensor:
    """y = act(x @ dequant(packed).T + bias) + alpha * residual; see reference.linear.

    x: (m, k). bias: (n,) in the model folder's order, x's dtype. residual: (m, packed.outputs).
    out_dtype: x's dtype, or float32. Returns (m, packed.outputs). Raises ValueError.
    """
    if packed.bits != 4:
        raise ValueError(
            f"the weight has {packed.bits} bits; w4a16_linear takes 4, see w8a16_linear"
        )
    return _linear(x, packed, bias, activation, residual, alpha, out_dtype, method, backend)


def w8a16_linear(
    x: torch.Tensor,
    packed: PackedWeight,
    *,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    method: Method | None = None,
    backend: Backend = "cuda",
) -> torch.Tensor:
    """y = x @ dequant(packed).T + bias for an INT8 weight, such as the LM head's."""
    if packed.bits != 8:
        raise ValueError(
            f"the weight has {packed.bits} bits; w8a16_linear takes 8, see w4a16_linear"
        )
    return _linear(x, packed, bias, "none", None, 1.0, out_dtype, method, backend)


def dequantize(packed: PackedWeight, backend: Backend = "cuda") -> torch.Tensor:
    """The weight (n, k) in the scales' dtype and the model folder's row order."""
    check_backend(backend, packed.weight)
    rows = torch.ops.bilin.dequantize(packed.weight, packed.scales, packed.bits, 0, packed.n)
    if packed.gating == "none":
        return rows
    pairs = rows.view(-1, 2, TILE_ROWS, packed.k).transpose(0, 1).reshape(2, -1, packed.k)
    return (pairs if packed.gating == "gate_up" else pairs.flip(0)).reshape(packed.n, packed.k)


def reserve_workspace(device: torch.device) -> None:
    """Allocates what split-k launches on `device` share; needed before a graph is captured."""
    Workspace.of(device).reserve(8 << 20, 1 << 16)  # 32 MiB of float32


# --- from arguments to operators ------------------------------------------------------------------


def _linear(
    x: torch.Tensor,
    packed: PackedWeight,
    bias: torch.Tensor | None,
    activation: reference.Activation,
    residual: torch.Tensor | None,
    alpha: float,
    out_dtype: torch.dtype | None,
    method: Method | None,
    backend: Backend,
) -> torch.Tensor:
    check_backend(backend, x)
    out_dtype = out_dtype or x.dtype
    if out_dtype not in (x.dtype, torch.float32):
        raise ValueError(f"out_dtype {out_dtype}; use {x.dtype} or torch.float32")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r}; use one of {', '.join(ACTIVATIONS)}")
    if method not in (None, "decode", "dequantize"):
        raise ValueError(f"method {method!r}; use decode, dequantize or None")
    check_tensors(x, packed, bias, residual)
    if method is None:
        method = "decode" if x.shape[0] <= DECODE_MAX_M else "dequantize"
    if method == "decode":
        return torch.ops.bilin.packed_linear(
            x,
            packed.weight,
            packed.scales,
            bias,
            residual,
            alpha,
            packed.n,
            packed.bits,
            GATINGS[packed.gating],
            ACTIVATIONS[activation],
            out_dtype == torch.float32,
        )
    return _dequantize_linear(x, packed, bias, activation, residual, alpha, out_dtype)


def _dequantize_linear(
    x: torch.Tensor,
    packed: PackedWeight,
    bias: torch.Tensor | None,
    activation: reference.Activation,
    residual: torch.Tensor | None,
    alpha: float,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """A piece of rows at a time: dequantize, cuBLAS, epilogue."""
    y = torch.empty((x.shape[0], packed.outputs), dtype=out_dtype, device=x.device)
    block = TILE_ROWS if packed.gating == "none" else 2 * TILE_ROWS
    rows = max(block, DEQUANTIZE_BYTES // (2 * packed.k) // block * block)
    for first in range(0, packed.n, rows):
        count = min(rows, packed.n - first)
        weight = torch.ops.bilin.dequantize(packed.weight, packed.scales, packed.bits, first, count)
        h = _matmul(x, weight, out_dtype)
        if packed.gating == "none":
            out = slice(first, first + count)
            part = reference.activate(h if bias is None else h + bias[out], activation)
        else:
            out = slice(first // 2, (first + count) // 2)
            gate, up = h.view(x.shape[0], -1, 2, TILE_ROWS).unbind(2)
            gate, up = gate.reshape(x.shape[0], -1), up.reshape(x.shape[0], -1)
            if bias is not None:
                halves = bias.view(2, -1)[:, out]
                gate_bias, up_bias = halves if packed.gating == "gate_up" else halves.flip(0)
                gate, up = gate + gate_bias, up + up_bias
            part = up * reference.activate(gate, activation)
        if residual is not None:
            # In float32 inside: alpha * residual alone may be beyond float16.
            part = torch.add(part, residual[:, out], alpha=alpha)
        y[:, out] = part
    return y


def _matmul(x: torch.Tensor, weight: torch.Tensor, out_dtype: torch.dtype) -> torch.Tensor:
    if out_dtype == x.dtype:
        return x @ weight.T
    if x.is_cuda:
        return torch.mm(x, weight.T, out_dtype=out_dtype)
    return x.to(out_dtype) @ weight.T.to(out_dtype)


def backend_of(device: torch.device) -> Backend:
    """The backend that computes on `device`: the kernels on CUDA, their reference elsewhere."""
    return "cuda" if device.type == "cuda" else "reference"


def check_backend(backend: Backend, tensor: torch.Tensor) -> None:
    """Raises ValueError unless the tensor lies where the backend computes."""
    if backend not in ("cuda", "reference"):
        raise ValueError(f"backend {backend!r}; use cuda or reference")
    # Meta tensors only ask for shapes, as torch.compile does.
    if backend == "cuda" and tensor.device.type not in ("cuda", "meta"):
        raise ValueError(
            f"backend cuda needs tensors on a CUDA device, not {tensor.device}; "
            "move them, or use backend='reference'"
        )
    if backend == "reference" and tensor.device.type == "cuda":
        raise ValueError(
            f"backend reference is for tensors off the GPU, not {tensor.device}; use backend='cuda'"
        )


def check_tensors(
    x: torch.Tensor,
    packed: PackedWeight,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
) -> None:
    """Raises ValueError for tensors that no kernel here takes, naming what would be right."""
    require_half("x", x)
    if x.dtype != packed.scales.dtype:
        raise ValueError(f"x is {x.dtype}, the scales are {packed.scales.dtype}; use one dtype")
    if x.ndim != 2 or x.shape[1] != packed.k or x.shape[0] == 0:
        raise ValueError(f"x of shape {tuple(x.shape)}; use (m, {packed.k}) with m >= 1")
    require_tensor("x", x, device=x.device, alignment=16)
    require_tensor("weight", packed.weight, device=x.device, alignment=16)
    require_tensor("scales", packed.scales, device=x.device, alignment=4)
    if bias is not None:
        require_tensor("bias", bias, device=x.device, dtype=x.dtype, shape=(packed.n,))
    if residual is not None:
        shape = (x.shape[0], packed.outputs)
        require_tensor("residual", residual, device=x.device, dtype=x.dtype, shape=shape)


# --- launches, the same on a GPU and on the shim --------------------------------------------------


def address(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """A kernel argument: the tensor's address, or null."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def launch_gemm(
    launcher: Launcher,
    plan: GemmPlan,
    y: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    n: int,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    alpha: float = 1.0,
    gating: int = 0,
    activation: int = 0,
    workspace: Workspace | None = None,
) -> None:
    """Runs a plan of plan_gemm. Arguments are taken as checked; workspace: the device's."""
    m, k = x.shape
    groups = scales.shape[1]
    workspace = workspace or Workspace.of(x.device)
    workspace.reserve(plan.workspace_floats, plan.num_counters)
    gate_row, up_row = ((-1, 0), (0, n // 2), (n // 2, 0))[gating]
    arguments: list[Argument] = [
        *(address(t) for t in (weight, scales, x, y, bias, residual)),
        address(workspace.sums),
        address(workspace.counters),
        *(ctypes.c_int32(v) for v in (m, n, k, groups)),
        ctypes.c_uint32(group_magic(k // groups)),
        ctypes.c_float(alpha),
        *(ctypes.c_int32(v) for v in (activation, gate_row, up_row)),
        ctypes.c_int32(y.dtype == torch.float32),
    ]
    launcher.launch("w4a16", plan.kernel, plan.grid, plan.block, arguments, x.device)


def launch_dequantize(
    launcher: Launcher,
    out: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bits: int,
    first_row: int,
) -> None:
    """Fills out (rows, k) with rows first_row.. of a packed weight, in kernel order of rows."""
    rows, k = out.shape
    groups = scales.shape[1]
    warps = rows // TILE_ROWS * (k // STEP_K)
    arguments: list[Argument] = [
        *(address(t) for t in (weight, scales, out)),
        *(ctypes.c_int32(v) for v in (first_row // TILE_ROWS, rows // TILE_ROWS, k // STEP_K)),
        ctypes.c_int32(groups),
        ctypes.c_int32(k // groups),
    ]
    kernel = f"dequantize_int{bits}_{DTYPES[out.dtype]}"
    launcher.launch("dequantize", kernel, (-(-warps // 8), 1, 1), 256, arguments, out.device)


def launch_read_ceiling(
    launcher: Launcher, data: torch.Tensor, sink: torch.Tensor, blocks: int
) -> None:
    """Reads all of `data` (16-byte aligned) as fast as the device can; for measuring."""
    arguments: list[Argument] = [address(data), address(sink), ctypes.c_int64(data.nbytes // 16)]
    launcher.launch("read_ceiling", "read_ceiling", (blocks, 1, 1), 256, arguments, data.device)


# --- torch.library --------------------------------------------------------------------------------

_library = torch.library.Library("bilin", "DEF")
_library.define(
    "packed_linear(Tensor x, Tensor weight, Tensor scales, Tensor? bias, Tensor? residual, "
    "float alpha, int n, int bits, int gating, int activation, bool float_out) -> Tensor"
)
_library.define(
    "dequantize(Tensor weight, Tensor scales, int bits, int first_row, int rows) -> Tensor"
)


def _new_output(x: torch.Tensor, n: int, gating: int, float_out: bool) -> torch.Tensor:
    dtype = torch.float32 if float_out else x.dtype
    return torch.empty((x.shape[0], n // 2 if gating else n), dtype=dtype, device=x.device)


@torch.library.impl(_library, "packed_linear", "CUDA")
def _packed_linear_cuda(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    alpha: float,
    n: int,
    bits: int,
    gating: int,
    activation: int,
    float_out: bool,
) -> torch.Tensor:
    launcher = default_launcher()
    y = _new_output(x, n, gating, float_out)
    plan = plan_gemm(
        x.shape[0],
        n,
        x.shape[1],
        scales.shape[1],
        bits=bits,
        dtype=DTYPES[x.dtype],
        num_sms=launcher.num_sms(x.device),
    )
    launch_gemm(launcher, plan, y, x, weight, scales, n, bias, residual, alpha, gating, activation)
    return y


@torch.library.impl(_library, "packed_linear", "CPU")
def _packed_linear_cpu(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    alpha: float,
    n: int,
    bits: int,
    gating: int,
    activation: int,
    float_out: bool,
) -> torch.Tensor:
    packed = PackedWeight(weight, scales, n, x.shape[1], bits, _GATING_OF[gating])
    return reference.linear(
        x,
        _dequantized(packed, torch.float32),
        bias=bias,
        activation=_ACTIVATION_OF[activation],
        gating=packed.gating,
        residual=residual,
        alpha=alpha,
        out_dtype=torch.float32 if float_out else x.dtype,
    )


def _dequantized(packed: PackedWeight, dtype: torch.dtype) -> torch.Tensor:
    weight, scales = unpack_prepacked(packed)
    if packed.bits == 4:
        return reference.dequantize_int4(weight, scales, dtype)
    return reference.dequantize(weight, scales, dtype)


@torch.library.register_fake("bilin::packed_linear", lib=_library)
def _packed_linear_fake(
    x: torch.Tensor,
    weight: torch.Tensor,  # noqa: ARG001
    scales: torch.Tensor,  # noqa: ARG001
    bias: torch.Tensor | None,  # noqa: ARG001
    residual: torch.Tensor | None,  # noqa: ARG001
    alpha: float,  # noqa: ARG001
    n: int,
    bits: int,  # noqa: ARG001
    gating: int,
    activation: int,  # noqa: ARG001
    float_out: bool,
) -> torch.Tensor:
    return _new_output(x, n, gating, float_out)


def _dequantize_output(weight: torch.Tensor, scales: torch.Tensor, rows: int) -> torch.Tensor:
    shape = (rows, weight.shape[1] * STEP_K)
    return torch.empty(shape, dtype=scales.dtype, device=weight.device)


@torch.library.impl(_library, "dequantize", "CUDA")
def _dequantize_cuda(
    weight: torch.Tensor, scales: torch.Tensor, bits: int, first_row: int, rows: int
) -> torch.Tensor:
    out = _dequantize_output(weight, scales, rows)
    launch_dequantize(default_launcher(), out, weight, scales, bits, first_row)
    return out


@torch.library.impl(_library, "dequantize", "CPU")
def _dequantize_cpu(
    weight: torch.Tensor, scales: torch.Tensor, bits: int, first_row: int, rows: int
) -> torch.Tensor:
    tiles = slice(first_row // TILE_ROWS, (first_row + rows) // TILE_ROWS)
    k = weight.shape[1] * STEP_K
    part = PackedWeight(weight[tiles].contiguous(), scales[tiles].contiguous(), rows, k, bits)
    return _dequantized(part, scales.dtype)


@torch.library.register_fake("bilin::dequantize", lib=_library)
def _dequantize_fake(
    weight: torch.Tensor,
    scales: torch.Tensor,
    bits: int,  # noqa: ARG001
    first_row: int,  # noqa: ARG001
    rows: int,
) -> torch.Tensor:
    return _dequantize_output(weight, scales, rows)
