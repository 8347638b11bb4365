"""Facts of a chip of many cores beside its levels and fanouts.

They are variables of the matrix path's file: `CORE_COSTS`, each 0 where it is not given, and
`CORE_PORTS`, the ports of a core's boundary, each unlimited where it is not given, or `unknown`.
Of a kernel that was measured there, behind the name that a group of a mapping has: `FITTED` and
`HELD_ASIDE`, of the chip `fitted_on` where that is another one.

Timeloop's `no_multicast_no_reduction: [K, V]` (or `["*"]`) among the spatial constraints of a
fanout says that the words of these tensors are read once for each instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flat_mapper.arch.values import (
    CORE_COSTS,
    CORE_PORTS,
    FITTED,
    FITTED_ON,
    HELD_ASIDE,
    Architecture,
    Fanout,
    MemoryLevel,
)
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import CYCLES, Range, checked

_SECONDS = Range(least=0, most=1e6, unit="s")
_WATTS = Range(least=0, most=1e9, unit="W")
_BYTES = Range(least=1e-9, most=1e15, unit="bytes per cycle")
_SHARE = Range(least=0, most=1e3, unit="")
_FLAG = Range(least=0, most=1, unit="")
_PASSES = Range(least=0, most=2**31, unit="passes")
UNKNOWN = "unknown"
BOUNDARY = "port of a core"  # the name of the level that stands for it


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreFacts:
    """Fixed costs of a core, and what it takes in and gives out at most; named as variables are."""

    tile_cycles: float = 0.0
    step_cycles: float = 0.0
    launch_seconds: float = 0.0
    read_bytes_per_cycle: float | None = None
    write_bytes_per_cycle: float | None = None
    stream_bytes_per_cycle: float | None = None
    stream_value_cycles: float = 0.0
    factor: float = 1.0  # on all cycles but the launch's

    def boundary(self, word_bits: int) -> MemoryLevel | None:
        """The ports of a core's boundary, of which a read comes in; None: no limit is known."""
        read, write = self.read_bytes_per_cycle, self.write_bytes_per_cycle
        if read is write is self.stream_bytes_per_cycle is None:
            return None
        bytes_moved = MemoryLevel(
            name=BOUNDARY,
            component_class="",
            capacity_words=None,
            word_bits=word_bits,
            row_words=1,
            read_words_per_cycle=read,
            write_words_per_cycle=write,
            shared_words_per_cycle=self.stream_bytes_per_cycle,
        )
        return bytes_moved.with_rates(lambda rate: rate * 8 / word_bits)


def core_facts(arch: Architecture, kernel: str = "") -> CoreFacts:
    """The facts of a core, with what is fitted for a kernel.

    raises: SpecError where one that is needed is `unknown`, or is no number in its range, and for
            a kernel of which the chip's file says nothing.
    """
    facts = {name.removeprefix("core_"): _number(arch, name) for name in (*CORE_COSTS, *CORE_PORTS)}
    one_way = facts["read_bytes_per_cycle"], facts["write_bytes_per_cycle"]
    if facts["stream_value_cycles"] and one_way != (None, None):
        where = arch.place_of("core_stream_value_cycles")
        condition = "core_stream_bytes_per_cycle alone beside it, as a value goes either way"
        raise SpecError(expected(where, condition, "a port of one way", "leave one of them out"))
    if kernel:
        facts |= {end[1:]: _number(arch, f"{kernel}{end}") for end in FITTED}
        if facts["factor"] is None:
            known = ", ".join(kernels(arch)) or "none"
            where = arch.place_of(f"{kernel}{FITTED[0]}")
            change = "leave the kernel out of the mapping to count none of its costs"
            condition = f"a number for a kernel of this chip ({known})"
            raise SpecError(expected(where, condition, "none", change))
    return CoreFacts(**{name: value for name, value in facts.items() if value is not None})


def boundary(arch: Architecture, level: str, word_bits: int) -> MemoryLevel | None:
    """The ports of the core that has a level; None: none is known, or it is outside the cores."""
    return None if level in _one_each(arch) else core_facts(arch).boundary(word_bits)


def stream_weights(
    facts: CoreFacts, word_bits: int, shares: Mapping[str, float], tensors: Iterable[str]
) -> dict[str, float]:
    """Of each tensor, words that take as long as one of its words and its share of a value."""
    if facts.stream_bytes_per_cycle is None or not facts.stream_value_cycles:
        return {}
    words = facts.stream_value_cycles * facts.stream_bytes_per_cycle * 8 / word_bits
    return {tensor: 1 + words / shares.get(tensor, 1.0) for tensor in tensors}


def intake_note(arch: Architecture, name: str) -> tuple[str, ...]:
    """A line where no file says what one core of a chip takes in; name: the chip's."""
    takes_in = ("core_read_bytes_per_cycle", "core_stream_bytes_per_cycle")
    if any(_number(arch, port) is not None for port in takes_in):
        return ()
    return (f"what one core takes in is unknown on {name}: no tile is slowed by it",)


def kernels(arch: Architecture) -> tuple[str, ...]:
    """Kernels for which a chip's file has fitted costs."""
    end = FITTED[0]
    return tuple(n.removesuffix(end) for n in arch.variables if n.endswith(end))


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBand:
    """Errors of a kernel's times on measured rows that were never fitted to."""

    kernel: str
    chip: str  # that was measured
    median: float  # of |predicted / measured - 1|
    p90: float
    counted: bool = True  # the time has the kernel's fitted costs

    def to_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "kernel": self.kernel,
            "measured_on": self.chip,
            "costs_counted": self.counted,
            "median_percent": 100 * self.median,
            "p90_percent": 100 * self.p90,
        }

    def __str__(self) -> str:
        median, p90 = (f"{100 * share:.1f} %" for share in (self.median, self.p90))
        said = "" if self.counted else "; the mapping is no kernel's, and has none of its costs"
        return (
            f"rows of {self.kernel} measured on {self.chip} and never fitted to: off by {median} "
            f"in the median, {p90} at the 90th percentile{said}"
        )


def phase_kernels(arch: Architecture, *, masked: bool, queries: int) -> tuple[str, ...]:
    """Kernels that were measured in the phase of some attention: those with its end in their name.

    queries: of a sequence; one that sees all keys is a decode's.
    """
    ends = ("_prefill", "_causal") if masked else ("_decode", "_full")
    if not masked and queries > 1:
        ends = ("_encoder", "_full")
    return tuple(name for end in ends for name in kernels(arch) if name.endswith(end))


def error_bands(
    arch: Architecture, names: Iterable[str], *, counted: bool = True
) -> tuple[ErrorBand, ...]:
    """The bands of those kernels of which a chip's file has one.

    names: of kernels; one that is empty is none. counted: whether their costs are.
    """
    chip = str(arch.variables.get(FITTED_ON, arch.name))
    found = []
    for name in dict.fromkeys(filter(None, names)):
        median, p90 = (_number(arch, f"{name}{end}") for end in HELD_ASIDE)
        if median is not None and p90 is not None:
            band = ErrorBand(kernel=name, chip=chip, median=median, p90=p90, counted=counted)
            found.append(band)
    return tuple(found)


def _number(arch: Architecture, name: str) -> float | None:
    """The value of a variable; of a port None where it is unknown, which limits nothing."""
    value, where = arch.variables.get(name), arch.place_of(name)
    if value is None or (value == UNKNOWN and name in CORE_PORTS):
        return None
    if value == UNKNOWN:
        change = "measure it or find a source; leave it out to count none"
        raise SpecError(expected(where, "a number, which this question needs", UNKNOWN, change))
    within = _SECONDS if "seconds" in name else _BYTES if name in CORE_PORTS else CYCLES
    share = name.endswith((FITTED[0], *HELD_ASIDE))
    return checked(value, float, where, within=_SHARE if share else within)


def core_drift(arch: Architecture) -> int | None:
    """Passes by which cores that begin together are apart later, at most; None where it is unknown.

    It is 0 where transfers are explicit, so that cores can wait for one another.
    raises: SpecError where it is no integer >= 0, nor `unknown`.
    """
    name = "core_drift_passes"
    value, where = arch.variables.get(name, UNKNOWN), arch.place_of(name)
    return None if value == UNKNOWN else checked(value, int, where, within=_PASSES)


def sums_at(arch: Architecture) -> str:
    """The level that adds up what cores send of one result; empty where none is known to.

    raises: SpecError where it is no level outside the cores.
    """
    value, where = arch.variables.get("core_sums_at", ""), arch.place_of("core_sums_at")
    names = _one_each(arch)
    if value not in ("", UNKNOWN, *names):
        raise SpecError(expected(where, f"a level outside the cores ({', '.join(names)})", value))
    return "" if value == UNKNOWN else str(value)


def _one_each(arch: Architecture) -> list[str]:
    """Names of the levels outside all fanouts, and so outside the cores."""
    return [
        level.name
        for level in arch.levels
        if not any(isinstance(node, Fanout) for node in arch.outside(level.name))
    ]


NO_MULTICAST = ("no_multicast_no_reduction", "no_reuse")  # two of Timeloop's names for one rule


def multicasts(arch: Architecture, level: MemoryLevel, tensor: str) -> bool:
    """True if one read outside a level may serve several instances of it."""
    outside = (node for node in arch.outside(level.name) if isinstance(node, Fanout))
    return not any(reads_apart(fanout, tensor) for fanout in outside)


def reads_apart(fanout: Fanout, tensor: str) -> bool:
    """True if every instance inside a fanout reads a tensor for itself."""
    spatial = fanout.constraints.get("spatial")
    for key in NO_MULTICAST:
        listed = spatial.get(key) if isinstance(spatial, dict) else None
        if listed is True or (isinstance(listed, Sequence) and ("*" in listed or tensor in listed)):
            return True
    return False


def units_at_once(arch: Architecture) -> bool:
    """True if array and lanes can work at a time, on different tiles: unless the chip says no.

    raises: SpecError where `units_at_once` is neither 0 nor 1.
    """
    name = "units_at_once"
    return bool(checked(arch.variables.get(name, 1), int, arch.place_of(name), within=_FLAG))


def power_limit_w(arch: Architecture) -> float | None:
    """W of all components of a chip together, DRAM among them; None where it is not given.

    raises: SpecError where it is no number > 0.
    """
    given, where = arch.variables.get("power_limit_w"), arch.place_of("power_limit_w")
    return None if given is None else checked(given, float, where, above=0, within=_WATTS)
