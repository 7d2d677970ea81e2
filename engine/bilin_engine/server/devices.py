"""Which devices there are, read without creating a CUDA context: NVML for GPUs, the system for CPU.

NVML comes with the driver; it is asked through ctypes, so that the supervisor needs no package for
it. Without a driver the list is the CPU alone, and so it is where what is installed beside Bilin
computes on none: a model would be planned for a GPU that its worker cannot reach.
"""

import ctypes
import functools
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bilin_engine import processes
from bilin_engine.protocol import DeviceInfo

logger = logging.getLogger(__name__)

_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
OLDEST_CAPABILITY = (7, 5)  # Turing; bilin_kernels.loader refuses older ones
_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE, nvml.h
_MOST_PROCESSES = 128  # on one GPU; NVML answers with an error where there are more
_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE: Windows does not tell it of a process


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of nvmlDeviceGetComputeRunningProcesses_v3, nvml.h."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


@dataclass(frozen=True, slots=True)
class OwnMemory:
    """Whose memory is the loaded model's.

    told_bytes: what its workers said they hold, by device. pids: theirs; on GPUs they hold more
    than they know of: CUDA's context, what torch keeps, what came after the load.
    """

    told_bytes: Mapping[str, int] = field(default_factory=dict)
    pids: tuple[int, ...] = ()


NOTHING_LOADED = OwnMemory()


def list_devices(own: OwnMemory = NOTHING_LOADED) -> tuple[DeviceInfo, ...]:
    """GPUs first, then the CPU. own: what the loaded model holds of them."""
    total_bytes, free_bytes = processes.main_memory_bytes()
    cpu = DeviceInfo(
        name="cpu",
        label=processes.cpu_label(),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        own_bytes=own.told_bytes.get("cpu", 0),
    )
    return (*_list_gpus(own), cpu)


def driver_version() -> str:
    """The NVIDIA driver's, as "580.65.06"; "" without one."""
    try:
        nvml = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ""
    if nvml.nvmlInit_v2():
        return ""
    try:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        code = nvml.nvmlSystemGetDriverVersion(text, _NAME_BYTES)
        return "" if code else text.value.decode("utf-8", "replace")
    finally:
        nvml.nvmlShutdown()


def _list_gpus(own: OwnMemory) -> list[DeviceInfo]:
    try:
        nvml = ctypes.CDLL(_LIBRARY)
    except OSError:
        return []  # no NVIDIA driver
    if code := nvml.nvmlInit_v2():
        logger.warning("the NVIDIA driver is installed but does not answer (NVML error %d)", code)
        return []
    try:
        count = ctypes.c_uint()
        if code := nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            logger.warning("the GPUs cannot be counted (NVML error %d)", code)
            return []
        if count.value and (reason := why_unused(_cuda_of_driver(nvml))):
            _tell_once(f"the GPUs here are not used: {reason}")
            return []
        uuids = [_uuid(nvml, index) for index in range(count.value)]
        shown = visible_gpus(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))
        found = (_gpu(nvml, index, number, own) for number, index in enumerate(shown))
        return [gpu for gpu in found if gpu is not None]
    finally:
        nvml.nvmlShutdown()


@functools.cache  # asked every two seconds by the Models page
def why_unused(driver_cuda: int, torch_folder: Path | None = None) -> str:
    """Why nothing that is installed computes on GPUs; "" if it does, as far as files tell.

    driver_cuda: the newest major version of CUDA that the driver runs, 0 = unknown. torch_folder:
    the package's; None = the installed one. PyTorch is not imported.
    """
    build = _cuda_of_torch(torch_folder or _package_folder("torch"))
    if build == 0:
        return "PyTorch is installed without CUDA"
    if build is not None and 0 < driver_cuda < build:
        return f"PyTorch needs a driver for CUDA {build}, this one is for CUDA {driver_cuda}"
    try:
        has_launcher = importlib.util.find_spec("cuda.core") is not None
    except ModuleNotFoundError:
        has_launcher = False
    return "" if has_launcher else "the kernels need cuda-core; pip install cuda-core"


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _cuda_of_torch(folder: Path | None) -> int | None:
    """The major version of CUDA that a torch was built for, 0 = none, None = not to be read."""
    try:
        text = (folder / "version.py").read_text(encoding="utf-8") if folder is not None else ""
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^cuda\b[^=\n]*= *(None|'(\d+))", text, re.MULTILINE)
    return None if found is None else int(found[2] or 0)


def _cuda_of_driver(nvml: ctypes.CDLL) -> int:
    """13 for a driver that runs CUDA 13.0; 0 where it does not say."""
    version = ctypes.c_int()
    try:
        code = nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
    except AttributeError:  # older than that question
        return 0
    return 0 if code else version.value // 1000


def visible_gpus(uuids: Sequence[str], chosen: str | None) -> list[int]:
    """NVML's numbers of the GPUs that CUDA sees, as it numbers them ("cuda:0" is the first).

    uuids: by NVML's number. chosen: CUDA_VISIBLE_DEVICES, numbers or beginnings of UUIDs; the
    first that names no GPU hides itself and all after it, as in CUDA. Parts of a GPU (MIG) are not
    told apart: the GPUs are listed as if nothing were chosen.
    """
    if chosen is None or "MIG-" in chosen:
        return list(range(len(uuids)))
    found: list[int] = []
    for name in (part.strip() for part in chosen.split(",")):
        if name.isdecimal():
            matches = [int(name)] if int(name) < len(uuids) else []
        else:
            matches = [i for i, uuid in enumerate(uuids) if name and uuid.startswith(name)]
        if len(matches) != 1 or matches[0] in found:
            break
        found += matches
    return found


@functools.cache
def _tell_once(sentence: str) -> None:
    logger.warning("%s", sentence)


def _uuid(nvml: ctypes.CDLL, index: int) -> str:
    handle = ctypes.c_void_p()
    text = ctypes.create_string_buffer(_NAME_BYTES)
    code = nvml.nvmlDeviceGetHandleByIndex_v2(
        index, ctypes.byref(handle)
    ) or nvml.nvmlDeviceGetUUID(handle, text, _NAME_BYTES)
    return "" if code else text.value.decode("utf-8", "replace")


def _gpu(nvml: ctypes.CDLL, index: int, cuda_number: int, own: OwnMemory) -> DeviceInfo | None:
    """None for one that cannot be read or used. index: NVML's; cuda_number: CUDA's."""
    handle = ctypes.c_void_p()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    memory, major, minor = _Memory(), ctypes.c_int(), ctypes.c_int()
    code = (
        nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        or nvml.nvmlDeviceGetName(handle, name, _NAME_BYTES)
        or nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
        or nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    )
    if code:
        logger.warning("GPU %d cannot be read (NVML error %d)", index, code)
        return None
    label = name.value.decode("utf-8", "replace")
    capability = (major.value, minor.value)
    if capability < OLDEST_CAPABILITY:
        number = ".".join(map(str, capability))
        _tell_once(f"{label} is too old for the kernels (compute capability {number})")
        return None
    told_bytes = own.told_bytes.get(f"cuda:{cuda_number}", 0)
    return DeviceInfo(
        name=f"cuda:{cuda_number}",
        label=label,
        total_bytes=memory.total,
        free_bytes=memory.free,
        # In a container NVML sees other pids than we do: then only what was told is known.
        own_bytes=max(told_bytes, _held_by(nvml, handle, own.pids)),
    )


def _held_by(nvml: ctypes.CDLL, handle: ctypes.c_void_p, pids: Sequence[int]) -> int:
    """Bytes of a GPU that these processes hold, as far as NVML tells."""
    count, found = ctypes.c_uint(_MOST_PROCESSES), (_Process * _MOST_PROCESSES)()
    try:
        code = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(count), found)
    except AttributeError:  # a driver older than that question
        return 0
    if code:
        return 0
    return sum(
        process.used_bytes
        for process in found[: count.value]
        if process.pid in pids and process.used_bytes != _NOT_AVAILABLE
    )
