"""The library as a list: search, Add model, two lines a model; broken ones with their reason."""

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFontMetricsF, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from bilin_app.controllers.model_views import ModelRow
from bilin_app.pages.controls import ClearsByEscape, TextButton, label
from bilin_app.pages.model_name import model_name
from bilin_app.pages.models import words
from bilin_app.pages.models.footer import ListFooter
from bilin_app.pages.row_painting import draw_ground, draw_line
from bilin_app.theme.fonts import language_of, text_font
from bilin_app.theme.icons import paint_icon
from bilin_app.theme.theme import theme

ROW_HEIGHT = 70

_ROW_ROLE = Qt.ItemDataRole.UserRole
_Index = QModelIndex | QPersistentModelIndex


class _Models(QAbstractListModel):
    """One row a model."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[ModelRow] = []

    def show_rows(self, rows: list[ModelRow]) -> None:
        """Replaces all rows."""
        self.beginResetModel()
        self.rows = rows
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
            return ", ".join(text for text in (model_name(row.model), row.model.problem) if text)
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.model.problem or row.path
        return None


class _RowDelegate(QStyledItemDelegate):
    """Paints name, badge and facts."""

    def __init__(self, list_: "ModelList") -> None:
        super().__init__(list_.view)
        self._list = list_

    @override
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(100, ROW_HEIGHT)

    @override
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        row = index.data(_ROW_ROLE)
        assert isinstance(row, ModelRow)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(option.rect).adjusted(1, 3, -1, -3)
        draw_ground(painter, option, box, chosen="surface", border="line")
        inner = box.adjusted(13, 8, -12, -8)
        half = inner.height() / 2
        name_box = QRectF(inner.left(), inner.top(), inner.width(), half)
        self._paint_name(painter, row, name_box)
        small = text_font(theme().language, theme().sizes.small + 1)
        facts_box = QRectF(inner.left(), inner.top() + half, inner.width(), half)
        if row.model.problem:
            mark = QRectF(facts_box.left(), facts_box.center().y() - 7, 14, 14)
            paint_icon(painter, "warning-circle", mark, theme().palette.color("danger"))
            facts_box.setLeft(facts_box.left() + 20)
            draw_line(painter, self._list.problem(row), facts_box, small, "danger")
        else:
            draw_line(painter, self._list.facts(row), facts_box, small, "muted")
        painter.restore()

    def _paint_name(self, painter: QPainter, row: ModelRow, box: QRectF) -> None:
        name, badge = model_name(row.model), self._list.badge(row)
        colors, sizes = theme().palette, theme().sizes
        small = text_font(theme().language, sizes.tiny)
        badge_width = QFontMetricsF(small).horizontalAdvance(badge) + 12 if badge else 0
        font = text_font(language_of(name), sizes.ui + 1, bold=True)
        room = box.adjusted(0, 0, -badge_width - (12 if badge else 0), 0)
        width = draw_line(painter, name, room, font, "ink")
        if not badge:
            return
        left = box.left() + width + 12
        place = QRectF(left, box.center().y() - 9, badge_width, 18)
        painter.setPen(Qt.PenStyle.NoPen)
        is_good = row.is_verified or self._list.is_loaded(row)
        painter.setBrush(colors.color("accent_soft" if is_good else "raised"))
        painter.drawRoundedRect(place, 4, 4)
        painter.setFont(small)
        painter.setPen(colors.color("accent" if is_good else "muted"))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, badge)


class ModelList(QWidget):
    """Says which model a person chose, and that one is to be added."""

    model_chosen = Signal(str)
    add_requested = Signal()
    hub_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._rows: Sequence[ModelRow] = ()
        self._current = ""
        self._loaded = ""
        self.search = QLineEdit(self)
        self.search.setClearButtonEnabled(True)
        ClearsByEscape(self.search)
        self.search.textChanged.connect(lambda _text: self._show())
        self.add = TextButton("link", self, icon_name="plus")
        self.add.clicked.connect(self.add_requested)
        self.hub = TextButton("link", self, icon_name="download-simple")
        self.hub.clicked.connect(self.hub_requested)
        self.view = QListView(self)
        self._models = _Models(self)
        self._empty = label(self, "muted", wraps=True)
        self.hint = label(self, "muted", wraps=True)
        self.hint.setContentsMargins(10, 0, 10, 6)
        self.footer = ListFooter(self)
        self._build()
        theme().changed.connect(self.view.viewport().update)
        self._retranslate()

    def _build(self) -> None:
        self.view.setObjectName("modelList")
        self.view.setModel(self._models)
        self.view.setItemDelegate(_RowDelegate(self))
        self.view.setMouseTracking(True)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 14, 12, 8)
        column.setSpacing(6)
        column.addWidget(self.search)
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(self.add)
        row.addWidget(self.hub)
        row.addStretch()
        column.addLayout(row)
        column.addWidget(self._empty)
        column.addWidget(self.view, 1)
        column.addWidget(self.hint)
        column.addWidget(self.footer)

    def show_models(self, rows: Sequence[ModelRow], current: str, loaded: str) -> None:
        """Shows the library; `current` is chosen, `loaded` is in memory ("" = none)."""
        self._rows, self._current, self._loaded = rows, current, loaded
        self._show()

    def is_loaded(self, row: ModelRow) -> bool:
        """Whether a model is in memory."""
        return bool(self._loaded) and row.id == self._loaded

    def badge(self, row: ModelRow) -> str:
        """The word beside a name, "" for none."""
        if row.model.problem:
            return ""
        if self.is_loaded(row):
            return self.tr("loaded")
        if row.is_verified:
            return self.tr("verified")
        return "" if row.model.is_bundled else self.tr("not verified")  # it came with the program

    def problem(self, row: ModelRow) -> str:
        """Why a model cannot be used, in a few words where that is possible."""
        return self.tr("needs its tokenizer file") if row.lacks_tokenizer else row.model.problem

    def facts(self, row: ModelRow) -> str:
        """The line below a name."""
        model = row.model
        can = [
            *((self.tr("built in"),) if model.is_bundled else ()),
            *((self.tr("chat"),) if model.can_chat else ()),
            *((self.tr("blanks"),) if row.blanks else ()),
        ]
        precision = model.precision.partition(" ")[0].rstrip(",")
        what = [words.parameters(model.num_parameters), precision, words.disk_size(row.size_bytes)]
        return " · ".join(part for part in what if part) + "   " + " · ".join(can)

    def _show(self) -> None:
        query = self.search.text().strip().casefold()
        rows = [row for row in self._rows if query in _searchable(row)]
        selection = self.view.selectionModel()
        selection.blockSignals(True)
        self._models.show_rows(rows)
        for index, row in enumerate(rows):
            if row.id == self._current:
                flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
                selection.setCurrentIndex(self._models.index(index), flag)
        if self._current not in [row.id for row in rows]:
            selection.clear()
        selection.blockSignals(False)
        self.view.viewport().update()
        self._empty.setVisible(not rows)
        self.hint.setVisible(all(row.model.is_bundled for row in self._rows))

    def _on_current_changed(self, index: QModelIndex) -> None:
        if index.isValid():
            self._current = self._models.rows[index.row()].id
            self.model_chosen.emit(self._current)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._retranslate()
        super().changeEvent(event)

    def _retranslate(self) -> None:
        self.search.setPlaceholderText(self.tr("Search models"))
        self.search.setAccessibleName(self.tr("Search models"))
        self.add.set_texts(self.tr("Add model"))
        self.hub.set_texts(self.tr("From a hub"))
        self.view.setAccessibleName(self.tr("Models"))
        self._empty.setText(self.tr("No model has this name"))
        self.hint.setText(self.tr("Drop a model's folder or GGUF file here"))
        self._show()


def _searchable(row: ModelRow) -> str:
    model = row.model
    return f"{model.id} {model.name_zh} {model.name_en} {row.family} {row.path}".casefold()
