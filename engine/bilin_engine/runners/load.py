"""From a model folder to a Runner: picks device, backend and threads, and says what it picked."""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from bilin_engine import processes
from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.collectives.base import SingleRank
from bilin_engine.collectives.join import join, join_control
from bilin_engine.config import ModelConfig
from bilin_engine.errors import BadRequestError, UnsupportedModelError
from bilin_engine.layers.cpu_linear import HEAD_GROUP
from bilin_engine.layers.weights import Backend, ComputePlan, RankWeights, WeightSource
from bilin_engine.models.base import Model
from bilin_engine.models.decode_step import check_sizes
from bilin_engine.models.registry import model_class
from bilin_engine.placement.cost import check_degree
from bilin_engine.runners.base import Runner
from bilin_engine.runners.cuda import CudaRunner
from bilin_engine.runners.layer_split import (
    LayerPlacement,
    LayerSplitRunner,
    PlacedModel,
    PlacedWeights,
)
from bilin_engine.runners.local import LocalRunner
from bilin_engine.runners.tensor_parallel import RankGroup, TensorParallelRunner
from bilin_engine.runners.threads import ThreadPacer, counts_for, physical_cores
from bilin_kernels import cpu_ops
from bilin_kernels.compile import CompileError
from bilin_kernels.loader import KernelLoadError, default_launcher

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, float], None]

# Below this size in bfloat16 the cpu backend keeps a dense copy beside the INT4 weights.
DENSE_COPY_BYTES = 200_000_000
# Embedding and head stay float32 up to this size: bfloat16 rounds logits to 3 digits.
FLOAT32_HEAD_BYTES = 256 * 1024**2

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_KV_DTYPES = {**_DTYPES, "int8": torch.int8}
_BFLOAT16_CAPABILITY = (8, 0)


def load_runner(
    folder: Path,
    *,
    context: int = 0,
    device: str = "auto",
    backend: str = "auto",
    num_threads: int = 0,
    num_slots: int = 8,
    dtype: str | None = None,
    kv_dtype: str = "auto",
    group: RankGroup | None = None,
    placement: LayerPlacement | None = None,
    on_progress: OnProgress | None = None,
) -> Runner:
    """Loads a model folder, or with `group` this rank's part of it.

    context: tokens a slot can hold; 0 = the model's own maximum. device: "auto" (a GPU that the
    kernels run on, else the processor), "cpu" or "cuda:N", one for each rank of the group
    ("cuda:0,cuda:1") or one for all; without meaning when `placement` says where each layer goes.
    backend: for packed weights; "auto" = the fastest that computes in `dtype`.
    num_threads: CPU threads; 0 = measured on the loaded model. dtype: of plain weights and of the
    arithmetic; None = bfloat16 on the CPU, float16 on CUDA; "float32" uses the reference backend
    for packed weights.
    kv_dtype: of keys and values; "auto" = float32, float16 with backend cuda, which computes no
    other. "float16" and "bfloat16" halve what a long context takes, "int8" halves it again.
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
            group=group,
            placement=placement,
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
    kv_dtype: str = "auto",
    group: RankGroup | None = None,
    placement: LayerPlacement | None = None,
    on_progress: OnProgress,
) -> Runner:
    """`load_runner` for weights from anywhere, for instance random ones for a benchmark."""
    started = time.perf_counter()
    config = source.config
    max_length = _context(context, config)
    if num_slots < 1:
        raise BadRequestError(f"num_slots {num_slots}: at least one slot is needed")
    if not 0 <= num_threads <= processes.most_at_once():
        raise BadRequestError(
            f"num_threads {num_threads} is not possible; it must be from 0 (measured) to "
            f"{processes.most_at_once()} on {processes.num_usable_threads()} processors"
        )

    def plan_for(name: str) -> ComputePlan:
        planned = _plan(config, name, backend, dtype)
        return dataclasses.replace(planned, kv_dtype=_kv_dtype(kv_dtype, planned))

    num_ranks = group.world_size if group is not None else 1
    torch.set_num_threads(num_threads or max(1, physical_cores() // num_ranks))
    sizes = _Sizes(num_slots, max_length)
    if placement is not None:
        plan, runner = _load_placed(source, placement, plan_for, sizes, on_progress)
    elif group is not None:
        plan = plan_for(device_of_rank(device, group))
        group = dataclasses.replace(group, collective=collective_for(device, group))
        runner = _load_rank(source, plan, group, sizes, on_progress)
    else:
        plan = plan_for(device)
        model = _build(RankWeights(source, plan, SingleRank()), on_progress)
        runner = _local(model, plan, sizes, captures=True)
    if num_threads == 0 and isinstance(runner, LocalRunner) and plan.device.type == "cpu":
        on_progress("threads", 1.0)
        _choose_threads(runner)
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


def device_for(config: ModelConfig, device: str, backend: str) -> torch.device:
    """Where `load_runner` would put a whole model. Raises as it does."""
    return _plan(config, device, backend, None).device


def device_of_rank(device: str, group: RankGroup) -> str:
    """Which of the devices named a rank computes on. Raises BadRequestError for a wrong number."""
    names = [name.strip() for name in device.split(",")]
    if len(names) == 1:
        return names[0]
    if len(names) != group.world_size:
        raise BadRequestError(
            f'device "{device}" names {len(names)} devices for {group.world_size} ranks'
        )
    return names[group.rank]


def collective_for(device: str, group: RankGroup) -> str:
    """What the ranks meet over. NCCL takes one rank a card: those that share one meet in memory."""
    names = {name.strip() for name in device.split(",")}
    share_a_card = device.startswith("cuda") and len(names) < group.world_size
    return "shared_memory" if group.collective == "auto" and share_a_card else group.collective


@dataclasses.dataclass(frozen=True, slots=True)
class _Sizes:
    num_slots: int
    max_length: int


def _local(model: Model, plan: ComputePlan, sizes: _Sizes, *, captures: bool) -> LocalRunner:
    """captures: whether decode steps on CUDA become graphs; ranks that meet take them plainly."""
    if plan.backend == "cuda":
        try:
            check_sizes(model.config)
        except UnsupportedModelError as error:
            logger.warning("decoding without the CUDA kernels' step, slower: %s", error)
        else:
            return CudaRunner(
                model,
                num_slots=sizes.num_slots,
                max_length=sizes.max_length,
                num_threads=torch.get_num_threads(),
                dtype=plan.dtype,
                captures=captures,
            )
    return LocalRunner(
        model,
        num_slots=sizes.num_slots,
        max_length=sizes.max_length,
        backend=plan.backend,
        num_threads=torch.get_num_threads(),
    )


def _load_rank(
    source: WeightSource,
    plan: ComputePlan,
    group: RankGroup,
    sizes: _Sizes,
    on_progress: OnProgress,
) -> TensorParallelRunner:
    check_degree(source.config, group.world_size, on_gpus=plan.device.type == "cuda")
    collective = join(
        group.folder, group.rank, group.world_size, name=group.collective, device=plan.device
    )
    model = _build(RankWeights(source, plan, collective), on_progress)
    control = join_control(group.folder, group.rank, group.world_size)
    return TensorParallelRunner(_local(model, plan, sizes, captures=False), control)


def _load_placed(
    source: WeightSource,
    placement: LayerPlacement,
    plan_for: Callable[[str], ComputePlan],
    sizes: _Sizes,
    on_progress: OnProgress,
) -> tuple[ComputePlan, LayerSplitRunner]:
    placement.check(source.config)
    plans = [plan_for(stage.name) for stage in placement.stages]
    weights = PlacedWeights(source, placement, plans)
    model = PlacedModel(_build(weights, on_progress), weights, placement)
    runner = LayerSplitRunner(
        model,
        num_slots=sizes.num_slots,
        max_length=sizes.max_length,
        backend=weights.plan.backend,
        num_threads=torch.get_num_threads(),
    )
    return weights.plan, runner


def _kv_dtype(name: str, plan: ComputePlan) -> torch.dtype:
    """Of keys and values. Raises BadRequestError for one that `plan` cannot compute."""
    if name == "auto":
        return torch.float16 if plan.backend == "cuda" else torch.float32
    if name not in _KV_DTYPES:
        raise BadRequestError(f'kv_dtype "{name}" is unknown; use auto, {", ".join(_KV_DTYPES)}')
    if plan.backend == "cuda" and name != "float16":
        raise BadRequestError(
            f"kv_dtype {name} is not computed by the CUDA kernels; use float16 (or auto) there, "
            "or device cpu"
        )
    return _KV_DTYPES[name]


def _context(context: int, config: ModelConfig) -> int:
    if context < 0 or context > config.max_sequence_length:
        raise BadRequestError(
            f"context {context} is not possible; this model holds up to "
            f"{config.max_sequence_length} tokens (0 = all)"
        )
    return context or config.max_sequence_length


def _plan(config: ModelConfig, device: str, backend: str, dtype: str | None) -> ComputePlan:
    wants_gpu = backend in ("auto", "cuda") and dtype != "float32"
    on = _gpu_or_cpu() if device == "auto" and wants_gpu else _device(device)
    if backend not in ("auto", "cuda", "cpu", "reference"):
        raise BadRequestError(f'backend "{backend}" is unknown; use auto, cuda, cpu or reference')
    if dtype is not None and dtype not in _DTYPES:
        raise BadRequestError(f'dtype "{dtype}" is unknown; use {", ".join(_DTYPES)}')
    if backend == "auto" and on.type == "cuda" and dtype != "float32":
        backend = "cuda"
    if backend == "auto":
        backend = "cpu" if dtype in (None, "bfloat16") else "reference"
    if backend in ("cpu", "cuda") and backend != on.type and config.quantization is not None:
        raise BadRequestError(f"backend {backend} does not compute on {on}")
    if backend == "cpu" and dtype not in (None, "bfloat16") and config.quantization is not None:
        raise BadRequestError(
            f"backend cpu computes packed weights in bfloat16, not {dtype}; use backend reference"
        )
    if backend == "cuda" and dtype == "float32":
        raise BadRequestError(
            "backend cuda computes in float16 or bfloat16, not float32; use backend reference"
        )
    if backend == "cuda" and on.type == "cuda":
        _require_kernels(on)
        if dtype == "bfloat16" and torch.cuda.get_device_capability(on) < _BFLOAT16_CAPABILITY:
            raise BadRequestError(
                f"{torch.cuda.get_device_name(on)} does not compute in bfloat16; use float16"
            )
    if dtype is None:
        fast = "float16" if on.type == "cuda" else "bfloat16"
        dtype = "float32" if backend == "reference" else fast
    return ComputePlan(
        backend=cast(Backend, backend),
        dtype=_DTYPES[dtype],
        device=on,
        keep_dense=2 * config.num_parameters <= DENSE_COPY_BYTES,
    )


@functools.cache
def _gpu_or_cpu() -> torch.device:
    """The first GPU that the kernels run on, else the processor; says why not, once."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for gpu in (torch.device("cuda", index) for index in range(count)):
        try:
            _require_kernels(gpu)
        except UnsupportedModelError as error:
            logger.warning("not used: %s", error)
            continue
        logger.info("computing on %s, %s", gpu, torch.cuda.get_device_name(gpu))
        return gpu
    return torch.device("cpu")


def _require_kernels(gpu: torch.device) -> None:
    """Loads the kernels for `gpu`. Raises UnsupportedModelError with what is missing."""
    try:
        default_launcher().prepare(gpu)
    except (KernelLoadError, CompileError) as error:
        raise UnsupportedModelError(f"{gpu}: {error}") from error


def _device(name: str) -> torch.device:
    """Of "auto", "cpu", "cpu:1" (a part of one processor), "cuda" or "cuda:1"."""
    kind, _, index = name.partition(":")
    if kind in ("auto", "cpu") and (not index or index.isdigit()):
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdigit()):
        raise UnsupportedModelError(f'device "{name}" is unknown; use cpu, cuda:N or auto')
    if not torch.cuda.is_available():
        raise UnsupportedModelError(f'device "{name}": this torch sees no GPU; use "cpu" or "auto"')
    if int(index or 0) >= torch.cuda.device_count():
        raise BadRequestError(
            f'device "{name}" is not there; there are {torch.cuda.device_count()} GPUs, from cuda:0'
        )
    return torch.device("cuda", int(index or 0))


def _build(weights: RankWeights, on_progress: OnProgress) -> Model:
    config, plan = weights.config, weights.plan
    loaded = 0

    def on_layer() -> None:
        nonlocal loaded
        loaded += 1
        on_progress("weights", loaded / config.num_layers)

    with torch.inference_mode():
        return model_class(config)(
            weights,
            head_dtype=_head_dtype(config, plan),
            on_layer=on_layer,
        )


def _head_dtype(config: ModelConfig, plan: ComputePlan) -> torch.dtype:
    """Of embedding and head. Quantized models on the processor have theirs in INT8."""
    if plan.dtype == torch.float32:
        return torch.float32
    is_int8 = plan.backend == "cpu" and config.quantization is not None
    if is_int8 and config.hidden_size % HEAD_GROUP == 0 and cpu_ops.is_available():
        return torch.int8
    head_bytes = 4 * config.vocab_size * config.hidden_size
    return torch.float32 if head_bytes <= FLOAT32_HEAD_BYTES else plan.dtype


def _choose_threads(runner: LocalRunner) -> None:
    """Measures with how many threads a decode step is fastest; small models: on one thread.

    From then on the runner's pacer follows the machine's load.
    """
    pacer = ThreadPacer(counts_for(physical_cores()))
    runner.time_step()  # makes room for the slot, which the first step would pay for
    pacer.start(runner.time_step, budget_s=0.5)
    runner.pacer = pacer
