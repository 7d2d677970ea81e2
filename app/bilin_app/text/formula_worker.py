"""Draws LaTeX as SVG, in a process of its own: `python -m bilin_app.text.formula_worker FONT`.

Reads a line of JSON for each formula and answers each with one. A formula that takes too long or
too much memory costs this process and not the window: whoever started it ends it. Knows no Qt,
reads no file and no network for a formula.

FONT: a TrueType file for the letters that the font for mathematics lacks, Chinese ones above all.
Read at the start, which has time: a single formula has little. A letter that neither font has is an
error: its box says nothing.

In: {"latex": str, "is_display": bool, "size": px, "color": "#rrggbb"}. Out: {"svg": str, "ascent":
px above the baseline, "descent": px below it}, or {"error": str}.
"""

import json
import re
import sys
from pathlib import Path

from typing_extensions import override
from ziafont.font import Font
from ziafont.glyph import SimpleGlyph
from ziamath import zmath
from ziamath.config import config
from ziamath.mathfont import MathFont

MEMORY_LIMIT_BYTES = 1 << 30

# WORKAROUND: latex2mathml 3.81 takes an environment for no base of a script; braces make it one.
_ENVIRONMENT = re.compile(r"(\\begin\{(\w+)\}(?:(?!\\begin).)*?\\end\{\2\})(?=\s*[_^])", re.DOTALL)

_MISSING = 0  # the glyph of what a font lacks


class _BorrowedGlyph(SimpleGlyph):
    """A glyph of another font, which this one's tables of kerning and variants know nothing of."""

    def __init__(self, glyph: SimpleGlyph) -> None:
        super().__init__(_MISSING, glyph.operators, glyph.bbox, glyph.font)
        self._advance = glyph.advance()

    @override
    def advance(self, nextchr: SimpleGlyph | None = None) -> int:
        return self._advance


class _FormulaFont(MathFont):
    """The font for mathematics, with another's glyphs for what it lacks."""

    def __init__(self, path: Path, spare_path: Path) -> None:
        super().__init__(path)
        self._spare = Font(spare_path)
        # ziamath takes all widths of a formula for its own font's units.
        assert self._spare.info.layout.unitsperem == self.info.layout.unitsperem

    @override
    def glyph(self, char: str) -> SimpleGlyph:
        if self.glyphindex(char) != _MISSING:
            return super().glyph(char)
        if self._spare.glyphindex(char) == _MISSING:
            raise ValueError(f"no font has U+{ord(char):04X}")
        return _BorrowedGlyph(self._spare.glyph(char))

    @override
    def glyph_fromid(self, glyphid: int) -> SimpleGlyph:
        if glyphid == _MISSING:  # asked for a larger form of a borrowed one
            raise ValueError("a letter of another font does not stretch")
        return super().glyph_fromid(glyphid)


def main() -> None:
    """Answers until the input ends."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    except ImportError:  # not on Windows; the time limit holds there too
        pass
    config.svg2 = False  # plain paths: Qt draws no symbols
    font = _FormulaFont(zmath.fontname, Path(sys.argv[1]))
    zmath.loadedfonts["default"] = font
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(asked: dict[str, object]) -> dict[str, object]:
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
