"""One request to fill blanks, and which text it sends: what is on the screen, blanks as blanks.

Knows the engine's fill and window requests; knows nothing of documents on disk.
"""

from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import BlankView, FillSettings, WindowRuler
from bilin_app.controllers.engine import EngineController
from bilin_app.engine_client.client import RequestFailure, RequestHandle
from bilin_app.text.document import count_units, from_units
from bilin_engine.protocol import (
    BlankKind,
    BlankSegment,
    Fill,
    FillConstraints,
    FillResult,
    FillWay,
    InspectWindow,
    Sampling,
    Segment,
    TextDelta,
    TextSegment,
    WindowView,
)

FLUSH_MS = 33
MAX_TOKEN_CHARACTERS = 16  # of text that a token may stand for: what is sent is cut by it

_NEW_TOKENS: dict[BlankKind, int] = {"short": 48, "sentence": 128, "long": 512}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch as it is sent. start, end: in the document. A blank, or text in units."""

    start: int
    end: int
    text: str = ""
    blank_id: int = 0
    kind: BlankKind = "short"


@dataclass(frozen=True, slots=True)
class SentText:
    """What a request holds: the text around some blanks, offers on show as text."""

    pieces: tuple[_Piece, ...]

    @classmethod
    def around(
        cls, session: EditorSession, wanted: tuple[int, ...], context_length: int
    ) -> "SentText":
        """The text near the wanted blanks, as much on each side as could fit in any case.

        Offers on show stand as text, but for the wanted blanks' own.
        """
        document = session.document
        places = [place for i in wanted if (place := document.place(i)) is not None]
        if not places:
            return cls(())
        reach = max(context_length, 256) * MAX_TOKEN_CHARACTERS
        start = max(0, min(position for position, _ in places) - reach)
        end = min(len(document), max(position for position, _ in places) + 1 + reach)
        if "\udc00" <= document.text[start : start + 1] <= "\udfff":
            start += 1
        part = document.slice(start, end)
        pieces: list[_Piece] = []
        at = 0
        for offset, blank in part.blanks:
            if at < offset:
                pieces.append(_Piece(start + at, start + offset, part.text[at:offset]))
            shown = "" if blank.id in wanted else session.shown_text(blank.id)
            place = start + offset
            if shown:
                pieces.append(_Piece(place, place + 1, shown))
            else:
                pieces.append(_Piece(place, place + 1, blank_id=blank.id, kind=blank.kind))
            at = offset + 1
        if at < len(part.text):
            pieces.append(_Piece(start + at, end, part.text[at:]))
        return cls(tuple(pieces))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """For the request."""
        return tuple(
            BlankSegment(piece.kind) if piece.blank_id else TextSegment(from_units(piece.text))
            for piece in self.pieces
        )

    @property
    def blank_ids(self) -> tuple[int, ...]:
        """By the request's numbers."""
        return tuple(piece.blank_id for piece in self.pieces if piece.blank_id)

    def position(self, characters: int) -> int:
        """Where in the document the request's first `characters` characters end."""
        for piece in self.pieces:
            size = 1 if piece.blank_id else len(from_units(piece.text))
            if characters <= size:
                if piece.blank_id or piece.end - piece.start != len(piece.text):
                    return piece.end if characters else piece.start  # a blank, or an offer
                return piece.start + count_units(piece.text, characters)
            characters -= size
        return self.pieces[-1].end if self.pieces else 0


class FillRun(QObject):
    """Fills one blank or several, in order. ended(str): a notice, "" = all went well.

    Offers go into the session as they come, at most one change in FLUSH_MS.
    """

    ended = Signal(str)

    def __init__(
        self,
        session: EditorSession,
        engine: EngineController,
        blank_ids: tuple[int, ...],
        settings: FillSettings,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.blank_ids = blank_ids
        self._engine = engine
        self._settings = settings
        self._model_id = ""
        self._left: list[tuple[int, ...]] = []  # what is to be asked for, one request each
        self._filled: set[int] = set()
        self._sent = SentText(())
        self._notice = ""
        self._handle: RequestHandle | None = None
        self._pending: dict[int, str] = {}
        self._is_ended = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FLUSH_MS)
        self._timer.timeout.connect(self._flush)
        session.blank_changed.connect(self._on_blank_changed)

    def start(self, model_id: str, way: FillWay | None = None) -> None:
        """Asks the model: once for all blanks, or blank by blank where one has a rule to keep.

        way: how it will fill them, None = that is not known until it has.
        """
        session = self.session
        self._model_id = model_id
        sent = SentText.around(session, self.blank_ids, self._engine.context_length)
        wanted = tuple(i for i in self.blank_ids if i in sent.blank_ids)
        has_rules = any(session.fill(i).constraints != FillConstraints() for i in wanted)
        self._left = [(i,) for i in wanted] if has_rules else [wanted] if wanted else []
        for blank_id in wanted:
            session.begin_stream(blank_id, is_exact=_is_exact(way))
        self._ask_next()

    def _ask_next(self) -> None:
        """Asks for the next blanks that are still there, with all fills so far as text."""
        session, settings = self.session, self._settings
        wanted: tuple[int, ...] = ()
        while self._left and not wanted:
            wanted = tuple(i for i in self._left.pop(0) if session.document.place(i) is not None)
        if not wanted:
            self._end(self._notice)
            return
        sent = self._sent = SentText.around(session, wanted, self._engine.context_length)
        views = [view for i in wanted if (view := session.view(i)) is not None]
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=0.9,
            max_new_tokens=max(_new_tokens(view) for view in views),
            num_beams=settings.num_candidates
            if settings.with_beams and settings.num_candidates > 1
            else 1,
        )
        handle = self._engine.send_for_text(
            lambda i: Fill(
                id=i,
                model=self._model_id,
                segments=sent.segments,
                blank=sent.blank_ids.index(wanted[0]) if len(wanted) == 1 else None,
                num_candidates=settings.num_candidates,
                constraints=views[0].constraints if len(wanted) == 1 else FillConstraints(),
                sampling=sampling,
                takes_nearest=True,
            )
        )
        self._handle = handle
        handle.delta_received.connect(self._on_delta)
        handle.done.connect(self._on_done)
        handle.cancelled.connect(self._on_cancelled)
        handle.failed.connect(self._on_failed)

    def stop(self) -> None:
        """Ends it; what came so far stays offered."""
        self._left = []
        if self._handle is None:
            self._end("")
        else:
            self._handle.cancel()

    def leave(self) -> None:
        """Ends it now, before the engine has obeyed: its session may be gone by then."""
        self.stop()
        self._end(self._notice)

    def _on_delta(self, delta: TextDelta) -> None:
        ids = self._sent.blank_ids
        if delta.candidate == 0 and delta.blank < len(ids):
            blank_id = ids[delta.blank]
            self._pending[blank_id] = self._pending.get(blank_id, "") + delta.text
            if not self._timer.isActive():
                self._timer.start()

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for blank_id, text in pending.items():
            self.session.append_stream(blank_id, text)

    def _on_done(self, result: FillResult) -> None:
        self._flush()
        ids = self._sent.blank_ids
        for filled in result.blanks:
            blank_id = ids[filled.index]
            if self.session.document.place(blank_id) is None:
                self._notice = sentences.fill_dropped()
            else:
                self._filled.add(blank_id)
                is_exact = _is_exact(result.way)
                self.session.end_stream(blank_id, filled.candidates, is_exact=is_exact)
        self._ask_next()

    def _on_cancelled(self) -> None:
        self._end(self._notice)

    def _on_failed(self, failure: RequestFailure) -> None:
        if failure.end is not None:
            self._end(sentences.engine_ended(failure.end))
        else:
            self._end(sentences.request_failed(failure.code, failure.message))

    def _on_blank_changed(self, blank_id: int) -> None:
        """A blank that is deleted while it alone is filled needs no more of the model's time."""
        if self._is_ended or blank_id not in self.blank_ids or blank_id in self._filled:
            return
        if self.session.document.place(blank_id) is None:
            self._notice = sentences.fill_dropped()
            if self.blank_ids == (blank_id,):
                self.leave()

    def _end(self, notice: str) -> None:
        if self._is_ended:
            return
        self._timer.stop()
        self._flush()
        self._is_ended = True
        self._handle = None
        for blank_id in self.blank_ids:
            self.session.end_stream(blank_id)
        self.ended.emit(notice)


class WindowMeter(QObject):
    """Asks which text the model would see for a blank, some time after things have changed.

    One question at a time: of a long text each takes longer than a key, and others wait behind it.
    counted(WindowRuler | None): None = there is no blank, or no model to ask.
    """

    counted = Signal(object)

    def __init__(self, engine: EngineController, parent: QObject, delay_ms: int = 250) -> None:
        super().__init__(parent)
        self._engine = engine
        self._session: EditorSession | None = None
        self._blank_id = 0
        self._number = 0  # counts the changes: only what was asked after the last one is told
        self._is_asking = False
        self._is_stopped = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._ask)

    def count_soon(self, session: EditorSession, blank_id: int) -> None:
        """The text, the blank chosen or what its fills must keep has changed."""
        self._session, self._blank_id = session, blank_id
        self._number += 1
        self._ask_soon()

    def stop(self) -> None:
        """Asks no more."""
        self._is_stopped = True
        self._timer.stop()
        self._number += 1

    def _ask_soon(self) -> None:
        if not self._is_stopped and not self._timer.isActive():
            self._timer.start()

    def _ask(self) -> None:
        session, blank_id, model = self._session, self._blank_id, self._engine.model
        is_there = session is not None and session.document.place(blank_id) is not None
        if session is None or model is None or not is_there:
            self.counted.emit(None)
            return
        if self._is_asking:
            return  # the answer under way has this asked again
        self._is_asking = True
        sent = SentText.around(session, (blank_id,), self._engine.context_length)
        number = self._number
        handle = self._engine.send(
            lambda i: InspectWindow(
                id=i,
                model=model.id,
                segments=sent.segments,
                blank=sent.blank_ids.index(blank_id),
                context_length=self._engine.context_length,
                constraints=session.fill(blank_id).constraints,
            )
        )

        def answered(ruler: WindowRuler | None) -> None:
            self._is_asking = False
            if number == self._number:
                self.counted.emit(ruler)
            else:
                self._ask_soon()

        handle.done.connect(lambda view: answered(_ruler(view, sent, blank_id)))
        handle.cancelled.connect(lambda: answered(None))
        handle.failed.connect(lambda _failure: answered(None))


def _new_tokens(view: BlankView) -> int:
    """What a blank's fill may take: as its kind, or more where more was asked for."""
    limit = view.constraints.length
    return max(_NEW_TOKENS[view.kind], 0 if limit is None else limit.room_tokens)


def _is_exact(way: FillWay | None) -> bool:
    """Whether fills bring their own spaces and line breaks."""
    return way == "fim"


def _ruler(view: WindowView, sent: SentText, blank_id: int) -> WindowRuler:
    return WindowRuler(
        blank_id=blank_id,
        start=sent.position(view.start),
        end=sent.position(view.end),
        num_tokens=view.num_tokens,
        document_tokens=view.document_tokens,
        context_length=view.context_length,
        way=view.way,
    )
