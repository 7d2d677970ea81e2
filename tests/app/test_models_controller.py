"""The models controller with a fake engine: loads what the card shows, measures, moves, mends."""

import dataclasses
import os
from dataclasses import replace

import msgspec
import pytest
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QApplication, QMessageBox

from bilin_app.controllers import job_views
from bilin_app.controllers.engine import EngineController, Place
from bilin_app.controllers.engine_views import EngineView, ModelView
from bilin_app.controllers.model_views import Fix, JobView, LoadView, PlacementChoice
from bilin_app.controllers.models import ModelsController
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.engine_client.process import EngineCommand, EngineEnd
from bilin_app.pages.models.page import ModelsPage
from bilin_app.pages.models.view import ModelsView
from bilin_app.storage.model_notes import ModelNote, ModelNotes
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import (
    AddJob,
    AddTokenizer,
    Cancel,
    ChangeJob,
    DeleteModel,
    DeviceInfo,
    DevicePlan,
    DevicesListed,
    EmptyTrash,
    EngineStatus,
    JobInfo,
    JobsChanged,
    ListDevices,
    ListModels,
    LoadModel,
    LoadSettings,
    MeasuredSpeed,
    MeasureModel,
    ModelDeleted,
    ModelInfo,
    ModelLoaded,
    ModelsListed,
    MoveLibrary,
    PlacementMode,
    PlanModel,
    PlanResult,
    Progress,
    SelfTest,
    SpeedMeasured,
    TrashedModel,
    UnloadModel,
    VerifyModel,
)

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("qapp")]


def info(model_id, name_zh="", **values):
    return ModelInfo(
        id=model_id, name_zh=name_zh or model_id, name_en=model_id, family="GLM", num_parameters=1,
        precision="INT4 · 128", size_bytes=9, languages=("zh",), can_chat=True, blank_kinds=(),
        context_length=2048, licence="MIT", source="", path=f"/models/{model_id}",
        is_bundled=False, **values,
    )  # fmt: skip


class FakeClient(QObject):
    """Keeps what is sent; answers when a test says so."""

    jobs_changed = Signal(object)
    request_failed = Signal(object)
    greeted = Signal(object)
    status_changed = Signal(object)
    ended = Signal(object)
    is_connected = is_running = is_started = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self.asked = []
        self.handles = {}
        self.num_starts = 0

    def start(self):
        self.num_starts += 1

    def send(self, make):
        handle = RequestHandle(len(self.asked) + 1, lambda _handle: None)
        self.asked.append(make(handle.id))
        self.handles[handle.id] = handle
        return handle

    def answer(self, kind, result=None):
        """Answers the last request of a kind."""
        request = next(one for one in reversed(self.asked) if isinstance(one, kind))
        self.handles[request.id].end_done(result)
        return request

    def answer_plans(self):
        """Answers every plan that is asked for, and those that are asked for then."""
        for request in self.asked:  # grows meanwhile
            if isinstance(request, PlanModel) and request.id in self.handles:
                self.handles.pop(request.id).end_done(plan_for(request))


class FakeEngine(QObject):
    """Keeps what it is asked; answers when a test says so."""

    models_changed = Signal(object)
    view_changed = Signal(object)
    loaded = Signal(object)
    load_progressed = Signal(object)
    interrupted = Signal()

    def __init__(self):
        super().__init__()
        self.client = FakeClient(self)
        self.infos = (info("one"), info("two"))
        self.trash = (TrashedModel(trashed="deleted-1", name="old", size_bytes=5, deleted_at=1.0),)
        self.known = (info("glm-130b"), info("two"))
        self.models_folder = "there"
        self.found = ()  # what is new when the library is read again
        self.view = EngineView("empty")
        self.asked, self.handles = self.client.asked, self.client.handles
        self.loads = []
        self.refusals = []
        self.restarts = []
        self.place: Place = lambda _model_id, placed, _refused: placed(LoadSettings())

    @property
    def model(self):
        return self.view.model if self.view.state in ("ready", "busy") else None

    def send(self, make):
        return self.client.send(make)

    def answer(self, kind, result=None):
        return self.client.answer(kind, result)

    def interrupt(self):
        self.interrupted.emit()

    def of(self, kind):
        return [one for one in self.asked if isinstance(one, kind)]

    def load(self, model_id):
        self.place(
            model_id,
            lambda settings: self.loads.append((model_id, settings)),
            self.refusals.append,
        )

    def becomes(self, state, model_id="", **values):
        model = ModelView(model_id, model_id, model_id) if model_id else None
        self.view = EngineView(state, model=model, **values)
        self.view_changed.emit(self.view)

    def refresh_models(self):
        self.infos, self.found = (*self.infos, *self.found), ()
        self.models_changed.emit(self.infos)

    def unload(self):
        self.becomes("empty")

    def restart(self, command):
        self.restarts.append(command)


def two_cards(
    context=1024,
    *,
    fits=True,
    mode: PlacementMode = "tensor_parallel",
    names=("cuda:0", "cuda:1"),
):
    devices = tuple(
        DevicePlan(
            name=name, label="RTX 3090", total=24, other_programs=0, weights=10, kv_cache=1,
            activations=1, communication=0, reserve=1, free=11, num_layers=5,
        )
        for name in names
    )  # fmt: skip
    available = tuple(
        DeviceInfo(name=name, label=name, total_bytes=24, free_bytes=24)
        for name in ("cuda:0", "cuda:1", "cpu")
    )
    return PlanResult(
        fits=fits, mode=mode, context=context, prompt_tokens=512, devices=devices,
        roofline_tok_s=9.0, decode_tok_s=7.0, first_token_s=1.0, available=available,
    )  # fmt: skip


def plan_for(request):
    """Whatever is on takes a part, in the mode that is asked for."""
    mode = "tensor_parallel" if request.settings.mode == "auto" else request.settings.mode
    names = request.enabled or ("cuda:0", "cuda:1", "cpu")
    return two_cards(request.settings.context or 1024, mode=mode, names=names)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def models(engine, tmp_path):
    folder = ModelsFolder(
        tmp_path / "models", engine, lambda path: EngineCommand("engine", (str(path),))
    )
    controller = ModelsController(engine, ModelNotes(), folder)
    engine.refresh_models()
    assert engine.answer(PlanModel, two_cards()).model == "one"
    return controller


class Wired:
    """The real engine controller and the models page's, at a client that is answered here."""

    def __init__(self, notes, folder):
        self.client = FakeClient()
        self.engine = EngineController(self.client, "two")  # type: ignore[arg-type]
        self.models = ModelsController(
            self.engine,
            notes,
            ModelsFolder(folder, self.engine, lambda _path: EngineCommand("engine", ())),
        )

    def greet(self):
        self.client.greeted.emit(None)
        self.client.answer(ListModels, ModelsListed((info("one"), info("two"))))
        self.client.answer_plans()

    def loads(self):
        return [request for request in self.client.asked if isinstance(request, LoadModel)]

    def cancelled(self):
        return [request.target for request in self.client.asked if isinstance(request, Cancel)]

    def handle(self, load):
        return self.client.handles[load.id]

    def finish_load(self):
        self.client.answer(LoadModel, loaded(self.loads()[-1].model))
        self.client.answer_plans()


def loaded(model_id):
    return ModelLoaded(
        model=model_id, context_length=64, backend="cpu", num_threads=1, load_s=1.0, memory_bytes={}
    )


NOTE = ModelNote(
    context=512, prompt_tokens=100, mode="layer_split", off=("cuda:1",), reserve_mib=1000,
    cpu_layers=3,
)  # fmt: skip
NOTED = LoadSettings(
    context=512, prompt_tokens=512, mode="layer_split", device="cuda:0,cpu",
    reserve_bytes=1000 * 2**20, cpu_layers=3,
)  # fmt: skip


@pytest.fixture
def wired(tmp_path):
    notes = ModelNotes()
    notes.change("two", **dataclasses.asdict(NOTE))
    return Wired(notes, tmp_path)


def test_the_model_of_last_time_is_loaded_as_it_was_set_though_another_is_on_show(wired):
    wired.greet()
    assert wired.models.chosen.id == "one"
    (load,) = wired.loads()
    assert (load.model, load.settings) == ("two", NOTED)


def test_whoever_loads_a_model_it_is_loaded_as_it_was_set(wired):
    wired.greet()
    wired.finish_load()
    wired.client.status_changed.emit(EngineStatus(state="empty"))  # unloaded when idle
    for load_it in (
        wired.engine.load_wanted,
        wired.engine.mend,
        lambda: wired.engine.load("two"),  # as a conversation chooses it
        lambda: wired.models.load("two"),
    ):
        before = len(wired.loads())
        load_it()
        wired.client.answer_plans()
        assert [load.settings for load in wired.loads()[before:]] == [NOTED]
        wired.finish_load()


def test_a_load_that_waits_for_its_plan_is_stopped_and_nothing_is_loaded_then(wired):
    wired.greet()
    wired.finish_load()
    wired.engine.load("one")
    wired.engine.load_wanted()  # one is under way
    assert wired.engine.view.state == "loading"
    wired.engine.stop_loading()
    assert wired.engine.view.state == "empty"
    wired.client.answer_plans()
    assert len(wired.loads()) == 1


def test_only_the_last_of_two_loads_that_wait_for_their_plans_is_sent(wired):
    wired.greet()
    wired.engine.load("two")
    wired.engine.load("one")
    wired.client.answer_plans()
    assert [load.model for load in wired.loads()] == ["two", "one"]


def test_a_load_ends_the_one_that_is_under_way_and_only_the_last_is_on_show(wired):
    wired.greet()
    (old,) = wired.loads()
    wired.handle(old).progressed.emit(Progress(id=old.id, stage="weights", fraction=0.9))
    wired.models.choose("one")
    wired.engine.load("one")
    assert wired.cancelled() == [old.id]
    assert wired.models._load_view() == LoadView("loading", 0.0)  # nothing of the old one's
    wired.client.answer_plans()
    new = wired.loads()[-1]
    loading = wired.engine.view
    wired.handle(old).progressed.emit(Progress(id=old.id, stage="weights", fraction=0.95))
    wired.client.status_changed.emit(EngineStatus(state="loading", model="two", fraction=0.95))
    wired.client.status_changed.emit(EngineStatus(state="empty"))
    wired.handle(old).end_cancelled()
    assert wired.engine.view == loading
    assert (loading.state, loading.model.id, loading.fraction) == ("loading", "one", 0.0)
    wired.engine.stop_loading()
    assert wired.cancelled() == [old.id, new.id]
    wired.handle(new).end_cancelled()
    assert wired.engine.view.state == "empty"


@pytest.mark.parametrize("is_done", [False, True])
def test_nothing_is_loaded_after_a_stop_while_another_load_waits_for_its_plan(wired, is_done):
    wired.greet()
    (old,) = wired.loads()
    wired.engine.load("one")
    wired.engine.stop_loading()
    assert wired.cancelled() == [old.id]
    wired.client.status_changed.emit(EngineStatus(state="loading", model="two", fraction=0.9))
    if is_done:  # before the engine read the cancel
        wired.client.status_changed.emit(EngineStatus(state="ready", model="two"))
        wired.handle(old).end_done(loaded("two"))
        assert any(isinstance(request, UnloadModel) for request in wired.client.asked)
    else:
        wired.handle(old).end_cancelled()
    assert (wired.engine.view.state, wired.engine.view.model.id) == ("empty", "one")
    wired.client.answer_plans()
    assert wired.loads() == [old]


@pytest.mark.parametrize("is_done", [False, True])
def test_a_model_that_is_deleted_while_it_is_loaded_is_not_loaded_then(wired, is_done):
    wired.greet()
    (load,) = wired.loads()
    wired.models.delete(next(row for row in wired.models.rows if row.id == "two"))
    assert wired.cancelled() == [load.id]
    *_, unload, delete = wired.client.asked
    assert isinstance(unload, UnloadModel)
    assert isinstance(delete, DeleteModel)
    if is_done:  # before the engine read the cancel
        wired.handle(load).end_done(loaded("two"))
    else:
        wired.handle(load).end_cancelled()
    wired.client.status_changed.emit(EngineStatus(state="empty"))
    assert wired.engine.view.state == "empty"


def test_a_model_that_left_the_library_while_it_was_loaded_is_still_the_one_to_ask(wired):
    wired.greet()
    wired.engine.refresh_models()
    wired.client.answer(ListModels, ModelsListed((info("one"),)))
    wired.finish_load()
    assert wired.engine.model.id == "two"


@pytest.mark.expects_log
def test_the_newest_state_is_heard_last_where_a_listener_loads_another_model(wired):
    heard = []
    wired.engine.view_changed.connect(
        lambda view: wired.engine.load("one") if view.state == "fault" else None
    )
    wired.engine.view_changed.connect(heard.append)
    wired.greet()
    wired.handle(wired.loads()[-1]).end_failed(RequestFailure("model_broken", "truncated"))
    assert heard[-1] == wired.engine.view
    assert heard[-1].state == "loading"


@pytest.mark.expects_log
def test_a_placement_that_is_refused_says_why_and_leads_to_its_card(wired):
    wired.greet()
    wired.engine.load("two")
    plan = wired.client.asked[-1]
    assert isinstance(plan, PlanModel)
    reason = "tensor parallel needs 2 or more GPUs; 1 is switched on"
    wired.client.handles[plan.id].end_failed(RequestFailure("bad_request", reason))
    view = wired.engine.view
    assert (view.state, view.reason, view.action) == ("fault", reason, "models")
    assert wired.engine.model is None


def test_a_model_that_has_no_plan_is_left_to_the_engine_where_nothing_was_set(engine, models):
    models.load("one")
    plan = engine.of(PlanModel)[-1]
    engine.handles[plan.id].end_failed(RequestFailure("bad_request", "no"))
    assert engine.loads == [("one", LoadSettings())]


def test_a_plan_of_all_devices_is_not_shown_where_some_are_off(engine, models):
    shown = []
    models.placement_changed.connect(shown.append)
    models.set_choice(PlacementChoice(off=frozenset({"cuda:1"})))
    engine.client.answer_plans()
    models.choose("two")
    models.choose("one")
    shown.clear()
    engine.client.answer_plans()
    assert engine.of(PlanModel)[-1].enabled == ("cuda:0", "cpu")
    assert [bar.name for bar in shown[0].bars if bar.is_used] == ["cuda:0", "cpu"]


def test_the_devices_stay_on_show_where_a_new_model_has_no_plan(engine, models):
    shown = []
    models.placement_changed.connect(shown.append)
    models.set_shown(True)
    engine.answer(ListDevices, DevicesListed(two_cards().available))
    models.set_shown(False)
    engine.client.answer_plans()
    models.choose("two")
    refused = engine.of(PlanModel)[-1]
    engine.handles[refused.id].end_failed(RequestFailure("bad_request", "no"))
    assert shown[-1].problem
    assert [bar.name for bar in shown[-1].bars] == ["cuda:0", "cuda:1", "cpu"]
    models.set_choice(PlacementChoice(off=frozenset({"cuda:0", "cuda:1", "cpu"})))
    engine.client.answer_plans()
    assert "No device" in shown[-1].problem
    assert [bar.is_on for bar in shown[-1].bars] == [False, False, False]


def test_a_model_is_loaded_on_the_devices_its_card_shows(engine, models):
    models.load("one")
    engine.answer(PlanModel, two_cards())
    ((model_id, settings),) = engine.loads
    assert model_id == "one"
    assert (settings.device, settings.mode) == ("cuda:0,cuda:1", "tensor_parallel")
    assert settings.context == 1024


def test_invented_devices_never_decide_how_a_model_is_loaded(engine, models):
    models.set_choice(PlacementChoice(devices="8x11GiB"))
    engine.answer(PlanModel, two_cards())
    models.load("one")
    assert engine.of(PlanModel)[-1].devices == ""
    engine.client.answer_plans()
    assert engine.loads[0][1].device == "cuda:0,cuda:1,cpu"


def test_a_deleted_model_is_named_in_the_language_of_the_window(qapp, qtbot, engine, models):
    start_theme(qapp, Look("light", "zh"))
    view = ModelsView(None)  # type: ignore[arg-type]
    qtbot.addWidget(view)
    ModelsPage(view, models, engine)
    engine.found = (info("glm", name_zh="智谱"),)
    engine.refresh_models()
    models.delete(next(row for row in models.rows if row.id == "glm"))
    engine.answer(DeleteModel, ModelDeleted(freed_bytes=2**20, trashed="deleted-2"))
    assert view.toast._text.text() == "已删除：智谱，回收站中占 1 MB"


def test_only_the_model_that_a_person_was_asked_about_is_deleted(engine, models):
    """While the question was open, another window's change gave its id to another folder."""
    notices = []
    models.notice.connect(notices.append)
    row = models.rows[0]
    other = msgspec.structs.replace(engine.infos[0], path="/models/other")
    engine.infos, engine.found = engine.infos[1:], (other, info("three"))
    engine.refresh_models()
    models.delete(row)
    assert notices == ["Nothing was deleted: the list of models has changed."]
    assert not engine.of(DeleteModel)
    models.delete(models.rows[1])
    assert engine.of(DeleteModel)[-1].model == "one"


def test_what_a_deletion_does_is_asked_before_it(qapp, qtbot, monkeypatch, engine, models):
    """One that was added in place is only taken off the list: nothing is freed by that."""
    start_theme(qapp, Look("light", "en"))
    view = ModelsView(None)  # type: ignore[arg-type]
    qtbot.addWidget(view)
    ModelsPage(view, models, engine)
    asked = []

    def agree(box):
        role = QMessageBox.ButtonRole.DestructiveRole
        (go_on,) = [button for button in box.buttons() if box.buttonRole(button) == role]
        asked.append((box.text(), box.informativeText(), go_on.text()))
        go_on.click()

    monkeypatch.setattr(QMessageBox, "exec", agree)
    inside = str(models.folder / "inside")
    engine.found = (info("beside"), msgspec.structs.replace(info("inside"), path=inside))
    engine.refresh_models()
    for model_id in ("beside", "inside"):
        models.choose(model_id)
        view.detail.header.acted.emit("delete")
    assert asked == [
        (
            "Remove beside from the list?",
            "Its folder stays:\n/models/beside",
            "Remove from the list",
        ),
        (
            "Delete inside?",
            f"It goes to the trash; emptying that frees 1 kB.\n{inside}",
            "Delete",
        ),
    ]
    assert [request.model for request in engine.of(DeleteModel)] == ["beside", "inside"]


@pytest.mark.parametrize("role", ["AcceptRole", "RejectRole"])
def test_a_failed_download_is_discarded_only_after_a_confirmed_question(
    qapp, qtbot, engine, models, role
):
    start_theme(qapp, Look("light", "en"))
    view = ModelsView(None)  # type: ignore[arg-type]
    qtbot.addWidget(view)
    ModelsPage(view, models, engine)

    def press():
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        assert "glm" in box.text()
        wanted = QMessageBox.ButtonRole[role]
        next(b for b in box.buttons() if box.buttonRole(b) == wanted).click()

    QTimer.singleShot(0, press)
    view.queue.discard_requested.emit(JobView("7", "download", "glm", "failed"))
    changed = [(request.job, request.action) for request in engine.of(ChangeJob)]
    assert changed == ([(7, "cancel")] if role == "AcceptRole" else [])


def test_devices_of_the_command_line_are_planned_for_every_model(engine, tmp_path):
    folder = ModelsFolder(tmp_path, engine, lambda _path: EngineCommand("engine", ()))
    controller = ModelsController(engine, ModelNotes(), folder, "4x24GiB")
    engine.refresh_models()
    assert engine.answer(PlanModel, two_cards()).devices == "4x24GiB"
    controller.choose("two")
    assert engine.of(PlanModel)[-1].devices == "4x24GiB"


def test_a_model_that_is_not_here_is_planned_and_never_loaded(engine, models):
    heard = []
    models.model_chosen.connect(lambda row, _choice: heard.append(row))
    models.choose("glm-130b")
    assert heard[0].is_here is False
    assert engine.of(PlanModel)[-1].model == "glm-130b"


def test_what_can_be_planned_and_what_is_in_the_trash_is_told(engine, models):
    heard = []
    models.library_changed.connect(heard.append)
    engine.refresh_models()
    library = heard[-1]
    assert [model.id for model in library.known] == ["glm-130b"]
    assert [one.name for one in library.trash] == ["old"]
    models.empty_trash()
    assert len(engine.of(EmptyTrash)) == 1


def test_measuring_loads_first_and_then_keeps_the_date(engine, models):
    views, measured = [], []
    models.load_changed.connect(views.append)
    models.measured.connect(measured.append)
    models.measure("one")
    engine.client.answer_plans()
    assert [load[0] for load in engine.loads] == ["one"]
    engine.becomes("ready", "one")
    engine.loaded.emit(
        ModelLoaded(
            model="one", context_length=64, backend="cpu", num_threads=1, load_s=1.0,
            memory_bytes={},
        )
    )  # fmt: skip
    request = engine.of(MeasureModel)[-1]
    engine.handles[request.id].progressed.emit(
        Progress(id=request.id, stage="measure", fraction=0.25)
    )
    assert (views[-1].state, views[-1].fraction) == ("measuring", 0.25)
    speed = MeasuredSpeed(
        at=1.8e9, machine="here", devices=("cpu",), decode_tok_s=8.5, prefill_tok_s=90.0,
        prompt_tokens=32, bytes_per_token=100,
    )  # fmt: skip
    engine.answer(MeasureModel, SpeedMeasured(speed))
    assert measured[0].measured_tok_s == 8.5
    assert measured[0].measured_at == 1.8e9
    assert views[-1].state == "loaded"


def measure_loaded(engine, models, model_id):
    """The request that measures a model which is loaded already."""
    engine.becomes("ready", model_id)
    models.measure(model_id)
    engine.becomes("busy", model_id)
    return engine.of(MeasureModel)[-1]


def test_a_measurement_is_interrupted_as_an_answer_is(engine, models):
    request = measure_loaded(engine, models, "one")
    assert models.is_measuring
    engine.interrupt()
    assert [cancel.target for cancel in engine.of(Cancel)] == [request.id]
    assert not models.is_measuring


def test_another_model_is_measured_once_the_measurement_of_the_first_is_stopped(engine, models):
    measured = []
    models.measured.connect(measured.append)
    first = measure_loaded(engine, models, "one")
    engine.interrupt()
    models.measure("two")
    engine.client.answer_plans()
    assert [load[0] for load in engine.loads] == ["two"]
    engine.handles[first.id].end_cancelled()
    engine.becomes("ready", "two")
    engine.loaded.emit(loaded("two"))
    assert engine.of(MeasureModel)[-1].model == "two"
    assert models.is_measuring
    assert measured == []


def test_what_is_measured_is_not_said_to_write_an_answer(qapp, qtbot, engine, models):
    start_theme(qapp, Look("light", "en"))
    view = ModelsView(None)  # type: ignore[arg-type]
    qtbot.addWidget(view)
    ModelsPage(view, models, engine)
    measure_loaded(engine, models, "one")
    models.choose("two")
    asked = []

    def stop_it():
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        asked.append(box.text())
        next(b for b in box.buttons() if b.text() == "Stop it").click()

    QTimer.singleShot(0, stop_it)
    view.detail.placement.measure_requested.emit()
    assert asked == ["The speed of one is being measured."]
    engine.client.answer_plans()
    assert [load[0] for load in engine.loads] == ["two"]


def test_a_failed_load_ends_the_measurement_that_waited_for_it(engine, models):
    models.measure("one")
    engine.client.answer_plans()
    engine.becomes("fault", "one", reason="no", code="out_of_memory")
    models.measure("two")
    engine.client.answer_plans()
    assert [load[0] for load in engine.loads] == ["one", "two"]


def test_out_of_memory_says_what_to_change_and_one_click_loads_it_so(engine, models):
    views = []
    models.load_changed.connect(views.append)
    engine.becomes("fault", "one", reason="cuda:1 needs 9 GiB more", code="out_of_memory")
    assert [fix.kind for fix in views[-1].fixes] == ["context", "without", "again"]
    models.load_with(views[-1].fixes[0])
    request = engine.answer(PlanModel, two_cards(512))
    assert request.settings.context == 512
    assert engine.loads[0][0] == "one"
    assert engine.loads[0][1].context == 512


def test_an_answer_that_ran_out_of_memory_is_mended_here(engine, models):
    views = []
    models.load_changed.connect(views.append)
    engine.becomes("ready", "one")
    engine.client.request_failed.emit(RequestFailure("out_of_memory", "cuda:0 needs 1 GiB more"))
    assert views[-1].state == "loaded"
    assert views[-1].reason
    assert views[-1].fixes
    engine.becomes("loading", "one")
    engine.becomes("ready", "one")
    assert views[-1].reason == ""


def test_without_an_engine_a_fix_starts_it_and_is_loaded_once_it_is_there(wired):
    client = wired.client
    wired.greet()
    client.ended.emit(EngineEnd("stopped", 0, "", ""))
    client.is_connected = client.is_running = client.is_started = False
    wired.models.load_with(Fix("again", PlacementChoice(context=512)))
    assert (client.num_starts, len(wired.loads())) == (1, 1)
    client.is_connected = client.is_running = client.is_started = True
    wired.greet()
    assert [(load.model, load.settings.context) for load in wired.loads()[1:]] == [("one", 512)]
    wired.models.set_choice(PlacementChoice(context=256))
    client.answer_plans()
    assert len(wired.loads()) == 2


def test_a_load_that_cannot_be_planned_is_not_begun(engine, models):
    models.load_with(Fix("context", PlacementChoice(context=99, mode="tensor_parallel")))
    request = engine.of(PlanModel)[-1]
    engine.handles[request.id].end_failed(RequestFailure("bad_request", "no"))
    assert engine.loads == []
    assert [failure.message for failure in engine.refusals] == ["no"]


def test_a_load_without_a_device_is_refused_and_does_not_fire_later(engine, models):
    everything = frozenset({"cuda:0", "cuda:1", "cpu"})
    models.load_with(Fix("again", PlacementChoice(off=everything)))
    engine.client.answer_plans()
    models.set_choice(PlacementChoice(off=everything - {"cuda:0"}))
    engine.client.answer_plans()
    assert engine.loads == []
    assert "no device is switched on" in engine.refusals[0].message


def test_the_self_test_and_a_tokenizer_are_asked_for(engine, models):
    models.self_test()
    models.add_tokenizer("one", "/home/li/ice_text.model")
    assert engine.of(AddJob)[-1].work == SelfTest()
    assert engine.of(AddTokenizer)[-1].path == "/home/li/ice_text.model"


def test_a_library_that_was_moved_is_read_from_there_also_after_a_crash(engine, models, tmp_path):
    folder, heard = models._folder, []
    folder.changed.connect(heard.append)
    models.move_to(tmp_path / "disk")
    work = engine.of(AddJob)[-1].work
    assert work == MoveLibrary(str(tmp_path / "models"), str(tmp_path / "disk"))
    running = JobInfo(job=1, work=work, state="running")
    engine.client.jobs_changed.emit(JobsChanged((running,)))
    assert heard == []
    # As the queue of last time says it, whoever was there when the move ended.
    done = msgspec.structs.replace(running, state="done")
    engine.client.jobs_changed.emit(JobsChanged((done,)))
    engine.client.jobs_changed.emit(JobsChanged((done,)))
    assert engine.answer(ChangeJob).action == "clear"
    assert len(engine.of(ChangeJob)) == 1
    assert heard == [tmp_path / "disk"]
    assert engine.restarts[0].arguments == (str(tmp_path / "disk"),)
    assert len(engine.restarts) == 1


def test_another_folder_is_used_as_it_is(engine, models, tmp_path):
    models.use_folder(tmp_path / "other")
    assert models.folder == tmp_path / "other"
    assert engine.of(AddJob) == []
    assert len(engine.restarts) == 1


def test_what_was_set_is_remembered_for_each_model(models):
    choice = replace(PlacementChoice(), context=512, cpu_layers=3, off=frozenset({"cuda:1"}))
    models.set_choice(choice)
    heard = []
    models.model_chosen.connect(lambda _row, noted: heard.append(noted))
    models.choose("two")
    models.choose("one")
    assert heard == [PlacementChoice(), choice]


@pytest.mark.parametrize(
    ("state", "is_there", "is_readable"),
    [("there", True, True), ("missing", False, True), ("unreadable", True, False)],
)
def test_the_state_of_the_folder_is_the_engines_word_and_no_look_at_the_disk(
    engine, models, monkeypatch, state, is_there, is_readable
):
    def look(*_args, **_options):
        raise AssertionError("the window's thread waits for a disk")

    heard = []
    models.library_changed.connect(heard.append)
    engine.models_folder = state
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", look)
        patched.setattr(os, "scandir", look)
        patched.setattr(os, "listdir", look)
        engine.models_changed.emit([])
    assert (heard[-1].is_there, heard[-1].is_readable) == (is_there, is_readable)


def test_why_a_job_stopped_is_told_in_the_windows_language(qapp):
    start_theme(qapp, Look("light", "zh"))
    full = "The disk is full. Free some space, then resume: what is done stays."
    job = JobInfo(job=1, work=VerifyModel("/m/glm"), state="paused", reason=full)
    assert "磁盘已满" in job_views.job_view(job).reason


def test_a_model_that_work_made_is_shown_and_one_that_came_otherwise_is_not(engine, models):
    arrived, chosen = [], []
    models.arrived.connect(lambda row: arrived.append(row.id))
    models.rows_changed.connect(lambda _rows, model_id: chosen.append(model_id))
    engine.found = (info("restored"),)
    engine.refresh_models()
    assert (arrived, chosen[-1]) == ([], "one")
    engine.found = (info("converted"),)
    engine.client.jobs_changed.emit(JobsChanged((), library_changed=True))
    assert (arrived, chosen[-1]) == (["converted"], "converted")
    engine.client.jobs_changed.emit(JobsChanged((), library_changed=True))
    assert arrived == ["converted"]


def test_work_that_another_bilin_keeps_from_the_queue_is_told(qapp, engine, models):
    start_theme(qapp, Look("light", "zh"))
    told = []
    models.notice.connect(told.append)
    models.verify("one")
    (request,) = engine.of(AddJob)
    refusal = (
        "another Bilin works on the models in /models; close it first, or give this one a models"
        " folder of its own"
    )
    engine.handles[request.id].end_failed(RequestFailure("error", refusal))
    assert len(told) == 1
    assert "另一个" in told[0]
    assert "/models" in told[0]
