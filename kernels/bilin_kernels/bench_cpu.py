"""How fast the processor's kernels are: beside what memory delivers and beside torch's kernel.

    python -m bilin_kernels.bench_cpu [--threads N] [--json FILE]

For every matrix: milliseconds of a product, GB/s of its weights, their share of what plain reads
reach in the same run, and torch's `_weight_int4pack_mm` of the same weights. Matrices are read in
turn, several hundred megabytes of each shape, so that no cache holds them. The best of all rounds
counts: on a machine that does other things the others say more of those than of this.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bilin_kernels import cpu_compile, cpu_library, cpu_ops, packing

# (n, k, group): GLM-4-9B's up and down projection, GLM-130B's output, a head in INT8.
SHAPES = [(27392, 4096, 128), (4096, 13696, 128), (12288, 12288, 12288), (4096, 4096, 32)]
HEAD = (49152, 4096, 32)
ROWS = (1, 2, 4, 16, 128)
POOL_BYTES = 300_000_000
READ_BYTES = 400_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One product. share: of the bandwidth of plain reads. torch_ms: 0.0 where it has no such."""

    bits: int
    n: int
    k: int
    group: int
    rows: int
    ms: float
    gb_s: float
    share: float
    torch_ms: float


def best_s(works: list[Callable[[], object]], limit_s: float = 1.5, least: int = 3) -> float:
    """The fastest of all calls, taken in turn for about `limit_s`."""
    best, rounds, end = float("inf"), 0, time.perf_counter() + limit_s
    while rounds < least or time.perf_counter() < end:
        for work in works:
            begun = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - begun)
        rounds += 1
    return best


def read_gb_s() -> float:
    """What plain reads reach on torch's number of threads."""
    memory = torch.ones(READ_BYTES, dtype=torch.uint8)
    return READ_BYTES / best_s([lambda: cpu_ops.read(memory)]) / 1e9


def measure(bits: int, shape: tuple[int, int, int], ceiling: float) -> list[Figure]:
    """One matrix at every number of rows."""
    n, k, group = shape
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (n, k), dtype=torch.int8)
    scales = torch.rand(n, k // group).half()
    packed = None if bits == 8 else packing.pack_int4(codes)
    copies = max(2, int(POOL_BYTES // (n * k * bits / 8)))
    if packed is None:
        weights = [cpu_ops.prepack_int8(codes, scales) for _ in range(copies)]
    else:
        weights = [cpu_ops.prepack_int4(packed, scales) for _ in range(copies)]
    peers = [] if packed is None else _torch_weights(codes, group, scales, copies)
    figures = []
    for rows in ROWS:
        x = torch.randn(rows, k)
        seconds = best_s([lambda x=x, w=w: cpu_ops.linear(x, w) for w in weights])
        half_x = x.bfloat16()
        peer_s = best_s([lambda x=half_x, p=p: p(x) for p in peers]) if peers else 0.0
        gb_s = weights[0].size_bytes / seconds / 1e9
        figures.append(
            Figure(bits, n, k, group, rows, 1e3 * seconds, gb_s, gb_s / ceiling, 1e3 * peer_s)
        )
    return figures


def _torch_weights(
    codes: torch.Tensor, group: int, scales: torch.Tensor, copies: int
) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """torch's own kernel on copies of the same weights; scales repeated to groups that it takes."""
    size = next((size for size in (256, 128, 64, 32) if group % size == 0), None)
    if size is None or codes.shape[0] % 16:
        return []
    repeated = scales.repeat_interleave(group // size, dim=1).T.bfloat16()
    both = torch.stack((repeated, torch.zeros_like(repeated)), 2).contiguous()
    unsigned = (codes.to(torch.int32) + 8).contiguous()
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unsigned, 1)

    def product(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, weight, size, both)

    return [product(packed.clone()) for _ in range(copies)]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description="The kernels of the processor: how fast.")
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's own number")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    target = cpu_compile.target_for(cpu_library.processor_flags())
    ceiling = read_gb_s()
    threads = torch.get_num_threads()
    print(f"{target.name}, {threads} threads, plain reads {ceiling:.1f} GB/s")
    print(f"{'bits  n x k, group':28}{'rows':>5}{'ms':>9}{'GB/s':>8}{'share':>8}{'torch, ms':>11}")
    figures = []
    for bits, shape in [*((4, shape) for shape in SHAPES), (8, HEAD)]:
        for figure in measure(bits, shape, ceiling):
            figures.append(figure)
            what = f"{bits}     {figure.n} x {figure.k}, {figure.group}"
            peer = f"{figure.torch_ms:11.2f}" if figure.torch_ms else f"{'-':>11}"
            print(
                f"{what:28}{figure.rows:5}{figure.ms:9.2f}{figure.gb_s:8.1f}"
                f"{figure.share:8.0%}{peer}"
            )
    if options.json:
        told = {"target": target.name, "threads": threads, "read_gb_s": ceiling}
        text = json.dumps({**told, "figures": [asdict(figure) for figure in figures]}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
