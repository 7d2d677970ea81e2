"""Shows the exact prompt of an answer, its special tokens marked, with ids if wanted."""

from PySide6.QtCore import QLocale
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QCheckBox, QDialog, QHBoxLayout, QTextEdit, QVBoxLayout, QWidget

from bilin_app.controllers.prompt_inspection import PromptInspection
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dialog_size import resize_within_screen
from bilin_app.text.visible import visible
from bilin_app.theme.fonts import code_families
from bilin_app.theme.theme import theme

SIZE = (720, 560)
MAX_SHOWN_TOKENS = 20_000  # more would hold up the window; the count says how many there are


class PromptDialog(QDialog):
    """What the model saw, token by token."""

    def __init__(self, inspection: PromptInspection, parent: QWidget) -> None:
        super().__init__(parent)
        self._inspection = inspection
        self.setWindowTitle(self.tr("What the model saw"))
        resize_within_screen(self, *SIZE)
        heading = label(self, "heading")
        heading.setText(self.tr("What the model saw"))
        facts = label(self, "muted", wraps=True)
        facts.setText(self._facts())
        self._text = QTextEdit(self)
        self._text.setObjectName("detail")
        self._text.setReadOnly(True)
        self._text.setAccessibleName(self.tr("The exact prompt"))
        self.with_ids = QCheckBox(self.tr("Show token numbers"), self)
        self.with_ids.toggled.connect(self._show_tokens)
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        close.clicked.connect(self.accept)
        row = QHBoxLayout()
        row.addWidget(self.with_ids)
        row.addStretch()
        row.addWidget(close)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        column.addWidget(heading)
        column.addWidget(facts)
        column.addWidget(self._text, 1)
        column.addLayout(row)
        self._show_tokens()

    def _facts(self) -> str:
        shown, locale = self._inspection, QLocale()
        total, most = len(shown.tokens), shown.context_length
        parts = [
            self.tr("{0} of {1} tokens").format(locale.toString(total), locale.toString(most)),
            self.tr("temperature {0}").format(f"{shown.sampling.temperature:g}"),
            self.tr("top-p {0}").format(f"{shown.sampling.top_p:g}"),
        ]
        if shown.sampling.top_k:
            parts.append(self.tr("top-k {0}").format(shown.sampling.top_k))
        if shown.facts is not None:
            parts.append(self.tr("seed {0}").format(shown.facts.seed))
        if shown.prefix_len:
            seen = locale.toString(shown.prefix_len)
            parts.append(self.tr("the first {0} see each other").format(seen))
        return " · ".join(parts)

    def _show_tokens(self) -> None:
        colors, with_ids = theme().palette, self.with_ids.isChecked()
        plain, special, number = QTextCharFormat(), QTextCharFormat(), QTextCharFormat()
        for char_format in (plain, special, number):
            char_format.setFontFamilies(code_families())
            char_format.setProperty(QTextCharFormat.Property.FontPixelSize, theme().sizes.code)
        plain.setForeground(colors.color("ink"))
        special.setForeground(colors.color("accent"))
        special.setFontUnderline(True)  # not by colour alone
        number.setForeground(colors.color("muted"))
        self._text.clear()
        cursor = QTextCursor(self._text.document())
        cursor.beginEditBlock()
        for token in self._inspection.tokens[:MAX_SHOWN_TOKENS]:
            text = visible(token.text, keep="\n\t\u200d")
            cursor.insertText(text, special if token.is_special else plain)
            if with_ids:
                cursor.insertText(f" {token.token_id}  ", number)
        cursor.endEditBlock()
        self._text.moveCursor(QTextCursor.MoveOperation.Start)
