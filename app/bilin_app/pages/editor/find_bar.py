"""Finding in the document on show."""

from typing_extensions import override

from bilin_app.pages.chat.find_bar import FindBar


class DocumentFindBar(FindBar):
    """The bar of the chat with a document's words."""

    @override
    def _place_text(self, is_found: bool) -> str:
        return self.tr("{0} of {1}") if is_found else self.tr("Not in this document")

    @override
    def _names(self) -> tuple[str, str, str]:
        return (
            self.tr("Find in this document"),
            self.tr("The place before (Shift+Enter)"),
            self.tr("The next place (Enter)"),
        )
