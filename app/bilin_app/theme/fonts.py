"""The fonts: three families in the package, and which family leads in which language.

A person may put a family of the system before them, for the interface, for texts and for code.
"""

import logging
from dataclasses import dataclass
from typing import Literal

from PySide6.QtGui import QFont, QFontDatabase, QGuiApplication

from bilin_app.theme.resources import ui_folder

logger = logging.getLogger(__name__)

Language = Literal["zh", "en"]

# A Chinese family comes first for Chinese, so that no Japanese glyph shape appears. The package's
# own Noto Sans SC is before Noto Sans CJK: Qt thickens the CFF outlines of that one, on dark ground
# until it looks bold. English leads with a Latin family for its proportional quotes.
_CHINESE = ("PingFang SC", "Microsoft YaHei UI", "Noto Sans SC", "Noto Sans CJK SC")
_FAMILIES: dict[Language, tuple[str, ...]] = {"zh": _CHINESE, "en": ("Bilin Sans", *_CHINESE)}
_CODE_FAMILIES = ("JetBrains Mono", *_CHINESE)

# Noto Sans SC has one weight; Qt emboldens it from this weight on, and not from 600.
BOLD = QFont.Weight.Bold


@dataclass(frozen=True, slots=True)
class Sizes:
    """Letter heights in px: of the interface, of messages, of code."""

    ui: int = 14
    text: int = 14
    code: int = 13

    @property
    def small(self) -> int:
        """Secondary text."""
        return max(11, self.ui - 2)

    @property
    def tiny(self) -> int:
        """The rail's labels, keys."""
        return max(10, self.ui - 3)

    @property
    def line_height(self) -> float:
        """Distance of the lines of a message, px: 1.55 of the letters' height."""
        return round(self.text * 1.55)

    @property
    def code_line_height(self) -> float:
        """Distance of the lines of code, px."""
        return round(self.code * 1.54)


@dataclass(frozen=True, slots=True)
class Faces:
    """Families that a person chose: of the interface, of messages and documents, of code.

    "" = the one of the language.
    """

    ui: str = ""
    text: str = ""
    code: str = ""


_chosen = Faces()


def choose_faces(faces: Faces) -> None:
    """Puts families of a person's before ours; the theme does it with every look."""
    global _chosen
    _chosen = faces


def selectable_families(*, fixed_width: bool = False) -> list[str]:
    """The families a person can choose: those that write Latin or Chinese, in order."""
    systems = QFontDatabase.WritingSystem
    wanted = {systems.Latin, systems.SimplifiedChinese}
    return [
        family
        for family in QFontDatabase.families()
        if not QFontDatabase.isPrivateFamily(family)
        and (not fixed_width or QFontDatabase.isFixedPitch(family))
        and wanted & set(QFontDatabase.writingSystems(family))
    ]


def _with_chosen(face: str, families: tuple[str, ...]) -> list[str]:
    """The chosen family first, unless it would draw Chinese with Japanese or Korean shapes."""
    if not face:
        return list(families)
    systems = QFontDatabase.WritingSystem
    written = set(QFontDatabase.writingSystems(face))
    is_foreign = systems.SimplifiedChinese not in written and written & {
        systems.Japanese,
        systems.Korean,
        systems.TraditionalChinese,
    }
    rest = [family for family in families if family != face]
    return [*rest, face] if is_foreign else [face, *rest]


def load_fonts() -> None:
    """Makes the package's fonts known to Qt. Needs a QGuiApplication; may be called again."""
    app = QGuiApplication.instance()
    if app is None or app.property("bilin_fonts"):
        return
    app.setProperty("bilin_fonts", True)
    for path in sorted((ui_folder() / "fonts").glob("*.[to]tf")):
        if QFontDatabase.addApplicationFont(str(path)) < 0:
            logger.warning("the font %s cannot be read; text may show as boxes", path)


def families(language: Language, use: Literal["ui", "text"] = "ui") -> list[str]:
    """The families for text in a language, first choice first."""
    return _with_chosen(_chosen.ui if use == "ui" else _chosen.text, _FAMILIES[language])


def code_families() -> list[str]:
    """The families for code, first choice first."""
    return _with_chosen(_chosen.code, _CODE_FAMILIES)


def text_font(
    language: Language, pixel_size: int, *, bold: bool = False, use: Literal["ui", "text"] = "ui"
) -> QFont:
    """A font for text in a language: of the interface, or of messages and documents."""
    font = QFont()
    font.setFamilies(families(language, use))
    font.setPixelSize(pixel_size)
    if bold:
        font.setWeight(BOLD)
    return font


def code_font(pixel_size: int) -> QFont:
    """A font for code."""
    font = QFont()
    font.setFamilies(code_families())
    font.setPixelSize(pixel_size)
    font.setStyleHint(QFont.StyleHint.Monospace)
    return font


def language_of(text: str) -> Language:
    """The language whose families suit a text: Chinese as soon as it has a Han character."""
    return "zh" if any(_is_han(char) for char in text[:2000]) else "en"


def _is_han(char: str) -> bool:
    return "㐀" <= char <= "鿿" or "豈" <= char <= "﫿" or "\U00020000" <= char <= "\U0003ffff"
