"""Somebody who uses the window at random, and what must hold meanwhile. A program.

`random_person.py --data-dir DIR --seed N --seconds S` opens the real window on DIR with a scripted
engine, uses it, waits until nothing moves and closes it. A line of JSON out for each
  {"step": TEXT}             what is done next
  {"sent": TOKEN}            a message with this token in it was given to the chat
  {"finding": TEXT}          what must not be: an exception, a warning, texts that differ
  {"processes": [PID, …]}    the engine's, right before the window closes

Drawn: typing, input methods, keys, shortcuts, clicks, menus, dialogs, drops, pastes, messages,
blanks and fills, pages, looks, sizes of the window, SIGKILL of the engine.
Not drawn, for then a text may rightly be missing or there twice: cut, copy, undo and redo outside
the editor, taking a message out of the queue, deleting for good.
"""

import argparse
import gc
import json
import logging
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
from PySide6.QtCore import QCoreApplication, QMimeData, QObject, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import (
    QContextMenuEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QInputMethodEvent,
    QKeySequence,
)  # fmt: skip
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QDialog,
    QFileDialog,
    QMenu,
    QWidget,
)  # fmt: skip

from bilin_app.application import Application
from bilin_app.engine_client.process import EngineCommand
from bilin_app.garbage import GarbageCollector
from bilin_app.logs import start_logging
from bilin_app.pages.deletion_question import DeletionQuestion
from bilin_app.pages.keymap import SHORTCUTS, keymap
from bilin_app.paths import app_paths
from bilin_app.storage.database import open_reader
from bilin_app.text.document import Slice, from_units, to_units
from bilin_app.text.document_file import decode_document

SETTLE_S = 60.0  # a busy machine; an idle one needs one
NUM_QUIET = 10  # looks in a row, a tenth of a second apart
NO_KEY = Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
LEFT = Qt.MouseButton.LeftButton
# The scripted engine insists on one answer; here a person writes beginnings of answers, too.
ENGINE = """
import random, msgspec, scripted_engine
from bilin_engine.protocol import Candidate, Done, FillResult
REPLIES = ("short", "# 标题\\n\\n1. 一\\n\\n```python\\nprint(1)\\n```", "word " * 100, "长" * 300,
           "$x^2$ and\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |", "😀 𠀀𠀁 עברית", " ", "$$")
FILLS = ("blue", "蓝色的", "a longer fill with words", " lead", "𠀀𠀁", "a\\n\\nb", "")
class Engine(scripted_engine.ScriptedEngine):
    def answer(self, request):
        self.options.reply = request.prefill + random.choice(REPLIES)
        self.options.thinking = random.choice(("", "let me think about it "))
        self.options.gap = random.choice((0, 0.1, 0.5)) / len(self.options.reply)
        super().answer(request)
    def send(self, message):
        if isinstance(message, Done) and isinstance(message.result, FillResult):
            blanks = tuple(
                msgspec.structs.replace(blank, candidates=blank.candidates + tuple(
                    Candidate(text=text, logprob=-2.0, num_tokens=2)
                    for text in random.sample(FILLS, 2)
                )) for blank in message.result.blanks)
            result = msgspec.structs.replace(message.result, blanks=blanks)
            message = msgspec.structs.replace(message, result=result)
        super().send(message)
scripted_engine.ScriptedEngine = Engine
scripted_engine.main()
"""
TEXTS = (
    "hello ", "The sky is blue. ", "bad word ", "f(x) = $x^2$ ", "[MASK]", "[gMASK] ", "<b>&amp;",
    "你好", "今天天气怎么样？", "，", "請寫一首詩。", "한국어", "𠀀𠀁𪚥", "😀", "e\u0301",
    "👨\u200d👩\u200d👧", "\u202eabc", "\u200d", "\ufffc", "\u2028", "\x00", "\x07", "\t",
    "日本語かな", "\ufeff", "长文本" * 800, "word " * 2000, "line\n" * 100,
)  # fmt: skip
PREEDITS = ("n", "ni", "ni'hao", "你h", "zhong'wen'shu'ru", "𠀀", "😀x")
KEYS = (
    *("Return", "Return", "Shift+Return", "Backspace", "Backspace", "Del", "Left", "Right", "Up"),
    *("Down", "Home", "End", "PgUp", "PgDown", "Tab", "Shift+Tab", "Esc", "Space", "F2", "Ctrl+A"),
    *("Shift+Left", "Shift+Down", "Ctrl+Left", "Ctrl+Right", "Ctrl+Backspace", "Ctrl+Home"),
)
EDITOR_KEYS = (
    *("Tab", "Tab", "Ctrl+Right", "Ctrl+Right", "Alt+Down", "Alt+Up", "Ctrl+R", "Esc", "F7"),
    *("Ctrl+M", "Ctrl+Shift+M", "Ctrl+Return", "Ctrl+Shift+Return"),
    *("Ctrl+Z", "Ctrl+Z", "Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+X", "Ctrl+C"),
)
SIZES = ((880, 500), (900, 520), (1200, 800), (1920, 1080), (881, 1000), (1600, 500))
# What leaves the machine, the window or the data.
UNTOUCHED = re.compile(
    "download|下载|fetch|获取|look it up|hub|restart|重启|重新启动|do not send|不发送|copy|复制",
    re.IGNORECASE,
)


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class FindingHandler(logging.Handler):
    """Exceptions and Qt's messages come as records, too.

    That the engine is killed may be told, and what the offscreen platform lacks of any window.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if re.search("SIGKILL|This plugin does not support", record.getMessage()) is None:
            say(finding=logging.Formatter("%(name)s %(levelname)s %(message)s").format(record))


class Person(QObject):
    def __init__(self, application: Application, seed: str, seconds: float, files: Path) -> None:
        super().__init__(application)
        self.application = application
        self.window = application.window
        self.chance = random.Random(seed)
        self.token = f"t{seed}x"
        self.num_sent = 0
        self.files = files
        self.ends_at = time.monotonic() + seconds
        self.num_inside = 0  # steps within a menu or dialog
        self.is_composing = False
        self.first: tuple[object, Slice] | None = None  # of which session, the text it began with
        self.settle_until = 0.0
        self.num_quiet = 0
        always = [self.write, self.write, self.compose, self.press_key, self.press_key]
        always += [self.press_shortcut, self.click, self.click, self.open_menu, self.click_row]
        always += [self.drop, self.paste, self.resize, self.change_look, self.show_page, self.kill]
        always += [self.mend]
        self.typing = (self.write, self.compose, self.press_key, self.press_shortcut, self.paste)
        self.typing += (self.drop,)
        self.steps: dict[str, list[Callable[[], None]]] = {
            "chat": always + [self.send] * 6 + [self.act_on_message] * 5 + [self.search],
            "editor": always + [self.write_document] * 8 + [self.press_editor_key] * 10
            + [self.select] * 3 + [self.undo_all, self.search, self.open_document, self.fill],
            "models": [*always, self.show_page, self.show_page],
            "settings": [*always, self.show_page, self.show_page, self.show_page],
        }  # fmt: skip
        QFileDialog.getOpenFileName = lambda *_: (str(self.a_file()), "")  # type: ignore[assignment]
        QFileDialog.getOpenFileNames = lambda *_: ([str(self.a_file())], "")  # type: ignore[assignment]
        QFileDialog.getExistingDirectory = lambda *_: ""  # type: ignore[assignment]
        QFileDialog.getSaveFileName = lambda *_: (str(files.parent / "saved.md"), "")  # type: ignore[assignment]
        QDesktopServices.openUrl = lambda *_: True  # type: ignore[assignment]
        DeletionQuestion.is_confirmed = lambda _self: False  # type: ignore[assignment]
        application.completed.connect(self.step)
        self.window.chat.composer.submitted.connect(self._on_submitted)

    def _on_submitted(self, text: str) -> None:
        for token in re.findall(rf"{self.token}\d+x", text):
            say(sent=token)

    # --- Steps ------------------------------------------------------------------------------------

    def step(self) -> None:
        """Plans the next one first: this one may open a dialog with an event loop of its own."""
        popup, modal = QApplication.activePopupWidget(), QApplication.activeModalWidget()
        is_late = time.monotonic() > self.ends_at
        if is_late and popup is None and modal is None:
            self.settle()
            return
        QTimer.singleShot(self.chance.choice((0, 0, 1, 15, 15, 90)), self, self.step)
        QApplication.clipboard().setText("pasted")  # never what was sent
        if popup is not None or modal is not None:
            self.num_inside += 1
            self.act_inside(popup, modal, is_tired=is_late or self.num_inside > 12)
            return
        self.num_inside = 0
        act = self.chance.choice(self.steps[self.window._page])
        # What is typed over a message that is not stored yet is rightly kept beside it.
        if act not in self.typing or self.token not in self.window.chat.composer.text:
            act()
        self.check_editor()

    def act_inside(self, popup: QWidget | None, modal: QWidget | None, *, is_tired: bool) -> None:
        top = popup or modal
        if is_tired and isinstance(top, QDialog):
            say(step=f"leave {type(top).__name__}")
            top.reject()
        elif isinstance(top, QMenu) and not is_tired:
            shown = [a for a in top.actions() if a.isEnabled() and a.isVisible() and a.text()]
            action = self.chance.choice(shown) if shown else None
            if action is None or action.menu() or UNTOUCHED.search(action.text()):
                top.close()
                return
            say(step=f"menu {action.text()}")
            QTest.mouseClick(top, LEFT, NO_KEY, top.actionGeometry(action).center())
        elif is_tired and top is not None:
            top.close()
        else:
            self.chance.choice((self.click, self.click, self.press_key, self.click_row))()

    def top(self) -> QWidget:
        popup, modal = QApplication.activePopupWidget(), QApplication.activeModalWidget()
        return popup or modal or self.window

    def focus(self) -> QWidget:
        text = self.window.editor.text if self.window._page == "editor" else None
        return QApplication.focusWidget() or text or self.window.chat.composer.edit

    def a_file(self) -> Path:
        return self.chance.choice(sorted(self.files.iterdir()))

    def press(self, keys: str) -> None:
        focus = self.focus()
        if self.is_composing or (isinstance(focus, QAbstractButton) and not is_harmless(focus)):
            return
        say(step=f"press {keys} in {type(focus).__name__}")
        key = QKeySequence(keys)[0]  # type: ignore[index]
        QTest.keyClick(focus, key.key(), key.keyboardModifiers())

    def write(self) -> None:
        focus, text = self.focus(), self.chance.choice(TEXTS)
        say(step=f"write {text[:20]} ({len(text)}) in {type(focus).__name__}")
        if self.is_composing or not (text.isascii() and text.isprintable() and len(text) < 99):
            commit(focus, text)
            self.is_composing = False
        else:
            QTest.keyClicks(focus, text)

    def compose(self) -> None:
        focus, text = self.focus(), self.chance.choice(PREEDITS)
        if not focus.testAttribute(Qt.WidgetAttribute.WA_InputMethodEnabled):
            return
        if self.is_composing and self.chance.random() < 0.5:
            self.write()
            return
        say(step=f"compose {text} in {type(focus).__name__}")
        cursor = QInputMethodEvent.AttributeType.Cursor
        place = self.chance.randrange(len(text) + 1)
        mark = QInputMethodEvent.Attribute(cursor, place, 1, None)
        self.is_composing = True
        QCoreApplication.sendEvent(focus, QInputMethodEvent(text, [mark]))

    def press_key(self) -> None:
        self.press(self.chance.choice(KEYS))

    def press_shortcut(self) -> None:
        if keys := keymap().keys(self.chance.choice(SHORTCUTS).name):
            self.press(keys)

    def click(self) -> None:
        self.click_in(self.top())

    def click_in(self, top: QWidget) -> None:
        shown = [b for b in top.findChildren(QAbstractButton) if b.isVisible() and b.isEnabled()]
        if found := [b for b in shown if is_harmless(b) and b.window() is top.window()]:
            button = self.chance.choice(found)
            say(step=f"click {type(button).__name__} {button.text() or button.accessibleName()}")
            QTest.mouseClick(button, LEFT)

    def open_menu(self) -> None:
        composer = self.window.chat.composer
        found = [
            w for w in self.window.findChildren(QWidget)
            if w.isVisible() and w.width() > 2 and not composer.isAncestorOf(w)
        ]  # fmt: skip
        target = self.chance.choice(found)
        say(step=f"menu of {type(target).__name__} {target.objectName()}")
        place, reason = target.rect().center(), QContextMenuEvent.Reason.Mouse
        event = QContextMenuEvent(reason, place, target.mapToGlobal(place))
        QCoreApplication.sendEvent(target, event)

    def click_row(self) -> None:
        views = [v for v in self.top().findChildren(QAbstractItemView) if v.isVisible()]
        filled = [v for v in views if v.model() is not None and v.model().rowCount()]
        if not filled:
            return
        view = self.chance.choice(filled)
        row = view.model().index(self.chance.randrange(view.model().rowCount()), 0)
        say(step=f"click row {row.row()} of {type(view).__name__}")
        view.scrollTo(row)
        QTest.mouseClick(view.viewport(), LEFT, NO_KEY, view.visualRect(row).center())
        if self.chance.random() < 0.2:
            view.setFocus()
            self.press(self.chance.choice(("Del", "F2", "Return", "Down")))

    def drop(self) -> None:
        found = [w for w in self.window.findChildren(QWidget) if w.isVisible() and w.acceptDrops()]
        data = QMimeData()
        if self.chance.random() < 0.5:
            data.setUrls([QUrl.fromLocalFile(str(self.a_file()))])
        else:
            data.setText(self.chance.choice(TEXTS))
        target = self.chance.choice(found) if found else self.window
        say(step=f"drop {data.formats()} on {type(target).__name__} {target.objectName()}")
        place, copies = target.rect().center(), Qt.DropAction.CopyAction
        enters = QDragEnterEvent(place, copies, data, LEFT, NO_KEY)
        QCoreApplication.sendEvent(target, enters)
        if enters.isAccepted():
            event = QDropEvent(QPointF(place), copies, data, LEFT, NO_KEY)
            QCoreApplication.sendEvent(target, event)

    def paste(self) -> None:
        if self.chance.random() < 0.2:
            data = QMimeData()
            data.setUrls([QUrl.fromLocalFile(str(self.a_file()))])
            QApplication.clipboard().setMimeData(data)
        else:
            QApplication.clipboard().setText(self.chance.choice(TEXTS))
        self.press("Ctrl+V")

    def resize(self) -> None:
        size = self.chance.choice(SIZES)
        say(step=f"resize {size}")
        self.window.resize(*size)

    def change_look(self) -> None:
        settings = self.application.settings.settings
        change = self.chance.choice((
            {"theme": self.chance.choice(("light", "dark", "system"))},
            {"language": self.chance.choice(("zh", "en", "system"))},
            {"send_key": self.chance.choice(("enter", "ctrl+enter"))},
            {"text_font_size": self.chance.randrange(10, 24)},
            {"ui_font_size": self.chance.randrange(12, 18)},
        ))  # fmt: skip
        if self.chance.random() < 0.2:  # all is styled anew, which takes its time
            say(step=f"set {change}")
            self.window.settings.settings_changed.emit(replace(settings, **change))

    def show_page(self) -> None:
        page = self.chance.choice(
            ("chat", "chat", "chat", "editor", "editor", "models", "settings")
        )
        say(step=f"page {page}")
        self.window.show_page(page)

    def kill(self) -> None:
        pid = self.application.engine.client.process_id
        if not pid or self.chance.random() < 0.5:
            return
        say(step="kill the engine, and send")
        os.kill(pid, signal.SIGKILL)
        if self.window._page == "chat":  # at some moment while its death is told
            QTimer.singleShot(self.chance.randrange(40), self, self.send)

    def mend(self) -> None:
        if self.application.engine.view.state == "fault":
            say(step="mend the engine")
            self.window.mend_requested.emit()

    # --- Chat -------------------------------------------------------------------------------------

    def send(self) -> None:
        """One to three messages, the next typed before the one before can be stored."""
        edit = self.window.chat.composer.edit
        if self.top() is not self.window or not edit.isVisible():
            return
        edit.setFocus()
        commit(edit, "")
        self.is_composing = False
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            self.num_sent += 1
            text = f"{self.token}{self.num_sent}x {self.chance.choice(TEXTS[:16])}"
            say(step=f"send {text}")
            commit(edit, text)
            modifier = CONTROL if keymap().sends_with_ctrl else NO_KEY
            QTest.keyClick(edit, Qt.Key.Key_Return, modifier)

    def act_on_message(self) -> None:
        if shown := self.window.chat.transcript.widgets_in_order():
            self.click_in(self.chance.choice(shown[-4:]))

    def search(self) -> None:
        text = self.chance.choice(("hello", "你", self.token, '"', "*", "😀", "", "", ""))
        page = self.window.editor if self.window._page == "editor" else self.window.chat
        say(step=f"search {text}")
        page.list.search.setText(text)
        page.list.search.textEdited.emit(text)

    # --- Editor -----------------------------------------------------------------------------------

    def write_document(self) -> None:
        self.window.editor.text.setFocus()
        self.chance.choice((self.write, self.write, self.compose, self.press_key, self.paste))()

    def press_editor_key(self) -> None:
        self.window.editor.text.setFocus()
        self.press(self.chance.choice(EDITOR_KEYS))

    def select(self) -> None:
        if self.is_composing:
            return
        field = self.window.editor.text
        cursor, end = field.textCursor(), field.document().characterCount() - 1
        cursor.setPosition(self.chance.randrange(end + 1))
        cursor.movePosition(cursor.MoveOperation.Right)  # never between two surrogates
        for _ in range(self.chance.choice((0, 1, 5, 30))):
            cursor.movePosition(cursor.MoveOperation.Right, cursor.MoveMode.KeepAnchor)
        say(step=f"select {cursor.anchor()} to {cursor.position()}")
        field.setTextCursor(cursor)

    def fill(self) -> None:
        say(step="fill all")
        self.window.editor.text.fill_all_requested.emit()

    def open_document(self) -> None:
        editor, view = self.application.editor, self.window.editor
        act = self.chance.choice((
            lambda: self.application.open_files([self.a_file()]),
            lambda: view.empty.sample_chosen.emit("The sky is [MASK]. 天是[MASK]色的。\n[gMASK]"),
            editor.list_revisions, editor.new_document,
        ))  # fmt: skip
        say(step="another document or its revisions")
        act()

    def undo_all(self) -> None:
        session = self.application.editor.session
        if self.window.editor.text.is_composing or self.application.editor.running:
            return
        say(step="undo all, redo all")
        while session.stack.canRedo():
            session.redo()
        last = session.document.content
        while session.stack.canUndo():
            session.undo()
        self.check_editor()
        if self.first is not None and session.document.content != self.first[1]:
            say(finding="undoing all does not give the first text")
        while session.stack.canRedo():
            session.redo()
        self.check_editor()
        if session.document.content != last:
            say(finding="redoing all does not give the last text")

    def check_editor(self) -> None:
        """The field, what it holds to be shown, and the session have one text."""
        field, session = self.window.editor.text, self.application.editor.session
        content, shown = session.document.content, field._shown
        if self.first is None or self.first[0] is not session:
            self.first = (session, content) if not session.stack.count() else None
        if field._depth or field._is_adopting:
            return
        if shown.document.content != content:
            say(finding="the shown text is not the session's")
        elif field._read(0, field.document().characterCount() - 1) != shown.expanded(content):
            say(finding="the field's text is not the shown one")
        elif not field.is_composing:
            for _, blank in content.blanks:
                offered = shown._offers.get(blank.id, "")
                if to_units(from_units(session.shown_text(blank.id))) != offered:
                    say(finding="an offer is not the session's")

    # --- The end ----------------------------------------------------------------------------------

    def settle(self) -> None:
        say(step="wait until nothing moves")
        for field in (self.window.editor.text, self.window.chat.composer.edit):
            commit(field, "")
        self.is_composing = False
        self.application.editor.stop()
        self.settle_until = time.monotonic() + SETTLE_S
        QTimer.singleShot(500, self, self.leave_when_settled)

    def leave_when_settled(self) -> None:
        problem = self.unsettled()
        self.num_quiet = 0 if problem else self.num_quiet + 1
        # Between two messages of the queue nothing moves for a moment, either.
        if self.num_quiet < NUM_QUIET and time.monotonic() < self.settle_until:
            QTimer.singleShot(100, self, self.leave_when_settled)
            return
        if problem:
            say(finding=problem)
        self.undo_all()
        engine = psutil.Process().children(recursive=True)
        say(processes=[process.pid for process in engine])
        QApplication.quit()

    def unsettled(self) -> str:
        """What is not as it is to be once nothing moves, or ""."""
        editor = self.application.editor
        reader = open_reader(app_paths(self.files.parent).database)
        try:
            running = "SELECT count(*) FROM messages WHERE state = 'running'"
            if reader.execute(running).fetchone()[0]:
                return "an answer is left running"
            query = "SELECT content FROM documents WHERE id = ?"
            row = reader.execute(query, (editor.document_id,)).fetchone()
        finally:
            reader.close()
        kept = decode_document(row[0]).content if row else Slice()
        return "" if kept == editor.session.document.content else "the document is not on the disk"


def commit(target: QWidget, text: str) -> None:
    """What an input method commits; ends what it composed."""
    event = QInputMethodEvent()
    event.setCommitString(text)
    QCoreApplication.sendEvent(target, event)


def is_harmless(button: QAbstractButton) -> bool:
    words = (button.text(), button.accessibleName(), button.toolTip())
    return not UNTOUCHED.search(" ".join(words))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    paths = app_paths(options.data_dir)
    files = options.data_dir / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "note.txt").write_text("A note with [MASK] and 中文。\nbad word here\n" * 5)
    (files / "empty.txt").write_text("")
    (files / "gb.txt").write_bytes("国标文本，第二行\n".encode("gb18030") * 20)
    (files / "bytes.dat").write_bytes(bytes(range(256)) * 20)
    (files / "broken.json").write_text('{"format": ')
    start_logging(paths.log_dir)
    logging.getLogger("bilin_app").addHandler(FindingHandler(logging.WARNING))
    sys.unraisablehook = lambda a: sys.excepthook(a.exc_type, a.exc_value, a.exc_traceback)  # type: ignore[arg-type]
    gc.disable()
    app = QApplication(sys.argv[:1])
    app.setQuitOnLastWindowClosed(False)
    GarbageCollector(app)
    command = EngineCommand(sys.executable, ("-P", "-c", ENGINE, "--load-s", "0.2"))
    application = Application(app, paths, command)
    person = Person(application, options.seed, options.seconds, files)
    application.show()
    sys.exit(app.exec() if person else 1)


if __name__ == "__main__":
    main()
