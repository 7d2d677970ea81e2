"""Earlier versions are read before they are restored."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from bilin_app.controllers.editor_views import DocumentView, RevisionView
from bilin_app.pages.editor.revisions import RevisionsDialog
from bilin_app.text.document import Document, parse_slice
from bilin_app.theme.theme import Look, start_theme

TEXTS = {7: "new [MASK]", 3: "old"}


def text_of(revision_id: int) -> DocumentView:
    return DocumentView(0, "", parse_slice(TEXTS[revision_id], Document()))


@pytest.fixture
def dialog(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    made = RevisionsDialog(None)  # type: ignore[arg-type]
    qtbot.addWidget(made)
    return made


def test_a_version_is_shown_when_it_is_chosen_and_restored_by_return(dialog):
    asked, restored = [], []
    dialog.read_requested.connect(asked.append)
    dialog.restore_requested.connect(restored.append)
    dialog.show_revisions([RevisionView(i, 0.0, "while writing", 3) for i in TEXTS])
    dialog.show()
    assert asked == [7]
    QTest.keyClick(dialog.list, Qt.Key.Key_Down)
    assert asked == [7, 3]
    dialog.show_text(3, text_of(3))
    dialog.show_text(7, text_of(7))  # late: another one was chosen since
    assert dialog.text.toPlainText() == "old"
    QTest.keyClicks(dialog.text, "x")
    QTest.keyClick(dialog.text, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert dialog.text.toPlainText() == "old"
    QTest.keyClick(dialog.list, Qt.Key.Key_Return)
    assert restored == [3]
    assert dialog.isHidden()


def test_a_document_without_earlier_versions_says_when_they_are_kept(dialog):
    dialog.show_revisions([])
    dialog.show()
    assert "five minutes" in dialog._about.text()
    assert not dialog.list.isVisible()
    assert dialog.restore.isHidden()
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.isHidden()
