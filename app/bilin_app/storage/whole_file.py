"""A file that is there whole or not at all, whatever ends the process or fills the disk."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Writes beside a file, which it then replaces.

    mode: of the file; None = as the one that is there, or as the umask leaves it. Raises OSError
    and leaves nothing behind.
    """
    if mode is None and path.exists():
        mode = path.stat().st_mode & 0o7777
    partial = path.with_name(f".bilin-{os.urandom(8).hex()}")
    allowed = 0o666 if mode is None else mode  # less the umask, from its first moment
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, allowed)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name with nothing in it
        if mode is not None:
            partial.chmod(mode)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
