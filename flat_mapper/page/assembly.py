"""A report: one self-contained page of configurations, that a browser opens without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from flat_mapper.page.facts import Facts
from flat_mapper.reports.fields import (
    FIELDS,
    FieldUnit,
    buffer_of,
    busy_text,
    power_of,
    shown,
    sizes_text,
)

_PAGE = Path(__file__).parent / "assets"
_SIZES = ("seq", "B", "H", "P", "M", "E", "F")
_BEST = {"latency_s": "latency", "energy_pj": "energy", "edp_js": "energy-delay product"}
_Card = tuple[str, str, str]  # of one number that a reader wants first: label, value, note


def page(entries: Sequence[SavedEntry], title: str = "", designs: Sequence[Facts] = ()) -> str:
    """The page of some configurations, as HTML.

    designs: the architectures that `optimize` chose among them.

    raises: SpecError where an answer cannot be read.
    """
    rows = report_rows(entries)
    shared = common(entries, rows.varying)
    files, data = templates(_said), page_data(rows)
    hues = data["hues"]["tensor"]
    tree = files.get_template("tree.html.jinja")
    for found in data["details"].values():
        found["tree"] = tree.render(found=found, hue=lambda name: hues.get(name, "var(--muted)"))
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
        script="\n".join(f.read_text(encoding="utf-8") for f in sorted(_PAGE.glob("*.js"))),
    )
    return text


def templates(said: Callable[[Any, FieldUnit], str]) -> Any:
    """The templates of pages, with their style sheet and the version; said: a quantity in words."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    files = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined)
    files.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # in the model's order
    files.filters["shown"] = said
    css = (_PAGE / "report.css").read_text(encoding="utf-8")
    files.globals |= {"css": css, "version": __version__}
    return files


def _title(entries: Sequence[SavedEntry], shared: Mapping[str, object]) -> str:
    """The workloads and the chips of the runs."""
    problem, arch = shared.get("problem", "several problems"), shared.get("arch", "several chips")
    head = f"{Path(str(problem)).stem} on {Path(str(arch)).stem}"
    return head if len(entries) < 20 else f"{head}: {units.count(len(entries))} configurations"


def _cards(rows: ReportRows) -> list[_Card]:
    """The count of configurations, and the best by each objective where all answer one question."""
    done, count = rows.done, len(rows.rows)
    without = f"{units.count(count - len(done))} without an answer"
    note = without if len(done) < count else "all with an answer"
    found = [("configurations", units.count(count), note)]
    if not done:
        return found
    if len(rows.questions) > 1:
        asked = units.count(len(rows.questions))
        return [*found, ("workloads and lengths", asked, "the best of each below")]
    for key, name in _BEST.items():
        row, facts = _best(done, key)
        gain = ""
        if len(done) > 1 and key == "latency_s" and facts["speedup"]:
            gain = f", {facts['speedup']:.2f} x the baseline"
        elif len(done) > 1 and key == "energy_pj" and facts["energy_saving"]:
            gain = f", {units.percent(facts['energy_saving'])} saved"
        found.append((f"least {name}", _said(facts[key], FIELDS[key].unit), row.name + gain))
    row, facts = max(done, key=lambda item: float(item[1]["utilization"]))
    busy = f"; busy: {busy_text(facts['busy'])}" if facts["busy"] else ""
    found.append(("highest utilization", units.percent(facts["utilization"]), row.name + busy))
    return found + _power_card(done)


def _power_card(done: Sequence[tuple[ReportRow, Facts]]) -> list[_Card]:
    """The most that a configuration draws, with what it may; none where nothing says energies."""
    drawn = [(sum(power_of(facts).values()), row, facts) for row, facts in done]
    watts, row, facts = max(drawn, key=lambda item: item[0])
    if not watts:
        return []
    limit = facts["power_limit_w"]
    word = "exceeds" if limit is not None and watts > limit else "of"
    beside = "" if limit is None else f"; {word} {_said(limit, 'W')}"
    return [("highest average power", _said(watts, "W"), row.name + beside)]


def _best(done: Sequence[tuple[ReportRow, Facts]], cost: str) -> tuple[ReportRow, Facts]:
    return min(done, key=lambda item: float(item[1][cost]))


def _bests(rows: ReportRows) -> list[dict[str, object]]:
    """For each question the least latency, energy and energy-delay product, with whose it is."""
    found: list[dict[str, object]] = []
    for asked in rows.questions:
        done = [(row, facts) for row, facts in rows.done if row.question == asked]
        told = set(asked.split(" · "))  # which names need not repeat
        costs = []
        for cost in _BEST:
            row, facts = _best(done, cost)
            name = " · ".join(word for word in row.name.split(" · ") if word not in told)
            costs.append((_said(facts[cost], FIELDS[cost].unit), name or row.name))
        found.append({"question": asked, "costs": costs})
    return found


def _said(value: object, unit: FieldUnit) -> str:
    """A quantity as the page's other numbers have it: with a real micro sign, and no asterisk."""
    number, _, rest = shown(value, unit).partition(" ")
    return f"{number} {rest.replace('u', '\N{MICRO SIGN}', 1).replace('*', '·')}".rstrip()


# Of the scores by which `optimize` chooses; the rest are named as they are.
_SCORES: Mapping[str, FieldUnit] = {
    **{"latency": "s", "energy": "pJ", "edp": "J*s", "area": "mm2", "buffer": "B"},
    **{"bandwidth": "B/s", "pes": ""},
}


def _design_table(designs: Sequence[Facts]) -> dict[str, object] | None:
    """Heads and rows of the architectures that `optimize` chose; None where there are none."""
    if not designs:
        return None
    choices = dict.fromkeys(name for d in designs for name in d["coordinates"])
    reached = {name for d in designs for name in d["scores"]}
    scores = [name for name in _SCORES if name in reached]

    def row(design: Facts) -> dict[str, object]:
        given, values = design["coordinates"], design["scores"]
        cells = [number_text(input_of(given.get(name, ""))) for name in choices]
        cells += [_said(values.get(name), _SCORES[name]) for name in scores]
        return {"cells": cells, "binds": "; ".join(design["binds"])}

    return {"head": [*map(short, choices), *scores], "rows": list(map(row, designs))}


def _refused(rows: Sequence[ReportRow]) -> list[dict[str, object]]:
    """The reasons for which there is no answer, each once, the most frequent first."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.entry.status != DONE:
            by_reason.setdefault((row.entry.status, row.entry.reason), []).append(row.name)
    listed = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return [
        {"status": status, "text": text, "count": len(names), "names": _some(names)}
        for (status, text), names in listed
    ]


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
    }
    if not any(size in rows.varying for size in _SIZES):
        found["Sizes"] = _each(sizes_text(f["ranks"]) for f in facts[:1])
    return [(name, text) for name, text in (found | _prices(facts)).items() if text]


def _prices(facts: Sequence[Facts]) -> dict[str, str]:
    """The source of each component's price, where all answers have the same."""
    priced = [(f["provenance"] or {}).get("energies") or {} for f in facts]
    if any(one != priced[0] for one in priced):
        return {}
    return {f"Price of {name}": str(source) for one in priced[:1] for name, source in one.items()}


def _rules(facts: Facts) -> str:
    policy = dict(facts["policy"])
    placed = "in place" if policy.pop("in_place", False) else "not in place"
    return f"softmax {policy.pop('softmax', 'charged')} and {placed}, " + ", ".join(
        f"{name} {value}" for name, value in policy.items()
    )


def _each(texts: Iterable[str]) -> str:
    """Texts once each."""
    return "; ".join(dict.fromkeys(texts))
