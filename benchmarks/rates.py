"""Evaluation rate and quality beside Timeloop's own tools."""

from __future__ import annotations

import shutil
from typing import Any

from measuring import Table, answer

TOOLS = ("timeloop-model", "timeloop-mapper")
TIMELOOP_S = 600.0  # chosen: for searches of 3 minutes, the rates, and what ends late


def evaluation() -> list[Table]:
    """Mappings per CPU second of the native model, by how many are evaluated at once."""
    rates, _ = answer("run_rate.py")
    rows = [(chunk, f"{rate / 1e6:.2f}") for chunk, rate in (rates or {}).items()]
    return [
        Table(
            title="Evaluation rate",
            text="The native model on random factorizations of QK (N = 4096, edge): capacity, "
            "cycles and energy of each. Per CPU second, so per core. Goal: 2 million.",
            head=("mappings at once", "million mappings per CPU s"),
            rows=tuple(rows),
        )
    ]


def timeloop() -> list[Table]:
    """Timeloop's rates and what its mapper finds; nothing where it is not on PATH."""
    if not all(shutil.which(tool) for tool in TOOLS):
        return []
    found, _ = answer("run_timeloop.py", memory_mb=None, seconds=TIMELOOP_S)
    if found is None:
        return []
    ours = found["ours"]
    rates = [(name, f"{rate:,.3g}") for name, rate in found["rates"].items()]
    rows = []
    for one in found["searches"]:
        name = f"{one['objective']}, {one['algorithm']}{', our array' if one['given'] else ''}"
        rows.append((name, *_cells(one, ours[one["objective"]])))
    for name, mine in ours.items():
        rows.append((f"{name}, ours in {mine['cpu_s']:.2f} CPU s", *_cells(mine)))
    return [
        Table(
            title="Evaluation rate of Timeloop",
            text="Of the same Einsum at N = 512. timeloop-model evaluates one mapping in a "
            "process: here the best one, which fills the array. timeloop-mapper draws at random, "
            "with one thread, and refuses most before it counts them; its start is left out.",
            head=("tool", "mappings per CPU s"),
            rows=tuple(rates),
        ),
        Table(
            title="Against timeloop-mapper",
            text="QK of BERT-base alone, B = 64, N = 512, edge, single buffers, the same energies "
            f"per access. timeloop-mapper searches for {found['seconds']:g} s of wall time on "
            f"{found['threads']} threads, in the whole space or with our spatial factors given. "
            "A ratio is its best over ours for the same objective: above 1 is better.",
            head=("objective and algorithm", "EDP J*s", "ratio", "energy pJ", "ratio"),
            rows=tuple(rows),
        ),
    ]


def _cells(one: dict[str, Any], mine: dict[str, Any] | None = None) -> list[str]:
    """Energy-delay product and energy of a search, each with its ratio to ours."""
    cells: list[str] = []
    for quantity in ("edp_js", "energy_pj"):
        value = one[quantity]  # None where nothing valid was found
        cells.append("none" if value is None else f"{value:.4g}")
        cells.append("" if value is None or mine is None else f"{value / mine[quantity]:.3g}")
    return cells
