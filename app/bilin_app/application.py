"""Everything of one running app, put together: settings, engine, database, window.

The window is painted first; the database and the engine start behind it.
"""

import contextlib
import logging

from PySide6.QtCore import QObject, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication

from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.editor import EditorController
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.models import ModelsController
from bilin_app.controllers.settings import SettingsController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand, installed_engine
from bilin_app.main_window import MainWindow
from bilin_app.pages.chat.page import ChatPage
from bilin_app.pages.editor.page import EditorPage
from bilin_app.pages.models.page import ModelsPage
from bilin_app.paths import AppPaths
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.storage.settings import Settings, SettingsFile
from bilin_app.storage.store import Store
from bilin_app.theme.fonts import Sizes
from bilin_app.theme.theme import Look, start_theme

logger = logging.getLogger(__name__)

LOW_PRIORITY_NICE = 10


class Application(QObject):
    """Owns the window and all below it. `command` stands in for the installed engine in tests."""

    def __init__(
        self, app: QApplication, paths: AppPaths, command: EngineCommand | None = None
    ) -> None:
        super().__init__(app)
        self._paths = paths
        self.settings = SettingsController(SettingsFile(paths.settings), self)
        settings = self.settings.settings
        self._theme = start_theme(app, _look(settings))
        self.engine = EngineController(
            EngineClient(command or _engine_command(paths, settings), parent=self),
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
        self.models = ModelsController(self.engine, notes, paths.models_dir, self)
        self.models_page = ModelsPage(self.window.models, self.models, self.engine)
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
        window.settings.settings_changed.connect(self.settings.set)
        window.settings.data_folder_requested.connect(self._open_data_folder)
        self.settings.changed.connect(self._show_settings)
        self.settings.notice.connect(window.chat.toast.show_text)

    def _start(self) -> None:
        if self._is_closed:
            return
        self.window.show_engine(self.engine.view)
        self.chat.start()
        self.editor.start()
        self.engine.start()
        for notice in self.settings.notices:
            self.window.chat.toast.show_text(notice)

    def _show_settings(self, settings: Settings) -> None:
        self._theme.apply(_look(settings))
        self.window.settings.show_settings(settings, str(self._paths.data_dir))
        self.window.chat.composer.set_sends_with_ctrl(settings.send_key == "ctrl+enter")

    def _on_mend_requested(self) -> None:
        if self.engine.view.action == "models":
            self.window.show_page("models")
        else:
            self.engine.mend()

    def _open_data_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._paths.data_dir)))


def _look(settings: Settings) -> Look:
    sizes = Sizes(settings.ui_font_size, settings.ui_font_size, settings.code_font_size)
    return Look(settings.theme, settings.language, sizes)


def _engine_command(paths: AppPaths, settings: Settings) -> EngineCommand:
    return installed_engine(
        log_dir=paths.log_dir,
        models_dir=paths.models_dir,
        idle_unload_s=60.0 * settings.idle_unload_min,
        nice=LOW_PRIORITY_NICE if settings.engine_priority == "low" else 0,
    )
