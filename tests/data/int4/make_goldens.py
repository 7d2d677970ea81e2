# Runs in an environment of its own, where the imports resolve.
# pyright: reportMissingImports=false
"""What the `compressed-tensors` package says INT4 and INT8 weights are. Shares no code with us.

Run in an environment of its own (made with compressed-tensors 0.20.0, torch 2.13.0):
    python tests/data/int4/make_goldens.py goldens OUT.safetensors
    python tests/data/int4/make_goldens.py folder MODEL_FOLDER OUT.safetensors
The first makes small packed weights and what they unpack to; the second unpacks every packed
linear of a model folder by its config.json.
"""

import json
import sys
from pathlib import Path

import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from safetensors import safe_open
from safetensors.torch import save_file

CASES = [(4, 32, 96), (4, 64, 128), (4, 128, 256), (4, 192, 384), (4, 256, 256), (4, "row", 200)]
CASES += [(4, "row", 36), (8, 64, 128), (8, "row", 50)]
ROWS = 3


def scheme(bits, group_size) -> QuantizationScheme:
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": True,
        "dynamic": False,
        "strategy": "channel" if group_size == "row" else "group",
        "group_size": None if group_size == "row" else group_size,
    }
    return QuantizationScheme.model_validate({"targets": ["Linear"], "weights": weights})


def make_goldens() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    out = {}
    for bits, group_size, k in CASES:
        # All codes are allowed here, also the lowest, which we read but never write.
        codes = torch.randint(-(1 << (bits - 1)), 1 << (bits - 1), (ROWS, k), dtype=torch.int8)
        groups = 1 if group_size == "row" else k // group_size
        scales = torch.rand(ROWS, groups).half() + 0.01
        packed = {
            "weight_packed": pack_to_int32(codes, bits),
            "weight_scale": scales,
            "weight_shape": torch.tensor(codes.shape),
        }
        name = f"{bits}.{group_size}.{k}"
        weight = PackedQuantizationCompressor.decompress(packed, scheme(bits, group_size))["weight"]
        out[f"{name}.codes"] = codes
        out[f"{name}.scales"] = scales
        out[f"{name}.packed"] = packed["weight_packed"]
        out[f"{name}.weight"] = weight
    return out


def unpack_folder(folder: Path) -> dict[str, torch.Tensor]:
    content = json.loads((folder / "config.json").read_text())["quantization_config"]
    groups = QuantizationConfig.model_validate(content).config_groups
    stored = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            stored.update({name: shard.get_tensor(name) for name in shard.keys()})  # noqa: SIM118
    out = {}
    for name in stored:
        module, dot, last = name.rpartition(".")
        if last != "weight_packed":
            continue
        parts = {p: stored[module + dot + p] for p in ("weight_packed", "weight_scale")}
        parts["weight_shape"] = stored[module + dot + "weight_shape"]
        (only,) = groups.values()
        weight = PackedQuantizationCompressor.decompress(parts, only)["weight"]
        out[module + ".weight"] = weight.contiguous()
    return out


if __name__ == "__main__":
    if sys.argv[1] == "goldens":
        save_file(make_goldens(), sys.argv[2])
    else:
        save_file(unpack_folder(Path(sys.argv[2])), sys.argv[3])
