"""The colours, as tokens: a widget names a token, never a colour."""

from dataclasses import dataclass
from typing import Literal

from PySide6.QtGui import QColor

Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Palette:
    """One scheme's colours as `#RRGGBB`.

    paper: window. surface: panels and inputs. raised: a person's messages, hover. sunken: the
    ground of code. accent_soft: the ground of what is chosen. on_accent: text on accent.
    model_soft, danger_soft: grounds for text in those colours. code_*: highlighting. bar_*: the
    parts of a device's memory.
    """

    scheme: Scheme
    paper: str
    surface: str
    raised: str
    sunken: str
    ink: str
    muted: str
    line: str
    accent: str
    accent_hover: str
    accent_soft: str
    on_accent: str
    model: str
    model_soft: str
    danger: str
    danger_soft: str
    code_keyword: str
    code_string: str
    code_number: str
    code_comment: str
    code_name: str
    bar_weights: str
    bar_kv_cache: str
    bar_activations: str
    bar_other: str
    bar_track: str

    def color(self, token: str) -> QColor:
        """The colour of a token. Raises AttributeError for a token that does not exist."""
        return QColor(getattr(self, token))


LIGHT = Palette(
    scheme="light",
    paper="#FAF9F6",
    surface="#FFFFFF",
    raised="#F1EFEA",
    sunken="#F4F2EC",
    ink="#1E1F24",
    muted="#64676F",
    line="#E3E0D8",
    accent="#1F7A6C",
    accent_hover="#19685C",
    accent_soft="#E8F3F0",
    on_accent="#FFFFFF",
    model="#8A5A12",
    model_soft="#F5ECDD",
    danger="#B3372B",
    danger_soft="#FAEAE7",
    code_keyword="#8A3BA0",
    code_string="#8A5A12",
    code_number="#1B6E61",
    code_comment="#67696F",
    code_name="#1B6E61",
    bar_weights="#1F7A6C",
    bar_kv_cache="#7FB9AF",
    bar_activations="#C9B079",
    bar_other="#B9B6AC",
    bar_track="#F1EFEA",
)

DARK = Palette(
    scheme="dark",
    paper="#17181B",
    surface="#1F2125",
    raised="#282B30",
    sunken="#1D1F22",
    ink="#E8E6E1",
    muted="#9A9CA3",
    line="#33363C",
    accent="#4FB3A1",
    accent_hover="#63C2B1",
    accent_soft="#1D3431",
    on_accent="#10201D",
    model="#D9A85B",
    model_soft="#37301F",
    danger="#E5786D",
    danger_soft="#3A2523",
    code_keyword="#C79BD8",
    code_string="#D9A85B",
    code_number="#6FC5B5",
    code_comment="#9A9CA3",
    code_name="#6FC5B5",
    bar_weights="#4FB3A1",
    bar_kv_cache="#2F7567",
    bar_activations="#7A6A3E",
    bar_other="#5A5B64",
    bar_track="#2A2B2F",
)

PALETTES: dict[Scheme, Palette] = {"light": LIGHT, "dark": DARK}

# Every pair of text and ground that the app uses; a test holds each to a contrast of 4.5.
TEXT_PAIRS: tuple[tuple[str, str], ...] = (
    *(
        (text, ground)
        for text in ("ink", "muted", "accent", "model", "danger")
        for ground in ("paper", "surface", "raised", "sunken")
    ),
    *(
        (text, ground)
        for text in ("ink", "muted")
        for ground in ("accent_soft", "model_soft", "danger_soft")
    ),
    *((f"code_{kind}", "sunken") for kind in ("keyword", "string", "number", "comment", "name")),
    ("accent", "accent_soft"),
    ("model", "model_soft"),
    ("danger", "danger_soft"),
    ("on_accent", "accent"),
    ("on_accent", "accent_hover"),
)


def contrast(first: str, second: str) -> float:
    """The contrast of two `#RRGGBB` colours, 1 to 21. Source: WCAG 2.1, "contrast ratio"."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
