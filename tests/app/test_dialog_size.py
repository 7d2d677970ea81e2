"""Dialogs on the smallest screens that the window is made for: their buttons stay on them."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QAbstractButton, QDialog

from bilin_app import tour_hubs, tour_models
from bilin_app.controllers.model_views import TrashView
from bilin_app.pages.dialog_size import DialogScroll, resize_within_screen
from bilin_app.pages.models.add import AddDialog
from bilin_app.pages.models.hub import HubDialog
from bilin_app.pages.models.trash import TrashDialog
from bilin_app.pages.shortcuts import ShortcutsDialog
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui

HEIGHT = 460  # px: of a screen of 768 px at 150 %, less its bars and a title


def hub(parent):
    dialog = HubDialog(parent, "hugging_face", "", "")
    dialog.show_catalog(tour_hubs.CATALOG)
    dialog.catalog.setCurrentIndex(dialog.catalog.model().index(0, 0))
    dialog.advanced.setChecked(True)
    dialog.show_repository(tour_hubs.repository("en"))
    return dialog, dialog.go


def add(parent):
    needed = dict.fromkeys(("", "128", "64", "32", "row"), 10**9)
    folder = replace(tour_models.folder(), needed_bytes=needed, lacks_tokenizer=True)
    dialog = AddDialog(parent, folder)
    return dialog, dialog.go


def trash(parent):
    dialog = TrashDialog(parent, [TrashView(str(n), f"model {n}", 10**9, 1.8e9) for n in range(40)])
    return dialog, dialog.empty


def shortcuts(parent):
    dialog = ShortcutsDialog(parent)
    return dialog, dialog._close


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("make", [hub, add, trash, shortcuts])
def test_the_buttons_of_a_dialog_are_on_the_smallest_screen(qapp, qtbot, make, language):
    start_theme(qapp, Look("light", language))
    dialog, button = make(None)
    qtbot.addWidget(dialog)
    dialog.show()
    qapp.processEvents()
    assert dialog.height() <= dialog.screen().availableGeometry().height()
    dialog.resize(dialog.width(), HEIGHT)
    qapp.processEvents()
    assert dialog.height() == HEIGHT
    assert isinstance(button, QAbstractButton)
    bottom = button.mapTo(dialog, QPoint(0, button.height())).y()
    assert bottom <= HEIGHT


def test_what_needs_no_scrolling_is_whole(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    dialog = TrashDialog(None, tour_models.library().trash)  # pyright: ignore[reportArgumentType]
    qtbot.addWidget(dialog)
    dialog.show()
    qapp.processEvents()
    (scroll,) = dialog.findChildren(DialogScroll)
    bar = scroll.verticalScrollBar()
    assert (bar.minimum(), bar.maximum()) == (0, 0)
    assert scroll.height() == scroll.sizeHint().height()


def test_a_dialog_is_never_made_higher_than_the_screen(qtbot):
    dialog = QDialog()
    qtbot.addWidget(dialog)
    resize_within_screen(dialog, 300, 5000)
    assert dialog.width() == 300
    assert dialog.height() < dialog.screen().availableGeometry().height()
    resize_within_screen(dialog, 300, 200)
    assert dialog.height() == 200
