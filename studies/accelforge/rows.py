"""AccelForge's own optima (its regression reference) beside the search's.

A row is a chip, a workload and what may be fused. Energy and latency stand in it by AccelForge's
rules, by which the verdict is given, and by ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from studies.accelforge.choice import CHIPS, Found, Objective, best, cost_to_lower, workload_of
from studies.common import Columns, choice_of, grid, number_of, rows_by, wrong

NEEDED = ("arch", "workload", "fusion", "objective", "energy", "latency")
OBJECTIVES: Mapping[str, Objective] = {"energy-delay product": "edp", "energy": "energy"}
SAME = 1e-5  # AccelForge's latencies are in single precision
NOT_MODELLED = "not modelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelforgeRow:
    """A row of the file and the model's answer, or why there is none."""

    columns: Columns
    found: Found | None
    reason: str
    verdict: str

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        base: dict[str, object] = {**self.columns, "verdict": self.verdict, "reason": self.reason}
        if self.found is None:
            return base
        found = self.found
        return {
            **base,
            "our_energy": found.energy,
            "our_latency": found.latency,
            "our_energy_by_component": dict(found.by_component),
            "own_rules_energy": found.own_energy,
            "own_rules_latency": found.own_latency,
            "ratio": _ratio(self.columns, found),
            "our_seconds": found.seconds,
            "their_seconds": float(theirs) if (theirs := self.columns.get("seconds")) else None,
            "mapspace": found.mapspace,
        }


def accelforge_rows(path: Path, workloads: Path) -> list[AccelforgeRow]:
    """The rows of a file of AccelForge's optima, whose workloads stand in a folder.

    raises: SpecError for a file, folder or row that cannot be.
    """
    if not workloads.is_dir():
        raise wrong("--workloads", "a folder of AccelForge's workload files", str(workloads))
    return rows_by(path, partial(_row, workloads))


def summary_of(rows: Sequence[AccelforgeRow]) -> dict[str, object]:
    """Number of rows with each verdict, and the seconds of all searches."""
    seconds = sum(row.found.seconds for row in rows if row.found)
    return {"verdicts": dict(Counter(row.verdict for row in rows)), "our_seconds": seconds}


def _row(workloads: Path, where: str, row: Columns) -> AccelforgeRow:
    for name in NEEDED:
        if not row.get(name):
            raise wrong(f"{where}: {name}", "a value", "none")
    for name in ("energy", "latency", *["seconds"] * bool(row.get("seconds"))):
        number_of(where, row, name)
    choice_of(where, row, "objective", tuple(OBJECTIVES))
    choice_of(where, row, "fusion", ("fused", "unfused"))
    found = None
    if row["arch"] not in CHIPS:
        why = f"the chip {row['arch']} is not among {', '.join(CHIPS)}"
    elif isinstance(workload := workload_of(row, workloads), str):
        why = workload
    else:
        found = best(row["arch"], workload, row["fusion"] == "fused", OBJECTIVES[row["objective"]])
        why = "no mapping of mapspaces/accelforge has these sizes"
    if found is None:
        return AccelforgeRow(columns=row, found=None, reason=why, verdict=NOT_MODELLED)
    ratio = _ratio(row, found)
    verdict = "equal" if abs(ratio - 1) <= SAME else "better" if ratio < 1 else "worse"
    reason = "the same" if verdict == "equal" else _reason(row, found)
    return AccelforgeRow(columns=row, found=found, reason=reason, verdict=verdict)


def _ratio(row: Columns, found: Found) -> float:
    """Our objective over AccelForge's, both by its rules."""
    objective = OBJECTIVES[row["objective"]]
    theirs = cost_to_lower(objective, float(row["energy"]), float(row["latency"]))
    return cost_to_lower(objective, found.energy, found.latency) / theirs if theirs else inf


def _reason(row: Columns, found: Found) -> str:
    """Differences in energy and latency, as shares of AccelForge's."""
    energy, latency = float(row["energy"]), float(row["latency"])
    told = [f"latency {found.latency / latency - 1:+.4%}"] if latency else []
    told.append(f"energy {found.energy / energy - 1:+.4%}")
    parts = (word.partition("=") for word in row.get("energy_by_component", "").split())
    given = {name: text for name, _, text in parts}
    theirs = {name: number_of("energy_by_component", given, name) for name in given}
    for name in dict.fromkeys((*theirs, *found.by_component)):
        off = (found.by_component.get(name, 0.0) - theirs.get(name, 0.0)) / energy
        if theirs and abs(off) > SAME:
            told.append(f"of it {name} {off:+.4%}")
    return ", ".join(told)


def accelforge_text(rows: Sequence[AccelforgeRow]) -> str:
    """A table: our energy and latency beside AccelForge's, by its rules, and the verdicts."""
    lines = []
    for row in rows:
        columns, found = row.columns, row.found
        ours, theirs = ("-",) * 4, columns.get("seconds") or "-"
        if found is not None:
            energy, latency = float(columns["energy"]), float(columns["latency"])
            ours = (
                f"{found.energy:.6g}",
                f"{found.energy / energy:.4f}",
                f"{found.latency / latency:.4f}" if latency else "-",
                f"{found.seconds:.1f}",
            )
        said = row.verdict + (f": {row.reason}" if row.verdict != "equal" else "")
        phase = "decode" if "DECODE=True" in columns.get("parameters", "") else ""
        lines.append(
            (columns["arch"], columns["workload"], phase, columns["fusion"], *ours, theirs, said)
        )
    head = ("chip", "workload", "", "", "energy", "ratio", "latency ratio", "CPU s", "its CPU s")
    table = grid(lines, head=(*head, "verdict"), right=(4, 5, 6, 7, 8))
    verdicts = Counter(row.verdict for row in rows)
    end = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return f"{table}\n\n{len(rows)} rows: {end}"
