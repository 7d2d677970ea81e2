"""Getting a model from a hub: which one, from where, what that fetches; then into the work queue.

Nothing is asked of a network before the first click on the button.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.hub_views import (
    HUBS,
    CatalogRow,
    HubChoice,
    HubName,
    RepositoryView,
)
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dialog_size import DialogScroll, resize_within_screen
from bilin_app.pages.models import words
from bilin_app.pages.models.add import plain_name
from bilin_app.pages.models.catalog_list import CatalogList

WIDTH, HEIGHT = 680, 660
FILES_HEIGHT = 104
BELOW_STRETCH = 100  # the list above gets what is left
NAMES = {"hugging_face": "Hugging Face", "modelscope": "ModelScope"}
GROUPS = ("128", "64", "32", "row")


class HubDialog(QDialog):
    """list_requested(HubChoice, token); download_requested(RepositoryView, name, group size).

    token_forgotten(HubChoice): what is kept for its address is to go.
    """

    list_requested = Signal(object, str)
    token_forgotten = Signal(object)
    download_requested = Signal(object, str, str)
    cancelled = Signal()

    def __init__(self, parent: QWidget, first_hub: HubName, endpoint: str, proxy: str) -> None:
        """first_hub: the source to begin with. endpoint, proxy: as they were used last."""
        super().__init__(parent)
        self._view: RepositoryView | None = None
        self._is_asking = False
        self._refusal = ""
        self._has_forgotten = False  # the token of the address that the fields name
        self.setMinimumWidth(WIDTH)
        resize_within_screen(self, WIDTH, HEIGHT)
        self._heading = label(self, "heading")
        self._about = label(self, "muted", wraps=True)
        self.catalog = CatalogList(self)
        self.hub = QComboBox(self)
        self.hub.addItems([NAMES[hub] for hub in HUBS])
        self.hub.setCurrentIndex(HUBS.index(first_hub))
        self.repository = QLineEdit(self)
        self._below = QWidget(self)  # of the line that names the repository
        self.advanced = TextButton("link", self)
        self.advanced.setCheckable(True)
        self._more = QWidget(self._below)
        self.endpoint, self.proxy, self.token = (QLineEdit(self._more) for _ in range(3))
        self.endpoint.setText(endpoint)
        self.proxy.setText(proxy)
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self._token_about = label(self._more, "muted", wraps=True)
        self.forget_token = TextButton("link", self._more)
        self._found = label(self._below, wraps=True)
        self._files = QPlainTextEdit(self._below)
        self._files.setReadOnly(True)
        self._files.setProperty("role", "field")
        self._files.setFixedHeight(FILES_HEIGHT)
        self._problem = label(self._below, "danger", wraps=True)
        self._result = QWidget(self._below)
        self.gguf, self.group = QComboBox(self._result), QComboBox(self._result)
        self.name = QLineEdit(self._result)
        self._gguf_title, self._group_title, self._name_title = (
            label(self._result, "muted") for _ in range(3)
        )
        self._needs = label(self._below, "muted", wraps=True)
        self._cancel = TextButton("", self)
        self.go = TextButton("primary", self)
        self._build()
        self._connect()
        self._show()

    # --- What the controller says -----------------------------------------------------------------

    def show_catalog(self, rows: Sequence[CatalogRow]) -> None:
        """Shows the models that are known by name."""
        self.catalog.show_rows(rows)

    def show_repository(self, view: RepositoryView) -> None:
        """Shows what a download would fetch."""
        self._view, self._is_asking, self._refusal = view, False, ""
        if view.gguf_files and not view.choice.file:
            self.gguf.blockSignals(True)
            self.gguf.clear()
            self.gguf.addItem("")
            for file in view.gguf_files:
                text = f"{file.name}   {words.disk_size(file.size_bytes)}"
                self.gguf.addItem(text, file.name)
            self.gguf.blockSignals(False)
        self.group.clear()
        for size in GROUPS:
            if size in view.needed_bytes:
                self.group.addItem(size, size)
        if not view.choice.file:
            self.name.setText(view.choice.name.rpartition("/")[2])
        self._show()

    def show_refusal(self, reason: str) -> None:
        """Shows why there is no answer."""
        self._is_asking, self._refusal = False, reason
        self._show()

    # --- Widgets ----------------------------------------------------------------------------------

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(10)
        column.addWidget(self._heading)
        column.addWidget(self._about)
        column.addWidget(self.catalog, 1)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.hub)
        row.addWidget(self.repository, 1)
        row.addWidget(self.advanced)
        column.addLayout(row)
        more = QFormLayout(self._more)
        more.setContentsMargins(0, 0, 0, 0)
        more.setSpacing(8)
        self._titles = [label(self._more, "muted") for _ in range(3)]
        for title, field in zip(self._titles, (self.endpoint, self.proxy, self.token), strict=True):
            more.addRow(title, field)
        about = QHBoxLayout()
        about.addWidget(self._token_about, 1)
        about.addWidget(self.forget_token)
        more.addRow("", about)
        result = QHBoxLayout(self._result)
        result.setContentsMargins(0, 0, 0, 0)
        result.setSpacing(8)
        for title, field, stretch in (
            (self._gguf_title, self.gguf, 2),
            (self._group_title, self.group, 0),
            (self._name_title, self.name, 1),
        ):
            result.addWidget(title)
            result.addWidget(field, stretch)
        below = QVBoxLayout(self._below)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(column.spacing())
        for widget in (
            self._more,
            self._found,
            self._files,
            self._problem,
            self._result,
            self._needs,
        ):
            below.addWidget(widget)
        column.addWidget(DialogScroll(self, self._below), BELOW_STRETCH)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self._cancel)
        buttons.addWidget(self.go)
        column.addLayout(buttons)
        self.go.setDefault(True)
        self._more.hide()

    def _connect(self) -> None:
        self.catalog.row_chosen.connect(self._on_row_chosen)
        self.hub.currentIndexChanged.connect(self._on_hub_changed)
        self.repository.textChanged.connect(self._on_repository_changed)
        for field in (self.endpoint, self.proxy):
            field.textChanged.connect(lambda _text: self._forget())
        self.advanced.toggled.connect(self._more.setVisible)
        self.gguf.currentIndexChanged.connect(lambda _index: self._on_file_chosen())
        self.group.currentIndexChanged.connect(lambda _index: self._show())
        self.name.textChanged.connect(lambda _text: self._show())
        self.forget_token.clicked.connect(self._on_forget_token)
        self._cancel.clicked.connect(self.reject)
        self.go.clicked.connect(self._on_go)
        self.rejected.connect(self.cancelled)

    @property
    def choice(self) -> HubChoice:
        """What the fields ask for."""
        link = _parsed(self.repository.text())
        return HubChoice(
            hub=HUBS[self.hub.currentIndex()],
            name=link.name,
            endpoint=self.endpoint.text().strip() or link.mirror,
            proxy=self.proxy.text().strip(),
            revision=link.revision,
        )

    def _show(self) -> None:
        view = self._view
        self._retranslate()
        self._found.setText(self._found_words())
        self._found.setVisible(bool(self._found.text()))
        self._files.setVisible(view is not None and bool(view.files))
        problem = self._refusal or (view.problem if view else "")
        must_choose = view is not None and bool(view.gguf_files) and not view.files
        self._problem.setText(problem if self._refusal or not must_choose else "")
        self._problem.setVisible(bool(self._problem.text()))
        self._result.setVisible(view is not None and (not problem or must_choose))
        has_gguf = view is not None and bool(view.gguf_files) and self.gguf.count() > 0
        for widget in (self._gguf_title, self.gguf):
            widget.setVisible(has_gguf)
        has_groups = self.group.count() > 1
        for widget in (self._group_title, self.group):
            widget.setVisible(has_groups)
        can_name = view is not None and bool(view.files) and not problem
        for widget in (self._name_title, self.name):
            widget.setVisible(can_name)
        self._needs.setText(self._need_words() if can_name else "")
        self._needs.setVisible(bool(self._needs.text()))
        self._show_button(can_name)

    def _show_button(self, can_download: bool) -> None:
        if self._is_asking:
            self.go.set_texts(self.tr("Asking…"))
            self.go.setEnabled(False)
        elif can_download:
            self.go.set_texts(self.tr("Download"))
            self.go.setEnabled(bool(plain_name(self.name.text())) and self._has_room())
        else:
            source = NAMES[self.choice.hub]
            self.go.set_texts(self.tr("Ask {0}").format(source))
            self.go.setEnabled("/" in self.choice.name)

    def _found_words(self) -> str:
        view = self._view
        if view is None or not view.files:
            return ""
        largest_first = sorted(view.files, key=lambda f: -f.size_bytes)
        lines = [f"{f.name}   {words.disk_size(f.size_bytes)}" for f in largest_first]
        self._files.setPlainText("\n".join(lines))
        text = self.tr("Files: {0}; {1} from {2}.")
        where = ", ".join(view.hosts) or NAMES[view.choice.hub]
        found = text.format(len(view.files), words.disk_size(view.download_bytes), where)
        if view.choice.revision:
            found += " " + self.tr("Revision: {0}.").format(view.choice.revision)
        licence = view.licence or self.tr("the hub does not say")
        return found + " " + self.tr("Licence: {0}.").format(licence)

    @property
    def _extra_bytes(self) -> int:
        """What the model takes beside its download, until that is removed."""
        view = self._view
        if view is None or view.is_ready or not view.needed_bytes:
            return 0
        wanted = self.group.currentData() or ""
        return view.needed_bytes.get(wanted) or max(view.needed_bytes.values())

    def _has_room(self) -> bool:
        view = self._view
        return view is not None and view.download_bytes + self._extra_bytes <= view.free_bytes

    def _need_words(self) -> str:
        view = self._view
        assert view is not None
        needed = words.disk_size(view.download_bytes + self._extra_bytes)
        free = words.disk_size(view.free_bytes)
        if not self._has_room():
            return self.tr("Needs {0}, but only {1} are free.").format(needed, free)
        text = self.tr("Needs {0} of disk; {1} are free.").format(needed, free)
        if self._extra_bytes:
            after = self.tr("Converted to INT4 it takes {0}; the download is then removed.")
            if view.choice.file:  # a GGUF file: a bound
                after = self.tr(
                    "Converted to INT4 it takes up to {0}; the download is then removed."
                )
            text += " " + after.format(words.disk_size(self._extra_bytes))
        return text

    # --- From the widgets -------------------------------------------------------------------------

    def _on_row_chosen(self, row: CatalogRow) -> None:
        hub = HUBS[self.hub.currentIndex()]
        if hub not in row.repositories:
            hub = next(iter(row.repositories))
            self.hub.setCurrentIndex(HUBS.index(hub))
        self.repository.setText(row.repositories[hub])

    def _on_repository_changed(self, text: str) -> None:
        """A page's address names its hub itself."""
        link = _parsed(text)
        if link.hub:
            self.hub.setCurrentIndex(HUBS.index(link.hub))
        if link.mirror:
            self.token.clear()  # typed before, for another address
        self._forget()

    def _on_hub_changed(self, index: int) -> None:
        """The same model has another name at the other hub."""
        link = _parsed(self.repository.text())
        if link.hub != HUBS[index]:  # else it is the address that chose the hub
            name = link.name
            for row in self.catalog.rows:
                if name in row.repositories.values():
                    name = row.repositories.get(HUBS[index], name)
                    break
            self.repository.setText(name)
        self.endpoint.clear()
        self.token.clear()
        self._forget()

    def _on_file_chosen(self) -> None:
        file = self.gguf.currentData()
        if file and self._view is not None:
            self._ask(replace(self._view.choice, file=file))
            self.name.setText(file.removesuffix(".gguf"))

    def _on_go(self) -> None:
        view = self._view
        if self._is_asking:
            return
        if view is not None and view.files and not (view.problem or self._refusal):
            group_size = self.group.currentData() or ""
            self.download_requested.emit(view, plain_name(self.name.text()), group_size)
            self.accept()
        else:
            self._ask(replace(self.choice, file=self.gguf.currentData() or ""))

    def _ask(self, choice: HubChoice) -> None:
        self._is_asking, self._refusal, self._has_forgotten = True, "", False
        token = self.token.text().strip()
        self.token.clear()  # kept from here on for this address, and sent to no other
        self.list_requested.emit(choice, token)
        self._show()

    def _on_forget_token(self) -> None:
        self._has_forgotten = True
        self.token.clear()
        self.token_forgotten.emit(self.choice)
        self._show()

    def _forget(self) -> None:
        """The fields ask for something else than what is shown."""
        if self._is_asking:
            self.cancelled.emit()
        self._view, self._is_asking, self._refusal = None, False, ""
        self._has_forgotten = False
        self.gguf.clear()
        self._show()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        self.reject()
        super().closeEvent(event)

    def _retranslate(self) -> None:
        self.setWindowTitle(self.tr("From a hub"))
        self._heading.setText(self.tr("From a hub"))
        self._about.setText(
            self.tr("Choose a model, or name a repository. Nothing is asked before you click.")
        )
        self.hub.setAccessibleName(self.tr("Source"))
        self.repository.setPlaceholderText(self.tr("owner/name, or the address of its page"))
        self.repository.setAccessibleName(self.tr("Repository"))
        self.advanced.set_texts(self.tr("Advanced"))
        titles = (self.tr("Address"), self.tr("Proxy"), self.tr("Token"))
        fields = (self.endpoint, self.proxy, self.token)
        for title, field, text in zip(self._titles, fields, titles, strict=True):
            title.setText(text)
            field.setAccessibleName(text)
        self.endpoint.setPlaceholderText(
            self.tr("the hub's own; a mirror as https://hf-mirror.com")
        )
        self.proxy.setPlaceholderText(self.tr("the system's; another as http://host:port"))
        self.token.setPlaceholderText(self.tr("only for what is not public"))
        self._token_about.setText(
            self.tr("No token is kept for this address any more.")
            if self._has_forgotten
            else self.tr(
                "Kept in a file that only you can read; sent to this address and nowhere else."
            )
        )
        self.forget_token.set_texts(self.tr("Forget the kept token"))
        self.forget_token.setVisible(not self._has_forgotten)
        self._files.setAccessibleName(self.tr("Files"))
        self._gguf_title.setText(self.tr("File"))
        self.gguf.setAccessibleName(self.tr("File"))
        self._group_title.setText(self.tr("Weights per group"))
        self.group.setAccessibleName(self.tr("Weights per group"))
        row = self.group.findData("row")
        if row >= 0:
            self.group.setItemText(row, self.tr("a whole row"))
        self._name_title.setText(self.tr("Name"))
        self.name.setAccessibleName(self.tr("Name"))
        self._cancel.set_texts(self.tr("Cancel"))


@dataclass(frozen=True, slots=True)
class _Link:
    """What a page's address says. hub None: it is none, and `name` is the text as it is."""

    hub: HubName | None
    name: str
    mirror: str = ""
    revision: str = ""


def _parsed(text: str) -> _Link:
    scheme, _, rest = text.strip().partition("://")
    host, *parts = rest.split("?")[0].split("#")[0].split("/")
    host = host.removeprefix("www.")
    if scheme not in ("http", "https") or len(parts) < 2:
        return _Link(None, text.strip())
    if host.startswith("modelscope.") and parts[0] == "models" and len(parts) > 2:
        return _Link("modelscope", "/".join(parts[1:3]))
    if host not in ("huggingface.co", "hf.co", "hf-mirror.com"):
        return _Link(None, text.strip())
    revision = "".join(parts[3:4]) if parts[2:3] in (["tree"], ["blob"], ["resolve"]) else ""
    return _Link(
        "hugging_face",
        "/".join(parts[:2]),
        mirror=f"{scheme}://{host}" if host == "hf-mirror.com" else "",
        revision="" if revision == "main" else unquote(revision),
    )
