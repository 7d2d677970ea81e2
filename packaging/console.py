"""What the launcher says: short lines in both languages, and sentences instead of tracebacks.

Knows nothing of what is being set up.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


class LaunchError(Exception):
    """An expected end: a sentence in both languages, what was seen, and what to do next."""

    def __init__(
        self, zh: str, en: str, *, seen: Sequence[str] = (), todo: Sequence[str] = ()
    ) -> None:
        """`seen`: the last lines of the program that failed. `todo`: lines to read or type."""
        super().__init__(en)
        self.zh = zh
        self.en = en
        self.seen = tuple(seen)
        self.todo = tuple(todo)


def use_any_terminal() -> None:
    """Prints Chinese as `?` on a terminal that cannot show it, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def step(zh: str, en: str) -> None:
    """Begins a step."""
    print(f"▸ {zh} / {en}", flush=True)


def note(text: str) -> None:
    """A line that belongs to the step above."""
    print(f"    {text}", flush=True)


def show_stop(stop: LaunchError) -> None:
    """Prints why the launcher ends, on stderr."""
    sys.stdout.flush()
    lines = [f"✗ {stop.zh}", f"  {stop.en}"]
    lines += [f"    | {line}" for line in stop.seen]
    lines += [f"  → {line}" for line in stop.todo]
    print("\n".join(lines), file=sys.stderr, flush=True)
