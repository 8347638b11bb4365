"""The charts of a report as Vega-Lite specifications, made with Altair.

A chart names the data it draws; the page supplies them, filtered and in the theme's colours.
What else depends on the data, the page puts in the place of a word that starts with `@`.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import altair as alt
import vl_convert

Spec = dict[str, object]


def all_charts() -> dict[str, Spec]:
    """Every chart by its name in the page."""
    made = {
        "speedup": _speedup(),
        "energy": _energy(),
        "roofline": _roofline(),
        "timeline": _timeline(),
        "occupancy": _occupancy(),
        "curves": _curves(),
        "pareto": _pareto(log=False),
        "pareto_log": _pareto(log=True),
    }
    return {name: _spec(chart) for name, chart in made.items()}


def _spec(chart: alt.LayerChart) -> Spec:
    """A specification without a theme of its own: the page has one for light and for dark."""
    spec: Spec = chart.to_dict()
    return {
        key: value for key, value in spec.items() if key not in ("config", "datasets", "$schema")
    }


@cache  # bundled anew, it takes longer than the rest of a page
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which Altair's companion package carries."""
    script: str = vl_convert.javascript_bundle(_BUNDLE)
    return script


_BUNDLE = "window.vegaEmbed = vegaEmbed; window.vega = vega;"


def _speedup() -> alt.LayerChart:
    """Speed against the first row, a bar a configuration."""
    base = alt.Chart(alt.NamedData("shown")).encode(
        y=_names(),
        x=alt.X("speedup:Q", title="times the speed", axis=alt.Axis(tickCount=5, format="~g")),
        description="say:N",
        tooltip=_tips("name", latency_t="latency", speedup_t="speed-up", bottleneck="limited by"),
    )
    bars = base.mark_bar(cornerRadiusEnd=3, height=_BAR).encode(color=_own("color"))
    text = base.mark_text(align="left", dx=5, aria=False).encode(text="speedup_t:N")
    return _sized(bars + text, "Speed-up of each configuration", height=_STEP, step=True)


def _energy() -> alt.LayerChart:
    """Energy, stacked by its parts, a bar a configuration."""
    bars = (
        alt.Chart(alt.NamedData("parts"))
        .mark_bar(height=_BAR)
        .encode(
            y=_names(),
            x=alt.X("start:Q", title="energy", axis=_axis("si(datum.value, 'J')", 5)),
            x2="end:Q",
            color=_own("color"),
            description="say:N",
            tooltip=_tips("name", part="part", value_t="energy", share_t="share"),
        )
    )
    text = (
        alt.Chart(alt.NamedData("shown"))
        .mark_text(align="left", dx=5, aria=False)
        .encode(y=_names(), x="energy:Q", text="energy_t:N")
    )
    return _sized(bars + text, "Energy of each configuration by part", height=_STEP, step=True)


def _roofline() -> alt.LayerChart:
    """Computes per second over computes per off-chip byte, under the chip's roofs."""
    x = alt.X(
        "intensity:Q",
        title="computes per off-chip byte",
        scale=alt.Scale(type="log", nice=False, domain=["@xdomain"]),
        axis=_axis("plain(datum.value)", values="@xticks"),
    )
    y = alt.Y(
        "rate:Q",
        title="computes per second",
        scale=alt.Scale(type="log", nice=False, domain=["@ydomain"]),
        axis=_axis("si(datum.value, '')", values="@yticks"),
    )
    roofs = (
        alt.Chart(alt.NamedData("roofs"))
        .mark_line(strokeWidth=1.5, clip=True, aria=False)
        .encode(x=x, y=y, detail="roof:N", order="order:Q", strokeDash=_dash(), color=_own("color"))
    )
    points = (
        alt.Chart(alt.NamedData("points"))
        .mark_point(filled=True, opacity=0.9, strokeWidth=1.2)
        .encode(
            x=x,
            y=y,
            color=_own("color"),
            shape=alt.Shape("shape:N", scale=None, legend=None),
            size=alt.Size("size:Q", scale=None, legend=None),
            description="say:N",
            tooltip=_tips(
                "name", what="what", rate_t="reached", intensity_t="per off-chip byte",
                share_t="of its unit's peak",
            ),
        )
    )  # fmt: skip
    names = (
        alt.Chart(alt.NamedData("texts"))
        .mark_text(fontSize=11, aria=False, clip=True)
        .encode(x=x, y=y, text="text:N", color=_own("color"))
    )
    return _sized(roofs + points + names, "Roofline", height=380)


def _timeline() -> alt.LayerChart:
    """Work of each unit and DRAM, over two FLAT-tiles or a whole run."""
    x = alt.X(
        "start:Q", title="time", axis=_axis("si(datum.value, 's')", 6),
        scale=alt.Scale(nice=False, domain=["@xdomain"]),
    )  # fmt: skip
    y = alt.Y("lane:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False))
    bars = (
        alt.Chart(alt.NamedData("segments"))
        .mark_bar(height=alt.RelativeBandSize(0.62))
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            color=_own("color"),
            description="say:N",
            tooltip=_tips("name", what="what", lane="on", took_t="takes", from_t="from"),
        )
    )
    text = (
        alt.Chart(alt.NamedData("segments"))
        .transform_filter("datum.label != ''")
        .mark_text(fontSize=11, aria=False)
        .encode(x=alt.X("middle:Q"), y=y, text="label:N", color=_own("ink"))
    )
    rules = (
        alt.Chart(alt.NamedData("starts"))
        .mark_rule(strokeDash=[3, 3], aria=False)
        .encode(x=alt.X("at:Q"), color=_own("color"))
    )
    said = (
        alt.Chart(alt.NamedData("starts"))
        .mark_text(align="left", dx=4, dy=-7, fontSize=11, aria=False)
        .encode(x=alt.X("at:Q"), y=alt.value(0), text="text:N", color=_own("color"))
    )
    return _sized(
        bars + text + rules + said, "Timeline of the units and DRAM", height=_LANE, step=True
    )


def _occupancy() -> alt.LayerChart:
    """Contents of the shared buffer during one FLAT-tile."""
    x = alt.X(
        "start:Q", title="time in the tile", axis=_axis("si(datum.value, 's')", 6),
        scale=alt.Scale(nice=False, domain=["@xdomain"]),
    )  # fmt: skip
    y = alt.Y(
        "below:Q", title="@buffer", axis=_axis("bytes(datum.value)", values="@yticks"),
        scale=alt.Scale(nice=False, domain=["@ydomain"]),
    )  # fmt: skip
    areas = (
        alt.Chart(alt.NamedData("alive"))
        .mark_rect(strokeWidth=0)
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            y2="above:Q",
            color=_own("color"),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
            description="say:N",
            tooltip=_tips("name", what="what", bytes_t="takes", from_t="from", until_t="until"),
        )
    )
    lines = (
        alt.Chart(alt.NamedData("lines"))
        .mark_rule(strokeWidth=1.5, aria=False)
        .encode(y=alt.Y("at:Q"), strokeDash=_dash(), color=_own("color"))
    )
    said = (
        alt.Chart(alt.NamedData("lines"))
        .mark_text(align="right", dx=-4, dy=-7, fontSize=11, aria=False)
        .encode(x=alt.value("width"), y=alt.Y("at:Q"), text="text:N", color=_own("color"))
    )
    return _sized(areas + lines + said, "Buffer occupancy over one FLAT-tile", height=300)


def _curves() -> alt.LayerChart:
    """Utilization over the size of the shared buffer, a line for each setting of the rest."""
    base = alt.Chart(alt.NamedData("curves")).encode(
        x=alt.X(
            "capacity:Q",
            title="capacity of the shared buffer",
            scale=alt.Scale(type="log", base=2, nice=False, padding=14),
            axis=_axis("bytes(datum.value)", 8),
        ),
        y=alt.Y(
            "util:Q", title="utilization", scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        color=_own("color"),
        detail="series:N",
        description="say:N",
        tooltip=_row_tips(),
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=1.5, opacity=0.75, aria=False)
    points = base.mark_point(filled=True, size=42, opacity=0.95)
    return _sized(lines + points, "Utilization over buffer size", height=320)


def _pareto(*, log: bool) -> alt.LayerChart:
    """Two costs against each other, with the front of those that nothing dominates."""
    kind: Literal["log", "linear"] = "log" if log else "linear"
    x = alt.X(
        "x:Q", title="@xtitle", axis=_axis("@xlabel", 6, values="@xticks" if log else ""),
        scale=alt.Scale(type=kind, nice=False, domain=["@xdomain"]),
    )  # fmt: skip
    y = alt.Y(
        "y:Q", title="@ytitle", axis=_axis("@ylabel", 6, values="@yticks" if log else ""),
        scale=alt.Scale(type=kind, nice=False, domain=["@ydomain"]),
    )  # fmt: skip
    line = (
        alt.Chart(alt.NamedData("front"))
        .mark_line(interpolate="step-after", strokeWidth=1.5, aria=False)
        .encode(x=x, y=y, color=_own("ink"), detail="question:N")
    )
    points = (
        alt.Chart(alt.NamedData("costs"))
        .mark_point(filled=True)
        .encode(
            x=x,
            y=y,
            color=_own("color"),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
            size=alt.Size("size:Q", scale=None, legend=None),
            description="say:N",
            tooltip=_row_tips(),
        )
    )
    names = (
        alt.Chart(alt.NamedData("texts"))
        .mark_text(fontSize=11, aria=False)
        .encode(x=x, y=y, text="text:N", color=_own("color"))
    )
    return _sized(line + points + names, "Pareto front", height=360)


def _row_tips() -> list[alt.Tooltip]:
    return _tips(
        "name",
        latency_t="latency",
        energy_t="energy",
        util_t="utilization",
        busy_t="busy",
        power_t="average power",
        buffer_t="buffer",
        offchip_t="off-chip",
        bottleneck="limited by",
    )


_BAR = 16  # pixels
_STEP = 27  # pixels from one bar to the next
_LANE = 52  # pixels of a lane of the timeline


def _sized(chart: alt.LayerChart, said: str, *, height: int, step: bool = False) -> alt.LayerChart:
    """As wide as its place in the page; `said` is its name for screen readers."""
    size: int | alt.Step = alt.Step(height) if step else height
    return chart.properties(width="container", height=size, description=said)


def _names() -> alt.Y:
    """A row for each configuration, in the order of the table."""
    shown = "slice(datum.label, indexof(datum.label, '|') + 1)"  # `bar` begins with a row's number
    axis = alt.Axis(ticks=False, domain=False, labelExpr=shown)
    return alt.Y("bar:N", sort=None, title=None, axis=axis)


def _own(field: str) -> alt.Color:
    """A colour that stands in the data; the page draws the legend."""
    return alt.Color(f"{field}:N", scale=None, legend=None)


def _dash() -> alt.StrokeDash:
    return alt.StrokeDash("dash:N", scale=None, legend=None)


def _axis(label: str, count: int = 5, *, values: str = "") -> alt.Axis:
    """An axis whose numbers carry their units, at ticks that the page may place."""
    if values:
        return alt.Axis(labelExpr=label, values=[values], labelOverlap=True)
    return alt.Axis(labelExpr=label, tickCount=count, labelOverlap=True)


def _tips(name: str, **fields: str) -> list[alt.Tooltip]:
    """The lines of a hover: a heading (what vega-tooltip makes of `title`), then fields."""
    titled = {name: "title", **fields}
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titled.items()]
