"""The second reader's part of `bilin_app.bench`: a refresh beside many flags, a long line cut."""

import gc
import statistics
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication

from bilin_app.controllers.editor_session import EditorSession
from bilin_app.controllers.editor_views import DocumentView
from bilin_app.controllers.proofreader import Proofreader
from bilin_app.engine_client.client import RequestHandle
from bilin_app.pages.editor.view import EditorView
from bilin_app.text.document import Document, parse_slice
from bilin_app.text.document_file import Snapshot
from bilin_engine.protocol import (
    ExpectedWord,
    Proofread,
    ProofreadFigures,
    ProofreadResult,
    ReadWord,
    SentenceRead,
)

NUM_PARAGRAPHS = 40
PARAGRAPH_CHARS = 4_960
NUM_LETTERS = 12
EVERY = 3  # sentences to one unlikely word


class _Model:
    id = "scripted"


class _View:
    model = _Model()


class _Engine(QObject):
    """Finds the first word of every third sentence unlikely, by its own score."""

    ready = Signal(str)
    interrupted = Signal()
    text_awaited = Signal()
    view_changed = Signal(object)
    model = _Model()
    view = _View()
    proofread_figures: ProofreadFigures | None = None

    def __init__(self) -> None:
        super().__init__()
        self._sent: list[tuple[Proofread, RequestHandle]] = []

    def send(self, make: Callable[[int], Proofread]) -> RequestHandle:
        """Keeps the request until `answer`."""
        handle = RequestHandle(1, lambda _handle: None)
        self._sent.append((make(1), handle))
        return handle

    def answer(self) -> bool:
        """Answers what was sent. False: nothing was."""
        expected = (ExpectedWord("甲", -1.0), ExpectedWord("乙", -2.0))
        for request, handle in self._sent:
            for index, (start, _end) in enumerate(request.spans):
                word = ReadWord(
                    start=start, end=start + 2, score=-5 - index * 7919 % 1000 / 100,
                    is_unlikely=True, expected=expected,
                )  # fmt: skip
                words = () if index % EVERY else (word,)
                handle.sentence_read.emit(SentenceRead(id=1, index=index, words=words))
            handle.done.emit(ProofreadResult(num_words=len(request.spans), seconds=1.0, way="mask"))
        return bool(self._sent)


def measure_reader() -> dict[str, float]:
    """Processor time on the GUI thread, ms, in a document of some 198,000 characters."""
    gc.disable()  # as the app does: it collects between events
    try:
        return _measure()
    finally:
        gc.enable()


def _measure() -> dict[str, float]:
    lines = [_paragraph(number) for number in range(NUM_PARAGRAPHS)]
    view = EditorView(None)  # type: ignore[arg-type]
    view.resize(1200, 800)
    content = parse_slice("\n".join(lines), Document())
    session = EditorSession(Snapshot("", content), view)
    session.edited.connect(view.text.apply_edit)
    engine = _Engine()
    reader = Proofreader(engine, view)  # type: ignore[arg-type]
    view.show_document(DocumentView(1, "", session.document.content))
    view.open_reader(True)
    view.show()
    reader.show_session(session)
    reader.set_open(True)
    reader.read(0, len(session.document))
    while not engine.answer():
        QApplication.processEvents()  # cuts the text into sentences
    QApplication.processEvents()
    refreshes = []
    for number in range(NUM_LETTERS):
        at = (number + 1) * len(session.document) // (NUM_LETTERS + 2)
        session.type_text(at, at, "字")
        for _ in range(8):  # the letter's own layout and painting, and what was put off
            QApplication.processEvents()
        refreshes.append(_milliseconds(lambda: view.show_reader(reader.view)))
    num_flags = len(reader.view.flags)
    view.close()
    one_line = EditorSession(Snapshot("", parse_slice("".join(lines), Document())))
    firsts = [_first_look(engine, one_line) for _ in range(NUM_LETTERS)]
    return {
        "flags": num_flags,
        "refresh_median": round(statistics.median(refreshes), 1),
        "refresh_worst": round(max(refreshes), 1),
        "one_line_median": round(statistics.median(firsts), 1),
        "one_line_worst": round(max(firsts), 1),
    }


def _first_look(engine: _Engine, session: EditorSession) -> float:
    """The second reader opened beside a text of one line: the longest hold of the thread, ms."""
    reader = Proofreader(engine, session)  # type: ignore[arg-type]
    reader.show_session(session)
    return _milliseconds(lambda: reader.set_open(True))


def _paragraph(number: int) -> str:
    sentences: list[str] = []
    while sum(map(len, sentences)) < PARAGRAPH_CHARS:
        sentences.append(f"第{number}段第{len(sentences)}句的内容是这样写的。")
    return "".join(sentences)


def _milliseconds(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return (time.process_time() - start) * 1e3
