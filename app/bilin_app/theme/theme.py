"""The look and the language in force, for the whole application, changed at run time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from PySide6.QtCore import (
    QT_TRANSLATE_NOOP,
    QLibraryInfo,
    QLocale,
    QObject,
    Qt,
    QTranslator,
    Signal,
)
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QStyleFactory

from bilin_app.theme.fonts import Faces, Language, Sizes, choose_faces, load_fonts, text_font
from bilin_app.theme.palette import PALETTES, Palette, Scheme
from bilin_app.theme.resources import ui_folder
from bilin_app.theme.style import qt_palette, style_sheet

SchemeChoice = Literal["system", "light", "dark"]
LanguageChoice = Literal["system", "zh", "en"]

# What Qt's own Chinese (6.8 to 6.11) leaves in English, of the dialogs that people meet here: our
# translation has it too, and is asked first.
QT_WORDS = (
    ("QFileDialog", QT_TRANSLATE_NOOP("QFileDialog", "&Look in:")),
    ("QFileDialog", QT_TRANSLATE_NOOP("QFileDialog", "Files of &type:")),
    ("QFileDialog", QT_TRANSLATE_NOOP("QFileDialog", "Computer")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "Folder")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "File")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "%1 File")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "Drive")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "Shortcut")),
    ("QAbstractFileIconProvider", QT_TRANSLATE_NOOP("QAbstractFileIconProvider", "Unknown")),
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a person chose."""

    scheme: SchemeChoice = "system"
    language: LanguageChoice = "system"
    sizes: Sizes = field(default_factory=Sizes)
    faces: Faces = field(default_factory=Faces)


class Theme(QObject):
    """Holds the palette, sizes and language; `changed` asks custom-painted widgets to repaint.

    Texts change through QEvent.LanguageChange, which Qt sends to every widget by itself.
    """

    changed = Signal()

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        self._app = app
        self._look = Look()
        self._in_force: tuple[Scheme, Language, Sizes, Faces] | None = None
        self._translators: list[QTranslator] = []
        self.scheme: Scheme = "light"
        self.language: Language = "en"
        load_fonts()
        app.setStyle(QStyleFactory.create("Fusion"))
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_scheme_changed)

    @property
    def look(self) -> Look:
        """What is chosen now."""
        return self._look

    @property
    def palette(self) -> Palette:
        """The colours in force."""
        return PALETTES[self.scheme]

    @property
    def sizes(self) -> Sizes:
        """The letter heights in force."""
        return self._look.sizes

    def apply(self, look: Look) -> None:
        """Puts a look in force, everywhere, at once."""
        scheme, language = _resolve_scheme(look.scheme), _resolve_language(look.language)
        now = (scheme, language, look.sizes, look.faces)
        self._look = look
        if now == self._in_force:
            return
        self._in_force = now
        self.scheme = scheme
        choose_faces(look.faces)
        self._set_language(language)
        self._app.setPalette(qt_palette(self.palette))
        self._app.setFont(text_font(self.language, look.sizes.ui))
        caret = ui_folder() / "icons" / f"caret-{self.scheme}.svg"
        # WORKAROUND: one sheet put in place of another makes Qt (6.8 to 6.11) style every object it
        # ever styled, and a widget that asked for its style while it was being destroyed is still
        # among them. Taking the sheet off first drops that list.
        self._app.setStyleSheet("")
        self._app.setStyleSheet(
            style_sheet(self.palette, look.sizes, self.language, caret.as_posix())
        )
        self.changed.emit()

    @contextmanager
    def building(self) -> Iterator[None]:
        """Takes the style sheet off while a window is built: each widget is then styled once.

        With the sheet on, every step of putting widgets together styles them again.
        """
        sheet = self._app.styleSheet()
        self._app.setStyleSheet("")
        try:
            yield
        finally:
            self._app.setStyleSheet(sheet)

    def _set_language(self, language: Language) -> None:
        for translator in self._translators:
            self._app.removeTranslator(translator)
        self._translators = []
        self.language = language
        QLocale.setDefault(
            QLocale(QLocale.Language.Chinese, QLocale.Country.China)
            if language == "zh"
            else QLocale(QLocale.Language.English, QLocale.Country.UnitedStates)
        )
        if language == "en":
            return
        folders = (
            (QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath), "qtbase_zh_CN"),
            (str(ui_folder() / "translations"), "bilin_zh_CN"),
        )
        for folder, name in folders:
            translator = QTranslator(self)
            if translator.load(name, folder):
                self._app.installTranslator(translator)
                self._translators.append(translator)

    def _on_system_scheme_changed(self) -> None:
        if self._look.scheme == "system":
            self.apply(self._look)


_theme: Theme | None = None


def start_theme(app: QApplication, look: Look) -> Theme:
    """Makes the application's theme and puts `look` in force. Once per QApplication."""
    global _theme
    if _theme is None or _theme.parent() is not app:
        _theme = Theme(app)
    _theme.apply(look)
    return _theme


def theme() -> Theme:
    """The theme in force. Raises RuntimeError before `start_theme`."""
    if _theme is None:
        raise RuntimeError("start_theme(app, look) has not been called yet")
    return _theme


def _resolve_scheme(choice: SchemeChoice) -> Scheme:
    if choice != "system":
        return choice
    dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
    return "dark" if dark else "light"


def _resolve_language(choice: LanguageChoice) -> Language:
    if choice != "system":
        return choice
    return "zh" if QLocale.system().language() == QLocale.Language.Chinese else "en"
