"""Compiles csrc/*.cu into cubins, without a GPU and without a compiler on the machine.

NVRTC does it, through cuda.core; `compile_all` is the hook of the wheel build and of the compile
check. Writes, into a folder:

    <source>.sm_<arch>.cubin    one for each source and architecture
    manifest.json               {"layout_version", "source_hash", "compiler", "architectures",
                                 "files": [{"source", "arch", "file", "sha256", "kernels":
                                 [{"name", "registers", "spill_bytes", "shared_bytes"}]}]}

Never PTX: a driver that translates PTX for a card it does not know has been seen to give wrong
results. Only `.code` of cuda.core's object is touched: anything else looks for a driver.
"""

import argparse
import hashlib
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bilin_kernels import LAYOUT_VERSION

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
SOURCE_DIR = Path(__file__).parent / "csrc"
CUBIN_DIR = Path(__file__).parent / "cubins"


class CompileError(RuntimeError):
    """NVRTC is missing or refused a source; the message holds its log."""


@dataclass(frozen=True, slots=True)
class KernelReport:
    """What ptxas says of one kernel. Spills and shared memory in bytes per thread and per block."""

    name: str
    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class CompiledSource:
    """One source for one architecture."""

    source: str
    arch: int
    cubin: bytes
    kernels: tuple[KernelReport, ...]


def sources() -> list[str]:
    """Stems of the sources that hold kernels, in order."""
    return sorted(path.stem for path in SOURCE_DIR.glob("*.cu"))


def source_hash() -> str:
    """sha256 over all of csrc/ and the layout version: what a cubin must have been built from."""
    digest = hashlib.sha256(f"layout {LAYOUT_VERSION}\n".encode())
    for path in sorted(SOURCE_DIR.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def compiler_version() -> str:
    """For example "nvrtc 13.0". Raises CompileError if NVRTC is not installed."""
    try:
        # Before the threads of compile_all: its circular imports fail when two begin at once.
        import cuda.core  # noqa: F401

        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
        importlib.import_module("cuda.core")
    except ImportError as error:
        raise CompileError(_MISSING.format(error)) from error
    try:
        status, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError as error:  # the bindings are there, the library is not
        raise CompileError(_MISSING.format(error)) from error
    if int(status):
        raise CompileError(f"nvrtcVersion failed with {status}")
    return f"nvrtc {major}.{minor}"


_MISSING = (
    "compiling the CUDA kernels needs cuda-core, cuda-bindings and NVRTC ({}); "
    "`pip install cuda-core` beside a CUDA build of torch"
)


def compile_source(source: str, arch: int, defines: Sequence[str] = ()) -> CompiledSource:
    """Compiles csrc/<source>.cu for sm_<arch>. Raises CompileError with the compiler's log."""
    compiler_version()
    core = importlib.import_module("cuda.core")
    log = io.StringIO()
    options = core.ProgramOptions(
        name=f"{source}.cu",
        arch=f"sm_{arch}",
        std="c++17",
        include_path=[str(SOURCE_DIR)],
        define_macro=list(defines) or None,
        ptxas_options=["-v"],
    )
    text = (SOURCE_DIR / f"{source}.cu").read_text(encoding="utf-8")
    try:
        code = core.Program(text, "c++", options).compile("cubin", logs=log).code
    except Exception as error:  # cuda.core's own types are private; all of them mean the same here
        raise CompileError(f"{source}.cu for sm_{arch}: {error}\n{log.getvalue()}") from error
    return CompiledSource(source, arch, bytes(code), tuple(_read_report(log.getvalue())))


def _read_report(log: str) -> Iterable[KernelReport]:
    """Reads what `ptxas -v` writes: a line of spills, then one of registers, for each kernel."""
    name, spills = "", 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            name = entry[1]
        elif spill := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills = int(spill[1]) + int(spill[2])
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            yield KernelReport(name, int(used[1]), spills, int(shared[1]) if shared else 0)


def compile_all(
    out_dir: Path, architectures: Sequence[int] = ARCHITECTURES, jobs: int | None = None
) -> Path:
    """Compiles every source for every architecture into `out_dir`; returns the manifest's path.

    jobs: sources compiled at once; the number of cores by default. Raises CompileError; then no
    manifest is left behind.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    manifest_path = out_dir / "manifest.json"
    manifest_path.unlink(missing_ok=True)
    version = compiler_version()
    work = [(source, arch) for source in sources() for arch in architectures]
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        compiled = list(pool.map(lambda item: compile_source(*item), work))
    files = []
    for result in compiled:
        file = f"{result.source}.sm_{result.arch}.cubin"
        (out_dir / file).write_bytes(result.cubin)
        files.append(
            {
                "source": result.source,
                "arch": result.arch,
                "file": file,
                "sha256": hashlib.sha256(result.cubin).hexdigest(),
                "kernels": [asdict(kernel) for kernel in result.kernels],
            }
        )
    manifest = {
        "layout_version": LAYOUT_VERSION,
        "source_hash": source_hash(),
        "compiler": version,
        "architectures": list(architectures),
        "files": files,
    }
    manifest_path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest_path


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m bilin_kernels.compile DIR [--arch 90 ...]`."""
    parser = argparse.ArgumentParser(prog="python -m bilin_kernels.compile", description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHITECTURES))
    options = parser.parse_args(arguments)
    try:
        path = compile_all(options.out_dir, options.arch)
    except CompileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
