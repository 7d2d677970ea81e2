"""The models page by itself: what it shows, what it says, that its suggestions are one click."""

from dataclasses import replace

import pytest
from PySide6.QtCore import (
    QCoreApplication,
    QEvent,
    QMimeData,
    QPoint,
    QPointF,
    Qt,
    QTimer,
    QUrl,
)
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QLabel,
    QMessageBox,
    QSpinBox,
)

from bilin_app import tour_models
from bilin_app.controllers.model_views import FolderView, JobView, LoadView, PlacementChoice
from bilin_app.pages.models.add import IN_PLACE, AddDialog
from bilin_app.pages.models.rename import RenameDialog
from bilin_app.pages.models.trash import TrashDialog
from bilin_app.pages.models.view import ModelsView
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui


@pytest.fixture
def view(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    result = ModelsView(None)  # pyright: ignore[reportArgumentType] - a window of its own here
    qtbot.addWidget(result)
    result.show_models(tour_models.rows("en"), "glm-130b", "")
    result.detail.show_load(LoadView())
    row = next(row for row in tour_models.rows("en") if row.id == "glm-130b")
    result.detail.placement.show_model(row, PlacementChoice(mode="tensor_parallel"))
    result.detail.placement.show_placement(tour_models.short_placement())
    result.resize(1220, 820)
    result.show()
    qapp.processEvents()
    return result


def texts(widget):
    return [label.text() for label in widget.findChildren(QLabel) if label.isVisible()]


def button(widget, text):
    return next(b for b in widget.findChildren(QAbstractButton) if b.text() == text)


def test_the_card_that_breaks_says_by_how_much(view):
    assert "needs 1,312 MiB more" in texts(view.detail.placement)
    assert "Needs 1,312 MiB more on GPU 2" in texts(view.detail.placement)


def test_a_suggestion_is_one_click(view, qtbot):
    card = view.detail.placement
    with qtbot.waitSignal(card.choice_changed) as heard:
        button(card, "Use context 512").click()
    assert heard.args[0].context == 512


def test_a_moved_slider_asks_once_for_many_steps(view, qtbot):
    card, heard = view.detail.placement, []
    card.choice_changed.connect(heard.append)
    for value in range(60, 20, -1):
        card.slider.setValue(value)
    qtbot.waitUntil(lambda: bool(heard))
    assert len(heard) == 1
    assert heard[0].context == 21 * 32


def test_a_device_can_be_switched_off(view, qtbot):
    card = view.detail.placement
    with qtbot.waitSignal(card.choice_changed) as heard:
        card.findChildren(QCheckBox)[2].click()
    assert heard.args[0].off == {"cuda:2"}


def test_invented_devices_are_asked_for(view, qtbot):
    card = view.detail.placement
    card.devices.setText("8x11GiB")
    with qtbot.waitSignal(card.choice_changed) as heard:
        QTest.keyClick(card.devices, Qt.Key.Key_Return)
    assert heard.args[0].devices == "8x11GiB"


def test_a_plan_that_comes_while_one_types_changes_no_field_under_the_hands(view, qtbot):
    card = view.detail.placement
    boxes = [box for box in card.findChildren(QSpinBox) if box.isVisible()]
    assert boxes
    for box in boxes:
        box.setFocus()
        qtbot.waitUntil(box.hasFocus)
        box.selectAll()
        QTest.keyClicks(box, "17")
        card.show_placement(tour_models.short_placement())
        assert box.cleanText() == "17"
        with qtbot.waitSignal(card.choice_changed):
            QTest.keyClick(box, Qt.Key.Key_Return)


def test_the_wheel_turns_the_page_of_models_and_changes_no_placement(view):
    card = view.detail.placement
    said = []
    card.choice_changed.connect(said.append)
    fields = [*card.findChildren(QSpinBox), card.slider]
    before = [field.value() for field in fields]
    for field in fields:
        field.clearFocus()
        place = QPointF(field.rect().center())
        turned = QWheelEvent(
            place, QPointF(field.mapToGlobal(place)), QPoint(), QPoint(0, 120),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
            False,
        )  # fmt: skip
        QCoreApplication.sendEvent(field, turned)
    assert [field.value() for field in fields] == before
    card._timer.stop()
    assert said == []


def test_another_model_s_values_are_shown_whatever_was_being_typed(view, qtbot):
    card = view.detail.placement
    box = card._reserve
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    QTest.keyClicks(box, "17")
    row = next(row for row in tour_models.rows("en") if row.id != "glm-130b" and row.num_layers)
    card.show_model(row, PlacementChoice(reserve_mib=512))
    assert box.value() == 512


def test_a_suggestion_keeps_the_focus_while_it_stays_the_same(view, qtbot):
    card = view.detail.placement
    offered = button(card, "Use context 512")
    offered.setFocus()
    qtbot.waitUntil(offered.hasFocus)
    card.show_placement(tour_models.short_placement())
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert button(card, "Use context 512") is offered
    assert offered.hasFocus()


def test_jobs_say_what_a_person_wants_of_them(view, qtbot):
    view.show_jobs(tour_models.jobs("en"))
    with qtbot.waitSignal(view.queue.job_acted) as heard:
        button(view.queue, "Pause").click()
    assert heard.args == ["1", "pause"]
    with qtbot.waitSignal(view.queue.job_acted) as heard:
        button(view.queue, "Resume").click()
    assert heard.args == ["3", "resume"]


def test_every_button_has_a_name(view):
    view.show_jobs(tour_models.jobs("en"))
    nameless = [b for b in view.findChildren(QAbstractButton) if b.isVisible()
                and not b.accessibleName() and not b.text()
                and b.metaObject().className() != "QLineEditIconButton"]  # fmt: skip
    assert nameless == []


def test_a_broken_model_shows_its_reason_and_no_placement(view):
    view.show_models(tour_models.rows("en"), "glm-old", "")
    assert not view.detail.placement.isVisible()
    assert any("is missing" in text for text in texts(view.detail))


def test_the_page_changes_its_language(view, qapp):
    start_theme(qapp, Look("light", "zh"))
    qapp.sendEvent(view.detail.placement, QEvent(QEvent.Type.LanguageChange))
    assert "显存分布" in texts(view.detail.placement)
    start_theme(qapp, Look("light", "en"))


FOLDER = FolderView(
    path="/from/here", kind="reference", title="glm", size_bytes=260_000_000_000,
    needed_bytes={"128": 67_000_000_000, "row": 65_000_000_000}, free_bytes=66_000_000_000,
)  # fmt: skip


def test_a_conversion_that_does_not_fit_the_disk_cannot_be_begun(view, qtbot):
    dialog = AddDialog(view, FOLDER)
    qtbot.addWidget(dialog)
    assert not dialog.go.isEnabled()
    smaller = AddDialog(view, FOLDER, "row")
    qtbot.addWidget(smaller)
    assert smaller.value == "row"
    assert smaller.go.isEnabled()
    with qtbot.waitSignal(smaller.convert_requested) as heard:
        smaller.go.click()
    assert heard.args == ["/from/here", "glm-int4", "row", ""]


@pytest.mark.parametrize("name", ["../out", "", "a/b", ".hidden", "a\nb", "x" * 300])
def test_a_name_that_is_no_folder_name_is_refused(view, qtbot, name):
    dialog = AddDialog(view, FOLDER, "row")
    qtbot.addWidget(dialog)
    dialog.name.setText(name)
    assert not dialog.go.isEnabled()


def test_a_gguf_file_is_converted_with_the_groups_that_lose_least(view, qtbot):
    folder = replace(FOLDER, kind="gguf", title="tiny", needed_bytes={"32": 9, "128": 8, "row": 7})
    dialog = AddDialog(view, folder)
    qtbot.addWidget(dialog)
    asked = []
    dialog.convert_requested.connect(lambda *values: asked.append(values))
    dialog.go.click()
    assert asked == [(folder.path, "tiny-int4", "32", "")]


@pytest.mark.parametrize("name", ["田中　模型", "glm 🙂", "模型-1.0"])
def test_names_that_people_give_are_taken(view, qtbot, name):
    dialog = AddDialog(view, FOLDER, "row")
    qtbot.addWidget(dialog)
    dialog.name.setText(name)
    with qtbot.waitSignal(dialog.convert_requested) as heard:
        dialog.go.click()
    assert heard.args[1] == name


def test_what_cannot_be_added_says_why(view, qtbot):
    folder = replace(FOLDER, kind="gguf", problem="GGUF files cannot be imported")
    dialog = AddDialog(view, folder)
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.go.isVisible()
    assert "GGUF files cannot be imported" in texts(dialog)


def test_a_model_folder_can_stay_where_it_is(view, qtbot):
    dialog = AddDialog(view, replace(FOLDER, kind="model", needed_bytes={"": 1}))
    qtbot.addWidget(dialog)
    dialog._choices.button(1).setChecked(True)
    assert dialog.value == IN_PLACE
    with qtbot.waitSignal(dialog.in_place_requested) as heard:
        dialog.go.click()
    assert heard.args == ["/from/here"]


@pytest.fixture
def rename(qapp, qtbot):
    start_theme(qapp, Look("light", "en"))
    dialog = RenameDialog(None, "GLM-130B", "/models/glm")  # pyright: ignore[reportArgumentType]
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


@pytest.mark.parametrize("name", ["我的 GLM", "田中　模型", "  glm 🙂 "])
def test_a_model_is_renamed_with_the_return_key(rename, qtbot, name):
    rename.name.setText(name)
    with qtbot.waitSignal(rename.renamed) as heard:
        QTest.keyClick(rename.name, Qt.Key.Key_Return)
    assert heard.args == [name.strip()]
    assert not rename.isVisible()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", ""),
        (" 　", ""),
        ("x" * 81, "81 characters are too many; up to 80 are possible."),
        ("a\u202eb", "The name holds a character that cannot be seen; type it anew."),
    ],
)
def test_a_name_that_is_not_possible_is_told_while_it_is_typed(rename, name, sentence):
    rename.name.setText(name)
    assert not rename.go.isEnabled()
    assert rename.problem.text() == sentence
    rename.name.setText("glm")
    assert rename.go.isEnabled()
    assert rename.problem.isHidden()


def test_the_same_name_changes_nothing(rename):
    heard = []
    rename.renamed.connect(heard.append)
    rename.go.click()
    assert heard == []
    assert not rename.isVisible()


def test_a_library_of_bundled_models_alone_says_how_another_comes_in(view):
    assert view.list.hint.isHidden()
    mini = [row for row in tour_models.rows("en") if row.model.is_bundled]
    view.show_models([replace(row, is_verified=False) for row in mini], mini[0].id, "")
    assert view.list.hint.isVisible()
    assert view.list.badge(replace(mini[0], is_verified=False)) == ""


def test_every_way_to_convert_says_what_it_takes_on_disk(view, qtbot):
    needed = {"128": 69_000_000_000, "64": 71_000_000_000, "row": 67_000_000_000}
    folder = FolderView(
        path="/w/glm", kind="reference", title="glm", size_bytes=260_000_000_000,
        needed_bytes=needed, free_bytes=10**12,
    )  # fmt: skip
    dialog = AddDialog(view, folder)
    qtbot.addWidget(dialog)
    dialog.show()
    told = [text.rpartition(" · ")[2] for text in texts(dialog) if " · " in text]
    assert told == ["69.0 GB", "71.0 GB", "67.0 GB"]


def test_what_is_held_over_the_page_is_told_what_letting_go_does(view, tmp_path, qtbot):
    data, keys = QMimeData(), Qt.KeyboardModifier.NoModifier
    data.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    action, buttons, place = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, QPoint(9, 9)
    view.dragEnterEvent(QDragEnterEvent(place, action, data, buttons, keys))
    assert view.drop_hint.isVisible()
    view.dragLeaveEvent(QDragLeaveEvent())
    assert not view.drop_hint.isVisible()
    view.dragEnterEvent(QDragEnterEvent(place, action, data, buttons, keys))
    with qtbot.waitSignal(view.dropped) as heard:
        view.dropEvent(QDropEvent(place.toPointF(), action, data, buttons, keys))
    assert heard.args == [str(tmp_path)]
    assert not view.drop_hint.isVisible()


def answer_next_question(role):
    """Presses the button with this role as soon as a question is on show."""

    def press():
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        next(b for b in box.buttons() if box.buttonRole(b) == role).click()

    QTimer.singleShot(0, press)


def test_the_trash_is_emptied_only_after_a_confirmed_question(view, qtbot):
    dialog = TrashDialog(view, tour_models.library().trash)
    qtbot.addWidget(dialog)
    dialog.open()
    emptied = []
    dialog.emptied.connect(lambda: emptied.append(True))
    answer_next_question(QMessageBox.ButtonRole.RejectRole)
    dialog.empty.click()
    assert emptied == []
    assert dialog.isVisible()
    answer_next_question(QMessageBox.ButtonRole.AcceptRole)
    dialog.empty.click()
    assert emptied == [True]


@pytest.mark.parametrize("kind", ["convert", "download", "import", "move"])
def test_what_a_failed_job_did_is_not_removed_by_the_button_of_a_done_one(view, qtbot, kind):
    failed, done = (JobView("7", kind, "glm", state) for state in ("failed", "done"))
    acted = []
    view.queue.job_acted.connect(lambda *args: acted.append(args))
    view.show_jobs([failed])
    with qtbot.waitSignal(view.queue.discard_requested) as heard:
        button(view.queue, "Discard …").click()
    assert heard.args == [failed]
    assert acted == []
    view.show_jobs([done])
    button(view.queue, "Clear").click()
    assert acted == [("7", "clear")]


@pytest.mark.parametrize("kind", ["convert", "download", "import", "move"])
@pytest.mark.parametrize("state", ["paused", "waiting"])
def test_what_a_job_did_before_it_stands_is_removed_only_after_a_question(view, qtbot, kind, state):
    begun = JobView("7", kind, "glm", state, 0.5)
    acted = []
    view.queue.job_acted.connect(lambda *args: acted.append(args))
    view.show_jobs([begun])
    with qtbot.waitSignal(view.queue.discard_requested) as heard:
        button(view.queue, "Discard …").click()
    assert heard.args == [begun]
    assert acted == []


@pytest.mark.parametrize(
    ("kind", "state", "text"),
    [
        ("verify", "failed", "Clear"),
        ("verify", "paused", "Cancel"),
        ("self_test", "paused", "Cancel"),
        ("download", "waiting", "Cancel"),
    ],
)
def test_a_job_that_left_nothing_to_discard_ends_unasked(view, kind, state, text):
    view.show_jobs([JobView("7", kind, "glm", state)])
    assert button(view.queue, text).isVisible()


def test_one_minute_is_told_without_a_plural(view, qtbot):
    folder = replace(FOLDER, size_bytes=60 * 10**9, rate_bytes_s=1e9, free_bytes=10**12)
    dialog = AddDialog(view, folder)
    qtbot.addWidget(dialog)
    assert "It takes about 1 min, as measured on this machine." in dialog._needs.text()
