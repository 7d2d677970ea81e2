"""The editor's scenes of the tour: a document in each language and what a model offers for it."""

import time
from dataclasses import dataclass

from PySide6.QtWidgets import QWidget

from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import (
    DocumentView,
    ReaderView,
    RevisionView,
    WindowRuler,
    WordFlag,
    WordFlags,
)
from bilin_app.controllers.list_views import ListRow
from bilin_app.controllers.sentences import revision_reason
from bilin_app.controllers.views import ExampleView
from bilin_app.main_window import MainWindow
from bilin_app.text.document import Document, Edit, parse_slice, plain_slice
from bilin_app.text.document_file import Snapshot
from bilin_app.text.sentence_spans import sentence_spans
from bilin_app.theme.fonts import Language
from bilin_engine.protocol import Candidate, FillConstraints, LengthLimit, ProofreadFigures

KINDS = ("short", "long", "sentence")


@dataclass(frozen=True, slots=True)
class EditorTexts:
    """One language's document. by_model: words of it that count as the model's, then edited."""

    titles: tuple[str, ...]
    text: str
    by_model: tuple[str, str]
    streamed: str
    candidates: tuple[tuple[str, float, str], ...]
    limit: LengthLimit
    filler: str
    samples: tuple[ExampleView, ...]
    wrong: str
    flags: tuple[tuple[str, float, tuple[str, ...]], ...]


EDITOR_TEXTS: dict[Language, EditorTexts] = {
    "zh": EditorTexts(
        ("凯旋门", "信的开头", "春联"),
        "米兰的凯旋门\n\n凯旋门位于意大利米兰市古城堡旁。1807年为纪念[MASK]而建，门高25米，"
        "顶上矗立两武士青铜古兵车铸像。\n\n它与巴黎的凯旋门遥相呼应，[MASK]，"
        "至今仍是城市西北的门户。\n\n[gMASK]\n",
        ("顶上矗立两武士青铜古兵车铸像。", "遥相呼应"),
        "拿破仑胜",
        (
            ("拿破仑胜利", -0.8, ""),
            ("拿破仑远征", -1.4, ""),
            ("一七九六年法军进入米兰城", -2.7, "has 12 characters, more than 8"),
        ),
        LengthLimit(8, "characters"),
        "这座城市的街道从古城堡向外展开，每一条都通向一座旧城门。",
        (
            ExampleView("zh", "凯旋门位于意大利米兰市古城堡旁。1807年为纪念[MASK]而建，门高25米。"),
            ExampleView(
                "en", "The Starry Night is an oil-on-canvas painting by [MASK] in June 1889."
            ),
        ),
        "凯旋门位于意大利米兰市古城堡旁。1807年为纪念拿破仑胜利而建，门高25米，顶上矗立两武士青铜"
        "古兵车铸像。\n\n它与巴黎的凯旋门遥相等待，至今仍是城市西北的雨伞。\n",
        (("等待", -7.4, ("呼应", "辉映", "对望")), ("雨伞", -6.1, ("门户", "大门", "入口"))),
    ),
    "en": EditorTexts(
        ("Andrew Ng", "A cover letter", "Couplets"),
        "Andrew Ng\n\nNg is an adjunct professor at [MASK] (formerly associate professor and "
        "Director of its Stanford AI Lab or SAIL). Also a pioneer in online education, Ng "
        "co-founded Coursera and [MASK].\n\n[gMASK]\n",
        ("Also a pioneer in online education, Ng ", "co-founded"),
        "Stanford Univ",
        (
            ("Stanford University", -0.8, ""),
            ("Stanford", -1.4, ""),
            ("the University of California", -2.7, "has 4 words, more than 3"),
        ),
        LengthLimit(3, "words"),
        "The course was taken by a hundred thousand people in its first autumn. ",
        (
            ExampleView(
                "en", "Ng is an adjunct professor at [MASK] (formerly associate professor)."
            ),
            ExampleView("zh", "凯旋门位于意大利米兰市古城堡旁。1807年为纪念[MASK]而建，门高25米。"),
        ),
        "Ng is an adjunct professor at Stanford University (formerly associate professor and "
        "Director of its Stanford AI Lab or SAIL). Also a pioneer in online umbrella, Ng "
        "co-founded Coursera and deeplearning.ai.\n\nThe course was taken by a hundred thousand "
        "people in its first window.\n",
        (
            ("umbrella", -8.2, ("education", "learning", "teaching")),
            ("window", -5.9, ("year", "autumn", "month")),
        ),
    ),
}


def show_document(
    window: MainWindow, language: Language, *, is_long: bool = False
) -> EditorSession:
    """The editor with its document open; what the session says is shown."""
    texts, view = EDITOR_TEXTS[language], window.editor
    window.show_page("editor")
    view.panel.show_kinds(KINDS)  # type: ignore[arg-type]
    now = time.time()
    rows = [ListRow(i + 1, t, now - i * 60) for i, t in enumerate(texts.titles)]
    view.list.show_conversations(rows)
    text = texts.text
    if is_long:
        head, rest = text.split("\n\n", 1)
        text = f"{head}\n\n{texts.filler * 5}\n\n{rest.strip()}\n\n{texts.filler * 6}"
    session = EditorSession(Snapshot(texts.titles[0], parse_slice(text, Document())), view)
    if not is_long:
        for words, origin in zip(texts.by_model, ("model", "edited"), strict=True):
            at = session.document.text.index(words)
            old = session.document.slice(at, at + len(words))
            new = plain_slice(words, origin)  # type: ignore[arg-type]
            session.document.apply(Edit(at, old, new))
    view.show_document(DocumentView(1, texts.titles[0], session.document.content))
    session.edited.connect(view.text.apply_edit)

    def changed(blank_id: int) -> None:
        view.text.show_blank(blank_id, session.view(blank_id))
        current = session.view(view.text.current)
        view.show_current(current, len(session.document.blanks))

    session.blank_changed.connect(changed)
    blank_id = session.document.blanks[0][1].id
    view.text.select_blank(blank_id)
    view.panel.set_unit(in_words=language == "en")
    changed(blank_id)
    size = len(session.document)
    view.show_ruler(WindowRuler(blank_id, 0, size, 214, 214, 2048, "mask"), size)
    return session


def show_blank(window: MainWindow, language: Language) -> None:
    """A document with blanks, none filled."""
    show_document(window, language)


def show_streaming(window: MainWindow, language: Language) -> None:
    """The model fills a blank in place."""
    session = show_document(window, language)
    blank_id = session.document.blanks[0][1].id
    session.begin_stream(blank_id)
    session.append_stream(blank_id, EDITOR_TEXTS[language].streamed)
    window.editor.panel.set_running(True)


def show_candidates(window: MainWindow, language: Language, *, chosen: int = 0) -> None:
    """Candidates, one of which breaks the length that was asked for."""
    texts = EDITOR_TEXTS[language]
    session = show_document(window, language)
    blank_id = session.document.blanks[0][1].id
    session.set_constraints(blank_id, FillConstraints(length=texts.limit))
    session.begin_stream(blank_id)
    session.end_stream(
        blank_id,
        [
            Candidate(text=text, logprob=logprob, num_tokens=4, breaks=breaks)
            for text, logprob, breaks in texts.candidates
        ],
    )
    session.choose(blank_id, chosen)


def show_constraint(window: MainWindow, language: Language) -> None:
    """The candidate on show fails, and says why."""
    show_candidates(window, language, chosen=2)


def show_window(window: MainWindow, language: Language) -> None:
    """A text that is longer than the model's window: what is outside is grey."""
    session = show_document(window, language, is_long=True)
    place, blank = session.document.blanks[0]
    size = len(session.document)
    reach = 90 if language == "zh" else 260
    low, high = max(0, place - reach), min(size, place + reach)
    ruler = WindowRuler(blank.id, low, high, 384, 910, 512, "mask")
    window.editor.show_ruler(ruler, size)


def show_reader(window: MainWindow, language: Language, *, is_reading: bool = False) -> None:
    """The second reader has found words that the model does not expect, or is on its way."""
    texts, view = EDITOR_TEXTS[language], window.editor
    show_document(window, language)
    content = plain_slice(texts.wrong)
    view.show_document(DocumentView(1, texts.titles[0], content))
    flags = []
    for word, score, expected in texts.flags[: 1 if is_reading else None]:
        at = texts.wrong.index(word)
        flags.append(WordFlag(at, at + len(word), texts.wrong, at, score, expected))
    num = len(sentence_spans(texts.wrong))
    figures = ProofreadFigures(hit_rate_zh=0.86, hit_rate_en=0.83, num_zh=100, num_en=100)
    view.open_reader(True)
    view.show_ruler(None, len(texts.wrong))
    view.show_reader(
        ReaderView(
            is_reading=is_reading,
            num_done=2 if is_reading else 0,
            num_asked=num if is_reading else 0,
            num_known=2 if is_reading else num,
            num_sentences=num,
            rate_words_s=0.0 if is_reading else 41.0,
            flags=WordFlags([(0, tuple(flags))]),
            figures=None if is_reading else figures,
        )
    )


def show_reading(window: MainWindow, language: Language) -> None:
    """The second reader on its way, with a model that was not measured."""
    show_reader(window, language, is_reading=True)


def show_revisions(window: MainWindow, language: Language) -> QWidget:
    """An earlier version, read before it is restored."""
    session = show_document(window, language)
    dialog = window.editor.make_revisions_dialog()
    now, size = time.time(), len(session.document)
    kept = ((300, "", 0), (2_400, "filled", 8), (86_400, "opened", 31))
    dialog.show_revisions(
        [
            RevisionView(i + 1, now - ago, revision_reason(reason), size - fewer)
            for i, (ago, reason, fewer) in enumerate(kept)
        ]
    )
    dialog.list.setCurrentRow(1)
    dialog.show_text(2, DocumentView(1, "", session.document.content))
    dialog.show()
    return dialog


def show_empty(window: MainWindow, language: Language) -> None:
    """An empty document with samples of what the model fills."""
    show_document(window, language)
    view = window.editor
    view.show_document(DocumentView(0, "", Document().content))
    view.empty.show_samples(EDITOR_TEXTS[language].samples)
    view.show_current(None, 0)
    view.show_ruler(None, 0)
