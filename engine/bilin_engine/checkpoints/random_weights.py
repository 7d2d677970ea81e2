"""Random weights of any configuration, made where they are used: for measuring, never for text.

A source of weights like a model folder, without files: tensors are made on the device that asks for
them, so a model of 67 GB needs no main memory. Packed weights are random bits, of which every
pattern is valid; scales and plain weights have the size that keeps activations ordinary.
"""

import zlib

import torch

from bilin_engine.config import ModelConfig, QuantizationScheme
from bilin_engine.config.base import TensorSpec
from bilin_engine.errors import ModelBrokenError

# Standard deviation of a uniform code: -8..7 and -128..127.
_CODE_DEVIATION = {4: 4.61, 8: 73.9}


class RandomWeights:
    """Implements layers.weights.WeightSource. The same name gives the same numbers."""

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self.config = config
        self._device = device
        self._specs = {spec.name: spec for spec in config.tensors()}

    def scheme(self, module: str) -> QuantizationScheme | None:
        """How the configuration stores the linear `module`."""
        quantization = self.config.quantization
        return None if quantization is None else quantization.scheme_for(module)

    def tensor(
        self, name: str, rows: slice = slice(None), columns: slice = slice(None)
    ) -> torch.Tensor:
        """A tensor or a part of it, on the device. Raises ModelBrokenError for an unknown name."""
        stored = name.removesuffix("_packed").removesuffix("_scale")
        spec = self._specs.get(stored)
        if spec is None:
            raise ModelBrokenError(f"{name} is no tensor of {self.config.architecture}")
        shape = self._stored_shape(name, spec)
        part = [len(range(size)[cut]) for size, cut in zip(shape, (rows, columns), strict=False)]
        generator = torch.Generator(self._device)
        place = f"{name} {rows.start} {columns.start}"
        generator.manual_seed(zlib.crc32(place.encode()))
        if name != stored:
            return self._packed(name, spec, part, generator)
        if len(shape) == 1:
            value = 0.0 if name.endswith(".bias") else 1.0
            return torch.full(part, value, dtype=torch.float16, device=self._device)
        noise = torch.randn(part, generator=generator, dtype=torch.float16, device=self._device)
        return noise.mul_(shape[1] ** -0.5)

    def _stored_shape(self, name: str, spec: TensorSpec) -> tuple[int, ...]:
        scheme = self.scheme(spec.module)
        if name == spec.name or scheme is None:
            return spec.shape
        n, k = spec.shape
        if name.endswith("_packed"):
            return n, k * scheme.bits // 32
        return n, 1 if scheme.group_size == "row" else k // scheme.group_size

    def _packed(
        self, name: str, spec: TensorSpec, part: list[int], generator: torch.Generator
    ) -> torch.Tensor:
        scheme = self.scheme(spec.module)
        if scheme is None:
            raise ModelBrokenError(f"{name}: {spec.module} is not quantized")
        if name.endswith("_packed"):
            return torch.randint(
                -(1 << 31),
                1 << 31,
                part,
                generator=generator,
                dtype=torch.int32,
                device=self._device,
            )
        scale = spec.shape[1] ** -0.5 / _CODE_DEVIATION[scheme.bits]
        return torch.full(part, scale, dtype=torch.float16, device=self._device)
