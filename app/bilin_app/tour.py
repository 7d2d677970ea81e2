"""Renders every state of the window to pictures, with scripted data and no engine.

The texts about 三亚 and 凯旋门 are GLM-130B's; they appear here and where such a model is loaded.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QWidget

from bilin_app import tour_chat, tour_editor, tour_hubs, tour_models
from bilin_app.controllers import sentences
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.list_views import TrashRow
from bilin_app.controllers.model_views import LoadView, PlacementChoice
from bilin_app.controllers.prompt_inspection import PromptInspection, TokenView
from bilin_app.controllers.views import (
    AnswerProgress,
    ConversationView,
    MessageView,
    Seam,
    TokenCountView,
)
from bilin_app.main_window import MainWindow
from bilin_app.pages.models.add import AddDialog
from bilin_app.pages.models.folder import FolderDialog
from bilin_app.pages.models.hub import HubDialog
from bilin_app.pages.models.rename import RenameDialog
from bilin_app.pages.models.report import ReportDialog
from bilin_app.pages.models.trash import TrashDialog
from bilin_app.storage.settings import Settings
from bilin_app.theme.fonts import Language
from bilin_app.theme.palette import Scheme
from bilin_app.theme.theme import Look, start_theme
from bilin_app.tour_chat import MATH, THOUGHT, prompt_pieces
from bilin_app.tour_texts import FACTS, TEXTS, TourTexts
from bilin_engine.protocol import Sampling

VARIANTS: tuple[tuple[Scheme, Language], ...] = (
    ("light", "zh"),
    ("dark", "zh"),
    ("light", "en"),
    ("dark", "en"),
)
SIZE = (1280, 820)


@dataclass(frozen=True, slots=True)
class Scene:
    """A state of the window. Returns what lies over it (a popover, a dialog), or None."""

    name: str
    show: Callable[[MainWindow, TourTexts], QWidget | None]


def render_tour(
    folder: Path,
    *,
    variants: tuple[tuple[Scheme, Language], ...] = VARIANTS,
    scenes: tuple[str, ...] = (),
) -> list[Path]:
    """Writes `scene-language-scheme.png` for every scene (or those named); returns the paths.

    Raises ValueError for a scene that does not exist, OSError if a picture cannot be written.
    """
    unknown = set(scenes) - {scene.name for scene in SCENES}
    if unknown:
        known = ", ".join(scene.name for scene in SCENES)
        raise ValueError(f"no scene {', '.join(sorted(unknown))}; there are {known}")
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for scheme, language in variants:
        start_theme(app, Look(scheme, language))
        for scene in SCENES:
            if not scenes or scene.name in scenes:
                path = folder / f"{scene.name}-{language}-{scheme}.png"
                if not render_scene(app, scene, TEXTS[language]).save(str(path)):
                    raise OSError(f"the picture {path} cannot be written")
                paths.append(path)
    return paths


def render_scene(app: QApplication, scene: Scene, texts: TourTexts) -> QPixmap:
    """One picture of a fresh window."""
    window = MainWindow()
    window.resize(*SIZE)
    window.show()
    over = scene.show(window, texts)
    _settle(app, window)
    picture = window.grab()
    if over is not None:
        _settle(app, window)
        _lay_over(picture, window, over)
        over.close()
    window.close()
    window.deleteLater()
    app.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    return picture


def _settle(app: QApplication, window: MainWindow) -> None:
    for _ in range(4):
        app.processEvents()
        window.chat.transcript.finish_highlighting()


def _lay_over(picture: QPixmap, window: MainWindow, over: QWidget) -> None:
    painter = QPainter(picture)
    place = window.mapFromGlobal(over.mapToGlobal(QPoint(0, 0)))
    if over.windowType() == Qt.WindowType.Dialog:
        painter.fillRect(picture.rect(), QColor(0, 0, 0, 60))
        place = QPoint((window.width() - over.width()) // 2, (window.height() - over.height()) // 2)
    painter.drawPixmap(place, over.grab())
    painter.end()


# --- Scenes ---------------------------------------------------------------------------------------


def show_ready(window: MainWindow, texts: TourTexts, *, state: str = "ready") -> None:
    """The window as it stands with a model loaded."""
    window.show_engine(EngineView(state, texts.model, 1.0))  # type: ignore[arg-type]
    window.chat.show_model(texts.model, [texts.model, texts.mini], texts.examples)
    window.chat.transcript.set_name(texts.model_name)
    window.chat.list.show_conversations(texts.conversations(time.time()))
    window.chat.composer.set_count(TokenCountView(1203, 2048))


def open_conversation(
    window: MainWindow, texts: TourTexts, title: str, *messages: MessageView
) -> None:
    """Shows a conversation, marked in the list if it is there."""
    rows = texts.conversations(time.time())
    conversation_id = next((row.id for row in rows if row.title == title), len(rows) + 1)
    view = ConversationView(conversation_id, title, messages)
    window.chat.show_conversation(view)
    window.show_conversation_title(conversation_id, title)


def _show_first_run(window: MainWindow, texts: TourTexts) -> None:
    window.show_engine(EngineView("ready", texts.mini, 1.0))
    window.chat.show_model(texts.mini, [texts.mini], texts.examples)
    window.chat.list.show_conversations(())
    window.chat.composer.set_count(TokenCountView(12, 1024))
    window.chat.show_conversation(ConversationView(0, ""))


def _show_streaming(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts, state="busy")
    open_conversation(
        window, texts, texts.title, texts.question(), texts.answer(state="running", open_end=True)
    )
    window.chat.composer.set_running(True)
    window.chat.transcript.set_can_act(False)
    progress = AnswerProgress(214, 38.2, rest_s=8.0)
    window.chat.transcript.show_progress(2, progress)


def _show_finished(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    open_conversation(window, texts, texts.title, texts.question(), texts.answer())
    window.chat.composer.set_text(texts.draft)


def _show_rich(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    open_conversation(
        window, texts, texts.rich_title, texts.person(texts.rich_question), texts.reply(texts.rich)
    )


def _show_math(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    question, answer = MATH[texts.language]
    open_conversation(window, texts, question, texts.person(question), texts.reply(answer))


def _show_thought(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    question, answer = THOUGHT[texts.language]
    messages = [
        texts.numbered(make(text), index + 1)
        for index, (make, text) in enumerate(((texts.person, question), (texts.reply, answer)) * 2)
    ]
    open_conversation(window, texts, question, *messages)
    window.chat.transcript.widgets_in_order()[-1].unfold_thought()


def _show_long(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    open_conversation(
        window, texts, texts.long_title, texts.person(texts.long_question), texts.reply(texts.long)
    )
    window.chat.transcript.scroll_to_message(1)


def _show_mixed(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    messages = [
        make(text)
        for question, answer in texts.mixed
        for make, text in ((texts.person, question), (texts.reply, answer))
    ]
    numbered = [texts.numbered(message, index + 1) for index, message in enumerate(messages)]
    open_conversation(window, texts, texts.mixed_title, *numbered)


def _show_error(window: MainWindow, texts: TourTexts) -> QWidget:
    show_ready(window, texts)
    window.show_engine(
        EngineView("fault", texts.model, 0.0, texts.fault, texts.fault_detail, "restart")
    )
    open_conversation(window, texts, texts.title, texts.question(), texts.broken_answer())
    window.rail.open_engine()
    return window.rail.popover


def _show_loading(window: MainWindow, texts: TourTexts) -> None:
    _show_first_run(window, texts)
    window.show_engine(EngineView("loading", texts.model, 0.42))
    window.chat.show_model(texts.model, [texts.model, texts.mini], texts.examples)


def _show_queue(window: MainWindow, texts: TourTexts) -> None:
    _show_streaming(window, texts)
    window.chat.show_queue([texts.queued()])
    window.chat.composer.set_running(True, 1)
    window.chat.composer.set_text(texts.draft)


def _show_too_long(window: MainWindow, texts: TourTexts) -> None:
    _show_finished(window, texts)
    window.chat.composer.set_text("\n".join([texts.draft] * 14))
    window.chat.composer.set_count(TokenCountView(2391, 2048))


def _show_overflow(window: MainWindow, texts: TourTexts) -> None:
    _show_finished(window, texts)
    window.chat.composer.set_count(TokenCountView(2391, 2048, 4, (texts.ask, texts.text) * 2))


def _show_search(window: MainWindow, texts: TourTexts) -> None:
    _show_finished(window, texts)
    window.chat.list.search.setText(texts.query)
    now = time.time()
    hits = [replace(hit, updated_at=now - hit.updated_at) for hit in texts.hits]
    window.chat.list.show_hits(hits)


def _show_trash(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    now = time.time()
    dialog = window.chat.list.make_trash_dialog()
    dialog.show_rows(
        [TrashRow(i, title, now - 86_400 * i * i) for i, title in enumerate(texts.titles)]
    )
    dialog.show()
    return dialog


def _editor(
    show: Callable[[MainWindow, Language], QWidget | None],
) -> Callable[[MainWindow, TourTexts], QWidget | None]:
    """A scene of the editor, with a model loaded."""

    def scene(window: MainWindow, texts: TourTexts) -> QWidget | None:
        show_ready(window, texts)
        return show(window, texts.language)

    return scene


def _models(window: MainWindow, texts: TourTexts, chosen: str, *, loaded: str = "") -> None:
    show_ready(window, texts)
    window.show_page("models")
    rows = tour_models.rows(texts.language)
    row = next(row for row in rows if row.id == chosen)
    view = window.models
    view.list.footer.show_library(tour_models.library())
    view.show_models(rows, chosen, loaded)
    view.detail.show_load(LoadView("loaded" if loaded == chosen else "unloaded"))
    choice = PlacementChoice(mode="tensor_parallel")
    view.detail.placement.show_model(row, choice)
    view.list.view.setFocus()


def _show_models(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b")
    window.models.detail.placement.show_placement(tour_models.short_placement())
    window.models.show_jobs(tour_models.jobs(texts.language)[:1])


def _show_models_loaded(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b", loaded="glm-130b")
    window.models.detail.placement.show_placement(tour_models.fitting_placement())


def _show_models_work(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-old")
    window.models.show_jobs(tour_models.jobs(texts.language))


def _show_models_loading(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b")
    window.show_engine(EngineView("loading", texts.model, 0.42))
    window.models.detail.show_load(LoadView("loading", 0.42, "weights", 52.0))
    window.models.detail.placement.show_placement(tour_models.fitting_placement(real=False))


def _hub_dialog(window: MainWindow, texts: TourTexts) -> HubDialog:
    _models(window, texts, "bilin-mini", loaded="bilin-mini")
    dialog = HubDialog(window.models, tour_hubs.first_hub(texts.language), "", "")
    dialog.show_catalog(tour_hubs.CATALOG)
    dialog.show()
    return dialog


def _show_models_fault(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b")
    window.models.detail.show_load(tour_models.failed_load(texts.language))
    window.models.detail.placement.show_placement(tour_models.fitting_placement(real=False))


def _show_models_measuring(window: MainWindow, texts: TourTexts) -> None:
    _show_models_loaded(window, texts)
    window.models.detail.show_load(LoadView("measuring", 0.62, "measure"))


def _show_models_tokenizer(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b")
    window.models.detail.show_row(tour_models.without_tokenizer())


def _show_models_planned(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "glm-130b")
    view, row = window.models, tour_models.planned()
    mini = [one for one in tour_models.rows(texts.language) if one.model.is_bundled]
    view.show_models(mini, "glm-130b", "")
    view.detail.show_row(row)
    choice = PlacementChoice(devices="4x24GiB")
    view.detail.placement.show_model(row, choice)
    view.detail.placement.show_placement(tour_models.fitting_placement(real=False))


def _show_models_add(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_models(window, texts)
    dialog = AddDialog(window.models, tour_models.folder())
    dialog.show()
    return dialog


def _show_hub(window: MainWindow, texts: TourTexts) -> QWidget:
    dialog = _hub_dialog(window, texts)
    dialog.catalog.setCurrentIndex(dialog.catalog.model().index(0, 0))
    dialog.advanced.setChecked(True)
    return dialog


def _show_hub_found(window: MainWindow, texts: TourTexts) -> QWidget:
    dialog = _hub_dialog(window, texts)
    dialog.catalog.setCurrentIndex(dialog.catalog.model().index(0, 0))
    dialog.show_repository(tour_hubs.repository(texts.language))
    return dialog


def _show_hub_refused(window: MainWindow, texts: TourTexts) -> QWidget:
    dialog = _hub_dialog(window, texts)
    dialog.repository.setText("zai-org/GLM-4-9B-0414")
    dialog.show_refusal(tour_hubs.refusal(texts.language))
    return dialog


def _show_hub_work(window: MainWindow, texts: TourTexts) -> None:
    _models(window, texts, "bilin-mini", loaded="bilin-mini")
    window.models.show_jobs(tour_hubs.jobs(texts.language))


def _show_models_trash(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_models(window, texts)
    dialog = TrashDialog(window.models, tour_models.library().trash)
    dialog.show()
    return dialog


def _show_models_folder(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_models(window, texts)
    dialog = FolderDialog(window.models, tour_models.library().folder)
    dialog.show_target("/mnt/disk/models")
    dialog.show()
    return dialog


def _show_models_rename(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_models(window, texts)
    dialog = RenameDialog(window.models, "GLM-130B", "/home/li/.local/share/bilin/models/glm-130b")
    dialog.name.setText(" ".join(["GLM-130B"] * 10))
    dialog.show()
    return dialog


def _show_models_report(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_models(window, texts)
    dialog = ReportDialog(window.models, tour_models.REPORT)
    dialog.show()
    return dialog


def _show_find(window: MainWindow, texts: TourTexts) -> None:
    _show_long(window, texts)
    window.chat.find_bar.field.setText("凯旋门" if texts.language == "zh" else "Napoleon")
    window.chat.open_find()


def _show_prompt(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    tokens = (
        TokenView(150001, "[gMASK]", is_special=True),
        TokenView(150004, "<sop>", is_special=True),
        *(TokenView(20_000 + 7 * n, text) for n, text in enumerate(prompt_pieces(texts.ask))),
    )
    shown = PromptInspection(tokens, len(tokens) - 1, 2048, FACTS, Sampling())
    dialog = window.chat.make_prompt_dialog(shown)
    dialog.with_ids.setChecked(True)
    dialog.show()
    return dialog


def _show_link(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_rich(window, texts)
    dialog = window.chat.make_link_dialog("https://arxiv.org/abs/2210.02414")
    dialog.show()
    return dialog


def _show_settings(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    window.show_page("settings")
    choice = Settings(language=texts.language)
    window.settings.show_settings(choice, "~/.local/share/bilin")


def _show_settings_end(window: MainWindow, texts: TourTexts) -> None:
    _show_settings(window, texts)
    choice = Settings(
        language=texts.language, data_dir="/media/data/bilin", move_from="/home/li/bilin"
    )
    window.settings.show_settings(choice, "~/.local/share/bilin")
    window.settings.show_menu_entry(is_there=True)
    window.settings.scroll_to_end()


def _show_report(window: MainWindow, texts: TourTexts) -> None:
    _show_settings_end(window, texts)
    window.tell(sentences.report_copied())


def _show_models_dropping(window: MainWindow, texts: TourTexts) -> None:
    _show_models(window, texts)
    window.models.show_dropping(True)


def _show_shortcuts(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    dialog = window.make_shortcuts()
    dialog.show()
    return dialog


def _show_shortcut_conflict(window: MainWindow, texts: TourTexts) -> QWidget:
    dialog = window.make_shortcuts()
    _show_finished(window, texts)
    dialog.show()
    dialog.try_keys("find", "Ctrl+K")
    return dialog


def _show_sampling(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    window.chat.header.popover.open_below(window.chat.header.sampling)
    return window.chat.header.popover


def _show_thinking_choice(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    window.chat.header.popover.show_thinking(can_skip=True)
    window.chat.header.popover.open_below(window.chat.header.sampling)
    return window.chat.header.popover


def _show_presets(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_finished(window, texts)
    popover = window.chat.header.popover
    preset = tour_chat.PRESETS[texts.language][0]
    popover.show_values(preset.sampling, preset.system_prompt)
    popover.show_presets(tour_chat.PRESETS[texts.language])
    popover.presets.start_naming("")
    popover.open_below(window.chat.header.sampling)
    return popover


def _show_preset_menu(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_presets(window, texts).close()
    row = window.chat.header.popover.presets
    menu = row.make_menu()
    menu.popup(window.mapToGlobal(QPoint(900, 90)))
    return menu


def _show_attachments(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    question, answer = tour_chat.ATTACHED[texts.language]
    asked = replace(texts.person(question), attachments=tour_chat.ATTACHMENTS[texts.language][:2])
    open_conversation(window, texts, question, asked, texts.reply(answer))
    window.chat.composer.set_text(texts.draft)
    window.chat.composer.set_attachments(tour_chat.ATTACHMENTS[texts.language])


def _show_attachment(window: MainWindow, texts: TourTexts) -> QWidget:
    _show_attachments(window, texts)
    attachment = tour_chat.ATTACHMENTS[texts.language][0]
    dialog = window.chat.make_attachment_dialog(attachment, is_draft=True)
    dialog.show()
    return dialog


def _show_prefill(window: MainWindow, texts: TourTexts) -> None:
    _show_finished(window, texts)
    window.chat.composer.open_start()
    window.chat.composer.start_edit.setText(tour_chat.STARTS[texts.language])


def _show_seam(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    answer = texts.answer()
    seam = Seam(answer.text.index("**") + 12, texts.fault)
    open_conversation(window, texts, texts.title, texts.question(), replace(answer, seams=(seam,)))


def _show_eta(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts, state="busy")
    waiting = replace(texts.answer(state="running", open_end=True), text="")
    open_conversation(window, texts, texts.title, texts.question(), waiting)
    window.chat.composer.set_running(True)
    progress = AnswerProgress(first_token_s=12.0, rest_s=40.0)
    window.chat.transcript.show_progress(waiting.id, progress)


def _show_deleted(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    alone = replace(texts.question(), is_unanswered=True)
    open_conversation(window, texts, texts.title, alone)
    window.chat.toast.show_text(tour_chat.DELETED[texts.language], texts.undo)


def _show_answer_edit(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    open_conversation(window, texts, texts.title, texts.question(), texts.answer())
    window.chat.transcript.widgets_in_order()[-1].start_editing()


def _show_other_model(window: MainWindow, texts: TourTexts) -> None:
    _show_finished(window, texts)
    window.chat.header.show_chosen_model(texts.mini)


def _show_editing(window: MainWindow, texts: TourTexts) -> None:
    show_ready(window, texts)
    open_conversation(window, texts, texts.title, texts.question(), texts.answer())
    window.chat.transcript.start_editing_last()


def _show_scrolled(window: MainWindow, texts: TourTexts) -> None:
    _show_mixed(window, texts)
    window.chat.transcript.scroll_to_message(1)
    window.chat.toast.show_text(texts.deleted, texts.undo)


SCENES = (
    Scene("first-run", _show_first_run),
    Scene("streaming", _show_streaming),
    Scene("finished", _show_finished),
    Scene("rich", _show_rich),
    Scene("math", _show_math),
    Scene("thought", _show_thought),
    Scene("long", _show_long),
    Scene("mixed", _show_mixed),
    Scene("scrolled", _show_scrolled),
    Scene("error", _show_error),
    Scene("loading", _show_loading),
    Scene("queue", _show_queue),
    Scene("too-long", _show_too_long),
    Scene("overflow", _show_overflow),
    Scene("search", _show_search),
    Scene("find", _show_find),
    Scene("trash", _show_trash),
    Scene("prompt", _show_prompt),
    Scene("link", _show_link),
    Scene("editing", _show_editing),
    Scene("sampling", _show_sampling),
    Scene("thinking-choice", _show_thinking_choice),
    Scene("presets", _show_presets),
    Scene("preset-menu", _show_preset_menu),
    Scene("attachments", _show_attachments),
    Scene("attachment", _show_attachment),
    Scene("prefill", _show_prefill),
    Scene("answer-edit", _show_answer_edit),
    Scene("other-model", _show_other_model),
    Scene("seam", _show_seam),
    Scene("eta", _show_eta),
    Scene("deleted", _show_deleted),
    Scene("editor", _editor(tour_editor.show_blank)),
    Scene("editor-streaming", _editor(tour_editor.show_streaming)),
    Scene("editor-candidates", _editor(tour_editor.show_candidates)),
    Scene("editor-constraint", _editor(tour_editor.show_constraint)),
    Scene("editor-window", _editor(tour_editor.show_window)),
    Scene("editor-reader", _editor(tour_editor.show_reader)),
    Scene("editor-reading", _editor(tour_editor.show_reading)),
    Scene("editor-revisions", _editor(tour_editor.show_revisions)),
    Scene("editor-empty", _editor(tour_editor.show_empty)),
    Scene("models", _show_models),
    Scene("models-loaded", _show_models_loaded),
    Scene("models-loading", _show_models_loading),
    Scene("models-work", _show_models_work),
    Scene("hub", _show_hub),
    Scene("hub-found", _show_hub_found),
    Scene("hub-refused", _show_hub_refused),
    Scene("hub-work", _show_hub_work),
    Scene("models-fault", _show_models_fault),
    Scene("models-measuring", _show_models_measuring),
    Scene("models-tokenizer", _show_models_tokenizer),
    Scene("models-planned", _show_models_planned),
    Scene("models-add", _show_models_add),
    Scene("models-trash", _show_models_trash),
    Scene("models-folder", _show_models_folder),
    Scene("models-rename", _show_models_rename),
    Scene("models-report", _show_models_report),
    Scene("models-dropping", _show_models_dropping),
    Scene("settings", _show_settings),
    Scene("settings-end", _show_settings_end),
    Scene("report", _show_report),
    Scene("shortcuts", _show_shortcuts),
    Scene("shortcuts-conflict", _show_shortcut_conflict),
)
