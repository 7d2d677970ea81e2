"""What the model saw: the exact prompt of an answer, asked of the engine for its page."""

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal

from bilin_app.controllers import sentences
from bilin_app.controllers.engine import EngineController
from bilin_app.controllers.mailbox import Mailbox
from bilin_app.controllers.message_views import message_view
from bilin_app.controllers.prompt import decode_sampling, prompt_messages
from bilin_app.controllers.views import AnswerFacts
from bilin_app.engine_client.client import RequestFailure
from bilin_app.storage import conversations as stored
from bilin_app.storage.conversations import AnswerContext
from bilin_app.storage.errors import StorageError
from bilin_app.storage.store import Store
from bilin_engine.protocol import InspectPrompt, PromptView, Sampling


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token as the model saw it. is_special: a mask, a role marker, a beginning or an end."""

    token_id: int
    text: str
    is_special: bool = False


@dataclass(frozen=True, slots=True)
class PromptInspection:
    """The prompt of an answer. facts: None for one that never began."""

    tokens: tuple[TokenView, ...]
    prefix_len: int
    context_length: int
    facts: AnswerFacts | None
    sampling: Sampling


class PromptInspector(QObject):
    """inspected(PromptInspection) follows `inspect`, or failed(str) with a sentence."""

    inspected = Signal(object)
    failed = Signal(str)

    def __init__(self, store: Store, engine: EngineController) -> None:
        super().__init__()
        self._store = store
        self._engine = engine
        self._mailbox = Mailbox(self)

    def inspect(self, message_id: int, refused: Callable[[StorageError], None]) -> None:
        """Asks for the prompt that this answer was written to."""
        future = self._store.read_latest(stored.answer_context, message_id)
        self._mailbox.when(future, self._ask, refused)

    def _ask(self, context: AnswerContext | None) -> None:
        if context is None:
            return
        answer = message_view(context.answer, is_last=False)
        model = answer.facts.model if answer.facts else self._engine.model
        if model is None:
            self.failed.emit(sentences.no_usable_model())
            return
        views = [message_view(record, is_last=False) for record in context.messages]
        messages = prompt_messages(context.system_prompt, views)
        begun = answer.text[: answer.seams[-1].offset] if answer.seams else ""
        facts = answer.facts
        sampling = decode_sampling(context.sampling, self._engine.recommended_sampling)
        handle = self._engine.send(
            lambda i: InspectPrompt(
                id=i, model=model.id, messages=messages, prefill=begun, thinks=sampling.thinks
            )
        )
        handle.done.connect(lambda prompt: self._show(prompt, facts, sampling))
        handle.failed.connect(self._on_failed)

    def _show(self, prompt: PromptView, facts: AnswerFacts | None, sampling: Sampling) -> None:
        tokens = tuple(TokenView(t.token_id, t.text, t.is_special) for t in prompt.tokens)
        self.inspected.emit(
            PromptInspection(tokens, prompt.prefix_len, prompt.context_length, facts, sampling)
        )

    def _on_failed(self, failure: RequestFailure) -> None:
        self.failed.emit(sentences.request_failed(failure.code, failure.message))
