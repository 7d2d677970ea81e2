"""Measures the window: `python -m bilin_app.bench [--json]`. Prints figures and the machine.

Nothing is asserted: what the figures should be is said beside them. The engine is scripted; text
arrives on a timer, as from the engine client.
"""

import argparse
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from bilin_engine.protocol import PlanResult

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

NUM_MESSAGES = 5_000
NUM_TOKENS = 4_000
NUM_CHARS = 50_000
NUM_STARTS = 9
TICK_MS = 4  # the timer whose gaps are measured
TOKEN_MS = 2
NUM_EDITOR_CHARS = 200_000
PARAGRAPH_CHARS = 5_000
NUM_EDITS = 240
NUM_SEARCHED = 100_000
MESSAGES_EACH = 50
NUM_SEARCHES = 5
SETTLE_S = 2.0
IDLE_S = 10.0
NUM_SLIDER_MOVES = 64
SLIDER_DEVICES = "8x11GiB"
SLIDER_CONTEXTS = (256, 512, 1024, 1536, 2048)
KEY_MS = 60  # between two keys: 200 words a minute

GOALS = {
    "first_paint_s": "< 0.5",
    "whole_window_rss_mib": "< 150",
    "open_5000_messages_s": "< 0.5",
    "open_5000_messages_rss_mib": "< 200",
    "stream_4000_tokens_gaps_ms": "p99 <= 16",
    "stream_50000_chars_gaps_ms": "p99 <= 16, worst <= 50",
    "edit_200000_chars_gaps_ms": "p99 <= 16",
    "second_reader_ms": "worst <= 16",
    "idle_cpu_percent": "< 0.5",
    "search_100000_messages_ms": "< 50",
    "slider_move_8x11gib_ms": "worst <= 16",
}

# The real start: up to where the first picture is there, then up to the whole window. The engine
# begins meanwhile, as it does for people, and ends with this process.
_START = """
import os, sys, time
from pathlib import Path
import bilin_app.__main__ as start

def seconds():
    return time.time() - float(sys.argv[1]), time.process_time()

def rss():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

def go_on(app, paths, window, loaded, files, **options):
    print(*seconds(), rss(), flush=True)
    heavy = ("torch", "numpy", "qtawesome", "pygments", "msgspec", "sqlite3")
    print(*(name for name in heavy if name in sys.modules))
    application = real(app, paths, window, loaded, files, **options)
    application.completed.connect(lambda: finish(application))
    return application

def finish(application):
    print(*seconds(), rss(), flush=True)
    application.close()  # the next start is not to run beside this one's engine
    os._exit(0)

real, start.go_on = start.go_on, go_on
start._run(Path(sys.argv[2]), [], "")
"""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Between two ticks of a 4 ms timer, ms: of the clock, and of this process's processor time.

    On a busy machine the clock's gaps are mostly other programs'; `cpu_*` is what Bilin itself did.
    """

    p50: float
    p99: float
    worst: float
    cpu_p99: float
    cpu_worst: float
    num_ticks: int


@dataclass(frozen=True, slots=True)
class Start:
    """One start, in seconds of the clock and (`…_cpu_s`) of processor time since its first moment.

    complete_s: until every page is there and the engine is listened to. rss: bytes, at the first
    picture and at the end. heavy: modules imported by the first picture.
    """

    paint_s: float
    paint_cpu_s: float
    paint_rss: int
    complete_s: float
    complete_rss: int
    heavy: str


def measure_starts() -> list[Start]:
    """NUM_STARTS real starts of `python -m bilin_app` with an empty profile, fastest first."""
    environ = dict(os.environ)
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed app has its bytecode
    with tempfile.TemporaryDirectory() as cache:
        environ["PYTHONPYCACHEPREFIX"] = cache
        starts = [_start(environ) for _ in range(1 + NUM_STARTS)][1:]
    return sorted(starts, key=lambda start: start.paint_s)


def _start(environ: dict[str, str]) -> Start:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-c", _START, str(time.time()), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    paint, heavy, complete = done.stdout.split("\n")[:3]
    seconds, cpu_seconds, rss = paint.split()
    complete_s, _, complete_rss = complete.split()
    return Start(
        float(seconds), float(cpu_seconds), int(rss), float(complete_s), int(complete_rss), heavy
    )


def rss_bytes() -> int:
    """This process's resident memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def token_stream(num_chars: int) -> list[str]:
    """A long answer in pieces of one to four characters: text, lists, tables, one long fence."""
    from bilin_app.tour_texts import TEXTS

    parts: list[str] = []
    texts = [TEXTS["zh"].text, TEXTS["en"].rich, TEXTS["zh"].long, TEXTS["en"].text]
    fence = "```python\n" + "".join(
        f"value_{i} = compute({i}, mode='fast')  # 第 {i} 步\n" for i in range(320)
    )
    parts.append(fence + "```\n\n")
    while sum(map(len, parts)) < num_chars:
        parts.append(texts[len(parts) % len(texts)] + "\n\n")
    text = "".join(parts)[:num_chars]
    drawn = random.Random(7)
    pieces, at = [], 0
    while at < len(text):
        size = drawn.randint(1, 4)
        pieces.append(text[at : at + size])
        at += size
    return pieces


def measure_stream(pieces: list[str], tokens_per_tick: int) -> Gaps:
    """Streams pieces into a fresh window that is painted, and takes the gaps meanwhile."""
    from PySide6.QtCore import QElapsedTimer, QEventLoop, Qt, QTimer

    from bilin_app.controllers.views import ConversationView, MessageView
    from bilin_app.main_window import MainWindow

    window = MainWindow()
    window.show()
    question = MessageView(1, 1, "user", "?", "done", 0.0)
    answer = MessageView(2, 1, "assistant", "", "running", 0.0)
    window.chat.show_conversation(ConversationView(1, "", (question, answer)))
    loop = QEventLoop()
    clock = QElapsedTimer()
    gaps: list[float] = []
    busy: list[float] = []
    cpu = time.process_time()
    left = iter(pieces)

    def tick() -> None:
        nonlocal cpu
        before, cpu = cpu, time.process_time()
        busy.append((cpu - before) * 1e3)
        gaps.append(clock.nsecsElapsed() / 1e6)
        clock.restart()

    def send() -> None:
        for _ in range(tokens_per_tick):
            piece = next(left, None)
            if piece is None:
                sender.stop()
                QTimer.singleShot(200, loop.quit)
                return
            window.chat.append_text(2, piece)

    ticker, sender = QTimer(), QTimer()
    for timer, slot, interval in ((ticker, tick, TICK_MS), (sender, send, TOKEN_MS)):
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(slot)
        timer.setInterval(interval)
    clock.start()
    ticker.start()
    sender.start()
    loop.exec()
    ticker.stop()
    window.close()
    gaps.sort()
    busy.sort()
    return Gaps(
        p50=round(gaps[len(gaps) // 2], 1),
        p99=round(gaps[int(len(gaps) * 0.99)], 1),
        worst=round(gaps[-1], 1),
        cpu_p99=round(busy[int(len(busy) * 0.99)], 1),
        cpu_worst=round(busy[-1], 1),
        num_ticks=len(gaps),
    )


def _long_document():  # noqa: ANN202 - (EditorView, EditorSession), imported when measured
    """An editor with a document of NUM_EDITOR_CHARS in paragraphs of PARAGRAPH_CHARS."""
    from bilin_app.controllers.editor_session import EditorSession
    from bilin_app.controllers.editor_views import DocumentView
    from bilin_app.pages.editor.view import EditorView
    from bilin_app.text.document import Document, parse_slice
    from bilin_app.text.document_file import Snapshot
    from bilin_app.tour_texts import TEXTS

    unit = TEXTS["zh"].long.replace("\n", "")
    paragraph = (unit * (PARAGRAPH_CHARS // len(unit) + 1))[: PARAGRAPH_CHARS - 7] + "[MASK]"
    text = "\n".join([paragraph] * (NUM_EDITOR_CHARS // PARAGRAPH_CHARS))
    view = EditorView(None)  # type: ignore[arg-type]
    view.resize(1200, 800)
    session = EditorSession(Snapshot("", parse_slice(text, Document())), view)
    session.edited.connect(view.text.apply_edit)
    view.text.text_edited.connect(lambda a, b, t: session.type_text(a, b, t, is_ahead=True))
    view.show_document(DocumentView(1, "", session.document.content))
    return view, session


def measure_editing() -> Gaps:
    """Types into a long document at its quarters."""
    from PySide6.QtCore import QElapsedTimer, QEventLoop, Qt, QTimer
    from PySide6.QtWidgets import QApplication

    view, session = _long_document()
    view.show()
    QApplication.processEvents()
    loop = QEventLoop()
    clock = QElapsedTimer()
    gaps: list[float] = []
    busy: list[float] = []
    cpu = time.process_time()
    left = NUM_EDITS

    def tick() -> None:
        nonlocal cpu
        before, cpu = cpu, time.process_time()
        busy.append((cpu - before) * 1e3)
        gaps.append(clock.nsecsElapsed() / 1e6)
        clock.restart()

    def type_one() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            loop.quit()
            return
        if left % (NUM_EDITS // 4) == 0:
            view.text.set_cursor(len(session.document) * (left * 4 // NUM_EDITS) // 4 + 2500)
        cursor = view.text.textCursor()
        cursor.insertText("字") if left % 5 else cursor.deletePreviousChar()

    ticker, typist = QTimer(), QTimer()
    for timer, slot, interval in ((ticker, tick, TICK_MS), (typist, type_one, KEY_MS)):
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(slot)
        timer.setInterval(interval)
    clock.start()
    ticker.start()
    typist.start()
    loop.exec()
    ticker.stop()
    typist.stop()
    view.close()
    gaps.sort()
    busy.sort()
    return Gaps(
        p50=round(gaps[len(gaps) // 2], 1),
        p99=round(gaps[int(len(gaps) * 0.99)], 1),
        worst=round(gaps[-1], 1),
        cpu_p99=round(busy[int(len(busy) * 0.99)], 1),
        cpu_worst=round(busy[-1], 1),
        num_ticks=len(gaps),
    )


def measure_opening(process_events: Callable[[], None]) -> tuple[float, int]:
    """Seconds to show a conversation of NUM_MESSAGES, painted; how many widgets it took."""
    from bilin_app.controllers.views import ConversationView, MessageView
    from bilin_app.main_window import MainWindow
    from bilin_app.tour_texts import TEXTS

    texts = [TEXTS["zh"].text, TEXTS["en"].rich, TEXTS["zh"].long]
    messages = tuple(
        MessageView(i + 1, 1, "assistant", texts[i % 3], "done", 0.0)
        if i % 2
        else MessageView(i + 1, 1, "user", f"{i}: {TEXTS['zh'].ask}", "done", 0.0)
        for i in range(NUM_MESSAGES)
    )
    window = MainWindow()
    window.show()
    process_events()
    start = time.perf_counter()
    window.chat.show_conversation(ConversationView(1, "", messages))
    process_events()
    seconds = time.perf_counter() - start
    num_widgets = window.chat.transcript.num_widgets
    window.close()
    return seconds, num_widgets


def measure_search() -> dict[str, tuple[float, float]]:
    """To search NUM_SEARCHED messages, from a query to its hits with snippets, by query.

    Milliseconds of the clock (the best of NUM_SEARCHES) and of processor time (the worst).
    """
    from bilin_app.controllers.conversation_list import find_hits
    from bilin_app.storage import conversations as stored
    from bilin_app.storage.database import open_database, open_reader
    from bilin_app.text.conversation_file import FileConversation, FileMessage
    from bilin_app.tour_texts import TEXTS

    drawn = random.Random(7)
    letters = "".join(TEXTS["zh"].long + TEXTS["zh"].text + TEXTS["en"].rich)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bilin.db"
        writer, _ = open_database(path)
        writer.execute("BEGIN")
        for number in range(NUM_SEARCHED // MESSAGES_EACH):
            messages = []
            for index in range(MESSAGES_EACH):
                at = drawn.randrange(len(letters) - 80)
                rare = "避寒胜地" if drawn.random() < 0.001 else ""
                text = f"{letters[at : at + 70]}{rare} {number}-{index}"
                messages.append(FileMessage("assistant" if index % 2 else "user", text, 1.0))
            title = f"{'三亚避寒' if number == 7 else '记录'} {number}"
            made = FileConversation(title, tuple(messages), "", 1.0)
            stored.import_conversation(writer, made, 1.0)
        writer.execute("COMMIT")
        writer.close()
        reader = open_reader(path)
        figures = {}
        for query in ("避寒", "的", "memory", "sybh", "memo card", "胜地 避寒"):
            figures[query] = _search_ms(find_hits, reader, query)
        reader.close()
    return figures


def _search_ms(
    search: Callable[[sqlite3.Connection, str], object],
    reader: sqlite3.Connection,
    query: str,
) -> tuple[float, float]:
    times, cpu_times = [], []
    for _ in range(NUM_SEARCHES):
        start, cpu_start = time.perf_counter(), time.process_time()
        search(reader, query)
        cpu_times.append((time.process_time() - cpu_start) * 1e3)
        times.append((time.perf_counter() - start) * 1e3)
    return round(min(times), 1), round(max(cpu_times), 1)


def measure_idle() -> float:
    """The share of one processor, in percent, that a window with a model loaded takes at rest."""
    from PySide6.QtCore import QEventLoop, QTimer

    from bilin_app.controllers.engine_views import EngineView
    from bilin_app.main_window import MainWindow
    from bilin_app.tour_texts import TEXTS

    window = MainWindow()
    window.show_engine(EngineView("ready", TEXTS["zh"].model, 1.0))
    window.chat.list.show_conversations(TEXTS["zh"].conversations(time.time()))
    window.show()
    loop = QEventLoop()
    QTimer.singleShot(round(SETTLE_S * 1e3), loop.quit)
    loop.exec()
    before = time.process_time()
    QTimer.singleShot(round(IDLE_S * 1e3), loop.quit)
    loop.exec()
    used = time.process_time() - before
    window.close()
    return used / IDLE_S * 100


def measure_slider() -> dict[str, float]:
    """From a moved slider with its new plan to the painted card: ms of the clock and of processor.

    The plans are the engine's own for GLM-130B on `SLIDER_DEVICES`.
    """
    from PySide6.QtWidgets import QApplication

    from bilin_app.controllers.model_views import PlacementChoice
    from bilin_app.controllers.placement_views import placement_view
    from bilin_app.pages.models.placement import PlacementCard
    from bilin_app.tour_models import planned

    choice = PlacementChoice(devices=SLIDER_DEVICES)
    views = [placement_view(plan, choice, {}) for plan in _slider_plans()]
    card = PlacementCard(None)  # type: ignore[arg-type] - a window of its own
    card.show_model(planned(), choice)
    card.show_placement(views[0])
    card.resize(860, 560)
    card.show()
    QApplication.processEvents()
    took_ms, cpu_ms = [], []
    for move in range(NUM_SLIDER_MOVES):
        view = views[move % len(views)]
        start, cpu_start = time.perf_counter(), time.process_time()
        card.slider.setValue(card.slider.maximum() * (move % len(views) + 1) // len(views))
        card.show_placement(view)
        QApplication.processEvents()
        cpu_ms.append((time.process_time() - cpu_start) * 1000)
        took_ms.append((time.perf_counter() - start) * 1000)
    card.close()
    took_ms.sort()
    return {
        "p50": round(took_ms[len(took_ms) // 2], 1),
        "worst": round(took_ms[-1], 1),
        "cpu_worst": round(max(cpu_ms), 1),
    }


def _slider_plans() -> list[PlanResult]:
    command = [sys.executable, "-P", "-m", "bilin_engine", "plan", "glm-130b", "--json"]
    plans = []
    for context in SLIDER_CONTEXTS:
        asked = [*command, "--devices", SLIDER_DEVICES, "--context", str(context)]
        done = subprocess.run(asked, check=False, capture_output=True)  # 1: it does not fit
        plans.append(msgspec.json.decode(done.stdout, type=PlanResult))
    return plans


def machine_facts() -> str:
    """What the figures hold for."""
    import PySide6

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            x.split(":")[1].strip() for x in cpuinfo.read_text().splitlines() if "model name" in x
        ]
        model = names[0] if names else model
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} CPUs, load {load}; Python {platform.python_version()}, "
        f"PySide6 {PySide6.__version__}, platform {os.environ['QT_QPA_PLATFORM']}"
    )


def main() -> int:
    """Measures and prints; 0."""
    parser = argparse.ArgumentParser(prog="python -m bilin_app.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--starts", action="store_true", help="nothing but cold starts")
    options = parser.parse_args()

    figures: dict[str, object] = {"machine": machine_facts(), **_start_figures(measure_starts())}
    if not options.starts:
        figures |= _window_figures()
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    for name, value in figures.items():
        goal = f"   (goal {GOALS[name]})" if name in GOALS else ""
        print(f"{name:30} {value}{goal}")
    return 0


def _start_figures(starts: list[Start]) -> dict[str, object]:
    """The fastest start and the median one: what else runs here only ever adds."""
    best, median = starts[0], starts[len(starts) // 2]
    return {
        "first_paint_s": round(best.paint_s, 3),
        "first_paint_median_s": round(median.paint_s, 3),
        "first_paint_cpu_s": round(min(start.paint_cpu_s for start in starts), 3),
        "first_paint_rss_mib": round(best.paint_rss / 2**20, 1),
        "heavy_imports": best.heavy,
        "whole_window_s": round(min(start.complete_s for start in starts), 3),
        "whole_window_median_s": round(
            sorted(start.complete_s for start in starts)[len(starts) // 2], 3
        ),
        "whole_window_rss_mib": round(best.complete_rss / 2**20, 1),
    }


def _window_figures() -> dict[str, object]:
    """What a window does once it is there."""
    from PySide6.QtWidgets import QApplication

    from bilin_app.bench_reader import measure_reader
    from bilin_app.garbage import GarbageCollector, settle
    from bilin_app.pages.chat.highlight import prepare_lexer
    from bilin_app.pages.chat.markdown import warm_up
    from bilin_app.theme.theme import Look, start_theme

    app = QApplication([])
    GarbageCollector(app)  # as in the app, from whose start on it is the only one
    start_theme(app, Look("light", "zh"))
    opening_s, num_widgets = measure_opening(app.processEvents)
    rss_open = rss_bytes()
    pieces = token_stream(NUM_CHARS)
    warm_up()  # as the window does shortly after its first paint
    prepare_lexer("python").result()
    settle()
    short = measure_stream(pieces[:NUM_TOKENS], 1)
    long = measure_stream(pieces, 5)
    editing = measure_editing()
    idle = measure_idle()
    after = rss_bytes()
    search = measure_search()
    slider = measure_slider()  # before the reader, which leaves work for later behind
    return {
        "open_5000_messages_s": round(opening_s, 3),
        "open_5000_messages_widgets": num_widgets,
        "open_5000_messages_rss_mib": round(rss_open / 2**20, 1),
        "stream_4000_tokens_gaps_ms": asdict(short),
        "stream_50000_chars_gaps_ms": asdict(long),
        "edit_200000_chars_gaps_ms": asdict(editing),
        "second_reader_ms": measure_reader(),
        "after_streaming_rss_mib": round(after / 2**20, 1),
        "idle_cpu_percent": round(idle, 2),
        "search_100000_messages_ms": search,
        "slider_move_8x11gib_ms": slider,
    }


if __name__ == "__main__":
    sys.exit(main())
