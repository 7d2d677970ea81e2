"""A folder on a disk that answers every call with an error, as a share whose server is gone."""

import errno
import os
from pathlib import Path


def fail_disk(monkeypatch, folder: Path, number: int = errno.ENOTCONN) -> None:
    """Has the system's calls for `folder` and all below it end with an error."""

    def failing(call):
        def called(path, *arguments, **options):
            if isinstance(path, str | Path) and Path(path).is_relative_to(folder):
                raise OSError(number, os.strerror(number), str(path))
            return call(path, *arguments, **options)

        return called

    for name in ("stat", "lstat", "listdir", "scandir", "mkdir", "statvfs"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
