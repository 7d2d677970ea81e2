"""Launches csrc/*.cu on the CPU: g++ compiles the sources against tests/kernels/simt/simt.h.

A `bilin_kernels.loader.Launcher`, so the code under test is the real planning, argument passing and
kernel source; only the machine is another. See simt.h for what it checks and what it cannot.
"""

import ctypes
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from bilin_kernels.compile import SOURCE_DIR
from bilin_kernels.loader import Argument

SHIM_DIR = Path(__file__).parents[1] / "kernels" / "simt"
# -O0 compiles four times as fast as -O2, and the emulation of mma asks for its own optimization.
# No contraction: the kernels say fmaf where they mean it.
FLAGS = [
    "-x",
    "c++",
    "-std=c++17",
    "-O0",
    "-march=native",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-w",
    "-fsanitize=bounds",
    "-fsanitize-undefined-trap-on-error",
    "-DBILIN_SIMT",
]


class SimtError(AssertionError):
    """The shim refused something: out of bounds, misaligned, a hang."""


def build(
    source: str, cache_dir: Path, defines: Sequence[str] = (), source_dir: Path = SOURCE_DIR
) -> Path:
    """Compiles <source>.cu into a shared library, once for each content of the files."""
    flags = [*FLAGS, *(f"-D{name}" for name in defines)]
    digest = hashlib.sha256(" ".join([source, *flags, os.uname().nodename]).encode())
    headers = [*sorted(SOURCE_DIR.glob("*.cuh")), SHIM_DIR / "simt.h"]
    for path in [*headers, source_dir / f"{source}.cu"]:
        digest.update(path.read_bytes())
    library = cache_dir / f"{source}-{digest.hexdigest()[:16]}.so"
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test processes share one build
        if library.exists():
            return library
        partial = library.with_suffix(f".{os.getpid()}.partial")
        command = ["g++", *flags, f"-I{SHIM_DIR}", f"-I{SOURCE_DIR}"]
        command += [str(source_dir / f"{source}.cu"), "-o", str(partial)]
        subprocess.run(command, check=True, timeout=300)
        partial.replace(library)
    return library


class SimtLauncher:
    """Runs kernels of csrc/ on CPU tensors.

    Only tensors announced by `tensors` may be touched by a kernel, and only written when announced
    as outputs. descending: threads and blocks run in the other order.
    """

    def __init__(
        self,
        cache_dir: Path,
        defines: Sequence[str] = (),
        num_sms: int = 4,
        source_dir: Path = SOURCE_DIR,
    ) -> None:
        self._cache_dir = cache_dir
        self._source_dir = source_dir
        self._defines = tuple(defines)
        self._num_sms = num_sms
        self._libraries: dict[str, ctypes.CDLL] = {}
        self._reads: list[torch.Tensor] = []
        self._writes: list[torch.Tensor] = []
        self.descending = False
        self.bounded = True  # False: kernels may touch any memory of the process
        self.launched: list[str] = []

    @contextmanager
    def tensors(
        self, reads: Sequence[torch.Tensor | None], writes: Sequence[torch.Tensor]
    ) -> Iterator[None]:
        """What kernels may read and write inside the block."""
        self._reads = [t for t in reads if t is not None]
        self._writes = list(writes)
        try:
            yield
        finally:
            self._reads, self._writes = [], []

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        arguments: Sequence[Argument],
        device: torch.device,
    ) -> None:
        assert device.type == "cpu"
        library = self._library(source)
        library.simt_forget()
        for tensor, writable in [*((t, 0) for t in self._reads), *((t, 1) for t in self._writes)]:
            if tensor.numel():
                library.simt_announce(
                    ctypes.c_void_p(tensor.data_ptr()), ctypes.c_size_t(tensor.nbytes), writable
                )
        if not self.bounded:
            library.simt_announce(None, ctypes.c_size_t(2**64 - 1), 1)
        library.simt_set_descending(int(self.descending))
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        getattr(library, f"launch_{kernel}")((ctypes.c_uint * 3)(*grid), block, pointers)
        self.launched.append(kernel)
        if message := library.simt_error().decode():
            raise SimtError(f"{kernel}: {message}")

    def num_sms(self, device: torch.device) -> int:
        del device
        return self._num_sms

    def _library(self, source: str) -> ctypes.CDLL:
        if source not in self._libraries:
            path = build(source, self._cache_dir, self._defines, self._source_dir)
            library = ctypes.CDLL(str(path))
            library.simt_error.restype = ctypes.c_char_p
            self._libraries[source] = library
        return self._libraries[source]
