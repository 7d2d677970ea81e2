"""The text field as a view of the document: keys, an input method, offers, copy and paste."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QFontMetricsF,
    QInputMethodEvent,
    QTextCursor,
)
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import DocumentView, WindowRuler
from bilin_app.pages.editor.candidates import CandidateCard, breaks_sentence
from bilin_app.pages.editor.text_view import TextView
from bilin_app.text.document import Document, from_units, parse_slice, to_units
from bilin_app.text.document_file import Snapshot
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import Candidate, FillConstraints, LengthLimit

Key, Mod = Qt.Key, Qt.KeyboardModifier


class Bench:
    """A field and a session, bound as the page binds them."""

    def __init__(self, text: str) -> None:
        self.view = TextView(None)  # type: ignore[arg-type]
        self.view.resize(800, 600)
        self.session = EditorSession(Snapshot("", parse_slice(text, Document())))
        self.fills: list[int] = []
        session, view = self.session, self.view
        session.edited.connect(view.apply_edit)
        session.blank_changed.connect(lambda i: view.show_blank(i, session.view(i)))
        view.text_edited.connect(lambda a, b, t: session.type_text(a, b, t, is_ahead=True))
        view.adopted.connect(session.adopt)
        view.pasted.connect(session.paste)
        view.blank_requested.connect(session.make_blank)
        view.undo_requested.connect(session.undo)
        view.redo_requested.connect(session.redo)
        view.accept_requested.connect(session.accept)
        view.word_requested.connect(session.accept_word)
        view.reject_requested.connect(session.reject)
        view.fill_requested.connect(self.fills.append)
        view.show_document(DocumentView(1, "", session.document.content))
        view.show()
        view.setFocus()

    @property
    def shown(self) -> str:
        """What stands in the field, blanks as ▢."""
        text = self.view.document().toRawText()  # toPlainText takes all spaces for plain ones
        return text.replace("\u2029", "\n").replace("\u2028", "\n").replace("\ufffc", "▢")

    @property
    def expected(self) -> str:
        """What should stand there: the document with its offers."""
        document = self.session.document
        parts, at = [], 0
        for place, blank in document.blanks:
            parts += [document.text[at:place], self.session.shown_text(blank.id) or "▢"]
            at = place + 1
        return from_units("".join([*parts, document.text[at:]]))

    def blank(self, index=0) -> int:
        return self.session.document.blanks[index][1].id

    def offer(self, *texts: str, index=0) -> int:
        blank_id = self.blank(index)
        self.session.begin_stream(blank_id)
        self.session.end_stream(
            blank_id, [Candidate(text=t, logprob=-1.0, num_tokens=1) for t in texts]
        )
        return blank_id

    def at(self, place: int, end: int | None = None) -> None:
        cursor = self.view.textCursor()
        cursor.setPosition(place)
        if end is not None:
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        self.view.setTextCursor(cursor)

    def snap(self, place: int) -> int:
        """A place that parts no surrogate pair."""
        units = to_units(self.view.toPlainText())
        return place - ("\udc00" <= units[place : place + 1] <= "\udfff")

    def looks_offered(self, place: int) -> bool:
        cursor = self.view.textCursor()
        cursor.setPosition(place + 1)
        return cursor.charFormat().background().style() != Qt.BrushStyle.NoBrush

    def key(self, key, modifiers=Mod.NoModifier) -> None:
        QTest.keyClick(self.view, key, modifiers)

    def preedit(self, text: str, commit: str = "") -> None:
        event = QInputMethodEvent(text, [])
        event.setCommitString(commit)
        QApplication.sendEvent(self.view, event)

    def commit(self, text: str, replaces: tuple[int, int]) -> None:
        """replaces: from where, counted from the cursor, and how many units."""
        event = QInputMethodEvent("", [])
        event.setCommitString(text, *replaces)
        QApplication.sendEvent(self.view, event)


@pytest.fixture(autouse=True)
def look(qapp):
    return start_theme(qapp, Look("light", "zh"))


@pytest.fixture
def bench(qtbot):
    made = []

    def make(text: str) -> Bench:
        one = Bench(text)
        qtbot.addWidget(one.view)
        made.append(one)
        return one

    yield make
    for one in made:
        assert one.shown == one.expected
        assert one.view._shown.document.content == one.session.document.content


def test_typing_goes_into_the_document_and_back_by_undo(bench):
    one = bench("ab\ncd")
    one.at(1)
    QTest.keyClicks(one.view, "xyz")
    one.key(Key.Key_Return)
    assert one.session.document.plain_text == "axyz\nb\ncd"
    one.key(Key.Key_Backspace)
    one.at(0, 8)
    one.key(Key.Key_Delete)
    assert one.session.document.plain_text == ""
    for _ in range(4):
        one.key(Key.Key_Z, Mod.ControlModifier)
    assert one.shown == "ab\ncd"
    for _ in range(4):
        one.key(Key.Key_Z, Mod.ControlModifier | Mod.ShiftModifier)
    assert one.shown == ""


def test_the_first_document_is_laid_out_as_every_other(qtbot):
    first = TextView(None)  # type: ignore[arg-type]
    qtbot.addWidget(first)
    QTest.keyClicks(first, "ab")
    after = Bench("ab").view
    qtbot.addWidget(after)
    heights = [view.document().firstBlock().blockFormat().lineHeight() for view in (first, after)]
    assert heights[0] == heights[1] > 100


def test_a_heading_is_large_to_its_end_whatever_its_characters(bench):
    block = bench("# 🏛🏛 ab\nc").view.document().firstBlock()
    [look] = block.layout().formats()
    assert (look.start, look.length) == (0, block.length() - 1)


def test_a_card_shows_a_candidate_to_its_end_whatever_its_characters(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    card = CandidateCard(parent)
    text = "🏛" * 12 + "abcdef" * 3
    rule = FillConstraints()
    card.show_candidate(Candidate(text=text, logprob=0, num_tokens=1), rule, is_chosen=False)
    metrics = QFontMetricsF(card._font())
    width = metrics.horizontalAdvance(text) * 0.6
    lines = card._lines(width)
    assert "".join(lines) == text
    assert [metrics.horizontalAdvance(line) <= width for line in lines] == [True, True]


@pytest.mark.parametrize("token", ["[MASK]", "[gMASK]"])
def test_a_line_is_no_higher_for_a_blank_and_stays_so_when_it_is_filled(bench, token):
    one = bench(f"甲乙。\n甲{token}乙")
    layout = one.view.document().documentLayout()

    def heights() -> list[float]:
        block = one.view.document().firstBlock()
        return [layout.blockBoundingRect(b).height() for b in (block, block.next())]

    assert heights()[0] == heights()[1]
    one.offer("拿破仑")
    assert heights()[0] == heights()[1]


def test_ctrl_m_makes_a_blank_of_the_selection_and_backspace_takes_it(bench):
    one = bench("为纪念拿破仑而建")
    one.at(3, 6)
    one.key(Key.Key_M, Mod.ControlModifier)
    assert one.session.document.plain_text == "为纪念[MASK]而建"
    assert one.shown == "为纪念▢而建"
    one.at(4)
    one.key(Key.Key_Backspace)
    assert one.session.document.plain_text == "为纪念而建"
    one.key(Key.Key_Z, Mod.ControlModifier)
    assert one.shown == "为纪念▢而建"
    one.at(0)
    one.key(Key.Key_M, Mod.ControlModifier | Mod.ShiftModifier)
    assert one.session.document.plain_text == "[gMASK]为纪念[MASK]而建"


def test_an_offer_stands_in_the_text_outside_of_the_document_until_tab(bench):
    one = bench("甲[MASK]乙")
    one.at(2)
    one.offer("拿破仑胜利")
    assert one.shown == "甲拿破仑胜利乙"
    assert one.session.document.plain_text == "甲[MASK]乙"
    one.key(Key.Key_Tab)
    assert one.session.document.plain_text == "甲拿破仑胜利乙"
    one.key(Key.Key_Z, Mod.ControlModifier)
    assert one.shown == "甲▢乙"


@pytest.mark.parametrize(
    ("offer", "typed"), [("拿破仑胜利", "拿破仑"), ("🏛🏛门", "🏛"), ("aab", "a")]
)
def test_typing_along_with_an_offer_by_an_input_method_does_not_accept_it(bench, offer, typed):
    one = bench("甲[MASK]乙")
    blank_id = one.offer(offer)
    one.at(1)
    for count in (1, 2):
        one.preedit("na")
        one.preedit("", typed)
        assert one.session.document.plain_text == f"甲{typed * count}[MASK]乙"
        assert one.session.shown_text(blank_id) == to_units(offer)
        assert one.shown == f"甲{typed * count}{offer}乙"
    for count in (1, 0):
        one.commit("", replaces=(-len(to_units(typed)), len(to_units(typed))))
        assert one.session.document.plain_text == f"甲{typed * count}[MASK]乙"
    assert one.session.shown_text(blank_id) == to_units(offer)


def test_escape_rejects_and_ctrl_right_takes_a_word(bench):
    one = bench("by [MASK].")
    one.at(4)
    one.offer("Stanford University")
    one.key(Key.Key_Right, Mod.ControlModifier)
    assert one.session.document.plain_text == "by Stanford[MASK]."
    assert one.shown == "by Stanford University."
    one.key(Key.Key_Escape)
    assert one.shown == "by Stanford▢."


def test_ctrl_enter_asks_for_the_blank_at_the_cursor(bench):
    one = bench("a[MASK]b[MASK]c")
    one.at(4)
    one.key(Key.Key_Return, Mod.ControlModifier)
    one.at(2)
    one.key(Key.Key_Return, Mod.ControlModifier)
    assert one.fills == [one.blank(1), one.blank(0)]
    assert one.shown == "a▢b▢c"


def test_a_stream_appears_in_place_while_the_text_is_edited_elsewhere(bench):
    one = bench("甲[MASK]乙")
    blank_id = one.blank()
    one.session.begin_stream(blank_id)
    one.session.append_stream(blank_id, "拿破")
    one.at(0)
    QTest.keyClicks(one.view, "abc ")
    one.session.append_stream(blank_id, "仑")
    one.view.moveCursor(QTextCursor.MoveOperation.End)
    QTest.keyClicks(one.view, "d")
    one.session.append_stream(blank_id, "🏛")
    assert one.shown == "abc 甲拿破仑🏛乙d"
    assert one.session.document.plain_text == "abc 甲[MASK]乙d"


def test_editing_an_offer_takes_it_into_the_text(bench):
    one = bench("甲[MASK]乙")
    one.offer("拿破仑")
    one.at(2)
    QTest.keyClicks(one.view, "x")
    assert one.session.document.plain_text == "甲拿x破仑乙"
    assert [origin for _, origin in one.session.document.content.origins] == [
        "mine", "edited", "mine",
    ]  # fmt: skip
    one.key(Key.Key_Z, Mod.ControlModifier)
    one.key(Key.Key_Z, Mod.ControlModifier)
    assert one.session.document.plain_text == "甲[MASK]乙"


def test_what_is_typed_inside_an_offer_is_one_with_its_text(bench):
    one = bench("冬天去[MASK]避寒。")
    one.offer("三亚。海口")
    assert [one.looks_offered(place) for place in (2, 3, 7, 8)] == [False, True, True, False]
    one.at(5)
    one.preedit("", "😀")
    assert not any(one.looks_offered(place) for place in range(12))
    one.at(7)
    one.key(Key.Key_Backspace)
    assert one.session.document.plain_text == "冬天去三亚。海口避寒。"


@pytest.mark.parametrize(
    ("selected", "expected"), [((2, 2), "甲一x二三乙"), ((2, 3), "甲一x三乙"), ((3, 5), "甲一二x")]
)
def test_what_is_pasted_inside_an_offer_comes_where_the_caret_is(bench, selected, expected):
    one = bench("甲[MASK]乙")
    one.offer("一二三")
    one.at(*selected)
    data = QMimeData()
    data.setText("x")
    one.view.insertFromMimeData(data)
    assert one.session.document.plain_text == expected
    one.session.undo()
    assert one.session.document.plain_text == "甲一二三乙"


def test_a_file_that_is_pasted_inside_an_offer_leaves_it_one(bench, tmp_path):
    one = bench("甲[MASK]乙")
    one.offer("一二三")
    one.at(2)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "a.txt"))])
    one.view.insertFromMimeData(data)
    assert one.session.document.plain_text == "甲[MASK]乙"


def test_ctrl_m_inside_an_offer_makes_a_blank_of_what_is_selected_alone(bench):
    one = bench("甲[MASK]乙")
    one.offer("一二三")
    one.at(2, 3)
    one.key(Key.Key_M, Mod.ControlModifier)
    assert one.session.document.plain_text == "甲一[MASK]三乙"
    assert one.session.document.blanks[0][1].original == "二"


def test_deleting_around_an_offer_drops_it_with_its_blank(bench):
    one = bench("甲[MASK]乙[MASK]丙")
    one.offer("一二三")
    one.offer("四五", index=1)
    one.at(0, 5)
    one.key(Key.Key_Delete)
    assert one.session.document.plain_text == "[MASK]丙"
    assert one.shown == "四五丙"


def test_nothing_appears_and_nothing_is_accepted_while_an_input_method_composes(bench):
    one = bench("甲[MASK]乙")
    one.at(2)
    one.offer("拿破仑")
    one.preedit("ni")
    one.key(Key.Key_Tab)
    one.key(Key.Key_Escape)
    one.session.begin_stream(one.blank())
    one.session.append_stream(one.blank(), "新的")
    assert one.view.document().toPlainText() == "甲拿破仑乙"
    assert one.session.document.plain_text == "甲[MASK]乙"
    one.preedit("", "")
    assert one.shown == "甲新的乙"


def test_what_is_composed_inside_an_offer_meets_the_offer_that_stands_there(bench):
    one = bench("冬天去[MASK]避寒[MASK]")
    first, second = one.blank(0), one.blank(1)
    one.session.begin_stream(first)
    one.session.append_stream(first, "三亚🏛")
    one.offer("春天", index=1)
    one.at(4)
    one.preedit("de")
    one.session.append_stream(first, "或者海口")
    one.preedit("", "的")
    assert one.session.document.plain_text == "冬天去三的亚🏛避寒[MASK]"
    one.at(11)
    one.preedit("de")
    one.session.choose(second, -1)
    one.preedit("", "的")
    assert one.session.document.plain_text == "冬天去三的亚🏛避寒春的天"
    assert one.view._blanks == {}


def test_a_committed_text_is_one_edit(bench):
    one = bench("甲乙")
    one.at(1)
    one.preedit("nihao")
    assert one.session.document.plain_text == "甲乙"
    one.preedit("", "你好🏛")
    assert one.session.document.plain_text == "甲你好🏛乙"


def test_blanks_are_copied_and_pasted_as_their_tokens(bench):
    one = bench("a[MASK]b[gMASK]c")
    one.at(0, 5)
    data = one.view.createMimeDataFromSelection()
    assert data.text() == "a[MASK]b[gMASK]c"
    pasted = QMimeData()
    pasted.setText("x[sMASK]\r\ny\ufffc")
    one.at(5)
    one.view.insertFromMimeData(pasted)
    assert one.session.document.plain_text == "a[MASK]b[gMASK]cx[sMASK]\ny"
    one.key(Key.Key_Z, Mod.ControlModifier)
    assert one.session.document.plain_text == "a[MASK]b[gMASK]c"


def drop_selection(one: Bench, place: int, action: Qt.DropAction) -> QDropEvent:
    """Drags what is selected within the text."""
    data, viewport = one.view.createMimeDataFromSelection(), one.view.viewport()
    to = one.view.textCursor()
    to.setPosition(place)

    class OwnDrop(QDropEvent):
        def source(self):
            return viewport

    at = QPointF(one.view.cursorRect(to).center())
    actions = Qt.DropAction.MoveAction | Qt.DropAction.CopyAction
    drop = OwnDrop(at, actions, data, Qt.MouseButton.LeftButton, Mod.NoModifier)
    drop.setDropAction(action)
    one.view.dropEvent(drop)
    return drop


@pytest.mark.parametrize(
    ("selected", "to", "expected"),
    [((2, 3), 5, "甲一三乙二"), ((2, 3), 2, "甲[MASK]乙"), ((0, 1), 3, "一二甲三乙")],
)
def test_what_is_dragged_out_of_an_offer_or_into_it_takes_it_into_the_text(
    bench, selected, to, expected
):
    one = bench("甲[MASK]乙")
    one.view.moved.connect(one.session.move)
    one.offer("一二三")
    one.at(*selected)
    drop_selection(one, to, Qt.DropAction.MoveAction)
    assert one.session.document.plain_text == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Qt.DropAction.MoveAction, "丙丁甲乙[MASK]"),
        (Qt.DropAction.CopyAction, "甲乙[MASK]丙丁甲乙[MASK]"),
    ],
)
def test_what_is_dragged_within_the_text_moves_unless_a_copy_is_asked_for(bench, action, expected):
    one = bench("甲乙[MASK]丙丁")
    one.view.moved.connect(one.session.move)
    one.offer("春天")
    one.at(0, 4)
    drop = drop_selection(one, 6, action)
    assert one.session.document.plain_text == expected
    assert drop.dropAction() == Qt.DropAction.CopyAction  # so that Qt takes nothing away
    one.session.undo()
    assert one.shown == "甲乙春天丙丁"


def test_the_page_stands_still_after_a_drop_near_its_edge(bench, qtbot):
    one = bench("line\n" * 200)
    view, data = one.view, QMimeData()
    data.setText("dropped")
    place = QPoint(60, view.viewport().height() - 4)
    actions, button = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    enter = QDragEnterEvent(place, actions, data, button, Mod.NoModifier)
    move = QDragMoveEvent(place, actions, data, button, Mod.NoModifier)
    drop = QDropEvent(QPointF(place), actions, data, button, Mod.NoModifier)
    QApplication.sendEvent(view.viewport(), enter)
    QApplication.sendEvent(view.viewport(), move)
    bar = view.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.value() > 0)  # Qt scrolls as long as something is held there
    QApplication.sendEvent(view.viewport(), drop)
    assert "dropped" in one.session.document.plain_text
    at = bar.value()
    qtbot.wait(250)
    assert bar.value() == at


def test_spaces_that_break_no_line_stay_what_they_are(bench):
    one = bench("10\u00a0000 km")
    one.at(6)
    one.preedit("", "\u00a0\u202f")
    assert one.session.document.plain_text == "10\u00a0000\u00a0\u202f km"
    assert one.view.places_of("10 0") == [(0, 4)]
    one.at(0, 4)
    assert one.view.createMimeDataFromSelection().text() == "10\u00a00"
    one.key(Key.Key_Backspace)
    assert one.session.document.plain_text == "00\u00a0\u202f km"
    one.session.undo()


def test_text_outside_of_the_window_is_dimmed(bench):
    one = bench("前前前甲[MASK]乙后后后")
    one.view.show_window(WindowRuler(one.blank(), 3, 6, 5, 11, 8, "mask"))
    spans = [
        (s.cursor.selectionStart(), s.cursor.selectionEnd()) for s in one.view.extraSelections()
    ]
    assert spans == [(0, 3), (6, 9)]
    one.view.show_window(WindowRuler(one.blank(), 0, 9, 11, 11, 20, "mask"))
    assert one.view.extraSelections() == []


def test_a_blank_that_is_made_again_shows_its_offer_again(bench):
    one = bench("甲")
    one.session.make_blank(0, 0, "short")
    one.offer("x")
    one.session.undo()
    assert one.shown == "甲"
    one.session.redo()
    assert one.shown == "x甲"


def test_the_blanks_of_a_paragraph_are_laid_out_once_when_their_numbers_change(bench, monkeypatch):
    one = bench("[MASK]" * 20)
    looks: list[int] = []
    index = Document.index
    monkeypatch.setattr(Document, "index", lambda self, i: looks.append(i) or index(self, i))

    def width(place: int) -> int:
        left, right = QTextCursor(one.view.document()), QTextCursor(one.view.document())
        left.setPosition(place)
        right.setPosition(place + 1)
        return one.view.cursorRect(right).left() - one.view.cursorRect(left).left()

    assert width(8) < width(9)  # the ninth, and the first of two digits
    tenth = width(9)
    looks.clear()
    one.view._renumber()
    assert len(looks) < 5 * 20  # not 20 * 20
    one.session.restore_original(one.blank())
    assert width(8) < tenth  # what was the tenth is the ninth now


def test_a_blank_that_begins_to_be_filled_lays_out_no_other_paragraph(bench, monkeypatch):
    one = bench("[MASK]\n" * 20)
    looks: list[int] = []
    monkeypatch.setattr(one.view, "_lay_out", lambda stretches: looks.extend(stretches))
    one.session.begin_stream(one.blank(3))
    assert looks == [(6, 7, one.blank(3))]


def test_what_is_typed_right_before_an_offer_moves_none_of_its_letters(bench):
    one = bench("[MASK]")
    one.at(0)
    one.offer("x", "y")
    QTest.keyClicks(one.view, "ab")
    assert (one.shown, one.session.document.plain_text) == ("abx", "ab[MASK]")
    one.session.choose(one.blank(), 1)  # shown anew: fitted to the text as it is now
    assert one.shown == "ab y"


def test_a_word_taken_beside_an_offer_parts_the_two(bench):
    one = bench("[MASK][MASK]")
    one.offer("Bauhaus")
    one.offer("University", index=1)
    one.session.accept(one.blank())
    assert one.shown == "Bauhaus University"


ACT = st.one_of(
    st.tuples(
        st.just("type"), st.floats(0, 1), st.floats(0, 1), st.text("ab \xa0空🏛\n", max_size=4)
    ),
    st.tuples(st.just("delete"), st.floats(0, 1), st.floats(0, 1), st.just("")),
    st.tuples(st.just("blank"), st.floats(0, 1), st.floats(0, 1), st.just("")),
    st.tuples(st.just("offer"), st.floats(0, 1), st.just(0.0), st.text("xy🏛字", max_size=4)),
    st.tuples(st.just("accept"), st.floats(0, 1), st.just(0.0), st.just("")),
    st.tuples(st.just("undo"), st.just(0.0), st.just(0.0), st.just("")),
    st.tuples(st.just("redo"), st.just(0.0), st.just(0.0), st.just("")),
)


@given(st.lists(ACT, max_size=25))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_field_shows_the_document_after_any_acts(acts):
    one = Bench("甲[MASK]乙[MASK]")
    for name, a, b, text in acts:
        size = one.view.document().characterCount() - 1
        start, end = sorted((one.snap(round(a * size)), one.snap(round(b * size))))
        blanks = one.session.document.blanks
        if name in ("offer", "accept"):
            if blanks:
                blank_id = blanks[min(int(a * len(blanks)), len(blanks) - 1)][1].id
                if name == "accept":
                    one.session.accept(blank_id)
                else:
                    one.offer(text, index=one.session.document.index(blank_id))
        elif name in ("undo", "redo"):
            getattr(one.session, name)()
        else:
            one.at(start, end)
            if name == "blank":
                one.key(Key.Key_M, Mod.ControlModifier)
            elif name == "delete":
                one.key(Key.Key_Delete)
            else:
                one.view.textCursor().insertText(text)
        assert one.shown == one.expected, (name, text)
        assert one.view._shown.document.content == one.session.document.content
    one.view.deleteLater()


def test_a_candidate_fails_what_is_asked_for_now_not_what_was_asked(qapp):
    start_theme(qapp, Look("light", "en"))

    def why(text, breaks="", **asked):
        candidate = Candidate(text=text, logprob=-1.0, num_tokens=1, breaks=breaks)
        return breaks_sentence(candidate, FillConstraints(**asked))

    two = LengthLimit(2, "characters")
    assert why("夏天", "is not digits only") == ""
    assert why("夏天", "is not digits only", digits_only=True) == "Not digits only"
    assert why("夏天", digits_only=True) == "Not digits only"
    assert why("12", digits_only=True) == ""
    assert why("夏天", choices=("春天",)) == "Not one of the choices"
    assert why("夏天来", length=two) == "3 characters, asked for at most 2"
    assert why("夏天来", "has 3 characters, more than 2") == ""
    words = "has 3 words, more than 2"
    assert why("a b c", words, length=LengthLimit(2, "words")) == "3 words, asked for at most 2"
    assert why("a b c", words, length=LengthLimit(4, "words")) == ""
    assert why("a", "does not end with </fill>, as was asked") != ""


def test_an_offer_with_an_emoji_is_shown_and_edited_as_it_is_stored(bench):
    """A document that is opened again with an offer: the field counts UTF-16 units."""
    one = bench("甲[MASK]乙丙丁戊")
    one.offer("😀字")
    views = tuple(v for _, b in one.session.document.blanks if (v := one.session.view(b.id)))
    one.view.show_document(DocumentView(1, "", one.session.document.content, views))
    assert one.shown == one.expected == "甲😀字乙丙丁戊"
    one.at(5)  # behind 乙: 😀 takes two places
    one.key(Key.Key_Z)
    assert one.session.document.plain_text == "甲[MASK]乙z丙丁戊"
    assert one.shown == one.expected
