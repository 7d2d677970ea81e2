"""The second reader: asks the model about every word, keeps what it said of every sentence.

A sentence that was read is not read again, in whatever document it stands, while the same model is
loaded: only what was edited is asked about. Knows the engine's proofreading request; knows nothing
of documents on disk. On the GUI thread.
"""

from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import ReaderView, WordFlag, WordFlags
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.text.document import Edit, from_units
from bilin_app.text.sentence_spans import Paragraph, Paragraphs, Span, UnitMap
from bilin_engine.protocol import Proofread, ProofreadResult, SentenceRead

MAX_SENTENCES = 20_000  # kept of one model; the oldest go first
MAX_NEW_CHARACTERS = 8_192  # cut into sentences at once
MAX_ASKED = 2_048  # sentences of a request
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
    """What is known of a paragraph. flags: their positions counted from its start."""

    num_known: int
    flags: tuple[WordFlag, ...]


class Proofreader(QObject):
    """changed(ReaderView); notice(str)."""

    changed = Signal(object)
    notice = Signal(str)

    def __init__(self, engine: EngineController, parent: QObject) -> None:
        super().__init__(parent)
        self._engine = engine
        engine.interrupted.connect(self.stop)
        engine.text_awaited.connect(self._give_way)
        self._session: EditorSession | None = None
        self._model_id = ""
        self._known: dict[str, tuple[_Found, ...]] = {}
        self._fresh: set[str] = set()  # sentences that became known since the last look
        self._paragraphs = Paragraphs()
        self._seen: dict[Paragraph, _Seen] = {}
        self._handle: RequestHandle | None = None
        self._asked: tuple[str, ...] = ()  # the sentences under way
        self._asked_model = ""
        self._wanted: list[Span] = []  # when a model is loaded and the read under way has ended
        self._under_way: list[Span] = []  # where they stand
        self._rest: list[Span] = []  # what is asked for after them
        self._num_asked = 0  # with the rest, and with what was asked before
        self._num_done = 0
        self._rate_words_s = 0.0
        self._is_open = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_AGAIN_MS)
        self._timer.timeout.connect(self._tell)
        self._cutting = QTimer(self)  # between the steps of cutting a long text
        self._cutting.setSingleShot(True)
        self._cutting.timeout.connect(self._cut_on)
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
        if not self._cut(session):
            self._tell()
            return
        wanted = self._under_way = self._wanted
        self._wanted = []
        self._know_for(model.id)
        unread, num_behind = self._unread(session, wanted)
        if not unread:
            self._num_asked = self._num_done = 0
            self._tell()
            return
        self._num_asked = self._num_done + len(unread) + num_behind
        unread, behind = unread[:MAX_ASKED], unread[MAX_ASKED:]
        if behind:
            low = behind[0][0]
            self._rest = [(max(start, low), end) for start, end in wanted if low < end]
        self._ask(model.id, session.document.text, unread)

    def _cut(self, session: EditorSession) -> bool:
        """Cuts what was edited, and the next stretch that never was. Whether all is cut now."""
        text = session.document.text
        self._paragraphs.of(text[: self._paragraphs.size + MAX_NEW_CHARACTERS])
        return self._paragraphs.size == len(text)

    def _cut_on(self) -> None:
        """Between events, for a long text: no key waits for all of it."""
        if self._session is None or not (self._is_open or self._wanted):
            return
        if not self._cut(self._session):
            self._cutting.start()
        else:
            self._tell()
            QTimer.singleShot(0, self, self._read_on)

    def _unread(
        self, session: EditorSession, wanted: list[Span]
    ) -> tuple[list[tuple[int, str]], int]:
        """The sentences (start, text) that the wanted stretches touch and that are not known.

        Some more than one request takes, then only how many there are, by the last look.
        """
        found: list[tuple[int, str]] = []
        num_behind = 0
        for at, paragraph in self._paragraphs.of(session.document.text):
            stop = at + len(paragraph.text)
            near = [(start, end) for start, end in wanted if at < end and start < stop]
            if near and len(found) > MAX_ASKED:
                seen = self._seen.get(paragraph)
                num_behind += len(paragraph.sentences) - (seen.num_known if seen else 0)
            elif near:
                is_whole = any(start <= at and stop <= end for start, end in near)
                found += [
                    (at + low, sentence)
                    for low, sentence in zip(paragraph.starts, paragraph.sentences, strict=True)
                    if sentence not in self._known
                    and (is_whole or _touch(at + low, at + low + len(sentence), near))
                ]
        return found, num_behind

    def stop(self) -> None:
        """Ends reading; what was read stays known."""
        self._wanted = []
        self._rest = []
        if self._handle is not None:
            self._handle.cancel()
        self._tell()

    def _give_way(self) -> None:
        """What a person waits for was asked for behind the read: that goes on behind it, then."""
        if self._handle is not None and not self._handle.is_cancelling:
            self._wanted = [*self._under_way, *self._wanted]
            self._handle.cancel()

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
        self._cut(session)
        fresh, self._fresh = self._fresh, set()
        flags: list[tuple[int, tuple[WordFlag, ...]]] = []
        num_known = num_sentences = 0
        seen: dict[Paragraph, _Seen] = {}
        for at, paragraph in self._paragraphs.found:
            one = self._seen.get(paragraph)
            size = len(paragraph.sentences)
            if one is None or (
                fresh and one.num_known < size and not fresh.isdisjoint(paragraph.sentences)
            ):
                one = self._look_at(paragraph)
            seen[paragraph] = one
            num_sentences += size
            num_known += one.num_known
            if one.flags:
                flags.append((at, one.flags))
        self._seen = seen
        return ReaderView(
            is_reading=self._handle is not None or bool(self._wanted),
            num_done=self._num_done,
            num_asked=self._num_asked,
            num_known=num_known,
            num_sentences=num_sentences,
            rate_words_s=self._rate_words_s,
            flags=WordFlags(flags),
            figures=self._engine.proofread_figures,
        )

    def _look_at(self, paragraph: Paragraph) -> _Seen:
        """What is known of a paragraph."""
        flags: list[WordFlag] = []
        num_known = 0
        for start, sentence in zip(paragraph.starts, paragraph.sentences, strict=True):
            found = self._known.get(sentence)
            if found is not None:
                num_known += 1
                for one in found:
                    at, end = start + one.start, start + one.end
                    flags.append(WordFlag(at, end, paragraph.text, at, one.score, one.expected))
        return _Seen(num_known, tuple(flags))

    def _ask(self, model_id: str, text: str, unread: list[tuple[int, str]]) -> None:
        units = UnitMap(text)
        self._asked_model = model_id
        self._asked = tuple(sentence for _, sentence in unread)
        handle = self._handle = self._engine.send(
            lambda i: Proofread(
                id=i,
                model=model_id,
                text=from_units(text),
                spans=tuple(units.spans(unread)),
            )
        )

        def read(event: SentenceRead) -> None:
            self._take(event, unread[event.index][0], units)

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
        sentence = self._asked[event.index]
        self._known[sentence] = tuple(
            _Found(
                units.units(word.start) - start,
                units.units(word.end) - start,
                word.score,
                tuple(one.text for one in word.expected),
            )
            for word in event.words
            if word.is_unlikely
        )
        self._fresh.add(sentence)
        while len(self._known) > MAX_SENTENCES:
            del self._known[next(iter(self._known))]
        self._num_done += 1
        self._look_again()

    def _on_done(self, result: ProofreadResult) -> None:
        if result.seconds:
            self._rate_words_s = result.num_words / result.seconds
        self._go_on(self._rest)

    def _on_failed(self, failure: RequestFailure) -> None:
        self._wanted = []
        self._end()
        if failure.end is not None:
            self.notice.emit(sentences.engine_ended(failure.end))
        else:
            self.notice.emit(sentences.request_failed(failure.code, failure.message))

    def _end(self) -> None:
        """Before all was read: of the rest, nothing is."""
        self._go_on([])

    def _go_on(self, rest: list[Span]) -> None:
        self._handle = None
        self._asked = ()
        self._rest = []
        if not rest:
            self._num_asked = self._num_done = 0
        self._wanted = [*rest, *self._wanted]
        self._tell()
        self._read_on()

    def _know_for(self, model_id: str) -> None:
        if model_id != self._model_id:
            self._model_id = model_id
            self._known.clear()
            self._seen.clear()
            self._fresh.clear()

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
        self._wanted, self._under_way, self._rest = (
            [(edit.moved(start), edit.moved(end)) for start, end in stretches]
            for stretches in (self._wanted, self._under_way, self._rest)
        )
        if len(edit.inserted.text) > MAX_NEW_CHARACTERS:
            self._paragraphs = Paragraphs()  # in steps, as a text that was never looked at
        self._look_again()

    def _look_again(self) -> None:
        if self._is_open and not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        self._timer.stop()
        self.changed.emit(self.view)
        session = self._session
        if session is None or not (self._is_open or self._wanted):
            return
        if self._paragraphs.size < len(session.document):
            self._cutting.start()


def _touch(low: int, high: int, stretches: list[Span]) -> bool:
    return any(low < end and start < high for start, end in stretches)
