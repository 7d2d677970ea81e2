"""One message: a person's bubble, or an answer with its name, facts and actions."""

from collections.abc import Iterator
from dataclasses import replace

from PySide6.QtCore import QEvent, QLocale, QObject, Qt, Signal
from PySide6.QtGui import QEnterEvent, QGuiApplication, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QMenu, QWidget
from typing_extensions import override

from bilin_app.controllers.views import (
    AnswerFacts,
    AnswerProgress,
    MessageView,
    Seam,
)
from bilin_app.pages.chat.aside import Aside, copy_selected, deselect, pressed_part
from bilin_app.pages.chat.attachment_chips import AttachmentChips
from bilin_app.pages.chat.message_body import MessageBody, plain_text
from bilin_app.pages.chat.message_parts import ActionRow, InlineEditor, Notice, SeamNote
from bilin_app.pages.chat.thought import Thought
from bilin_app.pages.controls import label
from bilin_app.pages.model_name import model_name
from bilin_app.text.thinking import Parted, part_thought
from bilin_app.theme.theme import theme

BUBBLE_PADDING_X = 14
BUBBLE_PADDING_Y = 9
BUBBLE_SHARE = 0.85  # of the column's width, at most
NAME_HEIGHT = 24
ROW_HEIGHT = 28
GAP = 22  # below an answer
PERSON_ROW_HEIGHT = 26
PERSON_GAP = 2
EDIT_HEIGHT = 132
ANSWER_EDIT_HEIGHT = 260
CHIPS_GAP = 6
SEAM_GAP = 6


class MessageWidget(QWidget):
    """Shows a MessageView in a column as wide as itself. `height_for`: how high it wants to be."""

    height_changed = Signal()
    link_clicked = Signal(str)
    edit_submitted = Signal(int, str)
    editing_ended = Signal()
    regenerate_requested = Signal(int)
    continue_requested = Signal(int)
    version_requested = Signal(int, int)  # message, -1 or +1
    unqueue_requested = Signal(int)
    inspect_requested = Signal(int)
    write_answer_requested = Signal(int, str, bool)  # True = the model goes on from it
    delete_requested = Signal(int)
    attachment_opened = Signal(object)
    aside_pressed = Signal()  # a thought, a notice, a note: what is selected now is there

    def __init__(
        self, view: MessageView, name: str, parent: QWidget, unfolded: set[int] | None = None
    ) -> None:
        """unfolded: ids of the messages whose thoughts are open; kept by the owner."""
        super().__init__(parent)
        self.view = view
        self._unfolded = set() if unfolded is None else unfolded
        self._name_text = name
        self._can_act = True
        self._source = ""  # the text on show, with its thought
        self._thought: Thought | None = None
        self._editor: InlineEditor | None = None
        self._is_person = view.role == "user"
        self._bubble = QFrame(self)
        self._bubble.setObjectName("bubble")
        self._bubble.setVisible(self._is_person)
        self.body = MessageBody(self._bubble if self._is_person else self)
        self.body.link_clicked.connect(self.link_clicked)
        self.body.height_changed.connect(self.height_changed)
        self._name = label(self, "muted")
        self._name.setVisible(not self._is_person)
        self._notice: Notice | None = None
        self._seam: SeamNote | None = None
        self._progress: AnswerProgress | None = None
        self._chips = AttachmentChips(self, at_right=True)
        self._chips.opened.connect(
            lambda index: self.attachment_opened.emit(self.view.attachments[index])
        )
        self._row = ActionRow(self, is_person=self._is_person)
        self._row.copy.clicked.connect(self._on_copy)
        self._row.edit.clicked.connect(self.start_editing)
        self._row.again.clicked.connect(lambda: self.regenerate_requested.emit(self.view.id))
        self._row.carry_on.clicked.connect(lambda: self.continue_requested.emit(self.view.id))
        self._row.cancel.clicked.connect(lambda: self.unqueue_requested.emit(self.view.id))
        self._row.more.clicked.connect(self._open_more)
        self._row.previous.clicked.connect(lambda: self.version_requested.emit(self.view.id, -1))
        self._row.following.clicked.connect(lambda: self.version_requested.emit(self.view.id, 1))
        self._show_text()
        self._show_rest()
        theme().changed.connect(self._on_theme_changed)

    @property
    def is_busy(self) -> bool:
        """Whether it holds what its view does not: text still coming, or an edit."""
        return self._is_open() or self._editor is not None

    @property
    def edited_text(self) -> str | None:
        """What is written in place of the message; None = it is not being edited."""
        return self._editor.edit.toPlainText() if self._editor is not None else None

    # --- Data in ----------------------------------------------------------------------------------

    def set_view(self, view: MessageView) -> None:
        """Shows another state of the message; text that only grew is only appended."""
        before, self.view = self.view, view
        was_open = before.state in ("waiting", "running")
        has_new_seam = view.seams != before.seams
        if view.text != self._source or was_open != self._is_open() or has_new_seam:
            if (
                was_open
                and not has_new_seam
                and view.text.startswith(self._source)
                and not self._is_person
            ):
                self._grow(view.text)
                if not self._is_open():
                    self.body.finish()
            else:
                self._show_text()
        self._show_rest()
        self.height_changed.emit()

    def append_text(self, text: str) -> None:
        """Adds text to an answer that is being written."""
        self.view = replace(self.view, text=self._source + text)
        self._grow(self.view.text)
        self.body.viewport().update()
        self.height_changed.emit()

    def show_progress(self, progress: AnswerProgress) -> None:
        """How far the answer is."""
        self._progress = progress
        if self.view.state == "running":
            self._row.show_facts(self._facts_text())

    def set_name(self, name: str) -> None:
        """The name over an answer: the model's."""
        self._name_text = name
        self._show_rest()

    def set_can_act(self, can_act: bool) -> None:
        """Whether an answer may be asked for now: not while another is being written."""
        self._can_act = can_act
        if self.view.state == "queued":
            self._show_rest()
        for button in (self._row.edit, self._row.again, self._row.carry_on):
            button.setEnabled(can_act)

    def unfold_thought(self) -> None:
        """Shows what the model thought, if it did."""
        if self._thought is not None:
            self._thought.unfold()

    # --- Selecting --------------------------------------------------------------------------------

    def asides(self) -> Iterator[Aside]:
        """The texts beside the answer, from the top down."""
        if self._thought is not None:
            yield self._thought.text
        for part in (self._seam, self._notice):
            if part is not None:
                yield from part.asides

    def copy_selected(self) -> None:
        """Brings to the clipboard what is selected here, in the text or beside it."""
        self.body.copy()
        for aside in self.asides():
            copy_selected(aside)

    def deselect_asides(self) -> None:
        """Selects nothing beside the text."""
        for aside in self.asides():
            deselect(aside)

    def _watch(self, *asides: Aside) -> None:
        for aside in asides:
            pressed_part(aside).installEventFilter(self)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseButtonPress:
            extends = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            if event.button() == Qt.MouseButton.LeftButton and not extends:
                self.aside_pressed.emit()
        return super().eventFilter(watched, event)

    # --- Geometry ---------------------------------------------------------------------------------

    def height_for(self, width: int) -> int:
        """The height at a width, px, with the gap below."""
        if self._editor is not None:
            return self._edit_height() + GAP
        if self._is_person:
            height = self._chips_height(width) + PERSON_ROW_HEIGHT + PERSON_GAP
            if self.view.text:
                inner = self._bubble_text_width(width)
                height += self.body.height_for(inner) + 2 * BUBBLE_PADDING_Y
            return height
        height = NAME_HEIGHT + self._thought_height(width) + self.body.height_for(width)
        if self._notice is not None:
            height += self._notice.height_for(width) + 12
        if self._seam is not None:
            height += self._seam.height_for(width) + SEAM_GAP
        return height + ROW_HEIGHT + GAP

    def _edit_height(self) -> int:
        return EDIT_HEIGHT if self._is_person else ANSWER_EDIT_HEIGHT

    def _chips_height(self, width: int) -> int:
        height = self._chips.height_for(int(width * BUBBLE_SHARE))
        return height + CHIPS_GAP if height and self.view.text else height

    def _bubble_text_width(self, width: int) -> int:
        """The text's width in the bubble: as narrow as the text allows."""
        most = int(width * BUBBLE_SHARE) - 2 * BUBBLE_PADDING_X
        self.body.height_for(most)
        return min(most, self.body.ideal_width())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def _place(self) -> None:
        width = self.width()
        if self._editor is not None:
            self._editor.setGeometry(0, 0, width, self._edit_height())
            return
        if self._is_person:
            self._place_person(width)
            return
        self._name.setGeometry(0, 0, width, NAME_HEIGHT - 2)
        y = NAME_HEIGHT
        if self._thought is not None:
            thought_height = self._thought_height(width)
            self._thought.setGeometry(0, y, width, thought_height)
            y += thought_height
        height = self.body.height_for(width)
        self.body.setGeometry(0, y, width, height)
        y += height
        if self._seam is not None:
            seam_height = self._seam.height_for(width)
            self._seam.setGeometry(0, y + SEAM_GAP, width, seam_height)
            y += seam_height + SEAM_GAP
        if self._notice is not None:
            notice_height = self._notice.height_for(width)
            self._notice.setGeometry(0, y + 8, width, notice_height)
            y += notice_height + 12
        self._row.setGeometry(-5, y + 2, width + 5, ROW_HEIGHT)

    def _place_person(self, width: int) -> None:
        chips_width = int(width * BUBBLE_SHARE)
        chips_height = self._chips.height_for(chips_width)
        self._chips.setGeometry(width - chips_width, 0, chips_width, chips_height)
        y = self._chips_height(width)
        self._bubble.setVisible(bool(self.view.text))
        if self.view.text:
            inner = self._bubble_text_width(width)
            height = self.body.height_for(inner)
            bubble_width = inner + 2 * BUBBLE_PADDING_X
            bubble_height = height + 2 * BUBBLE_PADDING_Y
            self._bubble.setGeometry(width - bubble_width, y, bubble_width, bubble_height)
            self.body.setGeometry(BUBBLE_PADDING_X, BUBBLE_PADDING_Y, inner, height)
            y += bubble_height
        self._row.setGeometry(0, y + 1, width, PERSON_ROW_HEIGHT)

    # --- Showing ----------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        return self.view.state in ("waiting", "running")

    def _show_text(self) -> None:
        self._source = self.view.text
        if self._is_person:
            self.body.set_plain_text(self.view.text)
            return
        parted = part_thought(self.view.text, is_complete=not self._is_open())
        self._show_thought(parted)
        # The answer is the text's end: offsets count from there.
        before = len(self.view.text) - len(parted.answer)
        seams = tuple(
            (max(0, seam.offset - before), self._seam_text(seam)) for seam in self.view.seams
        )
        self.body.set_text(parted.answer, is_complete=not self._is_open(), seams=seams)

    def _seam_text(self, seam: Seam) -> str:
        if seam.kind == "begun":
            return self.tr("The words before this are yours")
        return self.tr("Broken off and taken up again. {0}").format(seam.reason)

    def _grow(self, source: str) -> None:
        """Shows a source that begins with the one on show."""
        self._source = source
        parted = part_thought(source, is_complete=not self._is_open())
        self._show_thought(parted)
        known = self.body.content.text
        if parted.answer.startswith(known):
            self.body.append(parted.answer[len(known) :])
        else:  # what was held back turned out to be part of a mark
            self.body.set_text(parted.answer, is_complete=not self._is_open())

    def _show_thought(self, parted: Parted) -> None:
        if not parted.thought and not parted.is_thinking:
            if self._thought is not None:
                self._thought.deleteLater()
                self._thought = None
            return
        if self._thought is None:
            self._thought = Thought(self, is_open=self.view.id in self._unfolded)
            self._thought.toggled.connect(self._on_thought_toggled)
            self._watch(self._thought.text)
            self._thought.show()
        self._thought.set_thought(parted.thought, is_thinking=parted.is_thinking)

    def _thought_height(self, width: int) -> int:
        return self._thought.height_for(width) if self._thought is not None else 0

    def _on_thought_toggled(self, is_open: bool) -> None:
        (self._unfolded.add if is_open else self._unfolded.discard)(self.view.id)
        self.height_changed.emit()

    def _show_rest(self) -> None:
        view = self.view
        self.body.is_streaming = self._is_open()
        self.body.viewport().update()
        self._name.setText(model_name(view.facts.model) if view.facts else self._name_text)
        who = self.tr("You") if self._is_person else self._name.text()
        self.body.setAccessibleName(self.tr("Message from {0}").format(who))
        self._show_notice()
        self._show_seam()
        self._chips.set_attachments(view.attachments)
        self._row.show_view(view, self._facts_text(), self._about_facts())

    def _show_seam(self) -> None:
        breaks = [seam for seam in self.view.seams if seam.kind == "break"]
        if not breaks:
            if self._seam is not None:
                self._seam.deleteLater()
                self._seam = None
            return
        if self._seam is None:
            self._seam = SeamNote(self)
            self._watch(*self._seam.asides)
            self._seam.show()
        self._seam.set_text("\n".join(self._seam_text(seam) for seam in breaks))

    def _about_facts(self) -> str:
        """What the row has no room for."""
        facts = self.view.facts
        if facts is None:
            return ""
        locale = QLocale()
        return "\n".join(
            (
                self.tr("Model: {0}").format(model_name(facts.model)),
                self.tr("Prompt: {0} tokens").format(locale.toString(facts.prompt_tokens)),
                self.tr("Seed: {0}").format(facts.seed),
            )
        )

    def _show_notice(self) -> None:
        sentence = self.view.failure
        if not sentence:
            if self._notice is not None:
                self._notice.deleteLater()
                self._notice = None
            return
        if self._notice is None:
            self._notice = Notice(self)
            self._notice.details_toggled.connect(self.height_changed)
            self._watch(*self._notice.asides)
            self._notice.show()
        self._notice.set_texts(sentence, self.view.detail)

    def _facts_text(self) -> str:
        view, facts = self.view, self.view.facts
        if view.state == "queued" and self._can_act:  # that answer failed, or the app was closed
            return self.tr("Queued: sent with your next message")
        if view.state == "queued":
            return self.tr("Queued: sent when this answer ends")
        if view.state == "waiting":
            return self.tr("Waiting for the model …")
        if view.state == "running":
            return self._progress_text(self._progress or AnswerProgress())
        begun = [self._begun_text()] if self._begun_text() else []
        if facts is None:
            return " · ".join([self.tr("Stopped"), *begun] if view.state == "stopped" else begun)
        return " · ".join([*begun, *self._facts_parts(facts)])

    def _begun_text(self) -> str:
        begun = [seam for seam in self.view.seams if seam.kind == "begun"]
        if not begun:
            return ""
        is_all = begun[-1].offset >= len(self.view.text)
        return self.tr("edited by you") if is_all else self.tr("begun by you")

    def _progress_text(self, progress: AnswerProgress) -> str:
        """What is known of the time it takes; nothing is guessed before it was measured."""
        rest = _about(progress.rest_s)
        if not progress.new_tokens:
            if progress.first_token_s is None:
                return self.tr("Reading the prompt …")
            if progress.first_token_s < 0.5:
                return self.tr("First word any moment")
            first = self.tr("First word in about {0} s").format(_about(progress.first_token_s))
            return self.tr("{0}, the whole in {1} s at most").format(first, rest) if rest else first
        locale = QLocale()
        parts = []
        if progress.rate_tok_s:
            parts.append(self.tr("{0} tok/s").format(locale.toString(progress.rate_tok_s, "f", 1)))
        parts.append(self.tr("{0} tokens").format(locale.toString(progress.new_tokens)))
        if rest:
            parts.append(self.tr("{0} s more at most").format(rest))
        return " · ".join(parts)

    def _facts_parts(self, facts: AnswerFacts) -> list[str]:
        locale = QLocale()
        parts = []
        if facts.rate_tok_s:
            parts.append(self.tr("{0} tok/s").format(locale.toString(facts.rate_tok_s, "f", 1)))
        parts.append(self.tr("{0} tokens").format(locale.toString(facts.new_tokens)))
        first_s = facts.time_to_first_token_s
        first = locale.toString(first_s, "f", 1 if first_s >= 0.1 else 2)
        parts.append(self.tr("first {0} s").format(first))
        if facts.finish_reason == "length":
            parts.append(self.tr("length limit"))
        elif facts.finish_reason == "context":
            parts.append(self.tr("window full"))
        return parts

    def _on_theme_changed(self) -> None:
        self._show_text()
        self._show_rest()
        self.body.invalidate_width()
        self.height_changed.emit()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show_rest()
        super().changeEvent(event)

    # --- Actions ----------------------------------------------------------------------------------

    def _on_copy(self) -> None:
        # The answer, not the thought before it.
        parted = part_thought(self.view.text, is_complete=True)
        text = self.view.text if self._is_person else parted.answer or parted.thought
        QGuiApplication.clipboard().setText(text)
        self._row.show_copied()

    def make_menu(self) -> QMenu:
        """What else can be done with a message."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if not self._is_person:
            menu.addAction(self.tr("Copy as Markdown")).triggered.connect(self._on_copy)
            menu.addAction(self.tr("Copy as plain text")).triggered.connect(self._on_copy_plain)
            menu.addSeparator()
            menu.addAction(self.tr("What the model saw …")).triggered.connect(
                lambda: self.inspect_requested.emit(self.view.id)
            )
            menu.addSeparator()
        delete = menu.addAction(self.tr("Delete, with all below it"))
        delete.triggered.connect(lambda: self.delete_requested.emit(self.view.id))
        return menu

    def _open_more(self) -> None:
        self.make_menu().popup(self._row.more.mapToGlobal(self._row.more.rect().bottomLeft()))

    def _on_copy_plain(self) -> None:
        document = self.body.document()
        text = plain_text(document, 0, document.characterCount())
        QGuiApplication.clipboard().setText(text.strip())
        self._row.show_copied()

    def start_editing(self) -> None:
        """Turns the message into a field; submitting asks for a new branch."""
        if self._editor is None:
            text = self.view.text
            if not self._is_person:
                text = part_thought(text, is_complete=True).answer
            self.open_editor(text).edit.setFocus()

    def open_editor(self, text: str) -> InlineEditor:
        """The field in place of the message, with this text; the focus stays where it is."""
        self._editor = InlineEditor(text, self, is_person=self._is_person)
        self._editor.submitted.connect(self._on_edit_submitted)
        self._editor.go_on_requested.connect(self._on_go_on_requested)
        self._editor.cancelled.connect(self._stop_editing)
        self._set_parts_visible(False)
        self._editor.show()
        self.height_changed.emit()
        return self._editor

    def _on_edit_submitted(self, text: str) -> None:
        self._stop_editing()
        if self._is_person:
            self.edit_submitted.emit(self.view.id, text)
        else:
            self.write_answer_requested.emit(self.view.id, text, False)

    def _on_go_on_requested(self, text: str) -> None:
        self._stop_editing()
        self.write_answer_requested.emit(self.view.id, text, True)

    def _stop_editing(self) -> None:
        if self._editor is not None:
            self._editor.hide()
            self._editor.deleteLater()
            self._editor = None
        self._set_parts_visible(True)
        self.height_changed.emit()
        self.editing_ended.emit()

    def _set_parts_visible(self, visible: bool) -> None:
        self._bubble.setVisible(visible and self._is_person and bool(self.view.text))
        self._chips.setVisible(visible and bool(self.view.attachments))
        if self._seam is not None:
            self._seam.setVisible(visible)
        if not self._is_person:
            self.body.setVisible(visible)
            if self._thought is not None:
                self._thought.setVisible(visible)
            self._name.setVisible(visible)
        self._row.setVisible(visible)
        if self._notice is not None:
            self._notice.setVisible(visible)

    @override
    def enterEvent(self, event: QEnterEvent) -> None:
        self._row.set_hovered(True)
        super().enterEvent(event)

    @override
    def leaveEvent(self, event: QEvent) -> None:
        self._row.set_hovered(False)
        super().leaveEvent(event)


def _about(seconds: float | None) -> str:
    """A time as one says it: whole seconds, coarser where it is long; "" = not known."""
    if seconds is None:
        return ""
    step = 1 if seconds < 20 else 5 if seconds < 120 else 30
    return QLocale().toString(max(1, step * round(seconds / step)))
