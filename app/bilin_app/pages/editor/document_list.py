"""The list of documents: search, a new one, and all of them by day."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMenu
from typing_extensions import override

from bilin_app.controllers.list_views import ListRow
from bilin_app.pages.chat.conversation_list import ConversationList


class DocumentList(ConversationList):
    """The conversations' list with a document's words; a row's id is the document's."""

    @override
    def make_list_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("New document")).triggered.connect(self.new_requested)
        return menu

    @override
    def make_menu(self, row: ListRow) -> QMenu:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        delete = menu.addAction(self.tr("Delete"))
        delete.triggered.connect(lambda: self.delete_requested.emit(row.id))
        return menu

    @override
    def _rename(self, row: ListRow) -> None:
        self.conversation_chosen.emit(row.id)

    @override
    def _retranslate(self) -> None:
        super()._retranslate()
        self.search.setPlaceholderText(self.tr("Search documents"))
        self.search.setAccessibleName(self.tr("Search documents"))
        self.new.set_texts(self.tr("New document"))
        self.view.setAccessibleName(self.tr("Documents"))
