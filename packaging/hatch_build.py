"""Build hook: compiles the kernels into a standard wheel, never into an editable installation.

A wheel carries cubins for every supported architecture, so its user needs no compiler. They are
made by NVRTC, which needs no GPU: the hook asks for it as a build requirement (about 100 MB, the
same wheels that torch's CUDA build uses), so `pip install .` works from a bare checkout. Where the
kernels are not wanted, `BILIN_NO_CUBINS=1 pip install .` asks for nothing and compiles nothing; the
sources go along and are compiled at first use on a machine with a card.

With a C compiler at hand it also carries the processor's kernels, for each set of instructions, and
is then a wheel for this platform alone. Without one they are compiled at first use, or torch's
serve.

An editable installation always leaves them out. pip asks one question for both kinds of
installation, so a plain `pip install -e .` fetches NVRTC in vain; launch.py sets BILIN_NO_CUBINS.
"""

import ctypes
import importlib
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OPT_OUT = "BILIN_NO_CUBINS"
# CUDA 13.0 as torch 2.13 has it: its cubins load on every driver from 580 on.
COMPILER = [
    "cuda-core>=1.2,<2",
    "cuda-bindings>=13.0,<13.1",
    "nvidia-cuda-nvrtc>=13.0,<13.1",
]


class KernelBuildHook(BuildHookInterface):
    """Adds `bilin_kernels/cubins/` to standard wheels."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        return COMPILER if self._compiles() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles for a standard wheel. Raises RuntimeError if that gives no cubins."""
        if version != "standard" or not self._compiles():
            return
        folder = self._new_folder()
        sys.path.insert(0, str(Path(self.root) / "kernels"))
        _load_nvrtc()
        try:
            importlib.import_module("bilin_kernels.compile").compile_all(folder)
            self._add_cpu_libraries(build_data)
        except (ImportError, RuntimeError) as error:
            raise RuntimeError(
                "the kernels cannot be compiled here; without build isolation install "
                f"{' '.join(COMPILER)}, or set {OPT_OUT}=1 for a wheel without cubins: {error}"
            ) from error
        finally:
            sys.path.pop(0)
        cubins = sorted(folder.glob("*.cubin"))
        if not cubins:
            raise RuntimeError(f"no cubins were made; set {OPT_OUT}=1 for a wheel without them")
        for path in sorted(folder.iterdir()):
            build_data["force_include"][str(path)] = f"bilin_kernels/cubins/{path.name}"

    def _add_cpu_libraries(self, build_data: dict[str, Any]) -> None:
        cpu_compile = importlib.import_module("bilin_kernels.cpu_compile")
        folder = self._new_folder()
        try:
            cpu_compile.compile_all(folder)
        except cpu_compile.CpuLibraryError as error:
            self.app.display_warning(f"a wheel without the processor's kernels: {error}")
            return
        for path in sorted(folder.iterdir()):
            build_data["force_include"][str(path)] = f"bilin_kernels/cpu_libraries/{path.name}"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what initialize compiled; the wheel holds it now."""
        del version, build_data, artifact_path
        for folder in getattr(self, "_folders", []):
            shutil.rmtree(folder)

    def _new_folder(self) -> Path:
        """An empty one, removed in the end."""
        folder = Path(tempfile.mkdtemp(prefix="bilin-kernels-"))
        self._folders = [*getattr(self, "_folders", []), folder]
        return folder

    def _compiles(self) -> bool:
        return self.target_name == "wheel" and os.environ.get(OPT_OUT) != "1"


def _load_nvrtc() -> None:
    """Loads NVRTC from wherever Python finds packages.

    cuda.core looks for it in site-packages alone, and pip's isolated build environment is none; a
    library that is loaded already is taken as it is.
    """
    for folder in sys.path:
        # With its builtins, which it opens by their bare name.
        for library in sorted(Path(folder).glob("nvidia/*/lib/libnvrtc*.so.*"), reverse=True):
            if ".alt." not in library.name:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
