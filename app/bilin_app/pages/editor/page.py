"""Binds the editor page's widgets to the controllers: nothing but connections."""

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Qt, Signal

from bilin_app.controllers.editor import EditorController
from bilin_app.controllers.editor_views import (
    BlankView,
    DocumentView,
    FillSettings,
    RevisionView,
    WindowRuler,
)
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.list_views import DeletedItem, ListRow, SearchHit
from bilin_app.pages.editor.inspector import InspectorDialog
from bilin_app.pages.editor.view import EditorView
from bilin_app.pages.keymap import keymap
from bilin_app.text.document import BLANK_MARK, Edit


class EditorPage(QObject):
    """Keeps an EditorView and the controllers in step. title_changed: what the window is about."""

    title_changed = Signal(str)

    def __init__(
        self, view: EditorView, editor: EditorController, engine: EngineController
    ) -> None:
        super().__init__(view)
        self._view = view
        self._editor = editor
        self._engine = engine
        self._deleted_id = 0  # the document whose deletion may be undone
        self._connect_editor()
        self._connect_text()
        self._connect_rest()
        self._on_settings(editor.settings)
        self._on_model_changed()

    def _connect_editor(self) -> None:
        editor, view = self._editor, self._view
        editor.document_opened.connect(self._on_opened)
        editor.edited.connect(self._on_edited)
        editor.blank_changed.connect(self._on_blank_changed)
        editor.undo_changed.connect(view.text.show_undo)
        editor.title_changed.connect(self._on_title)
        editor.saved_changed.connect(view.header.show_saved)
        editor.running_changed.connect(lambda ids: view.panel.set_running(bool(ids)))
        editor.ruler_changed.connect(self._on_ruler)
        editor.notice.connect(view.toast.show_text)
        editor.documents_changed.connect(self._on_documents)
        editor.search_done.connect(self._on_search_done)
        editor.deleted.connect(self._on_deleted)
        editor.revisions_listed.connect(self._on_revisions)
        editor.reader.changed.connect(view.show_reader)
        editor.prompt_inspected.connect(lambda view: InspectorDialog(self._view, view).open())

    def _connect_text(self) -> None:
        editor, text = self._editor, self._view.text
        text.text_edited.connect(
            lambda start, end, new: editor.session.type_text(start, end, new, is_ahead=True)
        )
        text.pasted.connect(self._on_pasted)
        text.files_given.connect(editor.open_files)
        text.moved.connect(self._on_moved)
        text.adopted.connect(lambda blank_id, offer: editor.session.adopt(blank_id, offer))
        text.blank_requested.connect(self._on_blank_requested)
        text.undo_requested.connect(lambda: editor.session.undo())
        text.redo_requested.connect(lambda: editor.session.redo())
        text.accept_requested.connect(self._on_accept)
        text.word_requested.connect(self._on_accept_word)
        text.reject_requested.connect(lambda blank_id: editor.session.reject(blank_id))
        text.cycle_requested.connect(self._on_cycle)
        text.fill_requested.connect(self._on_fill)
        text.again_requested.connect(self._on_fill)
        text.fill_all_requested.connect(self._on_fill_all)
        text.stop_requested.connect(editor.stop)
        text.current_changed.connect(self._on_current)

    def _connect_rest(self) -> None:
        editor, view = self._editor, self._view
        view.list.new_requested.connect(self.start_new)
        view.list.conversation_chosen.connect(editor.open_document)
        view.list.hit_chosen.connect(lambda document_id, _m: editor.open_document(document_id))
        for chosen in (view.list.conversation_chosen, view.list.hit_chosen):
            chosen.connect(view.text.setFocus)
        view.list.search_changed.connect(self._on_search_changed)
        view.list.delete_requested.connect(editor.delete_document)
        view.list.trash_requested.connect(self._open_trash)
        view.toast.acted.connect(lambda: editor.undo_delete(self._deleted_id))
        header, panel = view.header, view.panel
        header.title_changed.connect(editor.rename)
        header.blank_requested.connect(self._on_insert)
        header.open_requested.connect(self.open_file)
        header.save_requested.connect(self.save_file)
        header.history_requested.connect(editor.list_revisions)
        header.sample_chosen.connect(self._on_sample)
        header.inspect_requested.connect(lambda: editor.inspect(view.text.current))
        view.empty.sample_chosen.connect(self._on_sample)
        self._connect_reader()
        panel.kind_changed.connect(lambda kind: editor.session.set_kind(view.text.current, kind))
        panel.constraints_changed.connect(
            lambda constraints: editor.set_constraints(view.text.current, constraints)
        )
        panel.settings_changed.connect(self._on_settings)
        panel.restore_requested.connect(lambda: editor.session.restore_original(view.text.current))
        panel.candidate_chosen.connect(self._on_candidate)
        panel.accept_requested.connect(lambda: self._on_accept(view.text.current))
        panel.again_requested.connect(lambda: self._on_fill(view.text.current))
        panel.fill_requested.connect(lambda: self._on_fill(view.text.current))
        panel.fill_all_requested.connect(self._on_fill_all)
        panel.stop_requested.connect(editor.stop)
        for signal in (self._engine.view_changed, self._engine.examples_changed):
            signal.connect(lambda _value: self._on_model_changed())
        self._engine.models_changed.connect(lambda _models: self._on_model_changed())

    def _connect_reader(self) -> None:
        editor, view = self._editor, self._view
        reader = view.reader
        view.header.reader_toggled.connect(self.open_reader)
        view.header.proofread_requested.connect(self.proofread)
        view.text.proofread_requested.connect(self.proofread)
        view.text.flag_entered.connect(self._on_flag_entered)
        reader.closed.connect(lambda: self.open_reader(False))
        reader.read_requested.connect(lambda: self._read(0, len(editor.session.document)))
        reader.selection_requested.connect(self._read_selection)
        reader.stop_requested.connect(editor.reader.stop)
        reader.chosen.connect(lambda flag: view.text.select_stretch(flag.start, flag.end))
        reader.replaced.connect(editor.reader.replace)

    def open_reader(self, is_open: bool) -> None:
        """Opens the second reader beside the text, or closes it."""
        self._view.open_reader(is_open)
        self._editor.reader.set_open(is_open)

    def proofread(self) -> None:
        """Opens the second reader and reads what is selected, or else the document (F7)."""
        self.open_reader(True)
        start, end = self._view.text.selection
        self._read(*(start, end) if start < end else (0, len(self._editor.session.document)))

    def _read_selection(self) -> None:
        start, end = self._view.text.selection
        if start == end:
            self._view.toast.show_text(self.tr("Select what is to be read first."))
        else:
            self._read(start, end)

    def _read(self, start: int, end: int) -> None:
        self._editor.reader.read(start, end)

    def _on_flag_entered(self, number: int) -> None:
        self._view.reader.show_first(number)

    def start_new(self) -> None:
        """An empty document, ready to be typed into."""
        self._editor.new_document()
        self._view.text.setFocus()

    def open_file(self) -> None:
        """Asks for a file and opens it."""
        path = self._view.ask_open_path()
        if path is not None:
            self._editor.open_files([path])

    def save_file(self) -> None:
        """Asks for a place and writes the document there."""
        path = self._view.ask_save_path(self._editor.title or self.tr("Untitled"))
        if path is not None:
            self._editor.save_file(path)

    def _open_trash(self) -> None:
        trash, dialog = self._editor.documents, self._view.list.make_trash_dialog()
        trash.trash_listed.connect(dialog.show_rows)
        dialog.restore_requested.connect(trash.restore)
        dialog.purge_requested.connect(trash.purge)
        trash.list_trash()
        dialog.open()

    # --- From the controllers ---------------------------------------------------------------------

    def _on_opened(self, document: DocumentView) -> None:
        self._view.show_document(document)
        self._show_current()
        self.title_changed.emit(document.title)

    def _on_edited(self, edit: Edit, is_ahead: bool) -> None:
        self._view.text.apply_edit(edit, is_ahead)
        if edit.removed.blanks or edit.inserted.blanks:
            self._show_current()

    def _on_blank_changed(self, blank_id: int, view: BlankView | None) -> None:
        text = self._view.text
        text.show_blank(blank_id, view)
        if blank_id == text.current:
            self._show_current()

    def _on_current(self, blank_id: int) -> None:
        self._editor.set_current(blank_id)
        self._show_current()

    def _show_current(self) -> None:
        session = self._editor.session
        view = session.view(self._view.text.current)
        beginning = session.document.text[:2000].replace(BLANK_MARK, "")
        self._view.panel.set_unit(in_words=beginning.isascii())
        self._view.show_current(view, len(session.document.blanks))

    def _on_title(self, title: str) -> None:
        self._view.header.show_title(title)
        self.title_changed.emit(title)

    def _on_ruler(self, ruler: WindowRuler | None) -> None:
        self._view.show_ruler(ruler, len(self._editor.session.document))

    def _on_documents(self, rows: list[ListRow]) -> None:
        untitled = self.tr("Untitled")
        self._view.list.show_conversations(
            [replace(row, title=row.title or untitled) for row in rows]
        )
        self._view.list.set_current(self._editor.document_id)

    def _on_search_changed(self, query: str) -> None:
        if query.strip():
            self._editor.search(query)
        else:
            self._view.list.show_hits(None)

    def _on_search_done(self, query: str, hits: list[SearchHit]) -> None:
        if query == self._view.list.search.text():
            self._view.list.show_hits(hits)

    def _on_deleted(self, deleted: DeletedItem) -> None:
        self._deleted_id = deleted.id
        text = self.tr("Deleted: {0}").format(deleted.title)
        self._view.toast.show_text(text, self.tr("Undo"))

    def _on_revisions(self, revisions: list[RevisionView]) -> None:
        editor, dialog = self._editor, self._view.make_revisions_dialog()
        dialog.read_requested.connect(editor.read_revision)
        dialog.restore_requested.connect(editor.restore_revision)
        editor.revision_read.connect(dialog.show_text)
        editor.document_opened.connect(dialog.reject)  # its versions are not the new one's
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show_revisions(revisions)
        dialog.open()

    def _on_model_changed(self) -> None:
        model = self._engine.view.model
        self._view.panel.show_kinds(model.blank_kinds if model is not None else ())
        samples = self._engine.blank_examples
        self._view.empty.show_samples(samples)
        self._view.header.show_samples(samples)

    # --- From the widgets -------------------------------------------------------------------------

    def _on_pasted(self, start: int, end: int, text: str) -> None:
        at = self._editor.session.paste(start, end, text)
        self._view.text.set_cursor(at)
        self._view.text.ensureCursorVisible()

    def _on_moved(self, start: int, end: int, to: int) -> None:
        at = self._editor.session.move(start, end, to)
        self._view.text.select_stretch(at, at + end - start)

    def _on_blank_requested(self, start: int, end: int, kind: str) -> None:
        if kind in ("short", "long", "sentence"):
            self.open_reader(False)
            blank_id = self._editor.make_blank(start, end, kind)
            self._view.text.select_blank(blank_id)

    def _on_insert(self, what: str) -> None:
        text, session = self._view.text, self._editor.session
        if what == "rewrite":
            if not text.textCursor().hasSelection():
                self._view.toast.show_text(self.tr("Select what is to be rewritten first."))
                return
            start, end = text.adopt_selection()
            selected = session.document.text[start:end]
            what = "long" if "\n" in selected or len(selected) > 60 else "short"
        elif what in ("bridge", "continue"):
            at, is_empty = text.paragraph_end
            if what == "continue":
                at = len(session.document)
                is_empty = session.document.text[at - 1 : at] in ("", "\n")
            start = end = at if is_empty else session.paste(at, at, "\n")
            what = "long"
        else:
            start, end = text.adopt_selection()
        self._on_blank_requested(start, end, what)
        text.setFocus()

    def _on_sample(self, sample: str) -> None:
        self._editor.open_text(sample)
        blanks = self._editor.session.document.blanks
        if blanks:
            self._view.text.select_blank(blanks[0][1].id)
        self._view.text.setFocus()
        self._editor.fill_all()

    def _on_fill(self, blank_id: int) -> None:
        if self._view.text.is_composing:
            return
        if not blank_id:
            self._tell_no_blank()
        else:
            self.open_reader(False)
            self._view.text.select_blank(blank_id)
            self._view.text.setFocus()  # what is offered is accepted there
            self._editor.fill(blank_id)

    def _on_fill_all(self) -> None:
        text, blanks = self._view.text, self._editor.session.document.blanks
        text.setFocus()
        if self._editor.fill_all():
            self.open_reader(False)
            if running := self._editor.running:  # () where the model could not be loaded
                text.select_blank(running[0])  # Tab accepts in the order of the text
            return
        if not blanks:
            self._tell_no_blank()
            return
        if not text.is_offered:
            text.select_blank(blanks[0][1].id)
        self._view.toast.show_text(
            self.tr("Every blank has a fill on offer: {0} accepts it, {1} asks for others.").format(
                keymap().text("accept"), keymap().text("again")
            )
        )

    def _tell_no_blank(self) -> None:
        told = self.tr("There is no blank to fill: {0} puts one in.")
        self._view.toast.show_text(told.format(keymap().text("blank")))

    def _on_accept(self, blank_id: int) -> None:
        self._take_in(blank_id, self._editor.session.accept)

    def _on_accept_word(self, blank_id: int) -> None:
        self._take_in(blank_id, self._editor.session.accept_word)

    def _take_in(self, blank_id: int, accept: Callable[[int], bool]) -> None:
        """Accepts; where nothing is left of the offer, the next one on show is at hand."""
        document = self._editor.session.document
        place = document.place(blank_id)
        if self._view.text.is_composing or place is None or not accept(blank_id):
            return
        if document.place(blank_id) is None:
            after = [one.id for at, one in document.blanks if at >= place[0]]
            before = [one.id for at, one in document.blanks if at < place[0]]
            for other in (*after, *before):
                view = self._editor.session.view(other)
                if view is not None and view.state == "offered":
                    self._view.text.select_blank(other)
                    break

    def _on_cycle(self, blank_id: int, delta: int) -> None:
        fill = self._editor.session.fill(blank_id)
        count = len(fill.candidates)
        if count:
            chosen = fill.chosen if fill.chosen >= 0 else (-1 if delta > 0 else 0)
            self._editor.session.choose(blank_id, (chosen + delta) % count)

    def _on_candidate(self, index: int) -> None:
        if not self._view.text.is_composing:
            self._editor.session.choose(self._view.text.current, index)

    def _on_settings(self, settings: FillSettings) -> None:
        self._editor.settings = settings
        self._view.panel.show_settings(settings)
