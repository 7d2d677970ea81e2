"""How fast a model is on this machine, and how fast the memory would let it be.

Times the Runner itself, without processes or text around it. Decoding one token reads every weight
once, so the memory's read bandwidth, measured in the same run with the same threads, is its limit.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from bilin_engine import processes
from bilin_engine.checkpoints.random_weights import RandomWeights
from bilin_engine.config import ModelConfig, read_model_config
from bilin_engine.errors import BadRequestError, OutOfMemoryError
from bilin_engine.models.registry import model_class
from bilin_engine.placement.cost import ModelCost, kv_dtype_on
from bilin_engine.protocol import LoadSettings
from bilin_engine.runners.base import PrefillRow, Runner, ShouldStop, StoppedError
from bilin_engine.runners.load import device_for, load_runner, runner_from
from bilin_engine.runners.local import LocalRunner
from bilin_kernels.bench import measure_ceiling

NUM_PREFILLS = 3
NUM_READS = 8
SETTLE_S = 5.0  # beside a busy process, until the threads have followed
BUSY_START_S = 0.3
READ_BYTES = 512 * 1024**2  # well beyond any processor's cache
# Of a model in use, whose owner waits: a slow one is timed for a few steps, a fast one for many.
SMALL_READ_BYTES = 256 * 1024**2
MAX_PROMPT_TOKENS = 256
MIN_STEPS, MAX_STEPS = 4, 64
BUDGET_S = 10.0


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run's figures. Rates are tokens per second, the best prefill and the median decode step.

    bytes_per_token: weights and kv_cache that one decoded token reads, as stored. read_per_token:
    the same as they are held: a head may be in fewer bits, an embedding is only looked up in.
    share_of_bandwidth: of `read_bytes_s`, used while decoding; above 1 the weights lie in a cache.
    peak_memory_bytes: of the process, torch included, before the bandwidth was measured. device:
    the processor or the GPU, whose memory's bandwidth is meant then.
    """

    prompt_tokens: int
    new_tokens: int
    prefill_tok_s: float
    decode_tok_s: float
    bytes_per_token: int
    read_per_token: int
    read_bytes_s: float
    share_of_bandwidth: float
    peak_memory_bytes: int
    memory_bytes: dict[str, int]
    backend: str
    num_threads: int
    device: str
    load_s: float
    busy: "BusyReport | None" = None


class BusyReport(msgspec.Struct, frozen=True, kw_only=True):
    """The same beside one process that computes without a pause; decode rates are means.

    num_threads: as the load made it. kept_tok_s: decoding with as many threads as when the machine
    was idle.
    """

    prefill_tok_s: float
    decode_tok_s: float
    share_of_bandwidth: float
    num_threads: int
    kept_tok_s: float


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """prompt_tokens and new_tokens together must fit the model's context.

    beside_busy: on the processor, measure again beside a busy process.
    """

    prompt_tokens: int = 256
    new_tokens: int = 64
    beside_busy: bool = True


def measure(folder: Path, load: LoadSettings, settings: BenchSettings) -> BenchReport:
    """Loads the model in this process and times it. Raises as `load_runner`, and BadRequestError.

    Takes the time of NUM_PREFILLS prefills, `new_tokens` steps and NUM_READS reads.
    """
    start_s = time.perf_counter()
    runner = load_runner(
        folder,
        context=load.context,
        device=load.device,
        backend=load.backend,
        num_threads=load.num_threads,
        num_slots=1,
        kv_dtype=load.kv_dtype,
    )
    load_s = time.perf_counter() - start_s
    config = read_model_config(folder)
    device = device_for(config, load.device, load.backend)
    return _measured(runner, config, device, load, settings, load_s)


def measure_random(config: ModelConfig, load: LoadSettings, settings: BenchSettings) -> BenchReport:
    """`measure` for a model nobody has: weights are random, made on the device, never in a file."""
    start_s = time.perf_counter()
    device = device_for(config, load.device, load.backend)
    if device.type == "cpu":
        _require_memory(config)
    runner = runner_from(
        RandomWeights(config, device),
        context=load.context,
        device=load.device,
        backend=load.backend,
        num_threads=load.num_threads,
        num_slots=1,
        kv_dtype=load.kv_dtype,
        on_progress=lambda _stage, _fraction: None,
    )
    load_s = time.perf_counter() - start_s
    return _measured(runner, config, device, load, settings, load_s)


def _require_memory(config: ModelConfig) -> None:
    """Before the first byte: a system without room ends whatever program it likes."""
    needed = ModelCost(config).weights_bytes
    _total, free = processes.main_memory_bytes()
    if needed > free:
        raise OutOfMemoryError(
            f"the weights take {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB of main memory "
            "are free; name a GPU that holds them (--device cuda:0) or a smaller configuration"
        )


def _measured(
    runner: Runner,
    config: ModelConfig,
    device: torch.device,
    load: LoadSettings,
    settings: BenchSettings,
    load_s: float,
) -> BenchReport:
    _check(settings, runner.max_length)
    prefix = settings.prompt_tokens if model_class(config).has_bidirectional_prefix else 0
    prefill_s = min(_prefill_s(runner, settings.prompt_tokens, prefix) for _ in range(NUM_PREFILLS))
    step_s = statistics.median(_decode_steps_s(runner, settings))
    memory_bytes = runner.memory_bytes()
    peak_bytes = processes.peak_rss_bytes()
    num_threads = runner.num_threads
    is_cpu = device.type == "cpu"
    beside = _beside_busy(runner, settings, prefix) if is_cpu and settings.beside_busy else None
    backend, weights_read = runner.backend, runner.weights_read_bytes()
    runner.close()
    label = processes.cpu_label() if is_cpu else torch.cuda.get_device_name(device)
    cost = ModelCost(config)
    mean_length = settings.prompt_tokens + settings.new_tokens // 2
    kv_bytes = cost.kv_bytes(mean_length, kv_dtype=kv_dtype_on(device.type, load.kv_dtype))
    read_per_token = weights_read + kv_bytes
    if is_cpu:
        torch.set_num_threads(num_threads)
    read_bytes_s = read_bandwidth() if is_cpu else measure_ceiling(device)
    return BenchReport(
        prompt_tokens=settings.prompt_tokens,
        new_tokens=settings.new_tokens,
        prefill_tok_s=settings.prompt_tokens / prefill_s,
        decode_tok_s=1 / step_s,
        bytes_per_token=cost.weights_bytes + kv_bytes,
        read_per_token=read_per_token,
        read_bytes_s=read_bytes_s,
        share_of_bandwidth=read_per_token / step_s / read_bytes_s,
        peak_memory_bytes=peak_bytes,
        memory_bytes=memory_bytes,
        backend=backend,
        num_threads=num_threads,
        device=label,
        load_s=load_s,
        busy=beside and beside.report(settings.prompt_tokens, read_per_token / read_bytes_s),
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """Seconds beside a busy process."""

    prefill_s: float
    step_s: float
    kept_step_s: float
    num_threads: int

    def report(self, prompt_tokens: int, least_step_s: float) -> BusyReport:
        """least_step_s: of a step at the memory's full bandwidth."""
        return BusyReport(
            prefill_tok_s=prompt_tokens / self.prefill_s,
            decode_tok_s=1 / self.step_s,
            share_of_bandwidth=least_step_s / self.step_s,
            num_threads=self.num_threads,
            kept_tok_s=1 / self.kept_step_s,
        )


def _beside_busy(runner: Runner, settings: BenchSettings, prefix_len: int) -> _Beside:
    """Decodes with the idle machine's threads, then as the pacer leads, SETTLE_S after it began."""
    pacer = runner.pacer if isinstance(runner, LocalRunner) else None

    def steps(at_least_s: float) -> float:
        """Mean step of `new_tokens` steps, or of more until the time is over."""
        count, begun_s = 0, time.perf_counter()
        while count == 0 or time.perf_counter() - begun_s < at_least_s:
            runner.truncate(0, settings.prompt_tokens)
            _decode_steps_s(runner, settings)
            count += settings.new_tokens
        return (time.perf_counter() - begun_s) / count

    with _busy_process():
        if isinstance(runner, LocalRunner):
            runner.pacer = None
        kept_step_s = steps(0.0)
        if isinstance(runner, LocalRunner) and pacer is not None:
            runner.pacer = pacer
            steps(SETTLE_S)
        step_s = steps(0.0) if pacer is not None else kept_step_s
        num_threads = runner.num_threads
        prefill_s = min(
            _prefill_s(runner, settings.prompt_tokens, prefix_len) for _ in range(NUM_PREFILLS)
        )
    return _Beside(prefill_s, step_s, kept_step_s, num_threads)


@contextmanager
def _busy_process() -> Iterator[None]:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(BUSY_START_S)
        yield
    finally:
        busy.kill()
        busy.wait()


@dataclass(frozen=True, slots=True)
class RunnerRates:
    """What a loaded runner reached. Tokens per second; read_bytes_s 0.0 = not measured."""

    decode_tok_s: float
    prefill_tok_s: float
    prompt_tokens: int
    new_tokens: int
    read_bytes_s: float


def measure_runner(
    runner: Runner,
    *,
    has_prefix: bool,
    on_progress: Callable[[float], None],
    should_stop: ShouldStop,
) -> RunnerRates:
    """Times a runner in use; what its slot 0 held is gone then. Takes about BUDGET_S and a prompt.

    has_prefix: the model reads its prompt in both directions. Raises StoppedError.
    """
    prompt_tokens = max(1, min(MAX_PROMPT_TOKENS, runner.max_length // 2))
    prefix_len = prompt_tokens if has_prefix else 0
    prefill_s = float("inf")
    begun_s = time.perf_counter()
    for _ in range(NUM_PREFILLS):
        prefill_s = min(prefill_s, _prefill_s(runner, prompt_tokens, prefix_len, should_stop))
        if time.perf_counter() - begun_s > BUDGET_S / 2:
            break  # a slow machine: once is what there is time for
    on_progress(0.5)
    steps_s: list[float] = []
    room = runner.max_length - prompt_tokens
    begun_s = time.perf_counter()
    while len(steps_s) < min(room, MAX_STEPS):
        if should_stop():
            raise StoppedError
        start_s = time.perf_counter()
        token = len(steps_s) % runner.vocab_size
        runner.decode([0], [token], [prompt_tokens + len(steps_s)], should_stop)
        steps_s.append(time.perf_counter() - start_s)
        if len(steps_s) >= MIN_STEPS and time.perf_counter() - begun_s > BUDGET_S:
            break
        on_progress(0.5 + 0.5 * len(steps_s) / min(room, MAX_STEPS))
    runner.truncate(0, 0)
    is_on_cpu = all(name.startswith("cpu") for name in runner.memory_bytes())
    has_room = processes.main_memory_bytes()[1] > 4 * SMALL_READ_BYTES
    return RunnerRates(
        decode_tok_s=1 / statistics.median(steps_s),
        prefill_tok_s=prompt_tokens / prefill_s,
        prompt_tokens=prompt_tokens,
        new_tokens=len(steps_s),
        read_bytes_s=read_bandwidth(SMALL_READ_BYTES) if is_on_cpu and has_room else 0.0,
    )


def read_bandwidth(size_bytes: int = READ_BYTES) -> float:
    """Bytes/s of reading main memory with torch's current threads: the best of several sums."""
    # int64: a sum of floats is bound by arithmetic on one thread, this one is not
    block = torch.ones(size_bytes // 8, dtype=torch.int64)
    best_s = min(_timed(block.sum) for _ in range(NUM_READS))
    return size_bytes / best_s


def _check(settings: BenchSettings, max_length: int) -> None:
    if settings.prompt_tokens < 1 or settings.new_tokens < 1:
        raise BadRequestError(
            f"{settings.prompt_tokens} prompt tokens and {settings.new_tokens} new ones; "
            "at least 1 of each is needed"
        )
    total = settings.prompt_tokens + settings.new_tokens
    if total > max_length:
        raise BadRequestError(
            f"{settings.prompt_tokens} prompt tokens and {settings.new_tokens} new ones are "
            f"{total}; the model holds {max_length}"
        )


def _prefill_s(
    runner: Runner,
    prompt_tokens: int,
    prefix_len: int,
    should_stop: ShouldStop | None = None,
) -> float:
    runner.truncate(0, 0)
    row = PrefillRow(
        slot=0,
        token_ids=[index % runner.vocab_size for index in range(prompt_tokens)],
        position_ids=list(range(prompt_tokens)),
        prefix_len=prefix_len,
    )
    return _timed(lambda: runner.prefill([row], "last", should_stop))


def _decode_steps_s(runner: Runner, settings: BenchSettings) -> list[float]:
    """Each step's time; every step appends to what the last prefill left in slot 0."""
    steps_s = []
    for index in range(settings.new_tokens):
        position = settings.prompt_tokens + index
        start_s = time.perf_counter()
        runner.decode([0], [index % runner.vocab_size], [position])
        steps_s.append(time.perf_counter() - start_s)
    return steps_s


def _timed(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
