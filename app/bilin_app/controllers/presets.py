"""Presets: a system prompt and a sampling under a name, to be put on any conversation."""

from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import decode, encode
from bilin_app.controllers.views import Preset
from bilin_app.storage.presets import load_presets, save_presets
from bilin_app.storage.store import Store
from bilin_engine.protocol import Sampling

MAX_NAME = 80


class Presets(QObject):
    """changed(list[Preset]): all of them, in the order of their names.

    deleted(Preset): `save` brings it back. refused(StorageError).
    """

    changed = Signal(object)
    deleted = Signal(object)
    refused = Signal(object)

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._mailbox = Mailbox(self)
        self._presets: list[Preset] = []

    def load(self) -> None:
        """Reads them; `changed` follows."""
        self._mailbox.when(self._store.read(load_presets), self._on_loaded, self.refused.emit)

    def save(self, name: str, system_prompt: str, sampling: Sampling) -> None:
        """Keeps a preset, in place of one of the same name."""
        name = clean_name(name)
        if name:
            others = [preset for preset in self._presets if preset.name != name]
            self._set([*others, Preset(name, system_prompt, sampling)])

    def rename(self, name: str, new_name: str) -> None:
        """Gives a preset another name. One of that name already is left as it is."""
        new_name = clean_name(new_name)
        names = [preset.name for preset in self._presets]
        if new_name and name in names and new_name not in names:
            self._set([replace(p, name=new_name) if p.name == name else p for p in self._presets])

    def delete(self, name: str) -> None:
        """Removes a preset; `deleted` follows, for the offer to undo."""
        gone = next((preset for preset in self._presets if preset.name == name), None)
        if gone is not None:
            self._set([preset for preset in self._presets if preset.name != name])
            self.deleted.emit(gone)

    def _set(self, presets: list[Preset]) -> None:
        self._presets = sorted(presets, key=lambda preset: preset.name.casefold())
        self.changed.emit(list(self._presets))
        future = self._store.write(save_presets, encode(tuple(self._presets)))
        self._mailbox.when(future, None, self.refused.emit)

    def _on_loaded(self, text: str) -> None:
        self._presets = list(decode(text, tuple[Preset, ...]) or ())
        self.changed.emit(list(self._presets))


def clean_name(name: str) -> str:
    """On one line, of a length that a menu can show."""
    return " ".join(name.split())[:MAX_NAME]
