"""Refuses tensors that a kernel does not take, in one sentence that names what would be right."""

import torch


def require_tensor(
    name: str,
    tensor: torch.Tensor,
    *,
    device: torch.device,
    shape: tuple[int, ...] | None = None,
    dtype: torch.dtype | None = None,
    alignment: int = 2,
) -> None:
    """Raises ValueError unless `tensor` is as said, contiguous, and aligned to so many bytes."""
    if shape is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name} of shape {tuple(tensor.shape)}; use {shape}")
    if dtype is not None and tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}; use {dtype}, as the other tensors")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}; use {device}, as the other tensors")
    if not tensor.is_contiguous():
        raise ValueError(
            f"{name} is not contiguous (shape {tuple(tensor.shape)}, stride {tensor.stride()}); "
            "use .contiguous()"
        )
    # Fake tensors, which torch.compile asks for shapes, have no address.
    if device.type == "meta" or torch.compiler.is_compiling():
        return
    if tensor.data_ptr() % alignment:
        raise ValueError(
            f"{name} begins at address {tensor.data_ptr():#x}; use a tensor aligned to "
            f"{alignment} bytes, such as a clone"
        )


def require_half(name: str, tensor: torch.Tensor) -> None:
    """Raises ValueError unless the dtype is one the device's tensor cores multiply."""
    if tensor.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"{name} is {tensor.dtype}; use float16 or bfloat16")
    if (
        tensor.is_cuda
        and tensor.dtype == torch.bfloat16
        and torch.cuda.get_device_capability(tensor.device) < (8, 0)
    ):
        raise ValueError(
            f"{name} is bfloat16 on {torch.cuda.get_device_name(tensor.device)}, whose tensor "
            "cores take float16 only; use float16"
        )
