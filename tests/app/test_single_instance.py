import socket
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QLockFile

from bilin_app import single_instance
from bilin_app.single_instance import InstanceServer, ask_to_show, show_or_follow

pytestmark = pytest.mark.gui


def test_a_second_start_is_heard_by_the_first_of_the_same_folder_only(qtbot, tmp_path):
    first, other = tmp_path / "first", tmp_path / "other"
    assert not ask_to_show(first)
    server = InstanceServer(first)
    with qtbot.waitSignal(server.show_requested, timeout=5_000):
        assert ask_to_show(first)
    assert not ask_to_show(other)
    server.close()
    assert not ask_to_show(first)


def test_the_socket_of_one_that_crashed_is_no_obstacle(qtbot, tmp_path):
    server = InstanceServer(tmp_path)
    path = server._server.fullServerName()
    server.close()
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    assert Path(path).exists()
    again = InstanceServer(tmp_path)
    with qtbot.waitSignal(again.show_requested, timeout=5_000):
        assert ask_to_show(tmp_path)
    again.close()


def test_a_start_while_the_first_one_closes_follows_it(tmp_path, monkeypatch):
    """It answers nobody any more, and takes some seconds to write and to end its engine."""
    first, second = (QLockFile(str(tmp_path / "lock")) for _ in range(2))
    assert first.tryLock(0)
    closing = threading.Timer(0.4, first.unlock)
    closing.start()
    assert not second.tryLock(0)
    assert not show_or_follow(second, tmp_path)
    assert second.isLocked()
    closing.join()
    monkeypatch.setattr(single_instance, "FOLLOW_MS", 500)
    assert not show_or_follow(first, tmp_path)  # that one stays and answers nobody
    assert not first.isLocked()
