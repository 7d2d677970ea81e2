import importlib.util
import json
from pathlib import Path

import pytest
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QFont, QGuiApplication, QImage, QPainter, QTextLayout
from PySide6.QtWidgets import QAbstractButton, QDialogButtonBox, QFileDialog, QLabel

from bilin_app.theme.fonts import code_font, language_of, text_font
from bilin_app.theme.icons import ICONS, icon, icon_font_path, paint_icon
from bilin_app.theme.input_method import choose_input_method
from bilin_app.theme.palette import DARK, LIGHT, TEXT_PAIRS, contrast
from bilin_app.theme.resources import ui_folder
from bilin_app.theme.theme import QT_WORDS, Look, start_theme

pytestmark = pytest.mark.gui

CHINESE = "比邻对话填空模型设置，。？！“”：；（）《》…—繁體龍臺爨鬱あア☐☑•◦①↓·"
ENGLISH = "The model’s “answer” — naïve, 22 °C, 4×, → ‹ 2/3 › …"


def missing_glyphs(text: str, font: QFont) -> list[str]:
    """The characters that would show as boxes."""
    missing = []
    for char in text:
        layout = QTextLayout(char, font)
        layout.beginLayout()
        layout.createLine()
        layout.endLayout()
        if any(0 in run.glyphIndexes() for run in layout.glyphRuns()):
            missing.append(char)
    return missing


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", TEXT_PAIRS, ids="-on-".join)
def test_text_has_contrast(palette, pair):
    text, ground = pair
    assert contrast(getattr(palette, text), getattr(palette, ground)) >= 4.5


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_the_designs_tokens_are_kept():
    assert (LIGHT.paper, LIGHT.ink, LIGHT.muted, LIGHT.accent) == (
        "#FAF9F6", "#1E1F24", "#64676F", "#1F7A6C",
    )  # fmt: skip
    assert (DARK.paper, DARK.ink, DARK.muted, DARK.accent) == (
        "#17181B", "#E8E6E1", "#9A9CA3", "#4FB3A1",
    )  # fmt: skip


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_character_is_a_box(qapp, language):
    start_theme(qapp, Look("light", language))
    assert missing_glyphs(CHINESE + ENGLISH, text_font(language, 14)) == []
    assert missing_glyphs("值 = compute(x)  # 注释", code_font(13)) == []


def test_a_missing_character_is_noticed(qapp):
    start_theme(qapp, Look("light", "zh"))
    assert missing_glyphs("𒀀", text_font("zh", 14)) == ["𒀀"]


def test_english_quotes_are_narrow_and_chinese_ones_wide(qapp):
    start_theme(qapp, Look("light", "en"))

    def width(language):
        layout = QTextLayout("’", text_font(language, 14))
        layout.beginLayout()
        line = layout.createLine()
        layout.endLayout()
        return line.naturalTextWidth()

    assert width("en") < 6
    assert width("zh") > 12


def test_chinese_text_in_any_share_is_chinese():
    assert language_of("Write 你好 in pinyin") == "zh"
    assert language_of("plain English") == "en"


def test_icon_code_points_are_those_of_the_font():
    charmap = json.loads(
        icon_font_path().with_name("phosphor-charmap-1.3.0.json").read_text(encoding="utf-8")
    )
    assert {name: int(charmap[name], 16) for name in ICONS} == ICONS


def test_every_icon_draws_something(qapp):
    start_theme(qapp, Look("light", "en"))
    for name in ICONS:
        image = QImage(20, 20, QImage.Format.Format_ARGB32_Premultiplied)
        image.fill(0)
        painter = QPainter(image)
        paint_icon(painter, name, QRectF(0, 0, 20, 20), QColor("black"))
        painter.end()
        assert any(image.pixelColor(x, y).alpha() for x in range(20) for y in range(20)), name


def test_an_unknown_icon_is_refused():
    with pytest.raises(KeyError, match="no-such"):
        icon("no-such", QColor("black"))


def test_qtawesome_is_not_imported_for_its_font():
    assert importlib.util.find_spec("qtawesome") is not None
    for path in Path(__file__).parents[2].joinpath("app").rglob("*.py"):
        assert "import qtawesome" not in path.read_text(encoding="utf-8"), path


def test_every_font_has_its_licence_beside_it():
    fonts = ui_folder() / "fonts"
    for path in fonts.glob("*.[to]tf"):
        licence = fonts / f"{path.stem.split('-')[0]}-OFL.txt"
        assert "SIL OPEN FONT LICENSE" in licence.read_text(encoding="utf-8"), path


def test_scheme_and_language_change_at_run_time(qapp):
    theme = start_theme(qapp, Look("light", "zh"))
    light = qapp.styleSheet()
    theme.apply(Look("dark", "en"))
    assert theme.scheme == "dark"
    assert theme.language == "en"
    assert qapp.styleSheet() != light
    assert QGuiApplication.palette().window().color() == QColor(DARK.paper)


def test_fcitx_becomes_ibus_where_its_plugin_is_missing():
    environ = {"QT_IM_MODULE": "fcitx"}
    assert choose_input_method(environ)
    assert environ == {"QT_IM_MODULE": "ibus"}
    environ = {"QT_IM_MODULE": "fcitx", "QT_IM_MODULES": "wayland;fcitx"}
    assert choose_input_method(environ)
    assert environ["QT_IM_MODULES"] == "wayland;ibus"  # the one that Qt reads, where it is set
    environ = {"QT_IM_MODULE": "fcitx", "QT_IM_MODULES": ""}
    assert choose_input_method(environ)
    assert environ["QT_IM_MODULE"] == "ibus"
    for other in (
        {"QT_IM_MODULE": "ibus"},
        {},
        {"QT_IM_MODULE": "fcitx", "QT_IM_MODULES": "wayland;fcitx;ibus"},
        {"QT_IM_MODULE": "fcitx", "QT_IM_MODULES": "wayland"},
    ):
        before = dict(other)
        assert not choose_input_method(other)
        assert other == before


def test_qts_own_dialogs_speak_chinese_throughout(qapp, qtbot):
    start_theme(qapp, Look("light", "zh"))
    dialog = QFileDialog(None, "选择", str(ui_folder()))
    dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
    qtbot.addWidget(dialog)
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton(0x7FFFFC00))
    qtbot.addWidget(buttons)
    texts = [w.text() for kind in (QLabel, QAbstractButton) for w in dialog.findChildren(kind)]
    texts += [w.toolTip() for w in dialog.findChildren(QAbstractButton)]
    texts += [button.text() for button in buttons.buttons()]
    texts += [qapp.translate(context, word) for context, word in QT_WORDS]
    told = [text for text in texts if text]
    assert len(told) > 30
    assert [text for text in told if language_of(text) != "zh"] == []
    start_theme(qapp, Look("light", "en"))
    assert qapp.translate("QFileDialog", "&Look in:") == "&Look in:"
