"""Which devices there are, read without creating a CUDA context: NVML for GPUs, the system for CPU.

NVML comes with the driver; it is asked through ctypes, so that the supervisor needs no package for
it. Without a driver the list is the CPU alone.
"""

import ctypes
import functools
import logging
import os
import sys
from collections.abc import Mapping, Sequence

import msgspec

from bilin_engine import processes
from bilin_engine.protocol import DeviceInfo

logger = logging.getLogger(__name__)

_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
OLDEST_CAPABILITY = (7, 5)  # Turing; bilin_kernels.loader refuses older ones
_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE, nvml.h


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def list_devices(own_bytes: Mapping[str, int] | None = None) -> tuple[DeviceInfo, ...]:
    """GPUs first, then the CPU. own_bytes: what the loaded model holds, by device."""
    total_bytes, free_bytes = processes.main_memory_bytes()
    cpu = DeviceInfo(
        name="cpu",
        label=processes.cpu_label(),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
    )
    own = own_bytes or {}
    return tuple(
        msgspec.structs.replace(device, own_bytes=own.get(device.name, 0))
        for device in (*_list_gpus(), cpu)
    )


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


def _list_gpus() -> list[DeviceInfo]:
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
        uuids = [_uuid(nvml, index) for index in range(count.value)]
        shown = visible_gpus(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))
        found = (_gpu(nvml, index, number) for number, index in enumerate(shown))
        return [gpu for gpu in found if gpu is not None]
    finally:
        nvml.nvmlShutdown()


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


def _gpu(nvml: ctypes.CDLL, index: int, cuda_number: int) -> DeviceInfo | None:
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
    return DeviceInfo(
        name=f"cuda:{cuda_number}",
        label=label,
        total_bytes=memory.total,
        free_bytes=memory.free,
    )
