"""The main window: the rail, the pages, the shortcuts."""

from PySide6.QtCore import QByteArray, QCoreApplication, QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QIcon, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QWidget
from typing_extensions import override

from bilin_app.controllers.views import EngineView
from bilin_app.pages.chat.markdown import warm_up
from bilin_app.pages.chat.view import ChatView, Toast
from bilin_app.pages.desktop_notice import DesktopNotice
from bilin_app.pages.editor.view import EditorView
from bilin_app.pages.keymap import keymap
from bilin_app.pages.models.view import ModelsView
from bilin_app.pages.rail import Rail
from bilin_app.pages.settings.view import SettingsView
from bilin_app.pages.shortcuts import ShortcutsDialog
from bilin_app.theme.resources import ui_folder
from bilin_app.theme.theme import theme

FIRST_SIZE = (1200, 800)
SMALLEST_SIZE = (760, 520)
WARM_UP_MS = 300  # after the first paint


class MainWindow(QMainWindow):
    """Holds the pages. Knows no controller: a binding connects it."""

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
            self.editor = EditorView(self)
            self.models = ModelsView(self)
            self.settings = SettingsView(self)
            self._put_together()
        self._conversation_title = ""
        self._has_news = False
        self.notice = DesktopNotice(self)
        self.notice.clicked.connect(self.come_to_front)
        self.rail.page_requested.connect(self.show_page)
        self.rail.mend_requested.connect(self.mend_requested)
        self.rail.popover.report_requested.connect(self.report_requested)
        self.settings.report_requested.connect(self.report_requested)
        self.settings.shortcuts_requested.connect(self.show_shortcuts)
        self._bind_keys()
        self.show_page("chat")
        self._show_title()

    def _put_together(self) -> None:
        self._stack = QStackedWidget(self)
        self.toast = Toast(self._stack)
        self._pages: dict[str, QWidget] = {
            "chat": self.chat,
            "editor": self.editor,
            "models": self.models,
            "settings": self.settings,
        }
        for name, page in self._pages.items():
            self._stack.addWidget(page)
            self.rail.add_page(name)
        center = QWidget(self)
        row = QHBoxLayout(center)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.rail)
        row.addWidget(self._stack, 1)
        self.setCentralWidget(center)

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
        self._stack.setCurrentWidget(self._pages[name])
        self.rail.set_page(name)
        if name == "chat":
            self.chat.composer.edit.setFocus(Qt.FocusReason.OtherFocusReason)
        elif name == "editor":
            self.editor.text.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_engine(self, view: EngineView) -> None:
        """Shows the engine's state in the rail."""
        self.rail.show_engine(view)

    def show_conversation_title(self, title: str) -> None:
        """The window's title names the conversation."""
        self._conversation_title = title
        self._show_title()

    def tell_answer_ended(self, seconds: float = 0.0) -> None:
        """Marks the title if the window is not looked at; of a long answer the desktop may tell."""
        self._has_news = not self.isActiveWindow()
        self._show_title()
        self.notice.tell(self._conversation_title, self.tr("The answer is there."), seconds)

    def come_to_front(self) -> None:
        """Shows the window over others, as far as the desktop allows."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def tell(self, text: str) -> None:
        """A sentence on the page that is looked at."""
        page = self._stack.currentWidget()
        toasts = {self.chat: self.chat.toast, self.editor: self.editor.toast}
        toasts.get(page, self.toast).show_text(text)  # type: ignore[call-overload]

    def make_shortcuts(self) -> ShortcutsDialog:
        """The list of shortcuts."""
        return ShortcutsDialog(self)

    def show_shortcuts(self) -> None:
        """Opens the list of shortcuts."""
        dialog = self.make_shortcuts()
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def save_state(self) -> bytes:
        """The size, place and splitter, for the next start."""
        geometry = self.saveGeometry().data()
        splitter = self.chat.splitter.saveState().data()
        return len(geometry).to_bytes(4, "little") + geometry + splitter

    def restore_state(self, state: bytes) -> None:
        """Takes up what `save_state` gave; what Qt does not understand is left as it is."""
        length = int.from_bytes(state[:4], "little")
        self.restoreGeometry(QByteArray(state[4 : 4 + length]))
        self.chat.splitter.restoreState(QByteArray(state[4 + length :]))

    def _on_new(self) -> None:
        if self._stack.currentWidget() is self.editor:
            self.editor.list.new_requested.emit()
            return
        self.show_page("chat")
        self.chat.list.new_requested.emit()

    def _on_stop(self) -> None:
        if self._stack.currentWidget() is self.editor:
            self.editor.text.stop_requested.emit()
        else:
            self.chat.composer.stop_requested.emit()

    def _on_find(self) -> None:
        if self._stack.currentWidget() is self.editor:
            self.editor.open_find()
            return
        self.show_page("chat")
        self.chat.open_find()

    def _on_search(self) -> None:
        if self._stack.currentWidget() is self.editor:
            self.editor.list.focus_search()
            return
        self.show_page("chat")
        self.chat.list.focus_search()

    def _show_title(self) -> None:
        name = self.tr("Bilin")
        title = f"{self._conversation_title} · {name}" if self._conversation_title else name
        self.setWindowTitle(self.tr("✓ Answered: {0}").format(title) if self._has_news else title)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show_title()
        elif event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self._has_news = False
            self._show_title()
            self.notice.take_back()
        super().changeEvent(event)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        QTimer.singleShot(WARM_UP_MS, self, warm_up)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        self.closing.emit()
        super().closeEvent(event)
