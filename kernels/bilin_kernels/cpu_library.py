"""csrc/cpu/step.c as a shared library: compiled for this processor's instructions, then loaded.

Order, as for the CUDA kernels: the libraries of the wheel (`cpu_libraries/manifest.json`, built
from exactly these sources), else the machine's own C compiler, cached on disk. Without either,
`load` says what is missing, and the engine computes with torch's kernels.
"""

import ctypes
import functools
import hashlib
import json
import logging
import tempfile
from pathlib import Path

import torch

from bilin_kernels.cpu_compile import (
    FLAGS,
    LIBRARY_DIR,
    CpuLibraryError,
    Target,
    compile_library,
    sha256,
    source_hash,
    target_for,
)
from bilin_kernels.loader import default_cache_dir

logger = logging.getLogger(__name__)

_CPU_INFO = Path("/proc/cpuinfo")
_OPENMP = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")


def processor_flags() -> list[str]:
    """What /proc/cpuinfo says of the first processor; nothing on other systems."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return line.partition(":")[2].split()


def library_path(
    target: Target, *, shipped: Path = LIBRARY_DIR, cache_dir: Path | None = None
) -> Path:
    """The library for `target`: the wheel's, a cached one, or one compiled now.

    Raises CpuLibraryError.
    """
    manifest_path = shipped / "manifest.json"
    if manifest_path.exists():
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        entry = manifest["files"].get(target.name)
        if manifest["source_hash"] == source_hash() and entry is not None:
            path = shipped / entry["file"]
            if sha256(path) != entry["sha256"]:
                raise CpuLibraryError(
                    f"{path} is damaged: its sha256 is not the manifest's; reinstall bilin"
                )
            return path
    folder = cache_dir or default_cache_dir()
    key = "\n".join([source_hash(), *FLAGS, *target.flags])
    path = folder / f"step.{target.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    digest = path.with_suffix(".sha256")
    if _is_whole(path, digest):
        return path
    logger.info("compiling the CPU kernels for %s", target.name)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / path.name
        compile_library(target, partial)
        written = Path(scratch) / digest.name
        written.write_text(sha256(partial), encoding="utf-8")
        written.replace(digest)
        partial.replace(path)
    return path


def _is_whole(path: Path, digest: Path) -> bool:
    """Whether a cached library is what was compiled: one that was cut short ends the process."""
    try:
        return digest.read_text(encoding="utf-8") == sha256(path)
    except (OSError, UnicodeDecodeError):
        return False


@functools.cache
def load() -> ctypes.CDLL:
    """The library of this process. Raises CpuLibraryError, the same at every call."""
    if reason := why_not():
        raise CpuLibraryError(reason)
    return _open()


@functools.cache
def why_not() -> str:
    """Why `load` raises, or "". Compiles if need be, once: one that fails is not asked again."""
    try:
        _open()
    except (CpuLibraryError, OSError, ValueError, KeyError) as error:
        return str(error)
    return ""


@functools.cache
def _open() -> ctypes.CDLL:
    """The library. Raises CpuLibraryError, OSError from a disk that lets nothing be run.

    ValueError or KeyError for a manifest that is none.
    """
    return ctypes.CDLL(str(library_path(target_for(processor_flags()))))


class Team(ctypes.Structure):
    """struct team of step.c: the OpenMP runtime that torch computes with."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("parallel", "barrier", "thread", "count")]


@functools.cache
def team() -> Team:
    """Addresses in the OpenMP runtime that is loaded already; null, and so one thread, if none is.

    A second runtime would bring a second set of threads, and both would wait by spinning.
    """
    torch.get_num_threads()  # torch is loaded, and with it its runtime
    for path in _loaded_runtimes():
        runtime = ctypes.CDLL(path)
        try:
            found = [ctypes.cast(getattr(runtime, name), ctypes.c_void_p) for name in _OPENMP]
        except AttributeError:
            continue
        return Team(*found)
    logger.warning("no OpenMP runtime is loaded: the CPU kernels use one thread")
    return Team(None, None, None, None)


def _loaded_runtimes() -> list[str]:
    """Shared libraries of this process that look like an OpenMP runtime."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    paths = {line.partition("/")[2] for line in lines if "/" in line}
    names = ("libgomp", "libiomp", "libomp")
    return sorted(f"/{path}" for path in paths if path.rpartition("/")[2].startswith(names))
