"""Normalisation in float32, whatever the weights are stored as."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it


class LayerNorm:
    """LayerNorm with weight and bias. float32 [T, h] in, float32 [T, h] out."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> None:
        self.weight = weight.float()
        self.bias = bias.float()
        self.epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimension."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm:
    """RMSNorm with a weight. float32 [T, h] in, float32 [T, h] out."""

    def __init__(self, weight: torch.Tensor, epsilon: float) -> None:
        self.weight = weight.float()
        self.epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x / sqrt(mean of squares + epsilon) * weight, over the last dimension."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
