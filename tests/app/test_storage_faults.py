"""Kills, full disks, read-only folders, damaged and foreign files: the store always opens."""

import errno
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress

import pytest
from failing_disk import fail_disk

from bilin_app.logs import log_file
from bilin_app.storage import conversations as c
from bilin_app.storage import database, recovery
from bilin_app.storage.conversations import AnswerEnd
from bilin_app.storage.database import mark_damaged, open_database
from bilin_app.storage.documents import find_documents
from bilin_app.storage.errors import StorageError
from bilin_app.storage.recovery import salvage
from bilin_app.storage.schema import MIGRATIONS, migrate, schema_version
from bilin_app.storage.search import find
from bilin_app.storage.store import Store
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import Snapshot, encode_document

PAGE = 4096
pytestmark = pytest.mark.expects_log


@contextmanager
def opened(path):
    store = Store(path)
    try:
        yield store, store.open().result()
    finally:
        store.close()


def begin(store, text, conversation_id=0, parent_id=None):
    return store.write(
        c.begin_exchange,
        conversation_id=conversation_id,
        parent_id=parent_id,
        message=c.NewMessage(text),
        new=c.NewConversation(text[:20]),
        now=1.0,
    ).result()


def texts(store):
    query = "SELECT text FROM messages WHERE text != '' ORDER BY id"
    return [row[0] for row in store.read(lambda con: con.execute(query).fetchall()).result()]


def fill(path, count):
    """One conversation of `count` questions and answers, some pages long altogether."""
    with opened(path) as (store, _):
        parent, conversation = None, 0
        for index in range(count):
            made = begin(store, f"question {index} " + "x" * 300, conversation, parent)
            answer = AnswerEnd(made.answer_id, "done", f"answer {index} " + "y" * 300)
            store.write(c.end_answer, answer, 2.0).result()
            parent, conversation = made.answer_id, made.conversation_id
    return conversation


def spoil(path, *pages):
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(b"\xde\xad" * (PAGE // 2))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, 2 MiB. As root only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system refuses to mount a tmpfs, even as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder):
    filler = folder / "filler"
    with filler.open("wb", 0) as file, suppress(OSError):
        while True:
            file.write(b"x" * PAGE)
    return filler


# --- Kills ----------------------------------------------------------------------------------------

WRITER = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from bilin_app.storage import conversations as c
    from bilin_app.storage.store import Store

    store = Store(Path(sys.argv[1]))
    store.open().result()
    made = None
    for index in range(100_000):
        made = store.write(
            c.begin_exchange, conversation_id=made.conversation_id if made else 0,
            parent_id=made.answer_id if made else None, message=c.NewMessage(f"m{index}"),
            new=c.NewConversation("t"), now=1.0,
        ).result()
        store.write_soon(c.append_journal, made.answer_id, 0, f"j{index}").result()
        os.write(1, f"{index}\\n".encode())
    """
)


@pytest.mark.parametrize("num_lines", [1, 40, 200])
def test_what_was_acknowledged_survives_a_kill(tmp_path, num_lines):
    path = tmp_path / "bilin.db"
    command = [sys.executable, "-P", "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(num_lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    acknowledged = num_lines + len(rest)
    with opened(path) as (store, report):
        assert report.problem is None
        assert report.num_interrupted >= acknowledged
        found = texts(store)
    for index in range(acknowledged):
        assert found[2 * index : 2 * index + 2] == [f"m{index}", f"j{index}"]


# --- Damage ---------------------------------------------------------------------------------------


def test_a_damaged_page_costs_only_what_was_on_it(tmp_path):
    path = tmp_path / "bilin.db"
    conversation = fill(path, 100)
    with sqlite3.connect(path) as connection:
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf'"
        ).fetchall() if has_dbstat(connection) else None  # fmt: skip
    connection.close()
    spoil(path, pages[len(pages) // 2][0] - 1 if pages else 25)
    with opened(path) as (store, report):
        assert report.problem == "damaged"
        assert not report.is_in_memory
        assert report.kept_as is not None
        assert report.kept_as.exists()
        found = texts(store)
        assert 150 <= len(found) < 200
        assert report.num_messages == len(found)
        content = store.read(c.load_conversation, conversation).result()
        assert content is not None
        assert [m.text for m in content.messages] == found
        assert store.read(find, "question 3").result()
        begin(store, "life goes on", conversation, content.messages[-1].id)
    with opened(path) as (_, report):
        assert report.problem is None


def has_dbstat(connection):
    try:
        connection.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.parametrize("page", range(1, 12))
def test_any_damaged_page_leaves_a_working_app(tmp_path, page):
    path = tmp_path / "bilin.db"
    fill(path, 20)
    spoil(path, page)
    damaged = path.read_bytes()
    with opened(path) as (store, report):
        begin(store, "life goes on")
        assert "life goes on" in texts(store)
        if report.problem is not None:
            assert report.problem == "damaged"
            assert report.kept_as is not None
            assert report.kept_as.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000, b"\0" * 10_000])
def test_a_file_that_is_no_database_is_put_aside(tmp_path, content):
    path = tmp_path / "bilin.db"
    path.write_bytes(content)
    with opened(path) as (store, report):
        if content.strip(b"\0") or content:
            assert report.problem == "damaged"
            assert report.kept_as is not None
            assert report.kept_as.read_bytes() == content
            assert report.num_messages == 0
        begin(store, "hello")
        assert texts(store) == ["hello"]


def test_a_truncated_file_gives_what_is_left(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 100)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with opened(path) as (store, report):
        assert report.problem == "damaged"
        assert 0 < len(texts(store)) < 200
        assert report.num_messages == len(texts(store))


def test_without_its_first_page_the_rest_is_read(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 100)
    spoil(path, 0)
    with opened(path) as (store, report):
        assert report.problem == "damaged"
        assert len(texts(store)) == report.num_messages == 200


def test_damage_that_the_check_misses_is_mended_at_the_next_start(tmp_path):
    path = tmp_path / "bilin.db"
    conversation = fill(path, 20)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM message_search_data WHERE id > 10")
    connection.commit()
    connection.close()
    with opened(path) as (store, report):
        assert report.problem is None
        with pytest.raises(StorageError) as caught:
            store.read(find, "question").result()
        assert caught.value.problem == "damaged"
    with opened(path) as (store, report):
        assert report.problem == "damaged"
        assert report.num_messages >= 40
        begin(store, "life goes on", conversation)
        assert len(store.read(find, "life goes").result()) == 1
    with opened(path) as (_, report):
        assert report.problem is None


def test_a_kill_while_a_damaged_database_is_read_costs_nothing(tmp_path, monkeypatch):
    path = tmp_path / "bilin.db"
    fill(path, 3)
    mark_damaged(path)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_mend_trees", killed)  # near the end
        with pytest.raises(KeyboardInterrupt):
            open_database(path)
    with opened(path) as (store, report):
        assert (report.problem, report.num_messages) == ("damaged", 6)
        assert len(texts(store)) == 6
    assert len(list(tmp_path.glob("*damaged-*.db"))) == 1
    assert not list(tmp_path.glob("*.new*"))


def test_salvage_mends_what_hangs_in_the_air(tmp_path):
    path = tmp_path / "bilin.db"
    conversation = fill(path, 3)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM messages WHERE id IN (1, 4)")
    connection.execute("DELETE FROM conversations")
    connection.commit()
    connection.close()
    target, _ = open_database(tmp_path / "new.db")
    found = salvage(path, target)
    assert (found.num_conversations, found.num_messages) == (1, 4)
    content = c.load_conversation(target, conversation)
    assert content is not None
    assert [m.id for m in content.messages] == [2, 3, 5, 6]
    target.close()


def test_a_damage_mark_without_a_database_is_of_no_account(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 3)
    mark_damaged(path)
    path.rename(tmp_path / "elsewhere.db")
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == (None, False)
        begin(store, "life goes on")
    with opened(path) as (store, report):
        assert report.problem is None
        assert texts(store) == ["life goes on"]


def test_what_was_rescued_takes_the_path_after_a_kill_right_before_that(tmp_path, monkeypatch):
    path = tmp_path / "bilin.db"
    fill(path, 3)
    mark_damaged(path)
    wal = path.with_name("bilin.db-wal")
    wal.write_bytes(b"of the damaged file")

    def killed(one):
        one.rename(tmp_path / "bilin.damaged-now.db")  # the side files are not renamed yet
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(database, "set_aside", killed)
        with pytest.raises(KeyboardInterrupt):
            open_database(path)
    assert not path.exists()
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == (None, False)
        assert len(texts(store)) == 6
        begin(store, "life goes on")
    with opened(path) as (store, _):
        assert len(texts(store)) == 7
    assert [kept.read_bytes() for kept in tmp_path.glob("*damaged-2*-wal")] == [
        b"of the damaged file"
    ]


def test_what_was_half_rescued_does_not_take_the_path(tmp_path, monkeypatch):
    path = tmp_path / "bilin.db"
    fill(path, 3)
    mark_damaged(path)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_mend_trees", killed)
        with pytest.raises(KeyboardInterrupt):
            open_database(path)
    path.rename(tmp_path / "elsewhere.db")
    with opened(path) as (store, report):
        assert report.problem is None
        assert texts(store) == []
    (tmp_path / "elsewhere.db").rename(path)
    mark_damaged(path)
    with opened(path) as (store, report):
        assert (report.problem, report.num_messages) == ("damaged", 6)
    assert not list(tmp_path.glob("*.new*"))


def test_a_disk_without_room_for_what_is_rescued_costs_nothing(tmp_path, monkeypatch):
    """It is rescued at a start that has room; until then no empty database takes its place."""
    path = tmp_path / "bilin.db"
    fill(path, 3)
    mark_damaged(path)
    content = path.read_bytes()

    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(database, "salvage", full)
        with opened(path) as (_, report):
            assert (report.problem, report.is_in_memory) == ("full", True)
    assert path.read_bytes() == content
    with opened(path) as (_, report):
        assert (report.problem, report.num_messages) == ("damaged", 6)


def queue(store, text, conversation_id):
    return store.write(
        c.queue_message,
        conversation_id=conversation_id,
        message=c.NewMessage(text),
        new=c.NewConversation(""),
        now=1.0,
    ).result()


def test_salvage_keeps_the_order_of_messages_that_were_queued(tmp_path):
    path = tmp_path / "bilin.db"
    with opened(path) as (store, _):
        conversation_id = begin(store, "one").conversation_id
        for waiting in [queue(store, text, conversation_id) for text in ("two", "three")]:
            store.write(c.send_queued, waiting.message_id, 1.0).result()
        before = store.read(c.load_conversation, conversation_id).result()
        assert before is not None
    target, _ = open_database(tmp_path / "new.db")
    salvage(path, target)
    content = c.load_conversation(target, conversation_id)
    assert content is not None
    assert [(m.id, m.parent_id) for m in content.messages] == [
        (m.id, m.parent_id) for m in before.messages
    ]
    assert [m.text for m in content.messages if m.text] == ["one", "two", "three"]
    target.close()


def test_salvage_breaks_a_loop(tmp_path):
    path = tmp_path / "bilin.db"
    conversation = fill(path, 3)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE messages SET parent_id = 4 WHERE id IN (1, 3)")
    connection.commit()
    connection.close()
    target, _ = open_database(tmp_path / "new.db")
    salvage(path, target)
    content = c.load_conversation(target, conversation)
    assert content is not None
    assert [m.id for m in content.messages] == [1, 2, 3, 4, 5, 6]
    target.close()


# --- Full and read-only ---------------------------------------------------------------------------


def test_a_full_database_refuses_the_message_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "bilin.db"
    with opened(path) as (store, _):
        made = begin(store, "before")
        pages = store.read(lambda con: con.execute("PRAGMA page_count").fetchone()[0]).result()
        limit = f"PRAGMA max_page_count = {pages + 2}"
        store.write(lambda con: con.execute(limit).fetchone()).result()
        with pytest.raises(StorageError) as caught:
            begin(store, "x" * 100_000, made.conversation_id, made.answer_id)
        assert caught.value.problem == "full"
        assert texts(store) == ["before"]
        store.write(lambda con: con.execute("PRAGMA max_page_count = 100000").fetchone()).result()
        begin(store, "after", made.conversation_id, made.answer_id)
    with opened(path) as (store, report):
        assert report.problem is None
        assert texts(store) == ["before", "after"]


def test_a_full_disk_refuses_the_message_and_keeps_what_it_has(small_disk):
    path = small_disk / "bilin.db"
    with opened(path) as (store, _):
        made = begin(store, "before")
        filler = fill_disk(small_disk)
        with pytest.raises(StorageError) as caught:
            begin(store, "y" * 100_000, made.conversation_id, made.answer_id)
        assert caught.value.problem == "full"
        assert texts(store) == ["before"]
        filler.unlink()
        begin(store, "after", made.conversation_id, made.answer_id)
    with opened(path) as (store, report):
        assert report.problem is None
        assert texts(store) == ["before", "after"]


def test_a_full_disk_that_holds_the_logs_too_keeps_no_write_waiting(small_disk, caplog):
    caplog.set_level(logging.INFO, "bilin_app")
    log = log_file(small_disk / "app.log", "%(message)s" + "z" * PAGE)
    logging.getLogger("bilin_app").addHandler(log)
    try:
        with opened(small_disk / "bilin.db") as (store, _):
            made = begin(store, "before")
            filler = fill_disk(small_disk)
            place = (made.conversation_id, made.answer_id)
            for _ in range(100):
                with pytest.raises(StorageError) as caught:
                    begin(store, "y" * 100_000, *place)
                assert caught.value.problem == "full"
            filler.unlink()
            begin(store, "after", *place)
            assert texts(store) == ["before", "after"]
    finally:
        logging.getLogger("bilin_app").removeHandler(log)
        log.close()


def test_a_disk_that_is_full_at_the_start_shows_all_and_works_in_memory(small_disk):
    path = small_disk / "bilin.db"
    fill(path, 20)
    before = path.read_bytes()
    fill_disk(small_disk)
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == ("full", True)
        assert len(texts(store)) == 40
        begin(store, "only in memory")
        assert texts(store)[-1] == "only in memory"
        assert len(store.read(find, "only memory").result()) == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize("has_wal", [False, True])
def test_a_read_only_folder_shows_all_and_works_in_memory(small_disk, has_wal):
    path = small_disk / "bilin.db"
    if has_wal:  # as a kill leaves it: the last commits are in the -wal only
        command = [sys.executable, "-P", "-c", WRITER.replace("100_000", "5"), str(path)]
        command[3] += "os.kill(os.getpid(), 9)"
        subprocess.run(command, check=False, capture_output=True)
        assert path.with_name("bilin.db-wal").stat().st_size
        expected = [text for i in range(5) for text in (f"m{i}", f"j{i}")]
    else:
        fill(path, 2)
        with opened(path) as (store, _):
            expected = texts(store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == ("read_only", True)
        assert texts(store) == expected
        begin(store, "only in memory")
        assert texts(store) == [*expected, "only in memory"]


def test_a_disk_that_came_back_is_saved_to_again(tmp_path):
    """Another device holds the same files at the same path; the first is still open."""
    disk, gone = tmp_path / "disk", tmp_path / "gone"
    path = disk / "bilin.db"

    def fail(_connection):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    with opened(path) as (store, _):
        made = begin(store, "before")
        assert texts(store) == ["before"]
        disk.rename(gone)
        for _ in range(2):
            with pytest.raises(StorageError):
                store.write(fail).result()
        assert not disk.exists()
        shutil.copytree(gone, disk)
        begin(store, "after", made.conversation_id, made.answer_id)
        assert texts(store) == ["before", "after"]
    query = "SELECT text FROM messages WHERE text != '' ORDER BY id"
    with sqlite3.connect(path) as connection:
        assert connection.execute(query).fetchall() == [("before",), ("after",)]
        states = connection.execute("SELECT DISTINCT state FROM messages WHERE role = 'assistant'")
        assert states.fetchall() == [("running",)]  # opened again, not begun again
    connection.close()


def test_a_reader_whose_disk_fails_opens_its_file_anew(tmp_path):
    disk, gone = tmp_path / "disk", tmp_path / "gone"

    def fail(_connection):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with opened(disk / "bilin.db") as (store, _):
        begin(store, "before")
        assert texts(store) == ["before"]
        disk.rename(gone)
        with pytest.raises(StorageError):
            store.read(fail).result()
        with pytest.raises(StorageError):
            texts(store)
        shutil.copytree(gone, disk)
        assert texts(store) == ["before"]


def test_a_folder_that_cannot_be_made_works_in_memory(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with opened(tmp_path / "file" / "data" / "bilin.db") as (store, report):
        assert (report.problem, report.is_in_memory) == ("unusable", True)
        begin(store, "only in memory")
        assert texts(store) == ["only in memory"]


@pytest.mark.parametrize(
    ("number", "problem"), [(errno.ENOTCONN, "unusable"), (errno.EACCES, "read_only")]
)
def test_a_disk_that_answers_with_an_error_works_in_memory(tmp_path, monkeypatch, number, problem):
    fail_disk(monkeypatch, tmp_path / "share", number)
    with opened(tmp_path / "share" / "bilin.db") as (store, report):
        assert (report.problem, report.is_in_memory) == (problem, True)
        begin(store, "only in memory")
        assert texts(store) == ["only in memory"]


# --- Migrations -----------------------------------------------------------------------------------


def add_column(connection):
    connection.execute("ALTER TABLE messages ADD COLUMN stars INTEGER")


def fail_halfway(connection):
    connection.execute("ALTER TABLE messages ADD COLUMN stars INTEGER")
    if connection.execute("SELECT count(*) FROM messages").fetchone()[0]:
        raise sqlite3.OperationalError("planned")


def test_a_migration_is_preceded_by_a_backup(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 2)
    connection, report = open_database(path, [*MIGRATIONS, add_column])
    assert report.problem is None
    assert schema_version(connection) == len(MIGRATIONS) + 1
    assert connection.execute("SELECT count(stars), count(*) FROM messages").fetchone() == (0, 4)
    connection.close()
    [backup] = (tmp_path / "backups").iterdir()
    connection = sqlite3.connect(backup)
    assert schema_version(connection) == len(MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (4,)
    connection.close()


def test_a_failing_migration_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 2)
    connection, report = open_database(path, [*MIGRATIONS, fail_halfway])
    connection.close()
    assert report.is_in_memory
    with opened(path) as (store, report):
        assert report.problem is None
        assert len(texts(store)) == 4
        columns = store.read(lambda con: con.execute("PRAGMA table_info(messages)").fetchall())
        assert "stars" not in [column[1] for column in columns.result()]


def test_a_file_of_a_later_version_is_left_alone(tmp_path):
    path = tmp_path / "bilin.db"
    fill(path, 2)
    connection, _ = open_database(path, [*MIGRATIONS, add_column])
    connection.close()
    before = path.read_bytes()
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == ("newer", True)
        assert str(len(MIGRATIONS) + 1) in report.detail
        assert texts(store) == []
        begin(store, "only in memory")
    assert path.read_bytes() == before


def test_a_fresh_file_needs_no_backup(tmp_path):
    connection = sqlite3.connect(tmp_path / "new.db", isolation_level=None)
    assert migrate(connection, tmp_path / "backups") == []
    assert migrate(connection, tmp_path / "backups") == []
    connection.close()


def fill_older(path, version):
    """One conversation and one document, as a Bilin of that schema left them."""
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    migrate(old, None, MIGRATIONS[:version])
    old.execute(
        "INSERT INTO conversations (id, title, created_at, updated_at, draft, active_root_id)"
        " VALUES (1, '臺灣的冬天', 1, 2, '草稿', 1)"
    )
    for number, parent, role, text in (
        (1, None, "user", "去哪裡避寒"),
        (2, 1, "assistant", "三亞"),
    ):
        old.execute(
            "INSERT INTO messages (id, conversation_id, parent_id, active_child_id, role, state,"
            " text, created_at, is_indexed) VALUES (?, 1, ?, ?, ?, 'done', ?, 1, 1)",
            (number, parent, 2 if number == 1 else None, role, text),
        )
        # Under terms of that time: no script was folded.
        old.execute("INSERT INTO message_search (rowid, terms) VALUES (?, ?)", (number, text))
    old.execute("INSERT INTO title_search (rowid, terms) VALUES (1, '臺灣')")
    content = encode_document(Snapshot("凱旋門", parse_slice("拿破崙[MASK]", Document()))).decode()
    old.execute(
        "INSERT INTO documents (title, created_at, updated_at, content, folded)"
        " VALUES ('凱旋門', 1, 2, ?, '凱旋門')",
        (content,),
    )
    old.execute("INSERT INTO meta VALUES ('search_terms_version', '1')")
    old.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_each_older_schema_is_migrated_with_a_backup_and_nothing_lost(tmp_path, version):
    path = tmp_path / "bilin.db"
    fill_older(path, version)
    connection, report = open_database(path)
    try:
        assert (report.problem, report.is_in_memory) == (None, False)
        assert schema_version(connection) == len(MIGRATIONS)
        shown = c.load_conversation(connection, 1)
        assert shown is not None
        assert [m.text for m in shown.messages] == ["去哪裡避寒", "三亞"]
        assert shown.record.draft == "草稿"
        for query, found in (("哪里", [1]), ("三亚", [2]), ("台湾", [0]), ("twddt", [0])):
            assert [hit.message_id for hit in find(connection, query)] == found, query
        for query in ("拿破仑", "kxm"):
            assert [hit.title for hit in find_documents(connection, query)] == ["凱旋門"], query
    finally:
        connection.close()
    [backup] = (tmp_path / "backups").glob(f"bilin-schema{version}-*.db")
    kept = sqlite3.connect(backup)
    assert schema_version(kept) == version
    assert kept.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    kept.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
@pytest.mark.parametrize("refused", ["full", "read_only"])
def test_an_older_file_without_room_for_its_backup_is_shown_and_kept(small_disk, version, refused):
    path = small_disk / "bilin.db"
    fill_older(path, version)
    before = path.read_bytes()
    if refused == "full":
        fill_disk(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with opened(path) as (store, report):
        assert (report.problem, report.is_in_memory) == (refused, True)
        assert texts(store) == ["去哪裡避寒", "三亞"]
        begin(store, "only in memory")
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_file_whose_backup_is_refused_is_shown_and_kept(tmp_path, version):
    path = tmp_path / "bilin.db"
    fill_older(path, version)
    before = path.read_bytes()
    (tmp_path / "backups").write_text("in the way")
    with opened(path) as (store, report):
        assert report.is_in_memory
        assert texts(store) == ["去哪裡避寒", "三亞"]
    assert path.read_bytes() == before
