"""`bilin` and `python -m bilin_app`: the window, or the tour of its states."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bilin_app import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QApplication

    from bilin_app.application import Application
    from bilin_app.main_window import MainWindow
    from bilin_app.paths import AppPaths
    from bilin_app.storage.settings import LoadedSettings


def main() -> None:
    """Runs until the window is closed; exits with its code."""
    options = _parser().parse_args()
    if options.tour is not None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        from bilin_app.tour import render_tour

        render_tour(options.tour)
        return
    sys.exit(_run(options.data_dir, options.files, options.devices))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bilin", description="Bilin 比邻")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--data-dir", type=Path, help="keep everything in this folder (a portable profile)"
    )
    parser.add_argument(
        "--tour", type=Path, metavar="DIR", help="render every state of the window into DIR"
    )
    parser.add_argument(
        "--devices",
        default="",
        metavar="4x24GiB",
        help="plan placements for these instead of this machine's devices",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="a text for the editor (.txt, .md), or conversations (.json)",
    )
    return parser


def _run(data_dir: Path | None, files: list[Path], devices: str) -> int:
    gc.disable()  # GarbageCollector takes over; none of what is imported now is garbage
    from bilin_app.pyside_imports import import_pyside

    import_pyside()
    from PySide6.QtWidgets import QApplication

    from bilin_app.end_signals import quit_on_signals
    from bilin_app.garbage import GarbageCollector
    from bilin_app.logs import start_logging
    from bilin_app.main_window import first_window, look_of
    from bilin_app.paths import app_paths
    from bilin_app.startup import DataHeldError, find_data, hold_data
    from bilin_app.storage.settings import SettingsFile
    from bilin_app.theme.input_method import choose_input_method
    from bilin_app.theme.theme import start_theme

    profile = app_paths(data_dir)
    start_logging(profile.log_dir)
    choose_input_method()
    app = QApplication(sys.argv[:1])
    GarbageCollector(app)
    app.setApplicationName("Bilin")
    app.setDesktopFileName("bilin")

    def find() -> tuple[AppPaths, tuple[str, ...]]:
        if data_dir is not None:
            return profile, ()
        return find_data(profile, lambda settings: start_theme(app, look_of(settings)))

    try:
        held = hold_data(find, files)
    except DataHeldError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if held is None:
        return 0
    paths = held.paths
    loaded = SettingsFile(paths.settings).load()
    window = first_window(app, loaded.settings)
    applications: list[Application] = []
    window.painted.connect(
        lambda: applications.append(
            go_on(
                app,
                paths,
                window,
                loaded,
                files,
                can_move=data_dir is None,
                notices=held.notices,
                devices=devices,
            )
        )
    )
    window.show_in_place(paths.window_state)
    quit_on_signals(app)
    code = app.exec()
    if any(application.wants_restart for application in applications):
        from PySide6.QtCore import QProcess

        held.lock.unlock()
        QProcess.startDetached(sys.executable, ["-P", "-m", "bilin_app", *_options(data_dir)])
    return code


def go_on(
    app: QApplication,
    paths: AppPaths,
    window: MainWindow,
    loaded: LoadedSettings,
    files: Sequence[Path],
    *,
    can_move: bool,
    notices: tuple[str, ...],
    devices: str,
) -> Application:
    """All that comes behind the first picture."""
    from bilin_app.application import Application
    from bilin_app.garbage import settle
    from bilin_app.single_instance import InstanceServer

    server = InstanceServer(paths.data_dir, app)
    # Before the application closes, which takes its time: who starts meanwhile follows.
    app.aboutToQuit.connect(server.close)
    application = Application(
        app,
        paths,
        window=window,
        loaded=loaded,
        can_move=can_move,
        notices=notices,
        devices=devices,
    )
    server.show_requested.connect(window.come_to_front)
    server.files_requested.connect(application.open_files)
    application.open_files(files)
    application.completed.connect(settle)
    application.start()
    return application


def _options(data_dir: Path | None) -> list[str]:
    return [] if data_dir is None else ["--data-dir", str(data_dir)]


if __name__ == "__main__":
    main()
