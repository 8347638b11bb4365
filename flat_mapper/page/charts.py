"""The charts of a report as Vega-Lite specifications.

A chart names the data it draws; the page supplies them, filtered and in the theme's colours.
What else depends on the data, the page puts in the place of a word that starts with `@`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import vl_convert

Spec = dict[str, Any]


@cache  # bundled anew, it takes longer than the rest of a page
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which a package for Python carries."""
    script: str = vl_convert.javascript_bundle(_BUNDLE)
    return script


_BUNDLE = "window.vegaEmbed = vegaEmbed; window.vega = vega;"
_KINDS = {"N": "nominal", "Q": "quantitative"}
_BAR = 16  # pixels
_STEP = {"step": 27}  # pixels from one bar to the next
_LANE = {"step": 52}  # pixels of a lane of the timeline


def _chart(said: str, height: object, *layers: Spec, **data: object) -> Spec:
    """As wide as its place in the page; `said` is its name for screen readers."""
    size = {"description": said, "height": height, "width": "container"}
    return {"layer": list(layers), **data, **size}


def _layer(source: str, mark: str, style: Spec, **encoding: object) -> Spec:
    """Marks of one kind for the data of a name, or for the chart's own; a text is a field."""
    data = {"data": _named(source)} if source else {}
    channels = {n: _field(c) if isinstance(c, str) else c for n, c in sorted(encoding.items())}
    return {**data, "mark": {"type": mark, **style}, "encoding": channels}


def _named(source: str) -> Spec:
    return {"name": source}


def _field(written: str, **said: object) -> Spec:
    """A field with its kind, `speedup:Q`, and what is said of it."""
    name, _, kind = written.partition(":")
    found = {"field": name} | ({"type": _KINDS[kind]} if kind else {}) | said
    return dict(sorted(found.items()))


def _own(written: str) -> Spec:
    """A field whose values are colours, sizes or shapes themselves; the page draws the legend."""
    return _field(written, scale=None, legend=None)


def _axis(label: str, count: int = 5, *, values: str = "") -> Spec:
    """An axis whose numbers carry their units, at ticks that the page may place."""
    ticks = {"values": [values]} if values else {"tickCount": count}
    return {"labelExpr": label, "labelOverlap": True, **ticks}


def _domain(values: str, **kind: str) -> Spec:
    return {"domain": [values], "nice": False, **kind}


def _tips(**fields: str) -> list[Spec]:
    """The lines of a hover: a heading (what vega-tooltip makes of `title`), then fields."""
    return [_field(f"{f}:N", title=title) for f, title in {"name": "title", **fields}.items()]


_COLOR = _own("color:N")
_INK = _own("ink:N")
_DASH = _own("dash:N")
_WORDS: Spec = {"aria": False, "fontSize": 11}
_BESIDE: Spec = {"align": "left", "aria": False, "dx": 5}
_ROW_TIPS = _tips(
    latency_t="latency",
    energy_t="energy",
    util_t="utilization",
    busy_t="busy",
    power_t="average power",
    buffer_t="buffer",
    offchip_t="off-chip",
    bottleneck="limited by",
)
_ROWS = _field(  # a row for each configuration, in the order of the table
    "bar:N",
    sort=None,
    title=None,
    axis={
        "domain": False,  # `bar` begins with a row's number
        "labelExpr": "slice(datum.label, indexof(datum.label, '|') + 1)",
        "ticks": False,
    },
)


def all_charts() -> dict[str, Spec]:
    """Every chart by its name in the page."""
    return {
        "speedup": _speedup(),
        "energy": _energy(),
        "roofline": _roofline(),
        "timeline": _timeline(),
        "occupancy": _occupancy(),
        "curves": _curves(),
        "pareto": _pareto("linear"),
        "pareto_log": _pareto("log"),
    }


def _speedup() -> Spec:
    """Speed against the first row, a bar a configuration."""
    axis = {"format": "~g", "tickCount": 5}
    shared = {
        "y": _ROWS,
        "x": _field("speedup:Q", title="times the speed", axis=axis),
        "description": "say:N",
        "tooltip": _tips(latency_t="latency", speedup_t="speed-up", bottleneck="limited by"),
    }
    bars = _layer("", "bar", {"cornerRadiusEnd": 3, "height": _BAR}, color=_COLOR, **shared)
    text = _layer("", "text", _BESIDE, text="speedup_t:N", **shared)
    return _chart("Speed-up of each configuration", _STEP, bars, text, data=_named("shown"))


def _energy() -> Spec:
    """Energy, stacked by its parts, a bar a configuration."""
    bars = _layer(
        *("parts", "bar", {"height": _BAR}),
        y=_ROWS,
        x=_field("start:Q", title="energy", axis=_axis("si(datum.value, 'J')")),
        x2="end",
        color=_COLOR,
        description="say:N",
        tooltip=_tips(part="part", value_t="energy", share_t="share"),
    )
    text = _layer("shown", "text", _BESIDE, y=_ROWS, x="energy:Q", text="energy_t:N")
    return _chart("Energy of each configuration by part", _STEP, bars, text)


def _roofline() -> Spec:
    """Computes per second over computes per off-chip byte, under the chip's roofs."""
    x = _field(
        "intensity:Q",
        title="computes per off-chip byte",
        scale=_domain("@xdomain", type="log"),
        axis=_axis("plain(datum.value)", values="@xticks"),
    )
    y = _field(
        "rate:Q",
        title="computes per second",
        scale=_domain("@ydomain", type="log"),
        axis=_axis("si(datum.value, '')", values="@yticks"),
    )
    at: Spec = {"x": x, "y": y, "color": _COLOR}
    roofs = _layer(
        *("roofs", "line", {"aria": False, "clip": True, "strokeWidth": 1.5}),
        **at,
        detail="roof:N",
        order="order:Q",
        strokeDash=_DASH,
    )
    points = _layer(
        *("points", "point", {"filled": True, "opacity": 0.9, "strokeWidth": 1.2}),
        **at,
        shape=_own("shape:N"),
        size=_own("size:Q"),
        description="say:N",
        tooltip=_tips(
            what="what",
            rate_t="reached",
            intensity_t="per off-chip byte",
            share_t="of its unit's peak",
        ),
    )
    names = _layer(
        "texts", "text", {"aria": False, "clip": True, "fontSize": 11}, **at, text="text:N"
    )
    return _chart("Roofline", 380, roofs, points, names)


def _timeline() -> Spec:
    """Work of each unit and DRAM, over two FLAT-tiles or a whole run."""
    time = _axis("si(datum.value, 's')", 6)
    y = _field("lane:N", sort=None, title=None, axis={"domain": False, "ticks": False})
    bars = _layer(
        *("segments", "bar", {"height": {"band": 0.62}}),
        x=_field("start:Q", title="time", axis=time, scale=_domain("@xdomain")),
        x2="end",
        y=y,
        color=_COLOR,
        description="say:N",
        tooltip=_tips(what="what", lane="on", took_t="takes", from_t="from"),
    )
    text = _layer("segments", "text", _WORDS, x="middle:Q", y=y, text="label:N", color=_INK)
    text["transform"] = [{"filter": "datum.label != ''"}]
    dashed = {"aria": False, "strokeDash": [3, 3]}
    rules = _layer("starts", "rule", dashed, x="at:Q", color=_COLOR)
    style = {"align": "left", "aria": False, "dx": 4, "dy": -7, "fontSize": 11}
    said = _layer("starts", "text", style, x="at:Q", y={"value": 0}, text="text:N", color=_COLOR)
    return _chart("Timeline of the units and DRAM", _LANE, bars, text, rules, said)


def _occupancy() -> Spec:
    """Contents of the shared buffer during one FLAT-tile."""
    time = _axis("si(datum.value, 's')", 6)
    size = _axis("bytes(datum.value)", values="@yticks")
    areas = _layer(
        *("alive", "rect", {"strokeWidth": 0}),
        x=_field("start:Q", title="time in the tile", axis=time, scale=_domain("@xdomain")),
        x2="end",
        y=_field("below:Q", title="@buffer", axis=size, scale=_domain("@ydomain")),
        y2="above",
        color=_COLOR,
        opacity=_own("opacity:Q"),
        description="say:N",
        tooltip=_tips(what="what", bytes_t="takes", from_t="from", until_t="until"),
    )
    solid = {"aria": False, "strokeWidth": 1.5}
    lines = _layer("lines", "rule", solid, y="at:Q", strokeDash=_DASH, color=_COLOR)
    style = {"align": "right", "aria": False, "dx": -4, "dy": -7, "fontSize": 11}
    end = {"value": "width"}
    said = _layer("lines", "text", style, x=end, y="at:Q", text="text:N", color=_COLOR)
    return _chart("Buffer occupancy over one FLAT-tile", 300, areas, lines, said)


def _curves() -> Spec:
    """Utilization over the size of the shared buffer, a line for each setting of the rest."""
    doubling = {"base": 2, "nice": False, "padding": 14, "type": "log"}
    share, axis = {"domain": [0, 1]}, {"format": ".0%", "tickCount": 5}
    shared = {
        "x": _field(
            "capacity:Q",
            title="capacity of the shared buffer",
            scale=doubling,
            axis=_axis("bytes(datum.value)", 8),
        ),
        "y": _field("util:Q", title="utilization", scale=share, axis=axis),
        "color": _COLOR,
        "detail": "series:N",
        "description": "say:N",
        "tooltip": _ROW_TIPS,
    }
    lines = _layer("", "line", {"aria": False, "opacity": 0.75, "strokeWidth": 1.5}, **shared)
    points = _layer("", "point", {"filled": True, "opacity": 0.95, "size": 42}, **shared)
    return _chart("Utilization over buffer size", 320, lines, points, data=_named("curves"))


def _pareto(kind: str) -> Spec:
    """Two costs against each other, with the front of those that nothing dominates."""
    x, y = (
        _field(
            f"{name}:Q",
            title=f"@{name}title",
            axis=_axis(f"@{name}label", 6, values=f"@{name}ticks" if kind == "log" else ""),
            scale=_domain(f"@{name}domain", type=kind),
        )
        for name in "xy"
    )
    steps = {"aria": False, "interpolate": "step-after", "strokeWidth": 1.5}
    line = _layer("front", "line", steps, x=x, y=y, color=_INK, detail="question:N")
    points = _layer(
        *("costs", "point", {"filled": True}),
        x=x,
        y=y,
        color=_COLOR,
        opacity=_own("opacity:Q"),
        size=_own("size:Q"),
        description="say:N",
        tooltip=_ROW_TIPS,
    )
    names = _layer("texts", "text", _WORDS, x=x, y=y, text="text:N", color=_COLOR)
    return _chart("Pareto front", 360, line, points, names)
