"""The trainable model against the engine's own: same names, same maths, same INT4."""

import numpy as np
import pytest
import torch
from tiny_glm import random_weights, tiny_config

from bilin_engine.checkpoints import int4
from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import QuantizationScheme
from bilin_engine.pretrain.export import model_config
from bilin_engine.pretrain.model import GlmSize, TrainableGlm, round_int4, visibility
from bilin_engine.pretrain.samples import COUNT_ON, Block, Sample, collate
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner

SIZE = GlmSize(vocab_size=96, hidden_size=64, num_layers=3, num_heads=4, inner_size=96, context=64)
SOP, EOP = 90, 91


@pytest.fixture(scope="module")
def weights():
    return random_weights(tiny_config())


@pytest.fixture(scope="module")
def model(weights):
    model = TrainableGlm(SIZE)
    model.load_state_dict(weights)
    return model


@pytest.fixture(scope="module")
def runner(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model_folder(folder, tiny_config(), weights.items())
    runner = load_runner(folder, dtype="float32", num_threads=1, num_slots=2)
    yield runner
    runner.close()


def tensors(batch):
    return [torch.from_numpy(a) for a in (batch.input_ids, batch.position_ids, batch.block_ids)]


def test_its_tensors_are_the_checkpoint_s():
    expected = {spec.name: spec.shape for spec in model_config(SIZE).tensors()}
    found = {name: tuple(value.shape) for name, value in TrainableGlm(SIZE).state_dict().items()}
    assert found == expected
    assert SIZE.num_parameters == model_config(SIZE).num_parameters


@pytest.mark.parametrize(
    "block",
    [Block((20, 21, 22), COUNT_ON, True), Block((20, 21, 22), 2, True)],
    ids=["gMASK", "MASK"],
)
def test_training_sees_what_inference_sees(model, runner, block):
    """Log-probs of every output token: one training row against prefill and decode."""
    prefix = (5, 6, 80, 7, 8)
    arrays = collate([Sample(prefix, (block,))], sop=SOP, eop=EOP)
    with torch.inference_mode():
        trained = model.logits(*tensors(arrays))[0, len(prefix) :].log_softmax(-1)
    positions = arrays.position_ids[0].tolist()
    rows = [PrefillRow(0, (*prefix, SOP), positions[: len(prefix) + 1], len(prefix))]
    served = [runner.prefill(rows)[0][0]]
    for index, token in enumerate(block.token_ids):
        served.append(runner.decode([0], [token], [positions[len(prefix) + 1 + index]])[0])
    # Both float32; random models of this width agree to some 1e-5.
    assert torch.allclose(trained, torch.stack(served).log_softmax(-1), atol=1e-3)


def test_blocks_and_padding_do_not_disturb_each_other(model):
    prefix, first, second = (5, 6, 80, 7, 80), Block((20, 21), 2, True), Block((30,), 4, True)
    both = collate([Sample(prefix, (first, second))], sop=SOP, eop=EOP, multiple=16)
    alone = collate([Sample(prefix, (second,))], sop=SOP, eop=EOP)
    with torch.inference_mode():
        together = model.logits(*tensors(both))[0, 8:10]
        single = model.logits(*tensors(alone))[0, 5:7]
    assert torch.allclose(together, single, atol=1e-3)


def test_the_visibility_is_the_hand_made_matrix():
    blocks = torch.tensor([[0, 0, 1, 1, 2, -1]])
    assert visibility(blocks)[0, 0].int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_the_loss_is_the_mean_log_prob_of_the_targets(model):
    arrays = collate([Sample((5, 81), (Block((7, 9), COUNT_ON, True),))], sop=SOP, eop=EOP)
    with torch.inference_mode():
        logprobs = model.logits(*tensors(arrays))[0].log_softmax(-1)
        loss = model(*tensors(arrays), torch.from_numpy(arrays.targets))
    by_hand = -(logprobs[2, 7] + logprobs[3, 9] + logprobs[4, EOP])
    assert float(loss) == pytest.approx(float(by_hand), rel=1e-5)


def test_the_embedding_gradient_of_the_input_is_shrunk(weights):
    """A token that is only read and never predicted gets its gradient from the input side alone
    but for the softmax, which is the same in both models."""
    arrays = collate([Sample((5, 81), (Block((7,), COUNT_ON, True),))], sop=SOP, eop=EOP)
    gradients = {}
    for kept in (0.0, 0.1, 1.0):
        model = TrainableGlm(SIZE, embedding_gradient=kept)
        model.load_state_dict(weights)
        model(*tensors(arrays), torch.from_numpy(arrays.targets)).backward()
        gradient = model.transformer.word_embeddings.weight.grad
        assert gradient is not None
        gradients[kept] = gradient[5]
    from_input = gradients[1.0] - gradients[0.0]
    assert from_input.norm() > 0
    assert torch.allclose(gradients[0.1] - gradients[0.0], 0.1 * from_input, rtol=1e-3, atol=1e-6)


def test_fake_quantization_rounds_as_the_stored_weights_do():
    weight = torch.randn(8, 96, generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    scheme = QuantizationScheme(bits=4, group_size=32)
    stored = int4.dequantize(int4.quantize(weight, scheme, "test"))
    assert torch.equal(round_int4(weight, 32), stored)


def test_fake_quantization_lets_the_gradient_through(model):
    arrays = collate([Sample((5, 81), (Block((7,), COUNT_ON, True),))], sop=SOP, eop=EOP)
    inputs = [*tensors(arrays), torch.from_numpy(arrays.targets)]
    exact = float(model(*inputs).detach())
    model.set_fake_quantization(32)
    try:
        rounded = model(*inputs)
        rounded.backward()
    finally:
        model.set_fake_quantization(0)
    assert float(rounded.detach()) != exact
    layer = model.blocks[0]
    gradient = layer.mlp.dense_4h_to_h.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert float(model(*inputs).detach()) == exact


def test_the_initialisation_is_deepnorm_s():
    torch.manual_seed(0)
    size = GlmSize(vocab_size=64, hidden_size=256, num_layers=8, num_heads=4, inner_size=512)
    layer = TrainableGlm(size).blocks[3]
    fused = layer.attention.query_key_value.weight.detach().view(4, 3, 64, 256)
    xavier, shrink = (2 / 512) ** 0.5, 16**-0.5
    assert float(fused[:, 0].std()) == pytest.approx(xavier, rel=0.05)
    assert float(fused[:, 1].std()) == pytest.approx(xavier, rel=0.05)
    assert float(fused[:, 2].std()) == pytest.approx(xavier * shrink, rel=0.05)
    assert float(layer.attention.dense.weight.detach().std()) == pytest.approx(
        xavier * shrink, rel=0.05
    )
    up = (2 / (256 + 512)) ** 0.5 * shrink
    assert float(layer.mlp.dense_h_to_4h.weight.detach().std()) == pytest.approx(up, rel=0.05)
    assert float(layer.mlp.dense_4h_to_h.weight.detach().std()) == pytest.approx(up, rel=0.05)
    assert not np.any(layer.mlp.dense_4h_to_h.bias.detach().numpy())
