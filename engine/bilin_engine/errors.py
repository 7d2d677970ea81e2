"""Errors that reach a person. Each carries a stable code; its text is the sentence they read.

A message says what was wrong, the value, and what would be right. Knows nothing of the protocol:
the server turns a `BilinError` into `Failed(code, message, detail)`.
"""


class BilinError(Exception):
    """An error with a sentence for a person. `code` is stable and machine-readable."""

    code = "error"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class BadRequestError(BilinError):
    """The caller asked for something that cannot be: a bad value, an unknown name."""

    code = "bad_request"


class ModelNotFoundError(BilinError):
    """No model of that id in the library."""

    code = "model_not_found"


class ModelBrokenError(BilinError):
    """A model folder is damaged or incomplete; the message names the file and what is wrong."""

    code = "model_broken"


class UnsupportedModelError(BilinError):
    """The model is whole, but its architecture, scheme or a config key is not one we can run."""

    code = "unsupported_model"


class NotLoadedError(BilinError):
    """The request needs a loaded model and none (or another) is loaded."""

    code = "not_loaded"


class ContextOverflowError(BilinError):
    """The prompt does not fit the model's context; the message says by how many tokens."""

    code = "context_overflow"


class OutOfMemoryError(BilinError):
    """A device has too little memory; the message says needed, free and where."""

    code = "out_of_memory"


class DiskFullError(BilinError):
    """The disk has too little room; nothing written so far is lost."""

    code = "disk_full"


class WorkerDiedError(BilinError):
    """A worker process ended, hung or broke the protocol; the message says which rank and how."""

    code = "worker_died"


def out_of_memory(error: BaseException) -> OutOfMemoryError | None:
    """What is raised where memory runs out, as a sentence; None for anything else.

    torch raises an OutOfMemoryError of its own for a GPU, and a plain RuntimeError for main memory
    and for what cuBLAS, cuDNN and cuSOLVER cannot have of a GPU's; cuda.core a CUDAError, which is
    no RuntimeError, with the driver's name of the error.
    """
    text = str(error)
    words = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")
    is_torchs = isinstance(error, RuntimeError) and any(part in text for part in words)
    is_cuda_cores = type(error).__name__ == "CUDAError" and "OUT_OF_MEMORY" in text
    if not is_torchs and not is_cuda_cores and not isinstance(error, MemoryError):
        return None
    message = "there is too little free memory for this; use a shorter context or free some memory"
    return OutOfMemoryError(message, detail=text)
