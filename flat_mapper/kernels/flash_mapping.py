"""FlashAttention's mapping: tiles of queries on cores, keys tile by tile, K and V in L2 if any.

Beside it the mappings of the kernels around it: the copy of new keys and values into the cache,
and the merge of keys in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product, takewhile
from math import ceil, prod

from flat_mapper.arch.cores import core_drift
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import OFF_CHIP, value_bits
from flat_mapper.mapping.resize import resized_group
from flat_mapper.mapping.values import (
    Axis,
    EinsumMapping,
    GroupMapping,
    Loop,
    Slot,
    TileOrder,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.softmax import MERGE

_Placed = tuple[Slot, tuple[Loop, ...]]
# Ranks in the order in which kernels give out their tiles: head by head, with the heads of a group
# in the rows of a tile, and those of all groups taking turns.
GIVEN = ("B", "G", "H", "S", "P", "M")
PACKED = ("B", "G", "S", "P", "H")
TURNS = ("B", "S", "P", "G", "H")
ROWS = ("H", "P")  # ranks of the rows of a tile
MERGED = 8  # chosen: queries of a tile of the kernel that merges parts


def core_levels(platform: Platform) -> tuple[str, str]:
    """Level between DRAM and the cores, DRAM itself where none is, and the level of a core.

    raises: SpecError where no level is inside the first fanout, which is that of the cores.
    """
    nodes = platform.matrix.nodes
    first = next((i for i, n in enumerate(nodes) if isinstance(n, Fanout)), len(nodes))
    inside = [n.name for n in nodes[first:] if isinstance(n, MemoryLevel)]
    if not inside:
        raise SpecError(expected("cores", "a level inside the first fanout of the chip", "none"))
    return nodes[first - 1].name, inside[0]


def packed_rows(rows: int, heads: int, queries: int) -> tuple[int, int]:
    """Heads and queries of a tile of so many rows, in which `heads` heads share them.

    A kernel cuts rows wherever one is full, in the middle of a query's heads too. Here a tile has
    as many heads of each of its queries: those for which tiles are fewest and reach least far.
    """

    def work(some: int) -> int:
        each = min(queries, rows // some)
        return heads // some * ceil(queries / each) * (queries + each)

    most = (n for n in range(min(heads, rows), 0, -1) if heads % n == 0)
    found = min(most, key=work)
    return found, min(queries, rows // found)


def flash_groups(
    workload: Workload,
    platform: Platform,
    names: tuple[str, ...],
    rows: int,
    keys: int,
    packed: int,
    *,
    cached: tuple[str, ...] = ("K", "V"),
    resident: bool = False,
    window: int = 0,
    turns: bool = False,
    order: TileOrder = "largest",
    idle_rows: bool = False,
    kernel: str = "",
) -> list[GroupMapping]:
    """Online attention in tiles of rows of queries x keys, and the merge of its keys in parts.

    names:  its Einsums but for the merge. packed: heads that share the rows of a tile.
    cached: operands of which the level between holds a head; all heads where these take turns.
    resident: they are there from the start, all of them.
    window: passes for which it holds them instead, to be shared; 0: all of a head.
    idle_rows: warps and their units have rows of their own; those of rows that the problem does
            not have stand idle.
    """
    sizes = workload.rank_sizes
    step = min(keys, sizes["M"])
    whole = workload.with_ranks({"M": ceil(sizes["M"] / step) * step})
    heads, queries = packed_rows(rows, packed, sizes["P"])
    tile = dict.fromkeys(("B", "G", "S"), 1) | {"H": heads, "P": queries, "M": step}
    given = TURNS if turns else PACKED if heads > 1 else GIVEN
    between, core = core_levels(platform)
    cores = _cores(whole, given, names, tile)
    outer = () if resident else tuple(takewhile(lambda loop: loop.rank != "P", cores))
    at = {platform.dram.name: outer}
    at[between] = at.get(between, ()) + tuple(cores[len(outer) :])
    passes = (Loop("M", whole.rank_sizes["M"] // step),)
    idle = rows * idle_rows * (heads * sizes["P"] < rows)
    group = GroupMapping(
        einsums=tuple(_nest(whole, platform, n, names, tile, passes, cached, idle) for n in names),
        shared=passes if passes[0].factor > 1 else (),
        level=core,
        cores=tuple((level, loops) for level, loops in at.items() if loops),
        resident=cached if resident else (),
        windows=tuple((tensor, window) for tensor in cached if window),
        schedule="interleaved",
        order=order,
        kernel=kernel,
    )
    cut = sizes["M"] % step != 0
    found = [resized_group(group, whole, "M", sizes["M"]) if cut else group]
    if merge := workload.operators.get(MERGE, ()):
        tile = {"B": 1, "G": 1, "H": 1, "P": MERGED}
        found.append(spread_group(workload, platform, merge, tile))
    return found


def windows_tried(workload: Workload, platform: Platform, keys: int) -> Iterator[int]:
    """Passes of a window of keys and values between DRAM and the cores, the widest first.

    keys: of a pass. None where cores may drift further apart.
    """
    between, _ = core_levels(platform)
    room, drift = platform.matrix.level(between).usable_words, core_drift(platform.matrix)
    if between == platform.dram.name or drift is None:
        return
    sizes, at = workload.rank_sizes, platform.dram.name
    each = sum(sizes[r] * workload.share(t, at) for t, r in (("K", "E"), ("V", "F")))
    passes = ceil(sizes["M"] / keys)
    window = passes if room is None else min(passes, int(room / (keys * each)))
    while window > drift:
        yield window
        window //= 2


def spread_group(
    workload: Workload, platform: Platform, names: tuple[str, ...], tile: Mapping[str, int]
) -> GroupMapping:
    """Einsums of a kernel that reads and writes DRAM, in tiles given out to cores.

    tile: sizes of ranks of which a tile has not all.
    """
    cores = _cores(workload, GIVEN, names, tile)
    return GroupMapping(
        einsums=tuple(_nest(workload, platform, n, names, tile, (), ()) for n in names),
        level=core_levels(platform)[1],
        cores=((platform.dram.name, tuple(cores)),) if cores else (),
        schedule="interleaved" if len(names) > 1 else "sequential",
    )


def _cores(
    workload: Workload, given: tuple[str, ...], names: tuple[str, ...], tile: Mapping[str, int]
) -> list[Loop]:
    """The loops whose passes are given out."""
    sizes = workload.rank_sizes
    ranks = {r for n in names for r in workload.einsum(n).output.ranks}
    order = [r for r in given if r in ranks and r in tile and (r != "M" or "P" not in ranks)]
    found = [Loop(r, -(-sizes[r] // tile[r])) for r in order if sizes[r] > tile[r]]
    return found or [Loop(r, 1) for r in order[-1:]]  # one tile, which one core has


def _nest(
    workload: Workload,
    platform: Platform,
    name: str,
    group: tuple[str, ...],
    tile: Mapping[str, int],
    passes: tuple[Loop, ...],
    cached: tuple[str, ...],
    rows: int = 0,
) -> EinsumMapping:
    einsum = workload.einsum(name)
    arch, sizes = platform.path(einsum.unit), workload.rank_sizes
    extents = {r: min(tile.get(r, n), n) for r, n in sizes.items() if r in einsum.own_ranks}
    outer = tuple(p for p in passes if p.rank in einsum.ranks and p.factor > 1)
    between, core = core_levels(platform)
    spatial, left = spread(arch, core, extents, rows)
    inner = tuple(Loop(r, n) for r, n in left.items() if n > 1)
    loops = (
        (Slot(between, "temporal"), outer),
        (Slot(core, "temporal"), inner),
        *spatial,
    )
    return EinsumMapping(
        einsum=name,
        loops=tuple((slot, at) for slot, at in loops if at),
        keep=tuple(_kept(workload, platform, name, group, cached)),
    )


def _kept(
    workload: Workload, platform: Platform, name: str, group: Iterable[str], cached: Iterable[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Tensors that an Einsum keeps at each level, from DRAM in."""
    einsum, dram = workload.einsum(name), platform.dram.name
    tensors = dict.fromkeys(einsum.tensors)
    inside = _inside(workload, name, {*group})
    crossing = [t for t in tensors if t not in inside]
    between, core = core_levels(platform)
    held = [t for t in crossing if t in cached and between != dram]
    own = [t for t in tensors if not einsum.after or t != einsum.output.tensor]
    yield from ((level, tuple(some)) for level, some in ((dram, crossing), (between, held)) if some)
    yield core, tuple(own)


def _inside(workload: Workload, name: str, group: set[str]) -> set[str]:
    """Tensors that a group makes and this Einsum of it does not write for others."""
    made = workload.made_by(group)
    read = {a.tensor for e in workload.einsums if e.name not in group for a in e.inputs}
    leaves = made & read | made - {*workload.intermediates}
    return made - {t for t in leaves if workload.producers[t] == name}


def spread(
    arch: Architecture, core: str, extents: dict[str, int], rows: int = 0
) -> tuple[list[_Placed], dict[str, int]]:
    """The ranks over the arrays of a core, so that most instances work; and what is left.

    rows: of which each has as many instances; 0 where any rank may have all of them.
    """
    left, found = dict(extents), list[_Placed]()
    nodes = arch.nodes[arch.nodes.index(arch.level(core)) :]
    fanouts = [node for node in nodes if isinstance(node, Fanout)]
    axes: tuple[Axis, ...] = ("y", "x")
    each = prod(node.copies for node in fanouts) // rows if rows else None
    for node, axis in product(fanouts, axes):
        room = node.fanout_y if axis == "y" else node.fanout_x
        factors, each = _factors(room, sorted(left.items(), key=lambda item: -item[1]), each)
        loops = tuple(Loop(rank, n) for rank, n in factors if n > 1)
        for loop in loops:
            left[loop.rank] //= loop.factor
        found.append((Slot(node.name, axis), loops))
    return [one for one in found if one[1]], left


def _factors(
    room: int, ranks: list[tuple[str, int]], each: int | None
) -> tuple[tuple[tuple[str, int], ...], int | None]:
    """Factors of ranks over an axis, and the instances that are left to each row of a tile.

    each: before the axis; None where any rank may have all of them.
    """
    if each is None:
        return _fullest(room, tuple(ranks))[1], None
    own = tuple(item for item in ranks if item[0] in ROWS)
    taken, factors = _fullest(room, own)
    others = tuple(item for item in ranks if item not in own)
    most, more = _fullest(min(each, room // taken), others)
    return factors + more, each // most


@cache
def _fullest(
    room: int, ranks: tuple[tuple[str, int], ...]
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Factors of ranks, divisors of their sizes, whose product comes closest to so many."""
    if not ranks or room < 2:
        return 1, ()
    (rank, size), others = ranks[0], ranks[1:]
    best: tuple[int, tuple[tuple[str, int], ...]] = 0, ()
    for factor in (d for d in range(min(room, size), 0, -1) if size % d == 0):
        product, inner = _fullest(room // factor, others)
        if factor * product > best[0]:
            best = factor * product, ((rank, factor), *inner)
        if best[0] == room:
            break
    return best


RANKS = ("B", "H", "P", "M", "E", "F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The attention that is asked about."""

    kv_heads: int
    together: int  # query heads on one head of keys and values
    queries: int
    keys: int
    head_dim: int
    v_head_dim: int
    mask: Mask | None
    bits: Mapping[str, float]  # of Q, K, V and the output AV, as they are stored
    value_bits: int  # of a value of Q, as the unit takes it

    @property
    def row_bytes(self) -> float:
        """Bytes of a key and its value."""
        return (self.head_dim * self.bits["K"] + self.v_head_dim * self.bits["V"]) / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Rows of queries by keys, and the parts in which the keys of a row are worked on.

    packed: the heads of a group share the rows.
    words:  the tile in the kernel's own words.
    """

    rows: int
    keys: int
    parts: int = 1
    packed: bool = False
    words: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Need of a tile of the scarcest thing, and what there is."""

    what: str
    needs: float
    has: float

    @property
    def fits(self) -> bool:
        """True if there is enough."""
        return self.needs <= self.has

    @property
    def share(self) -> float:
        """Part of what there is that is needed."""
        return self.needs / self.has

    def to_dict(self) -> dict[str, object]:
        """For machines."""
        return {"fits": self.fits, "what": self.what, "needs": self.needs, "has": self.has}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: its chips, its tiles, what they need, and how a user writes them down.

    lattice: tiles that may be asked for, of a shape on a chip of that name.
    fit:     everything that a tile needs, each with what there is; the scarcest one is shown.
    written: how a tile is written down, its words in braces; {others}: those that are not there.
    rule:    where the rule stands. estimated: the compiler decides, and may need more.
    order:   in which cores take tiles: a value of `GroupMapping.order`.
    fitted:  names of kernels whose measured costs a chip's file may have, the first that is there.
    """

    name: str
    chips: tuple[str, ...]
    lattice: Callable[[Shape, str], Iterable[Tile]]
    fit: Callable[[Shape, str, Tile], tuple[Fit, ...]]
    written: str
    rule: str
    estimated: bool
    order: TileOrder = "largest"
    fitted: tuple[str, ...] = ()

    def snippet(self, words: Mapping[str, object]) -> str:
        """A tile as a user writes it down."""
        rest = (f"{k}={v}" for k, v in words.items() if f"{{{k}}}" not in self.written)
        return self.written.format(**words, others=", ".join(rest))

    def tightest(self, shape: Shape, chip: str, tile: Tile) -> Fit:
        """Resource that a tile has least of."""
        return max(self.fit(shape, chip, tile), key=lambda fit: fit.share)


def shape_of(workload: Workload) -> Shape:
    """The shape of an attention in the short form.

    raises: SpecError where ranks or tensors of it are missing.
    """
    sizes, tensors = workload.rank_sizes, workload.tensor_ranks
    lacking = [r for r in RANKS if r not in sizes] + [
        t for t in ("Q", "K", "V") if t not in tensors
    ]
    if lacking:
        condition = f"attention in the short form: ranks {', '.join(RANKS)}, tensors Q, K, V"
        raise SpecError(expected(f"{workload.name}: tiles", condition, f"no {', '.join(lacking)}"))
    output = workload.ordered[-1].output.tensor
    grouped = "G" in sizes
    return Shape(
        kv_heads=sizes["G"] if grouped else sizes["H"],
        together=sizes["H"] if grouped else 1,
        queries=sizes["P"],
        keys=sizes["M"],
        head_dim=sizes["E"],
        v_head_dim=sizes["F"],
        mask=workload.mask,
        bits={t: workload.bits(t, OFF_CHIP) for t in ("Q", "K", "V")}
        | {"AV": workload.bits(output, OFF_CHIP)},
        value_bits=value_bits(workload.width("Q")),
    )
