"""Placement: the published sizes, and properties that hold for every set of devices."""

import dataclasses
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.config import GLMConfig, QuantizationConfig
from bilin_engine.errors import BadRequestError
from bilin_engine.placement.cost import (
    TILE_COLUMNS,
    TILE_ROWS,
    ModelCost,
    check_degree,
    file_bytes,
    stored_bytes,
)
from bilin_engine.placement.devices import GIB, PlanDevice, card_for, cuda_device, parse_devices
from bilin_engine.placement.known_configs import known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import PlanResult, PlanSettings
from bilin_kernels import packing


def plan_130b(devices: str, group_size: int | str = "row", **settings) -> PlanResult:
    config = known_config("glm-130b", group_size=group_size)  # type: ignore[arg-type]
    return plan(config, parse_devices(devices), PlanSettings(**settings))


# Published or derived figures of GLM-130B INT4 with one scale per row (weights in GB per rank,
# KV cache of 2048 positions in GB over all ranks, roofline tokens/s at context 2048).
@pytest.mark.parametrize(
    ("devices", "weights_gb", "roofline_2048"),
    [("1x80GiB", 67.16, 45.1), ("4x24GiB", 16.80, 50.5), ("8x11GiB", 8.41, 66.4)],
)
def test_glm_130b_has_the_published_sizes(devices, weights_gb, roofline_2048):
    result = plan_130b(devices, context=2048)
    assert result.fits
    assert result.devices[0].weights / 1e9 == pytest.approx(weights_gb, rel=0.02)
    assert sum(d.kv_cache for d in result.devices) / 1e9 == pytest.approx(7.05, rel=0.02)
    assert result.roofline_tok_s == pytest.approx(roofline_2048, rel=0.02)
    assert result.decode_tok_s < result.roofline_tok_s


def test_a_tiny_model_on_the_processor_is_not_promised_what_memory_alone_allows():
    tiny = GLMConfig.create(
        num_layers=6,
        hidden_size=256,
        num_attention_heads=4,
        inner_hidden_size=704,
        vocab_size=8192,
        max_sequence_length=512,
    )
    result = plan(tiny, parse_devices("cpu:16GiB"), PlanSettings(context=512))
    assert result.roofline_tok_s > 2000
    assert result.decode_tok_s < 1000
    large = plan_130b("cpu:160GiB", context=2048)
    assert large.decode_tok_s == pytest.approx(0.75 * large.roofline_tok_s, rel=0.01)


@pytest.mark.parametrize(
    ("bits", "total_gb", "tp8_gb"), [(16, 257.4, 32.18), (8, 130.6, 16.33), (4, 67.2, 8.41)]
)
def test_precisions_have_the_published_sizes(bits, total_gb, tp8_gb):
    config = known_config("glm-130b", bits=bits, group_size="row")
    assert ModelCost(config).weights_bytes / 1e9 == pytest.approx(total_gb, rel=0.02)
    assert ModelCost(config, 8).weights_bytes / 1e9 == pytest.approx(tp8_gb, rel=0.02)


def test_group_128_adds_a_scale_for_every_128_weights():
    row = ModelCost(known_config("glm-130b", group_size="row")).weights_bytes
    grouped = ModelCost(known_config("glm-130b", group_size=128)).weights_bytes
    row_scales = 70 * (36864 + 12288 + 65536 + 12288) * 2
    assert grouped - row == 126_835_752_960 // 128 * 2 - row_scales


def test_four_cards_of_16_gib_are_refused_with_numbers():
    result = plan_130b("4x16GiB", context=2048)
    assert not result.fits
    assert result.short_bytes > 2 * 10**9
    assert "MiB more" in result.reason
    assert "16.00 GiB free" in result.reason
    assert result.short_device in result.reason


def test_a_long_prompt_counts():
    short = plan_130b("4x24GiB", context=2048, prompt_tokens=64)
    long = plan_130b("4x24GiB", context=2048, prompt_tokens=2048)
    assert long.devices[0].activations > short.devices[0].activations
    assert long.first_token_s > short.first_token_s


def test_unequal_cards_and_the_processor_share_the_layers():
    result = plan_130b("24GiB,11GiB,cpu:128GiB", context=512)
    assert result.fits
    assert result.mode == "layer_split"
    assert [d.name for d in result.devices] == ["cuda:0", "cuda:1", "cpu"]
    assert sum(d.num_layers for d in result.devices) == 70
    assert result.devices[0].num_layers > result.devices[1].num_layers


def test_without_the_processor_the_suggestion_names_it():
    result = plan_130b("24GiB,11GiB,cpu:128GiB", context=512, use_cpu=False)
    assert not result.fits
    assert any("processor" in s.text and s.settings.use_cpu for s in result.suggestions)


def test_the_processor_that_is_off_computes_nothing_where_it_is_alone():
    with pytest.raises(BadRequestError, match="no device is switched on"):
        plan_130b("cpu:128GiB", use_cpu=False)


def test_memory_that_other_programs_hold_is_not_ours():
    config = known_config("glm-130b", group_size="row")
    busy = cuda_device(0, "NVIDIA H100 80GB HBM3", 80 * GIB, 40 * GIB)
    result = plan(config, [busy], PlanSettings(context=512))
    assert not result.fits
    assert result.devices[0].other_programs == 40 * GIB
    assert busy.bandwidth == 3350e9


@pytest.mark.parametrize("degree", [5, 7, 9])
def test_a_degree_that_does_not_divide_is_refused_with_those_that_do(degree):
    with pytest.raises(BadRequestError, match="possible: 1, 2, 4, 8, 16, 32"):
        check_degree(known_config("glm-130b", group_size="row"), degree)


def test_gpus_take_only_degrees_whose_tiles_are_whole():
    config = known_config("glm-4-9b", group_size="row")
    check_degree(config, 4)
    with pytest.raises(BadRequestError, match=r"possible: 1, 2$"):
        check_degree(config, 4, on_gpus=True)  # 13696 / 4 = 3424 columns are 53.5 tiles of 64
    check_degree(known_config("glm-130b", group_size="row"), 8, on_gpus=True)


def test_tiles_are_the_kernels_own():
    assert (TILE_ROWS, TILE_COLUMNS) == (packing.TILE_ROWS, packing.STEP_K)


def test_a_long_prompt_holds_its_queries_and_keys_in_float32():
    """GLM-4-9B, 65,536 tokens: 32 query and 2 key heads of 128, 4,096 wide (models/causal.py)."""
    config = known_config("glm-4-9b", group_size=128)
    found = ModelCost(config).activation_bytes(65536)
    stream_and_norm = 2 * 65536 * 4096 * 4
    projected, turned = 65536 * 36 * 128 * 4, 65536 * 34 * 128 * 4
    attended = 65536 * 32 * 128 * (2 + 2 + 4)
    workspace, logits = 2 * 4096 * 13696 * 2, config.vocab_size * 4
    assert found == stream_and_norm + projected + turned + attended + workspace + logits


@pytest.mark.parametrize(
    ("name", "group", "degree"),
    [
        ("glm-130b", 4096, 8),  # 12288 / 8 = 1536 columns: parts of 512 of groups of 4096
        ("glm-4-9b", 128, 2),  # 13696 / 2 = 6848 columns: halves of groups of 128
        ("chatglm3-6b", 128, 2),
    ],
)
def test_groups_may_lie_on_two_ranks(name, group, degree):
    """Both keep the scale; what they hold is what is loaded."""
    config = known_config(name, group_size=group)
    check_degree(config, degree, on_gpus=True)
    cut = [spec for spec in config.tensors() if spec.is_linear and spec.split == "columns"]
    spec = next(spec for spec in cut if spec.shape[1] // degree % group)
    columns = spec.shape[1] // degree
    unit = math.gcd(columns, group)
    n = spec.shape[0]
    assert stored_bytes(spec, config, degree) == n * columns // 2 + 2 * n * columns // unit


@pytest.mark.parametrize(("bits", "group"), [(8, 32), (4, 256)])
def test_weights_that_no_gpu_kernel_takes_are_told_before_a_plan(bits, group):
    config = known_config("glm-4-9b", group_size=128)
    config = dataclasses.replace(config, quantization=QuantizationConfig.uniform(bits, group))
    settings = PlanSettings(context=2048)
    with pytest.raises(BadRequestError, match=f"INT{bits} · {group}.* switch the GPUs off"):
        plan(config, parse_devices("1x24GiB"), settings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("24", '"24" is no device'),
        ("four cards", "is no device"),
        ("0x24GiB", "with memory are needed"),
        ("99x24GiB", "1 to 64 devices"),
        ("cpu:8GiB,cpu:8GiB", "one cpu is enough"),
        ("4x24GiB@0", '"4x24GiB@0": 1 GB/s or more is needed'),
    ],
)
def test_devices_that_cannot_be_read_are_named(text, sentence):
    with pytest.raises(BadRequestError, match=sentence):
        parse_devices(text)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (PlanSettings(context=4096), "context 4096 is outside 1 to 2048"),
        (PlanSettings(context=512, prompt_tokens=600), "prompt_tokens 600 is outside 1 to"),
        (PlanSettings(reserve_bytes=-1), "reserve_bytes -1 is negative"),
        (PlanSettings(kv_dtype="int8"), "kv_dtype int8 is for the processor alone"),
        (PlanSettings(mode="tensor_parallel"), "needs 2 or more GPUs"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(BadRequestError, match=sentence):
        plan(known_config("glm-130b"), parse_devices("1x80GiB"), settings)


configs = st.builds(
    lambda layers, heads, inner, bits, group: GLMConfig.create(
        num_layers=layers,
        hidden_size=heads * 128,
        num_attention_heads=heads,
        inner_hidden_size=inner * 256,
        vocab_size=8192,
        max_sequence_length=4096,
        quantization=QuantizationConfig.uniform(bits, group),
    ),
    st.integers(1, 24),
    st.sampled_from([2, 4, 8]),
    st.integers(1, 16),
    st.sampled_from([4, 8]),
    st.sampled_from([64, 128, "row"]),
)
device_lists = st.lists(
    st.tuples(st.integers(64, 4096), st.integers(0, 64)), min_size=1, max_size=4
).map(
    lambda sizes: [
        cuda_device(i, "RTX 3090", total * 2**20, max(0, total - used) * 2**20)
        for i, (total, used) in enumerate(sizes)
    ]
)
settings_of = st.builds(
    lambda context, prompt, mode: PlanSettings(
        context=context, prompt_tokens=min(prompt, context), mode=mode, reserve_bytes=32 * 2**20
    ),
    st.integers(2, 4096),
    st.integers(1, 4096),
    st.sampled_from(["auto", "single", "layer_split"]),
)


@given(configs, device_lists, settings_of)
def test_a_plan_that_fits_never_passes_a_device_and_holds_the_whole_model(
    config, devices, settings
):
    result = plan(config, devices, settings)
    by_name = {device.name: device for device in devices}
    for part in result.devices:
        used = part.weights + part.kv_cache + part.activations + part.communication + part.reserve
        assert part.total == part.other_programs + used + part.free
        if result.fits:
            assert used <= by_name[part.name].free_bytes
    if result.mode != "tensor_parallel":
        held = sum(part.weights for part in result.devices)
        assert held == sum(stored_bytes(spec, config) for spec in config.tensors())
        assert 0 <= file_bytes(config) - held <= 16 * 4 * config.num_layers
        assert sum(part.num_layers for part in result.devices) == config.num_layers
    assert result.fits == (result.short_bytes == 0) == (result.reason == "")
    assert math.isfinite(result.decode_tok_s)


@given(configs, device_lists, settings_of)
def test_every_suggestion_fits(config, devices, settings):
    for suggestion in plan(config, devices, settings).suggestions:
        changed = config
        if suggestion.group_size == "row":
            changed = dataclasses.replace(config, quantization=QuantizationConfig.uniform(
                config.quantization.schemes[0].bits, "row"))  # fmt: skip
        assert plan(changed, devices, suggestion.settings).fits, suggestion.text


@given(configs, device_lists, settings_of, st.integers(1, 2048))
def test_a_shorter_context_never_needs_more(config, devices, settings, less):
    longer = plan(config, devices, settings)
    context = max(settings.prompt_tokens, settings.context - less)
    shorter = plan(config, devices, msgspec.structs.replace(settings, context=context))
    if longer.fits:
        assert shorter.fits
    if longer.mode == shorter.mode == "single":
        assert sum(d.kv_cache for d in shorter.devices) <= sum(d.kv_cache for d in longer.devices)


@pytest.mark.parametrize(
    ("label", "size_gib", "name"),
    [
        ("NVIDIA GeForce RTX 2080 Ti", 11, "RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 3090", 24, "RTX 3090"),
        ("NVIDIA GeForce RTX 4090", 24, "RTX 4090"),
        ("NVIDIA GeForce RTX 5090", 32, "RTX 5090"),
        ("Tesla T4", 15, "Tesla T4"),
        ("NVIDIA L40S", 45, "L40S"),
        ("NVIDIA RTX A6000", 48, "RTX A6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96, "RTX PRO 6000"),
        ("NVIDIA A100-SXM4-40GB", 40, "A100 40GB"),
        ("NVIDIA A100-PCIE-40GB", 40, "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", 80, "A100"),
        ("NVIDIA A100 80GB PCIe", 80, "A100"),
        ("NVIDIA H100 PCIe", 80, "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3", 80, "H100"),
        ("NVIDIA H200", 141, "H200"),
        ("NVIDIA RTX A1000", 8, "an unknown card"),
        ("NVIDIA RTX 6000 Ada Generation", 48, "RTX 6000 Ada"),
        ("NVIDIA GeForce RTX 3090 Ti", 24, "RTX 3090 Ti"),
        ("NVIDIA GeForce RTX 4090 D", 24, "RTX 4090"),
        ("NVIDIA A800-SXM4-80GB", 80, "A800"),
        ("NVIDIA A800 80GB PCIe", 80, "A800"),
        ("NVIDIA H800", 80, "H800"),
        ("NVIDIA H20", 96, "H20"),
        ("NVIDIA L20", 48, "L20"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, "an unknown card"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", 24, "an unknown card"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 16, "an unknown card"),
    ],
)
def test_cards_are_known_by_the_names_that_nvml_gives_them(label, size_gib, name):
    assert card_for(label, size_gib * GIB).name == name


def test_prediction_is_from_measured_bandwidth_where_there_is_one():
    named = PlanDevice("cuda:0", "x", "cuda", 80 * GIB, 80 * GIB, 1e12, 1e14, "measured")
    result = plan(known_config("glm-130b", group_size="row"), [named], PlanSettings(context=512))
    assert "1000 GB/s measured" in result.assumptions[0]


def test_an_invented_bandwidth_is_not_called_measured():
    assert "cuda:0: 936 GB/s by its data sheet" in plan_130b("4x24GiB").assumptions[0]
    assert "cuda:0: 500 GB/s as given" in plan_130b("4x24GiB@500").assumptions[0]
    assert "cpu: 90 GB/s as given" in plan_130b("cpu:96GiB@90").assumptions[0]


def test_the_processor_s_cache_counts_as_it_is_kept():
    config = known_config("glm-130b", group_size="row")
    kept = {
        kv_dtype: plan(
            config, parse_devices("cpu:128GiB"), PlanSettings(context=2048, kv_dtype=kv_dtype)
        ).devices[0]
        for kv_dtype in ("auto", "float16", "int8")
    }
    values = 70 * 2 * 96 * 2048
    assert kept["auto"].kv_cache == values * 128 * 4
    assert kept["float16"].kv_cache == values * 128 * 2
    assert kept["int8"].kv_cache == values * (128 + 4)
    # Eight heads of 2048 tokens, keys and values, are 16 MiB as float32.
    assert kept["int8"].activations - kept["float16"].activations == 16 * 2**20


def test_int8_keys_and_values_are_suggested_where_they_make_room():
    result = plan_130b("cpu:77GiB", context=2048)
    assert not result.fits
    assert any(s.settings.kv_dtype == "int8" for s in result.suggestions)


def test_a_plan_says_what_was_measured_of_this_model_on_its_device():
    config = known_config("synthetic-1b")
    cost = ModelCost(config)
    read = cost.weights_bytes + cost.kv_bytes(512, kv_dtype="float32")
    device = dataclasses.replace(
        parse_devices("cpu:64GiB")[0], decode_bytes_s=12.5 * read, prefill_tok_s=200.0
    )
    result = plan(config, [device], PlanSettings(context=512, prompt_tokens=400))
    assert result.is_measured
    assert result.decode_tok_s == pytest.approx(12.5)
    assert result.first_token_s == pytest.approx(400 / 200 + 1 / 12.5)
    assert not plan_130b("1x80GiB").is_measured


@pytest.mark.parametrize("cpu_layers", [1, 20, 70])
def test_layers_a_person_wants_on_the_processor_lie_there(cpu_layers):
    result = plan_130b("4x24GiB,cpu:128GiB", context=512, cpu_layers=cpu_layers)
    assert result.mode == "layer_split"
    by_name = {device.name: device.num_layers for device in result.devices}
    assert by_name["cpu"] == cpu_layers
    assert sum(by_name.values()) == 70
