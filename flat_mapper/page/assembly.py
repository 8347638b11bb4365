"""A report: one self-contained page of configurations, that a browser opens without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert

from flat_mapper import __version__
from flat_mapper.base import units
from flat_mapper.page.data import (
    DONE,
    ReportRow,
    ReportRows,
    SavedEntry,
    common,
    input_of,
    number_text,
    page_data,
    report_rows,
    short,
)
from flat_mapper.page.facts import Facts, buffer_of

_PAGE = Path(__file__).parent / "assets"
MICRO = "\N{MICRO SIGN}"
_SIZES = ("seq", "B", "H", "P", "M", "E", "F")


_ALL = "all with an answer"
_Card = tuple[str, str, str]  # of one number that a reader wants first: label, value, note


def page(entries: Sequence[SavedEntry], title: str = "", designs: Sequence[Facts] = ()) -> str:
    """The page of some configurations, as HTML.

    designs: the architectures that `optimize` chose among them.

    raises: SpecError where an answer cannot be read, or vl-convert-python is missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rows = report_rows(entries)
    shared = common(entries, rows.varying)
    data = page_data(rows) | {"buffer_inputs": buffer_inputs(rows)}
    files = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined)
    files.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # in the model's order
    text: str = files.get_template("report.html.jinja").render(
        title=title or _title(entries, shared),
        shared=[(short(path), value) for path, value in shared.items() if value != ""],
        cards=_cards(rows),
        bests=_bests(rows) if len(rows.questions) > 1 else [],
        curves=len({buffer_of(facts)[2] for _, facts in rows.done}) > 1,
        pareto=len(rows.done) > 1,
        refused=_refused(rows.rows),
        designs=_design_table(designs),
        sources=_sources(rows),
        against=rows.against,
        data=data,
        specs=all_charts(),
        css=(_PAGE / "report.css").read_text(encoding="utf-8"),
        library=_embedded(library()),
        script="\n".join(f.read_text(encoding="utf-8") for f in sorted(_PAGE.glob("*.js"))),
        version=__version__,
    )
    return text


def _embedded(script: str) -> str:
    """A script that may stand inside a page: it cannot end its element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def buffer_inputs(rows: ReportRows) -> list[str]:
    """The varying inputs that set the size of the shared buffer."""
    levels = {buffer_of(facts)[0] for _, facts in rows.done}
    own = [p for p in rows.varying if any(p.startswith(f"arch.{level}.") for level in levels)]
    return own or [path for path in rows.varying if path == "arch"]


def _title(entries: Sequence[SavedEntry], shared: Mapping[str, object]) -> str:
    """The workloads and the chips of the runs."""
    problem, arch = shared.get("problem", "several problems"), shared.get("arch", "several chips")
    head = f"{Path(str(problem)).stem} on {Path(str(arch)).stem}"
    return head if len(entries) < 20 else f"{head}: {units.count(len(entries))} configurations"


def _cards(rows: ReportRows) -> list[_Card]:
    """The count of configurations, and the best by each objective where all answer one question."""
    done, count = rows.done, len(rows.rows)
    note = f"{units.count(count - len(done))} without an answer"
    found = [("configurations", units.count(count), note if len(done) < count else _ALL)]
    if not done:
        return found
    if len(rows.questions) > 1:
        asked = units.count(len(rows.questions))
        return [*found, ("workloads and lengths", asked, "the best of each below")]
    (fast, quick), (thrifty, cheap), (best, least) = (_best(done, cost) for cost, _, _ in _COSTS)
    used, full = max(done, key=lambda item: item[1]["utilization"])
    gain = f", {fast.speedup:.2f} x the baseline" if fast.speedup and len(done) > 1 else ""
    saved = thrifty.energy_saving
    share = f", {units.percent(saved)} saved" if saved and len(done) > 1 else ""
    busy = f"; busy: {full['busy_text']}" if full["busy_text"] else ""
    energy = _si(units.joules_of(cheap["energy_pj"]), "J")
    found += [
        ("least latency", _si(quick["latency_s"], "s"), fast.name + gain),
        ("least energy", energy, thrifty.name + share),
        ("least energy-delay product", _si(least["edp_js"], "J·s"), best.name),
        ("highest utilization", units.percent(full["utilization"]), used.name + busy),
    ]
    drawn = [(row, facts) for row, facts in done if facts["power_w"]]
    if drawn:
        row, facts = max(drawn, key=lambda item: item[1]["total_power_w"])
        watts, limit = facts["total_power_w"], facts["power_limit_w"]
        word = (
            "" if limit is None else f"; {'exceeds' if watts > limit else 'of'} {_si(limit, 'W')}"
        )
        found.append(("highest average power", _si(watts, "W"), row.name + word))
    return found


_COSTS = (("latency_s", "s", 1.0), ("energy_pj", "J", 1e-12), ("edp_js", "J·s", 1.0))


def _best(done: Sequence[tuple[ReportRow, Facts]], cost: str) -> tuple[ReportRow, Facts]:
    return min(done, key=lambda item: float(item[1][cost]))


def _bests(rows: ReportRows) -> list[dict[str, object]]:
    """For each question the least latency, energy and energy-delay product, with whose it is."""
    found: list[dict[str, object]] = []
    for asked in rows.questions:
        done = [(row, facts) for row, facts in rows.done if row.question == asked]
        costs = []
        for cost, unit, scale in _COSTS:
            row, facts = _best(done, cost)
            costs.append((_si(facts[cost] * scale, unit), _without(row.name, asked)))
        found.append({"question": asked, "costs": costs})
    return found


def _without(name: str, question: str) -> str:
    """A configuration's name without the words of its question."""
    told = set(question.split(" · "))
    return " · ".join(word for word in name.split(" · ") if word not in told) or name


def _si(value: float, unit: str) -> str:
    """A quantity as the page's other numbers have it: with a real micro sign."""
    number, _, rest = units.si(value, unit).partition(" ")
    return f"{number} {rest.replace('u', MICRO, 1)}"


_SHOWN: Mapping[str, Callable[[float], str]] = {
    "latency": lambda v: units.si(v, "s"),
    "energy": lambda v: units.si(units.joules_of(v), "J"),
    "edp": lambda v: units.si(v, "J·s"),
    "area": lambda v: f"{v:.4g} mm²",
    "buffer": units.size,
    "bandwidth": lambda v: units.si(v, "B/s"),
    "pes": lambda v: units.count(round(v)),
}


def _design_table(designs: Sequence[Facts]) -> dict[str, object] | None:
    """Heads and rows of the architectures that `optimize` chose; None where there are none."""
    if not designs:
        return None
    choices = list(dict.fromkeys(name for d in designs for name in d["coordinates"]))
    scores = [name for name in _SHOWN if any(name in d["scores"] for d in designs)]
    rows = []
    for design in designs:
        given, reached = design["coordinates"], design["scores"]
        chosen = [number_text(input_of(given.get(name, ""))) for name in choices]
        shown = [_SHOWN[name](reached[name]) if name in reached else "" for name in scores]
        rows.append({"cells": [*chosen, *shown], "binds": "; ".join(design["binds"])})
    return {"head": [*(short(name) for name in choices), *scores], "rows": rows}


def _refused(rows: Sequence[ReportRow]) -> list[dict[str, object]]:
    """The reasons for which there is no answer, each once, the most frequent first."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.entry.status != DONE:
            by_reason.setdefault((row.entry.status, row.entry.reason), []).append(row.name)
    found = [
        {"status": status, "text": text, "count": len(names), "names": _some(names)}
        for (status, text), names in by_reason.items()
    ]
    return sorted(found, key=lambda reason: -int(str(reason["count"])))


def _some(names: Sequence[str], count: int = 3) -> str:
    """A few names, and how many more there are."""
    more = len(names) - count
    return "; ".join(names[:count]) + (f"; and {units.count(more)} more" if more > 0 else "")


def _sources(rows: ReportRows) -> list[tuple[str, str]]:
    """Who counted and who priced, and the rules that the mappings are held to."""
    facts = [f for _, f in rows.done]
    found = {
        "Counts": _each(f"backend {f['backend']}" for f in facts),
        "Energies": _each(f["energy_source"] for f in facts),
        "Rules": _each(_rules(f) for f in facts),
        "Sizes": _each(" ".join(f"{r}={n}" for r, n in f["ranks"].items()) for f in facts[:1])
        if not any(size in rows.varying for size in _SIZES)
        else "",
    }
    priced = [(f["provenance"] or {}).get("energies") or {} for f in facts]
    if priced and all(one == priced[0] for one in priced):
        found |= {f"Price of {name}": str(source) for name, source in priced[0].items()}
    return [(name, text) for name, text in found.items() if text]


def _rules(facts: Facts) -> str:
    policy = dict(facts["policy"])
    placed = "in place" if policy.pop("in_place", False) else "not in place"
    return f"softmax {policy.pop('softmax', 'charged')} and {placed}, " + ", ".join(
        f"{name} {value}" for name, value in policy.items()
    )


def _each(texts: Iterable[str]) -> str:
    """Texts once each."""
    return "; ".join(dict.fromkeys(texts))


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
