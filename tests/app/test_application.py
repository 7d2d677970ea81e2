"""The whole app, offscreen, with a scripted engine: what is put together holds together."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QLockFile
from PySide6.QtWidgets import QApplication

from bilin_app.application import Application
from bilin_app.engine_client.process import EngineCommand, installed_engine
from bilin_app.paths import AppPaths, app_paths
from bilin_app.storage.settings import Settings, SettingsFile

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")

pytestmark = pytest.mark.gui


@pytest.fixture
def start(qapp, tmp_path):
    started: list[Application] = []

    def start(*arguments: str, paths: AppPaths | None = None) -> Application:
        command = EngineCommand(sys.executable, ("-P", SCRIPT, *arguments))
        assert isinstance(qapp, QApplication)
        application = Application(qapp, paths or app_paths(tmp_path), command)
        started.append(application)
        application.show()
        return application

    yield start
    for application in started:
        application.close()
        application.deleteLater()


def test_it_shows_its_window_then_starts_the_engine_and_answers(start, qtbot):
    application = start()
    assert application.window.isVisible()
    assert application.engine.view.state == "stopped"  # nothing is waited for before the window
    qtbot.waitUntil(lambda: application.engine.view.state == "ready", timeout=20_000)
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        application.window.chat.composer.submitted.emit("你好")


def test_what_is_not_in_the_first_picture_is_imported_behind_it(tmp_path):
    code = """
import os, sys
import bilin_app.__main__ as start
def go_on(app, paths, window, *_, **__):
    print(window.isVisible(), *sys.modules, flush=True)
    os._exit(0)
start.go_on = go_on
from pathlib import Path
start._run(Path(sys.argv[1]), [], "")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    is_visible, *imported = done.stdout.split()
    assert is_visible == "True"
    assert "bilin_app.pages.chat.view" in imported
    late = ("msgspec", "tomlkit", "sqlite3", "markdown_it", "pygments", "ziamath", "pypinyin")
    assert not set(imported) & {*late, "PySide6.QtNetwork", "bilin_engine.protocol"}
    parts = ("storage.database", "controllers.chat", "engine_client", "pages.chat.transcript")
    assert not set(imported) & {f"bilin_app.{part}" for part in parts}
    pages = ("bilin_app.pages.editor", "bilin_app.pages.models", "bilin_app.pages.settings")
    assert not [name for name in imported if name.startswith(pages)]


def test_files_given_before_all_is_there_are_opened_then(start, qtbot, tmp_path):
    (tmp_path / "note.txt").write_text("three blanks", encoding="utf-8")
    application = start()
    application.open_files([tmp_path / "note.txt"])
    qtbot.waitUntil(
        lambda: application.window.editor.text.toPlainText() == "three blanks", timeout=20_000
    )
    assert application.window.editor.isVisible()


def test_a_zip_is_an_export_of_conversations(start, qtbot, tmp_path):
    (tmp_path / "export.zip").write_bytes(b"PK")
    application = start()
    qtbot.waitSignal(application.completed, timeout=20_000).wait()
    with qtbot.waitSignal(application.chat.notice, timeout=20_000) as told:
        application.open_files([tmp_path / "export.zip"])
    assert "export.zip could not be imported: the zip cannot be read" in told.args[0]
    assert application.window.chat.isVisible()


@pytest.mark.parametrize("is_given", [True, False])
def test_the_menu_entry_starts_bilin_with_the_data_folder_of_this_start(
    qapp, tmp_path, monkeypatch, is_given
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "menu"))
    folder = tmp_path / "portable"
    application = Application(qapp, app_paths(folder), can_move=not is_given)
    application._on_menu_entry_requested(True)
    application.close()
    application.deleteLater()
    written = (tmp_path / "menu" / "applications" / "bilin.desktop").read_text(encoding="utf-8")
    given = f' "--data-dir" "{folder}"' if is_given else ""
    assert f'"-P" "-m" "bilin_app"{given} %F\n' in written


def test_a_window_closed_at_once_leaves_no_process_and_starts_again(start, qtbot):
    application = start()
    qtbot.waitSignal(application.window.painted, timeout=20_000).wait()
    engine = application.engine.client.process_id  # it has begun; nothing of it is heard yet
    assert engine
    assert application.engine.view.state == "stopped"
    application.close()
    assert not psutil.pid_exists(engine)
    again = start()
    qtbot.waitUntil(lambda: again.engine.view.state == "ready", timeout=20_000)


def test_settings_take_effect_and_are_there_at_the_next_start(start, qtbot, tmp_path):
    application = start()
    qtbot.waitSignal(application.completed, timeout=20_000).wait()
    application.window.settings.settings_changed.emit(Settings(language="zh", theme="dark"))
    application.close()
    assert SettingsFile(tmp_path / "settings.toml").load().settings.theme == "dark"
    again = start()
    assert again.settings.settings == Settings(language="zh", theme="dark")


@pytest.mark.parametrize("name", ["editor", "models", "settings"])
def test_the_page_that_was_on_show_is_shown_again_behind_the_first_picture(start, qtbot, name):
    application = start()
    qtbot.waitSignal(application.completed, timeout=20_000).wait()
    application.window.show_page(name)
    application.close()
    again = start()
    assert again.window.chat.isVisible()
    qtbot.waitSignal(again.completed, timeout=20_000).wait()
    assert getattr(again.window, name).isVisible()


def test_a_file_is_shown_rather_than_the_page_of_last_time(start, qtbot, tmp_path):
    (tmp_path / "note.txt").write_text("three blanks", encoding="utf-8")
    application = start()
    qtbot.waitSignal(application.completed, timeout=20_000).wait()
    application.window.show_page("models")
    application.close()
    again = start()
    again.open_files([tmp_path / "note.txt"])
    qtbot.waitSignal(again.completed, timeout=20_000).wait()
    assert again.window.editor.isVisible()


def test_the_model_a_person_chose_is_loaded_at_the_next_start(start, qtbot):
    application = start()
    qtbot.waitUntil(lambda: application.engine.view.state == "ready", timeout=20_000)
    assert application.settings.settings.last_model == ""
    application.engine.load("second")
    qtbot.waitUntil(lambda: application.settings.settings.last_model == "second", timeout=20_000)
    application.close()
    again = start()
    qtbot.waitUntil(lambda: again.engine.view.state == "ready", timeout=20_000)
    assert again.engine.model is not None
    assert again.engine.model.id == "second"


def test_a_model_that_is_gone_is_told_and_another_is_loaded(start, qtbot, tmp_path):
    SettingsFile(tmp_path / "settings.toml").save(Settings(last_model="vanished"))
    application = start()
    notices: list[str] = []
    application.engine.notice.connect(notices.append)
    qtbot.waitUntil(lambda: application.engine.view.state == "ready", timeout=20_000)
    assert application.engine.model is not None
    assert application.engine.model.id == "bilin-mini"
    assert "vanished" in notices[0]
    assert application.settings.settings.last_model == "vanished"  # it may come back


def test_all_that_a_start_has_to_tell_is_told_at_once(start, qtbot, tmp_path):
    (tmp_path / "settings.toml").write_text('theme = "pink"\nsend_key = "shift"\n')
    application = start()
    qtbot.waitUntil(lambda: application.engine.view.state == "ready", timeout=20_000)
    told = application.window.chat.toast._text.text()
    assert "theme" in told
    assert "send_key" in told


def test_closing_leaves_no_process(start, qtbot):
    application = start()
    qtbot.waitUntil(lambda: application.engine.view.state == "ready", timeout=20_000)
    engines = [p for p in psutil.Process().children() if "scripted_engine" in str(p.cmdline())]
    assert engines
    application.close()
    assert not any(process.is_running() for process in engines)


@pytest.mark.expects_log
def test_a_profile_that_cannot_be_written_is_told_and_usable(start, qtbot, tmp_path):
    (tmp_path / "file").write_text("in the way")
    application = start(paths=app_paths(tmp_path / "file"))
    notices: list[str] = []
    application.chat.notice.connect(notices.append)
    qtbot.waitUntil(lambda: bool(notices), timeout=20_000)
    with qtbot.waitSignal(application.chat.answer_finished, timeout=20_000):
        application.chat.send("hello")
    application.window.settings.settings_changed.emit(Settings(theme="dark"))
    told: list[str] = []
    application.settings.notice.connect(told.append)
    qtbot.waitUntil(lambda: bool(told), timeout=20_000)


def test_a_second_start_with_the_same_profile_says_so_and_ends(tmp_path):
    lock = QLockFile(str(app_paths(tmp_path).lock))
    assert lock.tryLock(0)
    result = subprocess.run(
        [sys.executable, "-P", "-m", "bilin_app", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    lock.unlock()
    assert result.returncode == 1
    assert "already running" in result.stderr


def test_the_installed_engine_is_started_safely(tmp_path):
    command = installed_engine(
        log_dir=tmp_path / "l", models_dir=tmp_path / "m", token_file=tmp_path / "t"
    )
    assert command.program == sys.executable
    assert command.arguments[:4] == ("-P", "-m", "bilin_engine", "stdio")
    assert ("--log-dir", str(tmp_path / "l")) == command.arguments[4:6]
