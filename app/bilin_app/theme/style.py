"""The one style sheet and the one QPalette, made from a palette's tokens."""

from string import Template

from PySide6.QtGui import QPalette

from bilin_app.theme.fonts import Language, Sizes, code_families, families
from bilin_app.theme.palette import Palette

_SHEET = Template("""
* { font-family: $families; font-size: ${ui}px; color: $ink; }
QWidget { outline: none; }
QMainWindow, QDialog, #page { background: $paper; }
QToolTip { background: $surface; color: $ink; border: 1px solid $line; padding: 4px 8px; }

#rail { background: $paper; border-right: 1px solid $line; }
#sidebar { background: $paper; }
#header { background: $paper; border-bottom: 1px solid $line; }
#findBar { background: $paper; border-bottom: 1px solid $line; }
#headerTitle { font-size: ${title}px; font-weight: 700; }
QLineEdit#titleEdit { font-size: ${title}px; font-weight: 700; padding: 3px 6px; }

QLabel[role="muted"] { color: $muted; font-size: ${small}px; }
QLabel[role="danger"] { color: $danger; font-size: ${small}px; }
QLabel[role="section"] { font-weight: 700; }
QLabel[role="heading"] { font-size: ${heading}px; font-weight: 700; }
QLabel[role="greeting"] { font-size: ${greeting}px; font-weight: 700; }
QLabel[role="key"] { color: $muted; font-size: ${tiny}px; background: $paper;
    border: 1px solid $line; border-radius: 4px; padding: 1px 5px; }
QPushButton[role="key"] { color: $ink; font-size: ${tiny}px; background: $surface;
    border: 1px solid $line; border-radius: 5px; padding: 2px 8px; min-height: 16px; }
QPushButton[role="key"]:hover { background: $raised; }
QPushButton[role="key"]:focus { border: 2px solid $accent; padding: 1px 7px; }
QLabel[role="code"] { font-family: $code_families; font-size: ${code}px; }

QPushButton { background: $surface; border: 1px solid $line; border-radius: 8px;
    padding: 5px 14px; min-height: 18px; }
QPushButton:hover { background: $raised; }
QPushButton:pressed { background: $line; }
QPushButton:disabled { color: $muted; background: $paper; }
QPushButton:focus, QToolButton:focus { border: 2px solid $accent; padding: 4px 13px; }
QPushButton[role="primary"] { background: $accent; border-color: $accent; color: $on_accent;
    font-weight: 700; }
QPushButton[role="primary"]:hover { background: $accent_hover; border-color: $accent_hover; }
QPushButton[role="primary"]:focus { border: 2px solid $ink; }
QPushButton[role="primary"]:disabled { background: $paper; border-color: $line; color: $muted; }
QPushButton[role="link"], QToolButton[role="link"] { background: transparent; color: $accent;
    border: 1px solid transparent; border-radius: 8px; padding: 5px 9px; text-align: left; }
QPushButton[role="link"]:hover, QToolButton[role="link"]:hover { background: $raised; }
QPushButton[role="link"]:focus { border: 2px solid $accent; padding: 4px 8px; }
QPushButton[role="toggle"]:checked { background: $accent_soft; border-color: $accent;
    color: $accent; }
QPushButton[role="pill"] { background: $surface; border-radius: 12px; padding: 2px 12px;
    min-height: 18px; color: $muted; font-size: ${small}px; }
QPushButton[role="pill"]:hover { background: $raised; color: $ink; }
QPushButton[role="pill"]:focus { border: 2px solid $accent; padding: 1px 11px; }
QPushButton[role="card"] { background: $surface; border-radius: 8px; padding: 11px 14px;
    text-align: left; }
QPushButton[role="card"]:hover { border-color: $accent; background: $surface; }
QPushButton[role="card"]:focus { border: 2px solid $accent; padding: 10px 13px; }

QToolButton { background: transparent; border: 1px solid transparent; border-radius: 6px;
    padding: 3px 5px; color: $muted; font-size: ${small}px; }
QToolButton:hover { background: $raised; color: $ink; }
QToolButton:focus { border: 2px solid $accent; padding: 2px 4px; }
QToolButton::menu-indicator, QPushButton::menu-indicator { image: none; width: 0px; }

QLineEdit, QPlainTextEdit[role="field"], QSpinBox, QDoubleSpinBox, QComboBox {
    background: $surface; border: 1px solid $line; border-radius: 8px; padding: 5px 10px;
    selection-background-color: $accent; selection-color: $on_accent; min-height: 18px; }
QLineEdit:focus, QPlainTextEdit[role="field"]:focus, QSpinBox:focus, QDoubleSpinBox:focus,
QComboBox:focus { border: 2px solid $accent; padding: 4px 9px; }
QSpinBox, QDoubleSpinBox { padding-right: 4px; }
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button,
QDoubleSpinBox::down-button { width: 0px; border: none; }
QSpinBox QLineEdit, QDoubleSpinBox QLineEdit, QComboBox QLineEdit { border: none;
    padding: 0px 8px; min-height: 0px; background: transparent; }
QPlainTextEdit[role="field"] { min-height: 68px; }
QLineEdit, QPlainTextEdit { placeholder-text-color: $muted; }
QComboBox { combobox-popup: 0; }
QComboBox::drop-down { border: none; width: 24px; }
QComboBox::down-arrow { image: url("$caret"); width: 12px; height: 12px; }
QComboBox QAbstractItemView::item { min-height: 26px; }
QComboBox QAbstractItemView { background: $surface; border: 1px solid $line; padding: 4px;
    selection-background-color: $accent_soft; selection-color: $ink; outline: none; }

#composer { background: $surface; border: 1px solid $line; border-radius: 12px; }
#composer[focused="true"] { border: 1px solid $accent; }
#composerEdit { background: transparent; border: none; font-size: ${text}px;
    font-family: $text_families;
    selection-background-color: $accent; selection-color: $on_accent; }
#editorText { background: $paper; border: none; font-size: ${editor}px;
    font-family: $text_families;
    selection-background-color: $accent; selection-color: $on_accent; }
#blankPanel { background: $paper; border-left: 1px solid $line; }
#rulerBar { background: $paper; border-top: 1px solid $line; }
#panelScroll, #panelInner { background: transparent; border: none; }
#panelInner QCheckBox { spacing: 8px; color: $muted; font-size: ${small}px; }
QCheckBox::indicator { width: 14px; height: 14px; border: 1px solid $muted; border-radius: 4px;
    background: $surface; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; }
QCheckBox:focus { color: $ink; }
#chip { background: $surface; border: 1px solid $line; border-radius: 8px; }
QPushButton[role="chip"] { background: transparent; border: 1px solid transparent;
    border-radius: 6px; padding: 2px 6px; min-height: 18px; font-size: ${small}px; }
QPushButton[role="chip"]:hover { color: $accent; }
QPushButton[role="chip"]:focus { border: 2px solid $accent; padding: 1px 5px; }
#composer[dropping="true"] { border: 2px dashed $accent; }
#answerStart { background: $paper; }
#bubble { background: $raised; border-radius: 10px; }
#messageBody { background: transparent; border: none;
    selection-background-color: $accent; selection-color: $on_accent; }
#thought { background: transparent; border: none; color: $muted;
    selection-background-color: $accent; selection-color: $on_accent; }
#notice { background: $danger_soft; border: 1px solid $danger; border-radius: 8px; }
#notice QPushButton[role="link"] { color: $ink; }
#seam QLabel { color: $muted; font-size: ${small}px; }
#toast { background: $surface; border: 1px solid $line; border-radius: 8px; }
#latest { background: $surface; border: 1px solid $line; border-radius: 14px;
    padding: 4px 14px; color: $ink; font-size: ${small}px; }
#latest:hover { background: $raised; }
#latest:focus { border: 2px solid $accent; padding: 3px 13px; }
#popover { background: $surface; border: 1px solid $line; border-radius: 8px; }
#card { background: $surface; border: 1px solid $line; border-radius: 10px; }
#detail { background: $sunken; border: 1px solid $line; border-radius: 8px;
    font-family: $code_families; font-size: ${tiny}px; padding: 8px; }
#revisionList { background: $surface; border: 1px solid $line; border-radius: 8px; padding: 4px; }
#revisionList::item { padding: 7px 8px; border-radius: 6px; }
#revisionList::item:hover { background: $raised; }
#revisionList::item:selected { background: $accent_soft; color: $ink; }
#revisionList:focus { border: 2px solid $accent; padding: 3px; }
QDialog #editorText { background: $surface; border: 1px solid $line; border-radius: 8px; }
#trashList { background: $surface; border: 1px solid $line; border-radius: 8px; padding: 4px; }
#trashList::item { height: 30px; padding: 0px 6px; }
#trashList::item:hover { background: $raised; }
#trashList::item:selected { background: $accent_soft; color: $ink; }
#trashList:focus { border: 2px solid $accent; padding: 3px; }
QHeaderView::section { background: $surface; color: $muted; border: none; padding: 4px 6px;
    font-size: ${small}px; }
#transcript, #conversations, #settingsScroll, #settingsScroll > QWidget > QWidget {
    background: transparent; border: none; }

#transcript { border: 1px solid transparent; }
#transcript[ring="true"] { border: 1px solid $accent; }

QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }

QMenu { background: $surface; border: 1px solid $line; border-radius: 8px; padding: 4px; }
QMenu::item { padding: 6px 24px 6px 12px; border-radius: 6px; }
QMenu::item:selected { background: $raised; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $line; margin: 4px 8px; }
QMenu::icon { padding-left: 8px; }

QLabel[role="badge"] { background: $accent_soft; color: $accent; font-size: ${tiny}px;
    border-radius: 4px; padding: 1px 6px; }
QLabel[role="plainBadge"] { background: $raised; color: $ink; font-size: ${tiny}px;
    border-radius: 4px; padding: 1px 6px; }
QPushButton[role="suggestion"] { color: $accent; }
#flagCard { background: $surface; border: 1px solid $line; border-radius: 8px; }
#flagCard:hover { border-color: $accent; }
QPushButton[role="danger"] { color: $danger; }
#segments { background: $surface; border: 1px solid $line; border-radius: 8px; }
QPushButton[role="segment"] { background: transparent; border: 1px solid transparent;
    border-radius: 7px; color: $muted; padding: 4px 12px; }
QPushButton[role="segment"]:hover { color: $ink; }
QPushButton[role="segment"]:checked { background: $accent_soft; color: $accent; }
QPushButton[role="segment"]:focus { border: 2px solid $accent; padding: 3px 11px; }
QPushButton[role="segment"]:disabled { color: $muted; }
#dropHint { background: $accent_soft; border: 2px dashed $accent;
    color: $accent; font-size: ${heading}px; font-weight: 700; }
#queue { background: $paper; border-top: 1px solid $line; }
#catalogList { background: $surface; border: 1px solid $line; border-radius: 8px;
    padding: 3px; }
#modelScroll, #modelScroll > QWidget > QWidget, #modelList, #dialogScroll,
#dialogScroll > QWidget > QWidget { background: transparent; border: none; }
QProgressBar { background: $raised; border: none; border-radius: 3px; min-height: 6px;
    max-height: 6px; }
QProgressBar::chunk { background: $accent; border-radius: 3px; }
QSlider { min-height: 22px; }
QSlider::groove:horizontal { background: $raised; height: 6px; border-radius: 3px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 3px; }
QSlider::handle:horizontal { background: $surface; border: 2px solid $accent; width: 12px;
    height: 12px; margin: -5px 0; border-radius: 8px; }
QSlider::handle:horizontal:focus { background: $accent; }
QCheckBox { spacing: 8px; background: transparent; }
QCheckBox::indicator { width: 14px; height: 14px; border: 1px solid $muted; border-radius: 4px;
    background: $surface; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; image: url("$check"); }
QCheckBox::indicator:focus { border: 2px solid $accent; }
QRadioButton { spacing: 8px; background: transparent; }
QRadioButton::indicator { width: 14px; height: 14px; border: 1px solid $muted; border-radius: 8px;
    background: $surface; }
QRadioButton::indicator:checked { border: 5px solid $accent; width: 6px; height: 6px; }
QRadioButton::indicator:focus { border-color: $accent; }

QSplitter::handle { background: $line; }
QScrollBar:vertical { background: transparent; width: 12px; margin: 2px; }
QScrollBar::handle:vertical { background: $line; border-radius: 4px; min-height: 32px; }
QScrollBar::handle:vertical:hover { background: $muted; }
QScrollBar:horizontal { background: transparent; height: 12px; margin: 2px; }
QScrollBar::handle:horizontal { background: $line; border-radius: 4px; min-width: 32px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0px; height: 0px; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
""")


def style_sheet(palette: Palette, sizes: Sizes, language: Language, caret: str) -> str:
    """The sheet for the whole application. `caret`: the path of a combo box's arrow.

    The check mark of a box lies beside it, as `check-….svg`.
    """
    tokens = {name: getattr(palette, name) for name in palette.__dataclass_fields__}
    return _SHEET.substitute(
        tokens,
        ui=sizes.ui,
        text=sizes.text,
        code=sizes.code,
        small=sizes.small,
        tiny=sizes.tiny,
        title=sizes.ui + 2,
        editor=sizes.text + 2,
        heading=sizes.ui + 4,
        greeting=sizes.ui + 10,
        families=", ".join(f'"{family}"' for family in families(language)),
        text_families=", ".join(f'"{family}"' for family in families(language, "text")),
        code_families=", ".join(f'"{family}"' for family in code_families()),
        caret=caret,
        check=caret.replace("caret-", "check-"),
    )


def qt_palette(palette: Palette) -> QPalette:
    """The colours of what the style sheet does not name."""
    result = QPalette()
    role = QPalette.ColorRole
    for roles, token in (
        ((role.Window,), "paper"),
        ((role.Base, role.ToolTipBase, role.Button), "surface"),
        ((role.AlternateBase,), "raised"),
        ((role.WindowText, role.Text, role.ButtonText, role.ToolTipText), "ink"),
        ((role.PlaceholderText,), "muted"),
        ((role.Highlight, role.Link, role.LinkVisited, role.Accent), "accent"),
        ((role.HighlightedText,), "on_accent"),
        ((role.Mid, role.Midlight, role.Dark), "line"),
    ):
        for one in roles:
            result.setColor(one, palette.color(token))
    for one in (role.WindowText, role.Text, role.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, one, palette.color("muted"))
    return result
