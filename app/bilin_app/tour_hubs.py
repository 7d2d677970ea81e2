"""What the tour shows of hubs: a catalog on a machine with one card, a repository, downloads."""

from typing import Literal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.hub_views import (
    CatalogRow,
    HubChoice,
    HubFileView,
    HubName,
    RepositoryView,
)
from bilin_app.controllers.model_views import JobView
from bilin_app.theme.fonts import Language

GIB = 2**30
_Sizes = tuple[int, int, int, Literal["fits", "short", "unknown"], int, int]
_9B: _Sizes = (9_400_279_040, 18_800_558_080, 6_690_000_000, "fits", round(6.9 * GIB), 0)
_32B: _Sizes = (
    33_140_000_000,
    66_280_000_000,
    19_860_000_000,
    "short",
    round(20.9 * GIB),
    round(9.6 * GIB),
)


def _row(
    name: str,
    family: str,
    licence: str,
    sizes: _Sizes | None = None,
) -> CatalogRow:
    parameters, download, packed, fit, needed, short = sizes or (0, 0, 0, "unknown", 0, 0)
    return CatalogRow(
        id=name.lower(),
        name=name,
        family=family,
        languages=("zh", "en"),
        licence=licence,
        repositories={"hugging_face": f"zai-org/{name}", "modelscope": f"ZhipuAI/{name}"},
        is_runnable=not family.startswith("glm4_moe"),
        num_parameters=parameters,
        download_bytes=download,
        int4_bytes=packed,
        fit=fit,
        context=8192 if sizes else 0,
        needed_bytes=needed,
        short_device="cuda:0",
        short_bytes=short,
    )


CATALOG = (
    _row("GLM-4-9B-0414", "glm4", "MIT", _9B),
    _row("GLM-Z1-9B-0414", "glm4", "MIT", _9B),
    _row("GLM-4-32B-0414", "glm4", "MIT", _32B),
    _row("glm-edge-4b-chat", "glm", ""),
    _row("GLM-4.7-Flash", "glm4_moe_lite", "MIT"),
    _row("GLM-4.5-Air", "glm4_moe", "MIT"),
)


def first_hub(language: Language) -> HubName:
    """The source that a language begins with."""
    return "modelscope" if language == "zh" else "hugging_face"


def repository(language: Language) -> RepositoryView:
    """What the hub said of GLM-4-9B-0414."""
    hub = first_hub(language)
    shards = [4_984_147_224, 4_895_071_360, 4_895_071_384, 4_026_278_288]
    files = [
        HubFileView("config.json", 761),
        HubFileView("generation_config.json", 147),
        HubFileView("tokenizer_config.json", 7_307),
        HubFileView("model.safetensors.index.json", 43_292),
        HubFileView("tokenizer.json", 19_966_496),
        *(
            HubFileView(f"model-{index:05d}-of-00004.safetensors", size)
            for index, size in enumerate(shards, 1)
        ),
    ]
    hosts = {
        "modelscope": ("modelscope.cn",),
        "hugging_face": ("huggingface.co", "cas-bridge.xethub.hf.co"),
    }
    return RepositoryView(
        choice=HubChoice(hub=hub, name=CATALOG[0].repositories[hub]),
        files=tuple(files),
        hosts=hosts[hub],
        licence="mit",
        needed_bytes={
            "128": 6_690_000_000,
            "64": 6_950_000_000,
            "32": 7_400_000_000,
            "row": 6_450_000_000,
        },
        free_bytes=212_000_000_000,
    )


def refusal(language: Language) -> str:
    """What is said where a hub cannot be reached."""
    where = "modelscope.cn" if language == "zh" else "huggingface.co"
    message = f"{where} cannot be reached: [Errno 101] Network is unreachable"
    return sentences.request_failed("hub_unreachable", message)


def jobs(language: Language) -> list[JobView]:
    """A download at work, one that waits, one that has to be looked at."""
    hub = first_hub(language)
    wrong = engine_sentence(
        "model-00002-of-00004.safetensors arrives changed from modelscope.cn: sha256 91c2f04b11d0… "
        "instead of 5b8e2a7730cd…. It was fetched twice and thrown away; try another source, or "
        "later"
    )
    return [
        JobView(
            "1",
            "download",
            CATALOG[0].repositories[hub],
            "running",
            0.37,
            "download",
            41.5e6,
            285.0,
        ),
        JobView("2", "download", CATALOG[1].repositories[hub], "paused", 0.61),
        JobView("3", "download", CATALOG[2].repositories[hub], "failed", 0.2, reason=wrong),
    ]
