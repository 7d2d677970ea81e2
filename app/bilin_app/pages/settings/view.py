"""The settings: each takes effect at once. Data in, signals out."""

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.pages.controls import SPIN_MARGINS, TextButton, label
from bilin_app.storage.settings import Settings

COLUMN_WIDTH = 720
FIELD_WIDTH = 200
CHINESE, ENGLISH = "简体中文", "English"  # each in its own language


class _Row:
    """A name, a line that explains it, and a control."""

    def __init__(self, card: "_Card", control: QWidget) -> None:
        self.name = label(card)
        self.about = label(card, "muted", wraps=True)
        self.control = control
        texts = QVBoxLayout()
        texts.setSpacing(1)
        texts.addWidget(self.name)
        texts.addWidget(self.about)
        row = QHBoxLayout()
        row.setSpacing(24)
        row.addLayout(texts, 1)
        row.addWidget(control, 0, Qt.AlignmentFlag.AlignVCenter)
        card.column.addLayout(row)

    def set_texts(self, name: str, about: str) -> None:
        """The row's name and explanation ("" = none)."""
        self.name.setText(name)
        self.about.setText(about)
        self.about.setVisible(bool(about))
        self.control.setAccessibleName(name)
        self.control.setAccessibleDescription(about)


class _Card(QFrame):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(20, 16, 20, 16)
        self.column.setSpacing(16)


class SettingsView(QWidget):
    """Shows Settings; says `settings_changed` with all of them after each change."""

    settings_changed = Signal(object)
    data_folder_requested = Signal()
    shortcuts_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self._settings = Settings()
        self._is_showing = False
        self._heading = label(self, "heading")
        self._sections = [label(self, "section") for _ in range(4)]
        self._cards = [_Card(self) for _ in range(4)]
        look, writing, engine, about = self._cards
        self._language = self._combo(("system", "zh", "en"))
        self._theme = self._combo(("system", "light", "dark"))
        self._ui_size = self._size_box()
        self._code_size = self._size_box()
        self._send_key = self._combo(("enter", "ctrl+enter"))
        self._idle_unload = QSpinBox(self)
        self._idle_unload.setRange(0, 10_000)
        self._idle_unload.lineEdit().setTextMargins(*SPIN_MARGINS)
        self._idle_unload.setFixedWidth(FIELD_WIDTH)
        self._priority = self._combo(("low", "normal"))
        self._folder = TextButton("", self)
        self._keys = TextButton("", self)
        self._rows = {
            "language": _Row(look, self._language),
            "theme": _Row(look, self._theme),
            "ui_size": _Row(look, self._ui_size),
            "code_size": _Row(look, self._code_size),
            "send_key": _Row(writing, self._send_key),
            "keys": _Row(writing, self._keys),
            "idle_unload": _Row(engine, self._idle_unload),
            "priority": _Row(engine, self._priority),
            "folder": _Row(about, self._folder),
        }
        self._connect()
        self._build()
        self._retranslate()

    def _combo(self, values: tuple[str, ...]) -> QComboBox:
        box = QComboBox(self)
        for value in values:
            box.addItem("", value)
        box.setFixedWidth(FIELD_WIDTH)
        return box

    def _size_box(self) -> QSpinBox:
        box = QSpinBox(self)
        box.setRange(11, 24)
        box.setSuffix(" px")
        box.lineEdit().setTextMargins(*SPIN_MARGINS)
        box.setFixedWidth(FIELD_WIDTH)
        return box

    def _connect(self) -> None:
        def change(make: Callable[[], Settings]) -> Callable[[], None]:
            def act() -> None:
                if not self._is_showing:
                    self._settings = make()
                    self.settings_changed.emit(self._settings)

            return act

        s = self
        s._language.activated.connect(
            change(lambda: replace(s._settings, language=s._language.currentData()))
        )
        s._theme.activated.connect(
            change(lambda: replace(s._settings, theme=s._theme.currentData()))
        )
        s._send_key.activated.connect(
            change(lambda: replace(s._settings, send_key=s._send_key.currentData()))
        )
        s._ui_size.valueChanged.connect(
            change(lambda: replace(s._settings, ui_font_size=s._ui_size.value()))
        )
        s._code_size.valueChanged.connect(
            change(lambda: replace(s._settings, code_font_size=s._code_size.value()))
        )
        s._idle_unload.valueChanged.connect(
            change(lambda: replace(s._settings, idle_unload_min=s._idle_unload.value()))
        )
        s._priority.activated.connect(
            change(lambda: replace(s._settings, engine_priority=s._priority.currentData()))
        )
        self._folder.clicked.connect(self.data_folder_requested)
        self._keys.clicked.connect(self.shortcuts_requested)

    def _build(self) -> None:
        inner = QWidget(self)
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 28, 0, 28)
        column.setSpacing(8)
        column.addWidget(self._heading)
        for section, card in zip(self._sections, self._cards, strict=True):
            column.addSpacing(14)
            column.addWidget(section)
            column.addWidget(card)
        column.addStretch()
        inner.setMaximumWidth(COLUMN_WIDTH)
        content = QWidget(self)
        row = QHBoxLayout(content)
        row.setContentsMargins(24, 0, 24, 0)
        row.addStretch()
        row.addWidget(inner, 100)
        row.addStretch()
        scroll = QScrollArea(self)
        scroll.setObjectName("settingsScroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setWidget(content)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def show_settings(self, settings: Settings, data_folder: str) -> None:
        """Shows settings without saying that they changed."""
        self._settings = settings
        self._is_showing = True
        for box, value in (
            (self._language, settings.language),
            (self._theme, settings.theme),
            (self._send_key, settings.send_key),
            (self._priority, settings.engine_priority),
        ):
            box.setCurrentIndex(box.findData(value))
        self._ui_size.setValue(settings.ui_font_size)
        self._code_size.setValue(settings.code_font_size)
        self._idle_unload.setValue(settings.idle_unload_min)
        self._is_showing = False
        self._data_folder = data_folder
        self._retranslate()

    _data_folder = ""

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._heading.setText(self.tr("Settings"))
        names: tuple[str, ...] = (
            self.tr("Look"),
            self.tr("Writing"),
            self.tr("Engine"),
            self.tr("Your data"),
        )
        for section, name in zip(self._sections, names, strict=True):
            section.setText(name)
        system = self.tr("As the system")
        _name_items(self._language, (system, CHINESE, ENGLISH))
        _name_items(self._theme, (system, self.tr("Light"), self.tr("Dark")))
        _name_items(self._send_key, (self.tr("Enter"), self.tr("Ctrl+Enter")))
        rows = self._rows
        rows["language"].set_texts(self.tr("Language"), self.tr("Of the window, at once"))
        rows["theme"].set_texts(self.tr("Theme"), "")
        rows["ui_size"].set_texts(self.tr("Text size"), self.tr("Of the window and of messages"))
        rows["code_size"].set_texts(self.tr("Code size"), "")
        rows["send_key"].set_texts(
            self.tr("Send with"), self.tr("While an input method composes, no key sends")
        )
        rows["keys"].set_texts(self.tr("Keyboard shortcuts"), "")
        self._keys.set_texts(self.tr("Show"), self.tr("Show all keyboard shortcuts"))
        self._idle_unload.setSpecialValueText(self.tr("Never"))
        self._idle_unload.setSuffix(self.tr(" min"))
        rows["idle_unload"].set_texts(
            self.tr("Unload an idle model after"),
            self.tr("Frees its memory; the next message loads it again. From the next start on"),
        )
        _name_items(self._priority, (self.tr("Low"), self.tr("Normal")))
        rows["priority"].set_texts(
            self.tr("Priority"),
            self.tr("Low leaves the processor to other programs first. From the next start on"),
        )
        rows["folder"].set_texts(self.tr("Conversations"), self._data_folder)
        self._folder.set_texts(self.tr("Open folder"), self.tr("Open the folder with your data"))


def _name_items(box: QComboBox, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        box.setItemText(index, name)
