"""The settings: each takes effect at once. Data in, signals out."""

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
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
from bilin_app.pages.wheel import leave_wheel_to_page
from bilin_app.storage.settings import Settings
from bilin_app.theme.fonts import selectable_families

COLUMN_WIDTH = 720
FIELD_WIDTH = 200
SIZE_WIDTH = 84
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

    def set_visible(self, is_visible: bool) -> None:
        """Shows or hides the row."""
        for widget in (self.name, self.control):
            widget.setVisible(is_visible)
        self.about.setVisible(is_visible and bool(self.about.text()))

    def set_texts(self, name: str, about: str) -> None:
        """The row's name and explanation ("" = none)."""
        self.name.setText(name)
        self.about.setText(about)
        self.about.setVisible(bool(about) and not self.name.isHidden())
        self.control.setAccessibleName(name)
        self.control.setAccessibleDescription(about)


class _FontField(QWidget):
    """A family, where the first means "of the language", and a size in px."""

    changed = Signal()

    def __init__(self, parent: QWidget, *, fixed_width: bool = False) -> None:
        super().__init__(parent)
        self._fixed_width = fixed_width
        self.family = QComboBox(self)
        self.family.addItem("", "")
        self.family.setFixedWidth(FIELD_WIDTH)
        self.family.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.size_px = QSpinBox(self)
        self.size_px.setRange(9, 32)
        self.size_px.setSuffix(" px")
        self.size_px.lineEdit().setTextMargins(*SPIN_MARGINS)
        self.size_px.setFixedWidth(SIZE_WIDTH)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self.family)
        row.addWidget(self.size_px)
        self.family.activated.connect(lambda _index: self.changed.emit())
        self.size_px.valueChanged.connect(lambda _size: self.changed.emit())

    def fill(self) -> None:
        """Offers the families of this system; asked when the page is first seen."""
        if self.family.count() < 3:
            chosen = self.face
            self.family.clear()
            self.family.addItem("", "")
            for family in selectable_families(fixed_width=self._fixed_width):
                self.family.addItem(family, family)
            self.show_font(chosen, self.size_px.value())

    @property
    def face(self) -> str:
        """The family; "" = of the language."""
        return self.family.currentData() or ""

    def show_font(self, face: str, size: int) -> None:
        """Shows a font; a family that this system lacks is shown, too."""
        index = self.family.findData(face)
        if index < 0:
            self.family.addItem(face, face)
            index = self.family.count() - 1
        self.family.setCurrentIndex(index)
        self.size_px.setValue(size)

    def set_texts(self, name: str, of_language: str, size: str) -> None:
        """What screen readers say, and the name of the first family."""
        self.family.setItemText(0, of_language)
        self.family.setAccessibleName(name)
        self.size_px.setAccessibleName(size)


class _Buttons(QWidget):
    """Buttons beside each other."""

    def __init__(self, parent: QWidget, *buttons: TextButton) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        for button in buttons:
            row.addWidget(button)


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
    move_requested = Signal()
    restart_requested = Signal()
    shortcuts_requested = Signal()
    menu_entry_requested = Signal(bool)  # to be there, or not
    report_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self._settings = Settings()
        self._is_showing = False
        self._heading = label(self, "heading")
        self._sections = [label(self, "section") for _ in range(5)]
        self._cards = [_Card(self) for _ in range(5)]
        look, writing, engine, data, app = self._cards
        self._language = self._combo(("system", "zh", "en"))
        self._theme = self._combo(("system", "light", "dark"))
        self._ui_font = _FontField(self)
        self._text_font = _FontField(self)
        self._code_font = _FontField(self, fixed_width=True)
        self._send_key = self._combo(("enter", "ctrl+enter"))
        self._keys = TextButton("", self)
        self._tells_answers = QCheckBox(self)
        self._idle_unload = QSpinBox(self)
        self._idle_unload.setRange(0, 10_000)
        self._idle_unload.lineEdit().setTextMargins(*SPIN_MARGINS)
        self._idle_unload.setFixedWidth(FIELD_WIDTH)
        self._priority = self._combo(("low", "normal"))
        self._folder = TextButton("", self)
        self._move = TextButton("", self)
        self._restart = TextButton("primary", self)
        self._menu_entry = TextButton("", self)
        self._report = TextButton("", self)
        self._has_menu_entry: bool | None = None
        self._rows = {
            "language": _Row(look, self._language),
            "theme": _Row(look, self._theme),
            "ui_font": _Row(look, self._ui_font),
            "text_font": _Row(look, self._text_font),
            "code_font": _Row(look, self._code_font),
            "send_key": _Row(writing, self._send_key),
            "keys": _Row(writing, self._keys),
            "tells_answers": _Row(writing, self._tells_answers),
            "idle_unload": _Row(engine, self._idle_unload),
            "priority": _Row(engine, self._priority),
            "folder": _Row(data, _Buttons(self, self._folder, self._move)),
            "restart": _Row(data, self._restart),
            "menu_entry": _Row(app, self._menu_entry),
            "report": _Row(app, self._report),
        }
        self._rows["restart"].set_visible(False)
        self._connect()
        self._build()
        leave_wheel_to_page(self)
        self._retranslate()

    def _combo(self, values: tuple[str, ...]) -> QComboBox:
        box = QComboBox(self)
        for value in values:
            box.addItem("", value)
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
        for name in ("ui", "text", "code"):
            field: _FontField = getattr(s, f"_{name}_font")
            field.changed.connect(change(lambda n=name, f=field: s._with_font(n, f)))
        s._tells_answers.toggled.connect(
            change(lambda: replace(s._settings, tells_answers=s._tells_answers.isChecked()))
        )
        s._idle_unload.valueChanged.connect(
            change(lambda: replace(s._settings, idle_unload_min=s._idle_unload.value()))
        )
        s._priority.activated.connect(
            change(lambda: replace(s._settings, engine_priority=s._priority.currentData()))
        )
        self._folder.clicked.connect(self.data_folder_requested)
        self._move.clicked.connect(self.move_requested)
        self._restart.clicked.connect(self.restart_requested)
        self._keys.clicked.connect(self.shortcuts_requested)
        self._menu_entry.clicked.connect(
            lambda: self.menu_entry_requested.emit(not self._has_menu_entry)
        )
        self._report.clicked.connect(self.report_requested)

    def _with_font(self, name: str, field: _FontField) -> Settings:
        changes = {f"{name}_font": field.face, f"{name}_font_size": field.size_px.value()}
        return replace(self._settings, **changes)

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
        self._scroll = scroll = QScrollArea(self)
        scroll.setObjectName("settingsScroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setWidget(content)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def show_settings(self, settings: Settings, data_folder: str, *, can_move: bool = True) -> None:
        """Shows settings without saying that they changed. can_move: the data folder."""
        self._settings = settings
        self._is_showing = True
        for box, value in (
            (self._language, settings.language),
            (self._theme, settings.theme),
            (self._send_key, settings.send_key),
            (self._priority, settings.engine_priority),
        ):
            box.setCurrentIndex(box.findData(value))
        self._ui_font.show_font(settings.ui_font, settings.ui_font_size)
        self._text_font.show_font(settings.text_font, settings.text_font_size)
        self._code_font.show_font(settings.code_font, settings.code_font_size)
        self._tells_answers.setChecked(settings.tells_answers)
        self._idle_unload.setValue(settings.idle_unload_min)
        self._is_showing = False
        self._data_folder = data_folder
        self._move.setVisible(can_move)
        self._rows["restart"].set_visible(self._needs_restart or bool(settings.move_from))
        self._retranslate()

    _data_folder = ""
    _needs_restart = False

    def show_restart(self) -> None:
        """The data folder is another one from the next start on: offers that start."""
        self._needs_restart = True
        self._rows["restart"].set_visible(True)
        self._retranslate()

    def scroll_to_end(self) -> None:
        """Shows the last of the settings."""
        content = self._scroll.widget()
        assert content is not None
        content.adjustSize()
        self._scroll.ensureWidgetVisible(self._report)

    def show_menu_entry(self, is_there: bool | None) -> None:
        """Whether the desktop's menu has Bilin; None: this system has no such menu."""
        self._has_menu_entry = is_there
        self._rows["menu_entry"].set_visible(is_there is not None)
        self._retranslate()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self._is_showing = True
        for field in (self._ui_font, self._text_font, self._code_font):
            field.fill()
        self._is_showing = False
        self._retranslate()
        super().showEvent(event)

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
            self.tr("This program"),
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
        rows["ui_font"].set_texts(self.tr("Window font"), "")
        rows["text_font"].set_texts(self.tr("Text font"), self.tr("Of messages and documents"))
        rows["code_font"].set_texts(self.tr("Code font"), "")
        suited = self.tr("Suited to the language")
        self._ui_font.set_texts(self.tr("Window font"), suited, self.tr("Size of the window font"))
        self._text_font.set_texts(self.tr("Text font"), suited, self.tr("Size of the text font"))
        self._code_font.set_texts(self.tr("Code font"), "JetBrains Mono", self.tr("Code size"))
        rows["send_key"].set_texts(
            self.tr("Send with"), self.tr("While an input method composes, no key sends")
        )
        rows["keys"].set_texts(self.tr("Keyboard shortcuts"), "")
        self._keys.set_texts(self.tr("Show and change"), self.tr("Show all keyboard shortcuts"))
        rows["tells_answers"].set_texts(
            self.tr("Tell me when a long answer ends"),
            self.tr("By a message of the desktop, if the window is not in front"),
        )
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
        rows["folder"].set_texts(self.tr("Conversations and models"), self._data_folder)
        self._folder.set_texts(self.tr("Open folder"), self.tr("Open the folder with your data"))
        self._move.set_texts(self.tr("Move …"), self.tr("Keep your data in another folder"))
        rows["restart"].set_texts(
            self.tr("The folder changes with a restart"),
            self.tr("From then on everything is in {0}").format(self._settings.data_dir),
        )
        self._restart.set_texts(self.tr("Restart now"))
        rows["menu_entry"].set_texts(
            self.tr("Applications menu"),
            self.tr("Bilin is in the menu, for your account only")
            if self._has_menu_entry
            else self.tr("Starts Bilin from the desktop, for your account only"),
        )
        self._menu_entry.set_texts(
            self.tr("Remove from the menu") if self._has_menu_entry else self.tr("Add to the menu")
        )
        rows["report"].set_texts(
            self.tr("Report for a question or a fault"),
            self.tr("Versions, devices and the last log lines; never what you write"),
        )
        self._report.set_texts(self.tr("Copy report"))


def _name_items(box: QComboBox, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        box.setItemText(index, name)
