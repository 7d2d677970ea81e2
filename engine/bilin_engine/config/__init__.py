"""What a model folder's config.json says, checked, as values. Knows neither torch nor weights.

Every architecture is one dataclass derived from `ModelConfig` with a `parse` of its own, entered in
`read.PARSERS` under its `model_type`. A key that nobody read is refused by name: an unknown key may
change the maths, and a model that runs wrongly is worse than one that does not run.
"""

from bilin_engine.config.base import (
    DTypeName,
    GroupSize,
    ModelConfig,
    QuantizationConfig,
    QuantizationScheme,
    RopePrecision,
    SpecialIds,
    TensorSpec,
    TensorSplit,
    check_group_size,
    largest_group,
)
from bilin_engine.config.causal import CausalConfig, Glm4Config, LlamaConfig
from bilin_engine.config.chatglm import ChatGLM6BConfig, ChatGLMConfig
from bilin_engine.config.fields import ConfigFields
from bilin_engine.config.glm130b import GLMConfig
from bilin_engine.config.read import (
    CONFIG_FILE,
    MAX_CONFIG_BYTES,
    is_huggingface_folder,
    parse_model_config,
    read_config_content,
    read_model_config,
)
from bilin_engine.config.rope import Rope, RopeScaling

__all__ = [
    "CONFIG_FILE",
    "MAX_CONFIG_BYTES",
    "CausalConfig",
    "ChatGLM6BConfig",
    "ChatGLMConfig",
    "ConfigFields",
    "DTypeName",
    "GLMConfig",
    "Glm4Config",
    "GroupSize",
    "LlamaConfig",
    "ModelConfig",
    "QuantizationConfig",
    "QuantizationScheme",
    "Rope",
    "RopePrecision",
    "RopeScaling",
    "SpecialIds",
    "TensorSpec",
    "TensorSplit",
    "check_group_size",
    "is_huggingface_folder",
    "largest_group",
    "parse_model_config",
    "read_config_content",
    "read_model_config",
]
