"""The app, whole, driven by another process as a person would: by what is on its window. A program.

`driven_app.py --data-dir DIR`; a line of JSON in, a line of JSON out:
  {"drop": PATH}     a file dropped on the models page
  {"click": TEXT}    the visible button with this text or accessible name
  {"page": NAME}     a page of the rail
  {"choose": ID}     a model of the list
  {"send": TEXT}     a message of the chat
  {}                 nothing
Each is answered with what the window shows: labels, buttons, jobs, rows, load, answer.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import (
    QEvent,
    QMimeData,
    QObject,
    QPointF,
    QSocketNotifier,
    Qt,
    QUrl,
    Signal,
)
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget

from bilin_app.application import Application
from bilin_app.logs import start_logging
from bilin_app.paths import app_paths


class Driver(QObject):
    clicked = Signal(QAbstractButton)

    def __init__(self, application: Application) -> None:
        super().__init__(application)
        self.application = application
        self.window = application.window
        self.jobs: list[dict] = []
        self.load = ""
        self.answer = ""
        self.failure = ""
        application.models.jobs_changed.connect(self._on_jobs)
        application.models.load_changed.connect(lambda view: setattr(self, "load", view.state))
        application.chat.text_appended.connect(self._on_text)
        application.chat.answer_failed.connect(
            lambda _id, why, _more: setattr(self, "failure", why)
        )
        # Queued, not called: a click may open a dialog with an event loop of its own, and the line
        # that asked for it is to be answered all the same.
        self.clicked.connect(self._click, Qt.ConnectionType.QueuedConnection)
        self.pending = b""
        self.notifier = QSocketNotifier(0, QSocketNotifier.Type.Read, application)
        self.notifier.activated.connect(self._on_input)

    def _on_jobs(self, jobs) -> None:
        self.jobs = [
            {"kind": j.kind, "state": j.state, "fraction": j.fraction, "reason": j.reason,
             "shard": j.shard, "num_shards": j.num_shards, "report": j.report}
            for j in jobs
        ]  # fmt: skip

    def _on_text(self, _message: int, text: str) -> None:
        self.answer += text

    def _on_input(self) -> None:
        data = os.read(0, 65536)
        if not data:
            QApplication.quit()
            return
        self.pending += data
        while b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            self.say(self.act(json.loads(line)))

    def act(self, command: dict) -> str:
        for name, value in command.items():
            if name == "click":
                if not self.click(value):
                    return f"no button {value!r}"
            else:
                getattr(self, name)(value)
        return ""

    def say(self, error: str) -> None:
        rows = self.application.models.rows
        state = {
            "error": error,
            "labels": [w.text() for w in self.shown(QLabel) if w.text()],
            "buttons": [
                text for w in self.shown(QAbstractButton) for text in (w.text(), w.accessibleName())
            ],
            "jobs": self.jobs,
            "rows": [[r.id, r.model.name_en, r.model.problem, r.is_verified] for r in rows],
            "load": self.load,
            "loaded": self.application.models.loaded_id,
            "answer": self.answer,
            "failure": self.failure,
        }
        os.write(1, json.dumps(state, ensure_ascii=False).encode() + b"\n")

    @staticmethod
    def shown(kind) -> list:
        tops = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
        active = QApplication.activeModalWidget()
        tops = [active] if active is not None else tops
        return [w for top in tops for w in top.findChildren(kind) if w.isVisible()]

    def click(self, text: str) -> bool:
        for button in self.shown(QAbstractButton):
            if text in (button.text(), button.accessibleName()) and button.isEnabled():
                self.clicked.emit(button)
                return True
        return False

    @staticmethod
    def _click(button: QAbstractButton) -> None:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def page(self, name: str) -> None:
        self.window.show_page(name)

    def choose(self, model_id: str) -> None:
        self.window.models.list.model_chosen.emit(model_id)

    def send(self, text: str) -> None:
        self.window.show_page("chat")
        self.answer = self.failure = ""
        self.window.chat.composer.submitted.emit(text)

    def drop(self, path: str) -> None:
        self.window.show_page("models")
        target: QWidget = self.window.models
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(path)])
        action, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
        keys = Qt.KeyboardModifier.NoModifier
        place = target.rect().center()
        QApplication.sendEvent(target, QDragEnterEvent(place, action, data, buttons, keys))
        drop = QDropEvent(QPointF(place), action, data, buttons, keys, QEvent.Type.Drop)
        QApplication.sendEvent(target, drop)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    paths = app_paths(options.data_dir)
    start_logging(paths.log_dir)
    app = QApplication(sys.argv[:1])
    paths.data_dir.mkdir(parents=True, exist_ok=True)
    application = Application(app, paths)
    application.show()
    driver = Driver(application)
    sys.exit(app.exec() if driver else 1)


if __name__ == "__main__":
    main()
