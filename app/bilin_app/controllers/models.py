"""The models page's controller: library, placement, loading and the work queue of the engine.

Knows the engine and what this machine noted of each model; knows no widget.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import job_views, placement_views, sentences
from bilin_app.controllers.engine import EngineController, model_view
from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.load_fixes import load_fixes
from bilin_app.controllers.model_views import (
    Fix,
    FolderView,
    JobAction,
    LibraryView,
    LoadView,
    ModelRow,
    PlacementChoice,
    PlacementView,
    TrashView,
)
from bilin_app.controllers.models_folder import ModelsFolder
from bilin_app.controllers.plan_asking import ask_plan
from bilin_app.controllers.speed_run import SpeedRun
from bilin_app.engine_client.client import RequestFailure
from bilin_app.storage.model_notes import ModelNotes
from bilin_engine.protocol import (
    AddInPlace,
    AddJob,
    AddTokenizer,
    ChangeJob,
    ConvertModel,
    DeleteModel,
    DeviceInfo,
    DevicesListed,
    EmptyTrash,
    FolderInspected,
    ImportFolder,
    InspectFolder,
    JobsChanged,
    JobWork,
    ListDevices,
    ListJobs,
    LoadSettings,
    MeasuredSpeed,
    ModelDeleted,
    ModelInfo,
    ModelLoaded,
    PlanResult,
    Progress,
    RenameModel,
    RestoreModel,
    SelfTest,
    VerifyModel,
)

DEVICES_INTERVAL_MS = 2000
NONE_ON = "no device is switched on; at least one is needed"  # in the engine's words
NEWS_BYTES = 16 * 2**20  # a change of free memory that is worth another plan


class ModelsController(QObject):
    """What the page shows, as signals.

    rows_changed(list[ModelRow], str): the library and the chosen model. placement_changed(
    PlacementView), load_changed(LoadView): of the chosen model. jobs_changed(list[JobView]).
    deleted(ModelRow, freed bytes, trashed). notice(str). library_changed(LibraryView).
    measured(ModelRow): its speed was taken. arrived(ModelRow): work made it, and it is chosen.
    """

    rows_changed = Signal(object, str)
    model_chosen = Signal(object, object)  # ModelRow, PlacementChoice
    model_shown = Signal(object)  # ModelRow: the chosen one, as it is now
    placement_changed = Signal(object)
    load_changed = Signal(object)
    jobs_changed = Signal(object)
    folder_inspected = Signal(object)
    deleted = Signal(object, object, str)
    notice = Signal(str)
    library_changed = Signal(object)
    measured = Signal(object)
    arrived = Signal(object)

    def __init__(
        self,
        engine: EngineController,
        notes: ModelNotes,
        folder: ModelsFolder,
        devices: str = "",
        parent: QObject | None = None,
    ) -> None:
        """folder: where new models are made. devices: to plan for at first, as "4x24GiB"."""
        super().__init__(parent)
        self._engine = engine
        self._notes = notes
        self._folder = folder
        self._chosen = ""
        self._paths_before: frozenset[str] = frozenset()  # of models, before work made others
        self._invented = devices
        self._choice = PlacementChoice(devices=devices)
        self._speed = SpeedRun(engine, self)
        self._speed.changed.connect(lambda: self.load_changed.emit(self._load_view()))
        self._speed.measured.connect(self._on_measured)
        self._speed.failed.connect(self.notice)
        self._plan: PlanResult | None = None
        self._real: dict[str, int] = {}  # of the loaded model, by device
        self._notice = ""  # what of its load was done otherwise than asked
        self._progress: Progress | None = None
        self._devices: tuple[DeviceInfo, ...] = ()
        self._trouble = ""  # why an answer of the loaded model failed, where that can be mended
        self._is_planning = self._is_plan_wanted = self._is_asking = False
        self._timer = QTimer(self)
        self._timer.setInterval(DEVICES_INTERVAL_MS)
        self._timer.timeout.connect(self._ask_devices)
        engine.place = self.place
        engine.models_changed.connect(lambda _models: self._on_models_changed())
        engine.view_changed.connect(self._on_engine_changed)
        engine.loaded.connect(self._on_loaded)
        engine.load_progressed.connect(self._on_load_progressed)
        engine.client.request_failed.connect(self._on_request_failed)
        engine.client.jobs_changed.connect(self._on_jobs_changed)
        engine.client.greeted.connect(lambda _hello: self._on_greeted())

    # --- The library ------------------------------------------------------------------------------

    @property
    def rows(self) -> list[ModelRow]:
        """The library as last listed."""
        return [_row(info) for info in self._engine.infos]

    @property
    def chosen(self) -> ModelRow | None:
        """The model on show, which may be one that is only planned."""
        planned = (replace(_row(info), is_here=False) for info in self._known)
        return next((row for row in (*self.rows, *planned) if row.id == self._chosen), None)

    @property
    def _known(self) -> list[ModelInfo]:
        """Models to plan that are not here."""
        here = {info.id for info in self._engine.infos}
        return [info for info in self._engine.known if info.id not in here]

    @property
    def is_busy(self) -> bool:
        """Whether a model is at work now: it writes, reads or is measured."""
        return self._engine.view.state == "busy"

    @property
    def is_measuring(self) -> bool:
        """Whether that work is a measurement."""
        return self._speed.is_running

    @property
    def loaded_id(self) -> str:
        """The model in memory, "" for none."""
        return self._engine.model.id if self._engine.model else ""

    def choose(self, model_id: str) -> None:
        """Puts a model on show."""
        self._chosen = model_id
        self._plan = None
        note = self._notes.get(model_id)
        self._choice = replace(placement_views.noted_choice(note), devices=self._invented)
        row = self.chosen
        if row is not None:
            self.model_chosen.emit(row, self._choice)
            self.load_changed.emit(self._load_view())
            self._want_plan()

    def refresh(self) -> None:
        """Reads the library again."""
        self._engine.refresh_models()

    def rename(self, model_id: str, name: str) -> None:
        """Gives a model another name."""
        self._ask(lambda i: RenameModel(id=i, model=model_id, name=name), self.refresh)

    def delete(self, row: ModelRow) -> None:
        """Puts a model into the trash; one that is loaded, or about to be, is unloaded first.

        The list may have changed since a person was asked: only the folder in question is deleted.
        """
        if (row.id, row.path) not in [(now.id, now.path) for now in self.rows]:
            self.notice.emit(self.tr("Nothing was deleted: the list of models has changed."))
            self.refresh()
            return
        view = self._engine.view
        if view.model is not None and view.model.id == row.id:
            if view.state == "loading":
                self._engine.stop_loading()
            if view.state in ("loading", "ready", "busy"):  # a load may end before it is stopped
                self._engine.unload()
        handle = self._engine.send(lambda i: DeleteModel(id=i, model=row.id))
        handle.done.connect(lambda result: self._on_deleted(row, result))
        handle.failed.connect(self._on_refused)

    def empty_trash(self) -> None:
        """Removes what was deleted for good."""
        self._ask(lambda i: EmptyTrash(id=i), self.refresh)

    def add_tokenizer(self, model_id: str, path: str) -> None:
        """Puts a tokenizer file into a model that lacks it."""
        self._ask(lambda i: AddTokenizer(id=i, model=model_id, path=path), self.refresh)

    @property
    def folder(self) -> Path:
        """Where the person's models lie."""
        return self._folder.path

    def use_folder(self, folder: Path) -> None:
        """Reads models from another folder, leaving those of this one there."""
        self._folder.use(folder)

    def move_to(self, folder: Path) -> None:
        """Moves all models to another folder; the work queue shows how far it is."""
        self._engine.unload()
        self.add_job(self._folder.move_work(folder))

    def undo_delete(self, trashed: str) -> None:
        """Takes a model out of the trash again."""
        self._ask(lambda i: RestoreModel(id=i, trashed=trashed), self.refresh)

    # --- Placement --------------------------------------------------------------------------------

    def set_shown(self, shown: bool) -> None:
        """Reads the devices every two seconds while the page is looked at.

        The library is read again at once: another window may have changed the folder.
        """
        if shown:
            if self._engine.client.is_connected:
                self.refresh()
            self._ask_devices()
            self._timer.start()
        else:
            self._timer.stop()

    def set_choice(self, choice: PlacementChoice) -> None:
        """Plans for what a person set on the card, and keeps it for this model."""
        if choice.devices != self._choice.devices:
            self._plan = None  # it names other devices than those to switch on and off now
        self._choice = choice
        self._invented = choice.devices
        if not choice.devices:  # a plan for a machine that is not there is not kept
            self._notes.change(self._chosen, **placement_views.note_values(choice))
        self._want_plan()

    def place(
        self,
        model_id: str,
        placed: Callable[[LoadSettings], None],
        refused: Callable[[RequestFailure], None],
    ) -> None:
        """Finds out how a model is to be loaded: as it was set on its card, where that lies now.

        What cannot be planned is refused where a person set it, else left to the engine.
        """
        note = self._notes.get(model_id)

        def on_refused(failure: RequestFailure) -> None:
            if failure.end is not None or placement_views.is_placed(note):
                refused(failure)
            else:
                placed(placement_views.load_settings(note, None))

        ask_plan(
            self._engine.send,
            model_id,
            placement_views.noted_choice(note),
            (),
            planned=lambda plan: placed(placement_views.load_settings(note, plan)),
            none_on=lambda: refused(RequestFailure("bad_request", NONE_ON)),
            refused=on_refused,
        )

    def load(self, model_id: str) -> None:
        """Loads a model in place of the loaded one."""
        self._engine.load(model_id)

    def load_with(self, fix: Fix) -> None:
        """Loads the model on show with something changed."""
        self.set_choice(fix.choice)
        self._engine.load(self._chosen)
        row = self.chosen
        if row is not None:
            self.model_chosen.emit(row, fix.choice)

    def unload(self) -> None:
        """Frees the memory."""
        self._engine.unload()

    def stop_loading(self) -> None:
        """Gives up the load that is under way."""
        self._engine.stop_loading()

    def measure(self, model_id: str) -> None:
        """Takes a model's speed on this machine; it is loaded for that if it is not."""
        self._speed.start(model_id)

    def stop_measuring(self) -> None:
        """Gives the measurement up."""
        self._speed.stop()

    def self_test(self) -> None:
        """Checks this machine; the queue then holds the report."""
        self.add_job(SelfTest())

    # --- Work -------------------------------------------------------------------------------------

    def inspect(self, path: str) -> None:
        """What lies at a path; folder_inspected(FolderView) follows."""
        handle = self._engine.send(lambda i: InspectFolder(id=i, path=path))
        handle.done.connect(self._on_inspected)
        handle.failed.connect(self._on_refused)

    def add_in_place(self, path: str) -> None:
        """Lists a model folder that stays where it is."""
        self._ask(lambda i: AddInPlace(id=i, path=path), self.refresh)

    def add_job(self, work: JobWork) -> None:
        """Puts work at the end of the queue."""
        self._ask(lambda i: AddJob(id=i, work=work))

    def convert(self, source: str, name: str, group_size: str, tokenizer_file: str = "") -> None:
        """Converts what lies at `source` into a model of the library."""
        folder = str(self.folder.absolute() / name)
        self.add_job(
            ConvertModel(
                source=source, folder=folder, group_size=group_size, tokenizer_file=tokenizer_file
            )
        )

    def import_folder(self, source: str, name: str) -> None:
        """Copies a model folder into the library."""
        self.add_job(ImportFolder(source=source, folder=str(self.folder.absolute() / name)))

    def verify(self, model_id: str) -> None:
        """Compares a model's files with their hashes."""
        row = next((row for row in self.rows if row.id == model_id), None)
        if row is not None:
            self.add_job(VerifyModel(row.path))

    def change_job(self, job: str, action: JobAction) -> None:
        """Pauses, resumes, cancels, … a job."""
        self._ask(lambda i: ChangeJob(id=i, job=int(job), action=action))

    # --- From the engine --------------------------------------------------------------------------

    def _ask(self, make: object, then: object = None) -> None:
        handle = self._engine.send(make)  # type: ignore[arg-type]
        if callable(then):
            handle.done.connect(lambda _result: then())
        handle.failed.connect(self._on_refused)

    def _on_greeted(self) -> None:
        self._real = {}
        self._ask(lambda i: ListJobs(id=i))

    def _on_refused(self, failure: RequestFailure) -> None:
        if failure.end is None:
            self.notice.emit(sentences.request_failed(failure.code, failure.message))

    def _on_models_changed(self) -> None:
        rows = self.rows
        self.library_changed.emit(self._library_view())
        before, self._paths_before = self._paths_before, frozenset()
        arrived = next((row for row in rows if before and row.path not in before), None)
        chosen = self.chosen
        if arrived is not None:
            self.choose(arrived.id)
            self.arrived.emit(arrived)
        elif chosen is not None:
            self.model_shown.emit(chosen)
        elif rows:
            self._chosen = ""
            wanted = self._engine.view.model.id if self._engine.view.model else ""
            ids = [row.id for row in rows]
            self.choose(wanted if wanted in ids else ids[0])
        self.rows_changed.emit(rows, self._chosen)

    def _on_deleted(self, row: ModelRow, result: ModelDeleted) -> None:
        self.deleted.emit(row, result.freed_bytes, result.trashed)
        self.refresh()

    def _on_measured(self, model_id: str, speed: MeasuredSpeed) -> None:
        row = next((row for row in self.rows if row.id == model_id), None)
        if row is not None:
            rate = speed.decode_tok_s
            self.measured.emit(replace(row, measured_tok_s=rate, measured_at=speed.at))
        self.refresh()
        self._want_plan()

    def _library_view(self) -> LibraryView:
        trash = tuple(
            TrashView(one.trashed, one.name, one.size_bytes, one.deleted_at)
            for one in self._engine.trash
        )
        known = tuple(model_view(info) for info in self._known)
        state = self._engine.models_folder
        return LibraryView(
            str(self.folder), state != "missing", state != "unreadable", trash, known
        )

    def _on_inspected(self, result: FolderInspected) -> None:
        self.folder_inspected.emit(
            FolderView(
                path=result.path,
                kind=result.kind,
                title=result.title,
                size_bytes=result.size_bytes,
                needed_bytes=result.needed_bytes,
                free_bytes=result.free_bytes,
                rate_bytes_s=result.rate_bytes_s,
                problem=engine_sentence(result.problem),
                lacks_tokenizer=result.lacks_tokenizer,
            )
        )

    def _on_jobs_changed(self, event: JobsChanged) -> None:
        self.jobs_changed.emit([job_views.job_view(job) for job in event.jobs])
        if event.library_changed:
            self._paths_before = frozenset(row.path for row in self.rows)
            self.refresh()

    def _on_engine_changed(self, view: EngineView) -> None:
        if view.state not in ("ready", "busy"):
            self._real = {}
            self._notice = ""
        if view.state != "loading" or not view.fraction:  # or another load began
            self._progress = None
        if view.state == "loading":
            self._trouble = ""
        self.rows_changed.emit(self.rows, self._chosen)
        self.load_changed.emit(self._load_view())
        self._show_plan()

    def _on_loaded(self, loaded: ModelLoaded) -> None:
        self._real = dict(loaded.memory_bytes)
        self._notice = loaded.notice
        self.load_changed.emit(self._load_view())
        self._want_plan()

    def _on_load_progressed(self, progress: Progress) -> None:
        self._progress = progress
        self.load_changed.emit(self._load_view())

    def _load_view(self) -> LoadView:
        view = self._engine.view
        if view.model is None or view.model.id != self._chosen:
            return LoadView()
        if self._speed.is_running and self._speed.model_id == self._chosen:
            return LoadView("measuring", self._speed.fraction, "measure")
        match view.state:
            case "ready" | "busy":
                reason = self._trouble or self._notice
                return LoadView("loaded", 1.0, reason=reason, fixes=self._fixes())
            case "loading":
                progress = self._progress
                if progress is None:
                    return LoadView("loading", view.fraction)
                return LoadView("loading", progress.fraction, progress.stage, progress.eta_s)
            case "fault":
                return LoadView(reason=view.reason, fixes=self._fixes())
            case _:
                return LoadView()

    def _fixes(self) -> tuple[Fix, ...]:
        view = self._engine.view
        reason = self._trouble or view.reason
        if not reason:
            return ()
        code = "out_of_memory" if self._trouble else view.code
        return load_fixes(code, reason, replace(self._choice, devices=""), self._plan)

    def _on_request_failed(self, failure: RequestFailure) -> None:
        """A request of any page failed for want of memory: the placement is what mends it."""
        if failure.code == "out_of_memory":
            self._trouble = sentences.request_failed(failure.code, failure.message)
            self.load_changed.emit(self._load_view())

    # --- Plans ------------------------------------------------------------------------------------

    def _ask_devices(self) -> None:
        if self._is_asking or not self._engine.client.is_connected:
            return
        self._is_asking = True
        handle = self._engine.send(lambda i: ListDevices(id=i))
        handle.done.connect(self._on_devices)
        handle.failed.connect(lambda _failure: self._on_devices(None))

    def _on_devices(self, listed: DevicesListed | None) -> None:
        self._is_asking = False
        if listed is None or not _differ(self._devices, listed.devices):
            return
        self._devices = listed.devices
        if not self._choice.devices:
            self._want_plan()

    def _want_plan(self) -> None:
        """One plan is asked for at a time; what changes meanwhile is in the next one."""
        row = self.chosen
        if row is None or row.model.problem or not self._engine.client.is_connected:
            return
        if self._is_planning:
            self._is_plan_wanted = True
            return
        model_id, choice = self._chosen, self._choice
        self._is_planning, self._is_plan_wanted = True, False
        ask_plan(
            self._engine.send,
            model_id,
            choice,
            self._plan.available if self._plan is not None else (),
            planned=partial(self._on_planned, model_id),
            none_on=partial(self._on_none_on, model_id),
            refused=self._on_plan_refused,
        )

    def _on_planned(self, model_id: str, result: PlanResult) -> None:
        self._is_planning = False
        if model_id == self._chosen:
            self._plan = result
            self._show_plan()
        if self._is_plan_wanted or model_id != self._chosen:
            self._want_plan()

    def _on_none_on(self, model_id: str) -> None:
        self._is_planning = False
        if model_id == self._chosen:
            self._show_no_plan(self.tr("No device is switched on; at least one is needed."))
        if self._is_plan_wanted or model_id != self._chosen:
            self._want_plan()

    def _on_plan_refused(self, failure: RequestFailure) -> None:
        self._is_planning = False
        if failure.end is not None:
            return
        self._show_no_plan(sentences.request_failed(failure.code, failure.message))
        if self._is_plan_wanted:
            self._want_plan()

    def _show_no_plan(self, reason: str) -> None:
        """The devices stay on show: switching one on may be what is needed."""
        if self._plan is not None:
            bars = placement_views.device_bars(self._plan, self._choice, {})
        else:
            bars = placement_views.bare_bars(self._devices, self._choice)
        self.placement_changed.emit(PlacementView(bars=bars, problem=reason))

    def _show_plan(self) -> None:
        if self._plan is not None:
            is_real = self._chosen == self.loaded_id and not self._choice.devices
            real = self._real if is_real else {}
            view = placement_views.placement_view(self._plan, self._choice, real)
            self.placement_changed.emit(view)


def _row(info: ModelInfo) -> ModelRow:
    return ModelRow(
        model=model_view(info),
        size_bytes=info.size_bytes,
        languages=info.languages,
        blanks=info.blank_kinds,
        family=info.family,
        licence=info.licence,
        source=info.source,
        path=info.path,
        num_layers=info.num_layers,
        num_heads=info.num_heads,
        is_verified=info.verified_at > 0,
        measured_tok_s=info.speed.decode_tok_s if info.speed else 0.0,
        measured_at=info.speed.at if info.speed else 0.0,
        lacks_tokenizer=info.lacks_tokenizer,
    )


def _differ(old: tuple[DeviceInfo, ...], new: tuple[DeviceInfo, ...]) -> bool:
    if [d.name for d in old] != [d.name for d in new]:
        return True
    pairs = zip(old, new, strict=True)
    return any(abs(a.free_bytes - b.free_bytes) > NEWS_BYTES for a, b in pairs)
