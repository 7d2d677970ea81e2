"""Finds the right machine code for a GPU and launches it on torch's stream.

Order: the cubins of the wheel (`cubins/manifest.json`, built from exactly these sources), else
NVRTC for the exact architecture, cached on disk. A cubin serves devices of its major version with
the same or a higher minor one; nothing crosses major versions, and PTX is never used.

A launch allocates nothing and waits for nothing, so it may be captured in a CUDA graph once every
kernel of the graph has been launched before: drivers load a kernel when it is first launched.

Knows nothing of what the kernels compute.
"""

import ctypes
import functools
import hashlib
import importlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import platformdirs
import torch

from bilin_kernels.compile import CUBIN_DIR, compile_source, compiler_version, source_hash, sources

logger = logging.getLogger(__name__)

# Of each source; asking for it makes cuda.core give the source's cubin to the driver.
_ONE_KERNEL = {
    "decode_attention": "decode_attention_f16_d64",
    "dequantize": "dequantize_int4_f16",
    "norm": "add_norm_f16_v1",
    "read_ceiling": "read_ceiling",
    "rope_kv": "rope_append_f16",
    "w4a16": "w4a16_f16_r2_n1_g128",
}

# A kernel's argument: c_void_p for an address, else the C type of the parameter.
Argument = ctypes.c_void_p | ctypes.c_int32 | ctypes.c_uint32 | ctypes.c_int64 | ctypes.c_float


class KernelLoadError(RuntimeError):
    """No kernel can run on this device; the message says what is missing."""


class Launcher(Protocol):
    """Runs a kernel by name: the GPU, or the shim that stands for it in tests."""

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        arguments: Sequence[Argument],
        device: torch.device,
    ) -> None:
        """Starts the kernel on the device's current stream and returns at once."""
        ...

    def num_sms(self, device: torch.device) -> int:
        """Multiprocessors of the device."""
        ...


@functools.cache
def cuda_core() -> Any:  # noqa: ANN401 - a module without types
    """The module cuda.core. Raises KernelLoadError if it is not installed."""
    try:
        return importlib.import_module("cuda.core")
    except ImportError as error:
        raise KernelLoadError(
            f"the CUDA kernels need cuda-core ({error}); pip install cuda-core"
        ) from error


def pick_architecture(capability: tuple[int, int], available: Sequence[int]) -> int | None:
    """The best of `available` (86 for 8.6) that runs on a device of this capability, or None."""
    major, minor = capability
    fitting = [arch for arch in available if arch // 10 == major and arch % 10 <= minor]
    return max(fitting, default=None)


def launch_values(arguments: Sequence[Argument]) -> list[int | Argument]:
    """Arguments as cuda.core takes them: an address is a plain int, the rest keeps its C type."""
    return [a.value or 0 if isinstance(a, ctypes.c_void_p) else a for a in arguments]


class CudaLauncher:
    """Loads and launches kernels on CUDA devices. Thread-safe as far as torch's streams are.

    defines: macros for the compiler; with any, cubins of the wheel are not used. cubin_dir: where
    they lie. Raises KernelLoadError from `launch` and `prepare`.
    """

    def __init__(
        self,
        defines: Sequence[str] = (),
        cubin_dir: Path = CUBIN_DIR,
        cache_dir: Path | None = None,
    ) -> None:
        self._defines = tuple(defines)
        self._cubin_dir = cubin_dir
        self._cache_dir = cache_dir
        self._modules: dict[tuple[str, tuple[int, int]], Any] = {}
        self._kernels: dict[tuple[str, int], Any] = {}
        self._entered = threading.local()

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        arguments: Sequence[Argument],
        device: torch.device,
    ) -> None:
        """Starts csrc/<source>.cu's `kernel` on torch's current stream of `device`."""
        core = cuda_core()
        index = device.index if device.index is not None else torch.cuda.current_device()
        self._enter(index)
        loaded = self._kernel(source, kernel, index)
        # Asked for at every launch: inside torch.cuda.graph the current stream is another one.
        stream = core.Stream.from_handle(torch.cuda.current_stream(index).cuda_stream)
        with torch.cuda.device(index):
            config = core.LaunchConfig(grid=grid, block=block)
            core.launch(stream, config, loaded, *launch_values(arguments))

    def has_define(self, name: str) -> bool:
        """Whether this launcher compiles with the macro `name`."""
        return name in self._defines

    def num_sms(self, device: torch.device) -> int:
        """Multiprocessors of the device."""
        return torch.cuda.get_device_properties(device).multi_processor_count

    def prepare(self, device: torch.device) -> None:
        """Loads the modules of all sources, so that one that is missing or refused shows now."""
        index = device.index if device.index is not None else torch.cuda.current_device()
        self._enter(index)
        for source in sources():
            self._kernel(source, _ONE_KERNEL[source], index)

    def _kernel(self, source: str, kernel: str, index: int) -> Any:  # noqa: ANN401 - cuda.core's
        found = self._kernels.get((kernel, index))
        if found is None:
            module = self._module(source, index)
            try:
                found = module.get_kernel(kernel)
            except Exception as error:  # cuda.core's own types are private
                if "OUT_OF_MEMORY" in str(error):
                    raise _taken(index, error) from error
                raise KernelLoadError(
                    f"the driver refuses {kernel} of {source}.cu on "
                    f"{torch.cuda.get_device_name(index)} ({error}); a newer driver may take it"
                ) from error
            self._kernels[kernel, index] = found
        return found

    def _enter(self, index: int) -> None:
        """Makes the device usable in this thread; torch's current device stays what it was."""
        entered: set[int] = self._entered.__dict__.setdefault("devices", set())
        if index in entered:
            return
        core = cuda_core()
        if not torch.cuda.is_available():
            raise KernelLoadError("no CUDA device: torch.cuda.is_available() is False")
        capability = torch.cuda.get_device_capability(index)
        if capability < (7, 5):
            raise KernelLoadError(
                f"{torch.cuda.get_device_name(index)} has compute capability "
                f"{capability[0]}.{capability[1]}; the kernels need 7.5 (Turing) or later"
            )
        torch.cuda.init()
        try:
            with torch.cuda.device(index):
                core.Device(index).set_current()  # the primary context, which is torch's
        except Exception as error:
            raise _taken(index, error) from error
        entered.add(index)

    def _module(self, source: str, index: int) -> Any:  # noqa: ANN401 - cuda.core's
        capability = torch.cuda.get_device_capability(index)
        module = self._modules.get((source, capability))
        if module is None:
            cubin = self.machine_code(source, capability)
            module = cuda_core().ObjectCode.from_cubin(cubin, name=source)
            self._modules[source, capability] = module
        return module

    def machine_code(self, source: str, capability: tuple[int, int]) -> bytes:
        """The cubin of a source for devices of this capability. Needs no device."""
        if not self._defines and (shipped := self._shipped(source, capability)) is not None:
            return shipped
        return self._compiled(source, capability[0] * 10 + capability[1])

    def _shipped(self, source: str, capability: tuple[int, int]) -> bytes | None:
        manifest_path = self._cubin_dir / "manifest.json"
        if not manifest_path.exists():
            return None
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["source_hash"] != source_hash():
            raise KernelLoadError(
                f"the cubins in {self._cubin_dir} were built from other sources "
                f"({manifest['source_hash'][:12]}, here {source_hash()[:12]}); reinstall bilin, or "
                "delete the folder to compile at first use"
            )
        files = {f["arch"]: f for f in manifest["files"] if f["source"] == source}
        arch = pick_architecture(capability, list(files))
        if arch is None:
            logger.info("no cubin of %s for sm_%d%d; compiling it", source, *capability)
            return None
        code = (self._cubin_dir / files[arch]["file"]).read_bytes()
        if hashlib.sha256(code).hexdigest() != files[arch]["sha256"]:
            raise KernelLoadError(
                f"{files[arch]['file']} is damaged: its sha256 is not the manifest's; "
                "reinstall bilin"
            )
        return code

    def _compiled(self, source: str, arch: int) -> bytes:
        key = "\n".join([source_hash(), compiler_version(), *self._defines])
        name = f"{source}.sm_{arch}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.cubin"
        folder = self._cache_dir or default_cache_dir()
        path = folder / name
        kept = _kept(path)
        if kept is not None:
            return kept
        logger.info("compiling %s.cu for sm_%d", source, arch)
        code = compile_source(source, arch, self._defines).cubin
        try:
            _keep(path, code)
        except OSError as error:
            logger.warning("%s is compiled at every start, as it cannot be kept: %s", name, error)
        return code


def _taken(index: int, error: Exception) -> KernelLoadError:
    name = torch.cuda.get_device_name(index)
    return KernelLoadError(
        f"{name} cannot be used now ({error}); another program may hold its memory"
    )


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _kept(path: Path) -> bytes | None:
    """A cached cubin; None if there is none, or one that is not what was compiled."""
    try:
        code = path.read_bytes()
        digest = _digest_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return code if hashlib.sha256(code).hexdigest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Writes a cubin and its digest to the cache. Raises OSError, and leaves no partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(code).hexdigest().encode()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        for target, content in ((_digest_path(path), digest), (path, code)):
            partial = Path(scratch) / target.name
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)


def default_cache_dir() -> Path:
    """Where kernels compiled at first use are kept; BILIN_KERNEL_CACHE overrides it."""
    override = os.environ.get("BILIN_KERNEL_CACHE")
    if override:
        return Path(override)
    return platformdirs.user_cache_path("bilin") / "kernels"


@functools.cache
def default_launcher() -> CudaLauncher:
    """The launcher of this process."""
    return CudaLauncher()
