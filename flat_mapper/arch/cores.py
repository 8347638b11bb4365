"""What a chip of many cores says of itself beside its levels and fanouts.

Variables of the matrix path's file, each 0 or unlimited where it is not given:

    variables:
      core_tile_cycles: 8000           # for each tile that a core is given: prologue, epilogue
      core_step_cycles: 691            # for each pass of the shared loops in time: a tile of keys
      launch_seconds: 3e-6             # for each group: a kernel that is launched
      core_stream_bytes_per_cycle: 64  # that one core moves from and to all that is outside it

Timeloop's `no_multicast_no_reduction: [K, V]` (or `["*"]`) among the spatial constraints of a
fanout says that the words of these tensors are read once for each instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.arch.variables import CORE
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import CYCLES, Range, checked

SECONDS = Range(least=0, most=1e6, unit="s")
BYTES = Range(least=1e-9, most=1e15, unit="bytes per cycle")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreFacts:
    """Fixed costs of a core, and what it streams at most."""

    tile_cycles: float = 0.0
    step_cycles: float = 0.0
    launch_seconds: float = 0.0
    stream_bytes_per_cycle: float | None = None


def core_facts(arch: Architecture) -> CoreFacts:
    """The facts of a core.

    raises: SpecError where one that is needed is `unknown`, or is no number in its range.
    """
    tile, step, stream, launch = (_number(arch, name) for name in CORE)
    return CoreFacts(
        tile_cycles=tile or 0.0,
        step_cycles=step or 0.0,
        launch_seconds=launch or 0.0,
        stream_bytes_per_cycle=stream,
    )


def _number(arch: Architecture, name: str) -> float | None:
    value = arch.variables.get(name)
    where = f"{arch.path or arch.name}: variables.{name}"
    if value is None:
        return None
    if value == UNKNOWN:
        change = "measure it or find a source; leave it out to count none"
        raise SpecError(expected(where, "a number, which this question needs", UNKNOWN, change))
    if name == "core_stream_bytes_per_cycle":
        return checked(value, float, where, within=BYTES)
    return checked(value, float, where, within=SECONDS if "seconds" in name else CYCLES)


NO_MULTICAST = ("no_multicast_no_reduction", "no_reuse")  # two of Timeloop's names for one rule


def multicasts(arch: Architecture, level: MemoryLevel, tensor: str) -> bool:
    """Whether one read outside a level may serve several instances of it."""
    for node in arch.nodes[: arch.nodes.index(level)]:
        spatial = node.constraints.get("spatial") if isinstance(node, Fanout) else None
        for key in NO_MULTICAST:
            listed = spatial.get(key) if isinstance(spatial, dict) else None
            if listed is True or (
                isinstance(listed, Sequence) and ("*" in listed or tensor in listed)
            ):
                return False
    return True
