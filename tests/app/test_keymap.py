"""Shortcuts that a person changes: conflicts, what may be a shortcut, what the window does then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from bilin_app.main_window import MainWindow
from bilin_app.pages.keymap import SHORTCUTS, Keymap, allowed, event_keys, keymap, keys_text
from bilin_app.storage.settings import Settings
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour_texts import TEXTS

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("qapp")]

CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


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


def press(key, modifiers=Qt.KeyboardModifier.NoModifier):
    return QKeyEvent(QEvent.Type.KeyPress, key, modifiers)


def test_the_defaults_stand_in_no_one_s_way():
    keys = Keymap()
    for shortcut in SHORTCUTS:
        if shortcut.scope != "fixed":
            assert keys.conflict(shortcut.name, shortcut.keys) is None, shortcut
            assert allowed(shortcut.keys, shortcut.scope), shortcut


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        (press(Qt.Key.Key_M, CTRL), "Ctrl+M"),
        (press(Qt.Key.Key_Enter, CTRL | Qt.KeyboardModifier.KeypadModifier), "Ctrl+Return"),
        (press(Qt.Key.Key_Backtab, SHIFT), "Shift+Tab"),
        (press(Qt.Key.Key_Control, CTRL), ""),
        (press(Qt.Key.Key_F5), "F5"),
    ],
)
def test_an_event_is_read_as_keys(event, keys):
    assert event_keys(event) == keys


@pytest.mark.parametrize(
    ("keys", "is_allowed"),
    [
        ("Ctrl+J", True),
        ("F6", True),
        ("Esc", True),
        ("Alt+Shift+X", True),
        ("A", False),
        ("Shift+A", False),
        ("Ctrl+C", False),
        ("Ctrl+V", False),
        ("Ctrl+Z", False),
        ("Space", False),
        ("", False),
        ("Ctrl+K, Ctrl+J", False),
    ],
)
def test_what_writing_needs_is_no_shortcut(keys, is_allowed):
    assert allowed(keys) == is_allowed


def test_keys_that_are_taken_are_missed_where_they_were():
    keys = Keymap()
    other = keys.conflict("find", "Ctrl+K")
    assert other is not None
    assert other.name == "search"
    assert keys.conflict("blank", "Ctrl+R") is not None  # both in the editor
    assert keys.conflict("find", "Ctrl+R") is not None  # the window's go everywhere
    keys.bind("find", "Ctrl+K")
    assert (keys.keys("find"), keys.keys("search")) == ("Ctrl+K", "")
    assert keys.custom == (("find", "Ctrl+K"), ("search", ""))
    keys.bind("find", "Ctrl+F")
    keys.bind("search", "Ctrl+K")
    assert keys.custom == ()


def test_what_is_not_known_stays_and_what_is_nonsense_counts_as_the_default():
    keys = Keymap()
    keys.set_custom([("of_later", "Ctrl+Y"), ("new", "no such key ever"), ("find", "F6")])
    assert keys.keys("new") == "Ctrl+N"
    assert keys.keys("find") == "F6"
    assert dict(keys.custom) == {"of_later": "Ctrl+Y", "find": "F6"}
    keys.reset()
    assert keys.custom == (("of_later", "Ctrl+Y"),)


@given(st.lists(st.tuples(st.sampled_from([s.name for s in SHORTCUTS]), st.text(max_size=12))))
def test_no_settings_break_it(custom):
    keys = Keymap()
    keys.set_custom(custom)
    for shortcut in SHORTCUTS:
        assert isinstance(keys.text(shortcut.name), str)


def test_the_window_obeys_other_keys_at_once_and_its_hints_name_them(window, qtbot):
    keymap().set_custom([("new", "Ctrl+J"), ("search", "F7"), ("blank", "Ctrl+B")])
    with qtbot.waitSignal(window.chat.list.new_requested, timeout=2000):
        QTest.keyClick(window, Qt.Key.Key_J, CTRL)
    asked = []
    window.chat.list.new_requested.connect(lambda: asked.append(1))
    QTest.keyClick(window, Qt.Key.Key_N, CTRL)
    assert asked == []
    QTest.keyClick(window, Qt.Key.Key_F7)
    assert window.chat.list.search.hasFocus()
    assert window.chat.list.new.toolTip() == "Ctrl+J"
    assert any("Ctrl+B puts a blank" in text.text() for text in window.editor.findChildren(QLabel))
    window.show_page("editor")
    blanks = []
    window.editor.text.blank_requested.connect(lambda *what: blanks.append(what))
    QTest.keyClick(window.editor.text, Qt.Key.Key_B, CTRL)
    QTest.keyClick(window.editor.text, Qt.Key.Key_M, CTRL)
    assert [kind for _start, _end, kind in blanks] == ["short"]


def test_the_dialog_takes_keys_shows_a_conflict_and_resets(window):
    dialog = window.make_shortcuts()
    dialog.show()
    button = dialog.buttons["find"]
    QTest.keyClick(button, Qt.Key.Key_Return)  # a button that has the focus is pressed by Enter
    assert button.text() == "Press keys …"
    QTest.keyClick(button, Qt.Key.Key_J, CTRL)
    assert keymap().keys("find") == "Ctrl+J"
    assert button.text() == "Ctrl+J"
    assert not dialog._notice.isVisible()
    button.click()
    QTest.keyClick(button, Qt.Key.Key_K, CTRL)
    assert dialog._notice.isVisible()
    assert "Search conversations" in dialog._notice_text.text()
    assert keymap().keys("find") == "Ctrl+J"  # nothing is taken without a word
    assert dialog.focusWidget() is dialog._take
    QTest.keyClick(dialog._take, Qt.Key.Key_Return)
    assert (keymap().keys("find"), dialog.buttons["search"].text()) == ("Ctrl+K", "—")
    button.click()
    QTest.keyClick(button, Qt.Key.Key_C, CTRL)
    assert "needed for writing" in dialog._notice_text.text()
    assert not dialog._take.isVisible()
    button.click()
    QTest.keyClick(button, Qt.Key.Key_Escape)
    assert button.text() == "Ctrl+K"
    assert dialog.isVisible()  # Esc ended the waiting, not the dialog
    button.click()
    QTest.keyClick(button, Qt.Key.Key_Backspace)
    assert keymap().keys("find") == ""
    dialog._reset.click()
    assert keymap().custom == ()
    assert button.text() == "Ctrl+F"
    dialog.close()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_keys_are_named_as_the_keyboard_names_them(qapp, language):
    start_theme(qapp, Look("light", language))
    assert keys_text("Ctrl+Return") == "Ctrl+Enter"
    assert keys_text("Alt+Down") == "Alt+↓"
    assert keys_text("Ctrl++") == "Ctrl++"


def test_the_keys_of_lists_and_of_the_composer_can_be_changed_too(window, qtbot):
    window.chat.list.show_conversations(TEXTS["en"].conversations(1e9))
    keymap().set_custom([("delete", "Ctrl+D"), ("recall", "Alt+E")])
    view = window.chat.list.view
    view.setFocus()
    view.setCurrentIndex(window.chat.list._entries.index(1))
    with qtbot.waitSignal(window.chat.list.delete_requested, timeout=2000):
        QTest.keyClick(view, Qt.Key.Key_D, CTRL)
    told = []
    window.chat.list.delete_requested.connect(told.append)
    QTest.keyClick(view, Qt.Key.Key_Delete)
    assert told == []
    composer = window.chat.composer
    composer.recall_requested.connect(lambda: told.append("recall"))
    QTest.keyClick(composer.edit, Qt.Key.Key_Up)
    QTest.keyClick(composer.edit, Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)
    assert told == ["recall"]
    keymap().set_custom([])


def test_a_key_of_lists_stands_in_the_way_of_the_windows_and_not_of_the_editors():
    keys = Keymap()
    assert [allowed("Del", scope) for scope in ("list", "window", "editor")] == [True, False, False]
    assert allowed("Up", "composer")
    taken = keys.conflict("find", "F2")
    assert taken is not None
    assert taken.name == "rename"
    assert keys.conflict("again", "F2") is None


def test_the_dialog_takes_del_for_the_list_and_shows_the_send_key_in_force(window):
    dialog = window.make_shortcuts()
    dialog.show()
    keymap().set_custom([("delete", "F8")])
    button = dialog.buttons["delete"]
    button.click()
    QTest.keyClick(button, Qt.Key.Key_Delete)
    assert button.text() == "Del"
    assert keymap().custom == ()
    fixed = {s.name for s in SHORTCUTS if s.scope == "fixed"}
    assert fixed == {"send", "line", "end"}
    assert fixed.isdisjoint(dialog.buttons)
    assert dialog._caps["send"].text() == "Enter"
    window.put_in_force(Settings(send_key="ctrl+enter", language="en", theme="light"))
    assert (dialog._caps["send"].text(), dialog._caps["line"].text()) == ("Ctrl+Enter", "Enter")
    window.put_in_force(Settings(language="en", theme="light"))
    assert dialog._caps["send"].text() == "Enter"
    dialog.close()


def test_stop_is_what_the_person_made_it_in_the_composer_too(window, qtbot):
    composer = window.chat.composer
    composer.set_running(True, 0)
    keymap().set_custom([("stop", "F9")])
    told = []
    composer.stop_requested.connect(lambda: told.append("stop"))
    QTest.keyClick(composer.edit, Qt.Key.Key_Escape)
    assert told == []
    with qtbot.waitSignal(composer.stop_requested, timeout=2000):
        QTest.keyClick(composer.edit, Qt.Key.Key_F9)
    keymap().set_custom([])
