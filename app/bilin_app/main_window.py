"""The main window: the rail, the pages, the shortcuts.

The first picture is the rail and the chat. The other pages are imported and built when something
asks for them; `Application` does, one after the other, once the window is painted.
"""

from __future__ import annotations

import contextlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QByteArray, QCoreApplication, QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QIcon, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QWidget
from typing_extensions import override

from bilin_app.pages.chat.view import ChatView, Toast
from bilin_app.pages.desktop_notice import DesktopNotice
from bilin_app.pages.keymap import keymap
from bilin_app.pages.rail import PAGES, Rail
from bilin_app.theme.fonts import Faces, Sizes
from bilin_app.theme.resources import ui_folder
from bilin_app.theme.theme import Look, start_theme, theme

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QApplication

    from bilin_app.controllers.engine_views import EngineView
    from bilin_app.pages.editor.view import EditorView
    from bilin_app.pages.models.view import ModelsView
    from bilin_app.pages.settings.view import SettingsView
    from bilin_app.pages.shortcuts import ShortcutsDialog
    from bilin_app.storage.settings import Settings

logger = logging.getLogger(__name__)

SPLIT_PAGES = ("chat", "editor", "models")  # in the order of what `save_state` gives
FIRST_SIZE = (1200, 800)
SMALLEST_SIZE = (880, 500)  # half of a 1080p screen, and a small laptop's at 150 %, hold it
WARM_UP_MS = 1000  # after the first paint: the other pages come before
PAINT_LIMIT_MS = 500  # a window that starts minimized is not painted at all

W = TypeVar("W", bound=QWidget)
S = TypeVar("S", "EditorView", "ModelsView")


class MainWindow(QMainWindow):
    """Holds the pages. Knows no controller: a binding connects it.

    painted(): the first picture is on the screen, or there is none to wait for. Once.
    """

    painted = Signal()
    mend_requested = Signal()
    report_requested = Signal()
    closing = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWindowIcon(QIcon(str(ui_folder() / "icons" / "bilin.svg")))
        self.resize(*FIRST_SIZE)
        self.setMinimumSize(*SMALLEST_SIZE)
        with theme().building():
            self.rail = Rail(self)
            self.chat = ChatView(self)
            self._put_together()
        self._splitters = {"chat": self.chat.splitter}
        self._kept_splitters: dict[str, bytes] = {}  # of pages that are not built yet
        self._kept_page = ""  # to be shown once it is there
        self._conversation_id = 0
        self._conversation_title = ""
        # Of an answer nobody saw end: its conversation's id and title, and how it ended.
        self._news: tuple[int, str, str] | None = None
        self.notice = DesktopNotice(self)
        self.notice.clicked.connect(self.come_to_front)
        self.rail.page_requested.connect(self.show_page)
        self.rail.mend_requested.connect(self.mend_requested)
        self.rail.report_requested.connect(self.report_requested)
        self.chat.composer.draft_changed.connect(self._on_draft_changed)
        self._bind_keys()
        self.show_page("chat")
        self._show_title()
        self._first_paint = _FirstPaint(self)
        self._first_paint.seen.connect(self.painted)

    def _put_together(self) -> None:
        self._stack = QStackedWidget(self)
        self.toast = Toast(self._stack)
        self._stack.addWidget(self.chat)
        for name in PAGES:
            self.rail.add_page(name)
        center = QWidget(self)
        row = QHBoxLayout(center)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.rail)
        row.addWidget(self._stack, 1)
        self.setCentralWidget(center)

    @cached_property
    def editor(self) -> EditorView:
        """The editor's page."""
        from bilin_app.pages.editor.view import EditorView

        return self._add_split("editor", EditorView(self))

    @cached_property
    def models(self) -> ModelsView:
        """The models page."""
        from bilin_app.pages.models.view import ModelsView

        return self._add_split("models", ModelsView(self))

    @cached_property
    def settings(self) -> SettingsView:
        """The settings page."""
        from bilin_app.pages.settings.view import SettingsView

        page = self._add(SettingsView(self))
        page.report_requested.connect(self.report_requested)
        page.shortcuts_requested.connect(self.show_shortcuts)
        return page

    def _add_split(self, name: str, page: S) -> S:
        self._splitters[name] = page.splitter
        page.splitter.restoreState(QByteArray(self._kept_splitters.pop(name, b"")))
        return self._add(page)

    def _add(self, page: W) -> W:
        self._stack.addWidget(page)
        return page

    def _bind_keys(self) -> None:
        acts = {
            "chat": lambda: self.show_page("chat"),
            "editor": lambda: self.show_page("editor"),
            "models": lambda: self.show_page("models"),
            "new": self._on_new,
            "search": self._on_search,
            "find": self._on_find,
            "settings": lambda: self.show_page("settings"),
            "stop": self._on_stop,
            "shortcuts": self.show_shortcuts,
        }
        self._shortcuts = {name: QShortcut(self) for name in acts}
        for name, act in acts.items():
            self._shortcuts[name].activated.connect(act)
        keymap().changed.connect(self._show_keys)
        self._set_keys()

    def _set_keys(self) -> None:
        for name, shortcut in self._shortcuts.items():
            shortcut.setKey(QKeySequence(keymap().keys(name)))

    def _show_keys(self) -> None:
        """Puts the keys in force; every hint in the window is written anew, as for a language."""
        self._set_keys()
        for widget in self.findChildren(QWidget):
            QCoreApplication.sendEvent(widget, QEvent(QEvent.Type.LanguageChange))

    def show_page(self, name: str) -> None:
        """Shows a page and puts the cursor where one writes. Raises KeyError for an unknown one."""
        if name not in PAGES:
            raise KeyError(name)
        self._page = name
        self._kept_page = ""
        self._stack.setCurrentWidget(getattr(self, name))
        self.rail.set_page(name)
        if name == "chat":
            self.chat.composer.edit.setFocus(Qt.FocusReason.OtherFocusReason)
        elif name == "editor":
            self.editor.text.setFocus(Qt.FocusReason.OtherFocusReason)
        self._show_title()

    def take_up(self, name: str) -> None:
        """Shows a page that is there now, if it was on show when the window was left.

        Not where another one was asked for meanwhile, or the person began to write.
        """
        if name == self._kept_page:
            self.show_page(name)

    def _on_draft_changed(self) -> None:
        self._kept_page = ""  # what goes on being typed goes on in the same place

    def show_engine(self, view: EngineView) -> None:
        """Shows the engine's state in the rail."""
        self.rail.show_engine(view)

    def show_conversation_title(self, conversation_id: int, title: str) -> None:
        """The window's title names the conversation on show; id 0 = a new one."""
        self._conversation_id, self._conversation_title = conversation_id, title
        self._show_title()

    def tell_answer_ended(
        self, seconds: float, conversation_id: int, title: str, state: str
    ) -> None:
        """Marks the title if the answer is not looked at; of a long one the desktop may tell.

        title: of the answer's conversation. state: "done", "failed" or "interrupted".
        """
        if not self._is_on_show(conversation_id):
            self._news = (conversation_id, title, state)
            self._show_title()
        sentence = {
            "failed": self.tr("The answer failed."),
            "interrupted": self.tr("The answer broke off."),
        }.get(state, self.tr("The answer is there."))
        self.notice.tell(title or self.tr("Bilin"), sentence, seconds)

    def _is_on_show(self, conversation_id: int) -> bool:
        is_shown = self._page == "chat" and conversation_id == self._conversation_id
        return is_shown and self.isActiveWindow()

    def forget_conversation(self, conversation_id: int) -> None:
        """A conversation was deleted: nobody can look at its answer any more."""
        if self._news is not None and self._news[0] == conversation_id:
            self._news = None
            self._show_title()

    def come_to_front(self) -> None:
        """Shows the window over others, as far as the desktop allows."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def tell(self, text: str) -> None:
        """A sentence on the page that is looked at."""
        toast = getattr(self, self._page).toast if self._page in ("chat", "editor") else self.toast
        toast.show_text(text)

    def put_in_force(self, settings: Settings) -> None:
        """What a person chose, as far as all of the window shows it."""
        theme().apply(look_of(settings))
        keymap().set_custom(settings.shortcuts)
        keymap().set_sends_with_ctrl(settings.send_key == "ctrl+enter")
        self.notice.is_wanted = settings.tells_answers
        self.chat.composer.set_sends_with_ctrl(settings.send_key == "ctrl+enter")

    def make_shortcuts(self) -> ShortcutsDialog:
        """The list of shortcuts."""
        from bilin_app.pages.shortcuts import ShortcutsDialog

        return ShortcutsDialog(self)

    def show_shortcuts(self) -> None:
        """Opens the list of shortcuts."""
        dialog = self.make_shortcuts()
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def show_in_place(self, file: Path) -> None:
        """Shows the window as `keep_place` left it."""
        with contextlib.suppress(OSError):
            self.restore_state(file.read_bytes())
        self.show()

    def keep_place(self, file: Path) -> None:
        """Writes down where the window is."""
        try:
            file.write_bytes(self.save_state())
        except OSError as error:
            logger.info("the window's place is not kept: %s", error)

    def save_state(self) -> bytes:
        """The size and place, the page and the splitters, for the next start."""
        splitters = {name: bytes(one.saveState().data()) for name, one in self._splitters.items()}
        splitters |= self._kept_splitters
        page = self._kept_page or self._page
        return _join(
            page.encode(),
            bytes(self.saveGeometry().data()),
            *(splitters.get(name, b"") for name in SPLIT_PAGES),
        )

    def restore_state(self, state: bytes) -> None:
        """Takes up what `save_state` gave; what Qt does not understand is left as it is.

        The page waits for `take_up`, and the splitters of the others until these are built.
        """
        page, geometry, *splitters = _part(state)
        self.restoreGeometry(QByteArray(geometry))
        self._kept_page = "" if page == b"chat" else page.decode()
        for name, piece in zip(SPLIT_PAGES, splitters, strict=False):
            if name in self._splitters:
                self._splitters[name].restoreState(QByteArray(piece))
            elif piece:
                self._kept_splitters[name] = piece

    def _on_new(self) -> None:
        if self._page == "editor":
            self.editor.text.setFocus()  # a title that is being edited is kept, for its document
            self.editor.list.new_requested.emit()
            return
        self.show_page("chat")
        self.chat.list.new_requested.emit()

    def _on_stop(self) -> None:
        if self._page == "editor":
            self.editor.text.stop_requested.emit()
        elif self._page == "chat":
            self.chat.composer.stop_requested.emit()

    def _on_find(self) -> None:
        if self._page == "editor":
            self.editor.open_find()
            return
        self.show_page("chat")
        self.chat.open_find()

    def _on_search(self) -> None:
        if self._page == "editor":
            self.editor.list.focus_search()
            return
        self.show_page("chat")
        self.chat.list.focus_search()

    def _show_title(self) -> None:
        if self._news is not None and self._is_on_show(self._news[0]):
            self._news = None
        name = self.tr("Bilin")
        _id, about, state = self._news or (0, self._conversation_title, "")
        title = f"{about} · {name}" if about else name
        if self._news is not None:
            news = {
                "failed": self.tr("✗ Failed: {0}"),
                "interrupted": self.tr("✗ Broken off: {0}"),
            }.get(state, self.tr("✓ Answered: {0}"))
            title = news.format(title)
        self.setWindowTitle(title)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show_title()
        elif event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self._show_title()
            self.notice.take_back()
        super().changeEvent(event)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._first_paint.start()
        QTimer.singleShot(WARM_UP_MS, self, _warm_up)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        self.closing.emit()
        super().closeEvent(event)


def _join(*pieces: bytes) -> bytes:
    return b"".join(len(piece).to_bytes(4, "little") + piece for piece in pieces)


def _part(state: bytes) -> list[bytes]:
    """The pieces that were joined: a page's name, the geometry, the splitters of SPLIT_PAGES."""
    pieces, rest = [], state
    while rest:
        end = 4 + int.from_bytes(rest[:4], "little")
        pieces.append(rest[4:end])
        rest = rest[end:]
    if len(pieces) >= 2 and pieces[0] in [name.encode() for name in PAGES]:
        return pieces
    # The first form of all: the geometry and, with no length of its own, the chat's splitter.
    geometry = b"".join(pieces[:1])
    return [b"chat", geometry, state[4 + len(geometry) :]]


def _warm_up() -> None:
    from bilin_app.pages.chat.markdown import warm_up

    warm_up()


def first_window(app: QApplication, settings: Settings) -> MainWindow:
    """A window with the look, the language and the keys that a person chose; not shown yet."""
    start_theme(app, look_of(settings))
    window = MainWindow()
    window.put_in_force(settings)
    return window


def look_of(settings: Settings) -> Look:
    """How a person wants the window to look."""
    s = settings
    sizes = Sizes(s.ui_font_size, s.text_font_size, s.code_font_size)
    return Look(s.theme, s.language, sizes, Faces(s.ui_font, s.text_font, s.code_font))


class _FirstPaint(QObject):
    """Waits for a window's first picture. seen(): it was given to the system."""

    seen = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._is_seen = False

    def start(self) -> None:
        """Waits from now on, and no longer than PAINT_LIMIT_MS."""
        if not self._is_seen:
            self._window.installEventFilter(self)
            QTimer.singleShot(PAINT_LIMIT_MS, self, self._tell)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self._window.removeEventFilter(self)
            QTimer.singleShot(0, self, self._tell)  # all of it is painted before a timer runs
        return False

    def _tell(self) -> None:
        if not self._is_seen:
            self._is_seen = True
            self._window.removeEventFilter(self)
            self.seen.emit()
