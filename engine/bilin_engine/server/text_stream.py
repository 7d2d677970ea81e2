"""A candidate's ids on their way to a person: whole characters, cut at a stop text.

Knows neither models nor requests.
"""

from collections.abc import Iterable, Sequence

from bilin_engine.protocol import FinishReason
from bilin_engine.tokenizers.streaming import StreamDecoder

# Why an answer ends where the model would have gone on, perhaps within a character.
CUT_REASONS: frozenset[FinishReason] = frozenset({"length", "context"})


class StopTextCutter:
    """Lets text through up to the first stop text, which it drops with all that follows.

    What may be the beginning of a stop text is held back until that is settled.
    """

    def __init__(self, stop_texts: Iterable[str]) -> None:
        """Empty stop texts are passed over: they would stop everything."""
        self._stop_texts = tuple(text for text in stop_texts if text)
        self._held = ""
        self.is_stopped = False

    def feed(self, text: str) -> str:
        """What can be shown of `text` and of what was held back."""
        if self.is_stopped:
            return ""
        self._held += text
        found = [at for stop in self._stop_texts if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._longest_beginning()
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """What was held back and turned out to be no stop text."""
        shown, self._held = self._held, ""
        return shown

    def _longest_beginning(self) -> int:
        """Characters at the end of the held text that may begin a stop text."""
        longest = 0
        for stop in self._stop_texts:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest


class TextStream:
    """One candidate: ids in, text out, both counted."""

    def __init__(
        self, decoder: StreamDecoder, stop_texts: Iterable[str] = (), *, drops_lead: bool = False
    ) -> None:
        """drops_lead: white space at the beginning is no part of the text."""
        self._decoder = decoder
        self._drops_lead = drops_lead
        self._cutter = StopTextCutter(stop_texts)
        self._parts: list[str] = []
        self.num_tokens = 0
        self._num_told = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a stop text has ended it."""
        return self._cutter.is_stopped

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._parts)

    def feed(self, token_id: int) -> str:
        """The text `token_id` lets out; "" while it is held back."""
        self.num_tokens += 1
        text = self._decoder.feed(token_id)
        if self._drops_lead:
            text = text.lstrip()
            self._drops_lead = not text
        return self._keep(self._cutter.feed(text))

    def finish(self, *, is_cut: bool = False) -> str:
        """The last of the text: nothing more can complete what was held back.

        is_cut: it was not the model that ended it; a character it had begun is left out.
        """
        if is_cut:
            self._decoder.drop_unfinished()
        text = self._cutter.feed(self._decoder.flush())
        return self._keep(text + self._cutter.flush())

    def take_num_tokens(self) -> int:
        """Tokens since the last call: what a delta stands for."""
        num_tokens, self._num_told = self.num_tokens - self._num_told, self.num_tokens
        return num_tokens

    def _keep(self, text: str) -> str:
        if text:
            self._parts.append(text)
        return text


def feed_streams(
    streams: Sequence[TextStream], numbers: Iterable[int], token_ids: Iterable[int]
) -> tuple[dict[int, str], list[int]]:
    """Tokens of several streams: the text that each lets out, and which of them ended now.

    numbers: whose each token is, by index. What comes after a stop text is passed over.
    """
    shown: dict[int, str] = {}
    ended: list[int] = []
    for number, token_id in zip(numbers, token_ids, strict=True):
        stream = streams[number]
        if stream.is_stopped:
            continue
        shown[number] = shown.get(number, "") + stream.feed(token_id)
        if stream.is_stopped:
            ended.append(number)
    return shown, ended
