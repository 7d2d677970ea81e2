"""`bilin-engine chat`: a conversation in a terminal, one answer, or proof that it works."""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from bilin_engine.cli.arguments import EXIT_OK, load_settings, sampling
from bilin_engine.cli.report import dim, plain_text, print_json, print_json_line
from bilin_engine.cli.session import RequestFailedError, Session, StoppedByPersonError
from bilin_engine.errors import BadRequestError, ContextOverflowError, NotLoadedError
from bilin_engine.protocol import (
    Chat,
    ChatResult,
    Event,
    Message,
    ModelLoaded,
    Sampling,
    Started,
    TextDelta,
)
from bilin_engine.text_file import not_utf8

NO_MESSAGE = "--json needs --once, or messages on stdin, one a line"
# Asked when nobody can type: one exchange in each language shows that the engine answers.
DEMO_QUESTIONS = ("你好", "What can you do?")
NEW_CHAT = "/new"


def run(options: argparse.Namespace) -> int:
    """Loads the model; answers --once, a terminal, lines of a pipe, or the demo questions."""
    is_piped = sys.stdin is not None and not sys.stdin.isatty()
    if options.json and options.once is None and not is_piped:
        raise BadRequestError(NO_MESSAGE)
    with options.open_session(options) as session:
        model = session.model(options.model)
        settings = sampling(options, model.sampling)
        if options.no_thinking:
            if not model.can_skip_thinking:
                raise BadRequestError(
                    f'"{model.id}" has no way to leave its reasoning out; call it without '
                    "--no-thinking"
                )
            settings = msgspec.structs.replace(settings, thinks=False)
        load = partial(
            session.load,
            options.model,
            load_settings(options),
            tells_memory=options.load_report or None,
        )
        loaded = load()
        conversation = _Conversation(session, options.model, options.system, settings, load)
        if options.once is not None and options.json:
            print_json(conversation.ask(options.once, is_quiet=True))
        elif options.once is not None:
            _answer_once(conversation, options.once)
        elif is_piped:
            _answer_lines(conversation, is_json=options.json)
        elif sys.stdin is None:
            _show(conversation)
        else:
            _talk(conversation, loaded)
    return EXIT_OK


class _Conversation:
    """Messages so far; `ask` adds a question and, when it came to one, the answer.

    load: loads the model again after its worker is gone.
    """

    def __init__(
        self,
        session: Session,
        model: str,
        system: str,
        settings: Sampling,
        load: Callable[[], ModelLoaded],
    ) -> None:
        self._session = session
        self._load = load
        self._model = model
        self._settings = settings
        self._start: list[Message] = [Message("system", system)] if system else []
        self._messages = list(self._start)
        self.name = session.model(model).name_en

    def clear(self) -> None:
        """Forgets everything but the system prompt."""
        self._messages = list(self._start)

    def ask(self, text: str, *, is_quiet: bool = False) -> ChatResult:
        """Streams the answer to stdout unless quiet. Raises as Session.ask.

        A question that failed or was stopped before its answer is not kept.
        """
        asked = [*self._messages, Message("user", text)]
        parts: list[str] = []
        is_thinking = False

        def on_event(event: Event) -> None:
            nonlocal is_thinking
            if isinstance(event, Started) and event.dropped_messages and not is_quiet:
                count = len(event.dropped_messages)
                print(dim(f"({count} older messages no longer fit 较早的 {count} 条消息已放不下)"))
            if isinstance(event, TextDelta):
                is_answer = event.part == "answer"
                if is_answer and is_thinking and not is_quiet:
                    print("\n")  # parts the reasoning from the answer
                is_thinking = not is_answer
                if is_answer:
                    parts.append(event.text)
                if not is_quiet:
                    text = plain_text(event.text)
                    print(text if is_answer else dim(text), end="", flush=True)

        try:
            result = self._answer(asked, on_event)
        except StoppedByPersonError:
            if parts:
                self._messages = [*asked, Message("assistant", "".join(parts))]
            raise
        self._messages = [*asked, Message("assistant", result.text)]
        return result

    def _answer(self, messages: list[Message], on_event: Callable[[Event], None]) -> ChatResult:
        ask = partial(
            self._session.ask,
            lambda i: Chat(
                id=i, model=self._model, messages=tuple(messages), sampling=self._settings
            ),
            ChatResult,
            on_event,
        )
        try:
            return ask()
        except RequestFailedError as error:
            if error.code != NotLoadedError.code:
                raise
        self._load()
        return ask()


def _answer_once(conversation: _Conversation, text: str) -> None:
    try:
        conversation.ask(text)
    finally:
        print()  # also after half an answer: the error's sentence gets a line of its own


def _answer_lines(conversation: _Conversation, *, is_json: bool) -> None:
    """Every line of stdin is a message; without any, the demo."""
    is_empty = True
    for line in _lines():
        text = line.strip()
        if text:
            is_empty = False
            if is_json:
                print_json_line(conversation.ask(text, is_quiet=True))
            else:
                _answer_once(conversation, text)
    if is_empty and is_json:
        raise BadRequestError(NO_MESSAGE)
    if is_empty:
        _show(conversation)


def _lines() -> Iterator[str]:
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise BadRequestError(not_utf8("-", error)) from error


def _show(conversation: _Conversation) -> None:
    for question in DEMO_QUESTIONS:
        print(f"> {question}")
        try:
            conversation.ask(question)
        finally:
            print("\n")
        conversation.clear()


def _talk(conversation: _Conversation, loaded: ModelLoaded) -> None:
    print(f"Bilin 比邻 · {conversation.name} · {loaded.backend} · {loaded.context_length} tokens")
    print(dim("Enter 发送 sends · Ctrl-C 停止回答 stops an answer, 再按一次退出 twice leaves"))
    print(dim(f"{NEW_CHAT} 重新开始 starts over · Ctrl-D 退出 leaves"))
    while True:
        try:
            text = input("\n› ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        except UnicodeDecodeError as error:
            print(f"! {not_utf8('-', error)}", file=sys.stderr)
            continue
        if text == NEW_CHAT:
            conversation.clear()
            print(dim("新对话 A new chat"))
        elif text:
            _answer(conversation, text)


def _answer(conversation: _Conversation, text: str) -> None:
    try:
        result = conversation.ask(text)
    except StoppedByPersonError:
        print(dim("\n(已停止 stopped)"))
    except RequestFailedError as error:
        print(f"\n! {error.message}", file=sys.stderr)
        if error.code == ContextOverflowError.code:
            print(dim(f"{NEW_CHAT} 重新开始 starts over"))
    else:
        stats = result.stats
        print(
            dim(
                f"\n{stats.new_tokens} tokens · {stats.time_to_first_token_s:.2f} s to the first"
                f" · {stats.decode_rate_tok_s:.0f} tokens/s"
            )
        )
