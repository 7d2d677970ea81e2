"""Known models without their files: published sizes, and the cards that hold them."""

import pytest

from bilin_engine.placement.cost import ModelCost
from bilin_engine.placement.devices import parse_devices
from bilin_engine.placement.known_configs import KNOWN_CONFIGS, known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import PlanSettings


# As the model cards count them; the 32B members with two key heads have 0.6e9 less.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("glm-4-9b", 9.40e9),
        ("glm-4-9b-0414", 9.40e9),
        ("glm-4-32b-0414", 33.1e9),
        ("chatglm3-6b", 6.24e9),
        ("qwen2.5-7b", 7.62e9),
        ("qwen3-8b", 8.19e9),
        ("qwen3-4b-2507", 4.02e9),
        ("smollm2-1.7b", 1.71e9),
    ],
)
def test_sizes_are_the_published_ones(name, parameters):
    assert KNOWN_CONFIGS[name].num_parameters == pytest.approx(parameters, rel=0.005)


def plan_of(name: str, devices: str, context: int):
    settings = PlanSettings(context=context, use_cpu=False)
    return plan(known_config(name), parse_devices(devices), settings)


def test_glm_4_32b_fits_one_card_of_24_gib_at_8k():
    result = plan_of("glm-4-32b-0414", "1x24GiB", 8192)
    assert result.fits
    # Half a byte a weight and a scale of two bytes for 128; embedding and head in two bytes.
    layer = 2 * 6144 * 6144 + 2 * 6144 * 1024 + 3 * 6144 * 23040
    expected = 61 * layer * (0.5 + 2 / 128) + 2 * 151552 * 6144 * 2
    assert result.devices[0].weights == pytest.approx(expected, rel=0.001)  # and the norms
    # 8 key heads of 128, two bytes, keys and values, 61 layers.
    assert result.devices[0].kv_cache == 8192 * 8 * 128 * 2 * 2 * 61


def test_glm_4_32b_at_32k_says_what_is_missing():
    result = plan_of("glm-4-32b-0414", "1x24GiB", 32768)
    assert not result.fits
    assert "MiB more: 29.55 GiB needed at context 32768" in result.reason
    assert "Lower the context to 8,192" in result.suggestions[0].text
    assert plan_of("glm-4-32b-0414", "2x24GiB", 32768).fits


@pytest.mark.parametrize("context", [8192, 32768])
def test_glm_4_9b_fits_one_card_of_11_gib(context):
    result = plan_of("glm-4-9b", "1x11GiB", context)
    assert result.fits
    # 2 key heads of 128, two bytes, keys and values, 40 layers.
    assert result.devices[0].kv_cache == context * 2 * 128 * 2 * 2 * 40


def test_more_ranks_than_key_heads_hold_a_head_each():
    config = known_config("glm-4-9b", group_size=64)
    assert config.num_key_value_heads == 2
    one, two, four = (ModelCost(config, ranks).kv_bytes(8192) for ranks in (1, 2, 4))
    assert (two, four) == (one // 2, one // 2)
