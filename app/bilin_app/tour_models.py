"""What the tour shows of models: a library, placements, work."""

from dataclasses import replace

from bilin_app.controllers.model_views import (
    DeviceBar,
    JobView,
    ModelRow,
    PlacementChoice,
    PlacementView,
    Suggestion,
)
from bilin_app.controllers.views import ModelView
from bilin_app.theme.fonts import Language

GIB = 2**30
MIB = 2**20

_130B = ModelView("glm-130b", "GLM-130B", "GLM-130B", 129_700_000_000, "INT4 · 128", 2048)
_MINI = ModelView(
    "bilin-mini", "比邻 Mini", "Bilin Mini", 7_000_000, "INT4 · 32", 512, is_bundled=True
)
_32B = ModelView(
    "glm-4-32b-0414", "GLM-4-32B-0414", "GLM-4-32B-0414", 32_600_000_000, "INT4 · 128", 32768
)
_Z1 = ModelView("glm-z1-9b-0414", "GLM-Z1-9B-0414", "GLM-Z1-9B-0414", 9_400_000_000, "BF16", 32768)
_BROKEN = {
    "zh": "model-00003-of-00018.safetensors is missing: copy or convert the model again",
    "en": "model-00003-of-00018.safetensors is missing: copy or convert the model again",
}
_BLANKS = ("short", "long", "sentence")


def rows(language: Language) -> list[ModelRow]:
    """The library of the tour."""
    broken = ModelView("glm-old", "GLM-130B (2)", "GLM-130B (2)", problem=_BROKEN[language])
    return [
        ModelRow(
            _MINI,
            size_bytes=7_200_000,
            languages=("zh", "en"),
            blanks=_BLANKS,
            family="GLM-130B",
            licence="Apache-2.0",
            source="Bilin",
            path="/models/bilin-mini",
            num_layers=6,
            num_heads=8,
            is_verified=True,
            measured_tok_s=310.0,
        ),
        ModelRow(
            _130B,
            size_bytes=69_200_000_000,
            languages=("zh", "en"),
            blanks=_BLANKS,
            family="GLM-130B",
            licence="GLM-130B License",
            source="mp_rank, 8 × fp16",
            path="/models/glm-130b",
            num_layers=70,
            num_heads=96,
            is_verified=True,
            measured_tok_s=38.2,
        ),
        ModelRow(
            _32B,
            size_bytes=18_100_000_000,
            languages=("zh", "en"),
            family="GLM-4-0414",
            licence="MIT",
            source="ModelScope",
            path="/models/glm-4-32b-0414",
            num_layers=61,
            num_heads=48,
            is_verified=True,
        ),
        ModelRow(
            _Z1,
            size_bytes=18_800_000_000,
            languages=("zh", "en"),
            family="GLM-4-0414",
            licence="MIT",
            source="Hugging Face",
            path="/models/glm-z1-9b-0414",
            num_layers=40,
            num_heads=32,
        ),
        ModelRow(broken, size_bytes=51_000_000_000, path="/models/glm-old"),
    ]


def _bar(index: int, other_gib: float, weights_gib: float = 15.6, **values: object) -> DeviceBar:
    bar = DeviceBar(
        name=f"cuda:{index}",
        label="NVIDIA GeForce RTX 3090",
        total=24 * GIB,
        other=round(other_gib * GIB),
        weights=round(weights_gib * GIB),
        kv_cache=round(1.71 * GIB),
        activations=round(0.62 * GIB),
        reserve=768 * MIB,
        num_layers=70,
        is_used=True,
    )
    return replace(bar, **values)  # type: ignore[arg-type]


def short_placement() -> PlacementView:
    """Four cards, of which the third is taken by another program."""
    other = 24 - 15.6 - 1.71 - 0.62 - 0.75 + 1312 / 1024
    choice = PlacementChoice(mode="tensor_parallel", context=2048)
    return PlacementView(
        fits=False,
        mode="tensor_parallel",
        context=2048,
        prompt_tokens=1024,
        bars=(_bar(0, 2.2), _bar(1, 0.3), _bar(2, other), _bar(3, 0.3), cpu_bar()),
        rate_tok_s=41.2,
        first_token_s=0.6,
        short_device="cuda:2",
        short_bytes=1312 * MIB,
        suggestions=(
            Suggestion("context", replace(choice, context=512, prompt_tokens=256)),
            Suggestion("mode", replace(choice, mode="layer_split")),
            Suggestion("rows", choice, "row"),
        ),
    )


def fitting_placement(*, real: bool = True) -> PlacementView:
    """Four free cards; `real`: the model is loaded, predicted beside real."""
    in_use = round(17.6 * GIB) if real else None
    return PlacementView(
        fits=True,
        mode="tensor_parallel",
        context=2048,
        prompt_tokens=1024,
        bars=(
            *(_bar(index, 0.3, real_bytes=in_use) for index in range(4)),
            cpu_bar(),
        ),
        rate_tok_s=41.2,
        first_token_s=0.6,
    )


def cpu_bar() -> DeviceBar:
    """Main memory, beside the cards."""
    return DeviceBar("cpu", "AMD Ryzen 9 7950X, 32 threads", 64 * GIB, 9 * GIB, is_on=False)


def jobs(language: Language) -> list[JobView]:
    """Work of every kind and state."""
    full = {
        "zh": "磁盘已满：还需 12.4 GB。腾出空间后继续。",
        "en": "The disk is full: 12.4 GB more are needed. Free some space, then resume.",
    }
    return [
        JobView("1", "convert", "GLM-Z1-9B-0414 → INT4", "running", 0.42, "convert", 310e6, 35.0),
        JobView("2", "verify", "GLM-4-32B-0414", "waiting"),
        JobView("3", "import", "GLM-4-9B-0414", "paused", 0.61, reason=full[language]),
    ]
