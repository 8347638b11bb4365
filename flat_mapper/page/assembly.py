"""A report: one self-contained page of configurations, that a browser opens without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from flat_mapper import __version__
from flat_mapper.base import units
from flat_mapper.page.charts import all_charts, library
from flat_mapper.page.data import page_data
from flat_mapper.page.facts import Facts, buffer_of
from flat_mapper.page.rows import (
    DONE,
    ReportRow,
    ReportRows,
    SavedEntry,
    common,
    input_of,
    number_text,
    report_rows,
    short,
)

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
