"""The dialog that shows the exact prompt of a fill, mask tokens included."""

from html import escape

from PySide6.QtCore import QLocale, Qt
from PySide6.QtWidgets import QDialog, QTextEdit, QVBoxLayout, QWidget

from bilin_app.pages.controls import TextButton, label
from bilin_app.theme.theme import theme
from bilin_engine.protocol import PromptView


class InspectorDialog(QDialog):
    """Tokens one after the other, specials in the accent; the position of each as its tool tip."""

    def __init__(self, parent: QWidget, prompt: PromptView) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("What the model sees"))
        self.resize(640, 460)
        heading = label(self, "heading")
        heading.setText(self.tr("What the model sees"))
        about = label(self, "muted", wraps=True)
        about.setText(self._about(prompt))
        text = QTextEdit(self)
        text.setObjectName("detail")
        text.setReadOnly(True)
        text.setAccessibleName(self.tr("Prompt"))
        text.setHtml(_html(prompt))
        close = TextButton("", self)
        close.set_texts(self.tr("Close"))
        close.clicked.connect(self.accept)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(heading)
        column.addWidget(about)
        column.addWidget(text, 1)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)

    def _about(self, prompt: PromptView) -> str:
        locale = QLocale()
        count = self.tr("{0} of {1} tokens").format(
            locale.toString(len(prompt.tokens)), locale.toString(prompt.context_length)
        )
        if prompt.way == "instruction":
            way = self.tr("This model has no such mask token: it is asked in a chat.")
        elif prompt.way == "fim":
            way = self.tr(
                "By fill-in-the-middle tokens: the text before, the text after, the blank."
            )
        else:
            way = self.tr("By mask token: what stands before and after is seen at once.")
        return f"{count} · {way}"


def _html(prompt: PromptView) -> str:
    accent = theme().palette.accent
    parts = []
    for token in prompt.tokens:
        shown = escape(token.text).replace("\n", "⏎<br>")
        if token.is_special:
            shown = f'<b style="color:{accent}">{shown}</b>'
        parts.append(f'<span title="{token.token_id} · {token.position}">{shown}</span>')
    return " ".join(parts)
