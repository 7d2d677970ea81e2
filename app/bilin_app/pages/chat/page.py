"""Binds the chat page's widgets to the controllers: nothing but connections."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices

from bilin_app.controllers.chat import ChatController
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.list_views import DeletedItem, ListRow, SearchHit
from bilin_app.controllers.views import (
    ConversationView,
    DeletedMessages,
    MessageView,
    Preset,
)
from bilin_app.pages.chat.attachment_dialog import AttachmentDialog
from bilin_app.pages.chat.markdown import is_safe_link
from bilin_app.pages.chat.view import ChatView
from bilin_app.pages.model_name import model_name
from bilin_app.theme.theme import theme
from bilin_engine.protocol import Sampling

_Row = TypeVar("_Row", ListRow, SearchHit)


class ChatPage(QObject):
    """Keeps a ChatView and the controllers in step.

    title_changed(conversation id, title): what the window is about.
    """

    title_changed = Signal(int, str)
    model_given = Signal(str)  # a folder or a GGUF file: nothing to attach, but a model to add
    # Seconds since it was begun, its conversation's id and title, how: "done", "failed",
    # "interrupted".
    answer_ended = Signal(float, int, str, str)

    def __init__(self, view: ChatView, chat: ChatController, engine: EngineController) -> None:
        super().__init__(view)
        self._view = view
        self._chat = chat
        self._engine = engine
        self._running = 0
        self._began_at = 0.0
        self._num_queued = 0
        self._conversation = ConversationView(0, "")
        self._titles: dict[int, str] = {}
        self._undos: list[tuple[str, Callable[[], None]]] = []  # what is offered, the last on show
        self._recommended: Sampling | None = None  # by the model that was on show last
        self._wanted_message = 0  # to scroll to once its conversation is open
        self._connect_chat()
        self._connect_engine()
        self._connect_widgets()
        self._on_engine_changed(engine.view)
        if view.composer.text:  # typed while the window had nothing behind it yet
            chat.set_draft(view.composer.text)

    def _connect_chat(self) -> None:
        chat, view = self._chat, self._view
        chat.conversations_changed.connect(self._on_conversations_changed)
        chat.conversation_opened.connect(self._on_conversation_opened)
        chat.messages_replaced.connect(view.replace_messages)
        chat.queue_changed.connect(self._on_queue_changed)
        chat.message_added.connect(self._on_message_added)
        chat.message_changed.connect(view.change_message)
        chat.text_appended.connect(view.append_text)
        chat.running_changed.connect(self._on_running_changed)
        chat.answer_ended.connect(self._on_answer_ended)
        chat.draft_cleared.connect(self._on_draft_cleared)
        chat.draft_replaced.connect(view.composer.set_text)
        chat.notice.connect(view.toast.show_text)
        chat.context_counted.connect(view.composer.set_count)
        chat.search_done.connect(self._on_search_done)
        chat.deleted.connect(self._on_deleted)
        chat.prompt_inspected.connect(view.show_prompt)
        chat.answer_progressed.connect(view.transcript.show_progress)
        chat.attachments_changed.connect(view.composer.set_attachments)
        chat.folder_given.connect(self.model_given)
        chat.messages_deleted.connect(self._on_messages_deleted)
        chat.model_changed.connect(lambda _model: self._show_model())
        chat.presets.changed.connect(view.header.popover.show_presets)
        chat.presets.deleted.connect(self._on_preset_deleted)

    def _connect_engine(self) -> None:
        self._engine.view_changed.connect(self._on_engine_changed)
        theme().changed.connect(self._show_name)  # it has one in each language
        self._engine.models_changed.connect(lambda _models: self._show_model())
        self._engine.examples_changed.connect(lambda _examples: self._show_model())
        self._engine.notice.connect(self._view.toast.show_text)

    def _connect_widgets(self) -> None:
        chat, view = self._chat, self._view
        view.list.new_requested.connect(self.start_new)
        view.list.conversation_chosen.connect(chat.open_conversation)
        view.list.hit_chosen.connect(self._on_hit_chosen)
        for chosen in (view.list.conversation_chosen, view.list.hit_chosen):
            chosen.connect(view.composer.edit.setFocus)  # what comes next is mostly typing
        view.list.search_changed.connect(self._on_search_changed)
        view.list.rename_requested.connect(chat.rename)
        view.list.pin_requested.connect(chat.set_pinned)
        view.list.delete_requested.connect(chat.delete_conversation)
        view.list.export_requested.connect(self._on_export_requested)
        view.list.import_requested.connect(self._on_import_requested)
        view.toast.acted.connect(self._on_undo)
        view.toast.lapsed.connect(self._undos.clear)
        view.list.trash_requested.connect(self._open_trash)
        view.header.title_changed.connect(self._on_title_changed)
        view.header.model_chosen.connect(chat.set_model)
        popover = view.header.popover
        popover.reset_requested.connect(self._on_sampling_reset)
        popover.preset_save_requested.connect(chat.presets.save)
        popover.presets.chosen.connect(self._on_preset_chosen)
        popover.presets.rename_requested.connect(chat.presets.rename)
        popover.presets.delete_requested.connect(chat.presets.delete)
        view.header.sampling_changed.connect(chat.set_sampling)
        view.header.system_prompt_changed.connect(chat.set_system_prompt)
        view.empty.example_chosen.connect(self._on_example)
        view.composer.submitted.connect(lambda text: chat.send(text, view.composer.answer_start))
        view.composer.attach_requested.connect(self._on_attach_requested)
        view.composer.files_given.connect(self._on_files_given)
        view.composer.long_text_pasted.connect(chat.attach_text)
        view.composer.attachment_removed.connect(chat.detach)
        view.composer.attachment_opened.connect(self._on_attachment_opened)
        view.composer.stop_requested.connect(chat.stop)
        view.composer.draft_changed.connect(chat.set_draft)
        view.composer.recall_requested.connect(view.transcript.start_editing_last)
        view.transcript.regenerate_requested.connect(chat.regenerate)
        view.transcript.edit_submitted.connect(chat.edit_message)
        view.transcript.continue_requested.connect(chat.continue_answer)
        view.transcript.version_requested.connect(chat.show_version)
        view.transcript.unqueue_requested.connect(chat.withdraw_queued)
        view.transcript.inspect_requested.connect(chat.inspect_prompt)
        view.transcript.write_answer_requested.connect(
            lambda message, text, goes_on: chat.write_answer(message, text, goes_on=goes_on)
        )
        view.transcript.delete_requested.connect(chat.delete_message)
        view.transcript.attachment_opened.connect(view.show_attachment)
        view.transcript.link_clicked.connect(self._on_link_clicked)

    def start_new(self) -> None:
        """A new conversation, ready to be typed into."""
        self._chat.new_conversation()
        self._view.composer.edit.setFocus()

    # --- From the controllers ---------------------------------------------------------------------

    def _on_conversation_opened(self, conversation: ConversationView) -> None:
        self._conversation = conversation
        self._num_queued = len(conversation.queued)
        self._view.show_conversation(conversation)
        self._view.composer.set_text(conversation.draft)
        self._view.composer.set_attachments(self._chat.attachments)
        self._show_model()
        self._view.header.show_sampling(self._chat.sampling, conversation.system_prompt)
        self._show_running()
        self.title_changed.emit(conversation.id, conversation.title)
        if self._wanted_message:
            self._view.transcript.scroll_to_message(self._wanted_message)
            self._wanted_message = 0

    def _on_conversations_changed(self, rows: Sequence[ListRow]) -> None:
        self._view.list.show_conversations(self._named(rows))
        self._titles = {row.id: row.title for row in rows}
        shown = self._conversation
        title = next((row.title for row in rows if row.id == shown.id), shown.title)
        if title != shown.title:
            self._conversation = replace(shown, title=title)
            self._view.header.show_title(title, can_rename=True)
            self.title_changed.emit(shown.id, title)

    def _on_message_added(self, message: MessageView) -> None:
        if message.conversation_id in (self._conversation.id, 0) or not self._conversation.id:
            self._view.add_message(message)

    def _on_queue_changed(self, queued: list[MessageView]) -> None:
        self._num_queued = len(queued)
        self._view.show_queue(queued)
        self._show_running()

    def _on_running_changed(self, message_id: int) -> None:
        self._running = message_id
        self._show_running()
        if message_id:
            self._began_at = time.monotonic()

    def _on_answer_ended(self, conversation_id: int, state: str) -> None:
        if state != "stopped":  # the person's own doing
            title = self._titles.get(conversation_id, "")
            seconds = time.monotonic() - self._began_at
            self.answer_ended.emit(seconds, conversation_id, title, state)

    def _show_running(self) -> None:
        self._view.composer.set_running(bool(self._running), self._num_queued)
        self._view.transcript.set_can_act(not self._running)

    def _on_search_done(self, query: str, hits: list[SearchHit]) -> None:
        if query == self._view.list.search.text():
            self._view.list.show_hits(self._named(hits))

    def _named(self, rows: Sequence[_Row]) -> list[_Row]:
        """The rows, with a name for those of conversations that have none."""
        untitled = self.tr("Untitled")
        return [row if row.title else replace(row, title=untitled) for row in rows]

    def _on_deleted(self, deleted: DeletedItem) -> None:
        text = self.tr("Deleted: {0}").format(deleted.title or self.tr("Untitled"))
        self._offer_undo(text, lambda: self._chat.undo_delete(deleted.id))

    def _on_messages_deleted(self, deleted: DeletedMessages) -> None:
        text = self.tr("Messages deleted: {0}").format(deleted.count)
        self._offer_undo(text, lambda: self._chat.restore_messages(deleted.id))

    def _on_preset_deleted(self, preset: Preset) -> None:
        text = self.tr("Preset deleted: {0}").format(preset.name)
        presets = self._chat.presets
        self._offer_undo(
            text, lambda: presets.save(preset.name, preset.system_prompt, preset.sampling)
        )

    def _offer_undo(self, text: str, undo: Callable[[], None]) -> None:
        self._undos.append((text, undo))
        self._view.toast.show_text(text, self.tr("Undo"))

    def _on_undo(self) -> None:
        if self._undos:
            _text, undo = self._undos.pop()
            undo()
        if self._undos:  # what was deleted before it
            self._view.toast.show_text(self._undos[-1][0], self.tr("Undo"))

    def _on_draft_cleared(self) -> None:
        self._view.composer.set_text("")
        self._view.composer.close_start()

    def _on_engine_changed(self, engine: EngineView) -> None:
        if engine.model is not None:
            self._show_name()
            recommended = self._engine.recommended_sampling
            if recommended != self._recommended:  # else all stays as it was shown, or typed since
                self._recommended = recommended
                self._show_sampling()
        self._show_model()

    def _show_sampling(self) -> None:
        """What a model recommends is in force where the conversation chose nothing."""
        header = self._view.header
        header.show_sampling(self._chat.sampling, header.popover.system_prompt)

    def _show_name(self) -> None:
        model = self._engine.view.model
        if model is not None:
            self._view.transcript.set_name(model_name(model))

    def _show_model(self) -> None:
        self._view.show_model(
            self._engine.view.model, self._engine.models, tuple(self._engine.examples)
        )
        chosen = self._engine.model_named(self._chat.model) if self._chat.model else None
        self._view.header.show_chosen_model(chosen)

    # --- From the widgets -------------------------------------------------------------------------

    def _on_example(self, text: str) -> None:
        self._chat.send(text)
        self._view.composer.edit.setFocus()  # the card that had it is gone

    def _on_search_changed(self, query: str) -> None:
        if query.strip():
            self._chat.search(query)
        else:
            self._view.list.show_hits(None)

    def _on_hit_chosen(self, conversation_id: int, message_id: int) -> None:
        self._wanted_message = message_id
        if message_id:
            self._chat.open_message(message_id)  # it may be on another branch
        else:
            self._chat.open_conversation(conversation_id)

    def _open_trash(self) -> None:
        trash, dialog = self._chat.conversations, self._view.list.make_trash_dialog()
        trash.trash_listed.connect(dialog.show_rows)
        dialog.restore_requested.connect(trash.restore)
        dialog.purge_requested.connect(trash.purge)
        trash.list_trash()
        dialog.open()

    def _on_export_requested(self, conversation_id: int, title: str) -> None:
        if path := self._view.ask_export_path(title):
            self._chat.export_conversation(conversation_id, path)

    def _on_import_requested(self) -> None:
        if path := self._view.ask_import_path():
            self._chat.import_file(path)

    def _on_sampling_reset(self) -> None:
        self._chat.set_sampling(None)
        self._show_sampling()

    def _on_preset_chosen(self, preset: Preset) -> None:
        self._chat.use_preset(preset)
        self._view.header.show_sampling(preset.sampling, preset.system_prompt)

    def _on_attach_requested(self) -> None:
        if paths := self._view.ask_files():
            self._chat.attach_files(paths)

    def _on_files_given(self, files: list[Path]) -> None:
        models = [file for file in files if file.suffix.lower() == ".gguf"]
        if texts := [file for file in files if file not in models]:
            self._chat.attach_files(texts)
        if models:
            self.model_given.emit(str(models[0]))

    def _on_attachment_opened(self, index: int) -> None:
        attachments = self._chat.attachments
        if index < len(attachments):
            dialog = self._view.make_attachment_dialog(attachments[index], is_draft=True)
            dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            dialog.finished.connect(lambda _code: self._on_attachment_closed(dialog, index))
            dialog.open()

    def _on_attachment_closed(self, dialog: AttachmentDialog, index: int) -> None:
        gone = self._chat.detach(index) if dialog.is_inlined else None
        if gone is not None:
            self._view.composer.insert(gone.text)

    def _on_title_changed(self, title: str) -> None:
        self._chat.rename(self._conversation.id, title)

    def _on_link_clicked(self, address: str) -> None:
        if is_safe_link(address) and self._view.ask_to_open(address):
            QDesktopServices.openUrl(QUrl(address))
