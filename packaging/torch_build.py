"""Which build of torch fits this machine, decided before torch or CUDA is there.

The driver's version comes from the kernel module or nvidia-smi, the cards' compute capability from
nvidia-smi. On Linux PyPI's torch 2.13 is the CUDA 13 build, which needs driver 580 and sm_75; the
CPU build has the local version `+cpu`, so asking for `torch==2.13.0+cpu` can never fetch CUDA's
gigabytes. Where pip's own settings (index, find-links, environment) do not lead to a `+cpu` wheel,
PyTorch's CPU index is added for that one installation.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TORCH_VERSION = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA126_INDEX = "https://download.pytorch.org/whl/cu126"
DRIVER_FOR_CUDA13 = 580
DRIVER_FOR_CUDA12 = 525
LOWEST_CAPABILITY = 7.5  # sm_75, Turing: CUDA 13 and our kernels begin there
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
# Download sizes in MB of torch and what only torch needs: the CPU wheel; PyPI's CUDA 13 set.
CPU_DOWNLOAD_MB = 190
CUDA_DOWNLOAD_MB = 2730
CPU_DISK_MB = 900
CUDA_DISK_MB = 7500


# As they are told.
BUILDS = {"cpu": "CPU", "cuda12": "CUDA 12.6", "cuda13": "CUDA 13"}


class NvidiaSmiSilentError(Exception):
    """nvidia-smi is there and does not answer: what driver and cards there are is not known."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the NVIDIA driver says. `driver` None: none there. `capabilities`: one per card.

    `is_silent`: nvidia-smi was asked and did not answer, so the rest may be more than this.
    """

    driver: str | None
    capabilities: tuple[float, ...] = ()
    is_silent: bool = False

    @property
    def driver_major(self) -> int:
        """580 for 580.65.06; 0 without a driver."""
        return int(self.driver.split(".")[0]) if self.driver else 0


@dataclass(frozen=True, slots=True)
class Decision:
    """`build`: "cpu", "cuda13" or "cuda12" (a CUDA 12.6 build, if there is one that fits)."""

    build: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """What to ask pip for. `options`: further options of `pip install`."""

    build: str
    requirement: str
    options: tuple[str, ...]
    download_mb: int
    disk_mb: int


def read_driver_version(kernel_module: Path = KERNEL_MODULE) -> str | None:
    """The NVIDIA driver's version, quickly: from the kernel module, else from nvidia-smi.

    Raises NvidiaSmiSilentError.
    """
    try:
        return parse_kernel_module(kernel_module.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        lines = _nvidia_smi("driver_version")
        return lines[0] if lines and lines[0][:1].isdigit() else None


def read_gpu() -> Gpu:
    """Asks the driver for its version and the cards; an empty answer where there is none."""
    driver, lines, is_silent = None, [], False
    try:
        driver = read_driver_version()
        lines = _nvidia_smi("compute_cap")
    except NvidiaSmiSilentError:
        is_silent = True
    capabilities = tuple(float(line) for line in lines if re.fullmatch(r"\d+\.\d+", line))
    return Gpu(driver, capabilities, is_silent)


def parse_kernel_module(text: str) -> str | None:
    """`580.65.06` out of /proc/driver/nvidia/version."""
    found = re.search(r"NVIDIA.*Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found.group(1) if found else None


def _nvidia_smi(field: str) -> list[str]:
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, f"--query-gpu={field}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NvidiaSmiSilentError from error
    if done.returncode != 0:
        raise NvidiaSmiSilentError
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def decide(wish: str, gpu: Gpu, kept: str = "") -> Decision:
    """The build that fits. `wish`: "auto", "cpu" or "cuda".

    kept: the build that was chosen by this wish before; it stays where nvidia-smi is silent.
    """
    has_cuda12_driver = DRIVER_FOR_CUDA12 <= gpu.driver_major < DRIVER_FOR_CUDA13
    if wish == "cpu":
        return Decision("cpu", "CPU 版：按 --cpu", "CPU build, as --cpu asks")
    if gpu.is_silent and kept:
        return Decision(
            kept,
            f"{BUILDS[kept]} 版：nvidia-smi 没有应答，保留原来的选择（--auto 重新选择）",
            f"{BUILDS[kept]} build, as before: nvidia-smi does not answer; --auto chooses again",
        )
    if wish == "cuda":
        build = "cuda12" if has_cuda12_driver else "cuda13"
        return Decision(build, "CUDA 版：按 --cuda", "CUDA build, as --cuda asks")
    if gpu.driver is None and gpu.is_silent:
        return Decision(
            "cpu", "CPU 版：nvidia-smi 没有应答", "CPU build: nvidia-smi does not answer"
        )
    if gpu.driver is None:
        return Decision("cpu", "CPU 版：没有 NVIDIA 驱动", "CPU build: no NVIDIA driver here")
    if gpu.capabilities and max(gpu.capabilities) < LOWEST_CAPABILITY:
        best = max(gpu.capabilities)
        return Decision(
            "cpu",
            f"CPU 版：显卡计算能力 {best}，需要 {LOWEST_CAPABILITY} 以上",
            f"CPU build: the card's compute capability is {best}; {LOWEST_CAPABILITY} is needed",
        )
    if gpu.driver_major >= DRIVER_FOR_CUDA13:
        return Decision(
            "cuda13", f"CUDA 13 版：驱动 {gpu.driver}", f"CUDA 13 build: driver {gpu.driver}"
        )
    if has_cuda12_driver:
        return Decision(
            "cuda12",
            f"CUDA 12.6 版：驱动 {gpu.driver}",
            f"CUDA 12.6 build: driver {gpu.driver} is too old for CUDA 13",
        )
    return driver_too_old(gpu)


def driver_too_old(gpu: Gpu) -> Decision:
    """No CUDA build fits this driver: the CPU meanwhile."""
    return Decision(
        "cpu",
        f"暂用 CPU 版：驱动 {gpu.driver} 太旧，请升级到 {DRIVER_FOR_CUDA13} 或更新",
        f"CPU build for now: driver {gpu.driver} is too old; install {DRIVER_FOR_CUDA13} or later",
    )


def find_build(
    build: str, list_versions: Callable[[Sequence[str]], list[str]]
) -> TorchBuild | None:
    """What to ask pip for, or None where no such build exists.

    `list_versions(options)`: the versions of torch that pip sees with these options.
    """
    if build == "cuda13":
        # === compares the text, so a +cpu wheel that pip also sees does not count.
        requirement = f"torch==={TORCH_VERSION}"
        return TorchBuild(build, requirement, (), CUDA_DOWNLOAD_MB, CUDA_DISK_MB)
    if build == "cuda12":
        for version in list_versions(("--index-url", CUDA126_INDEX)):
            if version.endswith("+cu126") and version.startswith(("2.13.", "2.12.", "2.11.")):
                options = ("--extra-index-url", CUDA126_INDEX)
                return TorchBuild(
                    build, f"torch=={version}", options, CUDA_DOWNLOAD_MB, CUDA_DISK_MB
                )
        return None
    wanted = f"{TORCH_VERSION}+cpu"
    options = () if wanted in list_versions(()) else ("--extra-index-url", CPU_INDEX)
    return TorchBuild("cpu", f"torch=={wanted}", options, CPU_DOWNLOAD_MB, CPU_DISK_MB)
