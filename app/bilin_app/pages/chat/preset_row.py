"""Presets at the head of the sampling popover: choose, keep the values as one, rename, delete."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.views import Preset
from bilin_app.pages.controls import KeepsEscape, TextButton, label
from bilin_engine.protocol import Sampling


class PresetRow(QWidget):
    """Says what is wanted; the owner keeps the presets."""

    chosen = Signal(object)
    save_requested = Signal(str)
    rename_requested = Signal(str, str)
    delete_requested = Signal(str)
    height_changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._presets: Sequence[Preset] = ()
        self._current = ""  # the name of the preset that the values are
        self._renamed = ""  # being renamed; "" = a new one is being named
        self._label = label(self, "section")
        self.button = TextButton("", self)
        self.button.clicked.connect(self._open_menu)
        self.name = QLineEdit(self)
        self.name.setMaxLength(80)
        self.name.installEventFilter(self)
        KeepsEscape(self.name)
        self.name.returnPressed.connect(self._on_named)
        self._cancel = TextButton("", self)
        self._cancel.clicked.connect(self._end_naming)
        self.save = TextButton("primary", self)
        self.save.clicked.connect(self._on_named)
        self.name.textChanged.connect(lambda text: self.save.setEnabled(bool(text.strip())))
        first = QHBoxLayout()
        first.addWidget(self._label)
        first.addStretch()
        first.addWidget(self.button)
        self._naming = QWidget(self)
        second = QHBoxLayout(self._naming)
        second.setContentsMargins(0, 0, 0, 0)
        second.setSpacing(6)
        second.addWidget(self.name, 1)
        second.addWidget(self._cancel)
        second.addWidget(self.save)
        self._naming.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(first)
        column.addWidget(self._naming)
        self._retranslate()

    def show_presets(self, presets: Sequence[Preset]) -> None:
        """Shows what there is to choose."""
        self._presets = presets
        self._retranslate()

    def show_values(self, system_prompt: str, sampling: Sampling) -> None:
        """Marks the preset that these values are."""
        found = [
            preset.name
            for preset in self._presets
            if preset.system_prompt == system_prompt and preset.sampling == sampling
        ]
        self._current = found[0] if found else ""
        self._retranslate()

    def make_menu(self) -> QMenu:
        """What can be done with presets."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for preset in self._presets:
            action = menu.addAction(preset.name.replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(preset.name == self._current)
            action.triggered.connect(lambda _on, one=preset: self.chosen.emit(one))
        if self._presets:
            menu.addSeparator()
        save = menu.addAction(self.tr("Save these values as a preset …"))
        save.triggered.connect(lambda: self.start_naming(""))
        if self._current:
            name = self._current
            rename = menu.addAction(self.tr("Rename “{0}” …").format(name.replace("&", "&&")))
            rename.triggered.connect(lambda: self.start_naming(name))
            delete = menu.addAction(self.tr("Delete “{0}”").format(name.replace("&", "&&")))
            delete.triggered.connect(lambda: self.delete_requested.emit(name))
        return menu

    def start_naming(self, renamed: str) -> None:
        """Asks for a name: for the values ("" given), or another one for a preset."""
        self._renamed = renamed
        self.name.setText(renamed)
        self.save.setEnabled(bool(renamed))
        self._naming.show()
        self.name.setFocus()
        self.name.selectAll()
        self.height_changed.emit()

    def _on_named(self) -> None:
        name = self.name.text().strip()
        if not name:
            return
        if self._renamed:
            self.rename_requested.emit(self._renamed, name)
        else:
            self.save_requested.emit(name)
        self._end_naming()

    def _end_naming(self) -> None:
        self._naming.hide()
        self.button.setFocus()
        self.height_changed.emit()

    def _open_menu(self) -> None:
        self.make_menu().popup(self.button.mapToGlobal(self.button.rect().bottomLeft()))

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() == Qt.Key.Key_Escape
        ):
            self._end_naming()
            return True
        return super().eventFilter(watched, event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self._label.setText(self.tr("Preset"))
        shown = self._current or self.tr("none")
        metrics = self.button.fontMetrics()
        text = metrics.elidedText(shown, Qt.TextElideMode.ElideRight, 180)
        self.button.set_texts(f"{text}  ▾", self.tr("Preset: {0}").format(shown))
        self.name.setPlaceholderText(self.tr("Name of the preset"))
        self.name.setAccessibleName(self.tr("Name of the preset"))
        self._cancel.set_texts(self.tr("Cancel"))
        self.save.set_texts(self.tr("Save"))
