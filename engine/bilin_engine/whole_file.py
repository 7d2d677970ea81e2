"""What is there whole or not at all, whatever ends the process or fills the disk."""

import os
import shutil
import tempfile
from pathlib import Path


def partial_folder(folder: Path) -> Path:
    """Where unfinished work for a folder lies, beside it; it takes its name when it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file beside `path`, which it then replaces.

    The mode is that of the file that was there; a new one is 0600 from its first moment. Raises
    OSError and leaves nothing behind.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if path.exists():
            shutil.copymode(path, name)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
