"""Chat templates: the jinja2 text that Hugging Face folders carry.

The template is somebody else's program: it runs in a process of its own (`render`), sandboxed and
bounded. The ids of the prompt equal `apply_chat_template`'s, except that a marker which a person
typed stays text.
"""

import contextlib
import copy
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from bilin_engine.chat_format.base import ChatSize, require_question, require_room
from bilin_engine.chat_format.causal import causal_layout
from bilin_engine.chat_format.render import TemplateRenderer
from bilin_engine.chat_format.thought import encode_begun, join_thought
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError
from bilin_engine.generation.masks import stop_ids
from bilin_engine.generation.request import PromptLayout
from bilin_engine.json_file import read_json_object
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.base import Tokenizer
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer

TEMPLATE_FORMAT = "template"
TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
MAX_TEMPLATE_BYTES = 256 * 1024
MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_KEPT_CHARS = 200_000  # of a conversation whose rendering is kept: some 1 MB with it

_RENDERER = TemplateRenderer()
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")  # by which templates know them
# Tokens that end a turn, or a text, in the models that people meet, beside those the folder names:
# a GGUF file names fewer than its makers did.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<|user|>", "<|observation|>", "<|endoftext|>",
         "<|end_of_text|>")  # fmt: skip


class TemplateFormat:
    """The template of a model folder. Raises ModelBrokenError where there is none to read."""

    name = TEMPLATE_FORMAT
    stop_texts: tuple[str, ...] = ()
    may_think = True

    def __init__(self, folder: Path) -> None:
        config = read_json_object(folder / TOKENIZER_CONFIG_FILE, MAX_JSON_BYTES)
        self._template = _template_of(folder, config)
        self._values: dict[str, str | bool] = {
            key: token for key in _TOKENS if (token := token_text(config.get(key)))
        }
        self._eos_ids = _eos_ids(folder)

    @property
    def lead(self) -> str:
        """As the template writes an earlier answer behind what it ends a prompt with."""
        try:
            return _lead(self._template, json.dumps(self._values))
        except UnsupportedModelError:  # a template that wants other turns; or too slow, this time
            return ""

    def without_thinking(self) -> "TemplateFormat":
        """The same, telling the template to leave the reasoning out; some templates can."""
        other = copy.copy(self)
        other._values = {**self._values, "enable_thinking": False}
        return other

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """What generation_config.json names, the end of the text, and known ends of turns."""
        markers = getattr(tokenizer, "markers", {})
        ends = {markers[text] for text in _ENDS if text in markers}
        return stop_ids(tokenizer.specials) | self._eos_ids | ends

    def size(
        self, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = ""
    ) -> ChatSize:
        """Tokens the prompt takes; a message's are those of its own text."""
        ids = self._ids(tuple(messages), tokenizer, prefill)
        return ChatSize(len(ids), tuple(len(tokenizer.encode_after(m.text)) for m in messages))

    def layout(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        max_length: int,
        prefill: str = "",
    ) -> PromptLayout:
        """The prompt that answers the last message."""
        ids = self._ids(tuple(messages), tokenizer, prefill)
        require_room(len(ids), max_length)
        return causal_layout(ids)

    def _ids(
        self, messages: tuple[Message, ...], tokenizer: Tokenizer, prefill: str
    ) -> tuple[int, ...]:
        require_question(messages)
        if not isinstance(tokenizer, HuggingFaceTokenizer):
            raise UnsupportedModelError(
                "a chat template needs the tokenizer as tokenizer.json; this model's is another"
            )
        literal = _unused_character([m.text for m in messages])
        turns = []
        for message in messages:
            text = tokenizer.neutralize(message.text, literal)
            if message.role == "assistant":
                # Templates take the model's own reasoning out of earlier turns by these.
                text = re.sub(rf"<{literal}(/?think>)", r"<\1", text)
            turns.append({"role": message.role, "content": text})
        prompt = self._prompt(turns)
        if prefill and not prefill.startswith(self.lead):
            prefill = self.lead + prefill
        prompt, begun = join_thought(prompt, prefill)
        return (*tokenizer.encode_prompt(prompt, literal), *encode_begun(begun, tokenizer))

    def _prompt(self, turns: list[dict[str, str]]) -> str:
        """The turns as written; where the template refuses them, as it may take them.

        Some insist that the roles alternate, and a question that got no answer stands before the
        next one; some know no system text.
        """
        forms = [turns]
        for form in (_joined(turns), _joined(_as_questions(turns))):
            if form != forms[-1]:
                forms.append(form)
        for form in forms[:-1]:
            with contextlib.suppress(UnsupportedModelError):
                return self._rendered(form)
        return self._rendered(forms[-1])

    def _rendered(self, turns: list[dict[str, str]]) -> str:
        values = json.dumps([turns, self._values], ensure_ascii=False)
        render = _render_once if len(values) <= MAX_KEPT_CHARS else _render
        return render(self._template, values)


def require_renderable(template: str) -> None:
    """Raises UnsupportedModelError for a template that is too large or fails on one question."""
    if len(template.encode()) > MAX_TEMPLATE_BYTES:
        raise UnsupportedModelError(
            f"the chat template has {len(template)} characters; at most {MAX_TEMPLATE_BYTES} "
            "bytes are read"
        )
    values: dict[str, str | bool] = dict.fromkeys(_TOKENS, "")
    _RENDERER.render(template, [{"role": "user", "content": "?"}], values)


def _render(template: str, values: str) -> str:
    messages, more = json.loads(values)
    return _RENDERER.render(template, messages, more)


# The same conversation is asked for several times: to count it, to fit it, to send it.
_render_once = lru_cache(maxsize=8)(_render)


@lru_cache(maxsize=8)
def _lead(template: str, values: str) -> str:
    """White space that earlier answers have behind the end of a prompt; "" where that differs."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    prompt = _RENDERER.render(template, turns[:1], json.loads(values))
    answered = _RENDERER.render(template, [*turns, turns[0]], json.loads(values))
    before, _, _ = answered.removeprefix(prompt).partition("!")
    return before if answered.startswith(prompt) and before.isspace() else ""


def _joined(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns, neighbours of one role as one with a blank line between."""
    return [
        {"role": role, "content": "\n\n".join(turn["content"] for turn in group)}
        for role, group in groupby(turns, key=itemgetter("role"))
    ]


def _as_questions(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns with the system's text as the person's."""
    return [{**turn, "role": "user"} if turn["role"] == "system" else turn for turn in turns]


def _unused_character(texts: Sequence[str]) -> str:
    """A private character that none of the texts holds."""
    for code in range(0xF0000, 0xFFFFE):
        if not any(chr(code) in text for text in texts):
            return chr(code)
    raise BadRequestError("the conversation holds every private character there is")


def token_text(value: object) -> str:
    """The text of a token in tokenizer_config.json: a string, or an object with `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def find_template(folder: Path) -> str:
    """The chat template of a folder, or "" where it has none. Raises ModelBrokenError."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        return _read_text(path, MAX_TEMPLATE_BYTES)
    config_path = folder / TOKENIZER_CONFIG_FILE
    if not config_path.is_file():
        return ""
    return _configured_template(read_json_object(config_path, MAX_JSON_BYTES))


def _template_of(folder: Path, config: dict[str, Any]) -> str:
    path = folder / TEMPLATE_FILE
    if path.is_file():
        return _read_text(path, MAX_TEMPLATE_BYTES)
    template = _configured_template(config)
    if not template:
        raise ModelBrokenError(
            f"{folder} has no chat template: neither {TEMPLATE_FILE} nor chat_template in "
            f"{TOKENIZER_CONFIG_FILE}"
        )
    if len(template.encode()) > MAX_TEMPLATE_BYTES:
        raise ModelBrokenError(
            f"{folder / TOKENIZER_CONFIG_FILE}: a chat template of {len(template)} characters; "
            f"at most {MAX_TEMPLATE_BYTES} bytes are read"
        )
    return template


def _configured_template(config: dict[str, Any]) -> str:
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else ""


def _eos_ids(folder: Path) -> frozenset[int]:
    """`eos_token_id` of generation_config.json: one or several."""
    path = folder / GENERATION_CONFIG_FILE
    if not path.is_file():
        return frozenset()
    value = read_json_object(path, MAX_JSON_BYTES).get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    return frozenset(i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i >= 0)


def _read_text(path: Path, limit: int) -> str:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ModelBrokenError(f"{path}: {size} bytes; at most {limit} are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelBrokenError(f"{path} is not UTF-8: {error}") from error
