"""The settings in force: read at the start, written beside the GUI thread when they change."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.storage.errors import StorageError, storage_error
from bilin_app.storage.settings import LoadedSettings, Settings, SettingsFile

logger = logging.getLogger(__name__)


class SettingsController(QObject):
    """changed(Settings): a person changed something. notice(str): it could not be written."""

    changed = Signal(object)
    notice = Signal(str)

    def __init__(
        self,
        file: SettingsFile,
        parent: QObject | None = None,
        loaded: LoadedSettings | None = None,
    ) -> None:
        """loaded: what the file says, where it was read already."""
        super().__init__(parent)
        self._file = file
        self._mailbox = Mailbox(self)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="bilin-settings")
        loaded = loaded or file.load()
        self.settings = loaded.settings
        self._written = loaded.settings  # as the file was last known to be; the writer's own
        self.notices = sentences.settings_loaded(loaded, file.path)

    def set(self, settings: Settings) -> None:
        """Puts settings in force and writes them."""
        if settings != self.settings:
            self.settings = settings
            self.changed.emit(settings)
            future = self._writer.submit(self._write, settings)
            self._mailbox.when(future, None, self._on_refused)

    def remember_model(self, model_id: str) -> None:
        """The model to load at the next start."""
        self.set(replace(self.settings, last_model=model_id))

    def remember_models_dir(self, folder: str) -> None:
        """Where the person's models lie from now on; "" = below the data folder."""
        self.set(replace(self.settings, models_dir=folder))

    def close(self) -> None:
        """Waits until everything is written."""
        self._writer.shutdown()

    def _write(self, settings: Settings) -> None:
        try:
            self._file.save(settings, self._written)
        except OSError as error:
            raise storage_error(error) from error
        self._written = settings

    def _on_refused(self, error: StorageError) -> None:
        logger.warning("the settings cannot be written (%s): %s", error.problem, error)
        self.notice.emit(sentences.storage_refused(error.problem, self._file.real_path()))
