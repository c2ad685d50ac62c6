"""Charts as inline SVG: lines over time, error bars, confusion matrices, shares. Colours come from the page's style."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34
DASHES = ("", "5 3", "1.5 2.5", "7 2 1.5 2")  # of the 9th series on, when the colours begin again
COLOURS = 7  # of models; an eighth, grey, is that of the literature
LABEL = 22  # characters of a label
MOST_POINTS = 400  # of one line; a chart is not wider than that


class Line(NamedTuple):
    """One series; `colour` is the number of its model."""

    label: str
    colour: int
    points: Sequence[tuple[float, float]]
    dots: bool = False


def lines(series: Sequence[Line], x_label: str, name: str, whole: bool = False) -> Markup:
    """Draw lines on one pair of axes; `whole` says that x counts something."""
    series = [line._replace(points=_thinned(_finite(line.points))) for line in series]
    series = [line for line in series if line.points]
    if not series:
        return Markup("")
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    log = min(ys) > 0 and max(ys) / min(ys) > 300  # losses that fall by orders of magnitude
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = Scale(_height(min(ys), log), _height(max(ys), log), HEIGHT - BOTTOM, TOP)
    parts = [_grid(up, log), _feet(across, whole, x_label)]
    for line in series:
        places = [(across(x), up(_height(y, log))) for x, y in line.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(_tag("path", d=path, class_=f"line {shade(line.colour)}", stroke_dasharray=_dash(line.colour)))
        if line.dots or len(places) == 1:
            title = _tag("title", line.label)
            parts += [_tag("circle", title, cx=x, cy=y, r=2.6, class_=f"dot {shade(line.colour)}") for x, y in places]
    return _svg(WIDTH, HEIGHT, name, parts)


def error_bar(
    value: float, low: float | None, high: float | None, least: float, most: float, colour: int | None
) -> Markup:
    """Draw a value and its interval on the scale that its column shares."""
    across = Scale(least, most, 4, 76)
    middle = _tag("circle", cx=across(value), cy=5, r=2.4, class_="dot")
    parts = [_tag("line", x1=2, x2=78, y1=5, y2=5, class_="rail")]
    if low is not None and high is not None:
        left, right = across(low), across(high)
        parts.append(_tag("line", x1=left, x2=right, y1=5, y2=5, class_="span"))
        parts += [_tag("line", x1=x, x2=x, y1=2, y2=8, class_="span") for x in (left, right)]
    inside, kinds = Markup("").join([*parts, middle]), f"bar {shade(colour)}"
    return _tag("svg", inside, viewBox="0 0 80 10", width=80, height=10, class_=kinds, aria_hidden="true")


def confusion(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[float]], name: str) -> Markup:
    """Draw how often each true label (a row) was found as each column: shares of the row by shade, counts as text."""
    side = 34 if len(columns) <= 12 else 22
    upright = max(map(len, columns), default=0) > 4  # longer labels would run into each other
    left, top = _label_width(rows), _label_width(columns) + 8 if upright else 22
    parts = []
    for i, (label, row) in enumerate(zip(rows, counts, strict=True)):
        total = sum(row) or 1
        parts.append(_tag("text", _fit(label), x=left - 6, y=top + i * side + side / 2, class_="end middle"))
        for j, count in enumerate(row):
            share, x, y = count / total, left + j * side, top + i * side
            title = _tag("title", f"{label}, found as {columns[j]}: {count:g}, {share:.1%} of the row")
            parts.append(_tag("rect", x=x, y=y, width=side - 1, height=side - 1, class_="empty"))
            parts.append(
                _tag("rect", title, x=x, y=y, width=side - 1, height=side - 1, class_="share", fill_opacity=share)
            )
            if side >= 30:
                parts.append(_tag("text", _percent(share), x=x + side / 2, y=y + side / 2, class_=_on(share)))
    heads = []
    for j, label in enumerate(columns):
        across = left + j * side + side / 2
        turned = (
            {"class_": "middle", "transform": f"rotate(-90 {across:g} {top - 8})"} if upright else {"class_": "mid"}
        )
        heads.append(_tag("text", _fit(label), x=across, y=top - 8, **turned))
    return _svg(left + len(columns) * side + 4, top + len(rows) * side + 4, name, [*heads, *parts], "matrix")


def bars(labels: Sequence[str], values: Sequence[float], notes: Sequence[str], name: str, colour: int) -> Markup:
    """Draw shares in [0, 1] as horizontal bars, a line each."""
    left, step, room = _label_width(labels), 19, 220
    parts = []
    for i, (label, value, note) in enumerate(zip(labels, values, notes, strict=True)):
        y = 6 + i * step
        parts += [
            _tag("text", _fit(label), x=left - 6, y=y + 6, class_="end middle"),
            _tag("rect", x=left, y=y, width=room, height=12, class_="empty"),
            _tag(
                "rect",
                _tag("title", note),
                x=left,
                y=y,
                width=room * value,
                height=12,
                class_=f"full {shade(colour)}",
            ),
            _tag("text", _percent(value) + " %", x=left + room + 6, y=y + 6, class_="middle"),
        ]
    return _svg(left + room + 48, 10 + len(labels) * step, name, parts, "bars")


def spreads(labels: Sequence[str], deciles: Sequence[Sequence[float]], name: str, colour: int) -> Markup:
    """Draw, a line each, where values lie, from their 11 deciles: the median, and the middle 40 % and 80 %."""
    left, step, room, kinds = _label_width(labels), 19, 240, shade(colour)
    least, most = min(line[1] for line in deciles), max(line[9] for line in deciles)
    across = Scale(min(least, 0), max(most, 0), left, left + room)
    bottom = 6 + len(labels) * step
    parts = [_tag("line", x1=across(at), x2=across(at), y1=2, y2=bottom, class_="grid") for at in ticks(*across[:2], 5)]
    parts += [_tag("text", _short(at), x=across(at), y=bottom + 12, class_="mid") for at in ticks(*across[:2], 5)]
    for i, (label, line) in enumerate(zip(labels, deciles, strict=True)):
        y = 12 + i * step
        parts += [
            _tag("text", _fit(label), x=left - 6, y=y, class_="end middle"),
            _tag("line", x1=across(line[1]), x2=across(line[9]), y1=y, y2=y, class_=f"line {kinds}"),
            _tag("line", x1=across(line[3]), x2=across(line[7]), y1=y, y2=y, class_=f"line thick {kinds}"),
            _tag(
                "circle",
                _tag("title", f"{label}: median {line[5]:.4g}"),
                cx=across(line[5]),
                cy=y,
                r=3,
                class_=f"dot {kinds}",
            ),
        ]
    return _svg(left + room + 16, bottom + 18, name, parts, "bars")


def shade(colour: int | None) -> str:
    """Return the class that gives an element the colour of a model; grey for none."""
    return f"c{COLOURS if colour is None else colour % COLOURS}"


class Scale(NamedTuple):
    """Values from `least` to `most` onto pixels from `start` to `stop`."""

    least: float
    most: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = self.most - self.least
        return self.start + (self.stop - self.start) * ((value - self.least) / span if span else 0.5)


def ticks(least: float, most: float, count: int = 5, whole: bool = False) -> list[float]:
    """Return round numbers between two values: multiples of 1, 2 or 5 times a power of ten."""
    if not 1e-300 < most - least < math.inf:  # no room between them, or more than a float tells
        return [least]
    raw = (most - least) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= 0.7 * raw)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(least / step - 1e-9), math.floor(most / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _grid(up: Scale, log: bool) -> Markup:
    parts = []
    for at in ticks(up.least, up.most, 4, whole=log and up.most - up.least >= 2):
        y, label = up(at), _short(10**at if log else at)
        parts += [
            _tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
            _tag("text", label, x=LEFT - 6, y=y, class_="end middle"),
        ]
    return Markup("").join(parts)


def _feet(across: Scale, whole: bool, label: str) -> Markup:
    bottom = HEIGHT - BOTTOM
    parts = [_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")]
    parts += [
        _tag("text", _short(at), x=across(at), y=bottom + 14, class_="mid")
        for at in ticks(across.least, across.most, 6, whole)
    ]
    parts.append(_tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, class_="mid soft"))
    return Markup("").join(parts)


def _height(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most MOST_POINTS, evenly spread, the last one among them."""
    stride = -(-len(points) // MOST_POINTS)
    return list(points[:: -stride or None][::-1]) if stride > 1 else list(points)


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= unit:
                return f"{value / unit:.3g}{letter}"
    return f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _on(share: float) -> str:
    return "mid middle light" if share > 0.55 else "mid middle"


def _dash(colour: int) -> str:
    return DASHES[colour // COLOURS % len(DASHES)]


def _label_width(labels: Sequence[str]) -> int:
    return 14 + 7 * max(len(_fit(label)) for label in labels)


def _fit(label: str) -> str:
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"


def _svg(width: float, height: float, name: str, parts: Sequence[Markup], kind: str = "") -> Markup:
    box = f"0 0 {width:g} {height:g}"
    kinds = f"chart {kind}".strip()
    return _tag("svg", Markup("").join(parts), viewBox=box, role="img", aria_label=name, class_=kinds, width=width)


def _tag(tag: str, inside: str = "", **attributes: float | str) -> Markup:
    """Return one element, everything that is not Markup escaped; an empty attribute is left out."""
    words = [
        f' {key if key == "viewBox" else key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value != ""
    ]
    return Markup(f"<{tag}{''.join(words)}>{escape(inside)}</{tag}>")


def _attribute(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
