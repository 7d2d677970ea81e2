"""Loads a model folder in `transformers` with compressed-tensors; writes its logits of some ids.

python load_in_transformers.py FOLDER OUT.safetensors ID ID ...
"""
# pyright: reportMissingImports=false

import sys

import torch
import transformers
from safetensors.torch import save_file


@torch.no_grad()
def main() -> None:
    """float32 [T, V] under the name "logits"."""
    folder, out, *ids = sys.argv[1:]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logits = model.eval()(torch.tensor([list(map(int, ids))])).logits[0]
    save_file({"logits": logits.float().contiguous()}, out)


main()
