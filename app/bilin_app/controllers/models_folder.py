"""Where the person's models lie: in the profile, or in another folder that was chosen.

Moving is the engine's work; the setting follows once it is done, also after a crash in between:
the queue remembers a move that ended.
"""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.process import EngineCommand
from bilin_engine.protocol import ChangeJob, JobsChanged, MoveLibrary


class ModelsFolder(QObject):
    """changed(Path): models are read from another folder now; the engine starts again for it."""

    changed = Signal(object)

    def __init__(
        self,
        folder: Path,
        engine: EngineController,
        command_for: Callable[[Path], EngineCommand],
        parent: QObject | None = None,
    ) -> None:
        """command_for: the engine's command line for a models folder."""
        super().__init__(parent)
        self._engine = engine
        self._command_for = command_for
        self.path = folder
        self._is_following = False
        engine.client.jobs_changed.connect(self._on_jobs_changed)

    def use(self, folder: Path) -> None:
        """Reads models from another folder; those of the old one stay where they are."""
        if folder == self.path:
            return
        self.path = folder
        self.changed.emit(folder)
        self._engine.restart(self._command_for(folder))

    def move_work(self, folder: Path) -> MoveLibrary:
        """The work that moves all models to another folder."""
        return MoveLibrary(str(self.path.absolute()), str(folder.absolute()))

    def _follow(self, job: int, folder: Path) -> None:
        """Goes where the models went; the old queue forgets the move, so one can come back."""

        def go(_end: object = None) -> None:
            self._is_following = False
            self.use(folder)

        self._is_following = True
        handle = self._engine.send(lambda i: ChangeJob(id=i, job=job, action="clear"))
        handle.done.connect(go)
        handle.failed.connect(go)

    def _on_jobs_changed(self, event: JobsChanged) -> None:
        for job in event.jobs:
            match job.work:
                case MoveLibrary(source=source, folder=folder) if job.state == "done":
                    if Path(source) == self.path.absolute() and not self._is_following:
                        self._follow(job.job, Path(folder))
                case _:
                    continue
