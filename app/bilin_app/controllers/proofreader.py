"""The second reader: asks the model about every word, keeps what it said of every sentence.

A sentence that was read is not read again, in whatever document it stands, while the same model is
loaded: only what was edited is asked about. Knows the engine's proofreading request; knows nothing
of documents on disk. On the GUI thread.
"""

from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import ReaderView, WordFlag
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.text.document import Edit, from_units
from bilin_app.text.sentence_spans import Paragraph, Paragraphs, Span, UnitMap
from bilin_engine.protocol import Proofread, ProofreadResult, SentenceRead

MAX_SENTENCES = 20_000  # kept of one model; the oldest go first
MAX_NEW_CHARACTERS = 65_536  # cut into sentences at once
LOOK_AGAIN_MS = 250


@dataclass(frozen=True, slots=True)
class _Found:
    """An unlikely word of a sentence, at positions counted from its start."""

    start: int
    end: int
    score: float
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was known of a paragraph at `at` when that many answers had come (`version`)."""

    version: int
    at: int
    num_known: int
    flags: tuple[WordFlag, ...]

    def moved_to(self, at: int) -> "_Seen":
        """The same of the same paragraph elsewhere."""
        flags = tuple(flag.moved(at - self.at) for flag in self.flags)
        return _Seen(self.version, at, self.num_known, flags)


class Proofreader(QObject):
    """changed(ReaderView); notice(str)."""

    changed = Signal(object)
    notice = Signal(str)

    def __init__(self, engine: EngineController, parent: QObject) -> None:
        super().__init__(parent)
        self._engine = engine
        engine.interrupted.connect(self.stop)
        self._session: EditorSession | None = None
        self._model_id = ""
        self._known: dict[str, tuple[_Found, ...]] = {}
        self._version = 0  # of what is known
        self._paragraphs = Paragraphs()
        self._seen: dict[Paragraph, _Seen] = {}
        self._handle: RequestHandle | None = None
        self._asked: tuple[str, ...] = ()  # the sentences under way
        self._asked_model = ""
        self._wanted: list[Span] = []  # when a model is loaded and the read under way has ended
        self._num_done = 0
        self._rate_words_s = 0.0
        self._is_open = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_AGAIN_MS)
        self._timer.timeout.connect(self._tell)
        engine.ready.connect(self._on_ready)
        engine.view_changed.connect(self._on_engine_changed)

    def show_session(self, session: EditorSession) -> None:
        """Another document is on show."""
        self.stop()
        self._session = session
        self._paragraphs = Paragraphs()
        session.edited.connect(self._on_edited)
        self._look_again()

    def set_open(self, is_open: bool) -> None:
        """Whether its marks are to be seen; closed, it stops reading."""
        self._is_open = is_open
        if not is_open:
            self.stop()
        self._tell()

    def read(self, start: int, end: int) -> None:
        """Reads the sentences that a stretch touches, as far as they are not known."""
        self._wanted.append((start, end))
        self._read_on()

    def _read_on(self) -> None:
        session, model = self._session, self._engine.model
        if session is None or self._handle is not None or not self._wanted:
            return
        if model is None:
            self._engine.load_wanted()
            self._tell()
            self._on_engine_changed(self._engine.view)
            return
        wanted, self._wanted = self._wanted, []
        self._know_for(model.id)
        text = session.document.text
        spans = [
            (at + low, at + low + len(sentence))
            for at, paragraph in self._paragraphs.of(text)
            for low, sentence in zip(paragraph.starts, paragraph.sentences, strict=True)
            if sentence not in self._known
            and any(at + low < end and start < at + low + len(sentence) for start, end in wanted)
        ]
        if not spans:
            self._tell()
            return
        self._ask(model.id, text, spans)

    def stop(self) -> None:
        """Ends reading; what was read stays known."""
        self._wanted = []
        if self._handle is not None:
            self._handle.cancel()
        self._tell()

    def replace(self, flag: WordFlag, word: str) -> None:
        """Puts an expected word in place of a flagged one: one step. Its sentence is read again."""
        session = self._session
        if session is None or session.document.text[flag.start : flag.end] != flag.word:
            return
        session.replace_word(flag.start, flag.end, word)
        self.read(flag.start, flag.start + 1)

    @property
    def view(self) -> ReaderView:
        """What there is to show now."""
        session, model = self._session, self._engine.view.model
        if session is None or not self._is_open:
            return ReaderView()
        self._know_for(model.id if model is not None else self._model_id)
        flags: list[WordFlag] = []
        num_known = num_sentences = 0
        seen: dict[Paragraph, _Seen] = {}
        text = session.document.text[: self._paragraphs.size + MAX_NEW_CHARACTERS]
        for at, paragraph in self._paragraphs.of(text):
            one = self._seen.get(paragraph)
            if one is None or (
                one.version != self._version and one.num_known < len(paragraph.sentences)
            ):
                one = self._look_at(paragraph, at)
            elif one.at != at:
                one = one.moved_to(at)
            seen[paragraph] = one
            num_sentences += len(paragraph.sentences)
            num_known += one.num_known
            flags += one.flags
        self._seen = seen
        return ReaderView(
            is_reading=self._handle is not None or bool(self._wanted),
            num_done=self._num_done,
            num_asked=len(self._asked),
            num_known=num_known,
            num_sentences=num_sentences,
            rate_words_s=self._rate_words_s,
            flags=tuple(flags),
            figures=self._engine.proofread_figures,
        )

    def _look_at(self, paragraph: Paragraph, place: int) -> _Seen:
        """What is known of a paragraph that begins at `place`."""
        flags: list[WordFlag] = []
        num_known = 0
        for start, sentence in zip(paragraph.starts, paragraph.sentences, strict=True):
            found = self._known.get(sentence)
            if found is not None:
                num_known += 1
                for one in found:
                    at, size = start + one.start, one.end - one.start
                    low, text = place + at, paragraph.text
                    flags.append(WordFlag(low, low + size, text, at, one.score, one.expected))
        return _Seen(self._version, place, num_known, tuple(flags))

    def _ask(self, model_id: str, text: str, spans: list[Span]) -> None:
        units = UnitMap(text)
        self._asked_model = model_id
        self._asked = tuple(text[slice(*span)] for span in spans)
        self._num_done = 0
        handle = self._handle = self._engine.send(
            lambda i: Proofread(
                id=i,
                model=model_id,
                text=from_units(text),
                spans=tuple((units.characters(a), units.characters(b)) for a, b in spans),
            )
        )

        def read(event: SentenceRead) -> None:
            self._take(event, spans[event.index][0], units)

        handle.sentence_read.connect(read)
        handle.done.connect(self._on_done)
        handle.cancelled.connect(self._end)
        handle.failed.connect(self._on_failed)
        self._tell()

    def _take(self, event: SentenceRead, start: int, units: UnitMap) -> None:
        """Keeps what was said of a sentence, whatever stands in its place by now.

        Not what one model says while another is on its way: it would pass for the other's.
        """
        if self._asked_model != self._model_id:
            return
        self._known[self._asked[event.index]] = tuple(
            _Found(
                units.units(word.start) - start,
                units.units(word.end) - start,
                word.score,
                tuple(one.text for one in word.expected),
            )
            for word in event.words
            if word.is_unlikely
        )
        self._version += 1
        while len(self._known) > MAX_SENTENCES:
            del self._known[next(iter(self._known))]
        self._num_done += 1
        self._look_again()

    def _on_done(self, result: ProofreadResult) -> None:
        if result.seconds:
            self._rate_words_s = result.num_words / result.seconds
        self._end()

    def _on_failed(self, failure: RequestFailure) -> None:
        self._wanted = []
        self._end()
        if failure.end is not None:
            self.notice.emit(sentences.engine_ended(failure.end))
        else:
            self.notice.emit(sentences.request_failed(failure.code, failure.message))

    def _end(self) -> None:
        self._handle = None
        self._asked = ()
        self._num_done = 0
        self._tell()
        self._read_on()

    def _know_for(self, model_id: str) -> None:
        if model_id != self._model_id:
            self._model_id = model_id
            self._known.clear()
            self._seen.clear()
            self._version += 1

    def _on_ready(self, _model_id: str) -> None:
        self._tell()
        self._read_on()

    def _on_engine_changed(self, view: EngineView) -> None:
        """What is wanted waits for a model only while one is on its way; another one reads anew."""
        other = view.model is not None and view.model.id != self._asked_model
        if self._handle is not None and other:
            self._handle.cancel()
        if self._wanted and self._handle is None and view.state in ("fault", "empty"):
            self.stop()
            if view.reason:
                self.notice.emit(view.reason)

    def _on_edited(self, edit: Edit, _is_ahead: bool) -> None:
        self._wanted = [(edit.moved(start), edit.moved(end)) for start, end in self._wanted]
        self._look_again()

    def _look_again(self) -> None:
        if self._is_open and not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        self._timer.stop()
        self.changed.emit(self.view)
        if self._is_open and self._session is not None:
            is_whole = self._paragraphs.size >= len(self._session.document)
            if not is_whole:
                QTimer.singleShot(0, self, self._tell)
