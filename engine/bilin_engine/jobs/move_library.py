"""Moves a models folder, perhaps to another disk: copied and compared first, removed last.

At every moment each model is whole in one of the two folders. A move that was cut off is taken up
again: what is there already is not copied twice.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.jobs.base import JobReporter
from bilin_engine.jobs.import_folder import check_space
from bilin_engine.library import (
    IDS_FILE,
    LINKED_FILE,
    SPEEDS_FILE,
    STATE_DIR,
    TRASH_DIR,
    VERIFIED_FILE,
    Library,
    VerifiedFiles,
    files_fingerprint,
)
from bilin_engine.protocol import MoveLibrary
from bilin_engine.whole_file import partial_folder, take_place, write_whole

BLOCK_BYTES = 4 * 1024 * 1024
# FAT keeps times in steps of 2 s, exFAT of 10 ms, NTFS and SMB of 100 ns: a copy has what is left.
TIME_STEP_NS = 2_000_000_000
STATE_FILES = (LINKED_FILE, VERIFIED_FILE, SPEEDS_FILE, IDS_FILE)


def move_library(work: MoveLibrary, reporter: JobReporter) -> Path:
    """Moves every model, the trash and what is known of them; returns the new folder.

    Raises BadRequestError before the first byte where a name is taken or one folder is inside the
    other, BilinError, OSError, JobStopped.
    """
    source, target = Path(work.source), Path(work.folder)
    _check(source, target)
    target.mkdir(parents=True, exist_ok=True)
    folders, links = _to_move(source), _links(source)
    total = sum(path.lstat().st_size for folder in folders for path in _files(folder))
    to_copy = folders
    if _is_same_disk(source, target):
        to_copy = _rename_all(source, folders, target, total, reporter)
    _copy_all(source, to_copy, target, total, reporter)
    _move_links(links, source, target)
    _move_state(source, target, _verified_copies(folders, source, target))
    for folder in folders:
        # What came or changed meanwhile stays where it is: it is nowhere else.
        if folder.is_dir() and _is_copy(folder, target / folder.relative_to(source)):
            shutil.rmtree(folder)
    # Last: a move that is taken up again needs them. What stayed would count again, whatever has
    # changed by then, once the models are moved back.
    for name in STATE_FILES:
        (source / STATE_DIR / name).unlink(missing_ok=True)
    reporter.tell("move", total, total)
    return target


def _check(source: Path, target: Path) -> None:
    old, new = source.resolve(), target.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise BadRequestError(
            f"models cannot be moved from {source} to {target}: one is inside the other"
        )
    for folder in (*_to_move(source), *_links(source)):
        there = target / folder.relative_to(source)
        is_same = folder.is_symlink() and there.resolve() == folder.resolve()
        if os.path.lexists(there) and not is_same and not _is_copy(folder, there):
            raise BadRequestError(
                f"{there} exists already and is another one; rename it, then try again"
            )


def _to_move(source: Path) -> list[Path]:
    """Models, and what is in the trash; never unfinished work or the queue."""
    trash = source / TRASH_DIR
    deleted = sorted(trash.iterdir()) if trash.is_dir() and not trash.is_symlink() else []
    models = [path for path in sorted(source.iterdir()) if not path.name.startswith(".")]
    return [path for path in (*models, *deleted) if path.is_dir() and not path.is_symlink()]


def _links(source: Path) -> list[Path]:
    """Links to folders elsewhere, which the library takes for models as well."""
    return [
        path
        for path in sorted(source.iterdir())
        if not path.name.startswith(".") and path.is_symlink() and path.is_dir()
    ]


def _move_links(links: list[Path], source: Path, target: Path) -> None:
    """Each becomes one to the same place, by its full path; a model that was moved is followed."""
    for link in links:
        place, there = link.resolve(), target / link.name
        if place.is_relative_to(source.resolve()):
            place = target.resolve() / place.relative_to(source.resolve())
        if not os.path.lexists(there):
            there.symlink_to(place, target_is_directory=True)
        link.unlink()


def _files(folder: Path) -> Iterator[Path]:
    """Files and links below a folder; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.is_file():
            yield path


def _is_same_disk(source: Path, target: Path) -> bool:
    return source.stat().st_dev == target.stat().st_dev


def _is_copy(folder: Path, there: Path) -> bool:
    """Whether every file of a folder is there with its size and time, as `_copy` leaves it."""
    if not there.is_dir() or there.is_symlink():
        return False
    return all(_is_same(path, there / path.relative_to(folder)) for path in _files(folder))


def _is_same(path: Path, copy: Path) -> bool:
    try:
        one, other = path.lstat(), copy.lstat()
    except OSError:
        return False
    if path.is_symlink():
        return copy.is_symlink() and path.readlink() == copy.readlink()
    is_same_time = abs(one.st_mtime_ns - other.st_mtime_ns) < TIME_STEP_NS
    return one.st_size == other.st_size and is_same_time


def _rename_all(
    source: Path, folders: list[Path], target: Path, total: int, reporter: JobReporter
) -> list[Path]:
    """Moves folders within a disk; the rest where that cannot be done after all."""
    for number, folder in enumerate(folders):
        reporter.tell("move", 0, max(1, total))
        there = target / folder.relative_to(source)
        there.parent.mkdir(exist_ok=True)
        try:
            folder.rename(there)
        except OSError as error:
            # Two mounts of one file system, as containers have them, are one disk by number only.
            if error.errno != errno.EXDEV:
                raise
            return folders[number:]
    return []


def _copy_all(
    source: Path, folders: list[Path], target: Path, total: int, reporter: JobReporter
) -> None:
    places = {folder: target / folder.relative_to(source) for folder in folders}
    missing = [folder for folder in folders if not places[folder].exists()]
    needed = sum(
        path.lstat().st_size
        for folder in missing
        for path in _files(folder)
        if not _is_same(path, partial_folder(places[folder]) / path.relative_to(folder))
    )
    check_space(target, needed)
    done = 0
    for folder, there in places.items():
        partial = partial_folder(there)
        for path in _files(folder):
            if folder in missing:
                _copy(path, partial / path.relative_to(folder), reporter, done, total)
            done += path.lstat().st_size
        if folder in missing:
            partial.mkdir(parents=True, exist_ok=True)  # a folder without files
            take_place(partial, there)


def _copy(path: Path, copy: Path, reporter: JobReporter, done: int, total: int) -> None:
    """Copies one file; what was written is read again and compared. Times are kept."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    if _is_same(path, copy):
        return
    copy.unlink(missing_ok=True)
    if path.is_symlink():
        copy.symlink_to(path.readlink())
        return
    digest = hashlib.sha256()
    with path.open("rb") as reading, copy.open("wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            done += len(block)
            reporter.tell("move", done, total)
        writing.flush()
        os.fsync(writing.fileno())
    with copy.open("rb") as reading:
        if hashlib.file_digest(reading, "sha256").digest() != digest.digest():
            raise BilinError(f"{copy} reads back differently: the disk is not to be trusted")
    shutil.copystat(path, copy)


def _verified_copies(folders: list[Path], source: Path, target: Path) -> dict[str, VerifiedFiles]:
    """By folder name; a copy agrees with its hashes as the original does, whatever its times."""
    verified = Library(source).verified()
    return {
        folder.name: VerifiedFiles(files_fingerprint(there), verified[folder.name].at)
        for folder in folders
        if folder.parent == source and folder.name in verified
        if folder.is_dir() and _is_copy(folder, there := target / folder.name)
        if verified[folder.name].files == files_fingerprint(folder)
    }


def _move_state(source: Path, target: Path, verified: Mapping[str, VerifiedFiles]) -> None:
    """What is known of the models goes along, beside what the new folder knows of its own.

    verified: of copies, in place of what was known of their originals.
    """
    (target / STATE_DIR).mkdir(exist_ok=True)
    for name in STATE_FILES:
        old, new = _read(source / STATE_DIR / name), _read(target / STATE_DIR / name)
        if isinstance(old, dict):
            # Of copies whose originals a move that was cut off removed in part, `new` knows better.
            certain = msgspec.to_builtins(verified) if name == VERIFIED_FILE else old
            both: object = {**old, **(new if isinstance(new, dict) else {}), **certain}
        elif isinstance(old, list):
            both = list(dict.fromkeys([*old, *(new if isinstance(new, list) else [])]))
        else:
            continue
        write_whole(target / STATE_DIR / name, json.dumps(both, ensure_ascii=False).encode())


def _read(path: Path) -> object:
    """A state file; None where it is missing or not usable, as the library takes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
