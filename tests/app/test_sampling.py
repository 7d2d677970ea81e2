"""The popover that says how answers are drawn."""

import pytest
from msgspec import structs
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QWidget

from bilin_app.controllers.prompt import MAX_SEED
from bilin_app.pages.chat.sampling import SamplingPopover
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import Sampling

pytestmark = pytest.mark.gui


@pytest.fixture
def popover(qapp):
    start_theme(qapp, Look("light", "en"))
    owner = QWidget()
    yield SamplingPopover(owner)
    owner.deleteLater()


@pytest.fixture
def changes(popover):
    found = []
    popover.sampling_changed.connect(found.append)
    return found


def test_the_seed_takes_what_an_engine_takes_and_nothing_else(popover, changes):
    field = popover._seed
    for typed in (str(MAX_SEED), "", "1234567890123456789012345", "-1", "x7"):
        field.clear()
        QTest.keyClicks(field, typed)
        field.editingFinished.emit()
    assert [one.seed for one in changes] == [MAX_SEED, None, 1234567890123456789, 1, 7]
    QApplication.clipboard().setText("9" * 10_000)
    field.paste()
    assert field.text() == "7"
    QApplication.clipboard().setText(" 42\n")
    field.clear()
    field.paste()
    assert field.text() == "42"


def test_thinking_is_a_choice_where_the_model_has_one(popover, changes):
    assert popover._thinks.isHidden()
    popover.show_values(Sampling(), "")
    popover.show_thinking(can_skip=True)
    assert not popover._thinks.isHidden()
    assert popover._thinks.isChecked()
    popover._thinks.click()
    assert changes == [Sampling(thinks=False)]
    popover.show_thinking(can_skip=False)
    assert popover._thinks.isHidden()
    popover._top_k.setValue(5)
    assert changes[-1] == Sampling(thinks=False, top_k=5), "kept for the next model that asks"


def test_a_number_being_typed_stays_while_values_are_shown_again(popover, changes, qapp):
    popover.show()
    popover.activateWindow()
    for field in (popover._temperature, popover._seed):
        field.setFocus()
        field.selectAll()
        QTest.keyClick(field, Qt.Key.Key_0)
        qapp.processEvents()
        last = changes[-1] if changes else Sampling()
        popover.show_values(last, "")
        QTest.keyClicks(field, ".85" if field is popover._temperature else "85")
    assert popover._temperature.value() == 0.85
    assert popover._seed.text() == "085"
    assert changes[-1].temperature == 0.85
    popover._seed.clearFocus()
    popover.show_values(Sampling(temperature=0.5, seed=7), "")
    assert (popover._temperature.value(), popover._seed.text()) == (0.5, "7")
    popover.close()


def test_what_has_no_field_stays_as_it_was(popover, changes):
    sampling = Sampling(no_repeat_ngram_size=3, stop_texts=("###",), min_p=0.1)
    popover.show_values(sampling, "")
    popover._top_k.setValue(5)
    assert changes == [structs.replace(sampling, top_k=5)]


def test_a_long_line_of_a_system_prompt_is_not_broken(popover):
    field = popover._system
    popover.show_values(Sampling(), "x" * 200_000)
    assert field.lineWrapMode() == QPlainTextEdit.LineWrapMode.NoWrap
    assert popover.system_prompt == "x" * 200_000
    popover.show_values(Sampling(), "be brief")
    assert field.lineWrapMode() == QPlainTextEdit.LineWrapMode.WidgetWidth
