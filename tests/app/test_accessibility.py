"""Every control of every page and dialog of the tour: name, role, the keyboard's way to it."""

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QListView,
    QPlainTextEdit,
    QSlider,
    QTextEdit,
    QWidget,
)

from bilin_app.main_window import MainWindow
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour import SCENES, SIZE
from bilin_app.tour_texts import TEXTS

pytestmark = pytest.mark.gui

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QSlider,
    QTextEdit,
)
# Those that between them show every page and dialog.
SHOWN = (
    "first-run", "finished", "error", "search", "find", "trash", "prompt", "link", "sampling",
    "editing", "editor-candidates", "models", "models-work", "settings-end", "shortcuts-conflict",
)  # fmt: skip
NAMES = {scene.name: scene for scene in SCENES}


@pytest.fixture(params=SHOWN)
def shown(request, qapp):
    """What a person sees in a scene: the dialog or popover, else the window."""
    start_theme(qapp, Look("light", "en"))
    window = MainWindow()
    window.resize(*SIZE)
    window.show()
    window.activateWindow()
    over = NAMES[request.param].show(window, TEXTS["en"])
    for _ in range(4):
        qapp.processEvents()
    yield over or window
    if over is not None:
        over.close()
    window.close()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def is_part(widget):
    """Whether Qt made it inside another control."""
    parent = widget.parentWidget()
    while parent is not None and not parent.isWindow():
        if isinstance(parent, (QComboBox, QAbstractSpinBox)):
            return True
        parent = parent.parentWidget()
    return isinstance(widget, QHeaderView) or widget.objectName().startswith("qt_")


def controls(root):
    return [
        widget
        for widget in root.findChildren(QWidget)
        if isinstance(widget, CONTROLS)
        and widget.isVisible()
        and widget.isEnabled()
        and not is_part(widget)
        and widget.window() is root.window()
    ]


def is_tab_stop(widget):
    return bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)


def way_of_tab(root):
    """The controls in the order in which Tab comes to them, once around."""
    start = widget = root.window()
    found = []
    while (widget := widget.nextInFocusChain()) is not start:
        if (
            is_tab_stop(widget)
            and widget.isVisible()
            and widget.isEnabled()
            and not is_part(widget)
            and widget.focusProxy() is None
        ):
            found.append(widget)
    return found


def named(widget):
    interface = QAccessible.queryAccessibleInterface(widget)
    return f"{type(widget).__name__} “{interface.text(QAccessible.Text.Name)}”"


def test_every_control_has_a_name_and_a_role(shown):
    bad = []
    for widget in controls(shown):
        interface = QAccessible.queryAccessibleInterface(widget)
        name = interface.text(QAccessible.Text.Name).strip()
        if not name or interface.role() in (QAccessible.Role.NoRole, QAccessible.Role.Client):
            bad.append(f"{widget!r} in {widget.parentWidget()!r}: {name!r} {interface.role()}")
    assert bad == []


def is_empty_list(widget):
    return isinstance(widget, QListView) and widget.model().rowCount() == 0


def test_tab_comes_to_every_control_once(shown):
    way = way_of_tab(shown)
    assert len(way) == len(set(map(id, way)))
    missing = [
        named(widget)
        for widget in controls(shown)
        if widget not in way and not is_empty_list(widget)  # which has nothing to show the focus on
    ]
    # Beside text that is itself a tab stop nothing else can be reached only by the mouse.
    assert missing == []


def test_tab_goes_from_top_to_bottom_and_from_left_to_right(shown):
    """Among the controls that lie directly in one part of the window."""
    back = []
    by_parent: dict[int, QWidget] = {}
    for widget in way_of_tab(shown):
        before = by_parent.get(id(widget.parentWidget()))
        by_parent[id(widget.parentWidget())] = widget
        if before is None:
            continue
        corner, old = (w.mapTo(w.window(), QPoint(0, 0)) for w in (widget, before))
        is_above = corner.y() + widget.height() <= old.y()
        is_left = corner.x() + widget.width() <= old.x() and corner.y() < old.y() + before.height()
        is_column = corner.y() + widget.height() / 2 > old.y() + before.height()
        if is_above or (is_left and not is_column):
            back.append(f"{named(before)} then {named(widget)}")
    # A list in columns is read column by column, and the round closes at one place.
    assert len(back) <= 1, back


def test_focus_is_seen_on_every_control(shown, qapp):
    unseen = []
    for widget in way_of_tab(shown):
        if isinstance(widget, (QTextEdit, QPlainTextEdit)) and widget.isReadOnly():
            continue  # text to select: its selection shows where one is
        owner = widget.parentWidget() if isinstance(widget, QPlainTextEdit) else widget
        assert owner is not None
        if (focused := QApplication.focusWidget()) is not None:
            focused.clearFocus()
        qapp.processEvents()
        before = owner.grab().toImage()
        widget.setFocus(Qt.FocusReason.TabFocusReason)
        qapp.processEvents()
        if not widget.hasFocus() or owner.grab().toImage() == before:
            unseen.append(named(widget))
    assert unseen == []
