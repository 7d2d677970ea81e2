"""The embedding and head that ranks share: what the logits keep of their rows."""

import pytest
import torch
from thread_ranks import run_ranks
from tiny_causal import tiny_config

from bilin_engine.collectives.base import SingleRank
from bilin_engine.collectives.shared_memory import SharedMemoryCollective
from bilin_engine.layers import linear as linears
from bilin_engine.layers.parallel import VocabParallelEmbedding
from bilin_engine.layers.weights import ComputePlan, RankWeights

V, H = 96, 64
CPU = torch.device("cpu")


class OneMatrix:
    """A source that holds the rows of one embedding."""

    config = tiny_config("llama")

    def __init__(self, rows):
        self.rows = rows

    def scheme(self, module):
        raise NotImplementedError(module)

    def tensor(self, name, rows=slice(None), columns=slice(None)):
        del name
        return self.rows[rows, columns]


def embedding_of(rows, collective):
    plan = ComputePlan("reference", torch.bfloat16, CPU)
    weights = RankWeights(OneMatrix(rows), plan, collective)
    return VocabParallelEmbedding(weights, "embed", V, rows.dtype)


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("num_tokens", [1, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logits_are_not_rounded_to_16_bits(monkeypatch, dtype, num_tokens, num_ranks):
    monkeypatch.setattr(linears, "_WIDENED", H * 7)  # blocks that do not divide the rows
    rows = torch.randn(V, H, generator=torch.Generator().manual_seed(1)).to(dtype)
    hidden = torch.randn(num_tokens, H, generator=torch.Generator().manual_seed(2))

    def work(rank, folder):
        collective = (
            SingleRank() if num_ranks == 1 else SharedMemoryCollective(folder, rank, num_ranks)
        )
        return embedding_of(rows, collective).logits(hidden)

    expected = hidden.double() @ rows.double().T
    for found in run_ranks(num_ranks, work):
        assert found.dtype == torch.float32
        # float32 sums of 64 products of about 1; bfloat16 would be off by 0.1 and float16 by 0.01.
        assert (found - expected).abs().max() < 1e-4


def test_a_head_of_16_bits_stays_one():
    rows = torch.randn(V, H, dtype=torch.bfloat16)
    embedding = embedding_of(rows, SingleRank())
    embedding.logits(torch.randn(1, H))
    assert embedding.size_bytes == rows.nbytes
