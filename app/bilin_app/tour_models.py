"""What the tour shows of models: a library, placements, work."""

from dataclasses import replace

from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.model_views import (
    DeviceBar,
    Fix,
    FolderView,
    JobView,
    LibraryView,
    LoadView,
    ModelRow,
    PlacementChoice,
    PlacementView,
    Suggestion,
    TrashView,
)
from bilin_app.theme.fonts import Language

MEASURED_AT = 1_795_867_200.0  # 2026-11-28
GIB = 2**30
MIB = 2**20

_130B = ModelView("glm-130b", "GLM-130B", "GLM-130B", 129_700_000_000, "INT4 · 128", 2048)
_MINI = ModelView(
    "bilin-mini", "比邻 Mini", "Bilin Mini", 40_600_000, "INT4 · 32", 1024, is_bundled=True
)
_32B = ModelView(
    "glm-4-32b-0414", "GLM-4-32B-0414", "GLM-4-32B-0414", 32_600_000_000, "INT4 · 128", 32768
)
_Z1 = ModelView("glm-z1-9b-0414", "GLM-Z1-9B-0414", "GLM-Z1-9B-0414", 9_400_000_000, "BF16", 32768)
_BROKEN = {
    "zh": "缺少 model-00003-of-00018.safetensors，请重新复制或转换这个模型。",
    "en": "model-00003-of-00018.safetensors is missing: copy or convert the model again",
}
_BLANKS = ("short", "long", "sentence")


def rows(language: Language) -> list[ModelRow]:
    """The library of the tour."""
    broken = ModelView("glm-old", "GLM-130B (2)", "GLM-130B (2)", problem=_BROKEN[language])
    return [
        ModelRow(
            _MINI,
            size_bytes=35_400_000,
            languages=("zh", "en"),
            blanks=_BLANKS,
            family="GLM-130B",
            licence="Apache-2.0",
            source="Bilin",
            path="/models/bilin-mini",
            num_layers=10,
            num_heads=8,
            is_verified=True,
            measured_tok_s=310.0,
            measured_at=MEASURED_AT,
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
            measured_at=MEASURED_AT,
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


def without_tokenizer() -> ModelRow:
    """GLM-130B as it was converted, before its tokenizer is added."""
    model = replace(_130B, problem="tokenizer_config.json is missing")
    return ModelRow(
        model,
        size_bytes=69_200_000_000,
        family="GLM-130B",
        licence="GLM-130B License",
        source="mp_rank, 8 × fp16",
        path="/models/glm-130b",
        num_layers=70,
        num_heads=96,
        is_verified=True,
        lacks_tokenizer=True,
    )


def planned() -> ModelRow:
    """GLM-130B on a machine that has nothing but Bilin Mini."""
    return ModelRow(_130B, size_bytes=69_200_000_000, num_layers=70, num_heads=96, is_here=False)


def library() -> LibraryView:
    """Two deleted models, and what can be planned."""
    trash = (
        TrashView("deleted-1", "GLM-4-9B-0414", 5_600_000_000, MEASURED_AT),
        TrashView("deleted-2", "GLM-130B (3)", 67_200_000_000, MEASURED_AT - 86_400.0),
    )
    return LibraryView("/home/li/.local/share/bilin/models", trash=trash, known=(_130B,))


def folder() -> FolderView:
    """A checkpoint that was dropped on the window."""
    return FolderView(
        path="/mnt/disk/glm-130b-sat",
        kind="reference",
        title="glm-130b-sat",
        size_bytes=260_000_000_000,
        needed_bytes={
            "128": 69_200_000_000,
            "64": 71_200_000_000,
            "32": 75_200_000_000,
            "row": 67_200_000_000,
        },
        free_bytes=412_000_000_000,
        rate_bytes_s=310e6,
        lacks_tokenizer=True,
    )


FAULT = {
    "zh": "cuda:2 (NVIDIA GeForce RTX 3090) 显存不足：还需 1.28 GiB，可用 0.41 GiB。",
    "en": "cuda:2 (NVIDIA GeForce RTX 3090) is out of memory: 1.28 GiB more are needed,"
    " 0.41 GiB are free.",
}


def failed_load(language: Language) -> LoadView:
    """Another program took memory while the model was loaded."""
    choice = PlacementChoice()
    fixes = (
        Fix("context", replace(choice, context=1024)),
        Fix("without", replace(choice, off=frozenset({"cuda:2"})), "cuda:2"),
        Fix("again", choice),
    )
    return LoadView(reason=FAULT[language], fixes=fixes)


REPORT = """Bilin 0.1.0, torch 2.13.0+cpu; AMD Ryzen 9 7950X, 32 threads
ok     kernels against reference                         0.4 s  INT4 on the processor within 0.31%
-      peer to peer                                      0.0 s  fewer than two GPUs
ok     all-reduce, shared_memory                         2.1 s  2 ranks, error 1.2e-07
ok     tensor parallel against one rank, shared_memory   3.0 s  2 ranks, log-probs within 3.1e-06
ok     layer split against one rank                      2.2 s  log-probs within 0.0e+00
ok     read bandwidth, cpu                               0.2 s  61.4 GB/s
Use over several devices 多设备方式: tensor parallel 张量并行 over shared_memory
8 s"""


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
        JobView(
            "1",
            "convert",
            "GLM-Z1-9B-0414 → INT4",
            "running",
            0.42,
            "convert",
            310e6,
            35.0,
            shard=2,
            num_shards=5,
        ),
        JobView("4", "self_test", "", "done", 1.0, report=REPORT),
        JobView("2", "verify", "GLM-4-32B-0414", "waiting"),
        JobView("3", "import", "GLM-4-9B-0414", "paused", 0.61, reason=full[language]),
    ]
