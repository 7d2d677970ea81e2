"""Binds the models page's widgets to the controllers: nothing but connections and questions."""

from pathlib import Path

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMenu, QMessageBox

from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.model_views import (
    FolderView,
    JobView,
    LibraryView,
    ModelRow,
    PlacementChoice,
)
from bilin_app.controllers.models import ModelsController
from bilin_app.pages.deletion_question import DeletionQuestion
from bilin_app.pages.file_dialogs import ask_folder, ask_open
from bilin_app.pages.model_name import model_name
from bilin_app.pages.models import words
from bilin_app.pages.models.add import AddDialog
from bilin_app.pages.models.folder import FolderDialog
from bilin_app.pages.models.rename import RenameDialog
from bilin_app.pages.models.report import ReportDialog
from bilin_app.pages.models.tokenizer import ask_for_tokenizer
from bilin_app.pages.models.trash import TrashDialog
from bilin_app.pages.models.view import ModelsView


class ModelsPage(QObject):
    """Keeps a ModelsView and its controller in step."""

    def __init__(
        self, view: ModelsView, models: ModelsController, engine: EngineController
    ) -> None:
        super().__init__(view)
        self._view = view
        self._models = models
        self._engine = engine
        self._trashed = ""
        self._group_size = ""  # wanted for the next folder that is added
        self._library = LibraryView()
        models.rows_changed.connect(self._on_rows_changed)
        models.library_changed.connect(self._on_library_changed)
        models.model_shown.connect(view.detail.show_row)
        models.measured.connect(self._on_measured)
        models.arrived.connect(self._on_arrived)
        models.model_chosen.connect(self._on_model_chosen)
        models.placement_changed.connect(view.detail.placement.show_placement)
        models.load_changed.connect(view.detail.show_load)
        models.jobs_changed.connect(view.show_jobs)
        models.deleted.connect(self._on_deleted)
        models.notice.connect(view.toast.show_text)
        view.shown_changed.connect(models.set_shown)
        view.list.model_chosen.connect(models.choose)
        view.detail.placement.choice_changed.connect(models.set_choice)
        view.detail.header.acted.connect(self._on_acted)
        view.queue.job_acted.connect(models.change_job)
        view.toast.acted.connect(self._on_undo)
        models.folder_inspected.connect(self._on_inspected)
        view.list.add_requested.connect(self._on_add_requested)
        view.dropped.connect(self._on_dropped)
        view.detail.placement.convert_requested.connect(self._on_convert_requested)
        view.detail.placement.measure_requested.connect(self._on_measure_requested)
        view.detail.placement.self_test_requested.connect(models.self_test)
        view.detail.tokenizer_requested.connect(self._on_tokenizer_requested)
        view.detail.fixed.connect(models.load_with)
        view.queue.report_requested.connect(self._on_report_requested)
        view.queue.discard_requested.connect(self._on_discard_requested)
        view.list.footer.planned.connect(models.choose)
        view.list.footer.trash_requested.connect(self._on_trash_requested)
        view.list.footer.folder_requested.connect(self._on_folder_requested)

    # --- From the controller ----------------------------------------------------------------------

    def _on_rows_changed(self, rows: list[ModelRow], chosen: str) -> None:
        self._view.show_models(rows, chosen, self._models.loaded_id)

    def _on_model_chosen(self, row: ModelRow, choice: PlacementChoice) -> None:
        card = self._view.detail.placement
        card.show_model(row, choice)
        self._view.detail.show_row(row)

    def _on_library_changed(self, library: LibraryView) -> None:
        self._library = library
        self._view.list.footer.show_library(library)

    def _on_measured(self, row: ModelRow) -> None:
        rate = words.tokens_per_s(row.measured_tok_s)
        text = self.tr("{0}: {1} tok/s on this machine").format(model_name(row.model), rate)
        self._view.toast.show_text(text)

    def _on_arrived(self, row: ModelRow) -> None:
        self._view.toast.show_text(self.tr("{0} is here").format(model_name(row.model)))

    def _on_deleted(self, row: ModelRow, freed_bytes: int, trashed: str) -> None:
        self._trashed = trashed
        name = model_name(row.model)
        text = self.tr("Deleted: {0}, {1} in the trash").format(name, words.disk_size(freed_bytes))
        if not trashed:
            text = self.tr("{0} is no longer listed; its folder stays").format(name)
        self._view.toast.show_text(text, self.tr("Undo") if trashed else "")

    def _on_inspected(self, folder: FolderView) -> None:
        dialog = AddDialog(self._view, folder, self._group_size)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._group_size = ""
        dialog.convert_requested.connect(self._models.convert)
        dialog.import_requested.connect(self._models.import_folder)
        dialog.in_place_requested.connect(self._models.add_in_place)
        dialog.open()

    # --- From the widgets -------------------------------------------------------------------------

    def _on_acted(self, action: str) -> None:
        row = self._models.chosen
        if row is None:
            return
        match action:
            case "load":
                self._load(row)
            case "stop":
                self._models.stop_loading()
            case "unload":
                if not self._models.is_busy or self._asks_to_interrupt():
                    self._models.unload()
            case "stop measuring":
                self._models.stop_measuring()
            case "rename":
                self._rename(row)
            case "verify":
                self._models.verify(row.id)
            case "reveal":
                QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(row.path))))
            case "delete":
                if self._asks_to_delete(row):
                    self._models.delete(row)

    def _on_add_requested(self) -> None:
        menu = self.make_add_menu()
        menu.aboutToHide.connect(menu.deleteLater)
        add = self._view.list.add
        menu.popup(add.mapToGlobal(add.rect().bottomLeft()))

    def make_add_menu(self) -> QMenu:
        """What can be added: a file dialog shows folders or files, not both."""
        menu = QMenu(self._view)
        folder = menu.addAction(self.tr("A folder with a model…"))
        folder.triggered.connect(self._add_folder)
        file = menu.addAction(self.tr("A GGUF file…"))
        file.triggered.connect(self._add_file)
        return menu

    def _add_folder(self) -> None:
        self._inspect(ask_folder(self._view, self.tr("A folder with a model")))

    def _add_file(self) -> None:
        title = self.tr("A GGUF file")
        self._inspect(ask_open(self._view, title, "GGUF (*.gguf)", sort="models"))

    def _inspect(self, path: Path | None) -> None:
        if path:
            self._models.inspect(str(path))

    def _on_dropped(self, path: str) -> None:
        row = self._models.chosen
        if row is not None and row.lacks_tokenizer and path.endswith(".model"):
            self._models.add_tokenizer(row.id, path)
        else:
            self._models.inspect(path)

    def _on_tokenizer_requested(self) -> None:
        row = self._models.chosen
        path = ask_for_tokenizer(self._view) if row is not None else ""
        if row is not None and path:
            self._models.add_tokenizer(row.id, path)

    def _on_measure_requested(self) -> None:
        row = self._models.chosen
        if row is not None and (not self._models.is_busy or self._asks_to_interrupt()):
            self._models.measure(row.id)

    def _on_report_requested(self, report: str) -> None:
        dialog = ReportDialog(self._view, report)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _on_discard_requested(self, job: JobView) -> None:
        text = self.tr("Delete what was downloaded or written for {0}?").format(job.title)
        if DeletionQuestion(self._view, self.tr("Discard"), text).is_confirmed():
            self._models.change_job(job.id, "cancel")  # it may have begun during the question

    def _on_trash_requested(self) -> None:
        dialog = TrashDialog(self._view, self._library.trash)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.restored.connect(self._models.undo_delete)
        dialog.emptied.connect(self._models.empty_trash)
        dialog.open()

    def _on_folder_requested(self) -> None:
        dialog = FolderDialog(self._view, self._library.folder)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.moved.connect(self._move)
        dialog.used.connect(self._use)
        dialog.open()

    def _move(self, folder: Path) -> None:
        if not self._models.is_busy or self._asks_to_interrupt():
            self._models.move_to(folder)

    def _use(self, folder: Path) -> None:
        if not self._models.is_busy or self._asks_to_interrupt():
            self._models.use_folder(folder)

    def _rename(self, row: ModelRow) -> None:
        dialog = RenameDialog(self._view, model_name(row.model), row.path)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.renamed.connect(lambda name: self._models.rename(row.id, name))
        dialog.open()

    def _on_convert_requested(self, group_size: str) -> None:
        self._group_size = group_size
        self._on_add_requested()

    def _load(self, row: ModelRow) -> None:
        if not self._models.is_busy or self._asks_to_interrupt():
            self._models.load(row.id)

    def _on_undo(self) -> None:
        if self._trashed:
            self._models.undo_delete(self._trashed)
            self._trashed = ""

    def _asks_to_interrupt(self) -> bool:
        model = self._engine.view.model
        name = model_name(model) if model is not None else ""
        if self._models.is_measuring:
            box = self._question(self.tr("Stop the measurement?"))
            box.setText(self.tr("The speed of {0} is being measured.").format(name))
            box.setInformativeText(self.tr("Nothing of it is kept."))
        else:
            box = self._question(self.tr("Stop the work?"))
            box.setText(self.tr("{0} is at work.").format(name))
            box.setInformativeText(self.tr("It ends where it is; what is there stays."))
        go_on = box.addButton(self.tr("Stop it"), QMessageBox.ButtonRole.AcceptRole)
        if not self._is_chosen(box, go_on):
            return False
        self._engine.interrupt()
        return True

    def _asks_to_delete(self, row: ModelRow) -> bool:
        if Path(row.path).parent != Path(self._library.folder):
            return self._asks_to_unlist(row)
        box = self._question(self.tr("Delete a model"))
        box.setText(self.tr("Delete {0}?").format(model_name(row.model)))
        size = words.disk_size(row.size_bytes)
        text = self.tr("It goes to the trash; emptying that frees {0}.\n{1}")
        box.setInformativeText(text.format(size, row.path))
        delete = box.addButton(self.tr("Delete"), QMessageBox.ButtonRole.DestructiveRole)
        return self._is_chosen(box, delete)

    def _asks_to_unlist(self, row: ModelRow) -> bool:
        """Of a model that was added in place: the engine deletes nothing of it."""
        box = self._question(self.tr("Remove from the list"))
        box.setText(self.tr("Remove {0} from the list?").format(model_name(row.model)))
        box.setInformativeText(self.tr("Its folder stays:\n{0}").format(row.path))
        remove = box.addButton(
            self.tr("Remove from the list"), QMessageBox.ButtonRole.DestructiveRole
        )
        return self._is_chosen(box, remove)

    def _question(self, title: str) -> QMessageBox:
        box = QMessageBox(self._view)
        box.setWindowTitle(title)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(QMessageBox.StandardButton.Cancel)
        return box

    @staticmethod
    def _is_chosen(box: QMessageBox, button: object) -> bool:
        box.exec()
        return box.clickedButton() is button
