"""The text of a message: selectable, with code in frames that have a label and a copy button."""

import math
from bisect import bisect_left

from PySide6.QtCore import (
    QEvent,
    QMimeData,
    QPointF,
    QRectF,
    QSize,
    Qt,
    QUrl,
    Signal,
)
from PySide6.QtGui import (
    QClipboard,
    QContextMenuEvent,
    QFont,
    QFontMetricsF,
    QGuiApplication,
    QHelpEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCursor,
    QTextDocument,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QFrame,
    QMenu,
    QTextBrowser,
    QTextEdit,
    QToolButton,
    QToolTip,
    QWidget,
)
from typing_extensions import override

from bilin_app.pages.chat.document import Fence, MessageDocument
from bilin_app.pages.chat.selecting import Selecting, TextOnDemand
from bilin_app.pages.chat.text_formats import (
    CODE_HEADER,
    CODE_PADDING,
    CODE_PROPERTY,
    FORMULA_PROPERTY,
    GOES_ON_PROPERTY,
    LIST_INDENT,
    MARKER_PROPERTY,
    QUOTE_INDENT,
    QUOTE_PROPERTY,
    RULE_PROPERTY,
)
from bilin_app.text.document import from_units, to_units
from bilin_app.theme.fonts import text_font
from bilin_app.theme.theme import theme

CARET_WIDTH = 7
MAX_MARKS = 200
MARKER_GAP, NARROW_MARKER_GAP = 8, 3  # between an item's mark and its text


def plain_text(document: QTextDocument, start: int, end: int) -> str:
    """The letters from start to end as they read: a row of a table on a line, cells by tabs.

    A list's marks are written out, and a formula is its source again.
    """
    lines: list[str] = []
    row = None  # the table and row of the last line
    block = document.findBlock(start)
    while block.isValid() and block.position() < end:
        line: list[str] = []
        fragments = block.begin()
        while not fragments.atEnd():
            fragment = fragments.fragment()
            first = max(start, fragment.position()) - fragment.position()
            last = min(end, fragment.position() + fragment.length()) - fragment.position()
            if first < last:
                source = fragment.charFormat().property(FORMULA_PROPERTY)
                shown = from_units(to_units(fragment.text())[first:last])  # Qt counts UTF-16 units
                line.append(str(source) if source else shown)
            fragments += 1
        text = "".join(line).replace("\u2028", "\n")
        table = QTextCursor(block).currentTable()
        if table is not None:
            here = (table.firstPosition(), table.cellAt(block.position()).row())
            if here == row:
                lines[-1] += f"\t{text}"
            else:
                lines.append(text)
            row = here
        else:
            row = None
            if lines and block.blockFormat().hasProperty(GOES_ON_PROPERTY):
                lines[-1] += text
            else:
                lines.append(_mark_of(block, start) + text)
        block = block.next()
    return "\n".join(lines)


def _mark_of(block: QTextBlock, start: int) -> str:
    """A list item's mark, if its beginning is wanted."""
    block_format = block.blockFormat()
    marker = block_format.property(MARKER_PROPERTY)
    if not marker or block.position() < start:
        return ""
    depth = max(1, round(block_format.leftMargin() / LIST_INDENT))
    return f"{'  ' * (depth - 1)}{marker} "


def marker_font(marker: str, indent: float) -> tuple[QFont, float]:
    """How an item's mark is written left of an item with this indent, px; where the mark ends.

    Numbers of two figures stand nearer to their text, longer ones are smaller.
    """
    font = text_font("en", theme().sizes.text, use="text")
    width = QFontMetricsF(font).horizontalAdvance(marker)
    gap = MARKER_GAP if width <= indent - MARKER_GAP else NARROW_MARKER_GAP
    room = indent - gap
    if width > room:
        font.setPixelSize(max(1, int(font.pixelSize() * room / width)))
    return font, room


class MessageBody(QTextBrowser):
    """Shows a MessageDocument as high as its text. Opens no link: it says `link_clicked`."""

    link_clicked = Signal(str)
    height_changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("messageBody")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setOpenLinks(False)
        self.setTabChangesFocus(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextBrowserInteraction
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        # A click takes the focus from no field: an input method would miss the first key there.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.viewport().setAutoFillBackground(False)
        self.content = MessageDocument(self)
        self.setDocument(self.content.qt)
        self.content.formula_drawn.connect(self._on_formula_drawn)
        self.is_streaming = False
        self.selecting: Selecting | None = None
        self._is_letting_go = False  # of the mouse
        self._is_extending = False
        self._width = -1.0
        self._copy_buttons: list[QToolButton] = []
        self._num_placed = 0  # of them
        self._seam_texts: list[str] = []
        self.anchorClicked.connect(lambda url: self.link_clicked.emit(url.toString()))

    def set_text(
        self, text: str, *, is_complete: bool, seams: tuple[tuple[int, str], ...] = ()
    ) -> None:
        """Shows Markdown, from the start. seams: an offset and what is to be told of it."""
        self._seam_texts = [about for _offset, about in seams]
        places = tuple(offset for offset, _about in seams)
        self.content.set_text(text, is_complete=is_complete, places=places)
        self._place_copy_buttons()

    def set_plain_text(self, text: str) -> None:
        """Shows text without Markdown."""
        self.content.set_plain_text(text)
        self._place_copy_buttons()

    def append(self, text: str) -> None:
        """Adds Markdown at the end."""
        self.content.append(text)
        self._place_new_copy_buttons()

    def finish(self) -> None:
        """Closes the open tail."""
        self.content.finish()
        self._place_copy_buttons()  # all may be written again

    def _on_formula_drawn(self) -> None:
        if self.selecting is not None:
            self.selecting.moved(self)
        self._place_copy_buttons()
        self.height_changed.emit()

    @override
    def createMimeDataFromSelection(self) -> QMimeData:
        """The selected text as it was written: a formula's picture is its source again."""
        cursor = self.textCursor()
        start, end = cursor.selectionStart(), cursor.selectionEnd()
        wide = self._wide
        if wide is not None and self._is_letting_go:
            return TextOnDemand(wide.snapshot())
        data = QMimeData()
        data.setText(plain_text(self.document(), start, end) if wide is None else wide.text())
        return data

    @property
    def _wide(self) -> Selecting | None:
        """The selection, if it reaches over several messages."""
        return self.selecting if self.selecting is not None and self.selecting.is_wide else None

    def _copy(self) -> None:
        wide = self._wide
        if wide is not None:  # this body's own part may be empty
            wide.copy()
        else:
            self.copy()

    def _select_all(self) -> None:
        self.selectAll()
        if self.selecting is not None:
            self.selecting.took(self)

    def mark(self, query: str) -> None:
        """Marks where a text occurs, up to MAX_MARKS places; "" marks nothing."""
        selections = []
        cursor = QTextCursor(self.document())
        while query and len(selections) < MAX_MARKS:
            cursor = self.document().find(query, cursor)
            if cursor.isNull():
                break
            selection = QTextEdit.ExtraSelection()
            selection.cursor = cursor  # pyright: ignore[reportAttributeAccessIssue]
            colors = theme().palette
            selection.format.setBackground(colors.color("accent"))  # pyright: ignore[reportAttributeAccessIssue]
            selection.format.setForeground(colors.color("on_accent"))  # pyright: ignore[reportAttributeAccessIssue]
            selections.append(selection)
        self.setExtraSelections(selections)

    def height_for(self, width: float) -> int:
        """The text's height at a width, px. Lays out again only if the width is another."""
        if width != self._width:
            self._width = width
            self.document().setTextWidth(width)  # relays out even for the same width
        if not self.content.text:
            return math.ceil(theme().sizes.line_height)
        height = math.ceil(self.document().size().height())
        # Qt leaves out the last block's lower margin, and with it the frame's lower edge.
        ends_in_code = self.document().lastBlock().blockFormat().hasProperty(CODE_PROPERTY)
        return height + (CODE_PADDING + 1 if ends_in_code else 0)

    def invalidate_width(self) -> None:
        """Makes the next `height_for` lay out again: the letters have changed."""
        self._width = -1.0

    def ideal_width(self) -> int:
        """The width of the longest line, px."""
        return math.ceil(self.document().idealWidth()) + 1

    # --- Painting ---------------------------------------------------------------------------------

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        clip = QRectF(event.rect())
        for fence, frame in self._frames_within(clip):
            self._paint_frame(painter, fence.language, frame, clip)
        self._paint_marks(painter, clip)
        painter.end()
        super().paintEvent(event)
        self._paint_seams()
        if self.is_streaming:
            self._paint_caret()

    def code_frames(self) -> list[QRectF]:
        """The frames of the code blocks, in the document's coordinates."""
        return [self._frame_of(fence) for fence in self.content.fences]

    def _frames_within(self, clip: QRectF) -> list[tuple[Fence, QRectF]]:
        """The code blocks that a part of the message touches, without a look at all the others."""
        fences = self.content.fences
        result = []
        at = bisect_left(fences, clip.top(), key=lambda fence: self._frame_of(fence).bottom())
        for fence in fences[at:]:
            frame = self._frame_of(fence)
            if frame.top() > clip.bottom():
                break
            result.append((fence, frame))
        return result

    def _frame_of(self, fence: Fence) -> QRectF:
        first, last = fence.first, fence.last
        layout = self.document().documentLayout()
        line = theme().sizes.code_line_height
        top = layout.blockBoundingRect(first).top() - CODE_HEADER - CODE_PADDING
        num_lines = max(1, last.layout().lineCount())
        bottom = layout.blockBoundingRect(last).top() + num_lines * line + CODE_PADDING
        return QRectF(0.5, top + 0.5, self.viewport().width() - 1.0, bottom - top - 1.0)

    def _paint_frame(self, painter: QPainter, language: str, frame: QRectF, clip: QRectF) -> None:
        colors = theme().palette
        painter.setPen(QPen(colors.color("line"), 1))
        painter.setBrush(colors.color("sunken"))
        # A long block's frame is painted as far as it is in view, its corners out of it.
        margin = CODE_HEADER
        painter.drawRoundedRect(frame & clip.adjusted(-margin, -margin, margin, margin), 8, 8)
        y = frame.top() + CODE_HEADER
        if y < clip.top():
            return
        painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
        painter.setPen(colors.color("muted"))
        painter.setFont(text_font(theme().language, theme().sizes.small))
        label = language or self.tr("code")
        box = QRectF(frame.left() + 12, frame.top(), frame.width() - 100, CODE_HEADER)
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, label)

    def _paint_marks(self, painter: QPainter, clip: QRectF) -> None:
        """List markers, bars beside quotations and breaks, as far as they are in view."""
        layout = self.document().documentLayout()
        line = theme().palette.color("line")
        position = layout.hitTest(clip.topLeft(), Qt.HitTestAccuracy.FuzzyHit)
        block = self.document().findBlock(max(0, position))
        while block.isValid():
            box = layout.blockBoundingRect(block)
            if box.top() > clip.bottom():
                return
            block_format = block.blockFormat()
            if number := block_format.property(CODE_PROPERTY):
                last = self.content.fences[int(number) - 1].last
                # Whatever the fence counts as its lines: painting goes on, and ends.
                block = (last if last.blockNumber() > block.blockNumber() else block).next()
                continue
            if marker := block_format.property(MARKER_PROPERTY):
                self._paint_marker(painter, box, block_format, str(marker))
            if depth := block_format.property(QUOTE_PROPERTY):
                height = block.layout().lineCount() * block_format.lineHeight()
                if block.next().blockFormat().property(QUOTE_PROPERTY):
                    height += block_format.bottomMargin()
                for level in range(int(depth)):
                    painter.fillRect(QRectF(level * QUOTE_INDENT, box.top(), 3, height), line)
            elif block_format.property(RULE_PROPERTY):
                painter.fillRect(QRectF(0, box.top() + 4, self.viewport().width(), 1), line)
            block = block.next()

    def _paint_marker(
        self, painter: QPainter, box: QRectF, block_format: QTextBlockFormat, marker: str
    ) -> None:
        painter.setPen(theme().palette.color("muted"))
        font, width = marker_font(marker, block_format.leftMargin())
        painter.setFont(font)
        gutter = QRectF(0, box.top(), width, block_format.lineHeight() + 2)
        align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(gutter, align, marker)

    def _seam_boxes(self) -> list[tuple[QRectF, str]]:
        """Where two letters meet at a seam, and what is told of it."""
        height = theme().sizes.text + 4
        end = self.document().characterCount() - 1
        boxes = []
        for index, text in enumerate(self._seam_texts):
            place = self.content.place(index)
            if place.position() < end:  # with nothing behind it yet it is no seam
                at = self.cursorRect(place)
                top = at.center().y() - height / 2 + 1
                boxes.append((QRectF(at.left(), top, 2, height), text))
        return boxes

    def _paint_seams(self) -> None:
        """A thin broken line between two letters."""
        if not self._seam_texts:
            return
        painter = QPainter(self.viewport())
        painter.setPen(QPen(theme().palette.color("model"), 1.5, Qt.PenStyle.DotLine))
        for box, _text in self._seam_boxes():
            painter.drawLine(box.topLeft(), box.bottomLeft())
        painter.end()

    @override
    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            for box, text in self._seam_boxes():
                if box.adjusted(-5, -3, 5, 3).contains(QPointF(event.pos())):
                    QToolTip.showText(event.globalPos(), text, self)
                    return True
        return super().viewportEvent(event)

    def _paint_caret(self) -> None:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        place = self.cursorRect(cursor)
        height = theme().sizes.text + 2
        box = QRectF(place.right() + 2, place.center().y() - height / 2 + 1, CARET_WIDTH, height)
        painter = QPainter(self.viewport())
        painter.fillRect(box, theme().palette.color("accent"))
        painter.end()

    # --- Copy buttons -----------------------------------------------------------------------------

    def _place_copy_buttons(self) -> None:
        for button in self._copy_buttons[len(self.content.fences) :]:
            button.hide()
        for index in range(len(self.content.fences)):
            self._place_copy_button(index)
        self._num_placed = len(self.content.fences)

    def _place_new_copy_buttons(self) -> None:
        """Those of code that has come at the end: what is above it has not moved."""
        for index in range(self._num_placed, len(self.content.fences)):
            self._place_copy_button(index)
        self._num_placed = len(self.content.fences)

    def _place_copy_button(self, index: int) -> None:
        if index == len(self._copy_buttons):
            self._copy_buttons.append(self._make_copy_button(index))
        button = self._copy_buttons[index]
        frame = self._frame_of(self.content.fences[index])
        size = button.sizeHint()
        y = frame.top() + (CODE_HEADER - size.height()) / 2
        button.setGeometry(
            round(frame.right() - size.width() - 6), round(y), size.width(), size.height()
        )
        button.show()

    def _make_copy_button(self, index: int) -> QToolButton:
        button = QToolButton(self.viewport())
        button.setText(self.tr("Copy"))
        button.setAccessibleName(self.tr("Copy this code"))
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        button.clicked.connect(lambda: self._copy_code(index))
        return button

    def _copy_code(self, index: int) -> None:
        QGuiApplication.clipboard().setText(self.content.fences[index].code)

    # --- Events -----------------------------------------------------------------------------------

    def _pressed(self, event: QMouseEvent) -> bool:
        """Whether a press belongs to a selection over several messages, and to nothing else."""
        if event.button() != Qt.MouseButton.LeftButton or self.selecting is None:
            return False
        extends = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        at = event.globalPosition().toPoint()
        self._is_extending = self.selecting.press(self, at, extends=extends)
        return self._is_extending

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._pressed(event):
            super().mousePressEvent(event)

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if not self._pressed(event):
            super().mouseDoubleClickEvent(event)
            if event.button() == Qt.MouseButton.LeftButton and self.selecting is not None:
                self.selecting.took(self)  # from the word's beginning on

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        selecting = self.selecting if event.buttons() & Qt.MouseButton.LeftButton else None
        if selecting is None or not selecting.drag(event.globalPosition().toPoint()):
            super().mouseMoveEvent(event)

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton or self.selecting is None:
            super().mouseReleaseEvent(event)
            return
        self.selecting.release()
        self._is_letting_go = True
        if not self._is_extending:  # else it would open a link that is under the mouse
            super().mouseReleaseEvent(event)
        self._is_letting_go = self._is_extending = False
        wide, clipboard = self._wide, QGuiApplication.clipboard()
        if wide is not None and clipboard.supportsSelection():
            # Only a middle click somewhere asks for it, and it may be thousands of messages.
            clipboard.setMimeData(TextOnDemand(wide.snapshot()), QClipboard.Mode.Selection)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self._copy()
            return
        before = self.textCursor()
        super().keyPressEvent(event)
        after = self.textCursor()
        is_same = (before.anchor(), before.position()) == (after.anchor(), after.position())
        if self.selecting is not None and not is_same:
            self.selecting.took(self)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._place_copy_buttons()

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the transcript scrolls, not the message

    @override
    def loadResource(self, type: int, name: QUrl | str) -> object:
        return None  # nothing a model wrote is ever fetched

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            for button in self._copy_buttons:
                button.setText(self.tr("Copy"))
                button.setAccessibleName(self.tr("Copy this code"))
        super().changeEvent(event)

    @override
    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        copy = menu.addAction(self.tr("Copy"))
        copy.setEnabled(self.textCursor().hasSelection() or self._wide is not None)
        copy.triggered.connect(self._copy)
        menu.addAction(self.tr("Select all")).triggered.connect(self._select_all)
        menu.popup(event.globalPos())

    @override
    def sizeHint(self) -> QSize:
        return QSize(400, math.ceil(theme().sizes.line_height))
