"""Asks for files and folders: beside the last one. Models lie elsewhere than documents do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QStandardPaths

from bilin_app.text.titles import file_name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QWidget

_END = re.compile(r"\*(\.\w+)\)$")  # of a kind's name, as "Markdown (*.md)"

Sort = Literal["documents", "models"]

_last: dict[Sort, Path] = {}
_BEGINNINGS: dict[Sort, QStandardPaths.StandardLocation] = {
    "documents": QStandardPaths.StandardLocation.DocumentsLocation,
    "models": QStandardPaths.StandardLocation.DownloadLocation,
}


def last_folder(sort: Sort = "documents") -> Path:
    """The folder of the last one that was chosen, if it is still there; else the usual one."""
    last = _last.get(sort)
    # Path.is_dir and Path.exists raise where the disk fails, as a share whose server is gone.
    if last is not None and os.path.isdir(last):  # noqa: PTH112
        return last
    usual = Path(QStandardPaths.writableLocation(_BEGINNINGS[sort]))
    return usual if os.path.isdir(usual) else Path.home()  # noqa: PTH112


def _remembered(path: Path, sort: Sort = "documents") -> Path:
    _last[sort] = path.parent
    return path


def ask_open(parent: QWidget, title: str, kinds: str, *, sort: Sort = "documents") -> Path | None:
    """A file to open; None = none. kinds: as "Documents (*.txt *.md)"."""
    from PySide6.QtWidgets import QFileDialog  # the first picture does not wait for it

    name, _ = QFileDialog.getOpenFileName(parent, title, str(last_folder(sort)), kinds)
    return _remembered(Path(name), sort) if name else None


def ask_folder(parent: QWidget, title: str) -> Path | None:
    """A folder of models, or for them; None = none."""
    from PySide6.QtWidgets import QFileDialog

    name = QFileDialog.getExistingDirectory(parent, title, str(last_folder("models")))
    return _remembered(Path(name), "models") if name else None


def ask_open_many(parent: QWidget, title: str) -> list[Path]:
    """Files to open."""
    from PySide6.QtWidgets import QFileDialog

    names, _ = QFileDialog.getOpenFileNames(parent, title, str(last_folder()))
    return [_remembered(Path(name)) for name in names]


def ask_save(parent: QWidget, title: str, name: str, kinds: Sequence[str]) -> Path | None:
    """Where to write what is called `name`; None = nowhere. Asks before a file is replaced.

    kinds: each as "Markdown (*.md)"; the one that is chosen gives the file its end.
    """
    from PySide6.QtWidgets import QFileDialog

    ends = {kind: _END.search(kind)[1] for kind in kinds}  # type: ignore[index]
    kind = kinds[0]
    proposed = last_folder() / f"{file_name_of(name)}{ends[kind]}"
    while True:
        chosen, new_kind = QFileDialog.getSaveFileName(
            parent, title, str(proposed), ";;".join(kinds), kind
        )
        if not chosen:
            return None
        end = ends.get(new_kind, "")
        path = with_end(Path(chosen), end, tuple(ends.values()), is_new=new_kind != kind)
        if str(path) == chosen or not os.path.exists(path):  # noqa: PTH110
            return _remembered(path)
        proposed, kind = path, new_kind  # so that the dialog asks before it is replaced


def with_end(path: Path, end: str, known: Sequence[str], *, is_new: bool) -> Path:
    """A file's name as the kind chosen beside it wants it to end.

    A kind that was newly chosen has the say over a name of another kind; else the name has.
    """
    is_known = path.suffix.lower() in known
    if not end or path.suffix.lower() == end or (is_known and not is_new):
        return path
    return path.with_suffix(end) if is_known else path.with_name(path.name + end)
