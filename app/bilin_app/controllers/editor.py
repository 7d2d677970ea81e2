"""Documents for the editor page: opening, keeping, filling, the window ruler.

The one place of the editor that knows both the database and the engine. All on the GUI thread, all
storage and files beside it.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import structs
from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.document_files import DocumentFiles
from bilin_app.controllers.document_keeper import DocumentKeeper
from bilin_app.controllers.document_list import DocumentList
from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import (
    BlankView,
    DocumentView,
    FillSettings,
    RevisionView,
    WindowRuler,
)
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.fill_run import FillRun, SentText, WindowMeter
from bilin_app.controllers.list_views import DeletedItem
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.proofreader import Proofreader
from bilin_app.storage import documents as stored
from bilin_app.storage.documents import RevisionRecord
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.document import (
    Document,
    Edit,
    count_characters,
    parse_slice,
    with_marks,
    without_blank_ids,
)
from bilin_app.text.document_file import Snapshot
from bilin_app.text.titles import title_from
from bilin_engine.protocol import BlankKind, FillConstraints, FillWay, InspectPrompt, LengthLimit

_TITLE_CHARACTERS = 400


class EditorController(QObject):
    """Signals for the page.

    document_opened(DocumentView), edited(Edit, bool), blank_changed(int, BlankView | None),
    undo_changed(bool, bool): whether there is a step to take back, and one to make again,
    title_changed(str), saved_changed(SaveState),
    running_changed(tuple of blank ids), ruler_changed(WindowRuler | None), notice(str),
    documents_changed, search_done, deleted, revisions_listed(list[RevisionView]),
    revision_read(revision id, DocumentView), prompt_inspected(protocol.PromptView).
    `reader` is the second reader of the document on show.
    """

    document_opened = Signal(object)
    edited = Signal(object, bool)
    blank_changed = Signal(int, object)
    undo_changed = Signal(bool, bool)
    title_changed = Signal(str)
    saved_changed = Signal(str)
    running_changed = Signal(object)
    ruler_changed = Signal(object)
    notice = Signal(str)
    documents_changed = Signal(object)
    search_done = Signal(str, object)
    deleted = Signal(object)
    revisions_listed = Signal(object)
    revision_read = Signal(int, object)
    prompt_inspected = Signal(object)

    def __init__(
        self, store: Store, engine: EngineController, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._store = store
        self._engine = engine
        engine.interrupted.connect(self.stop)
        self._mailbox = Mailbox(self)
        self._list = DocumentList(store, self)
        self._keeper = DocumentKeeper(store, self)
        self._files = DocumentFiles(self)
        self._meter = WindowMeter(engine, self)
        self.reader = Proofreader(engine, self)
        self._visit = 0
        self._current = 0
        self._title = ""
        self._has_own_title = False
        self._run: FillRun | None = None
        self._waiting: tuple[int, ...] = ()
        self._way: FillWay | None = None  # how the model would fill the blank in hand
        self.settings = FillSettings()
        self.session = EditorSession(Snapshot(""), self)
        self._connect()
        self._take(0, Snapshot(""))

    def _connect(self) -> None:
        self._list.changed.connect(self.documents_changed)
        self._list.search_done.connect(self.search_done)
        self._list.deleted.connect(self._on_deleted)
        self._list.restored.connect(self.open_document)
        self._list.refused.connect(self._tell)
        self._keeper.state_changed.connect(self.saved_changed)
        self._keeper.saved.connect(lambda _id: self._list.refresh())
        self._keeper.refused.connect(self._tell)
        self._files.opened.connect(self._take_new)
        self._files.told.connect(self.notice)
        self._meter.counted.connect(self._on_counted)
        self.reader.notice.connect(self.notice)
        self._engine.ready.connect(self._on_engine_ready)
        self._engine.view_changed.connect(self._on_engine_changed)

    # --- Start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Lists the documents and opens the one written last, if nothing is written yet."""
        self._list.refresh()

        def opened(records: list[stored.DocumentRecord]) -> None:
            if records and not self._keeper.document_id and not len(self.session.document):
                self.open_document(records[0].id)

        self._mailbox.when(self._store.read(stored.list_documents), opened, self._tell)

    def close(self) -> None:
        """Keeps what is not kept yet, waiting CLOSE_LIMIT_S at most. Before the store closes."""
        self._meter.stop()
        self.reader.stop()
        if self._run is not None:
            self._run.leave()
        self._keeper.save_now()
        self._files.close()

    # --- Documents --------------------------------------------------------------------------------

    @property
    def document_id(self) -> int:
        """The one on show; 0 = not stored yet."""
        return self._keeper.document_id

    @property
    def title(self) -> str:
        """Of the document on show."""
        return self._title

    def new_document(self) -> None:
        """Shows an empty document; it is stored with its first character."""
        self._take(0, Snapshot(""))

    def open_document(self, document_id: int) -> None:
        """Shows a document; document_opened follows, unless it is on show already."""
        self._visit += 1
        visit = self._visit
        if document_id == self.document_id:
            return
        self._keeper.save_now()

        def show(snapshot: Snapshot | None) -> None:
            if snapshot is not None and visit == self._visit:
                self._take(document_id, self._keeper.kept(document_id) or snapshot)

        future = self._store.read_latest(stored.load_document, document_id)
        self._mailbox.when(future, show, self._tell)

    def open_text(self, text: str, title: str = "") -> None:
        """Shows a text as a new document; mask tokens in it are blanks."""
        content = parse_slice(text, Document())
        self._take(0, Snapshot(title, content))
        if content.text:
            self._keeper.change(self._snapshot)

    def open_files(self, paths: Sequence[Path]) -> None:
        """Reads .txt, .md or .json files as new documents, in turn: the last stays on show."""
        self._files.open(paths)

    def save_file(self, path: Path) -> None:
        """Writes the document: .json with blanks, candidates and origins, else plain text."""
        self._files.save(path, self._snapshot())

    def rename(self, title: str) -> None:
        """Gives the document a title of the person's own."""
        title = " ".join(title.split())
        if title:
            self._has_own_title = True
            self._set_title(title)
            self._keeper.change(self._snapshot)

    def delete_document(self, document_id: int) -> None:
        """Puts a document into the trash; `deleted` follows."""
        self._list.delete(document_id)

    def undo_delete(self, document_id: int) -> None:
        """Brings back a document that was deleted."""
        self._list.undo_delete(document_id)

    @property
    def documents(self) -> DocumentList:
        """The list itself, for its trash."""
        return self._list

    def search(self, text: str) -> None:
        """Searches all documents; `search_done` follows."""
        self._list.search(text)

    def list_revisions(self) -> None:
        """`revisions_listed` follows, unless another document is on show by then."""
        session = self.session

        def listed(records: list[RevisionRecord]) -> None:
            if session is self.session:
                self.revisions_listed.emit(
                    [
                        RevisionView(
                            r.id,
                            r.created_at,
                            sentences.revision_reason(r.reason),
                            r.num_characters,
                        )
                        for r in records
                    ]
                )

        future = self._store.read_latest(stored.list_revisions, self.document_id)
        self._mailbox.when(future, listed, self._tell)

    def read_revision(self, revision_id: int) -> None:
        """An earlier state of the document on show, to be read; `revision_read` follows.

        With what was on offer then. One of another document is not read.
        """

        def read(snapshot: Snapshot | None) -> None:
            if snapshot is not None:
                session = EditorSession(snapshot)
                self.revision_read.emit(revision_id, _document_view(0, session, snapshot.title))

        future = self._store.read(stored.load_revision, self.document_id, revision_id)
        self._mailbox.when(future, read, self._tell)

    def restore_revision(self, revision_id: int) -> None:
        """Puts an earlier state in place of the text: one step, and the present one is kept.

        One of another document changes nothing.
        """
        visit = self._visit

        def restore(snapshot: Snapshot | None) -> None:
            if snapshot is not None and visit == self._visit:
                self._keeper.keep_revision(self._snapshot(), "restored")
                content = without_blank_ids(snapshot.content, self.session.document)
                fills = dict(snapshot.fills)
                pairs = zip(snapshot.content.blanks, content.blanks, strict=True)
                ids = {old.id: new.id for (_, old), (_, new) in pairs}
                self.session.replace_all(content, {ids[i]: fill for i, fill in fills.items()})

        future = self._store.read(stored.load_revision, self.document_id, revision_id)
        self._mailbox.when(future, restore, self._tell)

    def _take_new(self, snapshot: Snapshot) -> None:
        self._take(0, snapshot)
        self._keeper.change(self._snapshot)

    def _take(self, document_id: int, snapshot: Snapshot) -> None:
        self._waiting = ()
        if self._run is not None:
            self._run.leave()
        self._keeper.save_now()
        self._visit += 1
        self.session.deleteLater()
        session = self.session = EditorSession(snapshot, self)
        session.edited.connect(self._on_edited)
        session.blank_changed.connect(self._on_blank_changed)
        session.stack.indexChanged.connect(self._tell_undo)
        self._title = snapshot.title
        self._has_own_title = bool(snapshot.title) and snapshot.title != self._auto_title()
        self.reader.show_session(session)
        self._keeper.open(document_id, snapshot)
        blanks = session.document.blanks
        self._current = blanks[0][1].id if blanks else 0
        self.document_opened.emit(_document_view(document_id, session, self._title))
        self.running_changed.emit(())
        self._tell_undo()
        self._count_soon()

    def _tell_undo(self) -> None:
        stack = self.session.stack
        self.undo_changed.emit(stack.canUndo(), stack.canRedo())

    def _snapshot(self) -> Snapshot:
        return self.session.snapshot(self._title)

    def _auto_title(self) -> str:
        document = self.session.document
        text = document.slice(0, min(len(document), _TITLE_CHARACTERS)).plain_text
        return title_from(with_marks(text, "…"))

    def _set_title(self, title: str) -> None:
        if title != self._title:
            self._title = title
            self.title_changed.emit(title)

    # --- Editing ----------------------------------------------------------------------------------

    def make_blank(self, start: int, end: int, kind: BlankKind) -> int:
        """Puts a blank in place of a stretch; what stood there suggests the length."""
        text = self.session.document.text[start:end]
        blank_id = self.session.make_blank(start, end, kind)
        view = self.session.view(blank_id)
        assert view is not None
        if view.original.strip():
            limit = suggested_length(text)
            constraints = structs.replace(view.constraints, length=limit)
            self.session.set_constraints(blank_id, constraints)
        self.set_current(blank_id)
        return blank_id

    def set_current(self, blank_id: int) -> None:
        """The blank that the panel and the ruler are about; 0 = none."""
        if blank_id != self._current:
            self._current = blank_id
            self._count_soon()

    @property
    def current(self) -> int:
        """The blank that the panel is about, 0 = none."""
        return self._current

    def set_constraints(self, blank_id: int, constraints: FillConstraints) -> None:
        """What fills of this blank must keep."""
        self.session.set_constraints(blank_id, constraints)
        self._keeper.change(self._snapshot)
        self._count_soon()

    def _on_edited(self, edit: Edit, is_ahead: bool) -> None:
        if not self._has_own_title and edit.start < _TITLE_CHARACTERS:
            self._set_title(self._auto_title())
        self._keeper.change(self._snapshot)
        self.edited.emit(edit, is_ahead)
        if self._current and self.session.document.place(self._current) is None:
            self._current = 0
        self._count_soon()

    def _on_blank_changed(self, blank_id: int) -> None:
        view: BlankView | None = self.session.view(blank_id)
        self.blank_changed.emit(blank_id, view)
        if view is not None and view.state != "streaming":
            self._keeper.change(self._snapshot)

    def _on_counted(self, ruler: WindowRuler | None) -> None:
        self._way = ruler.way if ruler is not None else None
        self.ruler_changed.emit(ruler)

    def _count_soon(self) -> None:
        self._meter.count_soon(self.session, self._current)

    # --- Filling ----------------------------------------------------------------------------------

    @property
    def running(self) -> tuple[int, ...]:
        """The blanks that the model fills, or will when it is ready."""
        return self._run.blank_ids if self._run is not None else self._waiting

    def fill(self, blank_id: int) -> None:
        """Fills one blank, in place of what was offered for it."""
        self._fill((blank_id,))

    def fill_all(self) -> bool:
        """Fills all open blanks in order, each fill seen by the next. False: there is none.

        One whose offer is empty is open, too: nothing of it could be accepted.
        """
        session = self.session
        ids = tuple(blank.id for _, blank in session.document.blanks)
        open_ids = tuple(i for i in ids if session.fill(i).chosen < 0 or not session.shown_text(i))
        if open_ids:
            self._keeper.save_now()  # what is not stored yet has no versions
            self._keeper.keep_revision(self._snapshot(), "filled")
            self._fill(open_ids)
        return bool(open_ids)

    def _fill(self, blank_ids: tuple[int, ...]) -> None:
        if self._run is not None:
            self.notice.emit(sentences.not_while_filling())
            return
        model = self._engine.model
        if model is None:
            self._waiting = blank_ids
            self.running_changed.emit(blank_ids)
            if self._engine.view.state != "fault":
                self._engine.load_wanted()
            self._on_engine_changed(self._engine.view)
            return
        self._waiting = ()
        run = self._run = FillRun(self.session, self._engine, blank_ids, self.settings, self)
        run.ended.connect(lambda notice: self._on_run_ended(run, notice))
        self.running_changed.emit(blank_ids)
        run.start(model.id, self._way)

    def inspect(self, blank_id: int) -> None:
        """The exact prompt that would fill a blank; prompt_inspected follows."""
        model = self._engine.model
        sent = SentText.around(self.session, (blank_id,), self._engine.context_length)
        if model is None or blank_id not in sent.blank_ids:
            self.notice.emit(sentences.nothing_to_inspect())
            return
        handle = self._engine.send(
            lambda i: InspectPrompt(
                id=i,
                model=model.id,
                segments=sent.segments,
                blank=sent.blank_ids.index(blank_id),
                takes_nearest=True,
                constraints=self.session.fill(blank_id).constraints,
            )
        )
        handle.done.connect(self.prompt_inspected)
        handle.failed.connect(
            lambda f: self.notice.emit(sentences.request_failed(f.code, f.message))
        )

    def stop(self) -> None:
        """Stops filling; what came so far stays offered."""
        if self._run is not None:
            self._run.stop()
        elif self._waiting:
            self._waiting = ()
            self.running_changed.emit(())

    def _on_run_ended(self, run: FillRun, notice: str) -> None:
        if self._run is run:
            self._run = None
            self.running_changed.emit(())
            if notice:
                self.notice.emit(notice)
        run.deleteLater()

    def _on_engine_changed(self, view: EngineView) -> None:
        """A fill waits for a model only while one is on its way."""
        self._count_soon()
        if self._waiting and view.state in ("fault", "empty"):
            self.stop()
            if view.reason:
                self.notice.emit(view.reason)

    def _on_engine_ready(self, _model_id: str) -> None:
        self._count_soon()
        if self._waiting:
            self._fill(self._waiting)

    # --- Notices ----------------------------------------------------------------------------------

    def _tell(self, error: StorageError) -> None:
        self.notice.emit(sentences.storage_refused(error.problem, self._store.path))

    def _on_deleted(self, gone: DeletedItem) -> None:
        if gone.id == self.document_id:
            self._keeper.forget()
            self.new_document()
        self.deleted.emit(gone)


def _document_view(document_id: int, session: EditorSession, title: str) -> DocumentView:
    offered = (session.view(blank.id) for _, blank in session.document.blanks)
    shown = tuple(v for v in offered if v is not None and (v.candidates or v.text))
    return DocumentView(document_id, title, session.document.content, shown)


def suggested_length(text: str) -> LengthLimit | None:
    """As long as `text`: in words where it is written in words, else in characters."""
    num_words = len(text.split())
    num_characters = count_characters(text)
    if not num_characters:
        return None
    in_words = num_characters > 3 * num_words and text.isascii()
    return (
        LengthLimit(num_words, "words") if in_words else LengthLimit(num_characters, "characters")
    )
