"""The searched scales lose less than the largest weight's, and never anything more."""

import pytest
import torch

from bilin_engine.checkpoints import int4, scale_search
from bilin_engine.config import QuantizationScheme
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError

G32 = QuantizationScheme(4, 32)


def error(weight, quantized, importance: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Weighted squared error by group."""
    difference = (int4.dequantize(quantized) - weight.float()).square() * importance
    return difference.unflatten(1, (quantized.scales.shape[1], -1)).sum(2)


@pytest.mark.parametrize("group", [32, 64, 128, 384])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-4, 0.02, 30.0])
def test_less_is_lost_than_by_the_largest_weight(group, dtype, size):
    weight = (torch.randn(64, 384, generator=torch.Generator().manual_seed(1)) * size).to(dtype)
    scheme = QuantizationScheme(4, group)
    found = scale_search.quantize(weight, scheme, "w")
    plain = int4.quantize(weight, scheme, "w")
    assert found.codes.min() >= -8
    assert found.codes.max() <= 7
    assert error(weight, found).sum() < 0.8 * error(weight, plain).sum()


def test_a_group_on_a_grid_is_kept():
    codes = torch.randint(-8, 8, (16, 64), generator=torch.Generator().manual_seed(2)).float()
    codes[:, ::32] = -8
    for scale in (0.5, -0.25):
        found = scale_search.quantize(codes * scale, G32, "w")
        assert error(codes * scale, found).max() < 1e-3 * scale**2 * 32


def test_what_is_minimised_is_the_weighted_error():
    weight = torch.randn(256, 64, generator=torch.Generator().manual_seed(3))
    squares = weight.square().unflatten(1, (2, 32))
    importance = (squares + squares.mean(dim=2, keepdim=True)).sqrt().flatten(1)
    found, plain = scale_search.quantize(weight, G32, "w"), int4.quantize(weight, G32, "w")
    assert error(weight, found, importance).sum() < 0.8 * error(weight, plain, importance).sum()


def test_blocks_of_rows_change_nothing(monkeypatch):
    weight = torch.randn(64, 384, generator=torch.Generator().manual_seed(4))
    whole = scale_search.quantize(weight, G32, "w")
    monkeypatch.setattr(scale_search, "_BLOCK_VALUES", 384)
    rows = scale_search.quantize(weight, G32, "w")
    assert torch.equal(whole.codes, rows.codes)
    assert torch.equal(whole.scales, rows.scales)


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-7])
def test_groups_of_almost_nothing_stay_finite(value):
    weight = torch.full((2, 64), value)
    found = scale_search.quantize(weight, G32, "w")
    assert found.scales.isfinite().all()
    assert (int4.dequantize(found) - weight).abs().max() <= max(value, 2.0**-25)


def test_whole_rows_and_int8_are_the_papers_recipe():
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(5))
    for scheme in (QuantizationScheme(4, "row"), QuantizationScheme(8, 32)):
        found, plain = (
            scale_search.quantize(weight, scheme, "w"),
            int4.quantize(weight, scheme, "w"),
        )
        assert torch.equal(found.codes, plain.codes)
        assert torch.equal(found.scales, plain.scales)


def test_what_cannot_be_quantized_is_named():
    damaged = torch.zeros(2, 64)
    damaged[1, 3] = torch.nan
    with pytest.raises(ModelBrokenError, match=r"w holds nan at \[1, 3\]"):
        scale_search.quantize(damaged, G32, "w")
    with pytest.raises(ModelBrokenError, match=r"w: a weight of 1e\+06 is too large"):
        scale_search.quantize(torch.full((2, 64), 1e6), G32, "w")
    with pytest.raises(UnsupportedModelError, match="group_size 32 does not divide"):
        scale_search.quantize(torch.zeros(2, 48), G32, "w")
