"""The verb that sets published results beside this model's: reproduce."""

from __future__ import annotations

import argparse

from flat_mapper.reproduce import (
    Comparison,
    compare_rows,
    find_csv,
    largest_errors,
    simulator_rows,
)
from flat_mapper.yamlio import dump_json

_NAMES = {
    "offchip_bytes": "DRAM bytes",
    "latency_s": "latency",
    "spilled": "spilled fraction (difference)",
    "energy_pj": "energy",
}


def reproduce_command(arguments: argparse.Namespace) -> int:
    """FLAT's simulator, row by row."""
    found = compare_rows(simulator_rows(find_csv(arguments.csv)))
    print(_document(found) if arguments.json else simulator_text(found))
    return 0


def simulator_text(comparisons: tuple[Comparison, ...]) -> str:
    """The table: ours, theirs and the error of each quantity; the largest errors below it."""
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


def _line(comparison: Comparison) -> str:
    row, result, errors = comparison.row, comparison.result, comparison.errors
    return (
        f"{row.key:<18} {result.offchip_bytes:12.5e} {row.offchip_bytes:12.5e} "
        f"{100 * errors['offchip_bytes']:+8.4f}%  {result.latency_s:11.5e} {row.latency_s:11.5e} "
        f"{100 * errors['latency_s']:+8.4f}%  {comparison.spilled:8.5f} {row.spilled:8.5f}  "
        f"{result.energy_pj:11.5e} {row.energy_pj:11.5e} {100 * errors['energy_pj']:+8.4f}%"
    )


def _document(comparisons: tuple[Comparison, ...]) -> str:
    worst = {
        name: {"error": error, "row": row}
        for name, (error, row) in largest_errors(comparisons).items()
    }
    rows = [comparison.to_dict() for comparison in comparisons]
    return dump_json({"rows": rows, "largest_errors": worst}).rstrip()
