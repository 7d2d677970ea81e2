"""One open document: its text, its undo stack, and what the model offers for its blanks.

What is offered stands outside the text and the undo stack until it is accepted, as one command.
Knows neither engine nor database. GUI thread.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from bilin_app.controllers.editor_views import BlankState, BlankView
from bilin_app.text.document import (
    Blank,
    Document,
    Edit,
    Slice,
    blank_slice,
    fitted,
    from_units,
    parse_slice,
    plain_slice,
    replacement,
    to_units,
    word_end,
)
from bilin_app.text.document_file import BlankFill, Snapshot
from bilin_engine.protocol import BlankKind, Candidate, FillConstraints

TYPING_PAUSE_S = 2.0  # after it, what is typed is a step of its own


@dataclass(slots=True)
class _Step:
    """What one undo takes back. before, after: what was offered for blanks that it consumes."""

    edit: Edit
    before: dict[int, BlankFill]
    after: dict[int, BlankFill]


@dataclass(slots=True)
class _Stream:
    """A fill on its way. is_exact: as in BlankFill."""

    text: str = ""
    is_exact: bool = False


class EditorSession(QObject):
    """edited(Edit, bool): the text changed; True = the window's text field has it already.

    blank_changed(int): what is offered or shown for this blank changed, or the blank itself.
    """

    edited = Signal(object, bool)
    blank_changed = Signal(int)

    def __init__(self, snapshot: Snapshot, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.document = Document(snapshot.content)
        self.stack = QUndoStack(self)
        self._fills = dict(snapshot.fills)
        self._streams: dict[int, _Stream] = {}
        self._around: dict[int, tuple[str, str]] = {}  # neighbours that an offer was fitted to
        self._typing: _Command | None = None
        self._typed_at = 0.0
        self._is_ahead = False  # the text field has the edit under way already

    # --- Questions --------------------------------------------------------------------------------

    def snapshot(self, title: str) -> Snapshot:
        """All of it, frozen. Offers for blanks that are gone are left out."""
        fills = tuple(
            (blank.id, self._fills[blank.id])
            for _, blank in self.document.blanks
            if blank.id in self._fills
        )
        return Snapshot(title, self.document.content, fills)

    def fill(self, blank_id: int) -> BlankFill:
        """What is offered for a blank, or was until the model began to fill it."""
        return self._fills.get(blank_id, BlankFill())

    def shown_text(self, blank_id: int) -> str:
        """What stands in the blank's place, in units; "" = the blank itself."""
        place = self.document.place(blank_id)
        if place is None:
            return ""
        position, blank = place
        fill = self.fill(blank_id)
        is_exact = fill.is_exact
        if (stream := self._streams.get(blank_id)) is not None:
            text, is_exact = stream.text, stream.is_exact
        elif 0 <= fill.chosen < len(fill.candidates):
            text = fill.candidates[fill.chosen].text
        else:
            return ""
        text = plain_slice(text).text
        if is_exact:
            return text
        if blank.kind == "long" and not text.strip():
            return text.strip("\n")
        # An offer moves no letter of what a person types beside it: its spaces stay as they are.
        around = self._around.setdefault(blank_id, self._neighbours(position))
        return fitted(text, *around)

    def _neighbours(self, position: int) -> tuple[str, str]:
        text = self.document.text
        return text[position - 1 : position], text[position + 1 : position + 2]

    def view(self, blank_id: int) -> BlankView | None:
        """A blank as the panel shows it; None if it is gone."""
        place = self.document.place(blank_id)
        if place is None:
            return None
        fill = self.fill(blank_id)
        if blank_id in self._streams:
            fill = BlankFill(constraints=fill.constraints)
        return BlankView(
            id=blank_id,
            number=self.document.index(blank_id) + 1,
            kind=place[1].kind,
            original=place[1].original,
            state=self._state(blank_id),
            text=from_units(self.shown_text(blank_id)),
            candidates=fill.candidates,
            chosen=fill.chosen,
            constraints=fill.constraints,
        )

    def _state(self, blank_id: int) -> BlankState:
        if blank_id in self._streams:
            return "streaming" if self._streams[blank_id].text.strip() else "waiting"
        return "offered" if self.fill(blank_id).chosen >= 0 else "open"

    # --- A person's edits -------------------------------------------------------------------------

    def type_text(self, start: int, end: int, text: str, *, is_ahead: bool = False) -> None:
        """Puts text in place of a stretch. is_ahead: the text field shows it already."""
        inserted = plain_slice(text)
        edit = replacement(self.document, start, end, inserted)
        is_short = len(inserted.text) <= 16 and "\n" not in inserted.text
        self._do(edit, is_typing=is_short, is_ahead=is_ahead)

    def paste(self, start: int, end: int, text: str) -> int:
        """Puts text in place of a stretch; mask tokens in it become blanks. Returns its end."""
        inserted = parse_slice(text, self.document)
        self._do(replacement(self.document, start, end, inserted))
        return start + len(inserted.text)

    def move(self, start: int, end: int, to: int) -> int:
        """Moves a stretch, blanks and offers with it, as one step. Returns where it stands then."""
        if start <= to <= end:
            return start
        document = self.document
        content = document.slice(start, end)
        if to < start:
            self._do(Edit(to, document.slice(to, end), content + document.slice(to, start)))
            return to
        self._do(Edit(start, document.slice(start, to), document.slice(end, to) + content))
        return to - (end - start)

    def replace_word(self, start: int, end: int, text: str) -> None:
        """Puts a word of the model's in place of a stretch, as one step."""
        inserted = plain_slice(text, "model")
        self._do(replacement(self.document, start, end, inserted))

    def make_blank(self, start: int, end: int, kind: BlankKind) -> int:
        """Puts a blank in place of a stretch, which it remembers. Returns its id."""
        original = self.document.slice(start, end)
        text = "".join(
            from_units(original.text[a:b]) for a, b in _between_blanks(original) if a < b
        )
        blank = Blank(self.document.new_id(), kind, text)
        self._do(Edit(start, original, blank_slice(blank)))
        self.blank_changed.emit(blank.id)
        return blank.id

    def set_kind(self, blank_id: int, kind: BlankKind) -> None:
        """Makes a blank short, a sentence or long."""
        place = self.document.place(blank_id)
        if place is not None and place[1].kind != kind:
            position, blank = place
            new = blank_slice(replace(blank, kind=kind))
            old = self.document.slice(position, position + 1)
            self._do(Edit(position, old, new))
            self.blank_changed.emit(blank_id)

    def restore_original(self, blank_id: int) -> None:
        """Puts back what the blank took the place of; an empty one goes."""
        place = self.document.place(blank_id)
        if place is not None:
            position, blank = place
            old = self.document.slice(position, position + 1)
            new = plain_slice(blank.original)
            self._do(Edit(position, old, new))

    def replace_all(self, content: Slice, fills: Mapping[int, BlankFill]) -> None:
        """Puts an earlier state in place of everything, with what was offered. One step."""
        self._do(Edit(0, self.document.content, content), after=dict(fills))
        for _, blank in content.blanks:
            self.blank_changed.emit(blank.id)

    def undo(self) -> None:
        """Takes the last step back."""
        self._typing = None
        self.stack.undo()

    def redo(self) -> None:
        """Makes the step again that was taken back last."""
        self._typing = None
        self.stack.redo()

    # --- What the model offers --------------------------------------------------------------------

    def begin_stream(self, blank_id: int, *, is_exact: bool = False) -> None:
        """The model begins to fill a blank: earlier offers are out of sight until it has done.

        is_exact: as in BlankFill.
        """
        self._streams[blank_id] = _Stream(is_exact=is_exact)
        self._show(blank_id)

    def append_stream(self, blank_id: int, text: str) -> None:
        """More of a fill."""
        if blank_id in self._streams:
            self._streams[blank_id].text += text
            self.blank_changed.emit(blank_id)

    def end_stream(
        self, blank_id: int, candidates: Sequence[Candidate] = (), *, is_exact: bool = False
    ) -> None:
        """The model has done: these are offered, or (stopped, failed) what came so far.

        Where nothing came, what was offered before is offered again. is_exact: of the candidates.
        """
        stream = self._streams.pop(blank_id, None)
        if stream is None:
            return
        if not candidates and stream.text.strip():
            candidates = (Candidate(text=stream.text, logprob=0.0, num_tokens=0),)
            is_exact = stream.is_exact
        if candidates:
            self._fills[blank_id] = replace(
                self.fill(blank_id), candidates=tuple(candidates), chosen=0, is_exact=is_exact
            )
        self._show(blank_id)

    def set_constraints(self, blank_id: int, constraints: FillConstraints) -> None:
        """What fills of this blank must keep."""
        self._fills[blank_id] = replace(self.fill(blank_id), constraints=constraints)
        self.blank_changed.emit(blank_id)

    def choose(self, blank_id: int, index: int) -> None:
        """Shows one of the candidates; -1 = none."""
        fill = self.fill(blank_id)
        if blank_id not in self._streams and -1 <= index < len(fill.candidates):
            self._fills[blank_id] = replace(fill, chosen=index)
            self._show(blank_id)

    def reject(self, blank_id: int) -> None:
        """Shows the blank again; the candidates stay to be chosen from."""
        self.choose(blank_id, -1)

    def accept(self, blank_id: int) -> bool:
        """Takes what is shown into the text, as one step. False if nothing is shown."""
        return self._take_in(blank_id, self.shown_text(blank_id))

    def adopt(self, blank_id: int, text: str) -> None:
        """Takes an offer into the text as the text field has it, which may be behind."""
        self._take_in(blank_id, to_units(text), is_ahead=True)

    def _take_in(self, blank_id: int, text: str, *, is_ahead: bool = False) -> bool:
        place = self.document.place(blank_id)
        if not text or place is None:
            return False
        self._streams.pop(blank_id, None)
        old = self.document.slice(place[0], place[0] + 1)
        inserted = Slice(text, (), ((len(text), "model"),))
        self._do(Edit(place[0], old, inserted), is_ahead=is_ahead)
        return True

    def accept_word(self, blank_id: int) -> bool:
        """Takes the first word of what is shown; the rest stays offered. False as `accept`."""
        text = self.shown_text(blank_id)
        place = self.document.place(blank_id)
        end = word_end(text)
        if not text or place is None or blank_id in self._streams:
            return False
        if not text[end:].strip():
            return self.accept(blank_id)
        fill = self.fill(blank_id)
        chosen = fill.candidates[fill.chosen]
        rest = replace(
            fill,
            candidates=(
                Candidate(
                    text=from_units(text[end:]),
                    logprob=chosen.logprob,
                    num_tokens=chosen.num_tokens,
                    breaks=chosen.breaks,
                ),
            ),
            chosen=0,
            is_exact=True,  # fitted as a whole: what parts its words is in it
        )
        position, blank = place
        old = self.document.slice(position, position + 1)
        word = Slice(text[:end], (), ((end, "model"),))
        edit = Edit(position, old, word + blank_slice(blank))
        self._push(_Step(edit, {blank_id: fill}, {blank_id: rest}))
        self.blank_changed.emit(blank_id)
        return True

    # --- Steps ------------------------------------------------------------------------------------

    def _do(
        self,
        edit: Edit,
        *,
        is_typing: bool = False,
        is_ahead: bool = False,
        after: dict[int, BlankFill] | None = None,
    ) -> None:
        if edit.removed == edit.inserted:
            return
        if is_typing and self._extends_typing(edit):
            assert self._typing is not None
            self._make(edit, is_ahead=is_ahead)
            self._typing.extend(edit, self.document)
            self._typed_at = time.monotonic()
            return
        stay = {blank.id for _, blank in edit.inserted.blanks}
        gone = {
            blank.id: self._fills[blank.id]
            for _, blank in edit.removed.blanks
            if blank.id in self._fills and blank.id not in stay
        }
        # What comes back by undo is the blank with its offers, none of them on show.
        before = {i: replace(fill, chosen=-1) for i, fill in gone.items()}
        command = self._push(_Step(edit, before, after or {}), is_ahead=is_ahead)
        self._typing = command if is_typing else None
        self._typed_at = time.monotonic()

    def _push(self, step: _Step, *, is_ahead: bool = False) -> "_Command":
        self._typing = None
        self._is_ahead = is_ahead
        command = _Command(self, step)
        self.stack.push(command)
        self._is_ahead = False
        return command

    def _extends_typing(self, edit: Edit) -> bool:
        typing = self._typing
        if typing is None or time.monotonic() - self._typed_at > TYPING_PAUSE_S:
            return False
        if edit.removed.blanks or edit.inserted.blanks:
            return False
        return typing.can_extend(edit)

    def run_step(self, step: _Step) -> None:
        """Makes a step's edit: for its command."""
        self._make(step.edit, is_ahead=self._is_ahead)
        self._offer(step.after)

    def unrun_step(self, step: _Step) -> None:
        """Takes a step's edit back: for its command."""
        self._make(step.edit.inverse, is_ahead=False)
        self._offer(step.before)

    def _make(self, edit: Edit, *, is_ahead: bool) -> None:
        self.document.apply(edit)
        removed = {blank.id for _, blank in edit.removed.blanks}
        inserted = {blank.id for _, blank in edit.inserted.blanks}
        for blank_id in removed - inserted:
            self._streams.pop(blank_id, None)
        self.edited.emit(edit, is_ahead)
        for blank_id in removed - inserted:
            self.blank_changed.emit(blank_id)
        # One that comes back has its offers still; what is not typed may bring new neighbours.
        again = inserted - removed
        if not is_ahead:
            again |= self._beside(edit)
        for blank_id in again:
            if blank_id in self._fills:
                self._show(blank_id)

    def _beside(self, edit: Edit) -> set[int]:
        """The blanks that stand right before and right behind what an edit put in."""
        before, behind = edit.start - 1, edit.start + len(edit.inserted.text)
        low = max(0, before)
        near = self.document.slice(low, behind + 1).blanks
        return {blank.id for offset, blank in near if low + offset in (before, behind)}

    def _offer(self, fills: dict[int, BlankFill]) -> None:
        for blank_id, fill in fills.items():
            self._fills[blank_id] = fill
            self._show(blank_id)

    def _show(self, blank_id: int) -> None:
        """Tells of an offer, fitted to what stands around it now."""
        self._around.pop(blank_id, None)
        self.blank_changed.emit(blank_id)


class _Command(QUndoCommand):
    """A step on Qt's stack."""

    def __init__(self, session: EditorSession, step: _Step) -> None:
        super().__init__()
        self._session = session
        self._step = step

    def can_extend(self, edit: Edit) -> bool:
        """Whether one more edit belongs to the same stretch of typing."""
        last = self._step.edit
        start, end = last.start, last.start + len(last.inserted.text)
        if start <= edit.start and edit.start + len(edit.removed.text) <= end:
            return True
        is_backspace = not edit.inserted.text and not last.inserted.text
        return is_backspace and edit.start + len(edit.removed.text) == start

    def extend(self, edit: Edit, document: Document) -> None:
        """Takes in an edit that has been made already."""
        last = self._step.edit
        if edit.start < last.start:
            joined = Edit(edit.start, edit.removed + last.removed, Slice())
        else:
            grown = len(edit.inserted.text) - len(edit.removed.text)
            end = last.start + len(last.inserted.text) + grown
            joined = Edit(last.start, last.removed, document.slice(last.start, end))
        self._step.edit = joined

    def redo(self) -> None:
        """Qt's: also the first time."""
        self._session.run_step(self._step)

    def undo(self) -> None:
        """Qt's."""
        self._session.unrun_step(self._step)


def _between_blanks(content: Slice) -> list[tuple[int, int]]:
    at, found = 0, []
    for offset, _ in content.blanks:
        found.append((at, offset))
        at = offset + 1
    return [*found, (at, len(content.text))]
