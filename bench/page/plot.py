"""Bars with goal lines, as SVG: a few rectangles and words, so nothing is needed to make them."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 760, 190, 110
BAR_HEIGHT, BAR_STEP, GROUP_SPACE, TOP = 16, 20, 26, 34
BARE = "bare"
COLOURS = {
    BARE: "#b8b8b8",
    "wireguard-go": "#7b6fb0",
    "openvpn": "#d08c46",
    "postern direct": "#1d7a5f",
    "postern relay": "#5fb59a",
}
OTHER_COLOUR = "#1d7a5f"
GOAL_COLOUR = "#c0392b"
FONT = 'font-family="sans-serif" font-size="12"'


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    goal: float | None = None
    """Where a line is drawn across this bar."""
    text: str = ""
    """Instead of the value."""


@dataclass(frozen=True)
class Group:
    title: str
    bars: list[Bar] = field(default_factory=list)


def draw(title: str, groups: list[Group]) -> str:
    """Horizontal bars, all on one scale, which is made for the tunnels: what the bare path has more is cut off."""
    groups = [group for group in groups if group.bars]
    bars = [bar for group in groups for bar in group.bars]
    measured = [max(bar.value, bar.goal or 0) for bar in bars if bar.label != BARE] or [bar.value for bar in bars]
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / (max(measured, default=1) or 1)
    y, parts = TOP, []
    for group in groups:
        parts.append(_text(0, y + 12, group.title, "font-weight='bold'"))
        y += GROUP_SPACE - 6
        for bar in group.bars:
            parts += _bar(bar, y, scale)
            y += BAR_STEP
        y += 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {WIDTH + 20} {y}" width="{WIDTH + 20}" {FONT}>'
    back = f'<rect x="-10" y="0" width="{WIDTH + 20}" height="{y}" fill="#ffffff"/>'
    return "\n".join([head, back, _text(0, 20, title, 'font-size="15"'), *parts, "</svg>"]) + "\n"


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    length = max(1.0, min(bar.value * scale, room))
    cut = " (cut off)" if bar.value * scale > room + 1 else ""
    colour = COLOURS.get(bar.label, OTHER_COLOUR)
    middle = y + BAR_HEIGHT - 4
    parts = [
        _text(LABEL_WIDTH - 8, middle, bar.label, 'text-anchor="end"'),
        f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>',
    ]
    value_at = length
    if bar.goal is not None:
        x = LABEL_WIDTH + bar.goal * scale
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + BAR_HEIGHT + 2}"'
        parts.append(f'<line {line} stroke="{GOAL_COLOUR}" stroke-width="2"/>')
        value_at = max(value_at, bar.goal * scale)
    parts.append(_text(LABEL_WIDTH + value_at + 6, middle, (bar.text or number(bar.value)) + cut))
    return parts


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#222222" {more}>{escape(words)}</text>'
