"""How much of the context sending the draft would use, by the model's own tokenizer."""

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView
from bilin_app.controllers.views import TokenCountView
from bilin_engine.protocol import CountTokens, Message, TokenCount

PAUSE_MS = 300


class ContextMeter(QObject):
    """counted(TokenCountView) follows `count_soon()`, for the last state of what is counted.

    One count at a time: of a long text each takes longer than a pause, and others wait behind it.
    counted(None): it cannot be counted.
    """

    counted = Signal(object)

    def __init__(
        self,
        engine: EngineController,
        model: Callable[[], str],
        messages: Callable[[], tuple[Message, ...]],
        thinks: Callable[[], bool],
    ) -> None:
        """model: whose tokenizer counts, "" = none is there yet. thinks: as in `Sampling`."""
        super().__init__()
        self._engine = engine
        self._model = model
        self._messages = messages
        self._thinks = thinks
        self._query = 0  # only what was asked last is told
        self._is_counting = False
        self._is_stopped = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._count)
        engine.view_changed.connect(self._on_engine_view)

    def count_soon(self) -> None:
        """Counts when the typing pauses."""
        if not self._is_stopped:
            self._timer.start(PAUSE_MS)

    def count_anew(self) -> None:
        """Counts at once: something else is on show, of which nothing is known yet."""
        if not self._is_stopped:
            self._forget()
            self._timer.start(0)

    def stop(self) -> None:
        """Counts no more, whatever is still on its way."""
        self._is_stopped = True
        self._timer.stop()

    def _count(self) -> None:
        model = self._model()
        if not model:
            self._forget()
            return
        self._query += 1
        if self._is_counting:
            return  # the end of the count under way has this one made
        self._is_counting = True
        number = self._query
        messages = self._messages()

        def counted(count: TokenCount) -> None:
            dropped = tuple(messages[i].text for i in count.dropped_messages)
            view = TokenCountView(count.total, count.context_length, len(dropped), dropped)
            self._on_ended(number, view)

        thinks = self._thinks()
        handle = self._engine.send(
            lambda i: CountTokens(id=i, model=model, messages=messages, thinks=thinks)
        )
        handle.done.connect(counted)
        handle.cancelled.connect(lambda: self._on_ended(number, None))
        handle.failed.connect(lambda _failure: self._on_ended(number, None))

    def _on_engine_view(self, _view: EngineView) -> None:
        if not self._model() and not self._is_stopped:
            self._forget()

    def _forget(self) -> None:
        self._query += 1
        self.counted.emit(None)

    def _on_ended(self, number: int, view: TokenCountView | None) -> None:
        self._is_counting = False
        if number == self._query:
            self.counted.emit(view)
        elif not self._is_stopped and not self._timer.isActive():
            self._timer.start(0)
