"""How a conversation becomes a prompt: a `ChatFormat` by name, and what it says of its size.

A person's text stays text: it never gives a mask token, a line-break mark or a turn of its own.
Knows nothing of models, sampling or the protocol's requests.
"""

from pathlib import Path

from bilin_engine.chat_format.base import ChatFormat, ChatSize, FittedChat, fit_messages
from bilin_engine.chat_format.language import Language, text_language
from bilin_engine.chat_format.qa import QaFormat
from bilin_engine.chat_format.roles import RolesFormat
from bilin_engine.chat_format.rounds import RoundsFormat
from bilin_engine.chat_format.template import TEMPLATE_FORMAT, TemplateFormat
from bilin_engine.errors import UnsupportedModelError

__all__ = [
    "CHAT_FORMATS",
    "ChatFormat",
    "ChatSize",
    "FittedChat",
    "Language",
    "QaFormat",
    "RolesFormat",
    "RoundsFormat",
    "TemplateFormat",
    "find_chat_format",
    "fit_messages",
    "load_chat_format",
    "text_language",
]

CHAT_FORMATS: dict[str, ChatFormat] = {
    "chatglm": RoundsFormat("chatglm"),
    "chatglm2": RoundsFormat("chatglm2"),
    "chatglm3": RolesFormat("chatglm3"),
    "glm4": RolesFormat("glm4"),
    "qa": QaFormat(),
}


def find_chat_format(name: str) -> ChatFormat:
    """The format called `name` that needs no files. Raises UnsupportedModelError."""
    try:
        return CHAT_FORMATS[name]
    except KeyError:
        known = ", ".join([*CHAT_FORMATS, TEMPLATE_FORMAT])
        message = f"chat_format {name!r} is not one Bilin has; use one of: {known}"
        raise UnsupportedModelError(message) from None


def load_chat_format(name: str, folder: Path) -> ChatFormat:
    """The format called `name` in bilin.json; "template" is the one in the model's own folder.

    Raises UnsupportedModelError for an unknown name, ModelBrokenError for a damaged template.
    """
    return TemplateFormat(folder) if name == TEMPLATE_FORMAT else find_chat_format(name)
