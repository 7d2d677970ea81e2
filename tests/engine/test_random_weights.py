"""Random weights: as a model folder would give them, without one."""

import pytest
import tiny_glm
import torch

from bilin_engine.checkpoints.model_folder import ModelFolder
from bilin_engine.checkpoints.random_weights import RandomWeights
from bilin_engine.config import QuantizationConfig
from bilin_engine.errors import ModelBrokenError
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import runner_from

CPU = torch.device("cpu")
QUANTIZATIONS = [
    QuantizationConfig.uniform(4, 32),
    QuantizationConfig.uniform(4, "row"),
    QuantizationConfig.uniform(8, 64),
    None,
]


def config(quantization):
    return tiny_glm.tiny_config(
        hidden_size=128, inner_hidden_size=192, quantization=quantization, dtype="float16"
    )


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_tensors_are_those_of_a_model_folder(tmp_path, quantization):
    tiny_glm.write_tiny_model(tmp_path / "model", config(None), quantization=quantization)
    source = RandomWeights(config(quantization), CPU)
    with ModelFolder(tmp_path / "model") as folder:
        for spec in folder.config.tensors():
            names = [spec.name]
            if folder.scheme(spec.module) is not None and spec.is_linear:
                names = [f"{spec.name}_packed", f"{spec.name}_scale"]
            assert folder.scheme(spec.module) == source.scheme(spec.module)
            for name in names:
                cuts = {} if len(spec.shape) == 1 else {"columns": slice(0, 1)}
                for part in ({}, {"rows": slice(1, 7)}, cuts):
                    wanted, got = folder.tensor(name, **part), source.tensor(name, **part)
                    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), name


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_model_of_them_computes_ordinary_numbers(quantization):
    results = []
    for _ in range(2):
        runner = runner_from(
            RandomWeights(config(quantization), CPU),
            device="cpu",
            dtype="float32",
            num_threads=1,
            on_progress=lambda *_: None,
        )
        results.append(runner.prefill([PrefillRow(0, [1, 2, 3], [0, 1, 2], 2)])[0])
        runner.close()
    assert torch.equal(*results)
    assert 0.1 < results[0].std() < 10


def test_an_unknown_name_is_told():
    with pytest.raises(ModelBrokenError, match=r"some\.weight is no tensor of glm130b"):
        RandomWeights(config(None), CPU).tensor("some.weight")
    name = "transformer.layers.0.mlp.dense_h_to_4h.weight_packed"
    with pytest.raises(ModelBrokenError, match="dense_h_to_4h is not quantized"):
        RandomWeights(config(None), CPU).tensor(name)
