"""Does this machine compute what it should? One report that a person can send.

Every part is checked against something simpler: kernels against the reference, an all-reduce
against a plain sum, several ranks against one. What fails is not used: the report names the
fastest way to run a model that passed. Ranks are processes, as in use; none of them listens.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import torch

from bilin_engine import __version__, processes
from bilin_engine.bench import read_bandwidth
from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.collectives.board import make_rendezvous, remove_rendezvous
from bilin_engine.collectives.join import join
from bilin_engine.config import GLMConfig, QuantizationConfig, QuantizationScheme
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.layers.cpu_linear import CpuLinear
from bilin_engine.layers.linear import ReferenceLinear
from bilin_engine.layers.torch_cpu_linear import TorchInt4Linear, Workspace
from bilin_engine.protocol import LoadSettings, Shutdown, WorkerLoad, WorkerLogits
from bilin_engine.server.ranks import lay_out
from bilin_engine.server.selftest_gate import (
    PEERS,
    SPLIT,
    SelftestDone,
    SelftestOutcome,
    SelftestProgress,
)
from bilin_engine.server.tasks import Task
from bilin_engine.server.worker_pool import WorkerLimits, WorkerPool
from bilin_engine.server.worker_process import WorkerCommand
from bilin_kernels import check as kernels_check
from bilin_kernels import cpu_ops

State = Literal["passed", "failed", "skipped"]
NUM_CHECKS = 9  # without those of each GPU; for a progress bar
SIZES = (24 * 1024, 256 * 1024, 4 * 1024**2, 64 * 1024**2)  # bytes of one all-reduce
RANK_TIMEOUT_S = 60.0
# A checkout compiles two builds of every kernel first.
KERNELS_TIMEOUT_S = 300.0
NOTHING_CHECKED = 2  # exit status of bilin_kernels.check
RANK_COMMAND = (sys.executable, "-P", "-m", "bilin_engine.selftest", "--all-reduce")
KERNELS = "kernels against reference"
# float32 sums of up to 8 values near 1, in another order: 8 * 2**-24 and some room.
SUM_TOLERANCE = 2e-6
# float32 log-probs of three layers on several ranks; derived in tests/engine/test_tensor_parallel.
LOGPROB_TOLERANCE = 1e-4
# bfloat16 keeps 8 bits of scale and activation: 1 % of an output's size holds all its roundings.
INT4_TOLERANCE = 0.01


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check. `detail`: the figure when it passed, the reason when not."""

    name: str
    state: State
    detail: str
    seconds: float


class SelftestReport(msgspec.Struct, frozen=True, kw_only=True):
    """mode and collective: the fastest way to run a model over several devices that passed.

    collectives: all that did.
    """

    version: str
    torch: str
    devices: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    mode: Literal["tensor_parallel", "layer_split", "single"]
    collective: str
    collectives: tuple[str, ...]
    seconds: float

    @property
    def outcome(self) -> SelftestOutcome:
        """What a load has to know of it."""
        failed = tuple(check.name for check in self.checks if check.state == "failed")
        unknown = any(check.name == KERNELS and check.state == "skipped" for check in self.checks)
        return SelftestOutcome(
            mode=self.mode,
            collectives=self.collectives,
            failed=failed,
            kernels_passed=KERNELS not in failed,
            is_known=not unknown,
        )

    @property
    def has_passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.state != "failed" for check in self.checks)


class _Skipped(Exception):  # noqa: N818 - an outcome, not an error
    """A check that this machine cannot make; the text says why."""


def run(gpus: Sequence[int], world_size: int, on_check: Callable[[str], None]) -> SelftestReport:
    """All checks; `on_check` hears each one's name before it begins.

    gpus: indices; empty = every one there is. world_size: ranks on the processor where there are
    fewer than two GPUs. Raises BadRequestError for a GPU that is not there and for ranks that
    cannot be.
    """
    if not 1 <= world_size <= processes.most_at_once():
        raise BadRequestError(
            f"world_size {world_size} is not possible; it must be from 1 to "
            f"{processes.most_at_once()} on {processes.num_usable_threads()} processors"
        )
    begun_s = time.monotonic()
    devices = _devices(gpus)
    is_cuda = len(devices) > 1
    ranks = devices if is_cuda else ["cpu"] * world_size
    collectives = ["nccl", "shared_memory"] if is_cuda else ["shared_memory", "gloo"]
    results: list[CheckResult] = []

    def check(name: str, work: Callable[[], str]) -> bool:
        on_check(name)
        results.append(_checked(name, work))
        return results[-1].state == "passed"

    check(KERNELS, lambda: _check_kernels(devices))
    check(PEERS, lambda: _check_peers(devices))
    sums = [
        name
        for name in collectives
        if check(f"all-reduce, {name}", lambda name=name: _check_all_reduce(ranks, name))
    ]
    with tempfile.TemporaryDirectory(prefix="bilin-selftest-") as folder:
        model = _write_model(Path(folder) / "model", len(ranks))
        names = ",".join(dict.fromkeys(ranks))
        parallel = [
            name
            for name in sums
            if check(
                f"tensor parallel against one rank, {name}",
                lambda name=name: _check_ranks(model, names, len(ranks), name),
            )
        ]
        split = check(SPLIT, lambda: _check_split(model, names))
    check("eager against graph", lambda: _check_graph(devices))
    for device in [*devices, "cpu"]:
        check(f"read bandwidth, {device}", lambda device=device: _bandwidth(device))
    return SelftestReport(
        version=__version__,
        torch=torch.__version__,
        devices=(*(torch.cuda.get_device_name(d) for d in devices), processes.cpu_label()),
        checks=tuple(results),
        mode="tensor_parallel" if parallel else "layer_split" if split else "single",
        collective=parallel[0] if parallel else "",
        collectives=tuple(parallel),
        seconds=time.monotonic() - begun_s,
    )


_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}
_MODES = {
    "tensor_parallel": "tensor parallel 张量并行",
    "layer_split": "layer split 按层分放",
    "single": "one device 单设备",
}


def report_text(report: SelftestReport) -> str:
    """The report as a person reads and sends it."""
    lines = [f"Bilin {report.version}, torch {report.torch}; {'; '.join(report.devices)}"]
    for check in report.checks:
        mark = _MARKS[check.state]
        lines.append(f"{mark:<7}{check.name:<47}{check.seconds:6.1f} s  {check.detail}")
    way = f" over {report.collective}" if report.collective else ""
    lines.append(f"Use over several devices 多设备方式: {_MODES[report.mode]}{way}")
    failed = [check.name for check in report.checks if check.state == "failed"]
    if failed:
        lines.append(f"Not used, because it failed 未通过，不予使用: {'; '.join(failed)}")
    lines.append(f"{report.seconds:.0f} s")
    return "\n".join(lines)


def _devices(gpus: Sequence[int]) -> list[str]:
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in gpus:
        if index >= there:
            raise BadRequestError(f"there is no GPU {index}; torch sees {there}")
    return [f"cuda:{index}" for index in gpus or range(there)]


# A check that hangs or tells nonsense failed, as one that raises did: the others still count.
_FAILURES = (
    *(BilinError, RuntimeError, OSError, AssertionError, ImportError, ValueError),
    subprocess.SubprocessError,
)


def _checked(name: str, work: Callable[[], str]) -> CheckResult:
    begun_s = time.monotonic()
    state: State = "passed"
    try:
        detail = work()
    except _Skipped as skipped:
        state, detail = "skipped", str(skipped)
    except _FAILURES as error:
        state, detail = "failed", str(error) or type(error).__name__
    return CheckResult(name=name, state=state, detail=detail, seconds=time.monotonic() - begun_s)


def _check_kernels(devices: Sequence[str]) -> str:
    if devices:
        return _check_cuda_kernels(devices)
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for n, k, group_size in ((96, 64, 32), (256, 512, 128), (1024, 1024, 128)):
        scheme = QuantizationScheme(4, group_size)
        weight = torch.randn(n, k, generator=generator) / k**0.5
        quantized = int4.quantize(weight, scheme, "selftest", torch.float32)
        packed = int4.pack(quantized.codes, 4)
        fast = (
            CpuLinear(packed, quantized.scales, k, 4, "selftest")
            if cpu_ops.is_available()
            else TorchInt4Linear(packed, quantized.scales, k, Workspace(), "selftest")
        )
        exact = ReferenceLinear(packed, quantized.scales, k, 4)
        for m in (1, 3, 130):
            x = torch.randn(m, k, generator=generator)
            expected = exact(x)
            worst = max(worst, float((fast(x) - expected).norm() / expected.norm()))
    if worst > INT4_TOLERANCE:
        raise BilinError(f"INT4 on the processor is off by {worst:.2%}; {INT4_TOLERANCE:.0%} is")
    return f"INT4 on the processor within {worst:.2%} of the reference"


def _check_cuda_kernels(devices: Sequence[str]) -> str:
    """The kernels' own check on one card of each kind."""
    kinds = {torch.cuda.get_device_name(device): device for device in reversed(devices)}
    said = {card: _check_card(device) for card, device in kinds.items()}
    return "; ".join(said.values())


def _check_card(device: str) -> str:
    """In a process of its own: a kernel at fault takes it along."""
    command = [sys.executable, "-P", "-m", "bilin_engine.selftest", "--kernels"]
    command += ["--parent", str(os.getpid()), "--device", device.removeprefix("cuda:")]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=KERNELS_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        message = f"{device}: not checked within {KERNELS_TIMEOUT_S:g} s"
        raise _Skipped(message) from error
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
    if done.returncode == NOTHING_CHECKED:
        raise _Skipped(f"{device}: {lines[-1]}")
    if done.returncode:
        raise BilinError(f"the CUDA kernels' check failed on {device}: {lines[-1]}")
    return f"{device}: {lines[-1]}"


def _check_peers(devices: Sequence[str]) -> str:
    """Copies a pattern between every two GPUs and reads it back: some lie about peer access."""
    if len(devices) < 2:
        raise _Skipped("fewer than two GPUs")
    direct = 0
    for source in devices:
        for target in devices:
            if source == target:
                continue
            pattern = torch.arange(4 * 1024**2, dtype=torch.int32, device=source)
            copied = pattern.to(target)
            if not torch.equal(copied.cpu(), pattern.cpu()):
                raise BilinError(f"data copied from {source} to {target} arrived changed")
            direct += torch.cuda.can_device_access_peer(
                torch.device(source).index, torch.device(target).index
            )
    return f"{direct} of {len(devices) * (len(devices) - 1)} ways are direct; all data arrived"


def _check_all_reduce(ranks: Sequence[str], collective: str) -> str:
    """Every rank, a process, sums and compares with the sum it makes alone."""
    folder = make_rendezvous(len(ranks))
    children: list[subprocess.Popen[bytes]] = []
    try:
        for rank, device in enumerate(ranks):
            command = [*RANK_COMMAND, "--device", device]
            command += ["--folder", str(folder), "--rank", str(rank), "--collective", collective]
            command += ["--world-size", str(len(ranks)), "--parent", str(os.getpid())]
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        outputs = [child.communicate(timeout=RANK_TIMEOUT_S)[0] for child in children]
    except subprocess.TimeoutExpired as error:
        raise BilinError(f"a rank did not answer within {RANK_TIMEOUT_S:g} s") from error
    finally:
        for child in children:
            child.kill()
            child.wait()
        remove_rendezvous(folder)
    reports = []
    for rank, (child, output) in enumerate(zip(children, outputs, strict=True)):
        if child.returncode:
            raise BilinError(f"rank {rank} failed: {processes.exit_sentence(child.returncode)}")
        reports.append(json.loads(output))
    worst = max(report["error"] for report in reports)
    if worst > SUM_TOLERANCE:
        raise BilinError(f"sums are off by {worst:.1e}; {SUM_TOLERANCE:.0e} is allowed")
    slowest = [max(report["seconds"][i] for report in reports) for i in range(len(SIZES))]
    times = ", ".join(
        f"{size // 1024:,} KiB {seconds * 1e3:.2f} ms"
        for size, seconds in zip(SIZES, slowest, strict=True)
    )
    return f"{len(ranks)} ranks, error {worst:.1e}: {times}"


def _write_model(folder: Path, num_ranks: int) -> Path:
    """A random model that `num_ranks` divide."""
    config = GLMConfig.create(
        num_layers=3,
        hidden_size=64 * num_ranks,
        num_attention_heads=2 * num_ranks,
        inner_hidden_size=128 * num_ranks,
        vocab_size=96 * num_ranks,
        max_sequence_length=64,
        dtype="float32",
    )
    generator = torch.Generator().manual_seed(1)
    tensors = (
        (
            spec.name,
            torch.ones(spec.shape)
            if "layernorm.weight" in spec.name
            else torch.randn(spec.shape, generator=generator) / spec.shape[-1] ** 0.5,
        )
        for spec in config.tensors()
    )
    quantization = QuantizationConfig.uniform(4, 64)
    return write_model_folder(folder, config, tensors, quantization=quantization)


def _logprobs(model: Path, settings: LoadSettings) -> torch.Tensor:
    """What workers, loaded as in use, compute of 32 ids; float32 [32, V]."""
    from safetensors.torch import load_file

    layout = lay_out(settings, model)
    command = WorkerCommand(log_level="CRITICAL")
    pool = WorkerPool(command, WorkerLimits(), lambda *_: None, layout.world_size)
    task = Task(Shutdown(1))
    out = model.parent / "logprobs.safetensors"
    try:
        pool.load(
            task,
            WorkerLoad(
                id=pool.next_id(),
                folder=str(model),
                settings=settings,
                world_size=layout.world_size,
                rendezvous=str(pool.rendezvous or ""),
                stages=layout.stages,
                head_stage=layout.head_stage,
            ),
            lambda _progress: None,
        )
        ids = tuple((7 * i * i + 5) % 96 for i in range(32))
        request = WorkerLogits(
            id=pool.next_id(),
            token_ids=ids,
            position_ids=tuple(range(32)),
            prefix_len=20,
            path=str(out),
        )
        pool.logits(task, request)
        return load_file(out)["logprobs"].clone()
    finally:
        pool.close()
        with suppress(OSError):
            out.unlink()


def _compare(model: Path, device: str, settings: LoadSettings) -> str:
    alone = LoadSettings(device=device.split(",")[0], num_threads=1, dtype="float32")
    error = float((_logprobs(model, settings) - _logprobs(model, alone)).abs().max())
    if not error <= LOGPROB_TOLERANCE:
        raise BilinError(f"log-probs differ by {error:.1e}; {LOGPROB_TOLERANCE:.0e} is allowed")
    return f"log-probs within {error:.1e}"


def _check_ranks(model: Path, devices: str, world_size: int, collective: str) -> str:
    settings = LoadSettings(
        device=devices,
        mode="tensor_parallel",
        world_size=world_size,
        collective=collective,  # pyright: ignore[reportArgumentType] - one of its names
        num_threads=1,
        dtype="float32",
    )
    return f"{world_size} ranks, {_compare(model, devices, settings)}"


def _check_split(model: Path, devices: str) -> str:
    settings = LoadSettings(device=devices, mode="layer_split", num_threads=1, dtype="float32")
    return _compare(model, devices, settings)


def _check_graph(devices: Sequence[str]) -> str:
    if not devices:
        raise _Skipped("no GPU: there are no captured graphs")
    for device in devices:
        with torch.cuda.device(device):
            weight = torch.randn(256, 256, device=device)
            x = torch.randn(4, 256, device=device)
            eager = (x @ weight).relu() @ weight
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                _ = (x @ weight).relu() @ weight
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # torch's own stream for captures is the first device's that captured.
            with torch.cuda.graph(graph, stream=stream):
                captured = (x @ weight).relu() @ weight
            captured.fill_(float("nan"))
            graph.replay()
            torch.cuda.synchronize()
            if not torch.equal(captured, eager):
                raise BilinError(
                    f"{device}: a captured graph computes something else than the calls alone"
                )
    return f"the same bits on {len(devices)}"


def _bandwidth(device: str) -> str:
    if device == "cpu":
        return f"{read_bandwidth(256 * 1024**2) / 1e9:.1f} GB/s"
    block = torch.ones(1024**3 // 4, dtype=torch.int32, device=device)
    block.sum()
    torch.cuda.synchronize(device)
    begun_s = time.monotonic()
    for _ in range(5):
        block.sum()
    torch.cuda.synchronize(device)
    return f"{5 * 1024**3 / (time.monotonic() - begun_s) / 1e9:.0f} GB/s"


def main(arguments: Sequence[str]) -> None:
    """`--report`: the whole test for a supervisor. The others are checks' own processes.

    `--kernels`: of one card. `--all-reduce`: one rank.
    """
    processes.order_gpus_by_bus()
    if arguments[:1] == ["--report"]:
        _report_main(arguments[1:])
    elif arguments[:1] == ["--kernels"]:
        _kernels_main(arguments[1:])
    else:
        _rank_main(arguments[1:])


def _report_main(arguments: Sequence[str]) -> None:
    """One JSON line as each check begins and one at the end, as server.selftest_gate reads them."""
    parser = argparse.ArgumentParser(prog="python -m bilin_engine.selftest --report")
    parser.add_argument("--gpus", default="")
    for name in ("world-size", "parent"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args(arguments)
    processes.end_with_parent(options.parent)
    gpus = tuple(int(index) for index in options.gpus.split(",") if index)
    begun: list[str] = []

    def say(line: SelftestProgress | SelftestDone) -> None:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    def on_check(name: str) -> None:
        say(SelftestProgress(name, len(begun), NUM_CHECKS + len(gpus)))
        begun.append(name)

    say(SelftestDone(run(gpus, options.world_size, on_check).outcome))


def _kernels_main(arguments: Sequence[str]) -> None:
    """bilin_kernels.check, which knows no parent; exits with its status."""
    parser = argparse.ArgumentParser(prog="python -m bilin_engine.selftest --kernels")
    parser.add_argument("--device", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    processes.end_with_parent(options.parent)
    sys.exit(kernels_check.main(["--short", "--device", options.device]))


def _rank_main(arguments: Sequence[str]) -> None:
    """One rank of the all-reduce check; its report goes to stdout."""
    parser = argparse.ArgumentParser(prog="python -m bilin_engine.selftest --all-reduce")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--collective", required=True)
    parser.add_argument("--device", required=True)
    for name in ("rank", "world-size", "parent"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args(arguments)
    processes.end_with_parent(options.parent)
    torch.set_num_threads(1)
    device = torch.device(options.device)
    group = join(
        options.folder, options.rank, options.world_size, name=options.collective, device=device
    )
    seconds, worst = [], 0.0
    for size in SIZES:
        parts = [_part(rank, size) for rank in range(options.world_size)]
        expected = sum(parts)
        own = parts[options.rank].to(device)
        group.all_reduce(own.clone())  # the first one also connects
        begun_s = time.monotonic()
        found = group.all_reduce(own).cpu()
        seconds.append(time.monotonic() - begun_s)
        worst = max(worst, float((found - expected).abs().max()))
    sys.stdout.write(json.dumps({"error": worst, "seconds": seconds}))


def _part(rank: int, size_bytes: int) -> torch.Tensor:
    """What a rank adds: values below 1, made in the same way on every rank."""
    count = size_bytes // 4
    return ((torch.arange(count, dtype=torch.int64) * (2 * rank + 1)) % 1009).float() / 1009


if __name__ == "__main__":
    main(sys.argv[1:])
