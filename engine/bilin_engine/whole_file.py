"""What is there whole or not at all, whatever ends the process or fills the disk."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_HASH_BLOCK_BYTES = 4 * 1024 * 1024


def partial_folder(folder: Path) -> Path:
    """Where unfinished work for a folder lies, beside it; it takes its name when it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def file_sha256(path: Path, on_block: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of a file; `on_block` hears the size of every block read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
            if on_block is not None:
                on_block(len(block))
    return digest.hexdigest()


def take_place(partial: Path, folder: Path) -> None:
    """Gives finished work its name, once all of it is on the disk.

    A power cut then leaves it under one name or the other, and whole under this one; what it was
    made of may be deleted. Raises OSError.
    """
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    partial.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    if path.is_symlink() or (path.is_dir() and os.name == "nt"):  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file beside `path`, which it then replaces.

    The mode is that of the file that was there; a new one is 0600 from its first moment. Raises
    OSError and leaves nothing behind.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing in it
        if path.exists():
            shutil.copymode(path, name)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
