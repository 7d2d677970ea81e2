"""Everything of one running app, put together: settings, engine, database, window.

The window is painted first. All else comes behind it in steps, each in a turn of the event loop
that imports what it needs: a key that is pressed meanwhile is answered between two of them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QFileDialog

from bilin_app.controllers import sentences
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.settings import SettingsController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand, installed_engine
from bilin_app.main_window import MainWindow, first_window
from bilin_app.pages.keymap import keymap
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.storage.settings import LoadedSettings, Settings, SettingsFile
from bilin_app.theme.resources import ui_folder

if TYPE_CHECKING:
    from bilin_app.controllers.chat import ChatController
    from bilin_app.controllers.editor import EditorController
    from bilin_app.controllers.models import ModelsController
    from bilin_app.controllers.models_folder import ModelsFolder
    from bilin_app.desktop_entry import DesktopEntry
    from bilin_app.paths import AppPaths
    from bilin_app.storage.store import Store

LOW_PRIORITY_NICE = 10


class Application(QObject):
    """Owns the window and all below it. `command` stands in for the installed engine in tests.

    completed(): all of it is there and the engine is listened to.
    """

    completed = Signal()

    def __init__(
        self,
        app: QApplication,
        paths: AppPaths,
        command: EngineCommand | None = None,
        *,
        window: MainWindow | None = None,
        loaded: LoadedSettings | None = None,
        can_move: bool = False,
        notices: Sequence[str] = (),
        devices: str = "",
    ) -> None:
        """window: one that shows its first picture already, with the settings `loaded`.

        can_move: the data folder is the person's to choose. notices: to tell at the start.
        devices: invented ones that placements are planned for, "" = this machine's.
        """
        super().__init__(app)
        self._app = app
        self._paths = paths
        self._can_move = can_move
        self._notices = tuple(notices)
        self._devices = devices
        self.wants_restart = False
        self._to_open: tuple[Path, ...] = ()
        self._is_complete = self._is_closed = False
        self._ends: list[Callable[[], None]] = []  # of what has begun, the last first
        self.settings = SettingsController(SettingsFile(paths.settings), self, loaded)
        settings = self.settings.settings
        self._command = command
        self._folder = Path(settings.models_dir) if settings.models_dir else paths.models_dir
        self.engine = EngineController(
            EngineClient(self._command_for(self._folder), parent=self),
            settings.last_model,
            self,
        )
        self._notes = ModelNotes(paths.model_notes)
        self.window = window or first_window(app, settings)
        self._steps = deque[Callable[[], None]](
            (
                self._add_chat,
                self._add_editor,
                self._add_models,
                self._add_settings,
                self._listen,
            )
        )
        app.aboutToQuit.connect(self.close)

    @cached_property
    def _store(self) -> Store:
        from bilin_app.storage.store import Store

        return Store(self._paths.database)

    @cached_property
    def chat(self) -> ChatController:
        """Of the conversations."""
        from bilin_app.controllers.chat import ChatController

        return ChatController(self._store, self.engine, self, self._notes)

    @cached_property
    def editor(self) -> EditorController:
        """Of the documents."""
        from bilin_app.controllers.editor import EditorController

        return EditorController(self._store, self.engine, self)

    @cached_property
    def models_folder(self) -> ModelsFolder:
        """Where the person's models lie."""
        from bilin_app.controllers.models_folder import ModelsFolder

        return ModelsFolder(self._folder, self.engine, self._command_for, self)

    @cached_property
    def models(self) -> ModelsController:
        """Of the models."""
        from bilin_app.controllers.models import ModelsController

        folder = self.models_folder
        return ModelsController(self.engine, self._notes, folder, self._devices, self)

    def show(self) -> None:
        """Shows the window; the rest begins once it is painted."""
        self.window.painted.connect(self.start)
        self.window.show_in_place(self._paths.window_state)

    def start(self) -> None:
        """Begins with all that is behind the window. The window is painted by then."""
        if not self._is_closed:
            self.engine.spawn()  # it takes longer than all that follows, and does not wait for it
            QTimer.singleShot(0, self, self._take_step)

    def _take_step(self) -> None:
        if self._is_closed or not self._steps:
            return
        self._steps.popleft()()
        QTimer.singleShot(0, self, self._take_step)

    def close(self) -> None:
        """Keeps everything and ends the engine. The window is gone by then."""
        if self._is_closed:
            return
        self._is_closed = True
        self.window.hide()
        self.window.keep_place(self._paths.window_state)
        while self._ends:
            self._ends.pop()()
        self.engine.finish()
        self.settings.close()
        self._notes.close()

    def _add_chat(self) -> None:
        from bilin_app.pages.chat.page import ChatPage

        window = self.window
        page = ChatPage(window.chat, self.chat, self.engine)
        page.title_changed.connect(window.show_conversation_title)
        page.answer_ended.connect(window.tell_answer_ended)
        self.chat.deleted.connect(lambda gone: window.forget_conversation(gone.id))
        page.model_given.connect(self._on_model_given)
        self.chat.start()
        self._ends.append(self.chat.close)

    def _add_editor(self) -> None:
        from bilin_app.pages.editor.page import EditorPage

        EditorPage(self.window.editor, self.editor, self.engine)
        self.editor.start()
        self._ends.append(self.editor.close)
        self.window.take_up("editor")

    def _add_models(self) -> None:
        from bilin_app.controllers.hubs import HubsController
        from bilin_app.pages.models.hub_page import HubPage
        from bilin_app.pages.models.page import ModelsPage

        ModelsPage(self.window.models, self.models, self.engine)
        hubs = HubsController(self.engine, self.models_folder, self)
        HubPage(self.window.models, hubs, self.settings)
        self.models_folder.changed.connect(
            lambda folder: self.settings.remember_models_dir(str(folder))
        )
        self.window.take_up("models")

    @cached_property
    def _menu(self) -> DesktopEntry:
        from bilin_app.desktop_entry import DesktopEntry

        return DesktopEntry(ui_folder())

    def _add_settings(self) -> None:
        from bilin_app.controllers.report import Report

        report = Report(self.engine, self._paths.log_dir, self)
        report.ready.connect(self._copy_report)
        self.window.report_requested.connect(report.make)
        page = self.window.settings
        page.settings_changed.connect(self.settings.set)
        page.data_folder_requested.connect(self._open_data_folder)
        page.move_requested.connect(self._on_move_requested)
        page.restart_requested.connect(self._restart)
        page.menu_entry_requested.connect(self._on_menu_entry_requested)
        keymap().changed.connect(self._keep_keys)
        self._ends.append(self._leave_keys)
        self.settings.changed.connect(self._on_settings_changed)
        self.settings.notice.connect(self.window.tell)
        self._show_settings(self.settings.settings)
        self.window.take_up("settings")

    def _listen(self) -> None:
        """Hears the engine, now that everything is there that hears it."""
        window, engine = self.window, self.engine
        engine.view_changed.connect(window.show_engine)
        engine.model_chosen.connect(self.settings.remember_model)
        window.mend_requested.connect(self._on_mend_requested)
        engine.start()
        if notices := (*self.settings.notices, *self._notices):
            window.tell("\n".join(notices))  # one after the other, each would hide the one before
        self._is_complete = True
        self.open_files(self._to_open)
        self.completed.emit()

    def _command_for(self, models_dir: Path) -> EngineCommand:
        return self._command or _engine_command(self._paths, self.settings.settings, models_dir)

    def _on_settings_changed(self, settings: Settings) -> None:
        self.window.put_in_force(settings)
        self._show_settings(settings)

    def _show_settings(self, settings: Settings) -> None:
        self.window.settings.show_settings(
            settings, str(self._paths.data_dir), can_move=self._can_move
        )
        self._show_menu_entry()

    def _on_mend_requested(self) -> None:
        if self.engine.view.action == "models":
            self.window.show_page("models")
        else:
            self.engine.mend()

    def _on_model_given(self, path: str) -> None:
        self.window.show_page("models")
        self.window.models.dropped.emit(path)

    def open_files(self, files: Sequence[Path]) -> None:
        """Opens what a start was given: conversations in the chat, all else in the editor."""
        if not self._is_complete:
            self._to_open += tuple(files)
            return
        documents = []
        for file in files:
            if _holds_conversations(file):
                self.window.show_page("chat")
                self.chat.import_file(file)
            else:
                self.window.show_page("editor")
                documents.append(file)
        self.editor.open_files(documents)

    def _leave_keys(self) -> None:
        keymap().changed.disconnect(self._keep_keys)  # the keys outlive this window

    def _keep_keys(self) -> None:
        self.settings.set(replace(self.settings.settings, shortcuts=keymap().custom))

    def _on_move_requested(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self.window, self.tr("A folder for your data"), str(self._paths.data_dir.parent)
        )
        if name:
            self.move_data(Path(name))

    def move_data(self, folder: Path) -> None:
        """Has the data brought to a folder at the next start, or used if some lie there already."""
        try:
            if (folder / "bilin.db").exists():
                change = {"data_dir": str(folder), "move_from": ""}
            else:
                if folder.is_dir() and any(folder.iterdir()):
                    folder = folder / "bilin"
                change = {"data_dir": str(folder), "move_from": str(self._paths.data_dir)}
        except OSError as error:
            self.window.tell(sentences.data_not_moved(self._paths.data_dir, str(error)))
            return
        self.settings.set(replace(self.settings.settings, **change))
        self.window.settings.show_restart()

    def _restart(self) -> None:
        self.wants_restart = True
        self._app.quit()

    def _show_menu_entry(self) -> None:
        is_there = self._menu.is_there() if self._menu.is_supported() else None
        self.window.settings.show_menu_entry(is_there)

    def _on_menu_entry_requested(self, is_wanted: bool) -> None:
        try:
            if is_wanted:
                # A folder that this start was given stands in no settings.
                folder = () if self._can_move else ("--data-dir", str(self._paths.data_dir))
                self._menu.add((sys.executable, "-P", "-m", "bilin_app", *folder))
            else:
                self._menu.remove()
        except OSError as error:
            self.window.tell(sentences.menu_entry_refused(str(error)))
        self._show_menu_entry()

    def _copy_report(self, text: str) -> None:
        self._app.clipboard().setText(text)
        self.window.tell(sentences.report_copied())

    def _open_data_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._paths.data_dir)))


def _holds_conversations(file: Path) -> bool:
    from bilin_app.text.conversation_file import holds_conversations

    if file.suffix.lower() == ".zip":
        return True  # no document is one
    if file.suffix.lower() != ".json":
        return False
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return holds_conversations(opened.read(4096))
    except OSError:
        return False  # the editor tells why it cannot be read


def _engine_command(paths: AppPaths, settings: Settings, models_dir: Path) -> EngineCommand:
    return installed_engine(
        log_dir=paths.log_dir,
        models_dir=models_dir,
        token_file=paths.hub_tokens,
        idle_unload_s=60.0 * settings.idle_unload_min,
        nice=LOW_PRIORITY_NICE if settings.engine_priority == "low" else 0,
    )
