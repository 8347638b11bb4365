"""Energy and power in words."""

from __future__ import annotations

from flat_mapper.base import units
from flat_mapper.cost_model.result import LEAKAGE, Result
from flat_mapper.energy.tables import UNPRICED


def power_w(result: Result) -> dict[str, float]:
    """Average power of each component in W, with what it leaks."""
    parts = {name: pj for name, pj in result.energy_by()["component"].items() if name != LEAKAGE}
    for name, pj in result.leakage_by.items():
        parts[name] = parts.get(name, 0.0) + pj
    return {name: units.joules_of(pj) / result.latency_s for name, pj in parts.items()}


def energy_rows(result: Result) -> list[tuple[str, ...]]:
    """Energy, its product with latency, and average power."""
    if result.energy_source == UNPRICED:
        return [("energy", "unknown", "")]
    by = sorted(power_w(result).items(), key=lambda part: -part[1])
    power = ", ".join(f"{name} {units.si(w, 'W')}" for name, w in by if w)
    joules = units.si(units.joules_of(result.energy_pj), "J")
    return [
        ("energy", joules, times(result.energy_pj, result.bound.energy_pj)),
        ("energy-delay product", units.si(result.edp_js, "J*s"), ""),
        ("average power", units.si(sum(power_w(result).values()), "W"), power),
    ]


def zero_energies(result: Result) -> list[str]:
    """Parts that the energy counts as zero, because nothing says what they cost."""
    if result.energy_source == UNPRICED:
        return []
    networks = {n.component for e in result.einsums for n in e.network}
    parts = [n for n in result.energy_by()["component"] if n not in {LEAKAGE, *networks}]
    tight = [name for name in parts if name not in result.leak_pj_per_cycle]
    leakage = [f"leakage of {', '.join(tight)}"] if tight else []
    return [*result.unpriced_networks, *leakage]


def power_warning(result: Result) -> str:
    """A line where the chip would draw more than it may; empty where it would not."""
    drawn, limit = sum(power_w(result).values()), result.power_limit_w
    if limit is None or drawn <= limit:
        return ""
    return (
        f"warning: {units.si(drawn, 'W')} on average exceed power_limit_w {limit:g} of "
        f"{result.arch}: the chip would be slowed down, or these energies are too high for it"
    )


def energy_text(pj: float, source: str) -> str:
    """Energy in J, or that nothing says it."""
    return "unknown" if source == UNPRICED else units.si(units.joules_of(pj), "J")


def times(value: float, bound: float) -> str:
    """A value over its lower bound."""
    return f"{value / bound:.3f} x the lower bound" if bound > 0 else ""
