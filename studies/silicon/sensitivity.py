"""Sensitivity of the predicted times to each number of a chip, up and down by its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from flat_mapper.values import Architecture, Fanout, MemoryLevel, Platform
from studies.silicon.rows import Case, MeasuredRow, priced

Change = Callable[[Platform, str, float], Platform]
# Uncertainties are chosen: a clock between those quoted and sustained, a bandwidth between peak
# and what kernels achieve, a tenth for rates, a quarter for what is fitted to a few hundred rows.
NUMBERS: Mapping[str, float] = {
    "clock": 0.08,
    "DRAM bandwidth": 0.10,
    "L2 bandwidth": 0.20,
    "products a cycle": 0.10,
    "exponentials a cycle": 0.10,
    "fitted factor": 0.05,
    "fitted tile cycles": 0.25,
    "fitted launch": 0.25,
}


def moved_times(rows: Sequence[MeasuredRow]) -> Iterator[dict[str, object]]:
    """Of each number, how far the predicted times move, in percent in the median, by phase."""
    for phase in dict.fromkeys(row.case.phase for row in rows):
        own = [row for row in rows if row.case.phase == phase]
        for name, part in NUMBERS.items():
            found = {"up": _moved(own, name, 1 + part), "down": _moved(own, name, 1 - part)}
            yield {"phase": phase, "number": name, "changed_percent": 100 * part, **found}


def _moved(rows: Sequence[MeasuredRow], name: str, factor: float) -> float:
    moved = [_again(row.case, name, factor) / row.predicted_s - 1 for row in rows]
    return 100 * median(moved)


def _again(case: Case, name: str, factor: float) -> float:
    return priced(replace(case, platform=changed(case, name, factor))).predicted_s


def changed(case: Case, name: str, factor: float) -> Platform:
    """A row's chip with one number times a factor."""
    platform, kernel = case.platform, case.kernel
    if name == "clock":  # bandwidths outside the cores have clocks of their own
        slower = _each(platform, lambda a: replace(a, cycle_seconds=a.cycle_seconds / factor))
        for level in (platform.dram.name, "L2"):
            slower = _level(slower, level, 1 / factor)
        return slower
    if name.endswith("bandwidth"):
        return _level(platform, platform.dram.name if name.startswith("DRAM") else "L2", factor)
    variables = {
        "products a cycle": ("mul_cycles", 1 / factor),
        "exponentials a cycle": ("exp_cycles", 1 / factor),
        "fitted factor": (f"{kernel}_factor", factor),
        "fitted tile cycles": (f"{kernel}_tile_cycles", factor),
        "fitted launch": (f"{kernel}_launch_seconds", factor),
    }
    variable, times = variables[name]
    if name.startswith("exp"):
        assert platform.vector is not None
        return replace(platform, vector=_variable(platform.vector, variable, times))
    return replace(platform, matrix=_variable(platform.matrix, variable, times))


def _variable(arch: Architecture, name: str, factor: float) -> Architecture:
    value = arch.variables.get(name, 1)
    assert isinstance(value, int | float)
    return replace(arch, variables={**arch.variables, name: value * factor})


def _each(platform: Platform, change: Callable[[Architecture], Architecture]) -> Platform:
    vector = platform.vector
    return replace(
        platform,
        matrix=change(platform.matrix),
        vector=None if vector is None else change(vector),
    )


def _level(platform: Platform, name: str, factor: float) -> Platform:
    def one(arch: Architecture) -> Architecture:
        return replace(arch, nodes=tuple(map(faster, arch.nodes)))

    def faster(node: MemoryLevel | Fanout) -> MemoryLevel | Fanout:
        if not isinstance(node, MemoryLevel) or node.name != name:
            return node
        return node.slowed(1 / factor)

    return _each(platform, one)
