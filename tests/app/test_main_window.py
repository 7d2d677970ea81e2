import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from bilin_app.controllers.editor_views import DocumentView
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.views import (
    ConversationView,
    ExampleView,
    MessageView,
    TokenCountView,
)
from bilin_app.main_window import MainWindow, _part
from bilin_app.storage.settings import Settings
from bilin_app.text.document import Document, parse_slice
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour_texts import MINI, TEXTS

pytestmark = pytest.mark.gui

CTRL = Qt.KeyboardModifier.ControlModifier
CONTROLS = (
    QAbstractButton,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QComboBox,
    QAbstractSpinBox,
    QAbstractItemView,
)


@pytest.fixture
def window(qapp):
    start_theme(qapp, Look("light", "en"))
    result = MainWindow()
    result.show()
    result.activateWindow()
    qapp.processEvents()
    yield result
    result.close()
    result.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def full(window):
    """A window with everything in it."""
    texts = TEXTS["en"]
    window.show_engine(EngineView("fault", MINI, 0.0, "why", "detail", "restart"))
    window.chat.show_model(MINI, [MINI], texts.examples)
    window.chat.list.show_conversations(texts.conversations(1e9))
    window.chat.show_conversation(
        ConversationView(1, texts.title, (texts.question(), texts.broken_answer()))
    )
    window.chat.composer.set_count(TokenCountView(10, 100))
    window.settings.show_settings(Settings(), "/data")
    return window


def controls(window):
    """Every control a person could reach, but for parts that Qt makes inside another control."""
    inner = (QComboBox, QAbstractSpinBox)
    for widget in window.findChildren(QWidget):
        if isinstance(widget, CONTROLS) and not isinstance(widget.parent(), inner):
            if (
                widget.objectName().startswith("qt_")
                or isinstance(widget.window(), QComboBox)
                or widget.inherits("QComboBoxListView")
            ):
                continue
            if widget.isHidden() and isinstance(widget, QAbstractButton):
                continue  # not offered in this state
            yield widget


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_control_has_an_accessible_name(window, qapp, language):
    start_theme(qapp, Look("light", language))
    full(window)
    nameless = [
        f"{widget!r} in {widget.parentWidget()!r}"
        for widget in controls(window)
        if not QAccessible.queryAccessibleInterface(widget).text(QAccessible.Text.Name).strip()
    ]
    assert nameless == []


def test_every_text_follows_the_language_at_run_time(window, qapp):
    full(window)
    start_theme(qapp, Look("light", "zh"))
    qapp.processEvents()
    english = [
        name
        for widget in controls(window)
        if (name := widget.accessibleName()).isascii() and len(name) > 5
    ]
    # A person's and a model's words stay as they are.
    allowed = {example.text for example in TEXTS["en"].examples} | {"Ctrl+Enter"}
    assert [name for name in english if name not in allowed] == []
    assert window.rail.engine.accessibleName() == "引擎：故障"
    start_theme(qapp, Look("light", "en"))
    qapp.processEvents()
    assert window.rail.engine.accessibleName() == "Engine: Fault"


def test_every_button_can_be_reached_with_the_keyboard(window):
    full(window)
    unreachable = [
        repr(widget)
        for widget in controls(window)
        if isinstance(widget, QAbstractButton) and widget.focusPolicy() == Qt.FocusPolicy.NoFocus
    ]
    assert unreachable == []


def test_focus_is_seen(window, qapp):
    full(window)
    button = window.rail.engine
    window.chat.composer.edit.setFocus()
    before = button.grab().toImage()
    button.setFocus(Qt.FocusReason.TabFocusReason)
    qapp.processEvents()
    assert button.hasFocus()
    assert button.grab().toImage() != before


def test_shortcuts_do_what_the_list_says(window, qtbot):
    with qtbot.waitSignal(window.chat.list.new_requested, timeout=2000):
        QTest.keyClick(window, Qt.Key.Key_N, CTRL)
    QTest.keyClick(window, Qt.Key.Key_K, CTRL)
    assert window.chat.list.search.hasFocus()
    QTest.keyClick(window, Qt.Key.Key_Comma, CTRL)
    assert window.settings.isVisible()
    QTest.keyClick(window, Qt.Key.Key_1, CTRL)
    assert window.chat.isVisible()
    assert window.chat.composer.edit.hasFocus()
    with qtbot.waitSignal(window.chat.composer.stop_requested, timeout=2000):
        QTest.keyClick(window, Qt.Key.Key_Escape)


def test_a_title_that_is_edited_stays_with_its_document(window):
    """Ctrl+N keeps what was typed; another document that comes by itself gives it up."""
    titles, order = [], []
    window.show_page("editor")
    header = window.editor.header
    header.title_changed.connect(titles.append)
    header.title_changed.connect(lambda _title: order.append("title"))
    window.editor.list.new_requested.connect(lambda: order.append("new"))
    window.editor.show_document(DocumentView(1, "Locks", Document().content))
    header.title.start_editing()
    header.title.field.setText("Canals")
    window._on_new()
    assert (titles, order) == (["Canals"], ["title", "new"])
    header.title.start_editing()
    header.title.field.setText("Bridges")
    window.editor.show_document(DocumentView(2, "", Document().content))
    window.editor.text.setFocus()
    assert header.title.field.isHidden()
    assert titles == ["Canals"]


def test_esc_belongs_to_a_field_that_means_something_by_it(window):
    stops = []
    window.chat.composer.stop_requested.connect(lambda: stops.append(1))
    window.editor.text.stop_requested.connect(lambda: stops.append(1))
    for page in ("chat", "editor", "models"):
        search = getattr(window, page).list.search
        window.show_page(page)
        search.setFocus()
        search.setText("bridges")
        QTest.keyClick(search, Qt.Key.Key_Escape)
        assert search.text() == ""
    window.editor.header.show_title("Locks")
    window.editor.header.title.start_editing()
    QTest.keyClick(window.editor.header.title.field, Qt.Key.Key_Escape)
    assert window.editor.header.title.field.isHidden()
    full(window)
    window.show_page("chat")
    window.chat.open_find()
    QTest.keyClick(window.chat.find_bar.field, Qt.Key.Key_Escape)
    assert window.chat.find_bar.isHidden()
    assert stops == []


@pytest.mark.parametrize("page", ["models", "settings"])
def test_esc_stops_no_answer_that_is_not_on_show(window, page):
    stops = []
    window.chat.composer.stop_requested.connect(lambda: stops.append(page))
    window.show_page(page)
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert stops == []


def test_the_editor_s_keys_work_beside_the_text_too(window, qtbot):
    window.show_page("editor")
    number = window.editor.panel._number
    number.setFocus()
    for key, modifiers, signal in (
        (Qt.Key.Key_Return, CTRL, window.editor.text.fill_requested),
        (Qt.Key.Key_S, CTRL, window.editor.header.save_requested),
        (Qt.Key.Key_O, CTRL, window.editor.header.open_requested),
        (Qt.Key.Key_F7, Qt.KeyboardModifier.NoModifier, window.editor.text.proofread_requested),
    ):
        with qtbot.waitSignal(signal, timeout=2000):
            QTest.keyClick(number, key, modifiers)
    with qtbot.waitSignal(window.editor.header.save_requested, timeout=2000):
        QTest.keyClick(window.editor.text, Qt.Key.Key_S, CTRL)


def test_a_document_s_title_is_whole_before_the_legend_has_its_words(window, qapp, qtbot):
    window.resize(1200, 800)
    window.show_page("editor")
    header = window.editor.header
    title = "How a canal lock works"
    header.show_title(title)
    qtbot.waitUntil(lambda: header.title.label.text() == title)
    assert header.legend.width() < header.legend.width_for(words=True)
    window.resize(1700, 800)
    qapp.processEvents()
    assert header.legend.width() == header.legend.width_for(words=True)


@pytest.mark.parametrize("page", ["chat", "editor"])
def test_a_notice_is_whole_and_leaves_the_trash_to_be_clicked(window, qapp, page):
    window.show_page(page)
    view = getattr(window, page)
    for sentence in ("Deleted: x", "The disk is full. " * 20):
        view.toast.show_text(sentence, "Undo")
        qapp.processEvents()
        assert view.rect().contains(view.toast.geometry())
        trash = view.list.trash.mapTo(view, view.list.trash.rect().center())
        assert not view.toast.geometry().contains(trash)


def test_a_notice_waits_for_the_action_on_show(window):
    toast = window.chat.toast
    lapsed = []
    toast.lapsed.connect(lambda: lapsed.append(toast._text.text()))
    toast.show_text("Deleted", "Undo")
    for text in ("one", "two", "one"):
        toast.show_text(text)
    assert (toast._text.text(), toast._action.isHidden()) == ("Deleted", False)
    toast._action.click()
    assert (toast._text.text(), toast._action.isHidden()) == ("one", True)
    toast._timer.timeout.emit()
    assert (toast._text.text(), lapsed) == ("two", [])
    toast._timer.timeout.emit()
    assert toast.isHidden()
    toast.show_text("Deleted", "Undo")
    toast._timer.timeout.emit()
    assert lapsed == ["Deleted"]


def test_samples_in_the_menu_are_those_of_the_empty_document_as_people_read_them(window):
    header = window.editor.header
    header.show_samples((ExampleView("zh", "天空是[MASK]的。"), ExampleView("en", "A [gMASK]")))
    menu = header.make_more_menu()
    [samples] = [action.menu() for action in menu.actions() if action.menu() is not None]
    first, second = samples.actions()
    assert (first.text(), second.text()) == ("A ▁▁▁", "天空是▁▁▁的。")
    chosen = []
    header.sample_chosen.connect(chosen.append)
    first.trigger()
    assert chosen == ["A [gMASK]"]


def test_what_is_typed_in_the_chat_goes_into_the_composer_wherever_one_clicked(window, qapp):
    full(window)
    window.show_page("chat")
    qapp.processEvents()
    composer, transcript = window.chat.composer, window.chat.transcript
    composer.set_text("")
    transcript.setFocus()
    QTest.keyClicks(transcript, "Yes")
    assert composer.text == "Yes"
    assert composer.edit.hasFocus()
    transcript.setFocus()
    QTest.keyClick(transcript, Qt.Key.Key_A, CTRL)
    QTest.keyClick(transcript, Qt.Key.Key_Space)
    assert composer.text == "Yes"
    QTest.mouseClick(composer, Qt.MouseButton.LeftButton, pos=composer.rect().bottomLeft())
    assert composer.edit.hasFocus()
    asked, _answer = transcript.widgets_in_order()
    asked.start_editing()
    assert not composer.edit.hasFocus()
    field = QApplication.focusWidget()
    assert field is not None
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert composer.edit.hasFocus()


def test_ctrl_f_in_the_editor_finds_in_the_document(window, qapp):
    window.show_page("editor")
    editor = window.editor
    content = parse_slice("The gate.\n[MASK] gate 😀 and GATE", Document())
    editor.show_document(DocumentView(1, "", content))
    qapp.processEvents()
    QTest.keyClick(editor.text, Qt.Key.Key_F, CTRL)
    assert window.editor.isVisible()
    bar = editor.find_bar
    assert bar.field.hasFocus()
    QTest.keyClicks(bar.field, "gate")
    seen = []
    for modifiers in (None, Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier):
        if modifiers is not None:
            QTest.keyClick(bar.field, Qt.Key.Key_Return, modifiers)
        seen.append((bar._place.text(), editor.text.textCursor().selectedText()))
    assert seen == [("1 of 3", "gate"), ("2 of 3", "gate"), ("1 of 3", "gate")]
    QTest.keyClick(bar.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert (bar._place.text(), editor.text.textCursor().selectedText()) == ("3 of 3", "GATE")
    bar.field.setText("nowhere")
    assert bar._place.text() == "Not in this document"
    QTest.keyClick(bar.field, Qt.Key.Key_Escape)
    assert bar.isHidden()
    assert editor.text.hasFocus()


def test_f1_lists_every_shortcut(window, qapp):
    QTest.keyClick(window, Qt.Key.Key_F1)
    qapp.processEvents()
    (dialog,) = [w for w in qapp.topLevelWidgets() if w.windowTitle() == "Keyboard shortcuts"]
    assert dialog.isVisible()
    dialog.close()


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("ready", "Ready"),
        ("busy", "Busy"),
        ("starting", "Starting"),
        ("fault", "Fault"),
        ("stopped", "Stopped"),
        ("empty", "Idle"),
    ],
)
def test_the_engines_state_is_a_word_too(window, state, word):
    window.show_engine(EngineView(state))
    assert window.rail.engine.text() == word


def test_loading_says_how_far(window):
    window.show_engine(EngineView("loading", MINI, 0.42))
    assert window.rail.engine.text() == "42 %"


def test_one_button_mends_the_engine(window, qtbot):
    window.show_engine(EngineView("fault", MINI, 0.0, "It died.", "log", "restart"))
    window.rail.open_engine()
    popover = window.rail.popover
    (button,) = [b for b in popover.findChildren(QAbstractButton) if b.text() == "Start the engine"]
    with qtbot.waitSignal(window.mend_requested, timeout=2000):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not popover.isVisible()


@pytest.fixture
def other(window):
    """The window of the next start."""
    assert window.isVisible()  # the look is in force
    result = MainWindow()
    yield result
    result.close()
    result.deleteLater()


def test_size_and_splitter_come_back(window, other, qapp):
    window.resize(780, 560)  # the offscreen screen is 800 x 800
    window.chat.splitter.setSizes([220, 500])
    qapp.processEvents()
    other.restore_state(window.save_state())
    other.show()
    qapp.processEvents()
    assert (other.width(), other.height()) == (window.width(), window.height())
    assert other.chat.splitter.sizes() == window.chat.splitter.sizes()


def test_the_page_and_every_splitter_come_back_once_their_page_is_there(window, other, qapp):
    for name, left in (("models", 260), ("editor", 210)):
        window.show_page(name)
        qapp.processEvents()
        page = getattr(window, name)
        page.splitter.setSizes([left, page.splitter.width() - left])
    sizes = window.editor.splitter.sizes(), window.models.splitter.sizes()
    other.restore_state(window.save_state())
    other.show()
    other.resize(window.size())  # the offscreen screen is smaller
    qapp.processEvents()
    assert other.chat.isVisible()  # the first picture
    assert "editor" not in other.__dict__
    other.take_up("models")
    assert other.chat.isVisible()
    other.take_up("editor")
    qapp.processEvents()
    assert other.editor.isVisible()
    assert other.editor.splitter.sizes() == sizes[0]
    other.show_page("models")
    qapp.processEvents()
    assert other.models.splitter.sizes() == sizes[1]


def test_a_window_that_is_left_before_its_pages_are_there_keeps_what_it_was_to_show(window, other):
    def kept(one: MainWindow) -> list[bytes]:
        page, _geometry, *splitters = _part(one.save_state())
        return [page, *splitters]

    window.show_page("editor")
    window.editor.splitter.setSizes([210, 500])
    other.restore_state(window.save_state())
    assert kept(other) == kept(window)
    _ = other.editor  # there, but never shown
    assert kept(other) == kept(window)


@pytest.mark.parametrize("act", ["asked for another", "written"])
def test_the_page_of_last_time_gives_way_to_what_is_done_meanwhile(window, other, act):
    window.show_page("editor")
    other.restore_state(window.save_state())
    other.show()
    if act == "written":
        QTest.keyClicks(other.chat.composer.edit, "a question")
    else:
        other.show_page("chat")
    other.take_up("editor")
    assert other.chat.isVisible()
    assert other.save_state().startswith(b"\x04\0\0\0chat")


def test_a_state_of_the_first_form_is_read(window, other, qapp):
    window.resize(880, 560)
    window.chat.splitter.setSizes([220, 500])
    qapp.processEvents()
    geometry = window.saveGeometry().data()
    splitter = window.chat.splitter.saveState().data()
    other.restore_state(len(geometry).to_bytes(4, "little") + geometry + splitter)
    other.show()
    qapp.processEvents()
    assert (other.width(), other.height()) == (880, 560)
    assert other.chat.splitter.sizes() == window.chat.splitter.sizes()
    for name in ("editor", "models", "settings"):
        other.take_up(name)
    assert other.chat.isVisible()


@pytest.mark.parametrize(
    "state", [b"\xff\xff\xff\xff nonsense", b"", b"\0\0\0\0", b"\x04\0\0\0chat", b"\x06\0\0\0edi"]
)
def test_a_state_that_makes_no_sense_is_left(window, state):
    size, sizes = window.size(), window.chat.splitter.sizes()
    window.restore_state(state)
    assert (window.size(), window.chat.splitter.sizes()) == (size, sizes)


def test_settings_say_what_changed(window):
    window.settings.show_settings(Settings(), "/data")
    said = []
    window.settings.settings_changed.connect(said.append)
    boxes = {box.accessibleName(): box for box in window.settings.findChildren(QComboBox)}
    boxes["Language"].setCurrentIndex(1)
    boxes["Language"].activated.emit(1)
    boxes["Theme"].setCurrentIndex(2)
    boxes["Theme"].activated.emit(2)
    assert [(s.language, s.theme) for s in said] == [("zh", "system"), ("zh", "dark")]


def test_the_wheel_turns_the_page_of_settings_and_changes_none(window, qapp, qtbot):
    said = []
    window.resize(900, 500)
    window.settings.settings_changed.connect(said.append)
    window.settings.show_settings(Settings(), "/data")
    window.show_page("settings")
    qapp.processEvents()
    bar = window.settings._scroll.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    settings = window.settings
    combos = settings.findChildren(QComboBox)
    spins = settings.findChildren(QAbstractSpinBox)
    assert (len(combos), len(spins)) == (7, 4)
    combos[0].setFocus()  # as the page has it when it opens
    for field in (*combos, *spins):
        settings._scroll.ensureWidgetVisible(field)
        before = bar.value()
        turn_wheel(window, field, -120 if before < bar.maximum() else 120)
        assert bar.value() != before
    assert said == []
    assert combos[0].hasFocus()
    settings._idle_unload.setFocus()
    turn_wheel(window, settings._idle_unload, 120)
    assert [one.idle_unload_min for one in said] == [Settings().idle_unload_min + 1]


def turn_wheel(window, widget, delta):
    place = widget.mapTo(window, widget.rect().center())
    QTest.wheelEvent(window.windowHandle(), QPointF(place), QPoint(0, delta))
    QApplication.processEvents()


def test_the_restart_for_another_data_folder_is_offered_whatever_else_changes(window):
    settings = window.settings
    settings.show_settings(Settings(), "/data")
    offer = settings._rows["restart"].control
    assert offer.isHidden()
    settings.show_restart()
    settings.show_settings(Settings(data_dir="/other", theme="dark"), "/data")
    assert not offer.isHidden()


def test_an_answer_that_ended_out_of_view_is_told_in_the_title(window, monkeypatch):
    window.show_conversation_title(1, "Trip")
    assert window.windowTitle() == "Trip · Bilin"
    monkeypatch.setattr(window, "isActiveWindow", lambda: False)
    told = []
    monkeypatch.setattr(window.notice, "tell", lambda *what: told.append(what))
    for state in ("done", "failed", "interrupted"):
        window.tell_answer_ended(20.0, 2, "Marlin", state)  # another conversation than is on show
        told.append(window.windowTitle())
    assert told == [
        ("Marlin", "The answer is there.", 20.0),
        "✓ Answered: Marlin · Bilin",
        ("Marlin", "The answer failed.", 20.0),
        "✗ Failed: Marlin · Bilin",
        ("Marlin", "The answer broke off.", 20.0),
        "✗ Broken off: Marlin · Bilin",
    ]


def test_an_answer_is_out_of_view_on_another_page_too(window, monkeypatch):
    window.show_conversation_title(1, "Trip")
    is_active = True
    monkeypatch.setattr(window, "isActiveWindow", lambda: is_active)
    window.tell_answer_ended(20.0, 1, "Trip", "done")
    assert window.windowTitle() == "Trip · Bilin"
    window.show_page("models")
    window.tell_answer_ended(20.0, 1, "Trip", "done")
    assert window.windowTitle() == "✓ Answered: Trip · Bilin"
    window.show_page("chat")
    assert window.windowTitle() == "Trip · Bilin"
    is_active = False
    window.tell_answer_ended(20.0, 1, "Trip", "done")
    window.show_page("models")
    is_active = True
    QApplication.sendEvent(window, QEvent(QEvent.Type.ActivationChange))
    assert window.windowTitle() == "✓ Answered: Trip · Bilin"
    window.show_page("chat")
    assert window.windowTitle() == "Trip · Bilin"


def test_a_message_that_is_not_on_show_changes_nothing(window):
    full(window)
    before = window.chat.transcript.num_arrangements
    window.chat.change_message(MessageView(77, 9, "assistant", "x", "done", 0.0))
    assert window.chat.transcript.num_arrangements == before


def test_enter_presses_the_button_that_has_the_focus(window):
    header, pressed = window.chat.header, []
    window.chat.composer.attach_requested.connect(lambda: pressed.append("attach"))
    window.chat.list.new_requested.connect(lambda: pressed.append("new"))
    for button in (window.chat.composer.attach, window.chat.list.new):
        button.setFocus()
        QTest.keyClick(button, Qt.Key.Key_Return)
    assert pressed == ["attach", "new"]
    QTest.keyClick(window.rail._buttons["settings"], Qt.Key.Key_Enter)
    assert window.settings.isVisible()
    QTest.keyClick(header.sampling, Qt.Key.Key_Return, CTRL)
    assert not header.popover.isVisible()


def test_tab_goes_through_the_chat_from_the_top_down(window):
    chat = window.chat
    in_order = [
        chat.list.search,
        chat.list.new,
        chat.header.sampling,
        *chat.find_bar.controls,
        chat.transcript,
        chat.composer.edit,
    ]
    places, widget = {}, window.rail
    for place in range(500):
        places.setdefault(widget, place)
        widget = widget.nextInFocusChain()
    assert [places[one] for one in in_order] == sorted(places[one] for one in in_order)


def test_after_finding_one_goes_on_writing(window):
    full(window)
    window.chat.open_find()
    assert window.focusWidget() is window.chat.find_bar.field
    QTest.keyClick(window.chat.find_bar.field, Qt.Key.Key_Escape)
    assert window.focusWidget() is window.chat.composer.edit
