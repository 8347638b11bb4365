"""Evaluation rate and quality beside Timeloop's own tools."""

from __future__ import annotations

import shutil

from measuring import Table, answer

TOOLS = ("timeloop-model", "timeloop-mapper")


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
    found, _ = answer("run_timeloop.py", memory_mb=None)
    if found is None:
        return []
    ours, machine = found["ours"], found["threads"]
    rates = [(name, f"{rate:,.3g}") for name, rate in found["rates"].items()]
    rows = []
    for one in found["searches"]:
        name, mine = one["objective"], ours[one["objective"]]
        cells: list[str] = []
        for quantity in ("edp_js", "energy_pj"):
            theirs = one[quantity]
            cells += (
                ["none", ""]
                if theirs is None
                else [f"{theirs:.4g}", f"{theirs / mine[quantity]:.3f}"]
            )
        rows.append((f"{name}, {one['algorithm']}", *cells))
    for name, mine in ours.items():
        cells = [f"{mine['edp_js']:.4g}", "", f"{mine['energy_pj']:.4g}", ""]
        rows.append((f"{name}, ours in {mine['cpu_s']:.2f} CPU s", *cells))
    return [
        Table(
            title="Evaluation rate of Timeloop",
            text="Of the same Einsum at N = 512. timeloop-model evaluates one mapping in a "
            "process: here the best one, which fills the array. timeloop-mapper counts its valid "
            "mappings, drawn at random, with one thread, its start left out.",
            head=("tool", "mappings per CPU s"),
            rows=tuple(rates),
        ),
        Table(
            title="Against timeloop-mapper",
            text="QK of BERT-base alone, B = 64, N = 512, edge, single buffers, the same energies "
            f"per access. timeloop-mapper searches for {found['seconds']:g} s of wall time on "
            f"{machine} threads. A ratio is its best over ours for the same objective: above 1 is "
            "better.",
            head=("objective", "EDP J*s", "ratio", "energy pJ", "ratio"),
            rows=tuple(rows),
        ),
    ]
