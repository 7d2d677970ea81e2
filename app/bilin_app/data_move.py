"""The data folder into another place, at a start, before anything in it is open.

On the same disk everything is renamed. Onto another one it is copied, each file under a name of its
own first; the old folder then stays as it was, for the person to delete.
"""

import contextlib
import errno
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_STAYS = ("bilin.lock",)
_PART = ".bilin-part"


@dataclass(frozen=True, slots=True)
class MoveReport:
    """problem: why nothing was moved, or "". kept_old: the old folder still holds all of it."""

    problem: str = ""
    kept_old: bool = False


def move_data(old: Path, new: Path) -> MoveReport:
    """Brings all of `old` into `new`. Whatever happens, one of the two is whole afterwards.

    A move that a crash broke off goes on where it was. A database that is in `new` already is
    never written over.
    """
    try:
        names = _names(old)  # one that is gone, as with its disk, has not been moved
        new.mkdir(parents=True, exist_ok=True)
        # The side files go first: a database without its -wal would be an older one.
        in_the_way = [name for name in names if (new / name).exists()]
        if in_the_way:
            return MoveReport(f"{new / in_the_way[0]} is there already")
    except OSError as error:
        return MoveReport(str(error))
    return _rename_all(old, new, names)


def _names(folder: Path) -> list[str]:
    names = [entry.name for entry in folder.iterdir() if entry.name not in _STAYS]
    return sorted(names, key=lambda name: (name == "bilin.db", name))


def _rename_all(old: Path, new: Path, names: list[str]) -> MoveReport:
    done: list[str] = []
    try:
        for name in names:
            (old / name).rename(new / name)
            done.append(name)
    except OSError as error:
        left = [name for name in reversed(done) if not _is_renamed(new / name, old / name)]
        if left:
            return MoveReport(f"{new} has {', '.join(left)} now, {old} the rest: {error}")
        if error.errno == errno.EXDEV:  # another disk, or a mount that counts as one
            return _copy_all(old, new, names)
        return MoveReport(str(error))
    return MoveReport()


def _is_renamed(path: Path, target: Path) -> bool:
    try:
        path.rename(target)
    except OSError as error:
        logger.warning("%s stays where it is: %s", path, error)
        return False
    return True


def _copy_all(old: Path, new: Path, names: list[str]) -> MoveReport:
    parts = [new / f"{name}{_PART}" for name in names]
    try:
        for name, part in zip(names, parts, strict=True):
            _remove(part)  # of a copy that a crash broke off
            source = old / name
            if source.is_dir():
                shutil.copytree(source, part, symlinks=True)
            else:
                shutil.copy2(source, part)
        if hasattr(os, "sync"):
            os.sync()
        for name, part in zip(names, parts, strict=True):
            part.rename(new / name)
    except OSError as error:
        for name, part in zip(names, parts, strict=True):
            with contextlib.suppress(OSError):  # the disk that failed may be gone
                _remove(part)
                if (old / name).exists():
                    _remove(new / name)
        return MoveReport(str(error))
    return MoveReport(kept_old=bool(names))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
