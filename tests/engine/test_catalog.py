"""The catalog: whole, honest about what runs here, and planned as the placement card would."""

import pytest

from bilin_engine.config.read import PARSERS
from bilin_engine.hubs.base import Link, check_name, parse_link
from bilin_engine.hubs.catalog import entries, read_catalog
from bilin_engine.placement.cost import file_bytes
from bilin_engine.placement.devices import parse_devices
from bilin_engine.placement.known_configs import KNOWN_CONFIGS, known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import PlanSettings


def test_every_entry_is_complete():
    models = read_catalog()
    assert len({model.id for model in models}) == len(models) >= 12
    for model in models:
        assert model.name
        assert model.repositories
        assert all(check_name(name) for name in model.repositories.values())
        assert set(model.languages) <= {"zh", "en"}


def test_a_known_size_is_of_a_known_family_and_configuration():
    for model in read_catalog():
        if model.config:
            assert KNOWN_CONFIGS[model.config].architecture == model.family


def test_runnable_is_what_the_engine_has_a_family_for():
    found = {entry.id: entry for entry in entries(parse_devices("1x24GiB"))}
    for model in read_catalog():
        assert found[model.id].is_runnable == (model.family in PARSERS)
    assert found["glm-4-9b-0414"].is_runnable
    assert not found["glm-4.5-air"].is_runnable
    assert not found["glm-4.7-flash"].is_runnable
    assert found["glm-4.5-air"].fit == "unknown"


@pytest.mark.parametrize("devices", ["1x24GiB", "1x11GiB", "1x4GiB", "cpu:16GiB"])
def test_the_verdict_is_the_plans(devices):
    for entry in entries(parse_devices(devices)):
        config = next(m.config for m in read_catalog() if m.id == entry.id)
        if not config:
            assert (entry.fit, entry.download_bytes) == ("unknown", 0)
            continue
        planned = plan(known_config(config), parse_devices(devices), PlanSettings(context=8192))
        assert entry.fit == ("fits" if planned.fits else "short")
        assert entry.short_bytes == planned.short_bytes
        assert entry.int4_bytes == file_bytes(known_config(config))
        assert entry.int4_bytes < entry.download_bytes / 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("zai-org/GLM-4-9B-0414", (None, "zai-org/GLM-4-9B-0414")),
        ("https://huggingface.co/a/b", ("hugging_face", "a/b")),
        ("https://huggingface.co/a/b/tree/gptq-4bit", ("hugging_face", "a/b", "", "gptq-4bit")),
        ("https://huggingface.co/a/b/discussions/3", ("hugging_face", "a/b")),
        ("https://hf-mirror.com/a/b?x#y", ("hugging_face", "a/b", "https://hf-mirror.com")),
        ("https://www.modelscope.cn/models/a/b/summary", ("modelscope", "a/b")),
        ("https://example.com/a/b", (None, "https://example.com/a/b")),
    ],
)
def test_a_pages_address_names_hub_repository_mirror_and_revision(text, found):
    assert parse_link(text) == Link(*found)
