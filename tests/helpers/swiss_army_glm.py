"""GLM-130B's published model class on a CPU in float32: log-probs of a checkpoint. A program.

Run in an environment with torch, numpy and SwissArmyTransformer 0.2.12 (installed without its
dependencies); imports nothing of Bilin. Reads mp_rank_XX files of tensor-parallel degree 1:

    python swiss_army_glm.py FILE.pt SHAPE.json CASES.json OUT.npz

CASES: a list of {"ids", "position_ids", "prefix_len"}. OUT: log-probs float32 [T, V] under "0", ….
Stood in for: deepspeed (checkpointing of activations, random states on a GPU), which it imports
and does not use here; torch.cuda.current_device; `half`, since the published code rounds
attention's probabilities to float16 whatever the model's precision.
"""

import argparse
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch


def stand_in(name: str, **values: object) -> None:
    """An importable module of that name and its parents."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    for key, value in values.items():
        setattr(sys.modules[name], key, value)


def import_model() -> Any:
    """The published GLM130B class."""
    nothing = types.SimpleNamespace
    stand_in("deepspeed", init_distributed=nothing, add_config_arguments=lambda parser: parser)
    stand_in(
        "deepspeed.runtime.activation_checkpointing.checkpointing",
        checkpoint=None,
        get_cuda_rng_tracker=None,
        model_parallel_cuda_manual_seed=None,
    )
    # The package's own modules pull in training and tokenizers: the model's files need neither.
    import importlib.util

    spec = importlib.util.find_spec("SwissArmyTransformer")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    for name in ("SwissArmyTransformer", "SwissArmyTransformer.model"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    stand_in("SwissArmyTransformer", update_args_with_file=None)
    official = types.ModuleType("SwissArmyTransformer.model.official")
    official.__path__ = [str(root / "model" / "official")]
    sys.modules[official.__name__] = official
    stand_in(
        "SwissArmyTransformer.training.deepspeed_training", load_checkpoint=None, get_model=None
    )
    stand_in("SwissArmyTransformer.resources", auto_create=None)
    library: Any = torch
    library.cuda.current_device = lambda: torch.device("cpu")
    library.Tensor.half = torch.Tensor.float
    library.half = torch.float32
    from SwissArmyTransformer.model.official.glm130B_model import (  # pyright: ignore[reportMissingImports]
        GLM130B,
    )

    return GLM130B


def make_model(model_class: Any, shape: dict[str, Any]) -> Any:
    """One rank of one."""
    from SwissArmyTransformer.mpu import (  # pyright: ignore[reportMissingImports]
        initialize,
    )

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed: Any = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    initialize.initialize_model_parallel(1)
    arguments = argparse.Namespace(
        **{key: shape[key] for key in ("num_layers", "hidden_size", "num_attention_heads")},
        inner_hidden_size=shape["inner_hidden_size"],
        vocab_size=shape["vocab_size"],
        max_sequence_length=shape["max_sequence_length"],
        layernorm_order="post",
        layernorm_epsilon=1e-5,
        use_final_layernorm=True,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        hidden_size_per_attention_head=None,
        model_parallel_size=1,
        skip_init=False,
        checkpoint_activations=False,
        checkpoint_num_layers=1,
        sandwich_ln=False,
        use_gpu_initialization=False,
        fp16=False,
        mode="inference",
    )
    return model_class(arguments)


def logprobs(model: Any, case: dict[str, Any]) -> np.ndarray:
    """float32 [T, V]."""
    ids = torch.tensor([case["ids"]])
    positions = torch.tensor([case["position_ids"]])
    count = ids.shape[1]
    mask = torch.ones(1, count, count).tril()
    mask[:, :, : case["prefix_len"]] = 1
    mask = (mask < 0.5).unsqueeze(1)  # True = hidden
    with torch.no_grad():
        logits = model(ids, positions, mask)[0]
    return logits[0].float().log_softmax(-1).numpy()


def main() -> None:
    checkpoint, shape_file, cases_file, out = map(Path, sys.argv[1:5])
    shape = json.loads(shape_file.read_text())
    # Before float16 is taken away from torch.
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["module"]
    weights = {name: tensor.float() for name, tensor in weights.items()}
    model = make_model(import_model(), shape).float()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if "inv_freq" not in name]
    unexpected = [name for name in unexpected if "inv_freq" not in name]
    assert not missing, missing
    assert not unexpected, unexpected
    model.eval()
    cases = json.loads(cases_file.read_text())
    found: dict[str, Any] = {str(i): logprobs(model, case) for i, case in enumerate(cases)}
    np.savez(out, **found)


if __name__ == "__main__":
    main()
