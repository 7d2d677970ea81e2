"""Checks the kernels on a GPU: `python -m bilin_kernels.check`.

    --sanitizer memcheck racecheck ...   repeat a short form of it under compute-sanitizer
    --short                              small shapes only
    --device N                           another GPU than the first

Two kinds of cases. Exact ones have small integers for x and powers of two for scales, so that every
sum is exact in float32 and the result must be the float64 one bit for bit, whatever the order:
they confirm fragment maps and layouts. Random ones are held to float64 within the error of float32
sums. Both run for the build that the device's architecture gets and for the Turing build (two
m16n8k8, loads into registers) compiled for this device. Every output begins as NaN; every case runs
twice and must repeat bit for bit.

The kernels between the linears (norm, rotary positions and append, attention) follow: check_decode.

Exit status: 0 all right, 1 something is wrong, 2 not known: no GPU to check, no code for it, or too
little memory free on it.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from bilin_kernels import ops, reference
from bilin_kernels.check_decode import (
    HeadCase,
    NormCase,
    WrongResultError,
    head_cases,
    norm_cases,
    run_heads,
    run_norm,
)
from bilin_kernels.compile import CompileError, compiler_version
from bilin_kernels.loader import CudaLauncher, KernelLoadError, Launcher
from bilin_kernels.packing import (
    PackedWeight,
    pack_int4,
    prepack_int4,
    prepack_int8,
    unpack_int4,
    unpack_prepacked,
)
from bilin_kernels.plan import plan_gemm

# float32 sums of some ten thousand terms. Tensor cores cut off instead of rounding, at every step
# of the sum: 1e-5 to 3e-5, as estimated by what is published of them. A wrong index gives 0.01.
_FLOAT_ERROR = 1e-4
_SHIFTED_ERROR = 1e-3
_ERROR = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
# How torch, cuda.core and cuBLAS say that a card is full.
_OUT_OF_MEMORY = ("out of memory", "OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")

# (n, k) of GLM-130B's linears, whole and as tensor-parallel shards of 8
_MODEL_SHAPES = (
    (36864, 12288),
    (12288, 12288),
    (65536, 12288),
    (12288, 32768),
    (4608, 12288),
    (12288, 1536),
    (8192, 12288),
    (12288, 4096),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One product to be checked. group_size 0: one scale a row. rows: outputs to be compared."""

    m: int
    n: int
    k: int
    group_size: int = 0
    dtype: torch.dtype = torch.float16
    bits: int = 4
    split: int | None = None
    x: str = "exact"
    epilogue: str = "none"
    rows: int = 4096


def small_cases() -> Iterator[Case]:
    """Edges of every argument, on shapes of a few tiles."""
    dtypes = (torch.float16, torch.bfloat16)
    for m, group_size, dtype in itertools.product(
        (1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 33, 70), (0, 128, 64, 32), dtypes
    ):
        yield Case(m, 112, 640, group_size, dtype)
    for n, k, split in itertools.product((16, 32, 48, 144), (64, 128, 192, 2112), (None, 1, 2, 4)):
        if split is None or k >= 64 * 2 * split:
            yield Case(3, n, k, 0, torch.float16, split=split)
    for x, dtype, m in itertools.product(
        ("normal", "outliers", "shifted", "tiny"), dtypes, (1, 8, 32)
    ):
        yield Case(m, 256, 2048, 128, dtype, x=x)
    for epilogue, dtype in itertools.product(("bias", "geglu", "swiglu", "residual"), dtypes):
        yield Case(5, 128, 512, 0, dtype, x="normal", epilogue=epilogue)
        yield Case(5, 128, 1024, 128, dtype, x="normal", epilogue=epilogue, split=2)
    for m, dtype, x in itertools.product((1, 8, 9, 32), dtypes, ("exact", "normal")):
        yield Case(m, 96, 512, 0, dtype, bits=8, x=x)


def model_cases() -> Iterator[Case]:
    """The shapes that matter, a sample of their outputs."""
    for (n, k), m in itertools.product(_MODEL_SHAPES, (1, 8, 32)):
        yield Case(m, n, k, 0, x="exact", rows=512)
        yield Case(m, n, k, 128, torch.bfloat16, x="normal", rows=512)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_case(case: Case, launcher: Launcher, device: torch.device) -> None:
    """Raises WrongResultError if the kernel's result is not the reference's."""
    generator = torch.Generator(device).manual_seed(case.m + 7 * case.n + 11 * case.k)
    gating = "none" if case.epilogue not in ("geglu", "swiglu") else "up_gate"
    x = _make_x(case, generator)
    packed, values, scales = _make_weight(case, gating, generator)
    bias = residual = None
    alpha = 0.0
    if case.epilogue != "none":
        bias = torch.randn(case.n, generator=generator, device=device).to(case.dtype)
    if case.epilogue == "residual":
        alpha = 11.83
        residual = torch.randn(case.m, case.n, generator=generator, device=device).to(case.dtype)
    activation: reference.Activation = {"geglu": "gelu", "swiglu": "silu"}.get(
        case.epilogue, "none"
    )  # pyright: ignore[reportAssignmentType]
    plan = plan_gemm(
        case.m,
        case.n,
        case.k,
        packed.groups,
        bits=case.bits,
        dtype="f16" if case.dtype == torch.float16 else "bf16",
        num_sms=launcher.num_sms(device),
        split=case.split,
    )
    results = []
    for _ in range(2):
        y = torch.full((case.m, packed.outputs), float("nan"), device=device)
        ops.launch_gemm(
            launcher,
            plan,
            y,
            x,
            packed.weight,
            packed.scales,
            case.n,
            bias,
            residual,
            alpha,
            ops.GATINGS[gating],
            ops.ACTIVATIONS[activation],
        )
        results.append(y)
    if not torch.equal(results[0], results[1]):
        raise WrongResultError("two runs differ")
    outputs = slice(None)
    if values.shape[0] > case.rows:  # a sample: the last rows, where an offset would overflow
        outputs = slice(case.n - case.rows, case.n)
        values, scales = values[outputs], scales[outputs]
    weight = reference.dequantize(values, scales, torch.float32).double()
    expected = reference.linear(
        x,
        weight,
        bias=bias[outputs] if bias is not None else None,
        activation=activation,
        gating=gating,
        residual=residual[:, outputs] if residual is not None else None,
        alpha=alpha,
        out_dtype=torch.float64,
    )
    _compare(results[0][:, outputs], expected, case)


def _make_x(case: Case, generator: torch.Generator) -> torch.Tensor:
    shape = (case.m, case.k)
    if case.x == "exact":
        x = torch.randint(-2, 3, shape, generator=generator, device=generator.device)
    else:
        x = torch.randn(shape, generator=generator, device=generator.device)
    if case.x == "outliers":
        x = torch.where(torch.rand_like(x) < 0.01, 50 * x, x)
    elif case.x == "shifted":
        x = x + 1
    elif case.x == "tiny":
        x = x * 1e-5
    # begins 16 bytes into an allocation: no more alignment than is asked for
    buffer = torch.empty(x.numel() + 8, dtype=case.dtype, device=generator.device)[8:]
    return buffer.view(shape).copy_(x)


def _make_weight(
    case: Case, gating: str, generator: torch.Generator
) -> tuple[PackedWeight, torch.Tensor, torch.Tensor]:
    device = generator.device
    half = 1 << (case.bits - 1)
    values = torch.randint(
        -half, half, (case.n, case.k), generator=generator, device=device, dtype=torch.int8
    )
    shape = (case.n, case.k // case.group_size if case.group_size else 1)
    if case.x == "exact":
        powers = torch.randint(-3, 1, shape, generator=generator, device=device)
        scales = torch.exp2(powers.float()).to(case.dtype)
    else:
        scales = (torch.rand(shape, generator=generator, device=device) + 0.1).to(case.dtype)
    if case.bits == 8:
        return prepack_int8(values, scales), values, scales
    parts = [pack_int4(part) for part in values.split(1024)]  # its temporary is 16 times as large
    packed = prepack_int4(torch.cat(parts), scales, gating)  # pyright: ignore[reportArgumentType]
    return packed, values, scales


def _compare(y: torch.Tensor, expected: torch.Tensor, case: Case) -> None:
    if y.isnan().any():
        raise WrongResultError(f"{int(y.isnan().sum())} outputs were not written")
    difference = (y.double() - expected).abs()
    if case.x == "exact" and case.epilogue == "none":
        if difference.any():
            wrong = int((difference != 0).sum())
            raise WrongResultError(f"{wrong} of {y.numel()} outputs are not exact")
        return
    allowed = _SHIFTED_ERROR if case.x == "shifted" else _FLOAT_ERROR
    relative = float(difference.norm() / expected.norm())
    if not relative <= allowed:
        raise WrongResultError(f"relative error {relative:.2e}, allowed {allowed:.0e}")


def operator_case(
    generator: torch.Generator, dtype: torch.dtype
) -> tuple[PackedWeight, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(packed, values, scales, x, the gated product of x in float64), on the generator's device.

    x is small, so that every product fits float16 whatever a card draws: torch's numbers differ
    with the number of its multiprocessors.
    """
    case = Case(8, 256, 1024, 128, dtype, x="normal")
    packed, values, scales = _make_weight(case, "up_gate", generator)
    x = _make_x(case, generator).mul_(0.25)
    weight = reference.dequantize(values, scales, torch.float32).double()
    expected = reference.linear(
        x, weight, activation="gelu", gating="up_gate", out_dtype=torch.float64
    )
    return packed, values, scales, x, expected


def check_operators(device: torch.device, dtypes: Sequence[torch.dtype]) -> None:
    """The torch operators: both methods, graph replay, and the dequantized weight bit for bit."""
    generator = torch.Generator(device).manual_seed(1)
    for dtype in dtypes:
        packed, values, scales, x, expected = operator_case(generator, dtype)
        if not torch.equal(ops.dequantize(packed), reference.dequantize(values, scales, dtype)):
            raise WrongResultError(f"dequantize is not exact in {dtype}")
        back, _ = unpack_prepacked(packed)
        if not torch.equal(unpack_int4(back), values):
            raise WrongResultError("the packed weight does not unpack on the GPU")
        for method in ("decode", "dequantize"):
            y = ops.w4a16_linear(x, packed, activation="gelu", method=method)
            error = float((y.double() - expected).norm() / expected.norm())
            if error > 4 * _ERROR[dtype]:
                raise WrongResultError(f"method {method}: relative error {error:.2e} in {dtype}")
        if "PYTORCH_NO_CUDA_MEMORY_CACHING" in os.environ:
            continue  # under the sanitizer: a graph cannot be captured while allocating
        eager = ops.w4a16_linear(x, packed, activation="gelu")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = ops.w4a16_linear(x, packed, activation="gelu")
        captured.fill_(float("nan"))
        for _ in range(3):
            graph.replay()
        torch.cuda.synchronize(device)
        if not torch.equal(captured, eager):
            raise WrongResultError(f"graph replay differs from eager in {dtype}")


def run_decode_case(case: NormCase | HeadCase, launcher: Launcher, device: torch.device) -> None:
    """Raises WrongResultError if the kernel's result is not the reference's."""
    if isinstance(case, NormCase):
        run_norm(case, launcher, device)
    else:
        run_heads(case, launcher, device)


def run_all(device: torch.device, short: bool) -> int:
    """Prints a line for each part and each failure; returns how many failed."""
    builds = {"this architecture": CudaLauncher()}
    try:
        compiler_version()
        builds["Turing build"] = CudaLauncher(("BILIN_TURING",))
    except CompileError as error:
        _say(f"Turing build: not checked: {error}")
    failures = 0
    ops.reserve_workspace(device)
    own_dtypes = (torch.float16, torch.bfloat16)
    if torch.cuda.get_device_capability(device) < (8, 0):
        own_dtypes = (torch.float16,)
        _say("below compute capability 8.0: no products and operators in bfloat16")
    for build, launcher in builds.items():
        dtypes = (torch.float16,) if launcher.has_define("BILIN_TURING") else own_dtypes
        begin, count = time.monotonic(), 0
        for case in itertools.chain(small_cases(), () if short else model_cases()):
            if case.dtype not in dtypes:
                continue
            count += 1
            try:
                run_case(case, launcher, device)
            except WrongResultError as failure:
                failures += 1
                _say(f"FAILED {build}: {case}: {failure}")
        torch.cuda.synchronize(device)
        _say(f"{build}: {count} products in {time.monotonic() - begin:.1f} s")
        begin, count = time.monotonic(), 0
        for decode_case in itertools.chain(norm_cases(), head_cases(short=short)):
            count += 1
            try:
                run_decode_case(decode_case, launcher, device)
            except WrongResultError as failure:
                failures += 1
                _say(f"FAILED {build}: {decode_case}: {failure}")
        torch.cuda.synchronize(device)
        _say(f"{build}: {count} norms and attentions in {time.monotonic() - begin:.1f} s")
    try:
        check_operators(device, own_dtypes)
        _say("operators: decode, dequantize, graph replay")
    except WrongResultError as failure:
        failures += 1
        _say(f"FAILED operators: {failure}")
    return failures


def run_sanitizer(tools: Sequence[str], index: int) -> int:
    """Repeats the short check under compute-sanitizer; returns how many of the tools complained."""
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if program is None:
        _say("compute-sanitizer is not on PATH; it comes with the CUDA toolkit")
        return len(tools)
    failures = 0
    for tool in tools:
        command = [program, "--tool", tool, "--error-exitcode", "9"]
        if tool == "memcheck":
            # cuda-bindings asks every driver for functions that only newer ones have; an error
            # that matters is raised in Python.
            command += ["--report-api-errors", "no"]
        command += [sys.executable, "-m", "bilin_kernels.check", "--short", "--device", str(index)]
        # torch's caching allocator would hide what lies behind a tensor's end
        status = subprocess.run(
            command, env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, check=False
        ).returncode
        _say(f"{tool}: {'all right' if status == 0 else f'exit status {status}'}")
        failures += status != 0
    return failures


def find_device(index: int = 0) -> torch.device:
    """A CUDA device, from now on the current one, ready to launch.

    Raises KernelLoadError or CompileError with one clear sentence.
    """
    if not torch.cuda.is_available():
        raise KernelLoadError("no CUDA device: torch.cuda.is_available() is False")
    if not 0 <= index < torch.cuda.device_count():
        raise KernelLoadError(f"no CUDA device {index}; there are {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    device = torch.device("cuda", index)
    CudaLauncher().prepare(device)
    return device


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m bilin_kernels.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="small shapes only")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU, from 0")
    parser.add_argument(
        "--sanitizer",
        nargs="+",
        default=[],
        choices=["memcheck", "racecheck", "initcheck", "synccheck"],
    )
    options = parser.parse_args(arguments)
    try:
        device = find_device(options.device)
        _say(torch.cuda.get_device_name(device))
        failures = run_all(device, options.short)
    except (KernelLoadError, CompileError) as error:
        sys.stderr.write(f"Nothing was checked: {error}\n")
        return 2
    except Exception as error:  # torch, cuBLAS and cuda.core each say it with a type of their own
        if not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
        sys.stderr.write(f"Not checked to the end: {error}\n")
        return 2
    failures += run_sanitizer(options.sanitizer, options.device)
    _say("all right" if failures == 0 else f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
