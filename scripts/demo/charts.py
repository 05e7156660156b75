"""Horizontal bar charts as inline SVG. Colours come from the page's CSS variables, so they follow its scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABEL, _VALUE = 760, 170, 92
_BAR, _GAP, _GROUP = 14, 2, 14


@dataclass(frozen=True)
class Series:
    """One colour of a chart: its name, its CSS class, a value for each group, and the text at the end of each bar."""

    name: str
    style: str
    values: Sequence[float]
    texts: Sequence[str]


def bars(title: str, groups: Sequence[str], series: Sequence[Series]) -> str:
    """A chart with a group of bars for each name, from zero, all on one linear scale."""
    scale = (_WIDTH - _LABEL - _VALUE) / (max(max(one.values) for one in series) or 1)
    step = len(series) * (_BAR + _GAP) + _GROUP
    height = 30 + step * len(groups)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">',
        _legend(series),
        f'<line class="axis" x1="{_LABEL}" x2="{_LABEL}" y1="24" y2="{height - 4}"/>',
    ]
    for position, name in enumerate(groups):
        top = 30 + position * step
        middle = top + (step - _GROUP) / 2
        parts.append(
            f'<text class="name" x="{_LABEL - 10}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>'
        )
        parts += [
            _bar(one, position, top + row * (_BAR + _GAP), scale, f"{name}, {one.name}")
            for row, one in enumerate(series)
        ]
    return "\n".join([*parts, "</svg>"])


def _bar(series: Series, position: int, top: float, scale: float, tip: str) -> str:
    width = max(series.values[position] * scale, 1)
    text = escape(series.texts[position])
    return (
        f'<g><title>{escape(tip)}: {text}</title>'
        f'<path class="{series.style}" d="{_shape(_LABEL, top, width)}"/>'
        f'<text class="value" x="{_LABEL + width + 6:.1f}" y="{top + _BAR - 3}">{text}</text></g>'
    )  # fmt: skip


def _shape(left: float, top: float, width: float) -> str:
    """A bar whose far end is round; square where it meets the axis."""
    radius = min(3.0, width / 2)
    return (
        f"M{left} {top}h{width - radius:.1f}q{radius:.1f} 0 {radius:.1f} {radius:.1f}v{_BAR - 2 * radius:.1f}"
        f"q0 {radius:.1f} -{radius:.1f} {radius:.1f}h-{width - radius:.1f}z"
    )  # fmt: skip


def _legend(series: Sequence[Series]) -> str:
    parts, left = [], float(_LABEL)
    for one in series:
        parts.append(f'<rect class="{one.style}" x="{left}" y="4" width="11" height="11" rx="2"/>')
        parts.append(f'<text class="key" x="{left + 17}" y="14">{escape(one.name)}</text>')
        left += 40 + 7.2 * len(one.name)
    return "".join(parts)
