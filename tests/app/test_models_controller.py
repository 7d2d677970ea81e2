"""The models controller with a fake engine: loads what the card shows, measures, moves, mends."""

import os
from dataclasses import replace

import msgspec
import pytest
from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import job_views
from bilin_app.controllers.engine_views import EngineView, ModelView
from bilin_app.controllers.model_views import Fix, PlacementChoice
from bilin_app.controllers.models import ModelsController
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.engine_client.process import EngineCommand
from bilin_app.pages.models.page import ModelsPage
from bilin_app.pages.models.view import ModelsView
from bilin_app.storage.model_notes import ModelNotes
from bilin_app.theme.theme import Look, start_theme
from bilin_engine.protocol import (
    AddJob,
    AddTokenizer,
    ChangeJob,
    DeleteModel,
    DeviceInfo,
    DevicePlan,
    EmptyTrash,
    JobInfo,
    JobsChanged,
    LoadSettings,
    MeasuredSpeed,
    MeasureModel,
    ModelDeleted,
    ModelInfo,
    ModelLoaded,
    MoveLibrary,
    PlanModel,
    PlanResult,
    Progress,
    SelfTest,
    SpeedMeasured,
    TrashedModel,
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
    jobs_changed = Signal(object)
    request_failed = Signal(object)
    greeted = Signal(object)
    is_connected = True


class FakeEngine(QObject):
    """Keeps what it is asked; answers when a test says so."""

    models_changed = Signal(object)
    view_changed = Signal(object)
    loaded = Signal(object)
    load_progressed = Signal(object)

    def __init__(self):
        super().__init__()
        self.client = FakeClient(self)
        self.infos = (info("one"), info("two"))
        self.trash = (TrashedModel(trashed="deleted-1", name="old", size_bytes=5, deleted_at=1.0),)
        self.known = (info("glm-130b"), info("two"))
        self.models_folder = "there"
        self.found = ()  # what is new when the library is read again
        self.view = EngineView("empty")
        self.asked = []
        self.handles = {}
        self.loads = []
        self.restarts = []
        self.settings_of = lambda _model_id: LoadSettings()

    @property
    def model(self):
        return self.view.model if self.view.state in ("ready", "busy") else None

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

    def of(self, kind):
        return [one for one in self.asked if isinstance(one, kind)]

    def load(self, model_id):
        self.loads.append((model_id, self.settings_of(model_id)))

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


def two_cards(context=1024, *, fits=True):
    devices = tuple(
        DevicePlan(
            name=f"cuda:{i}", label="RTX 3090", total=24, other_programs=0, weights=10, kv_cache=1,
            activations=1, communication=0, reserve=1, free=11, num_layers=5,
        )
        for i in range(2)
    )  # fmt: skip
    available = tuple(
        DeviceInfo(name=name, label=name, total_bytes=24, free_bytes=24)
        for name in ("cuda:0", "cuda:1", "cpu")
    )
    return PlanResult(
        fits=fits, mode="tensor_parallel", context=context, prompt_tokens=512, devices=devices,
        roofline_tok_s=9.0, decode_tok_s=7.0, first_token_s=1.0, available=available,
    )  # fmt: skip


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


def test_a_model_is_loaded_on_the_devices_its_card_shows(engine, models):
    models.load("one")
    ((model_id, settings),) = engine.loads
    assert model_id == "one"
    assert (settings.device, settings.mode) == ("cuda:0,cuda:1", "tensor_parallel")
    assert settings.context == 1024


def test_invented_devices_never_decide_how_a_model_is_loaded(engine, models):
    models.set_choice(PlacementChoice(devices="8x11GiB"))
    engine.answer(PlanModel, two_cards())
    models.load("one")
    assert engine.loads[0][1].device == "auto"


def test_a_deleted_model_is_named_in_the_language_of_the_window(qapp, qtbot, engine, models):
    start_theme(qapp, Look("light", "zh"))
    view = ModelsView(None)  # type: ignore[arg-type]
    qtbot.addWidget(view)
    ModelsPage(view, models, engine)
    engine.found = (info("glm", name_zh="智谱"),)
    engine.refresh_models()
    models.delete("glm")
    engine.answer(DeleteModel, ModelDeleted(freed_bytes=2**20, trashed="deleted-2"))
    assert view.toast._text.text() == "已删除：智谱，回收站中占 1 MB"


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


def test_a_failed_load_ends_the_measurement_that_waited_for_it(engine, models):
    models.measure("one")
    engine.becomes("fault", "one", reason="no", code="out_of_memory")
    models.measure("two")
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


def test_without_an_engine_a_fix_loads_at_once_and_once(engine, models):
    engine.client.is_connected = False
    models.load_with(Fix("again", PlacementChoice(context=512)))
    assert [(model, settings.context) for model, settings in engine.loads] == [("one", 512)]
    engine.client.is_connected = True
    models.set_choice(PlacementChoice(context=256))
    engine.answer(PlanModel, two_cards(256))
    assert len(engine.loads) == 1


def test_a_load_that_cannot_be_planned_is_not_begun(engine, models):
    models.load_with(Fix("context", PlacementChoice(context=99)))
    request = engine.of(PlanModel)[-1]
    engine.handles[request.id].end_failed(RequestFailure("bad_request", "no"))
    assert engine.loads == []


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
