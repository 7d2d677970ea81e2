"""What changes the library: rename, trash, folders added in place, what was verified.

Touches nothing outside the models folder, but for reading. Every state file is written anew beside
the old one and put in its place.
"""

import contextlib
import hashlib
import logging
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from bilin_engine.errors import BadRequestError, BilinError, ModelBrokenError
from bilin_engine.library import (
    IDS_FILE,
    LINKED_FILE,
    SPEEDS_FILE,
    TOKENIZER_CONFIG_FILE,
    TRASH_DIR,
    VERIFIED_FILE,
    FileRecord,
    Library,
    ModelNames,
    VerifiedFiles,
    change_description,
    files_fingerprint,
    read_description,
)
from bilin_engine.protocol import MeasuredSpeed, ModelDeleted, ModelInfo
from bilin_engine.tokenizers.load import DEFAULT_FILES, load_tokenizer
from bilin_engine.whole_file import write_whole

logger = logging.getLogger(__name__)

MAX_NAME_CHARS = 80
MAX_TOKENIZER_BYTES = 64 * 1024**2
TOKENIZER_CLASS = "IceTokenizer"


class LibraryOps:
    """Changes one library. All methods belong to one thread."""

    def __init__(self, library: Library) -> None:
        self._library = library

    @property
    def trash_dir(self) -> Path:
        """Deleted models, until the trash is emptied."""
        return self._library.models_dir / TRASH_DIR

    def add_in_place(self, path: str) -> None:
        """Lists a folder that stays where it is. Raises ModelBrokenError for what is no model."""
        folder = Path(path).absolute()
        read_description(folder)
        linked = self._library.linked()
        known = [*linked, *(Path(info.path) for info in self._library.models())]
        if folder in known:
            raise BadRequestError(f"{folder} is in the library already")
        self.keep_ids()
        self._write_linked((*linked, folder))
        self.keep_ids()

    def keep_ids(self) -> None:
        """Lets every model keep the id that it has now, whatever models come or go later.

        To be called before one does: several may have one id in their descriptions, and those that
        have none kept are told apart by their places in the list. And after one is gone: its id is
        not for what is put in its place. Best kept, not needed: a disk that is full or fails keeps
        nothing from being deleted.
        """
        kept, listed = self._library.ids(), dict[str, str]()
        try:
            for entry in self._library.entries():
                key = self._library.key(Path(entry.info.path))
                # One that was never read (its disk is away) may have an id of its own.
                if not entry.info.is_bundled and (entry.description is not None or key in kept):
                    listed.setdefault(key, entry.info.id)
            if listed != kept:
                self._write_state(IDS_FILE, msgspec.json.encode(listed))
        except (BilinError, OSError) as error:
            logger.info("the ids of the models cannot be kept: %s", error)

    def rename(self, model_id: str, name: str) -> None:
        """Names a model in both languages; its id stays."""
        name = name.strip()
        is_printable = name.replace("\u3000", "").isprintable()  # a full-width space is one here
        if not name or len(name) > MAX_NAME_CHARS or not is_printable:
            raise BadRequestError(
                f"the name {name[:MAX_NAME_CHARS]!r} is not possible; use 1 to {MAX_NAME_CHARS} "
                "printable characters"
            )
        info = self._own(model_id)
        change_description(Path(info.path), names=ModelNames(zh=name, en=name))

    def add_tokenizer(self, model_id: str, path: str) -> None:
        """Puts icetk's file into a model that came without it.

        Raises BadRequestError or ModelBrokenError for a file that is no such tokenizer; the model
        is then as it was.
        """
        info = self._own(model_id)
        if not info.lacks_tokenizer:
            raise BadRequestError(f"{info.name_en} has a tokenizer already")
        source, folder = Path(path), Path(info.path)
        content = _read_small(source)
        was_verified = bool(info.verified_at)
        config = msgspec.json.encode({"tokenizer_class": TOKENIZER_CLASS}) + b"\n"
        files = {DEFAULT_FILES[TOKENIZER_CLASS]: content, TOKENIZER_CONFIG_FILE: config}
        with tempfile.TemporaryDirectory(prefix=".tokenizer-", dir=folder) as tried:
            for name, data in files.items():
                (Path(tried) / name).write_bytes(data)
            try:
                load_tokenizer(Path(tried))
            except BilinError as error:
                message = f"{source} is no tokenizer of GLM-130B: take its ice_text.model"
                raise BadRequestError(message, detail=error.message) from error
        description = read_description(folder)
        records = {
            name: FileRecord(len(data), hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        }
        # The description last: until then the folder reads as it did before.
        for name in (DEFAULT_FILES[TOKENIZER_CLASS], TOKENIZER_CONFIG_FILE):
            _put(folder / name, files[name])
        change_description(folder, files={**description.files, **records})
        if was_verified:
            self.mark_verified(folder)

    def keep_speed(self, model_id: str, speed: MeasuredSpeed) -> None:
        """Keeps a measurement in place of the one before it on this machine."""
        key = self._library.key(Path(self._library.find(model_id).path))
        speeds = self._library.speeds()
        others = [old for old in speeds.get(key, []) if old.machine != speed.machine]
        self._write_state(SPEEDS_FILE, msgspec.json.encode({**speeds, key: [*others, speed]}))

    def forget_speed(self, folder: Path) -> None:
        """A folder holds another model than the deleted one that was measured under its name."""
        speeds = self._library.speeds()
        if speeds.pop(self._library.key(folder), None) is not None:
            self._write_state(SPEEDS_FILE, msgspec.json.encode(speeds))

    def delete(self, model_id: str) -> ModelDeleted:
        """Puts a model into the trash, or takes one that was added in place off the list."""
        info = self._own(model_id)
        self.keep_ids()
        folder = Path(info.path)
        linked = self._library.linked()
        if folder in linked:
            self._write_linked(tuple(path for path in linked if path != folder))
            self.keep_ids()
            return ModelDeleted(freed_bytes=0, trashed="")
        if folder.parent != self._library.models_dir:
            raise BadRequestError(f"{folder} is not in {self._library.models_dir}")
        description = self._library.entry(model_id).description
        if description is not None and description.id != model_id and not folder.is_symlink():
            with contextlib.suppress(BilinError, OSError):  # a full disk
                change_description(folder, id=model_id)  # to have it when it is restored
        try:
            self.trash_dir.mkdir(exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix="deleted-", dir=self.trash_dir))
            folder.rename(place / folder.name)
        except OSError as error:
            raise BilinError(f"{folder} cannot be deleted: {error.strerror}") from error
        self.keep_ids()
        return ModelDeleted(freed_bytes=info.size_bytes, trashed=place.name)

    def restore(self, trashed: str) -> None:
        """Takes a model out of the trash again."""
        place = self.trash_dir / trashed
        if not trashed or Path(trashed).name != trashed or not place.is_dir():
            raise BadRequestError(f"the trash holds no {trashed!r}")
        self.keep_ids()
        try:
            for folder in place.iterdir():
                target = self._library.models_dir / folder.name
                if target.exists():
                    raise BadRequestError(f"{target} exists again; rename it first")
                folder.rename(target)
            place.rmdir()
        except OSError as error:
            raise BilinError(f"{place} cannot be restored: {error.strerror}") from error
        self.keep_ids()

    def empty_trash(self) -> None:
        """Removes what was deleted for good. Links are removed, never what they point to."""
        if not self.trash_dir.is_dir() or self.trash_dir.is_symlink():
            return
        try:
            shutil.rmtree(self.trash_dir)
        except FileNotFoundError:  # another Bilin empties it too
            self.empty_trash()
        except OSError as error:
            raise BilinError(f"{self.trash_dir} cannot be emptied: {error.strerror}") from error

    def mark_verified(self, folder: Path) -> None:
        """A folder's files agree with their hashes now."""
        verified = dict(self._library.verified())
        verified[self._library.key(folder)] = VerifiedFiles(files_fingerprint(folder), time.time())
        models_dir = self._library.models_dir
        kept = {key: value for key, value in verified.items() if (models_dir / key).is_dir()}
        self._write_state(VERIFIED_FILE, msgspec.json.encode(kept))

    def mark_changed(self, folder: Path) -> None:
        """A folder's files do not agree with their hashes."""
        verified = dict(self._library.verified())
        if verified.pop(self._library.key(folder), None) is not None:
            self._write_state(VERIFIED_FILE, msgspec.json.encode(verified))

    def _own(self, model_id: str) -> ModelInfo:
        info = self._library.find(model_id)
        if info.is_bundled:
            raise BadRequestError(f"{info.name_en} comes with Bilin and stays as it is")
        return info

    def _write_linked(self, folders: tuple[Path, ...]) -> None:
        self._write_state(LINKED_FILE, msgspec.json.encode([str(path) for path in folders]))

    def _write_state(self, name: str, content: bytes) -> None:
        try:
            self._library.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self._library.models_dir} cannot be written: {error.strerror}"
            raise BilinError(message) from error
        _put(self._library.state_dir / name, content)


def _read_small(path: Path) -> bytes:
    """A tokenizer file. Raises BadRequestError."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise BadRequestError(f"{path} is no tokenizer file; GLM-130B's is ice_text.model")
        return path.read_bytes()
    except OSError as error:
        raise BadRequestError(f"{path} cannot be read: {error.strerror}") from error


def _put(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all. Raises ModelBrokenError with the reason."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise ModelBrokenError(f"{path} cannot be written: {error.strerror}") from error
