"""Evaluation rate of the native model."""

from __future__ import annotations

from measuring import Table, answer


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
