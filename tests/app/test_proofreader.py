"""The second reader beside the text: read once, kept by sentence, replaced by a click."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QHelpEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QToolTip

from bilin_app import bench_reader
from bilin_app.controllers import proofreader
from bilin_app.controllers.answer_run import AnswerJob, AnswerRun
from bilin_app.controllers.answer_speeds import AnswerSpeeds
from bilin_app.controllers.editor_views import ReaderView, WordFlag, WordFlags
from bilin_app.controllers.engine_views import EngineView, ModelView
from bilin_app.pages.editor.reader_panel import MAX_CARDS
from bilin_app.pages.editor.view import EditorView
from bilin_app.pages.title_edit import TitleEdit
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.text.document import BLANK_MARK, to_units
from bilin_app.text.sentence_spans import MAX_PARAGRAPH, Paragraphs, UnitMap, sentence_spans
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import Message, ProofreadFigures, SentenceRead


def test_unlikely_words_are_underlined_and_shown_with_what_is_expected(make_desk, qtbot):
    desk = make_desk()
    desk.editor.open_text("One bad word. All well. 𠮷 bad too.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    assert [flag.expected for flag in desk.view.reader.flags] == [("good",), ("good",)]
    assert "Untested" in desk.view.reader._measured.text()
    assert "3 of 3 sentences" in desk.view.reader._state.text()


def test_an_edited_sentence_alone_is_read_again(make_desk, qtbot):
    desk = make_desk()
    desk.editor.open_text("One bad word. All well.\nThe last bad one.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: len(desk.marked) == 2)
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    desk.editor.session.type_text(3, 3, " more")
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    assert desk.view.reader.read.text() == "Read changes"
    desk.view.reader.read.click()
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    assert desk.asked == [
        ["One bad word.", "All well.", "The last bad one."],
        ["One more bad word."],
    ]
    desk.editor.session.undo()
    qtbot.waitUntil(lambda: len(desk.asked) == 2 and desk.view.reader._view.num_known == 3)


def test_a_click_replaces_a_word_as_one_step_and_reads_its_sentence(make_desk, qtbot):
    desk = make_desk()
    desk.editor.open_text("One bad word. All well.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    desk.view.reader.cards[0].expected[0].click()
    session = desk.editor.session
    assert session.document.text == "One good word. All well."
    assert session.document.origin_at(4) == (4, 8, "model")
    assert desk.view.text.toPlainText() == "One good word. All well."
    qtbot.waitUntil(lambda: desk.asked[1:] == [["One good word."]])
    qtbot.waitUntil(lambda: desk.marked == [] and desk.view.reader._view.num_known == 2)
    session.undo()
    assert session.document.text == "One bad word. All well."
    qtbot.waitUntil(lambda: desk.marked == ["bad"])  # known: asked of nobody


def test_cards_come_a_few_at_a_time_the_least_likely_first(qtbot):
    start_theme(QApplication.instance(), Look("light", "en"))  # type: ignore[arg-type]
    view = EditorView(None)  # type: ignore[arg-type] - no controller, which would show its own
    qtbot.addWidget(view)
    view.show()
    text = "".join(f"w{n} " for n in range(60))
    words = tuple(WordFlag(n * 2, n * 2 + 1, text, n * 2, -float(n * 7 % 60)) for n in range(60))
    flags = WordFlags([(0, words)])
    reader = view.reader
    reader.show_reader(ReaderView(flags=flags))
    assert [flag.score for flag in reader.flags] == [-float(59 - n) for n in range(MAX_CARDS)]
    assert len(reader.cards) < 5  # each takes some milliseconds
    qtbot.waitUntil(lambda: len(reader.cards) == MAX_CARDS)
    reader.show_first(3)
    assert reader.flags[0] == flags[3]
    assert len(reader.flags) == len(set(reader.flags)) == MAX_CARDS


def test_a_long_text_is_looked_at_in_parts_until_all_of_it_is(make_desk, qtbot):
    desk = make_desk()
    text = "".join(f"第{n}号门。" for n in range(20_000))
    desk.editor.open_text(text)
    told: list[ReaderView] = []
    desk.editor.reader.changed.connect(told.append)
    desk.editor.reader.set_open(True)
    assert 0 < told[-1].num_sentences < 20_000 / 10
    qtbot.waitUntil(lambda: told[-1].num_sentences == 20_000)
    assert len(told) < 5


def test_a_long_text_is_cut_between_events_before_it_is_read(make_desk, qtbot, monkeypatch):
    monkeypatch.setattr(proofreader, "MAX_NEW_CHARACTERS", 20)
    desk = make_desk()
    text = "One bad word. " + "All well. " * 20 + "The last bad one."
    desk.editor.open_text(text)
    qtbot.waitUntil(lambda: desk.engine.model is not None)
    cut: list[int] = []
    of = Paragraphs.of

    def counted(self, one):
        before = self.num_cut and self.size
        found = of(self, one)
        cut.append(self.size - before)
        return found

    monkeypatch.setattr(Paragraphs, "of", counted)
    desk.page.proofread()
    assert desk.asked == []
    assert desk.view.reader._view.is_reading
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    assert 0 < max(cut) <= 20
    assert desk.asked[0][0] == "One bad word."
    assert desk.asked[0][-1] == "The last bad one."


def test_a_long_text_is_read_by_several_requests_as_one_run(make_desk, qtbot, monkeypatch):
    monkeypatch.setattr(proofreader, "MAX_ASKED", 2)
    desk = make_desk("--gap", "0.05")
    desk.editor.open_text("One bad word. A second. Number three. The last bad one. 🏛 Five.")
    told: list[ReaderView] = []
    desk.editor.reader.changed.connect(told.append)
    desk.page.proofread()
    qtbot.waitUntil(lambda: len(desk.asked) == 2)
    desk.editor.session.type_text(0, 0, "x\n")  # what is left to be asked moves with its text
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    assert desk.asked == [
        ["One bad word.", "A second."],
        ["Number three.", "The last bad one."],
        ["🏛 Five."],
    ]
    reading = [view for view in told if view.is_reading and view.num_asked]
    assert {view.num_asked for view in reading} == {5}
    assert [view.num_done for view in reading] == sorted(view.num_done for view in reading)


def test_a_read_gives_way_to_what_a_person_waits_for_and_goes_on_behind_it(make_desk, qtbot):
    desk = make_desk("--gap", "0.1")
    lines = ["One bad word.", *(f"Number {n}." for n in range(40)), "The last bad one."]
    desk.editor.open_text(" ".join(lines))
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    handle = desk.editor.reader._handle
    job = AnswerJob(1, 1, (Message("user", "hi"),))
    answer = AnswerRun(job, desk.engine, desk.store, AnswerSpeeds(ModelNotes()), desk.page)
    with qtbot.waitSignal(answer.started):
        answer.dispatch()
        assert handle.is_cancelling
        desk.editor.session.type_text(0, 0, "x\n")  # what is read again moves with its text
    answer.stop()
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    first, _answered, second = desk.asked
    assert first == lines
    assert 2 < len(second) < len(lines)
    assert second == ["x", *lines[1 - len(second) :]]


def test_filling_all_stops_the_reader_and_shows_the_blank(make_desk, qtbot):
    desk = make_desk("--gap", "0.1")
    desk.editor.open_text("The sky is [MASK]. " + " ".join(f"Number {n}." for n in range(40)))
    desk.page.proofread()
    reader = desk.editor.reader
    qtbot.waitUntil(lambda: reader._num_done > 0)
    handle = reader._handle
    desk.view.text.fill_all_requested.emit()
    assert handle.is_cancelling
    assert not desk.view.is_reader_open
    qtbot.waitUntil(lambda: "w1" in desk.editor.session.shown_text(1))
    desk.editor.stop()
    assert len(desk.asked) == 1


def test_a_stop_asks_for_nothing_of_the_rest(make_desk, qtbot, monkeypatch):
    monkeypatch.setattr(proofreader, "MAX_ASKED", 8)
    desk = make_desk("--gap", "0.15")
    desk.editor.open_text(" ".join(["One bad word."] + [f"Number {n}." for n in range(40)]))
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    desk.view.reader.read.click()  # Stop
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    assert sum(map(len, desk.asked)) < 41


def test_flags_get_their_places_when_they_are_asked_for():
    line = "a bad word"
    one = (WordFlag(2, 5, line, 2, -3.0), WordFlag(6, 10, line, 6, -1.0))
    flags = WordFlags([(0, one), (10, ()), (20, one[:1]), (30, one)])
    assert [flag.start for flag in flags] == [2, 6, 22, 32, 36]
    assert len(flags) == 5
    assert (flags[-1], flags[1:3]) == (one[1].moved(30), [one[1], one[0].moved(20)])
    assert [(flag.start, flag.score) for flag in flags.least(4)] == [
        (2, -3.0), (22, -3.0), (32, -3.0), (6, -1.0)
    ]  # fmt: skip
    assert one[0].moved(20) in flags
    assert one[0].moved(21) not in flags
    assert not WordFlags()


def test_a_card_shows_the_blanks_beside_its_word(make_desk):
    desk = make_desk()
    text = f"The sky is {BLANK_MARK} bad."
    flags = WordFlags([(0, (WordFlag(13, 16, text, 13),))])
    desk.view.reader.show_reader(ReaderView(flags=flags))
    assert "sky is ▁▁▁ " in desk.view.reader.cards[0]._where.text()


def test_stopping_keeps_what_was_read(make_desk, qtbot):
    desk = make_desk("--gap", "0.15")
    desk.editor.open_text(" ".join(["One bad word."] + [f"Number {n}." for n in range(40)]))
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    desk.view.reader.read.click()  # Stop
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)
    assert 1 <= desk.view.reader._view.num_known < 41
    assert desk.marked == ["bad"]


def test_what_one_model_says_does_not_pass_for_another_s(make_desk, qtbot):
    """Another one is being loaded; what was asked before still answers for a while."""
    desk = make_desk("--gap", "0.1")
    desk.editor.open_text(" ".join(["One bad word."] + [f"Number {n}." for n in range(40)]))
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    reader = desk.editor.reader
    reader._know_for("another")
    num_done = reader._num_done
    reader._handle.sentence_read.emit(SentenceRead(id=0, index=1, words=()))
    assert (reader._known, reader._num_done) == ({}, num_done)
    other = ModelView("another", "另一个", "Another")
    reader._on_engine_changed(EngineView("loading", model=other))
    qtbot.waitUntil(lambda: not desk.view.reader._view.is_reading)


def test_what_is_asked_for_while_a_read_ends_is_read_after_it(make_desk, qtbot):
    desk = make_desk("--gap", "0.15")
    desk.editor.open_text(" ".join(["One bad word."] + [f"Number {n}." for n in range(40)]))
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    desk.editor.open_text("Another bad one.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.asked[1:] == [["Another bad one."]])
    qtbot.waitUntil(lambda: desk.marked == ["bad"])


def test_a_word_that_is_replaced_during_a_read_has_its_sentence_read_after_it(make_desk, qtbot, go):
    desk = make_desk("--behave", "waits", "--after", "2", "--go", str(go))
    desk.editor.open_text("One bad word. A bad two. Three. Four. Five. Six.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad", "bad"])
    assert desk.view.reader._view.is_reading
    first, second = sorted(desk.view.reader.flags, key=lambda flag: flag.start)
    desk.editor.reader.replace(second, "good")
    desk.editor.reader.replace(first, "good")
    go.touch()
    qtbot.waitUntil(lambda: desk.asked[1:] == [["One good word.", "A good two."]])
    qtbot.waitUntil(lambda: desk.view.reader._view.num_known == 6)


@pytest.mark.expects_log
def test_a_read_waits_no_longer_when_the_model_cannot_be_loaded(make_desk, qtbot):
    desk = make_desk("--behave", "load_fails")
    notices: list[str] = []
    desk.editor.reader.notice.connect(notices.append)
    desk.editor.open_text("One bad word.")
    desk.page.proofread()
    assert desk.view.reader._view.is_reading
    qtbot.waitUntil(lambda: desk.engine.view.state == "fault")
    assert not desk.view.reader._view.is_reading
    assert notices == [desk.engine.view.reason]


def test_closing_takes_the_marks_away_and_a_blank_takes_the_place(make_desk, qtbot):
    desk = make_desk()
    desk.editor.open_text("One bad word.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    desk.view.text.blank_requested.emit(4, 7, "short")
    assert not desk.view.is_reader_open
    assert desk.marked == []


def test_the_pointer_over_a_marked_word_tells_what_is_expected(make_desk, qtbot, monkeypatch):
    desk = make_desk()
    desk.editor.open_text("One bad word.")
    desk.page.proofread()
    qtbot.waitUntil(lambda: desk.marked == ["bad"])
    shown: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _at, text, _w: shown.append(text))
    text = desk.view.text
    cursor = text.textCursor()
    cursor.setPosition(5)
    place = text.viewport().mapTo(text, text.cursorRect(cursor).center())
    QApplication.sendEvent(text, QHelpEvent(QEvent.Type.ToolTip, place, QPoint(0, 0)))
    assert shown == ["<p>Expected: good</p>"]


def test_measured_figures_stand_in_the_panel(make_desk):
    desk = make_desk()
    figures = ProofreadFigures(hit_rate_zh=0.784, num_zh=100)
    desk.view.show_reader(ReaderView(figures=figures))
    assert "78 % in Chinese (100 sentences)" in desk.view.reader._measured.text()
    assert "English" not in desk.view.reader._measured.text()


def test_context_on_a_card_parts_no_latin_word():
    text = "Also a pioneer in online umbrella, she founded companies"
    at = text.index("umbrella")
    flag = WordFlag(at, at + 8, text, at)
    assert flag.before.split()[0] in text.split()
    assert flag.after.split()[-1] in text.split()


def test_sentences_of_a_stretch_and_positions_beyond_the_basic_plane():
    text = to_units("第一句。第二句𠮷好！Third one, v1.2. \n\n……\nlast")
    spans = sentence_spans(text)
    assert [text[a:b] for a, b in spans] == [
        "第一句。",
        to_units("第二句𠮷好！"),
        "Third one, v1.2.",
        "last",
    ]
    assert sentence_spans(text, 5, 6) == [spans[1]]
    units = UnitMap(text)
    for start, end in spans:
        for position in (start, end):
            assert units.units(units.characters(position)) == position


def test_one_title_widget_renames_keeps_and_gives_up(qtbot):
    start_theme(QApplication.instance(), Look("light", "en"))  # type: ignore[arg-type]
    title = TitleEdit(None)  # type: ignore[arg-type]
    qtbot.addWidget(title)
    told: list[str] = []
    title.changed.connect(told.append)
    title.show_title("Old", can_rename=True)
    title.set_texts("Untitled", "Rename", "Title")
    title.show()
    title.rename.click()
    QTest.keyClicks(title.field, "New")
    QTest.keyClick(title.field, Qt.Key.Key_Escape)
    assert told == []
    assert title.field.isHidden()
    title.rename.click()
    QTest.keyClicks(title.field, "New")
    QTest.keyClick(title.field, Qt.Key.Key_Return)
    assert told == ["New"]
    assert title.field.isHidden()


LETTERS = "ab 天。.!?”\n3"
LINES = st.lists(st.text(LETTERS, max_size=12), max_size=6).map("\n".join)
EDITS = st.tuples(st.floats(0, 1), st.floats(0, 0.3), st.text(LETTERS, max_size=6))


@pytest.mark.parametrize("size", [1, 8, MAX_PARAGRAPH])
@given(text=LINES, edits=st.lists(EDITS, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paragraphs_have_the_sentences_of_the_whole_text_whatever_was_there_before(
    monkeypatch, size, text, edits
):
    monkeypatch.setattr("bilin_app.text.sentence_spans.MAX_PARAGRAPH", size)
    paragraphs = Paragraphs()
    texts = [text]
    for place, length, new in edits:
        start = round(place * len(texts[-1]))
        end = min(len(texts[-1]), start + round(length * len(texts[-1])))
        texts.append(texts[-1][:start] + new + texts[-1][end:])
    for text in texts:
        assert "".join(paragraph.text for _, paragraph in paragraphs.of(text)) == text
        found = [
            (line_start + start, line_start + start + len(sentence))
            for line_start, paragraph in paragraphs.of(text)
            for start, sentence in zip(paragraph.starts, paragraph.sentences, strict=True)
        ]
        assert found == sentence_spans(text)


def test_a_key_cuts_only_the_paragraph_it_is_typed_into():
    paragraphs = Paragraphs()
    lines = [f"{n}号门。The gate. " * 100 for n in range(40)]
    paragraphs.of("\n".join(lines))
    assert paragraphs.num_cut == 40
    lines[20] += "新"
    paragraphs.of("\n".join(lines))
    assert paragraphs.num_cut == 41


def test_a_key_in_a_long_line_cuts_a_stretch_of_it():
    paragraphs = Paragraphs()
    line = "".join(f"第{n}号门。The gate. " for n in range(4000))
    num_paragraphs = len(paragraphs.of(line))
    assert num_paragraphs == paragraphs.num_cut > len(line) // (2 * MAX_PARAGRAPH)
    paragraphs.of(line[:40_000] + "新。" + line[40_000:])
    assert paragraphs.num_cut <= num_paragraphs + 2


def test_of_many_flags_those_near_the_view_are_underlined_and_follow_it(make_desk):
    desk = make_desk()
    line = "The gate is odd. " * 4
    desk.editor.open_text("\n".join([line] * 400))
    text = desk.view.text
    size = len(line) + 1
    flags = tuple(WordFlag(n * size + 12, n * size + 15, "odd", 0) for n in range(400))
    text.show_flags(flags)
    assert 0 < len(desk.marked) < 200
    assert set(desk.marked) == {"odd"}
    text.verticalScrollBar().setValue(text.verticalScrollBar().maximum())
    assert text.flag_at(text.document().characterCount() - size + 13) == 399
    assert text.flag_at(13) == -1


@pytest.mark.usefixtures("qapp")
def test_the_benchmark_s_engine_is_one_that_a_reader_works_with(monkeypatch):
    start_theme(QApplication.instance(), Look("light", "en"))  # type: ignore[arg-type]
    monkeypatch.setattr(bench_reader, "NUM_PARAGRAPHS", 4)
    monkeypatch.setattr(bench_reader, "NUM_LETTERS", 2)
    assert bench_reader._measure()["flags"] > 30
