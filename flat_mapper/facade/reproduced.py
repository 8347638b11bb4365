"""Published results beside this model: one call for every table of `flat-mapper reproduce`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.spec.document import did_you_mean

if TYPE_CHECKING:  # each table is made by modules of its own, which are read when it is asked for
    from flat_mapper.kernels.rows import TileRow
    from flat_mapper.published.search import Searched
    from flat_mapper.published.simulator import BesideSimulator

_NAMES = {
    "offchip_bytes": "DRAM bytes",
    "latency_s": "latency",
    "spilled": "spilled fraction (difference)",
    "energy_pj": "energy",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reproduced(Printed):
    """Rows that were published, each with the model's."""

    kind: str  # of answers as JSON
    rows: Sequence[Any]  # in the file's order; none of the paper's tables
    document: Mapping[str, object]
    text: str

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper reproduce --json`."""
        return dict(self.document)

    def __str__(self) -> str:
        return self.text


def reproduce(
    what: str = "simulator",
    csv: str | Path | None = None,
    *,
    best: bool = False,
    sensitivity: bool = False,
) -> Reproduced:
    """Published results, row by row, beside this model.

    what: simulator (FLAT's own; `search` lets the mapper loose on its rows), paper, fusemax,
          accelforge, silicon or tiles.
    csv:  the published rows; by default, of the simulator, where its environment says.
    best: of silicon, the best mapping beside the kernel's own; `sensitivity`: to each constant.
    """
    if what == "paper":
        from flat_mapper.published.paper import Grid, paper_tables
        from flat_mapper.published.text import paper_text

        grid_asked = Grid()
        tables = paper_tables(grid_asked)
        return Reproduced(
            kind="reproduce-paper",
            rows=(),
            document=dict(tables),
            text=paper_text(tables, grid_asked),
        )
    if what in ("simulator", "search"):
        return _of_simulator(None if csv is None else str(csv), searched=what == "search")
    if what not in _OF_FILES:
        known = ("simulator", "search", "paper", *_OF_FILES)
        condition = f"one of {', '.join(known)}"
        raise SpecError(expected("reproduce", condition, what, did_you_mean(what, known)))
    if not csv:
        raise SpecError(expected("--csv", _NEEDS[what], "none", "give --csv FILE"))
    if what == "silicon":
        return _silicon(Path(csv), best=best, sensitivity=sensitivity)
    return _OF_FILES[what](Path(csv))


def _of_simulator(csv: str | None, *, searched: bool) -> Reproduced:
    from flat_mapper.published.search import search_rows
    from flat_mapper.published.simulator import compare_rows, find_csv, simulator_rows

    rows = simulator_rows(find_csv(csv))
    return _searched(search_rows(rows)) if searched else _simulated(compare_rows(rows))


def _simulated(rows: tuple[BesideSimulator, ...]) -> Reproduced:
    from flat_mapper.published.simulator import largest_errors

    worst = {n: {"error": error, "row": row} for n, (error, row) in largest_errors(rows).items()}
    document = {"rows": [row.to_dict() for row in rows], "largest_errors": worst}
    text = simulator_text(rows)
    return Reproduced(kind="reproduce-simulator", rows=rows, document=document, text=text)


def _searched(rows: list[Searched]) -> Reproduced:
    document = {"rows": [row.to_dict() for row in rows]}
    return Reproduced(kind="reproduce-search", rows=rows, document=document, text=search_text(rows))


def _silicon(csv: Path, *, best: bool = False, sensitivity: bool = False) -> Reproduced:
    from flat_mapper.published.silicon.answer import answer_text, said
    from flat_mapper.published.silicon.counters import are_counters, counted, counters_text
    from flat_mapper.published.silicon.families import measured
    from flat_mapper.published.silicon.rows import read_rows

    if are_counters(read_rows(csv)):
        busy = counted(csv)
        document: dict[str, object] = {"rows": [row.to_dict() for row in busy]}
        text = counters_text(busy)
        return Reproduced(kind="reproduce-counters", rows=busy, document=document, text=text)
    rows = measured(csv)
    document = said(rows, best=best, moved=sensitivity)
    return Reproduced(
        kind="reproduce-silicon", rows=rows, document=document, text=answer_text(document)
    )


def _fusemax(csv: Path) -> Reproduced:
    from flat_mapper.published.fusemax.rows import fusemax_rows, fusemax_text

    rows = fusemax_rows(csv)
    document = {"rows": [row.to_dict() for row in rows]}
    return Reproduced(
        kind="reproduce-fusemax", rows=rows, document=document, text=fusemax_text(rows)
    )


def _accelforge(csv: Path) -> Reproduced:
    from flat_mapper.published.accelforge.rows import accelforge_rows, accelforge_text, summary_of

    rows = accelforge_rows(csv)
    document = {"rows": [row.to_dict() for row in rows], "summary": summary_of(rows)}
    text = accelforge_text(rows)
    return Reproduced(kind="reproduce-accelforge", rows=rows, document=document, text=text)


def _tiles(csv: Path) -> Reproduced:
    from flat_mapper.kernels.rows import summary, tile_rows

    rows = list(tile_rows(csv))
    found = summary(rows)
    document = {"rows": [row.to_dict() for row in rows], "summary": found}
    text = shipped_text(rows, found)
    return Reproduced(kind="reproduce-tiles", rows=rows, document=document, text=text)


_OF_FILES: Mapping[str, Callable[[Path], Reproduced]] = {
    "fusemax": _fusemax,
    "accelforge": _accelforge,
    "silicon": _silicon,
    "tiles": _tiles,
}
_NEEDS = {
    "fusemax": "a file of the FuseMax artifact's results",
    "accelforge": "a file of AccelForge's optima",
    "silicon": "a file of measured times",
    "tiles": "a file of shipped tile sizes",
}


def simulator_text(comparisons: tuple[BesideSimulator, ...]) -> str:
    """The table: ours, theirs and the error of each quantity; the largest errors below it."""
    from flat_mapper.published.simulator import largest_errors

    head = (
        f"{'row':<18} {'DRAM bytes':>12} {'theirs':>12} {'error':>9}  {'latency s':>11} "
        f"{'theirs':>11} {'error':>9}  {'spilled':>8} {'theirs':>8}  "
        f"{'energy pJ':>11} {'theirs':>11} {'error':>9}"
    )
    lines = [head, *(_line(comparison) for comparison in comparisons), ""]
    lines.append(f"largest errors over {len(comparisons)} rows")
    for name, (error, row) in largest_errors(comparisons).items():
        lines.append(f"  {_NAMES[name]:<30} {100 * error:.4f}%  ({row})")
    return "\n".join(lines)


def _line(comparison: BesideSimulator) -> str:
    row, result, errors = comparison.row, comparison.result, comparison.errors
    return (
        f"{row.key:<18} {result.offchip_bytes:12.5e} {row.offchip_bytes:12.5e} "
        f"{100 * errors['offchip_bytes']:+8.4f}%  {result.latency_s:11.5e} {row.latency_s:11.5e} "
        f"{100 * errors['latency_s']:+8.4f}%  {comparison.spilled:8.5f} {row.spilled:8.5f}  "
        f"{result.energy_pj:11.5e} {row.energy_pj:11.5e} {100 * errors['energy_pj']:+8.4f}%"
    )


def search_text(rows: list[Searched]) -> str:
    """Of every row and space: how much faster, how many bytes fewer, and why."""
    from flat_mapper.published.array import mapping_text
    from flat_mapper.published.search import SPACES

    lines = []
    for row in rows:
        for i, space in enumerate(SPACES):
            lines.append(
                (
                    "" if i else row.row.key,
                    "" if i else mapping_text(row.theirs.mapping),
                    space,
                    f"{100 * row.gain(space):+.4f}%",
                    f"{100 * row.bytes_saved(space):+.2f}%",
                    row.why(space),
                )
            )
    head = ("row", "the simulator's mapping", "space", "faster", "fewer bytes", "ours")
    table = grid(lines, head=head, right=(3, 4))
    ends = [
        f"{space}: ours is never slower by more than {max(0.0, -_least(rows, space)):.4%}; faster "
        f"by more than 0.01% in {sum(r.gain(space) > 1e-4 for r in rows)} of {len(rows)} rows, "
        f"by {max(r.gain(space) for r in rows):.2%} at most"
        for space in SPACES
    ]
    return "\n".join((table, "", *ends))


def _least(rows: list[Searched], space: str) -> float:
    return min(row.gain(space) for row in rows)


def shipped_text(rows: Sequence[TileRow], found: Sequence[dict[str, object]]) -> str:
    """A line for each kernel and chip, and why rows were left out."""
    head = (
        "kernel",
        "chip",
        "rows",
        "left out",
        "feasible",
        "median",
        "worst",
        "within 5 %",
        "term",
    )
    lines = [
        (
            *(str(s["kernel"]), str(s["arch"] or "-"), str(s["rows"]), str(s["left_out"])),
            str(s["feasible"]),
            _ratio(s["median_shipped_over_best"]),
            _ratio(s["worst_shipped_over_best"]),
            str(s["within_5_percent"]),
            _most(s["terms_beyond"]),
        )
        for s in found
    ]
    reasons = dict.fromkeys(row.left_out for row in rows if row.left_out)
    return "\n".join(
        (
            grid(lines, head=head, right=range(2, 8)),
            "",
            "median, worst: time of the shipped tile over that of the best one; term: what most",
            "rows beyond 5 % have more of",
            *(f"left out: {reason}" for reason in reasons),
        )
    )


def _ratio(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _most(terms: object) -> str:
    """The commonest term, and of how many rows."""
    if not isinstance(terms, dict) or not terms:
        return "-"
    name = max(terms, key=lambda n: terms[n])
    return f"{name} ({terms[name]})"
