"""A library of scripted models whose tokens are letters, and a supervisor's events gathered."""

import os
import queue
import sys
import time
from pathlib import Path

from letter_tokenizer import LetterTokenizer
from stdio_app import children_of, command_line

from bilin_engine.chat_format import find_chat_format
from bilin_engine.errors import ModelNotFoundError
from bilin_engine.library import Library
from bilin_engine.protocol import Cancelled, Done, EngineStatus, Failed, ModelInfo
from bilin_engine.server.model_text import ModelText, ModelTexts
from bilin_engine.server.supervisor import Supervisor, SupervisorSettings
from bilin_engine.server.worker_pool import WorkerLimits
from bilin_engine.server.worker_process import WorkerCommand

HELPERS = Path(__file__).parent


def letter_model(model_id="letters", context=2048, problem="") -> ModelInfo:
    return ModelInfo(
        id=model_id,
        name_zh="字母",
        name_en="Letters",
        family="test",
        num_parameters=1000,
        precision="FP16",
        size_bytes=2000,
        languages=("zh", "en"),
        can_chat=True,
        blank_kinds=("short", "long", "sentence"),
        context_length=context,
        licence="Apache-2.0",
        source="a test",
        path="/nowhere",
        is_bundled=True,
        problem=problem,
    )


class LetterTexts(ModelTexts):
    def __init__(self, *infos: ModelInfo) -> None:
        nowhere = HELPERS / "no-models"
        super().__init__(Library(nowhere, bundled_dir=nowhere))
        self._infos = infos or (letter_model(), letter_model("other"))

    def models(self):
        return self._infos

    def info(self, model_id):
        for info in self._infos:
            if info.id == model_id:
                return info
        raise ModelNotFoundError(f'there is no model "{model_id}"')

    def text(self, info):
        return ModelText(info, LetterTokenizer(), find_chat_format("qa"))


def worker_command(program: str, *arguments: str) -> WorkerCommand:
    return WorkerCommand((sys.executable, str(HELPERS / program), *arguments), nice=0)


def scripted_worker(*arguments: str) -> WorkerCommand:
    return worker_command("scripted_worker.py", *arguments)


class Engine:
    """A supervisor in this process and what it said; `with` ends it."""

    def __init__(self, command=None, *, texts=None, idle_unload_s=0.0, **limits):
        self.events = queue.SimpleQueue()
        self.seen = []
        self._last_id = 0
        self.supervisor = Supervisor(
            self.events.put,
            texts or LetterTexts(),
            SupervisorSettings(command or scripted_worker(), WorkerLimits(**limits), idle_unload_s),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.supervisor.close()

    def send(self, make):
        """Submits make(id); returns the id."""
        self._last_id += 1
        self.supervisor.submit(make(self._last_id))
        return self._last_id

    def next(self, timeout_s=20.0):
        event = self.events.get(timeout=timeout_s)
        self.seen.append(event)
        return event

    def until(self, is_wanted, timeout_s=20.0):
        """The first event, seen already or to come, that is wanted."""
        for event in self.seen:
            if is_wanted(event):
                return event
        deadline = time.monotonic() + timeout_s
        while True:
            event = self.next(max(0.0, deadline - time.monotonic()))
            if is_wanted(event):
                return event

    def end(self, request_id, timeout_s=20.0):
        """The event that ends a request."""
        ends = (Done, Cancelled, Failed)
        return self.until(lambda e: isinstance(e, ends) and e.id == request_id, timeout_s)

    def ask(self, make):
        return self.end(self.send(make))

    def state(self, name):
        """The latest status once it is `name`."""
        told = [event for event in self.seen if isinstance(event, EngineStatus)]
        status = told[-1] if told else None
        deadline = time.monotonic() + 20.0
        while status is None or status.state != name:
            event = self.next(max(0.0, deadline - time.monotonic()))
            status = event if isinstance(event, EngineStatus) else status
        return status

    def worker_pids(self):
        """Of the processes this test process started as workers."""
        return tuple(pid for pid in children_of(os.getpid()) if b"--rank" in command_line(pid))

    def about(self, request_id, kind):
        return [e for e in self.seen if isinstance(e, kind) and e.id == request_id]
