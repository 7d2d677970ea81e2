"""Conversations as files: Markdown to read, JSON to keep; and ChatGPT's export, to come from there.

Only the branch on show is exported. Knows no database.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bilin_app.text.attachments import Attachment, clean_name, with_attachments
from bilin_app.text.document import from_units

FORMAT_VERSION = 1
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class FileMessage:
    """A turn. created_at: seconds since the epoch."""

    role: Literal["user", "assistant"]
    text: str
    created_at: float = 0.0
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class FileConversation:
    """One conversation, oldest message first."""

    title: str
    messages: tuple[FileMessage, ...]
    system_prompt: str = ""
    created_at: float = 0.0


def to_markdown(conversation: FileConversation, person: str, model: str) -> str:
    """A text to read; person and model: the names over their messages."""
    parts = [f"# {conversation.title}"]
    if conversation.system_prompt.strip():
        quoted = conversation.system_prompt.strip().replace("\n", "\n> ")
        parts.append(f"> {quoted}")
    for message in conversation.messages:
        name = person if message.role == "user" else model
        text = with_attachments(message.text, message.attachments)
        parts.append(f"## {name}\n\n{text.strip()}")
    return "\n\n".join(parts) + "\n"


def to_json(conversation: FileConversation) -> str:
    """All that `read_conversations` takes back."""
    content = {
        "bilin_conversation": FORMAT_VERSION,
        "title": conversation.title,
        "system_prompt": conversation.system_prompt,
        "created_at": conversation.created_at,
        "messages": [
            {
                "role": m.role,
                "text": m.text,
                "created_at": m.created_at,
                **({"attachments": [_named(a) for a in m.attachments]} if m.attachments else {}),
            }
            for m in conversation.messages
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def holds_conversations(head: str) -> bool:
    """Whether a JSON file that begins so holds conversations, and not a document."""
    return head.lstrip("\ufeff \t\r\n").startswith("[") or '"bilin_conversation"' in head


def read_conversations(text: str) -> list[FileConversation]:
    """The conversations of a file: our JSON, or ChatGPT's `conversations.json`.

    Raises ValueError that says what is wrong. Turns that hold no text (pictures, tools) are left
    out, and so are conversations without any.
    """
    try:
        if (start := _after_space(text, 0)) < len(text) and text[start] == "[":
            found = [_chatgpt(one) for one in _elements(text, start) if isinstance(one, dict)]
        else:
            found = [_ours(json.loads(text))]
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from error
    return [conversation for conversation in found if conversation.messages]


def _elements(text: str, start: int) -> Iterator[object]:
    """The elements of the array that the JSON is, one by one. Raises JSONDecodeError.

    Decoding holds all other threads up, also the window's: for one conversation at most.
    """
    decoder = json.JSONDecoder()
    place = _after_space(text, start + 1)
    is_open = not text.startswith("]", place)
    while is_open:
        element, place = decoder.raw_decode(text, place)
        yield element
        place = _after_space(text, place)
        is_open = not text.startswith("]", place)
        if is_open:
            if not text.startswith(",", place):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
            place = _after_space(text, place + 1)
    place = _after_space(text, place + 1)
    if place < len(text):
        raise json.JSONDecodeError("Extra data", text, place)


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _ours(content: object) -> FileConversation:
    if not isinstance(content, dict) or "bilin_conversation" not in content:
        raise ValueError("neither a conversation of Bilin nor ChatGPT's conversations.json")
    version = content["bilin_conversation"]
    if version != FORMAT_VERSION:
        raise ValueError(f"format {version} is not known; this Bilin reads {FORMAT_VERSION}")
    listed = content.get("messages")
    messages = [
        FileMessage(m["role"], _text(m["text"]), _time(m.get("created_at")), _attachments(m))
        for m in (listed if isinstance(listed, list) else [])
        if isinstance(m, dict)
        and m.get("role") in ("user", "assistant")
        and isinstance(m.get("text"), str)
    ]
    return FileConversation(
        _text(content.get("title")),
        tuple(messages),
        _text(content.get("system_prompt")),
        _time(content.get("created_at")),
    )


def _named(attachment: Attachment) -> dict[str, str]:
    return {"name": attachment.name, "text": attachment.text}


def _attachments(message: dict[str, Any]) -> tuple[Attachment, ...]:
    listed = message.get("attachments")
    return tuple(
        Attachment(clean_name(_text(a["name"])), _text(a["text"]))
        for a in (listed if isinstance(listed, list) else [])
        if isinstance(a, dict) and isinstance(a.get("name"), str) and isinstance(a.get("text"), str)
    )


def _chatgpt(entry: dict[str, Any]) -> FileConversation:
    """The branch that ends in `current_node`, as ChatGPT shows it."""
    mapping = entry.get("mapping")
    nodes: dict[str, Any] = mapping if isinstance(mapping, dict) else {}
    name, branch = entry.get("current_node"), []
    seen: set[str] = set()
    while isinstance(name, str) and name in nodes and name not in seen:
        seen.add(name)
        node = nodes[name] if isinstance(nodes[name], dict) else {}
        branch.append(node.get("message"))
        name = node.get("parent")
    messages = [made for raw in reversed(branch) if (made := _chatgpt_message(raw)) is not None]
    created_at = _time(entry.get("create_time"))
    return FileConversation(_text(entry.get("title")), tuple(messages), "", created_at)


def _chatgpt_message(raw: object) -> FileMessage | None:
    if not isinstance(raw, dict):
        return None
    author, content = raw.get("author"), raw.get("content")
    role = author.get("role") if isinstance(author, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    if role not in ("user", "assistant") or not isinstance(parts, list):
        return None
    text = "\n\n".join(part for part in parts if isinstance(part, str) and part.strip())
    return FileMessage(role, _text(text), _time(raw.get("create_time"))) if text else None


def _text(value: object) -> str:
    """A text that can be stored: JSON may hold half of a pair of surrogates."""
    return from_units(value) if isinstance(value, str) else ""


def _time(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e11 else 0.0
