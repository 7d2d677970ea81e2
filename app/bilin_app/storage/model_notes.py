"""How each model was loaded last on this machine.

A JSON file beside the database; a damaged one is set aside and costs only these notes.
"""

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bilin_app.storage.whole_file import write_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelNote:
    """context 0 and mode "auto" = as the engine chooses.

    prefill_tokens in prefill_s, decode_tokens in decode_s: of the answers it gave, earlier ones
    weighing less.
    """

    context: int = 0
    prompt_tokens: int = 0
    mode: str = "auto"
    off: tuple[str, ...] = ()
    reserve_mib: int = 768
    cpu_layers: int = 0
    kv_dtype: str = "auto"
    prefill_tokens: float = 0.0
    prefill_s: float = 0.0
    decode_tokens: float = 0.0
    decode_s: float = 0.0


class ModelNotes:
    """Notes by model id; every change is written soon, in a thread: calls wait for no disk."""

    def __init__(self, path: Path | None = None) -> None:
        """path: None keeps them in memory (for the tour and tests)."""
        self._path = path
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="bilin-notes")
        self._written: Future[None] = Future()  # the newest state, or on its way
        self._notes: dict[str, ModelNote] = {}
        if path is not None:
            self._notes = _read(path)

    def get(self, model_id: str) -> ModelNote:
        """The note of a model, an empty one where there is none."""
        return self._notes.get(model_id, ModelNote())

    def change(self, model_id: str, **values: Any) -> None:  # noqa: ANN401 - as the fields are
        """Changes fields of a model's note. A disk that refuses is logged, not told."""
        note = replace(self.get(model_id), **values)
        if note == self.get(model_id):
            return
        self._notes[model_id] = note
        if self._path is not None:
            self._written.cancel()  # one that has not begun: this one has all of it
            self._written = self._writer.submit(_write, self._path, dict(self._notes))

    def close(self) -> None:
        """Waits until everything is written."""
        self._writer.shutdown()


def _read(path: Path) -> dict[str, ModelNote]:
    names = {field.name for field in fields(ModelNote)}
    notes: dict[str, ModelNote] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for model_id, values in content.items():
            known = {name: value for name, value in values.items() if name in names}
            known["off"] = tuple(known.get("off", ()))
            notes[model_id] = _checked(ModelNote(**known))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        logger.info("the notes in %s are not usable: %s", path, error)
        return {}
    return notes


def _checked(note: ModelNote) -> ModelNote:
    """Raises ValueError for a value of the wrong kind."""
    default = ModelNote()
    for field in fields(ModelNote):
        value = getattr(note, field.name)
        expected = type(getattr(default, field.name))
        if isinstance(value, bool) or not isinstance(value, (expected, int)):
            raise ValueError(f"{field.name} is {value!r}")
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{field.name} is {value!r}")
    return note


def _write(path: Path, notes: dict[str, ModelNote]) -> None:
    content = json.dumps({key: asdict(note) for key, note in notes.items()}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.encode(), mode=0o600)
    except OSError as error:
        logger.info("%s cannot be written: %s", path, error)
