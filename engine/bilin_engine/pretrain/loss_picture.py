"""A training log as a small SVG: loss over loss tokens, as it was and smoothed."""

import csv
import io

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 320, 48, 40, 28, 16
_INK, _MUTED, _LINE, _ACCENT, _FAINT = "#1E1F24", "#6B6E76", "#E3E0D8", "#1F7A6C", "#A9CFC7"


def loss_picture(log: str) -> str:
    """The picture of a log with at least one update, as SVG text; rows with an event are marked."""
    rows = [row for row in csv.DictReader(io.StringIO(log)) if row["loss"] != "nan"]
    updates = [row for row in rows if not row["event"]]
    if not updates:
        message = "the log has no updates to draw"
        raise ValueError(message)
    tokens = [int(row["loss_tokens"]) for row in updates]
    losses = [float(row["loss"]) for row in updates]
    smooth = _smoothed(losses, max(1, len(losses) // 60))
    most, top = max(tokens), min(max(losses), 10.0)
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(token: float, loss: float) -> str:
        x = _LEFT + plot_width * token / most
        return f"{x:.1f},{_TOP + plot_height * (1 - min(loss, top) / top):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#FAF9F6"/>',
        f'<text x="{_LEFT}" y="18" fill="{_INK}">Training loss, nats per token</text>',
    ]
    step = next(size for size in (0.5, 1, 2, 5) if top / size <= 6)
    for index in range(int(top / step) + 1):
        y = _TOP + plot_height * (1 - index * step / top)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_LINE}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" fill="{_MUTED}" text-anchor="end">'
            f"{index * step:g}</text>"
        )
    for quarter in range(5):
        x = _LEFT + plot_width * quarter / 4
        anchor = "middle" if quarter < 4 else "end"
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - 22}" fill="{_MUTED}" text-anchor="{anchor}">'
            f"{most * quarter / 4 / 1e6:.2f}M</text>"
        )
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" fill="{_MUTED}" text-anchor="end">'
        f"loss tokens</text>"
    )
    for values, colour, width in ((losses, _FAINT, 0.7), (smooth, _ACCENT, 2.0)):
        points = " ".join(map(place, tokens, values))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
    for row in rows:
        if row["event"]:
            x, y = place(int(row["loss_tokens"]), 0).split(",")
            parts.append(f'<path d="M{x} {_TOP}V{y}" stroke="#B3372B" stroke-dasharray="3 3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _smoothed(values: list[float], window: int) -> list[float]:
    """Mean over `window` values on both sides."""
    return [
        sum(part) / len(part)
        for index in range(len(values))
        for part in (values[max(0, index - window) : index + window + 1],)
    ]
