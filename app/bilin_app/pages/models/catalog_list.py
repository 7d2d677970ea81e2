"""The catalog as a list: what each model is, and whether this machine holds it."""

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFocusEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.hub_views import CatalogRow
from bilin_app.pages.models import words
from bilin_app.pages.row_painting import draw_ground, draw_line
from bilin_app.theme.fonts import language_of, text_font
from bilin_app.theme.theme import theme

ROW_HEIGHT = 54
_ROW_ROLE = Qt.ItemDataRole.UserRole
_Index = QModelIndex | QPersistentModelIndex


class _Rows(QAbstractListModel):
    """One row a model."""

    def __init__(self, parent: "CatalogList") -> None:
        super().__init__(parent)
        self._list = parent
        self.rows: list[CatalogRow] = []

    def show_rows(self, rows: Sequence[CatalogRow]) -> None:
        """Replaces all rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    @override
    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self.rows)

    @override
    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row = self.rows[index.row()]
        if role == _ROW_ROLE:
            return row
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            verdict, _token = self._list.verdict(row)
            return f"{row.name}, {self._list.facts(row)}, {verdict}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._list.about(row)
        return None


class _RowDelegate(QStyledItemDelegate):
    """Paints name and verdict, facts below."""

    def __init__(self, parent: "CatalogList") -> None:
        super().__init__(parent)
        self._list = parent

    @override
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(100, ROW_HEIGHT)

    @override
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        row = index.data(_ROW_ROLE)
        assert isinstance(row, CatalogRow)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(option.rect).adjusted(1, 1, -1, -1)
        draw_ground(painter, option, box, chosen="accent_soft", radius=6)
        inner = box.adjusted(11, 6, -11, -6)
        half = inner.height() / 2
        upper = QRectF(inner.left(), inner.top(), inner.width(), half)
        lower = QRectF(inner.left(), inner.top() + half, inner.width(), half)
        verdict, token = self._list.verdict(row)
        sizes = theme().sizes
        small = text_font(theme().language, sizes.small + 1)
        width = draw_line(painter, verdict, upper, small, token, at_right=True)
        name_box = upper.adjusted(0, 0, -width - 12, 0)
        ink = "ink" if row.is_runnable else "muted"
        name_font = text_font(language_of(row.name), sizes.ui, bold=True)
        draw_line(painter, row.name, name_box, name_font, ink)
        draw_line(painter, self._list.facts(row), lower, small, "muted")
        painter.restore()


class CatalogList(QListView):
    """Says which model a person chose."""

    row_chosen = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("catalogList")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self._rows = _Rows(self)
        self.setModel(self._rows)
        self.setItemDelegate(_RowDelegate(self))
        self.setMouseTracking(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.selectionModel().currentChanged.connect(self._on_current_changed)
        theme().changed.connect(self.viewport().update)
        self._retranslate()

    def show_rows(self, rows: Sequence[CatalogRow]) -> None:
        """Shows the catalog."""
        self._rows.show_rows(rows)

    @property
    def rows(self) -> list[CatalogRow]:
        """What is on show."""
        return self._rows.rows

    def verdict(self, row: CatalogRow) -> tuple[str, str]:
        """Whether it runs here, in words, and their colour."""
        if not row.is_runnable:
            return self.tr("cannot run yet ({0})").format(row.family), "muted"
        if row.fit == "fits":
            return self.tr("fits: {0}").format(_gib(row.needed_bytes)), "accent"
        if row.fit == "short":
            text = self.tr("{1} lacks {0}")
            place = self._device(row.short_device)
            return text.format(_gib(row.short_bytes), place), "danger"
        return self.tr("its size is known once the hub is asked"), "muted"

    def facts(self, row: CatalogRow) -> str:
        """The line below a name."""
        languages = {"zh": self.tr("Chinese"), "en": self.tr("English")}
        parts = []
        if row.download_bytes:
            parts.append(words.parameters(row.num_parameters))
            sizes = self.tr("download {0}, INT4 {1}")
            download, packed = words.disk_size(row.download_bytes), words.disk_size(row.int4_bytes)
            parts.append(sizes.format(download, packed))
        parts.append(self.tr(", ").join(languages.get(code, code) for code in row.languages))
        if row.licence:
            parts.append(row.licence)
        return " · ".join(parts)

    def about(self, row: CatalogRow) -> str:
        """What the verdict is of."""
        lines = list(dict.fromkeys(row.repositories.values()))
        if row.context:
            text = self.tr("INT4 at {0} tokens needs {1}")
            lines.append(text.format(words.whole(row.context), _gib(row.needed_bytes)))
        return "\n".join(lines)

    def _device(self, name: str) -> str:
        if name == "cpu":
            return self.tr("main memory")
        return self.tr("GPU {0}").format(name.partition(":")[2])

    def _on_current_changed(self, index: QModelIndex) -> None:
        if index.isValid():
            self.row_chosen.emit(self._rows.rows[index.row()])

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        # Qt makes the first row current here; nobody chose it, and it would replace a typed name.
        has_current = self.currentIndex().isValid()
        selection = self.selectionModel()
        selection.blockSignals(True)
        super().focusInEvent(event)
        if not has_current:
            selection.clear()
        selection.blockSignals(False)
        self.viewport().update()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.setAccessibleName(self.tr("Catalog"))
        self.viewport().update()


def _gib(size_bytes: int) -> str:
    return f"{words.real(size_bytes / words.GIB, 1)} GiB"
