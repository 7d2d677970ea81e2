"""Logs of the app: in files, without a word of the chat. Each case in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parents[1] / "helpers"


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    start = f"from pathlib import Path; from bilin_app.logs import start_logging; start_logging(Path({str(folder)!r}))\n"  # noqa: E501
    return subprocess.run(
        [sys.executable, "-P", "-c", start + code], capture_output=True, text=True, check=False
    )


def test_messages_exceptions_and_qt_go_to_the_file(tmp_path):
    code = """
import logging, threading
logging.getLogger("bilin_app.x").info("all is well")
from PySide6.QtCore import qWarning
qWarning("from Qt")
thread = threading.Thread(target=lambda: 1 / 0, name="bilin-x"); thread.start(); thread.join()
raise KeyError("the end")
"""
    result = run(code, tmp_path / "logs")
    text = (tmp_path / "logs" / "app.log").read_text()
    for part in ("all is well", "from Qt", "uncaught exception in bilin-x", "KeyError: 'the end'"):
        assert part in text
    assert "all is well" not in result.stderr
    assert "KeyError" in result.stderr
    assert result.returncode == 1


def test_a_crash_leaves_its_stacks(tmp_path):
    result = run("import os; os.abort()", tmp_path)
    assert result.returncode < 0
    assert "Fatal Python error: Aborted" in (tmp_path / "crash.log").read_text()


def test_a_folder_that_cannot_be_made_costs_the_files_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("print('started')", tmp_path / "file" / "logs")
    assert result.stdout == "started\n"
    assert "no log files" in result.stderr


def test_no_word_of_the_chat_is_in_any_log(tmp_path):
    secret, reply = "Zinnober-Frage", "Purpur-Antwort"
    code = f"""
import logging, sys
sys.path.insert(0, {str(HELPERS)!r})
logging.getLogger("bilin_app").setLevel(logging.DEBUG)
from PySide6.QtCore import QCoreApplication, QTimer
from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand
from bilin_app.storage.store import Store
app = QCoreApplication([])
client = EngineClient(EngineCommand(sys.executable, (
    {str(HELPERS / "scripted_engine.py")!r}, "--reply", {reply!r}, "--behave", "dies")))
engine = EngineController(client)
chat = ChatController(Store(Path({str(tmp_path / "bilin.db")!r})), engine)
chat.answer_failed.connect(lambda *_: (chat.search({secret!r}), QTimer.singleShot(300, app.quit)))
chat.start(); engine.start()
chat.set_draft({secret!r}); chat.send({secret!r})
app.exec()
chat.close(); engine.finish()
"""
    result = run(code, tmp_path / "logs")
    assert result.returncode == 0, result.stderr
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir()) + result.stderr
    assert "the engine is gone" in logs
    assert "Zinnober" not in logs
    assert "Purpur" not in logs
    assert b"Zinnober" in (tmp_path / "bilin.db").read_bytes() + wal(tmp_path)


def wal(folder: Path) -> bytes:
    path = folder / "bilin.db-wal"
    return path.read_bytes() if path.exists() else b""


def test_the_app_needs_neither_torch_nor_numpy():
    pages = "chat.page, bilin_app.pages.editor.page, bilin_app.pages.models.hub_page"
    code = f"""import sys, bilin_app.application, bilin_app.pages.{pages}
import bilin_app.pages.models.page, bilin_app.pages.settings.view
print(sorted(sys.modules))"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    for name in ("torch", "numpy", "safetensors", "accelerate", "bilin_kernels"):
        assert f"'{name}'" not in result.stdout
    assert "'PySide6.QtWidgets'" in result.stdout


def test_below_the_widgets_no_widgets_are_imported():
    code = "import bilin_app.controllers.chat, bilin_app.controllers.settings, sys; print(sorted(sys.modules))"  # noqa: E501
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert "QtWidgets" not in result.stdout
    assert "'PySide6.QtCore'" in result.stdout


def test_a_long_log_begins_anew_and_three_before_it_are_kept(tmp_path):
    code = """
import logging
from bilin_app import logs
logs.MAX_FILE_BYTES = 1000
for number in range(60):
    logging.getLogger("bilin_app.x").info("record %d of many, forty letters or so in all", number)
"""
    assert run(code, tmp_path).returncode == 0
    names = sorted(path.name for path in tmp_path.glob("app.log*"))
    assert names == ["app.log", "app.log.1", "app.log.2", "app.log.3"]
    kept = "".join((tmp_path / name).read_text() for name in reversed(names))
    numbers = [int(line.split("record ")[1].split()[0]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 60))
    assert all((tmp_path / name).stat().st_size < 1200 for name in names)


def test_a_log_on_a_full_disk_stops_nothing(tmp_path):
    (tmp_path / "app.log").symlink_to("/dev/full")
    code = """
import logging
for number in range(3):
    logging.getLogger("bilin_app.x").info("record %d", number)
print("went on")
"""
    result = run(code, tmp_path)
    assert (result.returncode, result.stdout) == (0, "went on\n"), result.stderr
    assert "No space left on device" in result.stderr


def test_a_log_goes_on_when_its_disk_is_there_again(tmp_path):
    code = f"""
import logging
path, away = Path({str(tmp_path / "app.log")!r}), Path({str(tmp_path / "away")!r})
log = logging.getLogger("bilin_app.x")
path.rename(away)
path.symlink_to("/dev/full")
logging.getLogger("bilin_app").handlers[1].close()  # the next record opens what is there
for number in range(3):
    log.info("lost %d", number)
path.unlink()
away.rename(path)
log.info("still lost, and opens it again")
log.info("written")
"""
    assert run(code, tmp_path).returncode == 0
    assert "written" in (tmp_path / "app.log").read_text()
