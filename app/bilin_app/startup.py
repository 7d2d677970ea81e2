"""Before the window: where the data lie, and bringing them there if that was asked for."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QCoreApplication, QEventLoop, QLockFile, QTimer
from PySide6.QtWidgets import QApplication

from bilin_app.storage.settings import Settings, SettingsFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from bilin_app.paths import AppPaths

T = TypeVar("T")

POLL_MS = 50
SHOW_AFTER_MS = 500


@dataclass(frozen=True, slots=True)
class HeldData:
    """The data folder of this start and what to tell about it; lock: of the folder, ours."""

    paths: AppPaths
    notices: tuple[str, ...]
    lock: QLockFile


class DataHeldError(Exception):
    """Another Bilin runs with this data folder and answers nobody."""


def hold_data(
    find: Callable[[], tuple[AppPaths, tuple[str, ...]]], files: Sequence[Path]
) -> HeldData | None:
    """The data folder that `find` names (find_data), for this start alone.

    None: the Bilin that runs with it shows itself, with the files. One that ends is waited for, and
    it may have moved the data: they are looked for anew. Raises DataHeldError.
    """
    while True:
        paths, notices = find()
        with contextlib.suppress(OSError):  # told when the database is opened
            paths.data_dir.mkdir(parents=True, exist_ok=True)
        lock = QLockFile(str(paths.lock))
        if lock.tryLock(0) or lock.error() != QLockFile.LockError.LockFailedError:
            return HeldData(paths, notices, lock)
        from bilin_app.single_instance import show_or_follow

        if show_or_follow(lock, paths.data_dir, files):
            return None
        if not lock.isLocked():
            raise DataHeldError(f"Bilin is already running with {paths.data_dir}.")
        lock.unlock()


def find_data(
    paths: AppPaths, prepare: Callable[[Settings], object]
) -> tuple[AppPaths, tuple[str, ...]]:
    """The paths with the data folder a person chose, and what to tell about it.

    A move that was asked for is done here, while nothing is open; prepare: called before anything
    is shown or told. A folder that is not there (a disk that is not plugged in, or that fails)
    costs only this start.
    """
    file = SettingsFile(paths.settings)
    settings = file.load().settings
    if not settings.data_dir:
        return paths, ()
    chosen = Path(settings.data_dir)
    if settings.move_from:
        old = Path(settings.move_from)
        lock = QLockFile(str(old / "bilin.lock"))
        if not lock.tryLock(0) and lock.error() == QLockFile.LockError.LockFailedError:
            return replace(paths, data_dir=old), ()  # it runs there still; this start raises it
        prepare(settings)
        folder, told = _move(file, settings, old, chosen)
        lock.unlock()
        return replace(paths, data_dir=folder), told
    if not os.path.isdir(chosen):  # noqa: PTH112 - Path.is_dir raises where the disk fails
        from bilin_app.controllers import sentences

        prepare(settings)  # the language, too
        return paths, (sentences.data_folder_gone(chosen, paths.data_dir),)
    return replace(paths, data_dir=chosen), ()


def _move(
    file: SettingsFile, settings: Settings, old: Path, new: Path
) -> tuple[Path, tuple[str, ...]]:
    """Where the data are now, and what to tell about it."""
    from bilin_app.controllers import sentences
    from bilin_app.data_move import move_data

    loaded = settings
    report = _with_progress(lambda: move_data(old, new))
    if report.problem:
        folder, told = old, sentences.data_not_moved(old, report.problem)
        settings = replace(settings, data_dir=str(old), move_from="")
    else:
        folder, told = new, sentences.data_moved(new, old if report.kept_old else None)
        models_dir = _moved(settings.models_dir, old, new)
        settings = replace(settings, move_from="", models_dir=models_dir)
    try:
        file.save(settings, loaded)
    except OSError as error:
        from bilin_app.storage.errors import storage_error

        # The next start moves again: what was renamed is no longer there, what was copied is in the
        # way, so that the old folder is used as it is used now.
        refused = sentences.storage_refused(storage_error(error).problem, file.real_path())
        return (old if report.kept_old else folder), (told, refused)
    return folder, (told,)


def _moved(folder: str, old: Path, new: Path) -> str:
    """Where a folder is after the move: what lay in the old data folder lies in the new one."""
    if not folder or not Path(folder).is_relative_to(old):
        return folder
    return str(new / Path(folder).relative_to(old))


def _with_progress(job: Callable[[], T]) -> T:
    """Does something in a thread; what takes long is shown."""
    from concurrent.futures import ThreadPoolExecutor

    from PySide6.QtWidgets import QProgressDialog

    with ThreadPoolExecutor(1, thread_name_prefix="bilin-move") as pool:
        future: Future[T] = pool.submit(job)
        if QApplication.instance() is None:
            return future.result()
        dialog = QProgressDialog(
            QCoreApplication.translate("Startup", "Your data are on their way to the new folder …"),
            "",
            0,
            0,
        )
        dialog.setCancelButton(None)  # type: ignore[arg-type]
        dialog.setMinimumDuration(SHOW_AFTER_MS)
        loop, timer = QEventLoop(), QTimer()
        timer.timeout.connect(lambda: loop.quit() if future.done() else dialog.setValue(0))
        timer.start(POLL_MS)
        loop.exec()
        dialog.close()
        return future.result()
