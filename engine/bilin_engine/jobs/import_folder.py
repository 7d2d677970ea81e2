"""Copies a model folder into the library, file by file, each compared with its hash."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bilin_engine import processes
from bilin_engine.config import CONFIG_FILE, read_config_content, read_model_config
from bilin_engine.config.gptq import quant_method
from bilin_engine.errors import BadRequestError, BilinError, DiskFullError, ModelBrokenError
from bilin_engine.jobs.base import JobReporter
from bilin_engine.library import DESCRIPTION_FILE, read_description
from bilin_engine.protocol import ImportFolder
from bilin_engine.whole_file import file_sha256, partial_folder, take_place

BLOCK_BYTES = 4 * 1024 * 1024
_LEFT_OUT = (".py", ".bin", ".pt", ".pth", ".pkl", ".part")  # code and pickles are never copied


def import_folder(work: ImportFolder, reporter: JobReporter) -> Path:
    """Copies `work.source` to `work.folder`, which appears when it is whole.

    Only files that bilin.json names are copied. Raises ModelBrokenError naming the file,
    BadRequestError, JobStopped.
    """
    source, folder = Path(work.source), Path(work.folder)
    _require_new(folder)
    files = read_description(source).files
    if not files:
        raise ModelBrokenError(f"{source / DESCRIPTION_FILE} names no files; verify cannot be done")
    sizes = {name: record.size_bytes for name, record in files.items()}
    hashes = {name: record.sha256 for name, record in files.items()}
    partial = partial_folder(folder)
    _copy_files(source, partial, sizes, hashes, reporter)
    shutil.copyfile(source / DESCRIPTION_FILE, partial / DESCRIPTION_FILE)
    take_place(partial, folder)
    return folder


def is_ready(source: Path) -> bool:
    """Whether a folder without bilin.json holds compressed-tensors: a model but for that.

    Raises UnsupportedModelError, ModelBrokenError for one that would be, if Bilin ran it.
    """
    try:
        return read_model_config(source).quantization is not None
    except BilinError:
        if _is_compressed_tensors(source):
            raise
        return False  # GPTQ, which only the conversion reads


def _is_compressed_tensors(source: Path) -> bool:
    try:
        content = read_config_content(source / CONFIG_FILE)
    except BilinError:
        return False
    return quant_method(content) == "compressed-tensors"


def copy_ready(source: Path, folder: Path, reporter: JobReporter) -> Path:
    """Copies a compressed-tensors folder as it is and describes the copy.

    Raises as `import_folder`, and as `adopt` for a folder that makes no model.
    """
    from bilin_engine.checkpoints.huggingface import adopt

    _require_new(folder)
    sizes = {
        path.name: path.stat().st_size
        for path in sorted(source.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _LEFT_OUT
    }
    partial = partial_folder(folder)
    hashes = _copy_files(source, partial, sizes, {}, reporter)
    (partial / DESCRIPTION_FILE).unlink(missing_ok=True)  # of an earlier try
    adopt(partial, name=folder.name)
    for name, record in read_description(partial).files.items():
        if hashes.get(name, record.sha256) != record.sha256:
            raise ModelBrokenError(f"{partial / name} reads back differently: copy it again")
    size = sum(sizes.values())
    reporter.tell("import", size, size)  # the last moment to stop
    take_place(partial, folder)
    return folder


def _require_new(folder: Path) -> None:
    if folder.exists():
        raise BadRequestError(f"{folder} exists already; rename or remove it first")


def _copy_files(
    source: Path,
    partial: Path,
    sizes: Mapping[str, int],
    expected: Mapping[str, str],
    reporter: JobReporter,
) -> dict[str, str]:
    """Copies what is not there yet; the hex sha256 of what was read, by name.

    A file gets its name once it is whole and, where a hash is expected, was compared with it.
    """
    for name in sizes:
        check_inside(source, name)
    total = sum(sizes.values())
    partial.mkdir(parents=True, exist_ok=True)
    check_space(partial, total - sum(p.stat().st_size for p in partial.iterdir()))
    found: dict[str, str] = {}
    done = 0
    for name, size in sizes.items():
        target = partial / name
        if not _is_there(target, source / name, expected.get(name), reporter, done, total):
            part = target.with_name(f"{name}.part")
            found[name] = _copy(source / name, part, reporter, done, total)
            wanted = expected.get(name, found[name])
            if found[name] != wanted:
                part.unlink()
                raise ModelBrokenError(
                    f"{source / name} was changed since it was written (sha256 "
                    f"{found[name][:12]}… instead of {wanted[:12]}…)"
                )
            part.rename(target)
        done += size
        reporter.tell("import", done, total)
    return found


def _is_there(
    target: Path, source: Path, expected: str | None, reporter: JobReporter, done: int, total: int
) -> bool:
    """Whether an earlier try copied the file as it is now, not only one of its size."""
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        return False

    def on_block(_size: int) -> None:
        reporter.tell("import", done, total)

    wanted = file_sha256(source, on_block) if expected is None else expected
    return file_sha256(target, on_block) == wanted


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
            f"{folder.parent} has {processes.size_text(free)} free; "
            f"{processes.size_text(needed_bytes)} are needed. Free some space, then resume"
        )


def _copy(source: Path, target: Path, reporter: JobReporter, done: int, total: int) -> str:
    """Copies one file; returns the hex sha256 of what was read."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            done += len(block)
            reporter.tell("import", min(done, total), total)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()
