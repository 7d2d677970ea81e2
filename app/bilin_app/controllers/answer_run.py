"""One answer while it is being written: the request, the 30 Hz text, the journal.

Knows the engine's chat request and the journal; knows nothing of conversations on show.
"""

import time
from dataclasses import dataclass, field
from typing import Literal

from PySide6.QtCore import QObject, QTimer, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.answer_speeds import AnswerSpeeds
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.engine_views import EngineView, ModelView
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.views import AnswerFacts, AnswerProgress, Seam
from bilin_app.engine_client.client import (
    ENGINE_ENDED,
    NOT_CONNECTED,
    RequestFailure,
    RequestHandle,
)
from bilin_app.storage.conversations import append_journal
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_app.text.thinking import THOUGHT_BEGIN, THOUGHT_END, part_thought
from bilin_engine.protocol import Chat, ChatResult, Message, Sampling, Started, TextDelta

FLUSH_MS = 33
JOURNAL_MS = 500
PROGRESS_MS = 1000

# The engine's codes after which it, and not the request, has to be mended.
_ENGINE_TROUBLE = (ENGINE_ENDED, NOT_CONNECTED, "worker_died", "not_loaded")
_UNLOADED = ("empty", "stopped", "fault")  # nothing is loaded, nor on its way


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """What is asked. prefix: the text that the answer goes on from. messages: what it answers.

    model: the one that is to answer; "" = whichever is loaded.
    """

    conversation_id: int
    message_id: int
    messages: tuple[Message, ...]
    prefix: str = ""
    seams: tuple[Seam, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    model: str = ""


@dataclass(frozen=True, slots=True)
class AnswerOutcome:
    """How it ended. text: whole, with the prefix. is_engine_trouble: mending goes on with it.

    is_death: the engine went in the middle of it, and nobody had asked to stop.
    """

    state: Literal["done", "stopped", "failed", "interrupted"]
    text: str
    facts: AnswerFacts | None = None
    failure: str = ""
    detail: str = ""
    is_engine_trouble: bool = False
    is_death: bool = False


class AnswerRun(QObject):
    """Waits for the engine if it must, then streams. `ended(AnswerOutcome)` is emitted once.

    started(): the model begins. progressed(AnswerProgress): every PROGRESS_MS from then on.
    text_appended(str): at most once in FLUSH_MS. journal_refused(StorageError): the text is still
    here and is tried again.
    """

    started = Signal()
    progressed = Signal(object)
    text_appended = Signal(str)
    ended = Signal(object)
    journal_refused = Signal(object)

    def __init__(
        self,
        job: AnswerJob,
        engine: EngineController,
        store: Store,
        speeds: AnswerSpeeds,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._speeds = speeds
        self.job = job
        self.is_streaming = False
        self._engine = engine
        self._store = store
        self._mailbox = Mailbox(self)
        self._handle: RequestHandle | None = None
        self._model: ModelView | None = None
        self._is_ended = False
        self._has_waited = False  # the engine was well when this began
        self._is_load_awaited = False
        self._shown: list[str] = [job.prefix]
        self._pending: list[str] = []
        self._unsaved: list[str] = []
        self._journal_sequence = 0
        self._is_journaling = False
        self._prompt_tokens = 0
        self._context_length = 0
        self._seed = 0
        self._num_tokens = 0
        self._began_in_thought = part_thought(job.prefix, is_complete=False).is_thinking
        self._is_in_thought = self._began_in_thought
        self._asked_at = self._first_at = self._last_at = 0.0
        self._flush_timer = QTimer(self)
        self._flush_timer.setSingleShot(True)
        self._flush_timer.setInterval(FLUSH_MS)
        self._flush_timer.timeout.connect(self._flush)
        self._journal_timer = QTimer(self)
        self._journal_timer.setInterval(JOURNAL_MS)
        self._journal_timer.timeout.connect(self._write_journal)
        self._progress_timer = QTimer(self)
        self._progress_timer.setInterval(PROGRESS_MS)
        self._progress_timer.timeout.connect(lambda: self.progressed.emit(self.progress))

    @property
    def text(self) -> str:
        """What has been shown of it."""
        return "".join(self._shown)

    @property
    def progress(self) -> AnswerProgress:
        """How far it is now, and how long the rest takes at most."""
        if self._model is None or not self.is_streaming:
            return AnswerProgress()
        now = time.monotonic()
        since_first_s = self._last_at - self._first_at
        speed = self._speeds.of(self._model.id)
        if self._num_tokens > 1 and since_first_s > 0:
            rate_tok_s = (self._num_tokens - 1) / since_first_s
        else:
            rate_tok_s = speed.decode_tok_s
        first_token_s = None
        if not self._num_tokens and speed.prefill_tok_s:
            expected_s = self._prompt_tokens / speed.prefill_tok_s
            first_token_s = max(0.0, expected_s - (now - self._asked_at))
        rest_s = None
        if speed.decode_tok_s and rate_tok_s:
            most = min(self.job.sampling.max_new_tokens, self._context_length - self._prompt_tokens)
            rest_s = (first_token_s or 0.0) + max(0, most - self._num_tokens) / rate_tok_s
        shown_rate_tok_s = rate_tok_s if self._num_tokens > 1 else 0.0
        return AnswerProgress(self._num_tokens, shown_rate_tok_s, first_token_s, rest_s)

    @property
    def is_waiting(self) -> bool:
        """Not yet asked: the engine is not ready."""
        return self._handle is None and not self._is_ended

    def dispatch(self) -> None:
        """Asks, if the engine is ready; gives up with its reason if it is at fault; else waits.

        The conversation's own model is loaded where it is not, whatever became of another. What
        waits for a model ends as "stopped" when its loading is stopped.
        """
        if not self.is_waiting:
            return
        view = self._engine.view
        own = self.job.model if self._engine.can_load(self.job.model) else ""
        is_at_fault = view.state == "fault" or view.action == "models"
        if is_at_fault and not (own and _is_of_another(view, own)):
            is_death = self._has_waited and view.action == "restart"
            self._end("interrupted", view.reason, view.detail, is_trouble=True, is_death=is_death)
            return
        if view.state == "empty" and self._is_load_awaited:  # somebody stopped the loading
            self._end("stopped")
            return
        self._has_waited = True
        self._is_load_awaited = view.state == "loading"
        model = self._engine.model
        if own and (view.state in _UNLOADED or (model is not None and model.id != own)):
            self._engine.load(own)
            return
        if view.state in _UNLOADED:
            self._engine.load_wanted()
            return
        if model is None:
            return
        self._model = model
        self._asked_at = time.monotonic()
        handle = self._engine.send_for_text(
            lambda i: Chat(
                id=i,
                model=model.id,
                messages=self.job.messages,
                prefill=self.job.prefix,
                sampling=self.job.sampling,
            )
        )
        self._handle = handle
        handle.started.connect(self._on_started)
        handle.delta_received.connect(self._on_delta)
        handle.done.connect(self._on_done)
        handle.cancelled.connect(self._on_cancelled)
        handle.failed.connect(self._on_failed)
        self._journal_timer.start()

    def stop(self) -> None:
        """Ends it as "stopped": at once if it still waits, else when the engine obeys."""
        if self._handle is not None:
            self._handle.cancel()
        else:
            self._end("stopped")

    def close(self, failure: str) -> AnswerOutcome | None:
        """The app is closing: the outcome so far, without `ended`. None if it had ended."""
        if self._is_ended:
            return None
        self._stop_timers()
        self._flush()
        self._is_ended = True
        return AnswerOutcome("interrupted", self.text, self._own_facts(), failure)

    def _on_started(self, started: Started) -> None:
        self._prompt_tokens = started.prompt_tokens
        self._context_length = started.context_length
        self._seed = started.seed
        self.is_streaming = True
        self.started.emit()
        self._progress_timer.start()
        self.progressed.emit(self.progress)

    def _on_delta(self, delta: TextDelta) -> None:
        now = time.monotonic()
        self._first_at = self._first_at or now
        self._last_at = now
        self._num_tokens += delta.num_tokens
        if delta.text:
            self._take(delta)
            if not self._flush_timer.isActive():
                self._flush_timer.start()

    def _take(self, delta: TextDelta) -> None:
        """The marks around a thought stay in the text: they tell it apart wherever it is shown."""
        is_thought = delta.part == "thinking"
        if is_thought and not self._is_in_thought:
            self._pending.append(THOUGHT_BEGIN)
        elif self._is_in_thought and not is_thought:
            self._pending.append(THOUGHT_END)
        self._is_in_thought = is_thought
        self._pending.append(delta.text)

    def _flush(self) -> None:
        if self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            self._shown.append(text)
            self._unsaved.append(text)
            self.text_appended.emit(text)

    def _write_journal(self) -> None:
        if self._is_journaling or not self._unsaved:
            return
        text = "".join(self._unsaved)
        self._unsaved.clear()
        self._is_journaling = True
        future = self._store.write_soon(
            append_journal, self.job.message_id, self._journal_sequence, text
        )
        self._journal_sequence += 1

        def done(_none: None) -> None:
            self._is_journaling = False

        def refused(error: StorageError) -> None:
            self._is_journaling = False
            self._unsaved.insert(0, text)
            self.journal_refused.emit(error)

        self._mailbox.when(future, done, refused)

    def _on_done(self, result: ChatResult) -> None:
        stats = result.stats
        assert self._model is not None
        facts = AnswerFacts(
            model=self._model,
            prompt_tokens=stats.prompt_tokens,
            new_tokens=stats.new_tokens,
            time_to_first_token_s=stats.time_to_first_token_s,
            rate_tok_s=stats.decode_rate_tok_s,
            seed=stats.seed,
            finish_reason=result.finish_reason,
        )
        self._speeds.learn(facts, stats.encoded_tokens)
        # With a thought, what was shown has its marks; the result has the two apart.
        has_thought = self._began_in_thought or bool(result.thinking)
        text = None if has_thought else self.job.prefix + result.text
        self._end("done", text=text, facts=facts)

    def _on_cancelled(self) -> None:
        self._end("stopped", facts=self._own_facts())

    def _on_failed(self, failure: RequestFailure) -> None:
        if failure.end is not None:
            sentence = sentences.engine_ended(failure.end)
            detail = f"{failure.message}\n{failure.detail}".strip()
        else:
            sentence = sentences.request_failed(failure.code, failure.message)
            detail = failure.detail
        is_trouble = failure.code in _ENGINE_TROUBLE
        is_death = is_trouble and self._handle is not None and not self._handle.is_cancelling
        state = "interrupted" if is_trouble else "failed"
        facts = self._own_facts()
        self._end(state, sentence, detail, facts, is_trouble=is_trouble, is_death=is_death)

    def _own_facts(self) -> AnswerFacts | None:
        """What was seen from here, where the engine did not get to tell."""
        if self._model is None or not self._num_tokens:
            return None
        decode_s = self._last_at - self._first_at
        return AnswerFacts(
            model=self._model,
            prompt_tokens=self._prompt_tokens,
            new_tokens=self._num_tokens,
            time_to_first_token_s=self._first_at - self._asked_at,
            rate_tok_s=(self._num_tokens - 1) / decode_s if decode_s > 0 else 0.0,
            seed=self._seed,
        )

    def _end(
        self,
        state: Literal["done", "stopped", "failed", "interrupted"],
        failure: str = "",
        detail: str = "",
        facts: AnswerFacts | None = None,
        *,
        text: str | None = None,
        is_trouble: bool = False,
        is_death: bool = False,
    ) -> None:
        if self._is_ended:
            return
        self._stop_timers()
        self._flush()
        self._is_ended = True
        whole = self.text if text is None else text
        self.ended.emit(AnswerOutcome(state, whole, facts, failure, detail, is_trouble, is_death))

    def _stop_timers(self) -> None:
        self._flush_timer.stop()
        self._journal_timer.stop()
        self._progress_timer.stop()


def _is_of_another(view: EngineView, model_id: str) -> bool:
    """Whether an engine that runs is at fault with a model that is not this one."""
    return view.action != "restart" and (view.model is None or view.model.id != model_id)
