"""A formula's picture in the line of a text; until it is drawn, its source stands there."""

from dataclasses import dataclass

from PySide6.QtCore import QUrl
from PySide6.QtGui import (
    QFontMetricsF,
    QImage,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextImageFormat,
)

from bilin_app.pages.chat.formulas import PIXEL_RATIO, Formula, FormulaKey
from bilin_app.pages.chat.text_formats import FORMULA_PROPERTY, text_char_format
from bilin_app.text.document import to_units
from bilin_app.theme.fonts import families
from bilin_app.theme.theme import theme


@dataclass(frozen=True, slots=True)
class WaitingFormula:
    """A formula that shows as its source until it is drawn. start: where that source begins."""

    key: FormulaKey
    markup: str
    start: QTextCursor

    def draw(self, formula: Formula) -> None:
        """Puts the picture in place, unless the source is there no more."""
        cursor = QTextCursor(self.start)
        cursor.setKeepPositionOnInsert(False)
        length = len(to_units(self.markup))
        end = min(self.start.position() + length, cursor.document().characterCount() - 1)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        if cursor.selectedText() == self.markup.replace("\n", "\u2028"):
            insert_formula(cursor, formula, self.key, self.markup)


def insert_formula(cursor: QTextCursor, formula: Formula, key: FormulaKey, markup: str) -> None:
    """Puts a picture in the line, its baseline on that of the letters; replaces a selection."""
    base = cursor.charFormat() if not cursor.hasSelection() else text_char_format(markup)
    cursor.removeSelectedText()
    image = QTextImageFormat()
    image.setFontFamilies(base.fontFamilies() or families("en", "text"))
    image.setProperty(QTextFormat.Property.FontPixelSize, theme().sizes.text)
    # Qt centres the picture on half the height of an x; room is added on one side until that
    # point is where the formula's own baseline wants it.
    half_x = QFontMetricsF(image.font()).xHeight() / 2
    lift = formula.ascent - formula.descent - half_x
    top, bottom = max(0.0, -lift), max(0.0, lift)
    height = formula.ascent + formula.descent + top + bottom
    name = QUrl(f"formula:{abs(hash((key, round(top), round(bottom))))}")
    document = cursor.document()
    document.addResource(
        QTextDocument.ResourceType.ImageResource, name, _padded(formula.image, top, bottom)
    )
    image.setName(name.toString())
    image.setWidth(formula.width)
    image.setHeight(height)
    image.setVerticalAlignment(QTextCharFormat.VerticalAlignment.AlignMiddle)
    image.setProperty(FORMULA_PROPERTY, markup)
    image.setToolTip(markup)
    block_format = cursor.blockFormat()
    block_format.setLineHeight(
        theme().sizes.line_height, QTextBlockFormat.LineHeightTypes.MinimumHeight.value
    )
    cursor.setBlockFormat(block_format)
    cursor.insertImage(image)


def _padded(image: QImage, top: float, bottom: float) -> QImage:
    above, below = round(top * PIXEL_RATIO), round(bottom * PIXEL_RATIO)
    return image.copy(0, -above, image.width(), image.height() + above + below)
