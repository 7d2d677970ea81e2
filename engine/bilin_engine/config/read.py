"""config.json of a model folder: which architecture it is, read and checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bilin_engine.config.base import ModelConfig
from bilin_engine.config.causal import Glm4Config, LlamaConfig
from bilin_engine.config.chatglm import parse_chatglm
from bilin_engine.config.fields import ConfigFields, shown
from bilin_engine.config.glm130b import GLMConfig
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError
from bilin_engine.json_file import read_json_object

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 4 * 1024 * 1024

PARSERS: dict[str, Callable[[ConfigFields], ModelConfig]] = {
    "chatglm": parse_chatglm,
    "glm": lambda fields: Glm4Config.parse(fields, "glm"),
    "glm130b": GLMConfig.parse,
    "glm4": lambda fields: Glm4Config.parse(fields, "glm4"),
    "llama": lambda fields: LlamaConfig.parse(fields, "llama"),
    "qwen2": lambda fields: LlamaConfig.parse(fields, "qwen2"),
    "qwen3": lambda fields: LlamaConfig.parse(fields, "qwen3"),
}


def read_model_config(folder: Path) -> ModelConfig:
    """The checked configuration of a model folder.

    Raises ModelBrokenError (missing, unreadable or wrong values: the key and the value are named)
    or UnsupportedModelError (architecture, quantization or key that we do not know).
    """
    path = folder / CONFIG_FILE
    return parse_model_config(read_config_content(path), str(path))


def read_config_content(path: Path) -> dict[str, Any]:
    """What a config.json holds, unchecked. Raises ModelBrokenError."""
    return read_json_object(path, MAX_CONFIG_BYTES, called="configuration")


def is_huggingface_folder(folder: Path) -> bool:
    """Whether `folder` has a config.json with a model_type, and safetensors."""
    try:
        content = read_config_content(folder / CONFIG_FILE)
    except ModelBrokenError:
        return False
    return "model_type" in content and any(folder.glob("*.safetensors"))


def parse_model_config(content: object, where: str) -> ModelConfig:
    """`read_model_config` on parsed JSON; `where` names the file in messages. Raises the same."""
    if not isinstance(content, dict):
        raise ModelBrokenError(f"{where} holds {shown(content)}; an object is needed")
    fields = ConfigFields(content, where)
    architecture = fields.text("model_type")
    parser = PARSERS.get(architecture)
    if parser is None:
        raise UnsupportedModelError(
            f'{where}: model_type "{architecture}" is not one Bilin runs; '
            f"known: {', '.join(sorted(PARSERS))}"
        )
    fields.skip("architectures")  # a label for other programs; model_type decides
    try:
        config = parser(fields)
    except ModelBrokenError as error:
        if error.message.startswith(where):
            raise
        raise ModelBrokenError(f"{where}: {error.message}") from error
    fields.finish()
    return config
