"""A document as the text field has it: offers stand in the places of their blanks.

Two ways to count: positions are the document's, where a blank is one; places are the field's, where
an offer takes as many as its text has. No Qt.
"""

from collections.abc import Iterator

from bilin_app.text.document import BLANK_MARK, Document, Slice


class ShownText:
    """A document, changed by its own `apply`, and the offers that stand in it, in units."""

    def __init__(self) -> None:
        self.document = Document()
        self._offers: dict[int, str] = {}

    def show(self, content: Slice) -> None:
        """Another document, without offers."""
        self.document = Document(content)
        self._offers = {}

    @property
    def size(self) -> int:
        """In places."""
        return len(self.document) + sum(len(text) - 1 for text in self._offers.values())

    # --- Offers -----------------------------------------------------------------------------------

    def is_offered(self, blank_id: int) -> bool:
        """Whether an offer stands in this blank's place."""
        return blank_id in self._offers

    def text_of(self, blank_id: int) -> str:
        """What stands in a blank's place: its offer, or its mark."""
        return self._offers.get(blank_id, BLANK_MARK)

    def put(self, blank_id: int, text: str) -> None:
        """An offer stands there now; "" = the blank itself."""
        if text:
            self._offers[blank_id] = text
        else:
            self._offers.pop(blank_id, None)

    def take(self, blank_id: int) -> str:
        """The blank itself stands there now; returns the offer that did, or ""."""
        return self._offers.pop(blank_id, "")

    def regions(self) -> list[tuple[int, int, int]]:
        """(start, end, blank id) in places for every offer, in order."""
        return [stretch for stretch in self.stretches() if self.is_offered(stretch[2])]

    # --- Positions and places ---------------------------------------------------------------------

    def stretches(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, blank id) in places for every blank, offered or not, in order."""
        grown = 0
        for position, blank in self.document.blanks:
            size = len(self.text_of(blank.id))
            yield position + grown, position + grown + size, blank.id
            grown += size - 1

    def place_of(self, position: int) -> int:
        """Where the field has a position."""
        grown = 0
        for at, blank in self.document.blanks:
            if at >= position:
                break
            grown += len(self.text_of(blank.id)) - 1
        return position + grown

    def position_of(self, place: int) -> int:
        """The position of a place; inside an offer: its blank's."""
        shrunk = 0
        for start, end, _ in self.stretches():
            if place < end:
                return min(place, start) - shrunk
            shrunk += end - start - 1
        return place - shrunk

    def blank_at(self, place: int, *, is_behind: bool = False) -> int:
        """The blank at or around a place; 0 = none. is_behind: of two, the one behind it."""
        found = [blank_id for start, end, blank_id in self.stretches() if start <= place <= end]
        return found[-1 if is_behind else 0] if found else 0

    # --- Text -------------------------------------------------------------------------------------

    def expanded(self, content: Slice) -> str:
        """A stretch as the field has it: offers in their blanks' places."""
        parts, at = [], 0
        for offset, blank in content.blanks:
            parts += [content.text[at:offset], self.text_of(blank.id)]
            at = offset + 1
        return "".join([*parts, content.text[at:]])

    def between(self, start: int, end: int) -> str:
        """What stands from one place to another."""
        low, high = self.position_of(start), self.position_of(end)
        first = self.place_of(low)
        high = min(len(self.document), high + 1)
        return self.expanded(self.document.slice(low, high))[start - first : end - first]
