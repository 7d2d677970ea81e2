"""Documents kept by themselves, filled, found and brought back: controller, database, engine."""

import errno
import io
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

from bilin_app.controllers import document_files
from bilin_app.controllers.editor import EditorController, suggested_length
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.fill_run import SentText
from bilin_app.engine_client.client import EngineClient
from bilin_app.engine_client.process import EngineCommand
from bilin_app.storage.store import Store
from bilin_app.text.document import parse_slice
from bilin_app.text.document_file import Snapshot, decode_document
from bilin_engine.protocol import Candidate, FillConstraints, LengthLimit, TextSegment

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")


class Desk:
    """A controller over a database; the engine is started by what wants a model."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bilin.db"
        self.store = Store(self.path)
        self.store.open().result(10)
        self.engine = EngineController(EngineClient(EngineCommand(sys.executable, ("-P", SCRIPT))))
        self.editor = EditorController(self.store, self.engine)
        self.notices: list[str] = []
        self.rows: list = []
        self.hits: list = []
        self.opened: list = []
        self.revisions: list = []
        self.states: list[str] = []
        self.editor.notice.connect(self.notices.append)
        self.editor.documents_changed.connect(lambda rows: self.rows.__setitem__(slice(None), rows))
        self.editor.search_done.connect(lambda _query, hits: self.hits.extend(hits))
        self.editor.document_opened.connect(self.opened.append)
        self.editor.revisions_listed.connect(self.revisions.extend)
        self.editor.saved_changed.connect(self.states.append)
        self.editor.start()

    def on_disk(self) -> list[str]:
        """What another process finds: what a kill at this moment would leave."""
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
        rows = connection.execute("SELECT content FROM documents ORDER BY id").fetchall()
        connection.close()
        return [decode_document(row[0]).content.plain_text for row in rows]

    def close(self) -> None:
        self.editor.close()
        self.engine.finish()
        self.store.close()


@pytest.fixture
def desk(qtbot, tmp_path):
    assert qtbot is not None  # an application exists
    made = Desk(tmp_path)
    yield made
    made.close()


def test_what_was_typed_a_second_ago_survives_a_kill(desk, qtbot):
    session = desk.editor.session
    for index, letter in enumerate("凯旋门位于米兰"):
        session.type_text(index, index, letter)
    qtbot.waitUntil(lambda: desk.on_disk() == ["凯旋门位于米兰"])
    assert desk.editor.title == "凯旋门位于米兰"
    session.make_blank(0, 3, "short")
    qtbot.waitUntil(lambda: desk.on_disk() == ["[MASK]位于米兰"])
    qtbot.waitUntil(lambda: desk.states[-1] == "saved")


def test_saving_is_never_put_off_while_someone_types(desk, qtbot):
    """The timer starts at the first change and is not restarted by later ones."""
    desk.editor.session.type_text(0, 0, "a")
    timer = desk.editor._keeper._timer
    left = timer.remainingTime()
    qtbot.wait(60)
    desk.editor.session.type_text(1, 1, "b")
    assert timer.remainingTime() < left
    assert timer.interval() <= 500


def test_another_document_on_show_loses_nothing_of_the_first(desk, qtbot):
    desk.editor.session.type_text(0, 0, "first")
    desk.editor.new_document()
    desk.editor.session.type_text(0, 0, "second")
    desk.editor.new_document()
    qtbot.waitUntil(lambda: desk.on_disk() == ["first", "second"])
    qtbot.waitUntil(lambda: len(desk.rows) == 2)
    desk.editor.open_document(desk.rows[1].id)
    qtbot.waitUntil(lambda: desk.opened[-1].content.plain_text == "first")


def test_another_rule_has_the_window_counted_anew(desk, qtbot):
    desk.editor.session.type_text(0, 0, "The sky is blue.")
    blank_id = desk.editor.make_blank(11, 15, "short")
    timer = desk.editor._meter._timer
    qtbot.waitUntil(lambda: not timer.isActive())
    desk.editor.set_constraints(blank_id, FillConstraints(length=LengthLimit(200, "words")))
    assert timer.isActive()


def test_the_document_on_show_is_not_opened_again(desk, qtbot):
    desk.editor.session.type_text(0, 0, "first")
    desk.editor.new_document()
    desk.editor.session.type_text(0, 0, "second")
    qtbot.waitUntil(lambda: len(desk.rows) == 2)
    num_opened = len(desk.opened)
    desk.editor.open_document(desk.rows[1].id)
    desk.editor.open_document(desk.editor.document_id)  # thought better of it
    desk.store.read_latest(lambda _connection: None).result(10)
    qtbot.wait(10)
    assert len(desk.opened) == num_opened
    assert desk.editor.session.stack.canUndo()


def test_the_trash_gives_back_and_search_finds(desk, qtbot):
    desk.editor.open_text("米兰的凯旋门[MASK]")
    qtbot.waitUntil(lambda: len(desk.rows) == 1)
    desk.editor.search("凯旋")
    qtbot.waitUntil(lambda: len(desk.hits) == 1)
    document_id = desk.rows[0].id
    desk.editor.delete_document(document_id)
    qtbot.waitUntil(lambda: desk.rows == [])
    assert desk.editor.session.document.plain_text == ""
    desk.editor.undo_delete(document_id)
    qtbot.waitUntil(lambda: len(desk.rows) == 1)
    qtbot.waitUntil(lambda: desk.opened[-1].content.plain_text == "米兰的凯旋门[MASK]")


def test_an_earlier_version_comes_back_as_one_step(desk, qtbot):
    desk.editor.open_text("as it was [MASK]")
    qtbot.waitUntil(lambda: desk.states[-1] == "saved" and bool(desk.on_disk()))
    first = desk.editor.document_id
    desk.editor.new_document()
    desk.editor.open_document(first)
    qtbot.waitUntil(lambda: desk.opened[-1].id > 0)
    desk.editor.session.type_text(0, 6, "")
    qtbot.waitUntil(lambda: desk.on_disk() == ["was [MASK]"])

    def listed() -> bool:
        desk.revisions.clear()
        desk.editor.list_revisions()
        qtbot.wait(30)
        return bool(desk.revisions)

    qtbot.waitUntil(listed)
    read: list = []
    desk.editor.revision_read.connect(lambda number, view: read.append((number, view)))
    desk.editor.read_revision(desk.revisions[-1].id)
    qtbot.waitUntil(lambda: read != [])
    assert read[0][0] == desk.revisions[-1].id
    assert read[0][1].content.plain_text == "as it was [MASK]"
    assert desk.editor.session.document.plain_text == "was [MASK]"  # reading changes nothing
    desk.editor.restore_revision(desk.revisions[-1].id)
    document = lambda: desk.editor.session.document.plain_text  # noqa: E731
    qtbot.waitUntil(lambda: document() == "as it was [MASK]")
    desk.editor.session.undo()
    assert document() == "was [MASK]"


def test_an_earlier_version_comes_back_with_what_was_offered(desk, qtbot):
    desk.editor.open_text("甲[MASK]乙[MASK]")
    session = desk.editor.session
    second = session.document.blanks[1][1].id
    session.begin_stream(second)
    session.end_stream(second, [Candidate(text="春", logprob=-1.0, num_tokens=1)])
    desk.editor._keeper.save_now()
    desk.editor._keeper.keep_revision(desk.editor._snapshot(), "filled")
    session.accept(second)

    def listed() -> bool:
        desk.editor.list_revisions()
        qtbot.wait(20)
        return bool(desk.revisions)

    qtbot.waitUntil(listed)
    desk.editor.restore_revision(desk.revisions[0].id)
    qtbot.waitUntil(lambda: len(session.document.blanks) == 2)
    assert session.shown_text(session.document.blanks[1][1].id) == "春"
    session.undo()
    assert session.document.plain_text == "甲[MASK]乙春"
    session.redo()
    assert session.shown_text(session.document.blanks[1][1].id) == "春"


def test_a_file_is_kept_as_it_was_opened(desk, qtbot, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("as it was", encoding="utf-8")
    desk.editor.open_files([path])
    qtbot.waitUntil(lambda: desk.on_disk() == ["as it was"])
    desk.editor.session.type_text(0, 0, "not ")
    qtbot.waitUntil(lambda: desk.on_disk() == ["not as it was"])
    assert kept(desk) == [("opened", "as it was")]


def test_a_text_that_was_just_pasted_is_kept_before_its_blanks_are_filled(desk):
    desk.editor.session.paste(0, 0, "the sky is [MASK]")
    assert desk.editor.fill_all()
    desk.editor.session.type_text(0, 0, "x")
    desk.editor._keeper.save_now()
    assert kept(desk) == [("filled", "the sky is [MASK]")]


def kept(desk) -> list[tuple[str, str]]:
    """The earlier states on disk, reason and text."""
    rows = desk.store.write(
        lambda connection: connection.execute(
            "SELECT reason, content FROM document_revisions ORDER BY id"
        ).fetchall()
    ).result(10)
    return [(reason, decode_document(content).content.plain_text) for reason, content in rows]


def test_a_version_is_never_put_into_another_document(desk, qtbot):
    desk.editor.open_text("the first")
    qtbot.waitUntil(lambda: desk.on_disk() == ["the first"])
    desk.editor._keeper.keep_revision(desk.editor._snapshot(), "filled")
    desk.editor.list_revisions()
    qtbot.waitUntil(lambda: bool(desk.revisions))
    [revision] = {one.id for one in desk.revisions}
    desk.revisions.clear()
    read: list = []
    desk.editor.revision_read.connect(lambda number, _view: read.append(number))
    desk.editor.list_revisions()  # answered when another one is on show
    desk.editor.open_text("the second")
    qtbot.waitUntil(lambda: len(desk.on_disk()) == 2)
    desk.editor.read_revision(revision)
    desk.editor.restore_revision(revision)
    desk.store.read_latest(lambda _connection: None).result(10)
    qtbot.wait(10)
    assert desk.editor.session.document.plain_text == "the second"
    assert (desk.revisions, read) == ([], [])


class FullDisk:
    """Every transaction fails at its end, as long as it is full."""

    def __init__(self, store: Store) -> None:
        self.is_full = True
        self._transact = store._transact
        store._transact = self.transact  # type: ignore[method-assign]

    def transact(self, synchronous, job):
        def refuse(connection):
            job(connection)
            raise OSError(errno.ENOSPC, "No space left on device")

        return self._transact(synchronous, refuse if self.is_full else job)


def test_what_a_full_disk_refuses_is_kept_and_saved_later(desk, qtbot):
    desk.editor._keeper._retry.setInterval(20)
    desk.editor.session.type_text(0, 0, "kept")
    qtbot.waitUntil(lambda: desk.on_disk() == ["kept"])
    first = desk.editor.document_id
    disk = FullDisk(desk.store)
    desk.editor.session.type_text(4, 4, " and more")
    desk.editor.new_document()
    desk.editor.session.type_text(0, 0, "never stored")
    qtbot.waitUntil(lambda: desk.states[-1] == "refused")
    desk.editor.open_document(first)
    qtbot.waitUntil(lambda: desk.opened[-1].content.plain_text == "kept and more")
    assert desk.states[-1] == "refused"
    desk.editor.session.type_text(0, 4, "told")
    desk.editor.new_document()
    refused = lambda: [s.content.text for s in desk.editor._keeper._refused.values()]  # noqa: E731
    qtbot.waitUntil(lambda: "told and more" in refused())
    disk.is_full = False
    expected = ["told and more", "never stored"]
    qtbot.waitUntil(lambda: desk.on_disk() == expected)
    assert len([notice for notice in desk.notices if "full" in notice]) == 1


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.json"])
def test_files_go_out_and_come_back(desk, qtbot, tmp_path, name):
    desk.editor.open_text("凯旋门[MASK]\n第二段 🏛")
    desk.editor.save_file(tmp_path / name)
    qtbot.waitUntil(lambda: desk.notices != [])
    desk.editor.new_document()
    desk.editor.open_files([tmp_path / name])
    qtbot.waitUntil(lambda: desk.opened[-1].content.text != "")
    assert desk.opened[-1].content.plain_text == "凯旋门[MASK]\n第二段 🏛"
    assert len(desk.editor.session.document.blanks) == 1


def test_a_file_that_is_no_text_is_refused_with_its_reason(desk, qtbot, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\xff\xfe")
    desk.editor.open_files([path])
    qtbot.waitUntil(lambda: desk.notices != [])
    assert "no text in UTF-8, UTF-16 or GB 18030; it begins with 61 62 63 ff fe" in desk.notices[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_text_of_another_encoding_is_read_as_it_was_written(desk, qtbot, tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("凯旋门位于米兰，\r\n为纪念[MASK]而建。".encode(encoding))
    desk.editor.open_files([path])
    qtbot.waitUntil(lambda: desk.opened != [])
    assert desk.opened[-1].content.plain_text == "凯旋门位于米兰，\n为纪念[MASK]而建。"
    assert desk.notices == []


def test_a_file_whose_name_is_no_utf8_is_kept_under_a_name_that_can_be_shown(desk, qtbot, tmp_path):
    path = tmp_path / os.fsdecode("说明.txt".encode("gbk"))
    path.write_text("正文", encoding="utf-8")
    desk.editor.open_files([path])
    qtbot.waitUntil(lambda: desk.on_disk() == ["正文"])
    assert desk.editor.title == "˵��"


def test_a_file_on_a_disk_that_does_not_answer_holds_up_no_save_and_no_close(
    desk, qtbot, tmp_path, monkeypatch
):
    answers = threading.Event()

    def hang(*_):
        answers.wait(60)
        return Snapshot("read at last")

    monkeypatch.setattr(document_files, "_read_file", hang)
    try:
        desk.editor.open_text("new")
        desk.editor.open_files([tmp_path / "hangs.txt"])
        saved(desk, qtbot, tmp_path / "a.txt")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new"
        desk.editor.close()
        assert not answers.is_set()
    finally:
        answers.set()


def test_files_are_opened_in_turn_and_one_that_cannot_be_read_is_told_in_its_place(
    desk, qtbot, tmp_path, monkeypatch
):
    files = [tmp_path / name for name in ("slow.txt", "gone.txt", "last.txt")]
    for file in (files[0], files[2]):
        file.write_text(f"of {file.name}", encoding="utf-8")
    read = document_files._read_file

    def read_late(path, reading):
        if path == files[0]:
            time.sleep(0.1)
        return read(path, reading)

    monkeypatch.setattr(document_files, "_read_file", read_late)
    told = []
    desk.editor.document_opened.connect(lambda view: told.append(view.content.plain_text))
    desk.editor.notice.connect(told.append)
    desk.editor.open_files(files)
    qtbot.waitUntil(lambda: len(told) == 3)
    assert (told[0], told[2]) == ("of slow.txt", "of last.txt")
    assert told[1].startswith("gone.txt")
    assert desk.editor.title == "last"


def test_a_file_that_no_disk_gives_is_told_and_keeps_none_behind_it_waiting(
    desk, qtbot, tmp_path, monkeypatch
):
    files = [tmp_path / name for name in ("hangs.txt", "good.txt")]
    for file in files:
        file.write_text(f"of {file.name}", encoding="utf-8")
    read, answers, late = document_files._read_file, threading.Event(), threading.Event()

    def read_or_hang(path, reading):
        if path == files[0]:
            answers.wait(60)
            late.set()
        return read(path, reading)

    monkeypatch.setattr(document_files, "_read_file", read_or_hang)
    monkeypatch.setattr(document_files, "READ_LIMIT_MS", 200)
    try:
        desk.editor.open_files(files)
        qtbot.waitUntil(lambda: desk.opened != [])
        assert desk.notices == ["hangs.txt cannot be used: its disk does not answer"]
    finally:
        answers.set()
    assert late.wait(10)
    desk.editor.open_files(files[1:])
    qtbot.waitUntil(lambda: len(desk.opened) == 2)
    assert [view.content.plain_text for view in desk.opened] == ["of good.txt"] * 2
    assert len(desk.notices) == 1


def test_a_file_that_comes_slowly_is_waited_for(desk, qtbot, tmp_path, monkeypatch):
    class SlowFile(io.FileIO):
        def read(self, *size):
            time.sleep(0.05)
            return super().read(*size)

    def parse_slowly(*arguments):
        time.sleep(0.9)
        return parse_slice(*arguments)

    (tmp_path / "slow.txt").write_text("twelve bytes", encoding="utf-8")
    monkeypatch.setattr(document_files, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(document_files, "READ_LIMIT_MS", 400)
    monkeypatch.setattr(document_files, "parse_slice", parse_slowly)
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: SlowFile(path))
    desk.editor.open_files([tmp_path / "slow.txt"])
    qtbot.waitUntil(lambda: desk.opened != [])
    assert desk.notices == []
    assert desk.opened[-1].content.plain_text == "twelve bytes"


def test_a_file_that_is_opened_while_it_is_saved_is_read_when_it_is_written(
    desk, qtbot, tmp_path, monkeypatch
):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    write, may_write = document_files.write_whole, threading.Event()

    def write_late(place, data):
        may_write.wait(60)
        write(place, data)

    monkeypatch.setattr(document_files, "write_whole", write_late)
    desk.editor.open_text("new")
    desk.editor.save_file(path)
    desk.opened.clear()
    desk.editor.open_files([path])
    threading.Timer(0.2, may_write.set).start()
    qtbot.waitUntil(lambda: desk.opened != [])
    assert desk.opened[-1].content.plain_text == "new"


def test_the_close_waits_for_saves_and_the_newest_of_a_file_is_written_last(
    desk, tmp_path, monkeypatch
):
    write, answers = document_files.write_whole, threading.Event()

    def write_later(path, data):
        if data == b"old":
            answers.wait(60)
        write(path, data)

    monkeypatch.setattr(document_files, "write_whole", write_later)
    for text in ("old", "new"):
        desk.editor.open_text(text)
        desk.editor.save_file(tmp_path / "a.txt")
    threading.Timer(0.2, answers.set).start()
    desk.editor.close()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new"


@pytest.mark.expects_log
def test_the_close_waits_for_a_dead_disk_within_limits(desk, tmp_path, monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr(document_files, "write_whole", lambda *_: answers.wait(60))
    monkeypatch.setattr(document_files, "CLOSE_LIMIT_S", 0.1)
    try:
        desk.editor.open_text("new")
        desk.editor.save_file(tmp_path / "a.txt")
        desk.editor.close()
        assert not answers.is_set()
    finally:
        answers.set()


def test_a_pipe_is_no_file_to_open(desk, qtbot, tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    desk.editor.open_files([tmp_path / "a.txt"])
    qtbot.waitUntil(lambda: desk.notices != [])
    assert desk.notices == ["a.txt cannot be used: not a file"]


def test_an_empty_file_is_an_empty_document(desk, qtbot, tmp_path):
    (tmp_path / "empty.md").write_bytes(b"\n")
    desk.editor.open_files([tmp_path / "empty.md"])
    qtbot.waitUntil(lambda: desk.opened != [])
    assert desk.opened[-1].title == "empty"
    assert desk.notices == []


def saved(desk, qtbot, path: Path) -> str:
    """What was said of it."""
    desk.notices.clear()
    desk.editor.save_file(path)
    qtbot.waitUntil(lambda: desk.notices != [])
    return desk.notices[-1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_that_is_saved_over_stays_as_it_was_written(desk, qtbot, tmp_path, end, encoding):
    gap = "" if encoding == "gb18030" else "\u202f"  # what is guessed to be Chinese has none
    text = f"10\u00a0000 不可分而又不可合的{gap}一行。{end}第二行{end}"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    desk.editor.open_files([path])
    qtbot.waitUntil(lambda: desk.opened != [])
    saved(desk, qtbot, path)
    assert path.read_bytes() == text.encode(encoding)
    saved(desk, qtbot, tmp_path / "new.txt")
    assert (tmp_path / "new.txt").read_bytes().decode() == text.replace(end, "\n")


def test_saving_over_a_file_keeps_its_link_and_its_mode(desk, qtbot, tmp_path):
    desk.editor.open_text("new")
    kept, link, part = (tmp_path / name for name in ("kept.txt", "link.txt", "kept.txt.part"))
    kept.write_text("old", encoding="utf-8")
    kept.chmod(0o600)
    part.write_text("a person's own", encoding="utf-8")
    link.symlink_to(kept.name)
    saved(desk, qtbot, link)
    assert (link.is_symlink(), kept.read_text(encoding="utf-8")) == (True, "new")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert part.read_text(encoding="utf-8") == "a person's own"
    before = os.umask(0o027)
    try:
        saved(desk, qtbot, tmp_path / "other.txt")
    finally:
        os.umask(before)
    assert (tmp_path / "other.txt").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(
    desk, qtbot, tmp_path, monkeypatch
):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    desk.editor.open_text("new")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full" in saved(desk, qtbot, folder / "a.txt")
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert (folder / "a.txt").read_text(encoding="utf-8") == "old"


def test_a_selection_that_becomes_a_blank_suggests_its_length(desk):
    desk.editor.open_text("为纪念拿破仑而建")
    blank_id = desk.editor.make_blank(3, 6, "short")
    view = desk.editor.session.view(blank_id)
    assert view.constraints.length == LengthLimit(3, "characters")
    assert suggested_length("two words here") == LengthLimit(3, "words")
    assert suggested_length("  ") is None


def test_what_is_sent_holds_offers_as_text_and_knows_its_places(desk):
    desk.editor.open_text("🏛前[MASK]中[MASK]后")
    session = desk.editor.session
    first, second = (blank.id for _, blank in session.document.blanks)
    session.begin_stream(first)
    session.end_stream(first, [Candidate(text="一二三", logprob=-1.0, num_tokens=1)])
    sent = SentText.around(session, (second,), 512)
    texts = [s.text for s in sent.segments if isinstance(s, TextSegment)]
    assert "".join(texts) == "🏛前一二三中后"
    assert sent.blank_ids == (second,)
    # The request counts characters, the document units; an offer is one place of the document.
    assert [sent.position(n) for n in (0, 1, 2, 5, 6, 7, 8)] == [0, 2, 3, 4, 5, 6, 7]
