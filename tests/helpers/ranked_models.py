"""One model folder on one rank, on several, and split by layers: for saying that all are equal."""

from pathlib import Path
from typing import Any

from thread_ranks import run_ranks

from bilin_engine.runners.layer_split import LayerPlacement, Stage
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.tensor_parallel import RankGroup, TensorParallelRunner

OPTIONS = {"dtype": "float32", "num_threads": 1, "num_slots": 4}


def on_one(folder: Path, work, **options):
    """work(runner) on a runner of one rank."""
    runner = load_runner(folder, **{**OPTIONS, **options})
    try:
        return work(runner)
    finally:
        runner.close()


def on_ranks(folder: Path, world_size: int, collective: str, work, **options) -> Any:
    """work(runner) on rank 0 of a tensor-parallel group; the other ranks are threads."""

    def rank_work(rank, rendezvous):
        group = RankGroup(rendezvous, rank, world_size, collective)
        runner = load_runner(folder, group=group, **{**OPTIONS, **options})
        if rank:
            assert isinstance(runner, TensorParallelRunner)
            runner.follow()
            return None
        try:
            return work(runner)
        finally:
            runner.close()

    return run_ranks(world_size, rank_work)[0]


def split_in_two(num_layers: int, first: int = 1, head: int = 1) -> LayerPlacement:
    """Two processors that share one memory: what a split needs of devices, without GPUs."""
    return LayerPlacement((Stage("cpu:0", first), Stage("cpu:1", num_layers - first)), head)
