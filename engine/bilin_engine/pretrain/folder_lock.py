"""A folder that one process works in at a time; the file `lock` stays, its lock goes with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bilin_engine.processes import lock_file


@contextmanager
def lock_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Keeps a folder, which is made if need be, to this process.

    Raises ValueError with `refusal` where another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        if not lock_file(file.fileno()):
            raise ValueError(refusal)
        yield
