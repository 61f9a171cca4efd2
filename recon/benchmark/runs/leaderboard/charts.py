"""Scatter plots as inline SVG: a cost on a logarithmic axis, a quality on a linear one."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 44
COLORS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#dc2626", "#65a30d")


@dataclass(frozen=True)
class Point:
    """One entry of the tables."""

    label: str
    x: float
    y: float
    color: str


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """The plot; empty text where no entry has both figures."""
    points = [p for p in points if p.x > 0 and math.isfinite(p.x) and math.isfinite(p.y)]
    if not points:
        return ""
    x_axis = _LogAxis(*_padded_log([p.x for p in points]))
    y_axis = _LinearAxis(*_padded([p.y for p in points]))
    marks = "".join(
        f'<circle cx="{x_axis.place(p.x):.1f}" cy="{y_axis.place(p.y):.1f}" r="6" fill="{p.color}">'
        f"<title>{html.escape(p.label)}: {p.y:.2f} at {_short(p.x)}</title></circle>"
        for p in points
    )
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(y_title)} against {html.escape(x_title)}">'
        f"{x_axis.draw()}{y_axis.draw()}{marks}"
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_title)}</text>'
        f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">{html.escape(y_title)}</text></svg>'
    )


@dataclass(frozen=True)
class _LogAxis:
    low: float
    high: float

    def place(self, value: float) -> float:
        share = (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def draw(self) -> str:
        """Ticks at 1, 2 and 5 times the powers of ten, at each number where those would be few."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), range(1, 10)):
            ticks = [m * 10.0**p for p in powers for m in steps if self.low <= m * 10.0**p <= self.high]
            if len(ticks) > 2:
                break
        return "".join(
            f'<line class="axis" x1="{self.place(t):.1f}" x2="{self.place(t):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text x="{self.place(t):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_short(t)}</text>'
            for t in ticks
        )


@dataclass(frozen=True)
class _LinearAxis:
    low: float
    high: float

    def place(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> str:
        """About five ticks at round numbers."""
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
        ticks = [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return "".join(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.place(t):.1f}" y2="{self.place(t):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{self.place(t) + 4:.1f}" text-anchor="end">{_short(t)}</text>'
            for t in ticks
        )


def _padded_log(values: Sequence[float]) -> tuple[float, float]:
    """Room on both sides, and at least a factor of three."""
    middle = math.sqrt(min(values) * max(values))
    reach = max(1.35 * math.sqrt(max(values) / min(values)), 1.8)
    return middle / reach, middle * reach


def _padded(values: Sequence[float]) -> tuple[float, float]:
    margin = max(0.12 * (max(values) - min(values)), 0.02 * abs(max(values)), 1e-3)
    return min(values) - margin, max(values) + margin


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value / 1e3:.0f}k"
