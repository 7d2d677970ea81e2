"""Writes goldens.json: what GLM-130B's own BeamSearchStrategy finds on tables of random logits.

Run with the path of a checkout of github.com/THUDM/GLM-130B (Apache-2.0; made with 212215c):
    python tests/data/beam/make_goldens.py CHECKOUT
The model is a table: the logits after token t are row t of a random matrix.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

CASES = [
    {"name": "two stops", "seed": 1, "num_beams": 4, "stop_ids": [0, 1]},
    {"name": "one stop", "seed": 2, "num_beams": 3, "stop_ids": [5]},
    {"name": "trigrams", "seed": 3, "num_beams": 4, "no_repeat_ngram_size": 3},
    {"name": "bigrams", "seed": 4, "num_beams": 2, "no_repeat_ngram_size": 2},
    {"name": "at least six", "seed": 5, "num_beams": 4, "min_new_tokens": 6},
    {"name": "long favoured", "seed": 6, "num_beams": 4, "length_penalty": 2.0},
    {"name": "plain sums", "seed": 7, "num_beams": 4, "length_penalty": 0.0},
    {"name": "cut short", "seed": 8, "num_beams": 4, "max_new_tokens": 3},
]
DEFAULTS = {
    "vocab_size": 23,
    "prompt": [3, 9, 4, 11],
    "stop_ids": [0, 1],
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_new_tokens": 0,
    "max_new_tokens": 24,
}


def load_strategies(checkout: Path):
    np.bool = np.bool_  # WORKAROUND: the file predates NumPy 1.24 (GLM-130B issue 72)
    # The file imports top_k_logits for its sampling half only; beams do not need the package.
    for name in ("", ".generation", ".generation.sampling_strategies"):
        sys.modules["SwissArmyTransformer" + name] = types.ModuleType("absent")
    base = types.ModuleType("absent")
    vars(base)["top_k_logits"] = None
    sys.modules["SwissArmyTransformer.generation.sampling_strategies.base_strategy"] = base
    spec = importlib.util.spec_from_file_location("s", checkout / "generation" / "strategies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def search(strategies, case: dict) -> list[dict]:
    generator = torch.Generator().manual_seed(case["seed"])
    table = torch.randn(case["vocab_size"], case["vocab_size"], generator=generator) * 2
    strategy = strategies.BeamSearchStrategy(
        1,
        case["num_beams"],
        length_penalty=case["length_penalty"],
        consider_end=True,
        end_tokens=case["stop_ids"],
        no_repeat_ngram_size=case["no_repeat_ngram_size"],
        min_gen_length=case["min_new_tokens"],
        deterministic=True,
    )
    tokens = torch.tensor([[case["prompt"]]])
    memory = torch.zeros(1, 1, 1, 1)
    for _ in range(case["max_new_tokens"]):
        tokens, memory = strategy.forward(table[tokens[:, :, -1]], tokens, memory)
        if strategy.is_done:
            break
    beams = []
    for beam, score in zip(*finalize(strategy, tokens, memory), strict=True):
        ids = beam.tolist()[len(case["prompt"]) :]
        stopped = ids[-1] in case["stop_ids"]
        beams.append(
            {"token_ids": ids[:-1] if stopped else ids, "score": score, "stopped": stopped}
        )
    return beams


def finalize(strategy, tokens, memory) -> tuple[list, list[float]]:
    """Beams and scores; the reference forgets the scores, so they are taken just before."""
    kept = []
    strategy._init_cache = lambda: kept.extend(strategy.end_beams_penalized_scores[0])
    beams, _ = strategy.finalize(tokens, memory)
    return beams[0], [float(score) for score in kept]


def main() -> None:
    strategies = load_strategies(Path(sys.argv[1]))
    cases = [{**DEFAULTS, **case} for case in CASES]
    for case in cases:
        case["beams"] = search(strategies, case)
    out = Path(__file__).with_name("goldens.json")
    out.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
