"""Adding a model: what was found, what may be done with it, what that needs."""

import unicodedata

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.model_views import FolderView
from bilin_app.pages.controls import TextButton, label
from bilin_app.pages.dialog_size import DialogScroll, resize_within_screen
from bilin_app.pages.models import words
from bilin_app.pages.models.tokenizer import TokenizerRow

WIDTH = 520
MARGIN = 24
GROUPS = ("128", "64", "32", "row")
IN_PLACE = "in place"


class AddDialog(QDialog):
    """Asks what to do with a folder. convert_requested(path, name, group size, tokenizer file)."""

    convert_requested = Signal(str, str, str, str)
    import_requested = Signal(str, str)  # path, name
    in_place_requested = Signal(str)

    def __init__(self, parent: QWidget, folder: FolderView, group_size: str = "") -> None:
        super().__init__(parent)
        self._folder = folder
        self.setMinimumWidth(WIDTH)
        self.setMaximumWidth(WIDTH)
        self._heading = label(self, "heading")
        self._content = QWidget(self)
        self._path = label(self._content, "muted", wraps=True)
        self._found = label(self._content, wraps=True)
        self._problem = label(self._content, "danger", wraps=True)
        self._name_title = label(self._content, "muted")
        self.name = QLineEdit(self._content)
        self.name.setText(_folder_name(folder))
        self.name.textChanged.connect(lambda _text: self._show())
        self._choices_title = label(self._content, "section")
        self._choices = QButtonGroup(self)
        self._about: dict[str, QLabel] = {}
        self._values = self._choice_values()
        self.tokenizer = TokenizerRow(self._content)
        self._needs = label(self._content, "muted", wraps=True)
        self._cancel = TextButton("", self)
        self._cancel.clicked.connect(self.reject)
        self.go = TextButton("primary", self)
        self.go.clicked.connect(self._on_go)
        self._build(group_size)
        self._show()
        resize_within_screen(self, WIDTH, self.sizeHint().height())

    def _choice_values(self) -> tuple[str, ...]:
        folder = self._folder
        if folder.problem or folder.kind not in ("model", "reference", "hugging_face", "gguf"):
            return ()
        if folder.kind == "model":
            return ("", IN_PLACE)
        if folder.kind == "gguf":  # the engine's order: what loses least for this file is first
            return tuple(folder.needed_bytes)
        return tuple(size for size in ("", *GROUPS) if size in folder.needed_bytes)

    def _build(self, group_size: str) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(MARGIN, 20, MARGIN, 20)
        outer.setSpacing(10)
        outer.addWidget(self._heading)
        outer.addWidget(DialogScroll(self, self._content, WIDTH - 2 * MARGIN), 1)
        outer.addStretch()
        column = QVBoxLayout(self._content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        for widget in (self._path, self._found, self._problem):
            column.addWidget(widget)
        column.addSpacing(4)
        column.addWidget(self._choices_title)
        first = group_size if group_size in self._values else (*self._values, "")[0]
        for index, value in enumerate(self._values):
            button = QRadioButton(self._content)
            button.setChecked(value == first)
            self._choices.addButton(button, index)
            self._about[value] = label(self._content, "muted", wraps=True)
            self._about[value].setContentsMargins(24, 0, 0, 4)
            column.addWidget(button)
            column.addWidget(self._about[value])
        self._choices.idToggled.connect(lambda _index, _on: self._show())
        name = QHBoxLayout()
        name.setSpacing(12)
        name.addWidget(self._name_title)
        name.addWidget(self.name, 1)
        column.addLayout(name)
        column.addWidget(self.tokenizer)
        column.addWidget(self._needs)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self._cancel)
        row.addWidget(self.go)
        outer.addSpacing(6)
        outer.addLayout(row)
        self.go.setDefault(True)

    @property
    def value(self) -> str:
        """The chosen way: a group size, "" for as it is, or IN_PLACE."""
        index = self._choices.checkedId()
        return self._values[index] if index >= 0 else ""

    def _show(self) -> None:
        folder, value = self._folder, self.value
        self.setWindowTitle(self.tr("Add model"))
        self._heading.setText(folder.title)
        self._path.setText(folder.path)
        self._found.setText(self._found_words())
        self._problem.setText(folder.problem)
        self._problem.setVisible(bool(folder.problem))
        is_possible = bool(self._values)
        converts = is_possible and folder.kind != "model"
        self._choices_title.setVisible(is_possible)
        title = self.tr("Accuracy and size") if converts else self.tr("Where it shall lie")
        self._choices_title.setText(title)
        for index, choice in enumerate(self._values):
            name, about = self._choice_words(choice)
            self._choices.button(index).setText(name)
            self._choices.button(index).setAccessibleDescription(about)
            self._about[choice].setText(about)
        needs_name = is_possible and value != IN_PLACE
        self._name_title.setText(self.tr("Name"))
        self._name_title.setVisible(needs_name)
        self.name.setAccessibleName(self.tr("Name"))
        self.name.setVisible(needs_name)
        self.tokenizer.setVisible(is_possible and folder.lacks_tokenizer)
        self._needs.setText(self._need_words())
        self._needs.setVisible(needs_name)
        self._cancel.set_texts(self.tr("Cancel") if is_possible else self.tr("Close"))
        self.go.setVisible(is_possible)
        self.go.set_texts(self.tr("Convert") if converts else self.tr("Add"))
        has_name = bool(plain_name(self.name.text())) or not needs_name
        self.go.setEnabled(has_name and self._has_room())

    def _found_words(self) -> str:
        kinds = {
            "model": self.tr("A model of Bilin, {0}"),
            "reference": self.tr("A GLM-130B checkpoint (mp_rank files), {0}"),
            "hugging_face": self.tr("A Hugging Face model (safetensors), {0}"),
            "gguf": self.tr("A GGUF file, {0}"),
            "unknown": self.tr("Nothing that Bilin knows, {0}"),
        }
        return kinds[self._folder.kind].format(words.disk_size(self._folder.size_bytes))

    def _choice_words(self, value: str) -> tuple[str, str]:
        if self._folder.kind == "model":
            if value == IN_PLACE:
                return self.tr("Leave it where it is"), self.tr("Nothing is copied")
            return self.tr("Copy it into the models folder"), self.tr("Every file is verified")
        about = {
            "": (self.tr("As it is"), self.tr("Keeps the codes and scales it has")),
            "128": (
                self.tr("Groups of 128 weights, the usual"),
                self.tr("Close to the original, and small"),
            ),
            "64": (self.tr("Groups of 64 weights"), self.tr("A little closer to the original")),
            "32": (self.tr("Groups of 32 weights"), self.tr("The closest to the original")),
            "row": (
                self.tr("One group a row"),
                self.tr("The smallest; the recipe of GLM-130B's own paper"),
            ),
        }
        name, meaning = about[value]
        return name, f"{meaning} · {words.disk_size(self._folder.needed_bytes[value])}"

    def _has_room(self) -> bool:
        needed = self._folder.needed_bytes.get(self.value, 0)
        return self.value == IN_PLACE or needed <= self._folder.free_bytes

    def _need_words(self) -> str:
        folder = self._folder
        needed = words.disk_size(folder.needed_bytes.get(self.value, 0))
        free = words.disk_size(folder.free_bytes)
        if not self._has_room():
            return self.tr("Needs {0}, but only {1} are free.").format(needed, free)
        text = self.tr("Needs {0} of disk; {1} are free.").format(needed, free)
        if folder.kind != "model":
            if folder.rate_bytes_s > 0:
                minutes = folder.size_bytes / folder.rate_bytes_s / 60
                about = self.tr("It takes about {0} min, as measured on this machine.")
                text += " " + about.format(words.whole(max(1, minutes)))
            text += " " + self.tr("The original stays as it is.")
        return text

    def _on_go(self) -> None:
        name = plain_name(self.name.text())
        if self.value == IN_PLACE:
            self.in_place_requested.emit(self._folder.path)
        elif self._folder.kind == "model":
            self.import_requested.emit(self._folder.path, name)
        else:
            self.convert_requested.emit(self._folder.path, name, self.value, self.tokenizer.path)
        self.accept()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


def plain_name(text: str) -> str:
    """A folder's name, or "" for text that is none."""
    name = text.strip()
    is_plain = name and not name.startswith(".") and not any(c in name for c in '/\\:*?"<>|')
    return name if is_plain and _is_visible(name) and len(name.encode()) <= 200 else ""


def _folder_name(folder: FolderView) -> str:
    name = folder.title
    return name if folder.kind == "model" else f"{name}-int4"


def _is_visible(name: str) -> bool:
    """Whether nothing in a name moves a cursor; Chinese spaces are no more than spaces."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in name)
