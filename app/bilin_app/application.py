"""Everything of one running app, put together: settings, engine, database, window.

The window is painted first; the database and the engine start behind it.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QFileDialog

from bilin_app.controllers import sentences
from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.editor import EditorController
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.hubs import HubsController
from bilin_app.controllers.models import ModelsController
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.controllers.report import Report
from bilin_app.controllers.settings import SettingsController
from bilin_app.desktop_entry import DesktopEntry
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand, installed_engine
from bilin_app.main_window import MainWindow
from bilin_app.pages.chat.page import ChatPage
from bilin_app.pages.editor.page import EditorPage
from bilin_app.pages.keymap import keymap
from bilin_app.pages.models.hub_page import HubPage
from bilin_app.pages.models.page import ModelsPage
from bilin_app.paths import AppPaths
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.storage.settings import Settings, SettingsFile
from bilin_app.storage.store import Store
from bilin_app.text.conversation_file import holds_conversations
from bilin_app.theme.fonts import Faces, Sizes
from bilin_app.theme.resources import ui_folder
from bilin_app.theme.theme import Look, start_theme

logger = logging.getLogger(__name__)

LOW_PRIORITY_NICE = 10


class Application(QObject):
    """Owns the window and all below it. `command` stands in for the installed engine in tests."""

    def __init__(
        self,
        app: QApplication,
        paths: AppPaths,
        command: EngineCommand | None = None,
        *,
        can_move: bool = False,
        notices: Sequence[str] = (),
        devices: str = "",
    ) -> None:
        """can_move: the data folder is the person's to choose. notices: to tell at the start.

        devices: invented ones that placements are planned for, "" = this machine's.
        """
        super().__init__(app)
        self._app = app
        self._paths = paths
        self._can_move = can_move
        self._notices = tuple(notices)
        self.wants_restart = False
        self._to_open: tuple[Path, ...] = ()
        self._is_started = False
        self.settings = SettingsController(SettingsFile(paths.settings), self)
        settings = self.settings.settings
        self._theme = start_theme(app, _look(settings))
        self._command = command
        folder = Path(settings.models_dir) if settings.models_dir else paths.models_dir
        self.engine = EngineController(
            EngineClient(self._command_for(folder), parent=self),
            settings.last_model,
            self,
        )
        store = Store(paths.database)
        notes = ModelNotes(paths.model_notes)
        self.chat = ChatController(store, self.engine, self, notes)
        self.editor = EditorController(store, self.engine, self)
        self.window = MainWindow()
        self.page = ChatPage(self.window.chat, self.chat, self.engine)
        self.editor_page = EditorPage(self.window.editor, self.editor, self.engine)
        self.models_folder = ModelsFolder(folder, self.engine, self._command_for, self)
        self.models = ModelsController(self.engine, notes, self.models_folder, devices, self)
        self.models_page = ModelsPage(self.window.models, self.models, self.engine)
        self._report = Report(self.engine, paths.log_dir, self)
        self._menu = DesktopEntry(ui_folder())
        hubs = HubsController(self.engine, paths.models_dir, self)
        self.hub_page = HubPage(self.window.models, hubs, self.settings)
        self._is_closed = False
        self._connect()
        self._show_settings(settings)
        app.aboutToQuit.connect(self.close)

    def show(self) -> None:
        """Shows the window; what it shows starts as soon as it is there."""
        with contextlib.suppress(OSError):
            self.window.restore_state(self._paths.window_state.read_bytes())
        self.window.show()
        QTimer.singleShot(0, self, self._start)

    def close(self) -> None:
        """Keeps everything and ends the engine. The window is gone by then."""
        if self._is_closed:
            return
        self._is_closed = True
        keymap().changed.disconnect(self._keep_keys)  # the keys outlive this window
        self.window.hide()
        try:
            self._paths.window_state.write_bytes(self.window.save_state())
        except OSError as error:
            logger.info("the window's place is not kept: %s", error)
        self.editor.close()
        self.chat.close()
        self.engine.finish()
        self.settings.close()

    def _connect(self) -> None:
        window, engine = self.window, self.engine
        engine.view_changed.connect(window.show_engine)
        engine.model_chosen.connect(self.settings.remember_model)
        window.mend_requested.connect(self._on_mend_requested)
        self.page.title_changed.connect(window.show_conversation_title)
        self.page.answer_ended.connect(window.tell_answer_ended)
        window.report_requested.connect(self._report.make)
        self._report.ready.connect(self._copy_report)
        page = window.settings
        page.settings_changed.connect(self.settings.set)
        page.data_folder_requested.connect(self._open_data_folder)
        page.move_requested.connect(self._on_move_requested)
        page.restart_requested.connect(self._restart)
        page.menu_entry_requested.connect(self._on_menu_entry_requested)
        keymap().changed.connect(self._keep_keys)
        self.settings.changed.connect(self._show_settings)
        self.settings.notice.connect(window.tell)
        self.models_folder.changed.connect(
            lambda folder: self.settings.remember_models_dir(str(folder))
        )

    def _command_for(self, models_dir: Path) -> EngineCommand:
        return self._command or _engine_command(self._paths, self.settings.settings, models_dir)

    def _start(self) -> None:
        if self._is_closed:
            return
        self.window.show_engine(self.engine.view)
        self.chat.start()
        self.editor.start()
        self.engine.start()
        for notice in (*self.settings.notices, *self._notices):
            self.window.tell(notice)
        self._is_started = True
        self.open_files(self._to_open)

    def _show_settings(self, settings: Settings) -> None:
        self._theme.apply(_look(settings))
        keymap().set_custom(settings.shortcuts)
        self.window.notice.is_wanted = settings.tells_answers
        self.window.settings.show_settings(
            settings, str(self._paths.data_dir), can_move=self._can_move
        )
        self._show_menu_entry()
        self.window.chat.composer.set_sends_with_ctrl(settings.send_key == "ctrl+enter")

    def _on_mend_requested(self) -> None:
        if self.engine.view.action == "models":
            self.window.show_page("models")
        else:
            self.engine.mend()

    def open_files(self, files: Sequence[Path]) -> None:
        """Opens what a start was given: conversations in the chat, all else in the editor."""
        if not self._is_started:
            self._to_open += tuple(files)
            return
        for file in files:
            if _holds_conversations(file):
                self.window.show_page("chat")
                self.chat.import_file(file)
            else:
                self.window.show_page("editor")
                self.editor.open_file(file)

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
        if (folder / "bilin.db").exists():
            change = {"data_dir": str(folder), "move_from": ""}
        else:
            if folder.is_dir() and any(folder.iterdir()):
                folder = folder / "bilin"
            change = {"data_dir": str(folder), "move_from": str(self._paths.data_dir)}
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
                self._menu.add((sys.executable, "-P", "-m", "bilin_app"))
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
    if file.suffix.lower() != ".json":
        return False
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return holds_conversations(opened.read(4096))
    except OSError:
        return False  # the editor tells why it cannot be read


def show_look(app: QApplication, settings: Settings) -> None:
    """Puts a person's look in force, for what is shown before the window."""
    start_theme(app, _look(settings))


def _look(settings: Settings) -> Look:
    s = settings
    sizes = Sizes(s.ui_font_size, s.text_font_size, s.code_font_size)
    return Look(s.theme, s.language, sizes, Faces(s.ui_font, s.text_font, s.code_font))


def _engine_command(paths: AppPaths, settings: Settings, models_dir: Path) -> EngineCommand:
    return installed_engine(
        log_dir=paths.log_dir,
        models_dir=models_dir,
        token_file=paths.hub_tokens,
        idle_unload_s=60.0 * settings.idle_unload_min,
        nice=LOW_PRIORITY_NICE if settings.engine_priority == "low" else 0,
    )
