import pytest

from bilin_app.single_instance import InstanceServer, ask_to_show

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
    InstanceServer(tmp_path)  # never closed
    again = InstanceServer(tmp_path)
    with qtbot.waitSignal(again.show_requested, timeout=5_000):
        assert ask_to_show(tmp_path)
    again.close()
