"""Compiles csrc/cpu/step.c into shared libraries, one for each set of instructions.

    x86-64-v4    AVX-512 with VNNI
    x86-64-v3    AVX2, FMA, F16C

The machine's own C compiler does it: for a wheel (`compile_all`, the hook of its build), or at
first use (cpu_library.py). Needs no torch. Writes, into a wheel's folder:

    step.<target>.so
    manifest.json               {"source_hash", "files": {<target>: {"file", "sha256"}}}
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE_DIR = Path(__file__).parent / "csrc" / "cpu"
LIBRARY_DIR = Path(__file__).parent / "cpu_libraries"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu17", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-ffp-contract=fast")


class CpuLibraryError(RuntimeError):
    """No library can be had here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Target:
    """A set of instructions. flags: the compiler's. needs: as /proc/cpuinfo names them."""

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str]


_V3 = frozenset({"avx2", "fma", "f16c", "bmi2", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}
TARGETS = (
    Target("x86-64-v4", ("-march=x86-64-v4", "-mavx512vnni"), _V4),
    Target("x86-64-v3", ("-march=x86-64-v3",), _V3),
)


def target_for(flags: Iterable[str]) -> Target:
    """The best for a processor with these flags. Raises CpuLibraryError if there is none."""
    has = set(flags)
    for target in TARGETS:
        if target.needs <= has:
            return target
    lacks = ", ".join(sorted(TARGETS[-1].needs - has))
    raise CpuLibraryError(f"the processor lacks {lacks}, which the CPU kernels need")


def source_hash() -> str:
    """sha256 over csrc/cpu: what a library must have been built from."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE_DIR.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def find_compiler() -> str:
    """The machine's C compiler; CC overrides. Raises CpuLibraryError."""
    names = [os.environ["CC"]] if os.environ.get("CC") else COMPILERS
    for name in names:
        if path := shutil.which(name):
            return path
    raise CpuLibraryError(f"no C compiler was found ({', '.join(names)}); install gcc or clang")


def compile_library(target: Target, out: Path, defines: Sequence[str] = ()) -> None:
    """Compiles csrc/cpu/step.c to `out`. Raises CpuLibraryError with the compiler's words."""
    command = [
        find_compiler(),
        *FLAGS,
        *target.flags,
        *(f"-D{name}" for name in defines),
        str(SOURCE_DIR / "step.c"),
        "-o",
        str(out),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CpuLibraryError(f"{command[0]} cannot compile the CPU kernels: {done.stderr.strip()}")


def compile_all(folder: Path) -> None:
    """Every target's library and manifest.json, for a wheel. Raises CpuLibraryError."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for target in TARGETS:
        path = folder / f"step.{target.name}.so"
        compile_library(target, path)
        files[target.name] = {"file": path.name, "sha256": sha256(path)}
    manifest = {"source_hash": source_hash(), "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
