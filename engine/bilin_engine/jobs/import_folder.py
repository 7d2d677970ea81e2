"""Copies a model folder into the library, file by file, each compared with its hash."""

import hashlib
import os
import shutil
from pathlib import Path

from bilin_engine import processes
from bilin_engine.errors import BadRequestError, DiskFullError, ModelBrokenError
from bilin_engine.jobs.base import JobReporter
from bilin_engine.library import DESCRIPTION_FILE, read_description
from bilin_engine.protocol import ImportFolder

BLOCK_BYTES = 4 * 1024 * 1024


def import_folder(work: ImportFolder, reporter: JobReporter) -> Path:
    """Copies `work.source` to `work.folder`, which appears when it is whole.

    Only files that bilin.json names are copied. Raises ModelBrokenError naming the file,
    BadRequestError, JobStopped.
    """
    source, folder = Path(work.source), Path(work.folder)
    if folder.exists():
        raise BadRequestError(f"{folder} exists already; rename or remove it first")
    description = read_description(source)
    sizes = {name: record.size_bytes for name, record in description.files.items()}
    if not sizes:
        raise ModelBrokenError(f"{source / DESCRIPTION_FILE} names no files; verify cannot be done")
    for name in sizes:
        check_inside(source, name)
    total = sum(sizes.values())
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    check_space(partial, total - sum(p.stat().st_size for p in partial.iterdir()))
    done = 0
    for name, record in description.files.items():
        target = partial / name
        if not (target.is_file() and target.stat().st_size == record.size_bytes):
            found = _copy(source / name, target, reporter, done, total)
            if found != record.sha256:
                target.unlink()
                raise ModelBrokenError(
                    f"{source / name} was changed since it was written (sha256 {found[:12]}… "
                    f"instead of {record.sha256[:12]}…)"
                )
        done += record.size_bytes
        reporter.tell("import", done, total)
    shutil.copyfile(source / DESCRIPTION_FILE, partial / DESCRIPTION_FILE)
    partial.rename(folder)
    return folder


def check_inside(folder: Path, name: str) -> None:
    """Raises ModelBrokenError unless `name` is a plain file of the folder, not a way out of it."""
    path = folder / name
    if not name or Path(name).name != name or "\\" in name or name in (".", ".."):
        raise ModelBrokenError(f"{folder}: {name!r} is no plain file name; nothing was copied")
    try:
        resolved = path.resolve(strict=True)
    except OSError as error:
        raise ModelBrokenError(f"{path} is missing") from error
    if resolved.parent != folder.resolve():
        raise ModelBrokenError(f"{path} is a link out of its folder, to {resolved}")


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises DiskFullError before the first byte if the disk has too little room."""
    free = processes.disk_free_bytes(folder)
    if needed_bytes > free:
        raise DiskFullError(
            f"{folder.parent} has {free / 1e9:.1f} GB free; {needed_bytes / 1e9:.1f} GB are "
            "needed. Free some space, then resume"
        )


def _copy(source: Path, target: Path, reporter: JobReporter, done: int, total: int) -> str:
    """Copies one file under another name first; returns the hex sha256 of what was read."""
    digest = hashlib.sha256()
    part = target.with_name(f"{target.name}.part")
    with source.open("rb") as reading, part.open("wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            done += len(block)
            reporter.tell("import", min(done, total), total)
        writing.flush()
        os.fsync(writing.fileno())
    part.rename(target)
    return digest.hexdigest()
