"""Which class runs which configuration."""

from bilin_engine.config import (
    ChatGLM6BConfig,
    ChatGLMConfig,
    Glm4Config,
    GLMConfig,
    LlamaConfig,
    ModelConfig,
)
from bilin_engine.models.chatglm import ChatGLM
from bilin_engine.models.chatglm6b import ChatGLM6B
from bilin_engine.models.glm4 import GLM4
from bilin_engine.models.glm130b import GLM130B
from bilin_engine.models.llama import Llama

ModelClass = type[GLM130B] | type[ChatGLM6B] | type[ChatGLM] | type[GLM4] | type[Llama]

_CLASSES: dict[type[ModelConfig], ModelClass] = {
    ChatGLM6BConfig: ChatGLM6B,
    ChatGLMConfig: ChatGLM,
    GLMConfig: GLM130B,
    Glm4Config: GLM4,
    LlamaConfig: Llama,
}


def model_class(config: ModelConfig) -> ModelClass:
    """The class that runs `config`; every configuration that can be read has one."""
    return _CLASSES[type(config)]
