"""The editor page over a database, with the scripted engine."""

import sys
from pathlib import Path

from bilin_app.controllers.editor import EditorController
from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand
from bilin_app.pages.editor.page import EditorPage
from bilin_app.pages.editor.view import EditorView
from bilin_app.storage.store import Store

SCRIPT = str(Path(__file__).with_name("scripted_engine.py"))


class EditorDesk:
    """The editor page with a scripted engine."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.store = Store(folder / "bilin.db")
        self.store.open().result(10)
        self.asked_file = folder / "asked"
        command = ("-P", SCRIPT, "--requests", str(self.asked_file), *options)
        self.engine = EngineController(EngineClient(EngineCommand(sys.executable, command)))
        self.editor = EditorController(self.store, self.engine)
        self.view = EditorView(None)  # type: ignore[arg-type]
        self.page = EditorPage(self.view, self.editor, self.engine)
        self.view.resize(1200, 700)
        self.view.show()
        self.engine.start()

    @property
    def asked(self) -> list[list[str]]:
        """The sentences of every request so far."""
        if not self.asked_file.exists():
            return []
        lines = self.asked_file.read_text(encoding="utf-8").splitlines()
        return [eval(line) for line in lines]  # noqa: S307 - our own script's repr

    @property
    def marked(self) -> list[str]:
        """What is underlined in the text."""
        return self.view.text.marked_words

    def close(self) -> None:
        self.editor.close()
        self.engine.finish()
        self.store.close()
