"""What an imported model is called and how it talks: bilin.json, tokenizer files, chat format."""

import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from bilin_engine.checkpoints.streaming import Calibrate, ColumnWeights, OnProgress, TensorSource
from bilin_engine.config import (
    ChatGLM6BConfig,
    ChatGLMConfig,
    GLMConfig,
    ModelConfig,
)
from bilin_engine.errors import ModelBrokenError
from bilin_engine.library import Capabilities, ModelDescription, ModelNames, id_from_name
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer
from bilin_engine.tokenizers.load import CONFIG_FILE, load_tokenizer

MAX_SMALL_FILE_BYTES = 256 * 1024 * 1024
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "ice_text.model",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "LICENSE",
    "MODEL_LICENSE",
)
CHATGLM_VOCAB = 65024  # ChatGLM2 and 3; GLM-4 has more
_FAMILIES = {
    "chatglm": "ChatGLM",
    "glm": "GLM-4",
    "glm4": "GLM-4-0414",
    "llama": "Llama",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}
_ENGLISH_ONLY = ("llama",)
# models/calibration.py's `calibrate`: source, its unquantized configuration, text -> token ids, and
# what `Calibrate` takes.
CalibrateSource = Callable[
    [TensorSource, ModelConfig, Callable[[str], list[int]], OnProgress, Callable[[], bool]],
    ColumnWeights,
]


def calibration_of(
    calibrate: CalibrateSource | None,
    source: TensorSource,
    config: ModelConfig,
    encode: Callable[[str], list[int]],
) -> Calibrate | None:
    """`calibrate` of this source, for `stream_to_folder`."""
    if calibrate is None:
        return None
    return lambda on_progress, should_stop: calibrate(
        source, config, encode, on_progress, should_stop
    )


def write_tokenizer_files(src: Path, folder: Path) -> None:
    """Copies what belongs to the tokenizer. Raises ModelBrokenError for files of absurd size."""
    for name in TOKENIZER_FILES:
        path = src / name
        if not path.is_file():
            continue
        if path.stat().st_size > MAX_SMALL_FILE_BYTES:
            raise ModelBrokenError(f"{path}: {path.stat().st_size} bytes is too much for its kind")
        shutil.copyfile(path, folder / name)


def describe(
    name: str, config: ModelConfig, folder: Path, source: str, chat_format: str, origin: str = ""
) -> ModelDescription:
    """bilin.json of an imported model, files aside. name: what its folder is called.

    origin: what its makers' configuration calls it (`_name_or_path`).
    A model whose tokenizer cannot be read is no use to a person: its error goes through.
    """
    load_tokenizer(folder)
    chat = chat_format or find_format(folder, config, f"{origin} {name}")
    is_english = config.architecture in _ENGLISH_ONLY
    return ModelDescription(
        id=_identifier(name),
        names=ModelNames(zh=name, en=name),
        family=_FAMILIES.get(config.architecture, config.architecture),
        languages=("en",) if is_english else ("zh", "en"),
        capabilities=Capabilities(
            chat=bool(chat),
            blanks=("short", "long", "sentence") if isinstance(config, GLMConfig) else (),
            thinking=thinking_of(_template(folder) or "") if chat == "template" else "",
        ),
        chat_format=chat,
        licence=_licence(folder),
        source=source,
    )


def _identifier(name: str) -> str:
    """An id of `name`; one that an id cannot spell is told from others of the kind by its hash."""
    plain = id_from_name(name)
    return plain if name.isascii() else f"{plain[:57]}-{sha256(name.encode()).hexdigest()[:6]}"


def find_format(folder: Path, config: ModelConfig, name: str) -> str:
    """The chat format of a folder: its template, else its family's own, else none ("").

    ChatGLM2 and ChatGLM3 look alike; the name tells them apart.
    """
    if _template(folder) is not None and isinstance(load_tokenizer(folder), HuggingFaceTokenizer):
        return "template"
    if isinstance(config, ChatGLM6BConfig):
        return "chatglm"
    if isinstance(config, ChatGLMConfig):
        if config.vocab_size > CHATGLM_VOCAB:
            return "glm4"
        return "chatglm2" if "chatglm2" in name.lower() else "chatglm3"
    return "qa" if isinstance(config, GLMConfig) else ""


def eos_ids_of(content: Mapping[str, Any]) -> list[int]:
    """`eos_token_id` of a configuration, one or several, as a list."""
    value = content.get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    return [i for i in ids if isinstance(i, int) and not isinstance(i, bool)]


def thinking_of(template: str) -> Literal["", "always", "switchable"]:
    """Whether a chat template makes answers begin with reasoning, and has a switch for it."""
    if "enable_thinking" in template:
        return "switchable"
    begins_answer = template.rpartition("add_generation_prompt")[2]
    return "always" if "<think>" in begins_answer else ""


def _template(folder: Path) -> str | None:
    """A folder's chat template, all of them where there are several; None without one."""
    try:
        path = folder / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
        content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    template = content.get("chat_template") if isinstance(content, dict) else None
    if not template:
        return None
    return template if isinstance(template, str) else json.dumps(template)


def _licence(folder: Path) -> str:
    """The first line with words of the licence file, or "unknown"."""
    for name in ("MODEL_LICENSE", "LICENSE"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")[:4096]
            line = next((line.strip() for line in text.splitlines() if line.strip()), "")
            return line[:120] or "unknown"
    return "unknown"
