"""Formulas as pictures: LaTeX is drawn in a process of its own, kept, and bounded in every way.

A formula that is too long, too slow or not understood stays what it was: its source, as text.
"""

import json
import logging
import re
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass

from PySide6.QtCore import QByteArray, QCoreApplication, QObject, QProcess, QTimer, Signal
from PySide6.QtGui import QImage, QPainter

from bilin_app.theme.resources import ui_folder
from bilin_app.theme.theme import theme

logger = logging.getLogger(__name__)

MAX_SOURCE_CHARS = 2000
MAX_BRACE_DEPTH = 12
MAX_SCRIPTS_IN_A_ROW = 6  # the parser's time doubles with each
LIMIT_MS = 3_000
START_MS = 15_000  # the limit of a process's first formula: on a busy machine Python starts slowly
IDLE_MS = 5_000
MAX_WIDTH, MAX_HEIGHT = 690, 1200  # px; wider ones are made smaller, down to MIN_SCALE
MIN_SCALE = 0.6
MAX_KEPT = 400
MAX_WAITING = 400
PIXEL_RATIO = 2  # sharp on high-resolution screens

_SCRIPTS = re.compile(rf"(?:[\^_]\s*\{{?\s*\\?\w\s*){{{MAX_SCRIPTS_IN_A_ROW + 1},}}")


@dataclass(frozen=True, slots=True)
class FormulaKey:
    """What a picture depends on."""

    latex: str
    is_display: bool
    size: int
    color: str


@dataclass(frozen=True, slots=True)
class Formula:
    """A picture. Sizes in px of the text; descent: how far it reaches below the baseline."""

    image: QImage
    width: float
    ascent: float
    descent: float


class Formulas(QObject):
    """Draws each formula once. drawn(FormulaKey): `get` answers for it now."""

    drawn = Signal(object)

    def __init__(self, parent: QObject, command: tuple[str, ...] | None = None) -> None:
        super().__init__(parent)
        self._command = command or _worker_command()
        self._kept: OrderedDict[FormulaKey, Formula | None] = OrderedDict()
        self._waiting: deque[FormulaKey] = deque()
        self._asked: FormulaKey | None = None
        self._process: QProcess | None = None
        self._has_answered = False  # the process, so that it has started
        self._limit = QTimer(self)
        self._limit.setSingleShot(True)
        self._limit.timeout.connect(self._on_limit)
        self._idle = QTimer(self)
        self._idle.setSingleShot(True)
        self._idle.setInterval(IDLE_MS)
        self._idle.timeout.connect(self.close)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being drawn."""
        return self._asked is None and not self._waiting

    def key(self, latex: str, *, is_display: bool) -> FormulaKey:
        """The key of a formula in today's size and colour."""
        size = theme().sizes.text + (3 if is_display else 2)
        return FormulaKey(latex.strip(), is_display, size, theme().palette.ink)

    def get(self, key: FormulaKey) -> Formula | None:
        """The picture, or None: not drawn yet (then `drawn` follows) or not to be drawn."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if not is_drawable(key.latex):
            self._keep(key, None)
        elif key != self._asked and key not in self._waiting and len(self._waiting) < MAX_WAITING:
            self._waiting.append(key)
            self._ask_next()
        return None

    def close(self) -> None:
        """Ends the process; the next formula starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            process.kill()
            process.waitForFinished(1000)
            process.deleteLater()

    def wait(self, limit_ms: int = 20_000) -> None:
        """Until all is drawn, for pictures and tests."""
        timer = QTimer()
        timer.setSingleShot(True)
        timer.start(limit_ms)
        while not self.is_idle and timer.isActive():
            QCoreApplication.processEvents()

    def _ask_next(self) -> None:
        if self._asked is not None or not self._waiting:
            return
        if self._process is None:
            self._process = self._start()
        self._idle.stop()
        self._asked = key = self._waiting.popleft()
        asked = {
            "latex": key.latex,
            "is_display": key.is_display,
            "size": key.size,
            "color": key.color,
        }
        self._limit.start(LIMIT_MS if self._has_answered else START_MS)
        self._process.write((json.dumps(asked) + "\n").encode())

    def _start(self) -> QProcess:
        process = QProcess(self)
        self._has_answered = False
        process.setProcessChannelMode(QProcess.ProcessChannelMode.SeparateChannels)
        process.setStandardErrorFile(QProcess.nullDevice())
        process.readyReadStandardOutput.connect(self._on_output)
        process.errorOccurred.connect(self._on_ended)
        process.finished.connect(self._on_ended)
        process.start(self._command[0], list(self._command[1:]))
        return process

    def _on_output(self) -> None:
        if self._process is None or not self._process.canReadLine() or self._asked is None:
            return
        self._has_answered = True
        answer = json.loads(bytes(self._process.readLine().data()))
        self._finish(_picture(answer) if "svg" in answer else None)

    def _on_limit(self) -> None:
        self._on_ended()

    def _on_ended(self) -> None:
        """The process is gone, or must go: with the formula it was at."""
        if self._process is None:
            return
        self.close()
        logger.info("a formula was not drawn: too slow or too large")
        if self._asked is not None:
            self._finish(None)

    def _finish(self, formula: Formula | None) -> None:
        key, self._asked = self._asked, None
        self._limit.stop()
        assert key is not None
        self._keep(key, formula)
        if self._waiting:
            self._ask_next()
        else:
            self._idle.start()
        if formula is not None:
            self.drawn.emit(key)

    def _keep(self, key: FormulaKey, formula: Formula | None) -> None:
        self._kept[key] = formula
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def _worker_command() -> tuple[str, ...]:
    chinese = ui_folder() / "fonts" / "NotoSansSC-Regular.ttf"
    return (sys.executable, "-P", "-m", "bilin_app.text.formula_worker", str(chinese))


def is_drawable(latex: str) -> bool:
    """Whether a formula is worth trying: neither empty, nor huge, nor nested without end."""
    if not latex or len(latex) > MAX_SOURCE_CHARS or _SCRIPTS.search(latex):
        return False
    depth = most = 0
    for char in latex:
        depth += (char == "{") - (char == "}")
        most = max(most, depth)
    return most <= MAX_BRACE_DEPTH


def _picture(answer: dict[str, object]) -> Formula | None:
    from PySide6.QtSvg import QSvgRenderer  # the first paint does not wait for it

    renderer = QSvgRenderer(QByteArray(str(answer["svg"]).encode()))
    size = renderer.viewBoxF().size()
    if not renderer.isValid() or size.isEmpty() or size.height() > MAX_HEIGHT:
        return None
    scale = min(1.0, MAX_WIDTH / size.width())
    if scale < MIN_SCALE:
        return None
    width, height = size.width() * scale, size.height() * scale
    image = QImage(
        max(1, round(width * PIXEL_RATIO)),
        max(1, round(height * PIXEL_RATIO)),
        QImage.Format.Format_ARGB32_Premultiplied,
    )
    image.fill(0)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    # The picture's own edges: letters may reach beyond what their boxes say.
    ascent = -renderer.viewBoxF().top() * scale
    return Formula(image, width, ascent, max(0.0, height - ascent))


_formulas: Formulas | None = None


def formulas() -> Formulas:
    """The application's formulas."""
    global _formulas
    app = QCoreApplication.instance()
    assert app is not None
    if _formulas is None or _formulas.parent() is not app:
        _formulas = Formulas(app)
        app.aboutToQuit.connect(_formulas.close)
    return _formulas
