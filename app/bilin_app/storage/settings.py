"""The settings file: TOML that people edit too. Unknown keys stay; a bad value falls back.

Knows the keys, their types and limits; knows nothing of what they do.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bilin_app.storage.whole_file import write_whole

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

Language = Literal["system", "zh", "en"]
Theme = Literal["system", "light", "dark"]
SendKey = Literal["enter", "ctrl+enter"]
EnginePriority = Literal["low", "normal"]
HubChoice = Literal["by language", "hugging_face", "modelscope"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chose. Font family "" = the one of the language; sizes in pixels.

    text_…: of messages and documents. idle_unload_min: minutes without a request until the model
    is unloaded; 0 = never. last_model: loaded at the next start; "" = the bundled one. models_dir:
    the person's own models, "" = below the data folder.
    tells_answers: through the desktop, when a long one ends out of view. data_dir: where the data
    lie, "" = the platform's folder; move_from: a folder whose contents go there at the next start.
    hub: where models are fetched from first; "by language" = ModelScope in Chinese. hub_endpoint,
    hub_proxy: "" = the environment's. shortcuts: (name, keys) of those that were changed; names
    that are not known stay.
    """

    language: Language = "system"
    theme: Theme = "system"
    ui_font: str = ""
    ui_font_size: int = 14
    text_font: str = ""
    text_font_size: int = 14
    code_font: str = ""
    code_font_size: int = 13
    send_key: SendKey = "enter"
    last_model: str = ""
    models_dir: str = ""
    idle_unload_min: int = 0
    engine_priority: EnginePriority = "low"
    hub: HubChoice = "by language"
    hub_endpoint: str = ""
    hub_proxy: str = ""
    tells_answers: bool = False
    data_dir: str = ""
    move_from: str = ""
    shortcuts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BadValue:
    """A value that was not taken. allowed: what would be right, in words; used: what is used."""

    key: str
    value: str
    allowed: str
    used: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """What the file says. unreadable: why the file as a whole was not taken, or ""."""

    settings: Settings
    bad_values: tuple[BadValue, ...] = ()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    allowed: str
    accepts: Callable[[Any], bool]


def _one_of(*choices: str) -> _Rule:
    return _Rule(
        " / ".join(f'"{choice}"' for choice in choices),
        lambda value: isinstance(value, str) and value in choices,
    )


def _whole(low: int, high: int) -> _Rule:
    return _Rule(
        f"{low}–{high}",
        lambda value: type(value) is int and low <= value <= high,
    )


_TEXT = _Rule('"…"', lambda value: isinstance(value, str) and len(value) <= 500)

_PATH = _Rule(
    '"/…"', lambda value: isinstance(value, str) and (not value or Path(value).is_absolute())
)
_YES_NO = _Rule("true / false", lambda value: isinstance(value, bool))
_KEYS = _Rule('"Ctrl+…"', lambda value: isinstance(value, str) and len(value) <= 40)
_TABLE = _Rule("[shortcuts]", lambda value: isinstance(value, dict))

_RULES: dict[str, _Rule] = {
    "language": _one_of("system", "zh", "en"),
    "theme": _one_of("system", "light", "dark"),
    "ui_font": _TEXT,
    "ui_font_size": _whole(9, 32),
    "text_font": _TEXT,
    "text_font_size": _whole(9, 32),
    "code_font": _TEXT,
    "code_font_size": _whole(9, 32),
    "send_key": _one_of("enter", "ctrl+enter"),
    "last_model": _TEXT,
    "models_dir": _PATH,
    "idle_unload_min": _whole(0, 10_000),
    "engine_priority": _one_of("low", "normal"),
    "hub": _one_of("by language", "hugging_face", "modelscope"),
    "hub_endpoint": _TEXT,
    "hub_proxy": _TEXT,
    "tells_answers": _YES_NO,
    "data_dir": _PATH,
    "move_from": _PATH,
    "shortcuts": _TABLE,
}


class SettingsFile:
    """Reads and writes one settings file. Everything else in it (comments too) stays as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def real_path(self) -> Path:
        """The file itself where a link names it: the link stays, and this is written."""
        return Path(os.path.realpath(self.path))

    def load(self) -> LoadedSettings:
        """The settings, defaults where the file says nothing or nothing usable. Never raises."""
        try:
            document = tomllib.loads(self._text())
        except (OSError, ValueError, RecursionError) as error:
            return LoadedSettings(Settings(), unreadable=str(error))
        taken: dict[str, Any] = {}
        bad_values: list[BadValue] = []
        for field in fields(Settings):
            if field.name not in document:
                continue
            value = document[field.name]
            rule = _RULES[field.name]
            if field.name == "shortcuts" and isinstance(value, dict):
                taken["shortcuts"] = tuple(
                    (name, keys) for name, keys in value.items() if _KEYS.accepts(keys)
                )
                bad_values += [
                    BadValue(f"shortcuts.{name}", repr(keys), _KEYS.allowed, "")
                    for name, keys in value.items()
                    if not _KEYS.accepts(keys)
                ]
            elif rule.accepts(value):
                taken[field.name] = value
            else:
                bad_values.append(
                    BadValue(field.name, repr(value), rule.allowed, str(field.default))
                )
        return LoadedSettings(replace(Settings(), **taken), tuple(bad_values))

    def save(self, settings: Settings, before: Settings | None = None) -> None:
        """Writes what differs from the file, by a new file put in its place.

        before: what was loaded or saved last; what is still as it was then is not written, for a
        person may have changed it in the file since. A file that cannot be understood is kept
        beside it as `settings.toml.bad`. A default is written only over another value. Raises
        OSError.
        """
        import tomlkit  # keeps comments and order; reading can do without
        from tomlkit.exceptions import TOMLKitError

        try:
            document = tomlkit.parse(self._text())
        except (UnicodeDecodeError, TOMLKitError):
            real = self.real_path()
            real.replace(real.with_name(real.name + ".bad"))
            document, before = tomlkit.document(), None  # it says nothing of the rest any more
        _write_shortcuts(document, dict(settings.shortcuts), before and dict(before.shortcuts))
        for field in fields(Settings):
            value = getattr(settings, field.name)
            if field.name == "shortcuts" or (before and value == getattr(before, field.name)):
                continue
            if field.name in document:
                if _plain(document[field.name]) != value:
                    document[field.name] = value
            elif value != field.default:
                document[field.name] = value  # tomlkit puts it before the first table
        self._write(tomlkit.dumps(document))

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _write(self, text: str) -> None:
        path = self.real_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode(), mode=0o600)


def _write_shortcuts(
    document: TOMLDocument, wanted: dict[str, str], before: dict[str, str] | None
) -> None:
    """Changes the table to what is wanted; what is no keys stays. before: as for `save`."""
    changed = wanted
    if before is not None:
        changed = {name: keys for name, keys in wanted.items() if before.get(name) != keys}
    table = document.get("shortcuts")
    if not isinstance(table, MutableMapping):
        if not changed:
            return
        import tomlkit

        table = document["shortcuts"] = tomlkit.table()
    for name in [n for n, keys in table.items() if _KEYS.accepts(_plain(keys))]:
        if name not in wanted and (before is None or name in before):
            del table[name]
    for name, keys in changed.items():
        if _plain(table.get(name)) != keys:
            table[name] = keys


def _plain(value: object) -> object:
    """A tomlkit value as Python's own."""
    from tomlkit.items import Item

    return value.unwrap() if isinstance(value, Item) else value
