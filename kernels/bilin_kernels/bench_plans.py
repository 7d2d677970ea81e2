"""Ranks launches of the decode GEMM on a GPU: `python -m bilin_kernels.bench_plans`.

`plan.py` chooses tiles a block and splits of k by arithmetic. Here every choice that exists for a
linear is timed as `bench` times its own, m 1 and 8, and printed from the fastest on, up to the one
that `plan.py` takes. Where that is not the first, plan.py has something to learn from this card.

Exit status 2: no GPU to measure.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch

from bilin_kernels import ops
from bilin_kernels.bench import (
    Bench,
    Shape,
    moved_bytes,
    open_bench,
    shapes,
    weight_copies,
)
from bilin_kernels.loader import Launcher, default_launcher
from bilin_kernels.packing import PackedWeight
from bilin_kernels.plan import GemmPlan, plan_gemm

MEASURED_M = (1, 8)
TILES: tuple[Literal[2, 4], ...] = (2, 4)
SPLITS = range(1, 9)  # all that plan.py may take


def plans(plan: Callable[..., GemmPlan]) -> Iterator[tuple[str, GemmPlan]]:
    """Every launch that exists for a shape, named as "4 tiles, split 2". plan: the shape's."""
    for tiles, split in itertools.product(TILES, SPLITS):
        try:
            yield f"{tiles} tiles, split {split}", plan(split=split, tiles_per_block=tiles)
        except ValueError:  # of no use for this shape
            continue


def launch(
    launcher: Launcher, plan: GemmPlan, weight: PackedWeight, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """y, with the product in it; gated by SiLU where the weight is."""
    gating = ops.GATINGS[weight.gating]
    activation = ops.ACTIVATIONS["none" if weight.gating == "none" else "silu"]
    ops.launch_gemm(
        launcher, plan, y, x, weight.weight, weight.scales, weight.n,
        gating=gating, activation=activation,
    )  # fmt: skip
    return y


def rank(bench: Bench, shape: Shape) -> None:
    """Times the plans of a linear and prints them, the fastest first."""
    launcher = default_launcher()
    num_sms = launcher.num_sms(bench.device)
    weights = weight_copies(shape, bench.device)
    first = weights[0]
    for m in MEASURED_M:
        x = torch.randn(m, shape.k, dtype=torch.float16, device=bench.device)
        y = torch.empty(m, first.outputs, dtype=torch.float16, device=bench.device)
        choose = partial(
            plan_gemm, m, first.n, first.k, first.groups, bits=first.bits, dtype="f16",
            num_sms=num_sms,
        )  # fmt: skip
        found = []
        for name, plan in plans(choose):
            calls = [partial(launch, launcher, plan, weight, x, y) for weight in weights]
            found.append((bench.add(shape, m, name, calls, moved_bytes(first, m)), plan))
        taken = choose()
        for row, plan in sorted(found, key=lambda item: item[0].microseconds):
            mark = "   plan.py" if plan == taken else ""
            print(
                f"{shape.name:13} m={m:<3} {row.peer:18} {row.microseconds:8.1f} us "
                f"{100 * row.share:4.0f} %{mark}"
            )
            if mark:
                break


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m bilin_kernels.bench_plans",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=["130b", "9b", "32b"], default=["130b"])
    parser.add_argument("--limit-s", type=float, default=120, help="begin nothing new after that")
    options = parser.parse_args(arguments)
    bench = open_bench(options.limit_s)
    if bench is None:
        return 2
    for shape in shapes(options.models):
        if bench.out_of_time():
            break
        rank(bench, shape)
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
