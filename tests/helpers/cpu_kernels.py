"""Whether this machine can have the CPU kernels: then their tests run, and fail where they fail."""

import pytest

from bilin_kernels import cpu_library
from bilin_kernels.cpu_compile import CpuLibraryError, find_compiler, target_for


def _missing() -> str:
    """What the machine lacks, or ""; never what is wrong with the kernels themselves."""
    try:
        target_for(cpu_library.processor_flags())
        find_compiler()
    except CpuLibraryError as error:
        return str(error)
    return ""


MISSING = _missing()
needs_cpu_kernels = pytest.mark.skipif(bool(MISSING), reason=MISSING or "-")
