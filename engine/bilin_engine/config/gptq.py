"""How a published GPTQ folder stores its codes, by its config.json; which of them can be kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bilin_engine.config.base import GroupSize, QuantizationScheme
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Gptq:
    """GPTQ's storage: `qweight` int32 [k/8, n], eight rows a word, lowest bits first.

    zero: the stored zero point of symmetric codes; the first format keeps it one too low.
    """

    bits: int
    group_size: GroupSize
    zero: int

    def num_groups(self, k: int) -> int:
        """Scales a row."""
        return 1 if self.group_size == "row" else -(-k // self.group_size)


def quant_method(content: Mapping[str, Any]) -> object:
    """What a config.json says its weights are quantized with; None where it says nothing."""
    quantization = content.get("quantization_config")
    return quantization.get("quant_method") if isinstance(quantization, Mapping) else None


def gptq_of(quantization: object, where: str) -> Gptq | None:
    """How the codes are stored, by `quantization_config`; None for plain weights.

    Raises UnsupportedModelError for what cannot be kept, ModelBrokenError for what is no setting.
    """
    if quantization is None:
        return None
    if not isinstance(quantization, Mapping):
        raise ModelBrokenError(f"{where}: quantization_config is no object")
    method = quantization.get("quant_method")
    if method == "compressed-tensors":
        raise UnsupportedModelError(
            f"{where}: the weights are compressed-tensors already; describe the folder where it "
            "lies instead of importing it"
        )
    if method != "gptq":
        reasons = {
            "awq": "AWQ codes are asymmetric, with a zero point for every group",
            "fp8": "FP8 weights need scales that Bilin does not compute",
            "bitsandbytes": "bitsandbytes codes are no integers",
        }
        reason = reasons.get(str(method), "the scheme is not one Bilin knows")
        raise UnsupportedModelError(
            f"{where}: quant_method {method!r} cannot be imported: {reason}; take the original "
            "weights, GPTQ (symmetric) or compressed-tensors (pack-quantized, symmetric)"
        )
    return _gptq_fields(quantization, where)


def _gptq_fields(quantization: Mapping[str, Any], where: str) -> Gptq:
    bits, group = quantization.get("bits"), quantization.get("group_size", 128)
    if bits not in (4, 8):
        raise UnsupportedModelError(f"{where}: GPTQ with {bits!r} bits; 4 or 8 can be kept")
    if quantization.get("sym", True) is not True:
        raise UnsupportedModelError(f"{where}: asymmetric GPTQ (sym false) cannot be kept")
    if quantization.get("desc_act", False) is not False:
        raise UnsupportedModelError(
            f"{where}: GPTQ with desc_act reorders columns and cannot be kept"
        )
    formats = {"gptq": 2 ** (bits - 1) - 1, "gptq_v2": 2 ** (bits - 1)}
    form = quantization.get("checkpoint_format", "gptq")
    if form not in formats or quantization.get("is_marlin_format", False):
        raise UnsupportedModelError(
            f"{where}: GPTQ in the format {form!r}; {' or '.join(formats)} can be kept"
        )
    if isinstance(group, bool) or not isinstance(group, int):
        raise ModelBrokenError(f"{where}: group_size is {group!r}; a whole number is needed")
    size: GroupSize = "row" if group == -1 else group
    QuantizationScheme(bits=bits, group_size=size)  # says which sizes there are
    return Gptq(bits=bits, group_size=size, zero=formats[form])
