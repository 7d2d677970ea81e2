"""What the desktop sees: the menu entry, messages, a second start with files, the report."""

import configparser
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from failing_disk import fail_disk
from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalSocket
from PySide6.QtWidgets import QSystemTrayIcon, QWidget

from bilin_app import __version__
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.report import Report
from bilin_app.desktop_entry import DesktopEntry
from bilin_app.pages.desktop_notice import LONG_ANSWER_S, DesktopNotice
from bilin_app.single_instance import InstanceServer, ask_to_show, server_name
from bilin_app.theme.resources import ui_folder

pytestmark = pytest.mark.gui


def read_entry(path):
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment] - keys keep their case
    entry.read(path, encoding="utf-8")
    return entry["Desktop Entry"]


def test_the_menu_entry_comes_and_goes_without_a_trace(tmp_path):
    entry = DesktopEntry(ui_folder(), tmp_path)
    assert not entry.is_there()
    entry.add(["/opt/my apps/50% $x/python", "-P", "-m", "bilin_app"])
    assert entry.is_there()
    written = read_entry(tmp_path / "applications" / "bilin.desktop")
    assert written["Name[zh_CN]"] == "比邻"
    assert written["Exec"] == r'"/opt/my apps/50%% \\$x/python" "-P" "-m" "bilin_app" %F'
    assert written["TryExec"] == "/opt/my apps/50% $x/python"
    icon = tmp_path / "icons" / "hicolor" / "scalable" / "apps" / f"{written['Icon']}.svg"
    assert icon.read_bytes() == (ui_folder() / "icons" / "bilin.svg").read_bytes()
    entry.add(["bilin"])  # again, after an update
    entry.remove()
    entry.remove()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_data_home_on_a_disk_that_fails_holds_no_menu_entry(tmp_path, monkeypatch):
    entry = DesktopEntry(ui_folder(), tmp_path)
    fail_disk(monkeypatch, tmp_path)
    assert not entry.is_there()


def test_what_a_packager_installs_names_this_version():
    folder = ui_folder() / "desktop"
    assert read_entry(folder / "bilin.desktop")["Exec"] == "bilin %F"
    root = ElementTree.parse(folder / "bilin.metainfo.xml").getroot()
    assert root.findtext("launchable") == "bilin.desktop"
    releases = [release.get("version") for release in root.iter("release")]
    assert releases[0] == re.sub(r"[^0-9.].*", "", __version__)


def test_a_second_start_hands_over_its_files(qtbot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = InstanceServer(tmp_path)
    told = []
    server.files_requested.connect(told.append)
    with qtbot.waitSignals([server.show_requested, server.files_requested], timeout=5_000):
        assert ask_to_show(tmp_path, [tmp_path / "a.md", tmp_path / "文章.txt"])
    [files] = told
    assert files == [tmp_path / "a.md", tmp_path / "文章.txt"]
    server.close()


@pytest.mark.parametrize(
    "message",
    [b"\xff\xfe", b"{}", b'["relative.md"]', b"[1, null]", b"[" * 5000, b"x" * 100_000, b"[]"],
)
def test_what_is_no_list_of_files_only_raises_the_window(qtbot, tmp_path, message):
    server = InstanceServer(tmp_path)
    files = []
    server.files_requested.connect(files.append)
    socket = QLocalSocket()
    with qtbot.waitSignal(server.show_requested, timeout=5_000):
        socket.connectToServer(server_name(tmp_path))
        assert socket.waitForConnected(1000)
        socket.write(message)
        socket.disconnectFromServer()
    with qtbot.waitSignal(server.show_requested, timeout=5_000):
        assert ask_to_show(tmp_path)
    qtbot.waitUntil(lambda: not server._server.findChildren(QLocalSocket), timeout=5_000)
    assert files == []
    server.close()


def test_only_a_long_answer_out_of_view_is_told_and_only_if_wanted(qtbot, monkeypatch):
    window = QWidget()
    qtbot.addWidget(window)
    notice = DesktopNotice(window)
    shown = []
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)
    for method in ("show", "hide"):  # the offscreen platform has no tray
        monkeypatch.setattr(QSystemTrayIcon, method, lambda _self, m=method: shown.append(m))
    monkeypatch.setattr(QSystemTrayIcon, "showMessage", lambda _self, *what: shown.append(what[:2]))
    is_active = False
    monkeypatch.setattr(window, "isActiveWindow", lambda: is_active)
    assert not notice.tell("三亚", "done", 60.0)  # not wanted
    assert window.findChildren(QSystemTrayIcon) == []  # and no icon either
    notice.is_wanted = True
    assert not notice.tell("三亚", "done", LONG_ANSWER_S - 1)
    is_active = True
    assert not notice.tell("三亚", "done", 60.0)
    is_active = False
    assert notice.tell("三亚", "done", 60.0)
    assert shown == ["show", ("三亚", "done")]
    with qtbot.waitSignal(notice.clicked):
        notice._icon.messageClicked.emit()  # type: ignore[union-attr]
    assert shown[-1] == "hide"


class NoEngine(QObject):
    """An engine that is not there."""

    changed = Signal()
    is_connected = False

    def __init__(self):
        super().__init__()
        self.view = EngineView("fault", reason="It died.")
        self.client = self


def test_the_report_has_the_logs_and_neither_home_nor_anything_else(qtbot, tmp_path, monkeypatch):
    home = tmp_path / "home" / "li"
    logs = home / "logs"
    logs.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (logs / "app.log").write_text("\n".join(f"line {n} {home}/x" for n in range(5000)))
    (home / "bilin.db").write_text("SECRET")
    (logs / "other.log").write_text("SECRET")
    report = Report(NoEngine(), logs)  # type: ignore[arg-type]
    with qtbot.waitSignal(report.ready) as told:
        report.make()
    text = told.args[0]
    assert f"Bilin {__version__}" in text
    assert "Engine: fault (It died.)" in text
    assert "line 4999 ~/x" in text
    assert "line 4900" not in text
    assert str(home) not in text
    assert "SECRET" not in text
    assert json.dumps(text)  # goes through any clipboard
