"""How text looks in the editor: by who wrote it, as an offer, as a paragraph."""

from PySide6.QtGui import QTextBlockFormat, QTextCharFormat

from bilin_app.controllers.editor_views import BlankView
from bilin_app.pages.editor.candidates import breaks_sentence
from bilin_app.text.document import Origin
from bilin_app.theme.theme import theme

LINE_HEIGHT_PERCENT = 138.0


def text_format(origin: Origin, *, shows_origins: bool) -> QTextCharFormat:
    """Of the document's own text: an underline tells what is not the person's."""
    result = QTextCharFormat()
    if shows_origins and origin != "mine":
        is_model = origin == "model"
        style = QTextCharFormat.UnderlineStyle
        result.setUnderlineStyle(style.DotLine if is_model else style.SingleUnderline)
        result.setUnderlineColor(theme().palette.color("model" if is_model else "accent"))
    return result


def offer_format(view: BlankView | None) -> QTextCharFormat:
    """Of an offer: another colour and a wave where it breaks what was asked."""
    colors = theme().palette
    result = QTextCharFormat()
    is_failing = (
        view is not None
        and 0 <= view.chosen < len(view.candidates)
        and bool(breaks_sentence(view.candidates[view.chosen], view.constraints))
    )
    result.setForeground(colors.color("danger" if is_failing else "model"))
    result.setBackground(colors.color("danger_soft" if is_failing else "model_soft"))
    if is_failing:
        result.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        result.setUnderlineColor(colors.color("danger"))
    return result


def flag_format() -> QTextCharFormat:
    """Of a word that the second reader finds unlikely."""
    result = QTextCharFormat()
    result.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
    result.setUnderlineColor(theme().palette.color("danger"))
    return result


def block_format() -> QTextBlockFormat:
    """Of every paragraph."""
    result = QTextBlockFormat()
    kind = QTextBlockFormat.LineHeightTypes.ProportionalHeight.value
    result.setLineHeight(LINE_HEIGHT_PERCENT, kind)
    return result
