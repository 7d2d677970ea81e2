"""Locks that keep other processes out, and file systems that have none."""

import errno
import fcntl
import os

import pytest

from bilin_engine import processes


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Asks for a lock that the system refuses with an error's number."""

    def ask(number):
        def refuse(_fd, _operation):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with (tmp_path / "lock").open("w") as file:
            return processes.lock_file(file.fileno())

    return ask


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_holds_is_not_had(refused, number):
    assert not refused(number)


@pytest.mark.expects_log
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_work_goes_on_and_that_is_told_once(refused, caplog, number):
    processes._tell_no_locks.cache_clear()
    assert refused(number)
    assert refused(number)
    assert caplog.text.count(f"files cannot be locked here ({os.strerror(number)})") == 1
