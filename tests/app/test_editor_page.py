"""The editor page: what a key leads to, and what is said where it leads to nothing."""

import pytest
from editor_desk import EditorDesk
from PySide6.QtCore import QCoreApplication, QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QContextMenuEvent, QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QStackedWidget, QWidget

from bilin_app.controllers.editor_views import WindowRuler
from bilin_app.pages.editor.inspector import InspectorDialog
from bilin_app.pages.editor.revisions import RevisionsDialog
from bilin_app.pages.editor.view import EditorView
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import Candidate, FillConstraints, LengthLimit, PromptView

Key, Mod = Qt.Key, Qt.KeyboardModifier


@pytest.fixture
def desk(make_desk):
    return make_desk()


def blank(desk: EditorDesk, number: int = 0) -> int:
    return desk.editor.session.document.blanks[number][1].id


def offer(desk: EditorDesk, number: int, *texts: str) -> int:
    session = desk.editor.session
    blank_id = session.document.blanks[number][1].id
    session.begin_stream(blank_id)
    session.end_stream(blank_id, [Candidate(text=t, logprob=-1.0, num_tokens=1) for t in texts])
    return blank_id


def said(desk: EditorDesk) -> str:
    toast = desk.view.toast
    return "" if toast.isHidden() else toast._text.text()


def test_the_first_page_there_ever_is_tells_how_to_begin(qtbot):
    start_theme(QApplication.instance(), Look("light", "en"))  # type: ignore[arg-type]
    pages = QStackedWidget()
    qtbot.addWidget(pages)
    pages.addWidget(QWidget())
    pages.resize(1200, 800)
    pages.show()
    view = EditorView(pages)  # no document has been shown in it
    pages.addWidget(view)
    pages.setCurrentWidget(view)
    qtbot.waitUntil(lambda: view.empty.width() > 300 and view.empty.height() > 300)
    assert view.text.rect().contains(view.empty.geometry())
    assert view.empty.isVisible()
    view.text.setPlainText("a letter")
    assert not view.empty.isVisible()


def test_filling_all_says_what_to_do_where_every_blank_has_an_offer(desk):
    desk.editor.open_text("a [MASK] b [MASK] c")
    first = offer(desk, 0, "one")
    offer(desk, 1, "two")
    desk.view.text._set_current(0)
    QTest.keyClick(desk.view.text, Key.Key_Return, Mod.ControlModifier | Mod.ShiftModifier)
    assert said(desk) == "Every blank has a fill on offer: Tab accepts it, Ctrl+R asks for others."
    assert desk.view.text.current == first  # Tab has something to accept
    assert desk.editor.running == ()


def test_filling_all_begins_at_the_first_blank_without_an_offer(desk):
    desk.editor.open_text("a [MASK] b [MASK] c [MASK]")
    first = offer(desk, 0, "one")
    second, third = (blank.id for _, blank in desk.editor.session.document.blanks[1:])
    desk.view.text.select_blank(third)
    desk.page._on_fill_all()
    assert desk.editor.running == (second, third)
    assert desk.view.text.current == second != first
    desk.editor.stop()


def test_filling_all_fills_a_blank_again_whose_fill_is_empty(desk):
    desk.editor.open_text("a [MASK] b [MASK] c")
    offer(desk, 0, "one")
    second = offer(desk, 1, "")
    desk.page._on_fill_all()
    assert desk.editor.running == (second,)
    desk.editor.stop()


@pytest.mark.parametrize(
    ("text", "unit"), [("The sky is [MASK].", "≤ 12 words"), ("天空是[MASK]。", "≤ 12 chars")]
)
def test_a_length_is_counted_as_the_text_is_written(desk, text, unit):
    desk.editor.open_text(text)
    buttons = desk.view.panel.length.findChildren(QAbstractButton)
    assert unit in [button.text() for button in buttons]


@pytest.mark.parametrize(
    "modifiers", [Mod.ControlModifier, Mod.ControlModifier | Mod.ShiftModifier]
)
def test_filling_says_how_to_make_a_blank_where_there_is_none(desk, modifiers):
    desk.editor.open_text("no blank")
    QTest.keyClick(desk.view.text, Key.Key_Return, modifiers)
    assert said(desk) == "There is no blank to fill: Ctrl+M puts one in."


def test_accepting_goes_on_to_the_next_offer_and_around(desk):
    desk.editor.open_text("a [MASK] b [MASK] c [MASK] d [MASK]")
    first = offer(desk, 0, "one")
    offer(desk, 1, "two words")
    offer(desk, 3, "four")
    text, session = desk.view.text, desk.editor.session
    text.select_blank(session.document.blanks[1][1].id)
    QTest.keyClick(text, Key.Key_Right, Mod.ControlModifier)
    assert session.document.plain_text == "a [MASK] b two[MASK] c [MASK] d [MASK]"
    QTest.keyClick(text, Key.Key_Right, Mod.ControlModifier)  # the last word
    QTest.keyClick(text, Key.Key_Tab)  # the fourth: the third has none
    assert session.document.plain_text == "a [MASK] b two words c [MASK] d four"
    assert text.current == first
    QTest.keyClick(text, Key.Key_Tab)
    assert session.document.plain_text == "a one b two words c [MASK] d four"
    assert text.current == 0


def test_a_candidate_with_braces_is_shown_as_it_is(desk):
    desk.editor.open_text("The loop is [MASK].")
    offer(desk, 0, "for {x} in y")
    card = desk.view.panel.candidates._cards[0]
    assert card.accessibleName() == "for {x} in y, log-probability −1.0"
    desk.view.panel._digits.click()
    assert desk.editor.session.fill(1).constraints.digits_only


def test_another_language_leaves_what_a_fill_must_keep(desk, qtbot):
    desk.editor.open_text("In [MASK] it was built.")
    length = LengthLimit(4, "characters", exact=True)
    asked = FillConstraints(length=length, choices=("1807", "1808"), digits_only=True)
    desk.editor.set_constraints(blank(desk), asked)
    start_theme(QApplication.instance(), Look("light", "zh"))  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: desk.view.panel.fill.text() == "填这个空")
    assert desk.editor.session.fill(1).constraints == asked
    assert desk.view.panel.length.current == 2


def test_a_fill_is_left_with_its_document_and_the_next_one_runs(make_desk, qtbot):
    desk = make_desk("--gap", "0.05")
    qtbot.waitUntil(lambda: desk.engine.model is not None, timeout=20000)
    desk.editor.open_text("The sky is [MASK].")
    left = desk.editor.session
    desk.editor.fill(blank(desk))
    qtbot.waitUntil(lambda: "w1" in left.shown_text(1))
    desk.editor.open_text("The sea is [MASK].")
    assert desk.editor.running == ()
    assert left.fill(1).chosen == 0  # what came so far
    session = desk.editor.session
    desk.editor.fill(blank(desk))
    qtbot.waitUntil(lambda: session.fill(1).chosen == 0)
    assert session.shown_text(1).endswith("w11")
    assert said(desk) == ""


def test_a_fill_in_the_middle_streams_with_its_own_spaces(make_desk, qtbot):
    desk = make_desk("--gap", "0.05")
    qtbot.waitUntil(lambda: desk.engine.model is not None, timeout=20000)
    desk.editor.open_text("def get_[MASK](self):")
    ruler = WindowRuler(blank(desk), 0, 16, 9, 9, 512, "fim")
    desk.editor._meter.counted.emit(ruler)
    desk.editor.fill(blank(desk))
    session = desk.editor.session
    qtbot.waitUntil(lambda: "w1" in session.shown_text(1), timeout=20000)
    assert session.shown_text(1).startswith("w0")
    desk.editor.stop()


def test_a_fill_that_waits_for_the_model_is_of_no_other_document(make_desk, qtbot):
    desk = make_desk("--behave", "slow_start", "--delay", "0.5")
    desk.editor.open_text("The sky is [MASK].")
    desk.editor.fill(blank(desk))
    assert desk.editor.running == (1,)
    desk.editor.open_text("The sea is [MASK].")
    offer(desk, 0, "calm")
    assert desk.editor.running == ()
    qtbot.waitUntil(lambda: desk.engine.model is not None, timeout=20000)
    assert desk.editor.running == ()
    assert desk.editor.session.shown_text(1) == "calm"


def test_a_length_that_is_being_typed_is_left_alone_while_the_blank_is_filled(desk, qtbot):
    desk.editor.open_text("a [MASK] b [MASK]")
    first, second = (blank(desk, number) for number in (0, 1))
    limit = FillConstraints(length=LengthLimit(12, "words"))
    for blank_id in (first, second):
        desk.editor.set_constraints(blank_id, limit)
    session, field = desk.editor.session, desk.view.panel._count
    session.begin_stream(first)
    desk.view.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    field.selectAll()
    QTest.keyClick(field, Key.Key_3)
    session.append_stream(first, "word")
    assert field.text() == "3"
    QTest.keyClick(field, Key.Key_Return)
    assert session.fill(first).constraints.length == LengthLimit(3, "words")
    session.end_stream(first)
    desk.view.text.select_blank(second)
    assert field.value() == 12


def test_the_prompt_s_dialog_goes_when_it_is_closed(desk):
    desk.editor.prompt_inspected.emit(PromptView(tokens=(), prefix_len=0, context_length=512))
    [dialog] = desk.view.findChildren(InspectorDialog)
    dialog.accept()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert desk.view.findChildren(InspectorDialog) == []


def test_earlier_versions_are_put_away_with_their_document(desk, qtbot):
    desk.editor.open_text("the first")
    desk.editor.list_revisions()
    qtbot.waitUntil(lambda: desk.view.findChildren(RevisionsDialog) != [])
    [dialog] = desk.view.findChildren(RevisionsDialog)
    assert dialog.isVisible()
    desk.editor.open_text("the second")  # handed over by a second start
    assert dialog.isHidden()


@pytest.mark.expects_log
def test_a_fill_waits_no_longer_when_the_model_cannot_be_loaded(make_desk, qtbot):
    desk = make_desk("--behave", "load_fails")
    desk.editor.open_text("The sky is [MASK].")
    desk.editor.fill(blank(desk))
    qtbot.waitUntil(lambda: desk.engine.view.state == "fault", timeout=20000)
    assert desk.editor.running == ()
    assert said(desk) == desk.engine.view.reason != ""
    desk.view.toast.hide()
    desk.page._on_fill_all()
    assert desk.editor.running == ()
    assert said(desk) == desk.engine.view.reason


class TextMenu:
    """The menu that the text opens at a click of the right button."""

    def __init__(self, desk: EditorDesk) -> None:
        viewport, place = desk.view.text.viewport(), QPoint(50, 50)
        reason = QContextMenuEvent.Reason.Mouse
        event = QContextMenuEvent(reason, place, viewport.mapToGlobal(place))
        QApplication.sendEvent(viewport, event)
        menu = QApplication.activePopupWidget()
        assert menu is not None
        menu.hide()
        self.menu = menu

    def act(self, name: str) -> QAction:
        act = self.menu.findChild(QAction, f"edit-{name}")
        assert act is not None
        return act

    @property
    def enabled(self) -> list[str]:
        return [name for name in ("undo", "redo") if self.act(name).isEnabled()]


def test_the_menu_of_the_text_takes_steps_back_and_makes_them_again(desk):
    assert TextMenu(desk).enabled == []
    desk.editor.open_text("before")
    assert TextMenu(desk).enabled == []
    QTest.keyClicks(desk.view.text, "xyz")
    menu = TextMenu(desk)
    assert menu.enabled == ["undo"]
    menu.act("undo").trigger()
    assert desk.editor.session.document.plain_text == "before"
    assert desk.view.text.toPlainText() == "before"
    menu = TextMenu(desk)
    assert menu.enabled == ["redo"]
    menu.act("redo").trigger()
    assert desk.editor.session.document.plain_text == "xyzbefore"
    desk.editor.new_document()
    assert TextMenu(desk).enabled == []


def test_the_menu_of_the_text_speaks_the_language_of_the_window(desk):
    assert TextMenu(desk).act("undo").text().startswith("&Undo")
    start_theme(QApplication.instance(), Look("light", "zh"))  # type: ignore[arg-type]
    assert TextMenu(desk).act("undo").text().startswith("撤消")


@pytest.mark.parametrize("what", ["rewrite", "sentence"])
def test_what_is_selected_inside_an_offer_alone_becomes_a_blank(desk, what):
    desk.editor.open_text("甲[MASK]乙")
    offer(desk, 0, "一二三")
    cursor = desk.view.text.textCursor()
    cursor.setPosition(2)
    cursor.setPosition(3, cursor.MoveMode.KeepAnchor)
    desk.view.text.setTextCursor(cursor)
    desk.page._on_insert(what)
    [(position, blank)] = desk.editor.session.document.blanks
    assert (position, blank.original) == (2, "二")


def drop(desk: EditorDesk, data: QMimeData) -> None:
    viewport, place = desk.view.text.viewport(), QPoint(50, 50)
    actions, button = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    enter = QDragEnterEvent(place, actions, data, button, Mod.NoModifier)
    QApplication.sendEvent(viewport, enter)
    assert enter.isAccepted()
    event = QDropEvent(QPointF(place), actions, data, button, Mod.NoModifier)
    QApplication.sendEvent(viewport, event)


def paste(desk: EditorDesk, data: QMimeData) -> None:
    desk.view.text.insertFromMimeData(data)


@pytest.mark.parametrize("give", [drop, paste])
def test_files_that_are_dropped_or_pasted_are_opened_and_leave_the_text_alone(
    desk, qtbot, tmp_path, give
):
    desk.editor.open_text("what was written")
    written = desk.editor.session.document
    files = [tmp_path / "a.txt", tmp_path / "b.md"]
    for file in files:
        file.write_text(f"of {file.name}", encoding="utf-8")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(file)) for file in files])
    opened = []
    desk.editor.document_opened.connect(lambda view: opened.append(view.content.plain_text))
    give(desk, data)
    qtbot.waitUntil(lambda: len(opened) == 2)
    assert opened == ["of a.txt", "of b.md"]
    assert written.plain_text == "what was written"


@pytest.mark.parametrize("give", [drop, paste])
def test_an_address_that_is_no_file_is_text(desk, give):
    for address in ("https://example.com/a", "file:///a"):
        desk.editor.new_document()
        data = QMimeData()
        if address.startswith("https"):
            data.setUrls([QUrl(address)])
        else:
            data.setText(address)  # written somewhere, not a file in somebody's hand
        give(desk, data)
        assert desk.editor.session.document.plain_text == address
