"""The app without a window: all below the widgets in a process of its own, to be killed. A program.

`headless_app.py --data-dir DIR [--send TEXT] -- PROGRAM ARG…`; sends TEXT once the model is ready.
Writes a line of JSON per event: what the person sees, and when (monotonic clock, seconds).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from PySide6.QtCore import QCoreApplication

from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand
from bilin_app.logs import start_logging
from bilin_app.paths import app_paths
from bilin_app.storage.store import Store


def say(event: str, **values) -> None:
    line = json.dumps({"at": time.monotonic(), "event": event, **values})
    os.write(1, line.encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--send", default="")
    parser.add_argument("engine", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    program, *arguments = options.engine[1:]
    paths = app_paths(options.data_dir)
    start_logging(paths.log_dir)
    app = QCoreApplication(sys.argv[:1])
    client = EngineClient(EngineCommand(program, tuple(arguments)))
    engine = EngineController(client)
    chat = ChatController(Store(paths.database), engine)
    lengths: dict[int, int] = {}

    def appended(message_id: int, text: str) -> None:
        lengths[message_id] = lengths.get(message_id, 0) + len(text)
        say("text", message=message_id, length=lengths[message_id])

    def ready(_model: str) -> None:
        say("ready", engine=client.process_id)
        if options.send:
            chat.send(options.send)

    chat.message_added.connect(lambda m: say("message", id=m.id, role=m.role, text=m.text))
    chat.draft_cleared.connect(lambda: say("acknowledged"))
    chat.text_appended.connect(appended)
    chat.answer_finished.connect(lambda i, _facts: say("finished", message=i))
    chat.answer_failed.connect(lambda i, why, _more: say("failed", message=i, why=why))
    chat.notice.connect(lambda sentence: say("notice", text=sentence))
    engine.ready.connect(ready)
    app.aboutToQuit.connect(chat.close)
    app.aboutToQuit.connect(engine.finish)
    chat.start()
    engine.start()
    app.exec()


if __name__ == "__main__":
    main()
