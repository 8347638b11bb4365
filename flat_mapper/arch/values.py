"""The architecture: what a Timeloop v0.4 file says, as frozen values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import NUMBER_FORMATS
from flat_mapper.spec.document import Section, Tagged, place, section_of
from flat_mapper.workload.notation import BINARY, REDUCTIONS, UNARY


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedRows:
    """Rows that a memory moves of a tensor, and the part of their pJ that counts."""

    row_words: int
    read_pj: float
    update_pj: float
    times: float = 1  # how often it moves the words
    whole: bool = True  # whether they are rounded up to whole rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SidePort:
    """A port beside DRAM's that serves a core, by tensor: cycles of a word that comes to the core,
    of one that leaves it, and of one that DRAM sends of it for the core, by the same port.
    """

    comes: Mapping[str, float] = field(default_factory=dict)
    leaves: Mapping[str, float] = field(default_factory=dict)
    sent: Mapping[str, float] = field(default_factory=dict)

    def each(self, tensor: str) -> tuple[float, float, float]:
        """Cycles of one word of a tensor that comes, that leaves, and that is sent."""
        comes, leaves, sent = (own.get(tensor, 0.0) for own in (self.comes, self.leaves, self.sent))
        return comes, leaves, sent


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLevel:
    """One storage level. Bandwidths are words per cycle and instance; None means unlimited."""

    name: str
    component_class: str  # Accelergy's class name
    capacity_words: int | None  # of one instance; None: unbounded (DRAM)
    word_bits: int
    row_words: int  # words of one vector access: width / datawidth
    instances: int = 1
    cluster_size: int = 1  # instances that share one physical row (Timeloop's cluster)
    multiple_buffering: float = 1.0  # the capacity is divided by it
    read_words_per_cycle: float | None = None
    write_words_per_cycle: float | None = None
    fill_words_per_cycle: float | None = None  # of what is filled from above, in place of write
    shared_words_per_cycle: float | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)  # resolved, for pricing
    constraints: Mapping[str, object] = field(default_factory=dict)  # Timeloop's, as written
    keeps_only: tuple[str, ...] | None = None  # under !Parallel: the tensors of its branch
    part_of: str = ""  # the memory right outside whose words and ports it has
    # Of what serves many cores at a time, as one of them sees it:
    weights: Mapping[str, float] = field(default_factory=dict)  # words moved for one of a tensor's
    totals: Mapping[str, float] = field(default_factory=dict)  # words moved, however often read
    rows: Mapping[str, MovedRows] = field(default_factory=dict)  # moved for the tiles of all cores
    outside_pj: float = 0.0  # of the networks that one word crosses between it and a core
    beside: tuple[SidePort, ...] = ()  # ports of other sources
    rounds: tuple[tuple[float, MemoryLevel], ...] = ()  # that differ: shares, and it in each
    unequal: tuple[str, ...] = ()  # inputs of which tiles of other cores have fewer words
    waits: float = 1.0  # how often cycles of first inputs and last outputs count
    step_cycles: float = 0.0  # of each pass of the shared loops
    whole_cycles: bool = True  # whether what a group takes is rounded up to whole ones
    whole_rows: bool = True  # whether what a tile moves is rounded up to whole rows

    @property
    def memory(self) -> str:
        """The level whose words and ports it has: itself, or the one that it is a part of."""
        return self.part_of or self.name

    @property
    def rates(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Words per cycle of its ports: of reads, of writes, of fills, and of all together."""
        one_way = self.read_words_per_cycle, self.write_words_per_cycle, self.fill_words_per_cycle
        return *one_way, self.shared_words_per_cycle

    def with_rates(self, change: Callable[[float], float | None]) -> MemoryLevel:
        """The level with other rates, where they are limited."""
        read, write, fill, shared = (None if r is None else change(r) for r in self.rates)
        return replace(
            self,
            read_words_per_cycle=read,
            write_words_per_cycle=write,
            fill_words_per_cycle=fill,
            shared_words_per_cycle=shared,
        )

    def slowed(self, by: float) -> MemoryLevel:
        """The level with its rates divided by a number; 0: unlimited."""
        return self if by == 1 else self.with_rates(lambda rate: rate / by if by else None)

    @property
    def usable_words(self) -> int | None:
        """Words that tiles may take: the capacity over `multiple_buffering`."""
        if self.capacity_words is None:
            return None
        return int(self.capacity_words // self.multiple_buffering)

    @property
    def words_per_cycle(self) -> float | None:
        """Words per cycle that one instance reads and writes together; None where unlimited.

        The least of what its shared port and what its ports of one way add up to.
        """
        read, write, fill, shared = self.rates
        apart = None if read is None or write is None else read + write + (fill or 0.0)
        return min((r for r in (shared, apart) if r is not None), default=None)

    @property
    def clusters(self) -> int:
        """Physical rows over all instances: each serves `cluster_size` instances at once."""
        return max(1, self.instances // self.cluster_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """A spatial container: `fanout_x` x `fanout_y` copies of everything below it."""

    name: str
    fanout_x: int = 1
    fanout_y: int = 1
    constraints: Mapping[str, object] = field(default_factory=dict)
    hop_pj: float | None = None  # of one word from a copy to its neighbour; None: not priced

    @property
    def copies(self) -> int:
        """On both axes."""
        return self.fanout_x * self.fanout_y

    @property
    def word_pj(self) -> tuple[float, float]:
        """pJ of a word that enters the mesh, and of every copy that then receives it.

        A word for one copy makes as many hops as one from the middle of the mesh's edge makes on
        average (along x, then along y), a word for all n copies n - 1: both as timeloop-model has
        it (src/loop-analysis/nest-analysis.cpp, commit 4cf6d4c). In between hops grow by as much
        with each copy; timeloop-model's then depend on where the copies stand.
        """
        n = self.copies
        if not self.hop_pj or n == 1:
            return 0.0, 0.0
        one = (self.fanout_x - 1) / 2 + self.fanout_y**2 // 4 / self.fanout_y
        each = 1 - one / (n - 1)
        return max(one - each, 0.0) * self.hop_pj, each * self.hop_pj


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeUnit:
    """The innermost node."""

    name: str
    component_class: str
    instances: int
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One Timeloop hierarchy, outermost first. `!Parallel` storages follow each other in order."""

    name: str
    nodes: tuple[MemoryLevel | Fanout, ...]
    compute: ComputeUnit
    cycle_seconds: float  # s; 1 / clock
    variables: Mapping[str, object] = field(default_factory=dict)
    document: Mapping[str, object] = field(default_factory=dict)  # as loaded, for lowering
    path: str = ""

    @cached_property
    def levels(self) -> tuple[MemoryLevel, ...]:
        """Storage levels, outermost first."""
        return tuple(n for n in self.nodes if isinstance(n, MemoryLevel))

    @cached_property
    def fanouts(self) -> tuple[Fanout, ...]:
        """Spatial containers, outermost first."""
        return tuple(n for n in self.nodes if isinstance(n, Fanout))

    @cached_property
    def priced(self) -> bool:
        """True if some fanout has a price."""
        return any(any(fanout.word_pj) for fanout in self.fanouts)

    @property
    def where(self) -> str:
        """Its place for errors: its file, where it is of one."""
        return self.path or self.name

    def place_of(self, variable: str) -> str:
        """The place of a variable, for errors."""
        return f"{self.where}: variables.{variable}"

    @property
    def components(self) -> tuple[MemoryLevel | ComputeUnit, ...]:
        """Parts that have a price: the levels, and the compute unit."""
        return (*self.levels, self.compute)

    @property
    def paths(self) -> tuple[Architecture, ...]:
        """Itself, as the one path of a platform without a vector path."""
        return (self,)

    def outside(self, level: str) -> tuple[MemoryLevel | Fanout, ...]:
        """The nodes outside a level, outermost first."""
        return self.nodes[: self.nodes.index(self.level(level))]

    def level(self, name: str) -> MemoryLevel:
        """The storage level of that name."""
        for level in self.levels:
            if level.name == name:
                return level
        known = ", ".join(lv.name for lv in self.levels)
        raise SpecError(expected(self.where, f"one of the levels {known}", name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The paths that share a chip: the matrix path, and the vector path when there is one."""

    name: str
    matrix: Architecture
    vector: Architecture | None = None

    def path(self, unit: str) -> Architecture:
        """The architecture an Einsum of that unit runs on."""
        if unit == "matrix":
            return self.matrix
        if self.vector is None:
            condition = "a vector path for softmax (a second file NAME.sfu.yaml beside it)"
            change = "add one, or a mapspace whose policy says softmax: free"
            raise SpecError(expected(self.matrix.path or self.name, condition, "none", change))
        return self.vector

    @property
    def paths(self) -> tuple[Architecture, ...]:
        """The matrix path, and the vector path when there is one."""
        return (self.matrix,) if self.vector is None else (self.matrix, self.vector)

    def changed(self, change: Callable[[Architecture], Architecture]) -> Platform:
        """The chip with every path changed."""
        matrix = change(self.matrix)  # its error is the one to see
        return replace(self, matrix=matrix, vector=self.vector and change(self.vector))

    @property
    def dram(self) -> MemoryLevel:
        """The off-chip level: the outermost storage."""
        return self.matrix.levels[0]


_SUFFIXES = ("_cycles", "_energy")
_OPERATIONS = tuple(dict.fromkeys((*BINARY, *REDUCTIONS, *UNARY)))
# Of a core, with what each counts; see `arch.cores`.
CORE_COSTS: Mapping[str, str] = {
    "core_tile_cycles": "cycles of each tile that a core is given",
    "core_step_cycles": "cycles of each pass of the shared loops in time",
    "launch_seconds": "s of each group",
    "core_stream_value_cycles": "cycles of each value that a core moves from or to outside",
}
# Ports of one core's boundary: of what comes in, of what goes out, and of both together.
CORE_PORTS: Mapping[str, str] = {
    "core_read_bytes_per_cycle": "bytes per cycle that one core takes in from all outside it",
    "core_write_bytes_per_cycle": "bytes per cycle that one core gives out to all outside it",
    "core_stream_bytes_per_cycle": "bytes per cycle of one core, from and to all outside it",
}
# Of every architecture.
WHOLE_CHIP: Mapping[str, str] = {
    "version": "0.4",
    "technology": 'node of the prices, in quotes: "22nm"',
    "global_cycle_seconds": "s of a cycle",
    "power_limit_w": "W that all components may draw on average",
    "core_drift_passes": "passes by which cores that begin at a time are apart later, 0 where "
    "transfers are explicit; windows of a level between need it",
    "core_sums_at": "level, in quotes, outside the cores that adds up what they send of a result, "
    "in any order; where it is not given, no sum crosses cores",
    "units_at_once": "0 where array and lanes take turns; by default 1: both work at a time",
    "sum_bits": "bits of a value as long as it is added up",
}
# Of a kernel, behind its name; the first two fixed costs stand in the place of a core's.
FITTED = ("_factor", "_tile_cycles", "_launch_seconds")
HELD_ASIDE = ("_median_error", "_p90_error")
FITTED_ON = "fitted_on"  # the chip whose rows all of them are of, where it is another one
KNOWN = (
    *(*WHOLE_CHIP, *CORE_COSTS, *CORE_PORTS, FITTED_ON),
    *(f"{operation}{suffix}" for operation in _OPERATIONS for suffix in _SUFFIXES),
    *(f"{n}_{o}{suffix}" for n in NUMBER_FORMATS for o in _OPERATIONS for suffix in _SUFFIXES),
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEAR = 0.8  # chosen: of difflib's ratio; exp_cycle and exp_cycles have 0.95


def variable_faults(documents: Sequence[Section], path: str) -> list[str]:
    """A line for each variable that nothing reads and that is nearly one that the model reads."""
    faults: list[str] = []
    known = {*KNOWN, *(word for document in documents for word in _words(document))}
    for document in documents:
        where = f"{document.source or path}: variables"
        section = section_of(document.get("variables") or {}, where)
        for name in section:
            if name in known or name.endswith((*FITTED, *HELD_ASIDE)):
                continue
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=_NEAR)
            if near or name.endswith(_SUFFIXES):
                line = (
                    f"{place(where, section, name, shown=False)}: expected a variable that an "
                    f"expression names or the model knows (technology, global_cycle_seconds, "
                    f"max_cycles, exp_cycles, add_cycles, div_cycles, ...), got {name!r}"
                )
                faults.append(line + (f"; did you mean {near[0]!r}?" if near else "; remove it"))
    return faults


def _words(node: object) -> Iterator[str]:
    """Every name in the values of a document."""
    if isinstance(node, Tagged):
        yield from _words(node.body)
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _words(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _words(item)
    elif isinstance(node, str):
        yield from _WORD.findall(node)
