"""Asks `transformers` for the logits of the tiny random models; writes goldens.safetensors.

Run in an environment with torch, transformers and safetensors, and this project on the path:

    PYTHONPATH=engine:tests/helpers python tests/data/causal/make_goldens.py [folder]

Every model answers twice: the prompt in one pass, then the answer token by token with its cache.
"""
# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tiny_causal import ANSWER, CONFIGS, PROMPT, random_weights, tiny_config


@torch.no_grad()
def logits_of(case: str, folder: Path) -> torch.Tensor:
    """float32 [prompt + answer, V] as transformers computes them from the same weights."""
    (folder / "config.json").write_text(json.dumps(CONFIGS[case]))
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model = model.float().eval()
    weights = random_weights(tiny_config(case))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith("lm_head")]
    assert not missing, (case, missing)
    assert not unexpected, (case, unexpected)
    model.tie_weights()
    out = model(torch.tensor([PROMPT]), use_cache=True)
    rows, cache = [out.logits[0]], out.past_key_values
    for token in ANSWER:
        out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        rows.append(out.logits[0])
        cache = out.past_key_values
    return torch.cat(rows).float()


def main() -> None:
    """Writes the file beside this script, or into the folder that is named."""
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    logits = {case: logits_of(case, here).contiguous() for case in CONFIGS}
    (here / "config.json").unlink()
    metadata = {"transformers": transformers.__version__}
    save_file(logits, here / "goldens.safetensors", metadata=metadata)


main()
