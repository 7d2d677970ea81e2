"""Below the library: models to plan for, the trash, and where all of it lies."""

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.model_views import LibraryView
from bilin_app.pages.controls import ElidedLabel, IconButton, TextButton
from bilin_app.pages.model_name import model_name
from bilin_app.pages.models import words

FOLDER_BUTTON_WIDTH = 28


class ListFooter(QWidget):
    """planned(model id): one that is not here is to be planned."""

    planned = Signal(str)
    trash_requested = Signal()
    folder_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._library = LibraryView()
        self.plan = TextButton("link", self, icon_name="cube")
        self._menu = QMenu(self)
        self.plan.clicked.connect(self._on_plan_clicked)
        self.trash = TextButton("link", self, icon_name="trash")
        self.trash.clicked.connect(self.trash_requested)
        self._path = ElidedLabel(self)
        self.folder = IconButton("folder", self)
        self.folder.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        self.folder.setFixedWidth(FOLDER_BUTTON_WIDTH)
        self.folder.clicked.connect(self.folder_requested)
        row = QHBoxLayout()
        row.setContentsMargins(2, 0, 0, 0)  # icon and text below those of the links
        row.setSpacing(0)
        row.addWidget(self.folder)
        row.addWidget(self._path, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for link in (self.plan, self.trash):
            line = QHBoxLayout()
            line.addWidget(link)
            line.addStretch()
            column.addLayout(line)
        column.addLayout(row)
        self._show()

    def show_library(self, library: LibraryView) -> None:
        """Shows what is beside the models."""
        self._library = library
        self._show()

    def _show(self) -> None:
        library = self._library
        self.plan.setVisible(bool(library.known))
        self.plan.set_texts(
            self.tr("Plan a model you do not have"),
            self.tr("See what it would need on this machine, or on one you may buy"),
        )
        size = sum(one.size_bytes for one in library.trash)
        self.trash.setVisible(bool(library.trash))
        self.trash.set_texts(self.tr("Trash: {0}").format(words.disk_size(size)))
        self.folder.set_texts("", self.tr("Where the models lie"))
        is_usable = library.is_there and library.is_readable
        role = "muted" if is_usable else "danger"
        if self._path.property("role") != role:
            self._path.setProperty("role", role)
            self._path.style().unpolish(self._path)
            self._path.style().polish(self._path)
        gone = self.tr("{0} is not there; is its disk connected?").format(library.folder)
        closed = self.tr("{0} cannot be read; you may not look into it.").format(library.folder)
        problem = closed if library.is_there else gone
        self._path.set_full_text(library.folder if is_usable else problem)

    def _on_plan_clicked(self) -> None:
        self._menu.clear()
        for model in self._library.known:
            text = f"{model_name(model)}   {words.parameters(model.num_parameters)}"
            action = self._menu.addAction(text)
            action.triggered.connect(lambda _on=False, id_=model.id: self.planned.emit(id_))
        self._menu.popup(self.plan.mapToGlobal(self.plan.rect().topLeft()))

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)
