"""GLM-130B's published class (SwissArmyTransformer 0.2.12) and ours: the same log-probs.

Ours come from files in its checkpoint format, through the importer, as plain fp16 weights.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_environment import oracle_python
from ranked_models import on_one, on_ranks
from reference_checkpoint import write_checkpoint
from swiss_army_cases import CASES, IDS, SHAPES, ask_published_class, weights

from bilin_engine.checkpoints.convert import ConvertSettings, convert
from bilin_engine.config import GLMConfig
from bilin_engine.runners.base import PrefillRow

GOLDENS = Path(__file__).parents[1] / "data" / "sat" / "goldens.npz"
# float32 on both sides, in another order: sums of up to 128 terms, five layers, log-probs to -40,
# which float32 itself holds to 4e-6. Measured: 8e-6. A structural mistake moves log-probs by 0.004
# (tanh-GELU) to 16.
TOLERANCE = 1e-4


def imported(folder, name, world_size):
    """The model folder made from a checkpoint of `world_size` ranks."""
    write_checkpoint(folder / f"src-{world_size}", weights(name), world_size)
    settings = ConvertSettings(target="fp16")
    config = GLMConfig.create(**SHAPES[name])
    return convert(folder / f"src-{world_size}", folder / f"model-{world_size}", config, settings)


def all_cases(runner):
    """Log-probs of every case, and of the first once more by one decode a token."""
    found = []
    for case in CASES:
        row = PrefillRow(0, case["ids"], case["position_ids"], case["prefix_len"])
        found.append(runner.prefill([row], "all")[0].log_softmax(-1))
    first = CASES[0]
    start = first["prefix_len"] + 1
    row = PrefillRow(1, IDS[:start], first["position_ids"][:start], first["prefix_len"])
    decoded = [runner.prefill([row])[0]]
    for token, position in zip(IDS[start:], first["position_ids"][start:], strict=True):
        decoded.append(runner.decode([1], [token], [position]))
    return found, torch.cat(decoded).log_softmax(-1)


@pytest.mark.parametrize("name", SHAPES)
def test_logprobs_are_those_that_the_published_class_gave(tmp_path, name):
    found, decoded = on_one(imported(tmp_path, name, 2), all_cases)
    with np.load(GOLDENS) as goldens:
        for index, rows in enumerate(found):
            expected = torch.from_numpy(goldens[f"{name} {index}"])
            assert (rows[::5] - expected).abs().max() <= TOLERANCE, CASES[index]
        expected = torch.from_numpy(goldens[f"{name} 0"])
    start = CASES[0]["prefix_len"]
    assert (decoded[15 - start] - expected[3]).abs().max() <= TOLERANCE


@pytest.fixture(scope="module")
def python():
    """An environment with the published class, without the training packages it asks for."""
    found = oracle_python("swiss-army-transformer", "torch==2.13.0", "numpy")
    package = "SwissArmyTransformer==0.2.12"
    command = [str(found), "-m", "pip", "install", "-q", "--no-deps", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{package} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return found


@pytest.mark.oracle
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHAPES)
def test_logprobs_equal_the_published_class(python, tmp_path, name, record_property):
    """From files of degree 1, 2 and 4; on one rank, on two and on four."""
    expected = [torch.from_numpy(rows) for rows in ask_published_class(python, name, tmp_path)]
    worst = 0.0
    for degree in (1, 2, 4):
        folder = imported(tmp_path / "ours", name, degree)
        ways = [on_one(folder, all_cases)]
        if degree > 1:
            ways.append(on_ranks(folder, degree, "shared_memory", all_cases))
        for found, _ in ways:
            for rows, wanted in zip(found, expected, strict=True):
                worst = max(worst, float((rows - wanted).abs().max()))
    record_property("max_error", worst)
    assert worst <= TOLERANCE, worst
