"""Draws LaTeX as SVG, in a process of its own: `python -m bilin_app.text.formula_worker`.

Reads a line of JSON for each formula and answers each with one. A formula that takes too long or
too much memory costs this process and not the window: whoever started it ends it. Knows no Qt,
reads no file and no network for a formula.

In: {"latex": str, "is_display": bool, "size": px, "color": "#rrggbb"}. Out: {"svg": str, "ascent":
px above the baseline, "descent": px below it}, or {"error": str}.
"""

import json
import re
import sys

MEMORY_LIMIT_BYTES = 1 << 30

# WORKAROUND: latex2mathml 3.81 takes an environment for no base of a script; braces make it one.
_ENVIRONMENT = re.compile(r"(\\begin\{(\w+)\}(?:(?!\\begin).)*?\\end\{\2\})(?=\s*[_^])", re.DOTALL)


def main() -> None:
    """Answers until the input ends."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    except ImportError:  # not on Windows; the time limit holds there too
        pass
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(asked: dict[str, object]) -> dict[str, object]:
    from ziamath import zmath
    from ziamath.config import config

    config.svg2 = False  # plain paths: Qt draws no symbols

    latex, size = _ENVIRONMENT.sub(r"{\1}", str(asked["latex"])), float(str(asked["size"]))
    try:
        formula = zmath.Latex(
            latex, size=size, color=str(asked["color"]), inline=not asked["is_display"], margin=1.5
        )
        _, height = formula.getsize()
        descent = max(0.0, -formula.getyofst())
        return {"svg": formula.svg(), "ascent": height - descent, "descent": descent}
    except Exception as error:  # noqa: BLE001 - the edge of a process: the parser raises anything
        return {"error": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    main()
