"""Runs chat templates in a process of its own: sandboxed, with little memory and little time.

jinja2's sandbox keeps a template from files and from other objects, not from loops without end or
from strings without bounds; only a process can be stopped in the middle of those. The process
stays for the next conversation and ends with this one. It runs this file, not the package around
it, which would load tokenizers that it has no use for.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from bilin_engine import processes
from bilin_engine.errors import BilinError, UnsupportedModelError

TIMEOUT_S = 3.0
START_TIMEOUT_S = 30.0
MEMORY_BYTES = 512 * 1024 * 1024
MAX_PROMPT_CHARACTERS = 8 * 1024 * 1024
_READY = b"ready\n"


class TemplateRenderer:
    """Renders templates, one at a time, starting the process when it is first needed.

    Thread-safe. A template that takes too long costs the process, which the next one starts anew.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(
        self, template: str, messages: list[dict[str, Any]], values: dict[str, str | bool]
    ) -> str:
        """The prompt. values: bos_token and so on, by the names that templates use.

        Raises UnsupportedModelError with what the template did wrong: its own complaint, an error
        in it, too long, too much.
        """
        request = json.dumps([template, messages, values]).encode() + b"\n"
        with self._lock:
            answer = self._ask(request)
        if answer is None:
            raise UnsupportedModelError(
                f"the model's chat template was stopped: it took more than {self._timeout_s:g} s "
                f"or {MEMORY_BYTES // 2**20} MiB"
            )
        text, complaint = answer
        if complaint:
            raise UnsupportedModelError(f"the model's chat template failed: {complaint}")
        return text

    def close(self) -> None:
        """Ends the process. Safe to call twice; a later render starts another."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes) -> tuple[str, str] | None:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None, "started with pipes"
        assert process.stdout is not None, "started with pipes"
        guard = threading.Timer(self._timeout_s, process.kill)
        guard.name = "bilin-template-guard"
        guard.daemon = True
        guard.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            guard.cancel()
            guard.join()
        if not line.endswith(b"\n"):
            self._end()
            return None
        text, complaint = json.loads(line)
        return text, complaint

    def _start(self) -> subprocess.Popen[bytes]:
        self._end()
        process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__)), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._process = process
        atexit.register(self.close)
        assert process.stdout is not None, "started with pipes"
        guard = threading.Timer(START_TIMEOUT_S, process.kill)
        guard.daemon = True
        guard.start()
        ready = process.stdout.readline()
        guard.cancel()
        if ready != _READY:
            self._end()
            raise BilinError(
                "the process that runs chat templates did not start; see the engine's log"
            )
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def render_here(template: str, messages: list[dict[str, Any]], given: dict[str, str | bool]) -> str:
    """The prompt, rendered in this process with the settings that transformers uses.

    Raises jinja2's own errors, and whatever a template provokes.
    """
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Marks what training learns from; a prompt has just what is within."""

        tags = frozenset({"generation"})  # type: ignore[assignment]

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: object) -> None:
        raise jinja2.TemplateError(str(message))

    def tojson(value: object, **options: Any) -> str:  # noqa: ANN401 - json.dumps' own
        options.setdefault("ensure_ascii", False)
        return json.dumps(value, **options)

    def strftime_now(form: str) -> str:
        import datetime

        return datetime.datetime.now().strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    parts: list[str] = []
    size = 0
    values = {**given, "messages": messages, "tools": None, "documents": None}
    for part in environment.from_string(template).generate(**values, add_generation_prompt=True):
        size += len(part)
        if size > MAX_PROMPT_CHARACTERS:
            raise jinja2.TemplateError(f"its prompt is longer than {MAX_PROMPT_CHARACTERS}")
        parts.append(part)
    return "".join(parts)


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answers one request a line until stdin ends."""
    read_fd, write_fd = processes.take_stdio()
    processes.end_with_parent(int(sys.argv[1]))
    import jinja2.sandbox  # noqa: F401 - before the clock of the first request runs

    _limit_memory()
    with os.fdopen(read_fd, "rb") as requests, os.fdopen(write_fd, "wb") as answers:
        answers.write(_READY)
        answers.flush()
        for line in requests:
            try:
                answer = [render_here(*json.loads(line)), ""]
            except MemoryError:
                os._exit(1)
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                answer = ["", f"{type(error).__name__}: {error}"[:500]]
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
