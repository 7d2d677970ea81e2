"""From a model folder to a Runner: picks device, backend and threads, and says what it picked."""

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import psutil
import torch

from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.collectives.base import SingleRank
from bilin_engine.config import ModelConfig
from bilin_engine.errors import BadRequestError, UnsupportedModelError
from bilin_engine.layers.weights import Backend, ComputePlan, RankWeights, WeightSource
from bilin_engine.models.base import Model
from bilin_engine.models.registry import model_class
from bilin_engine.runners.base import PrefillRow, Runner
from bilin_engine.runners.local import LocalRunner

logger = logging.getLogger(__name__)

DTypeOption = Literal["float32", "bfloat16", "float16"]
OnProgress = Callable[[str, float], None]

# Below this size in bfloat16 the cpu backend keeps a dense copy beside the INT4 weights.
DENSE_COPY_BYTES = 200_000_000
# Embedding and head stay float32 up to this size: bfloat16 rounds logits to 3 digits.
FLOAT32_HEAD_BYTES = 256 * 1024**2

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_runner(
    folder: Path,
    *,
    context: int = 0,
    device: str = "auto",
    backend: str = "auto",
    num_threads: int = 0,
    num_slots: int = 8,
    dtype: str | None = None,
    kv_dtype: str = "float32",
    on_progress: OnProgress | None = None,
) -> Runner:
    """Loads a model folder on one device.

    context: tokens a slot can hold; 0 = the model's own maximum. device: "auto", "cpu" or
    "cuda:N". backend: for packed weights; "auto" = the fastest that computes in `dtype`.
    num_threads: CPU threads; 0 = measured on the loaded model. dtype: of plain weights and of the
    arithmetic; None = bfloat16 on the CPU; "float32" uses the reference backend for packed weights.
    kv_dtype: of keys and values; "float16" and "bfloat16" halve what a long context takes.
    on_progress: hears a stage and a fraction 0..1.
    Raises ModelBrokenError, UnsupportedModelError or BadRequestError with a sentence.
    """
    report = on_progress or (lambda _stage, _fraction: None)
    report("open", 0.0)
    with ModelFolder(folder) as source:
        return runner_from(
            source,
            context=context,
            device=device,
            backend=backend,
            num_threads=num_threads,
            num_slots=num_slots,
            dtype=dtype,
            kv_dtype=kv_dtype,
            on_progress=report,
        )


def runner_from(
    source: WeightSource,
    *,
    context: int = 0,
    device: str = "auto",
    backend: str = "auto",
    num_threads: int = 0,
    num_slots: int = 8,
    dtype: str | None = None,
    kv_dtype: str = "float32",
    on_progress: OnProgress,
) -> Runner:
    """`load_runner` for weights from anywhere, for instance random ones for a benchmark."""
    started = time.perf_counter()
    config = source.config
    max_length = _context(context, config)
    if num_slots < 1:
        raise BadRequestError(f"num_slots {num_slots}: at least one slot is needed")
    if num_threads < 0:
        raise BadRequestError(f"num_threads {num_threads}: 0 (measured) or more is needed")
    plan = _plan(config, device, backend, dtype)
    if kv_dtype not in _DTYPES:
        raise BadRequestError(f'kv_dtype "{kv_dtype}" is unknown; use {", ".join(_DTYPES)}')
    plan = dataclasses.replace(plan, kv_dtype=_DTYPES[kv_dtype])
    torch.set_num_threads(num_threads or _physical_cores())
    model = _build(source, plan, on_progress)
    runner = LocalRunner(
        model,
        num_slots=num_slots,
        max_length=max_length,
        backend=plan.backend,
        num_threads=torch.get_num_threads(),
    )
    if num_threads == 0 and plan.device.type == "cpu":
        on_progress("threads", 1.0)
        _choose_threads(runner)
        runner.num_threads = torch.get_num_threads()
    runner.backend = plan.backend
    runner.num_threads = torch.get_num_threads()
    logger.info(
        "model loaded: %s, backend %s, %s, %d threads, %.2f s",
        config.architecture,
        plan.backend,
        plan.dtype,
        torch.get_num_threads(),
        time.perf_counter() - started,
    )
    return runner


def _context(context: int, config: ModelConfig) -> int:
    if context < 0 or context > config.max_sequence_length:
        raise BadRequestError(
            f"context {context} is not possible; this model holds up to "
            f"{config.max_sequence_length} tokens (0 = all)"
        )
    return context or config.max_sequence_length


def _plan(config: ModelConfig, device: str, backend: str, dtype: str | None) -> ComputePlan:
    if device not in ("auto", "cpu"):
        raise UnsupportedModelError(
            f'device "{device}": this build computes on the CPU only; use "cpu" or "auto"'
        )
    if backend not in ("auto", "cuda", "cpu", "reference"):
        raise BadRequestError(f'backend "{backend}" is unknown; use auto, cuda, cpu or reference')
    if dtype is not None and dtype not in _DTYPES:
        raise BadRequestError(f'dtype "{dtype}" is unknown; use {", ".join(_DTYPES)}')
    if backend == "auto":
        backend = "cpu" if dtype in (None, "bfloat16") else "reference"
    if backend == "cpu" and dtype not in (None, "bfloat16") and config.quantization is not None:
        raise BadRequestError(
            f"backend cpu computes packed weights in bfloat16, not {dtype}; use backend reference"
        )
    if dtype is None:
        dtype = "float32" if backend == "reference" else "bfloat16"
    return ComputePlan(
        backend=cast(Backend, backend),
        dtype=_DTYPES[dtype],
        device=torch.device("cpu"),
        keep_dense=2 * config.num_parameters <= DENSE_COPY_BYTES,
    )


def _build(source: WeightSource, plan: ComputePlan, on_progress: OnProgress) -> Model:
    config = source.config
    head_bytes = 4 * config.vocab_size * config.hidden_size
    exact_head = plan.dtype == torch.float32 or head_bytes <= FLOAT32_HEAD_BYTES
    loaded = 0

    def on_layer() -> None:
        nonlocal loaded
        loaded += 1
        on_progress("weights", loaded / config.num_layers)

    weights = RankWeights(source, plan, SingleRank())
    with torch.inference_mode():
        return model_class(config)(
            weights,
            head_dtype=torch.float32 if exact_head else plan.dtype,
            on_layer=on_layer,
        )


def _physical_cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


def _choose_threads(runner: Runner, budget_s: float = 0.5) -> None:
    """Sets the thread count with the fastest decode step; small models are faster on one thread.

    Best of several steps per count, all within about `budget_s`; a tie goes to fewer threads.
    """
    cores = _physical_cores()
    counts = sorted({1, max(1, cores // 2), cores})
    if len(counts) == 1:
        torch.set_num_threads(counts[0])
        return
    runner.prefill([PrefillRow(slot=0, token_ids=[0], position_ids=[0], prefix_len=0)])
    best_s: dict[int, float] = {}
    for count in counts:
        torch.set_num_threads(count)
        end = time.perf_counter() + budget_s / len(counts)
        best_s[count] = float("inf")
        while True:
            started = time.perf_counter()
            runner.decode([0], [0], [1])
            best_s[count] = min(best_s[count], time.perf_counter() - started)
            runner.truncate(0, 1)
            if time.perf_counter() >= end:
                break
    runner.truncate(0, 0)
    fastest = min(best_s.values())
    torch.set_num_threads(next(c for c in counts if best_s[c] <= 1.05 * fastest))
