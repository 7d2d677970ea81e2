"""Times the kernels on a GPU: `python -m bilin_kernels.bench [--json FILE] [--models 130b 9b 32b]`.

First the card's read ceiling, with a kernel that only reads. Then every linear of GLM-130B, whole
and as tensor-parallel shards of 2, 4 and 8, and those of GLM-4 9B and 32B: m 1 to 32 beside the
peers that can be imported, and prefill from m = 128 to 2048. Before them what a token costs: whole
GLM-130B layers of a decode step as one captured graph, and attention alone.

How: weights rotate through copies of more than four times the L2, random bits; each sample is a
replay of one CUDA graph of at least 20 launches, between events; the median of 20 samples counts.
GB/s are the bytes that must be read and written (weight, scales, x, y) over time; the share is that
of the read ceiling of the same run. Peers run in the same process, right after each other.

Exit status 2: no GPU to measure.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bilin_kernels import bench_decode, ops
from bilin_kernels.check import find_device
from bilin_kernels.compile import CompileError
from bilin_kernels.loader import KernelLoadError, default_launcher
from bilin_kernels.packing import Gating, PackedWeight
from bilin_kernels.reference import Activation

SAMPLES = 20
LAUNCHES = 20
L2_TIMES = 4
DECODE_M = (1, 2, 4, 8, 16, 32)
PREFILL_M = (128, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Shape:
    """One linear. group_size 0: one scale a row."""

    name: str
    n: int
    k: int
    group_size: int = 0
    gating: Gating = "none"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. peer: "bilin" is ours. share: of the read ceiling."""

    shape: str
    n: int
    k: int
    m: int
    peer: str
    microseconds: float
    gigabytes_per_second: float
    share: float


def shapes(models: Sequence[str]) -> list[Shape]:
    """What is measured for the models named ("130b", "9b", "32b")."""
    found = []
    if "130b" in models:
        for tp in (1, 2, 4, 8):
            label = "130b" if tp == 1 else f"130b/{tp}"
            found += [
                Shape(f"{label} qkv", 36864 // tp, 12288),
                Shape(f"{label} out", 12288, 12288 // tp),
                Shape(f"{label} up", 65536 // tp, 12288, gating="up_gate"),
                Shape(f"{label} down", 12288, 32768 // tp),
            ]
    for model, hidden, qkv, ffn in (("9b", 4096, 4608, 13696), ("32b", 6144, 8192, 23040)):
        if model in models:
            found += [
                Shape(f"{model} qkv", qkv, hidden, 128),
                Shape(f"{model} out", hidden, hidden, 128),
                Shape(f"{model} up", 2 * ffn, hidden, 128, "gate_up"),
                Shape(f"{model} down", hidden, ffn, 128),
            ]
    return found


# --- timing ---------------------------------------------------------------------------------------


def time_calls(calls: Sequence[Callable[[], object]], device: torch.device) -> float:
    """Median seconds of a call, the calls taken in turn, captured in a graph where possible."""
    repeats = math.ceil(LAUNCHES / len(calls))

    def run_all() -> None:
        for _ in range(repeats):
            for call in calls:
                call()

    for call in calls:  # loads kernels and allocates
        call()
    torch.cuda.synchronize(device)
    run: Callable[[], object] = run_all
    with torch.cuda.device(device):  # of graphs and events, too
        graph = torch.cuda.CUDAGraph()
        try:
            # torch's own stream for captures is the first device's that captured.
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):
                run_all()
            run = graph.replay
        except RuntimeError:  # a peer that cannot be captured is timed launch by launch
            torch.cuda.synchronize(device)
        for _ in range(3):
            run()
        samples = []
        for _ in range(SAMPLES):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            samples.append(begin.elapsed_time(end) / 1000 / (repeats * len(calls)))
    return statistics.median(samples)


def measure_ceiling(device: torch.device) -> float:
    """Bytes per second of the best of a few grids of the reading kernel."""
    launcher = default_launcher()
    free, _ = torch.cuda.mem_get_info(device)
    size = min(4 << 30, free // 4) // 4096 * 4096
    data = torch.randint(-(1 << 31), 1 << 31, (size // 4,), dtype=torch.int32, device=device)
    sink = torch.zeros(1, dtype=torch.int32, device=device)
    best = 0.0
    for per_sm in (2, 4, 8, 16):
        blocks = per_sm * launcher.num_sms(device)
        seconds = time_calls(
            [lambda blocks=blocks: ops.launch_read_ceiling(launcher, data, sink, blocks)], device
        )
        best = max(best, size / seconds)
    return best


def copies_needed(size_bytes: int, device: torch.device) -> int:
    """Copies of a weight that together are more than four times the L2."""
    l2 = torch.cuda.get_device_properties(device).L2_cache_size
    return 1 + math.ceil(L2_TIMES * l2 / size_bytes)


def random_weight(shape: Shape, device: torch.device) -> PackedWeight:
    """Random bits in kernel order: every bit pattern is a valid weight."""
    words = (shape.n // 16, shape.k // 64, 32, 4)
    weight = torch.randint(-(1 << 31), 1 << 31, words, dtype=torch.int32, device=device)
    groups = shape.k // shape.group_size if shape.group_size else 1
    scales = torch.rand(shape.n // 16, groups, 8, 2, device=device).half() / 100
    return PackedWeight(weight, scales, shape.n, shape.k, 4, shape.gating)


def weight_copies(shape: Shape, device: torch.device) -> list[PackedWeight]:
    """Random weights of a shape, as many as are to be taken in turn."""
    first = random_weight(shape, device)
    others = copies_needed(first.size_bytes(), device) - 1
    return [first, *(random_weight(shape, device) for _ in range(others))]


def moved_bytes(weight: PackedWeight, m: int) -> int:
    """What a product of m rows in float16 must read and write."""
    return weight.size_bytes() + 2 * m * (weight.k + weight.outputs)


# --- ours and others ------------------------------------------------------------------------------

Calls = Sequence[Callable[[], object]]


def our_calls(weights: list[PackedWeight], x: torch.Tensor, method: ops.Method) -> Calls:
    """`method` on each copy of the weight."""
    activation: Activation = "silu" if weights[0].gating != "none" else "none"
    return [
        lambda w=w: ops.w4a16_linear(x, w, activation=activation, method=method) for w in weights
    ]


def cublas_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """cuBLAS on a float16 weight: four times the bytes."""
    size = 2 * shape.n * shape.k
    weights = [
        torch.randn(shape.n, shape.k, dtype=torch.float16, device=x.device)
        for _ in range(copies_needed(size, x.device))
    ]
    return [lambda w=w: x @ w.T for w in weights]


def tinygemm_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """torch's own INT4 product: bfloat16, groups of 128."""
    group, device = 128, x.device
    x = x.bfloat16()
    calls: list[Callable[[], object]] = []
    for _ in range(copies_needed(shape.n * shape.k // 2, device)):
        codes = torch.randint(0, 256, (shape.n, shape.k // 2), dtype=torch.uint8, device=device)
        packed = torch.ops.aten._convert_weight_to_int4pack(codes, 8)
        scales = torch.rand(shape.k // group, shape.n, 2, dtype=torch.bfloat16, device=device)
        calls.append(lambda p=packed, s=scales: torch.ops.aten._weight_int4pack_mm(x, p, group, s))
    return calls


def bitsandbytes_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """NF4, blocks of 64."""
    import bitsandbytes  # pyright: ignore[reportMissingImports]

    calls: list[Callable[[], object]] = []
    for _ in range(copies_needed(shape.n * shape.k // 2, x.device)):
        weight = torch.randn(shape.n, shape.k, dtype=torch.float16, device=x.device)
        packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
        calls.append(lambda p=packed, s=state: bitsandbytes.matmul_4bit(x, p.t(), s))
    return calls


def torchao_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """INT4 weight-only, groups of 128, bfloat16."""
    from torchao.quantization import (  # pyright: ignore[reportMissingImports]
        Int4WeightOnlyConfig,
        quantize_,
    )

    x = x.bfloat16()
    calls: list[Callable[[], object]] = []
    for _ in range(copies_needed(shape.n * shape.k // 2, x.device)):
        linear = torch.nn.Linear(
            shape.k, shape.n, bias=False, device=x.device, dtype=torch.bfloat16
        )
        quantize_(linear, Int4WeightOnlyConfig(group_size=128))
        calls.append(lambda layer=linear: layer(x))
    return calls


def gemlite_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """Triton, groups of 128."""
    from gemlite import DType, GemLiteLinear  # pyright: ignore[reportMissingImports]

    group, device = 128, x.device
    calls: list[Callable[[], object]] = []
    for _ in range(copies_needed(shape.n * shape.k // 2, device)):
        layer = GemLiteLinear(
            4, group, shape.k, shape.n, input_dtype=DType.FP16, output_dtype=DType.FP16
        )
        codes = torch.randint(0, 16, (shape.n, shape.k), dtype=torch.uint8, device=device)
        scales = torch.rand(shape.n * shape.k // group, 1, dtype=torch.float16, device=device)
        layer.pack(codes, scales, torch.full_like(scales, 8), None)
        calls.append(lambda layer=layer: layer(x))
    return calls


def humming_calls(shape: Shape, x: torch.Tensor) -> Calls:
    """humming-kernels, compiled by NVRTC as it is first called; the shape's own scales."""
    from humming.layer import HummingLayer  # pyright: ignore[reportMissingImports]

    config = {"dtype": "int4", "group_size": shape.group_size}
    calls: list[Callable[[], object]] = []
    for _ in range(copies_needed(shape.n * shape.k // 2, x.device)):
        layer = HummingLayer(
            shape_n=shape.n, shape_k=shape.k, weight_config=config, torch_dtype=x.dtype
        ).to(x.device)
        weight = torch.randn(shape.n, shape.k, dtype=x.dtype, device=x.device)
        layer.load_from_unquantized(weight)
        layer.transform()
        calls.append(lambda layer=layer: layer(x))
    return calls


PEERS: dict[str, Callable[[Shape, torch.Tensor], Calls]] = {
    "cublas fp16": cublas_calls,
    "torch int4": tinygemm_calls,
    "torchao": torchao_calls,
    "bitsandbytes": bitsandbytes_calls,
    "gemlite": gemlite_calls,
    "humming": humming_calls,
}


class Bench:
    """Collects rows and prints them as they come. deadline: time.monotonic() not to pass."""

    def __init__(self, device: torch.device, deadline: float) -> None:
        self.device = device
        self.deadline = deadline
        self.about = describe(device)
        print(", ".join(f"{key}: {value}" for key, value in self.about.items()))
        ops.reserve_workspace(device)
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.ceiling = measure_ceiling(device)
        print(f"read ceiling {self.ceiling / 1e9:.0f} GB/s")

    def out_of_time(self) -> bool:
        """Whether the deadline has passed; says so once."""
        late = time.monotonic() > self.deadline
        note = "the time limit was reached; the remaining shapes were not measured"
        if late and note not in self.notes:
            self.note(note)
        return late

    def note(self, text: str) -> None:
        """Prints and keeps a remark, once."""
        if text not in self.notes:
            self.notes.append(text)
            print(text)

    def add(self, shape: Shape, m: int, peer: str, calls: Calls, size_bytes: int) -> Row:
        """Times the calls; size_bytes: what one call must read and write."""
        seconds = time_calls(calls, self.device)
        rate = size_bytes / seconds
        row = Row(
            shape.name, shape.n, shape.k, m, peer, seconds * 1e6, rate / 1e9, rate / self.ceiling
        )
        self.rows.append(row)
        return row

    def decode(self, shape: Shape) -> None:
        """m 1 to 32, ours beside the peers."""
        weights = weight_copies(shape, self.device)
        for m in DECODE_M:
            x = torch.randn(m, shape.k, dtype=torch.float16, device=self.device)
            moved = moved_bytes(weights[0], m)
            ours = self.add(shape, m, "bilin", our_calls(weights, x, "decode"), moved)
            line = f"{shape.name:13} m={m:<3} {ours.microseconds:8.1f} us "
            line += f"{ours.gigabytes_per_second:6.0f} GB/s {100 * ours.share:4.0f} %"
            others = []
            if m == 1:  # the published way: the whole matrix to float16, then cuBLAS
                others.append(
                    self.add(shape, m, "dequantize", our_calls(weights, x, "dequantize"), moved)
                )
            if "/" not in shape.name and m in (1, 8, 32):
                others += self.peers(shape, x, moved)
            if others:
                best = min(others, key=lambda row: row.microseconds)
                line += f"   {best.microseconds / ours.microseconds:5.2f} x {best.peer}"
            print(line)

    def peers(self, shape: Shape, x: torch.Tensor, moved: int) -> list[Row]:
        """One row of each peer that can be imported and runs."""
        rows = []
        for name, build in PEERS.items():
            try:
                rows.append(self.add(shape, x.shape[0], name, build(shape, x), moved))
            except ImportError:
                self.note(f"{name} is not installed")
            except Exception as error:  # noqa: BLE001 - a stranger's failure must not end the run
                self.note(f"{name} failed on {shape.name}: {type(error).__name__}: {error}")
            torch.cuda.empty_cache()
        return rows

    def layers(self) -> None:
        """Whole GLM-130B layers of a decode step, three layers' weights in turn."""
        linears = shapes(["130b"])[:4]
        weights = [[random_weight(s, self.device) for s in linears] for _ in range(3)]
        for m, context in itertools.product((1, 4, 8), (16, 512, 2048)):
            measured = bench_decode.layer(weights, context, m, self.device)
            shape = Shape(f"130b layer at {context}", 0, 0)
            row = self.add(shape, m, "bilin", measured.calls, measured.size_bytes)
            print(
                f"{shape.name:19} m={m:<3} {row.microseconds:8.1f} us "
                f"{row.gigabytes_per_second:6.0f} GB/s {100 * row.share:4.0f} %   "
                f"70 layers: {1e6 / row.microseconds / 70:.1f} steps/s"
            )

    def attention(self) -> None:
        """Attention alone, of a token and of eight."""
        for name, heads, kv_heads, head_dim, contexts in bench_decode.ATTENTIONS:
            for context, m in itertools.product(contexts, (1, 8)):
                measured = bench_decode.attention(
                    heads, kv_heads, head_dim, context, m, self.device
                )
                shape = Shape(f"attention {name} at {context}", 0, 0)
                row = self.add(shape, m, "bilin", measured.calls, measured.size_bytes)
                print(
                    f"{shape.name:36} m={m:<3} {row.microseconds:8.1f} us "
                    f"{row.gigabytes_per_second:6.0f} GB/s {100 * row.share:4.0f} %"
                )

    def prefill(self, shape: Shape) -> None:
        """Both methods and cuBLAS; where the fused kernel stops paying."""
        weight = random_weight(shape, self.device)
        crossover = 0
        for m in PREFILL_M:
            x = torch.randn(m, shape.k, dtype=torch.float16, device=self.device)
            moved = moved_bytes(weight, m)
            decode = self.add(shape, m, "bilin", our_calls([weight], x, "decode"), moved)
            expand = self.add(shape, m, "dequantize", our_calls([weight], x, "dequantize"), moved)
            cublas = self.add(shape, m, "cublas fp16", cublas_calls(shape, x), moved)
            if decode.microseconds <= expand.microseconds:
                crossover = m
            best = min(decode.microseconds, expand.microseconds)
            print(
                f"{shape.name:13} m={m:<5} fused {decode.microseconds:9.0f} us  dequantize first "
                f"{expand.microseconds:9.0f} us  {100 * cublas.microseconds / best:4.0f} % of "
                "cuBLAS fp16"
            )
        self.note(
            f"{shape.name}: the fused kernel wins up to m = {crossover or 'less than 128'}; "
            f"ops.DECODE_MAX_M is {ops.DECODE_MAX_M}"
        )


def describe(device: torch.device) -> dict[str, str]:
    """What a figure is worth nothing without: card, driver, clocks, versions."""
    query = "driver_version,clocks.max.sm,clocks.max.mem,power.limit"
    try:
        state = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", f"-i={device.index}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        state = f"nvidia-smi failed: {error}"
    return {
        "device": torch.cuda.get_device_name(device),
        "driver, max clocks, power limit": state,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def open_bench(limit_s: float) -> Bench | None:
    """None, and a sentence on stderr, where there is no GPU. limit_s: nothing new after that."""
    deadline = time.monotonic() + limit_s
    try:
        device = find_device()
    except (KernelLoadError, CompileError) as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return None
    return Bench(device, deadline)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m bilin_kernels.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there too")
    parser.add_argument("--models", nargs="+", choices=["130b", "9b", "32b"])
    parser.add_argument("--limit-s", type=float, default=480, help="begin nothing new after that")
    options = parser.parse_args(arguments)
    bench = open_bench(options.limit_s)
    if bench is None:
        return 2
    bench.layers()
    bench.attention()
    torch.cuda.empty_cache()
    chosen = shapes(options.models or ["130b", "9b", "32b"])
    steps: list[tuple[Callable[[Shape], None], Shape]] = [
        *((bench.decode, shape) for shape in chosen if "/" not in shape.name),
        *((bench.prefill, shape) for shape in chosen if shape.name in ("130b qkv", "9b qkv")),
        *((bench.decode, shape) for shape in chosen if "/" in shape.name),
    ]
    for step, shape in steps:
        if bench.out_of_time():
            break
        step(shape)
        torch.cuda.empty_cache()
    if options.json:
        result = {
            "about": bench.about,
            "ceiling_gigabytes_per_second": bench.ceiling / 1e9,
            "rows": [asdict(row) for row in bench.rows],
            "notes": bench.notes,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
