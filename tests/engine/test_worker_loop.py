"""What the worker makes of errors that no code of ours raised."""

import pytest

from bilin_engine.worker.loop import _has_lost_gpu, failed


class CUDAError(Exception):
    """cuda.core's, which is no RuntimeError."""


class AcceleratorError(RuntimeError):
    """torch's."""


@pytest.mark.parametrize(
    ("error", "code", "is_lost"),
    [
        (CUDAError("CUDA_ERROR_OUT_OF_MEMORY: unable to allocate"), "out_of_memory", False),
        (CUDAError("CUDA_ERROR_ILLEGAL_ADDRESS: while executing a kernel"), "error", True),
        (AcceleratorError("CUDA error: an illegal memory access"), "error", True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory", False),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            "out_of_memory",
            False,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_memory", False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), "error", True),
        (ValueError("slot 3 is full"), "error", False),
    ],
)
def test_errors_of_a_gpu_are_known_for_what_they_are(error, code, is_lost):
    assert failed(1, error).code == code
    assert _has_lost_gpu(error) == is_lost
