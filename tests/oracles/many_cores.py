"""The best mapping on the cores of a chip by trying them all, without a line of the mapper.

Every level to fuse at, every tile that divides, every way to give tiles out and every nest of one
core's Einsums. What a core's nests do is priced nest by nest as in `oracles.brute_force`; the chip
is walked: which tiles run at one time, what several of them need, how often a tensor comes to a
level between DRAM and the cores, and which core is free first. The winner is priced by `evaluate`,
which has the last word.

The declared space is that of `mapping.cores.lifted`: tiles of queries go first or last,
and a level between keeps nothing or every input, of all tiles or of those of the innermost loops.
Ports of DRAM are shared ones; turns are interleaved; values are of a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import ceil, inf, prod

import batches
import numpy as np
from oracles.brute_force import (
    MEASURES,
    Case,
    PassSeen,
    Point,
    Roles,
    divisors,
    extent_words,
    factor_columns,
    fitting,
    fixed_words,
    free_orders,
    in_every_order,
    inside,
    level_names,
    lower_left,
    mapping_of,
    moves,
    over_loops,
    port_cycles,
    private_words,
    resident,
    role_sets,
    shared_loops,
    structures,
    sums_more,
    undominated,
    visited_pairs,
    walked,
    whole_group,
    words_of_pass,
)
from oracles.constrained import first_of_equals

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model import reuse
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.einsum import EinsumCosts, nest_costs
from flat_mapper.cost_model.nest import Factors, FloatArray
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.mapping.sharing import copied_from
from flat_mapper.mapping.space import GroupSpace, partitions
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import SPLIT, alternatives, with_splits

Words = dict[str, FloatArray]  # of n nests, by tensor
Ways = tuple[FloatArray, FloatArray]  # of n nests: words that come, and that leave


def answers(case: Case) -> dict[str, Result | None]:
    """Of every objective, the best mapping's result; None where nothing fits."""
    everything = options(case)
    return {
        o: judged(*min(everything, key=lambda one, measure=measure: measure(*one)))
        if everything
        else None
        for o, measure in MEASURES.items()
    }


def options(case: Case) -> list[tuple[Case, tuple[Point, ...]]]:
    """Cascades with mappings of their groups, on the front of each group."""
    return [
        (replace(case, workload=cascade), points)
        for cascade in cascades(case)
        for groups in partitions(cascade, case.mapspace)
        for points in product(*(ordered_points(replace(case, workload=cascade), g) for g in groups))
    ]


def ordered_points(case: Case, group: GroupSpace) -> list[Point]:
    """The (cycles, pJ) of a group's mappings in any order that none beats in both."""
    return lower_left([p for one in in_every_order(case, group) for p in group_points(case, one)])


def judged(case: Case, points: tuple[Point, ...]) -> Result:
    """What `evaluate` says of a combination: the same."""
    mapping = FusedMapping(groups=tuple(p.mapping for p in points), policy=case.mapspace.policy)
    result = evaluate(case.workload, case.platform, mapping, case.ert)
    assert isinstance(result, Result), str(result)
    assert result.cycles == sum(p.cycles for p in points)
    assert np.isclose(result.dynamic_pj, sum(p.energy for p in points), rtol=1e-9)
    return result


def cascades(case: Case) -> Iterator[Workload]:
    """The forms of a softmax; of an online one without a mask also its keys in parts."""
    most = max(core_count(case.platform, level) for level in fusion_levels(case))
    for cascade in alternatives(case.workload):
        yield cascade
        keys = cascade.roles.keys
        if cascade.softmax == "online" and not cascade.mask and keys:
            for parts in divisors(cascade.rank_sizes[keys]):
                if 1 < parts <= most:
                    yield with_splits(cascade, parts)


def fusion_levels(case: Case) -> list[str]:
    """On-chip levels of both paths inside which no fanout reads for each instance."""
    chip = case.platform
    assert chip.vector is not None
    names = [lv.name for lv in chip.matrix.levels[1:]]
    common = [n for n in names if n in [lv.name for lv in chip.vector.levels[1:]]]
    nodes = [n.name for n in chip.matrix.nodes]
    deaf = [i for i, n in enumerate(chip.matrix.nodes) if isinstance(n, Fanout) and n.constraints]
    heard = [n for n in common if all(nodes.index(n) > i for i in deaf)]
    wanted = case.mapspace.fusion.level
    return heard if wanted == "any" else [wanted]


def core_count(platform: Platform, level: str) -> int:
    """Instances of a level of the matrix path."""
    nodes = platform.matrix.nodes
    at = [n.name for n in nodes].index(level)
    return prod(n.fanout_x * n.fanout_y for n in nodes[:at] if isinstance(n, Fanout))


def core_of(case: Case, level: str, sizes: dict[str, int], *, mask: bool) -> Case:
    """One core and the largest of its tiles as a question of its own, whose DRAM costs nothing."""
    cores = core_count(case.platform, level)

    def path(arch: Architecture) -> Architecture:
        names = [n.name for n in arch.nodes]
        own = [
            replace(n, instances=n.instances // cores) if isinstance(n, MemoryLevel) else n
            for n in arch.nodes[names.index(level) :]
        ]
        unit = replace(arch.compute, instances=arch.compute.instances // cores)
        return replace(arch, nodes=(arch.nodes[0], *own), compute=unit)

    chip, workload = case.platform, case.workload
    assert chip.vector is not None
    free = {**case.ert.levels, "DRAM": dict.fromkeys(("read", "write", "update"), 0.0)}
    return Case(
        workload=replace(
            workload,
            rank_sizes={**workload.rank_sizes, **sizes},
            mask=workload.mask if mask else None,
        ),
        platform=replace(chip, matrix=path(chip.matrix), vector=path(chip.vector)),
        ert=replace(case.ert, levels=free),
        mapspace=replace(case.mapspace, fusion=replace(case.mapspace.fusion, level="", cores=())),
    )


def group_points(case: Case, group: GroupSpace) -> list[Point]:
    """The (cycles, pJ) of a group's mappings that are not worse in both than another's."""
    found: list[Point] = []
    for level in fusion_levels(case):
        for sizes in tiles(case, group, level):
            given = Given(case=case, group=group, level=level, sizes=sizes)
            for roles in role_sets(given.core, group):
                for shared in shared_loops(given.core, group):
                    if shared is not None and given.allows(shared):
                        found = lower_left([*found, *given.points(roles, shared)])
    return found


def tiles(case: Case, group: GroupSpace, level: str) -> Iterator[dict[str, int]]:
    """Extents of the ranks that all results of a group have: every divisor, and one part."""
    workload = case.workload
    if core_count(case.platform, level) == 1:
        yield {}
        return
    whole = whole_group(case, group)
    made = [workload.einsum(n).output.ranks for n in group.names]
    inner = workload.inner_ranks(whole)
    wanted = case.mapspace.fusion.cores
    ranks = [
        r
        for r in workload.shareable_ranks(whole)
        if all(r in own for own in made)
        and r not in inner
        and (wanted == "any" or r in wanted or r == SPLIT)
    ]
    options = [[1] if r == SPLIT else divisors(workload.rank_sizes[r]) for r in ranks]
    for extents in product(*options):
        yield dict(zip(ranks, extents, strict=True))


@dataclass(frozen=True, kw_only=True)
class View:
    """Ports that serve the cores while some are at work: by port and tensor cycles of a word that
    comes to a core, and of one that leaves it.

    Of what a level between keeps DRAM sends, and that level takes in, so many words for all tiles,
    however often they are read.
    """

    slow: tuple[dict[str, tuple[float, float]], ...]
    fixed: tuple[dict[str, float], ...]  # by port, cycles for all tiles of what is kept between

    def sources(self, t: str, words: Ways, all_words: FloatArray) -> list[FloatArray]:
        """By port, cycles of words of a tensor; all_words: that all tiles read, of n nests."""
        found = []
        for each, whole in zip(self.slow, self.fixed, strict=True):
            comes, leaves = each.get(t, (0.0, 0.0))
            comes = comes + whole.get(t, 0.0) / all_words
            found.append(comes * words[0] + leaves * words[1])
        return found

    def longest(self, t: str, words: Ways, all_words: FloatArray) -> FloatArray:
        """Cycles of the slowest port for them."""
        ports = self.sources(t, words, all_words)
        found: FloatArray = np.maximum.reduce(np.broadcast_arrays(*ports))
        return found


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What n nests of an Einsum do in one tile."""

    # Passes, cycles inside, and what is streamed: of each tensor what comes and what leaves.
    kinds: list[tuple[int, FloatArray, dict[str, Ways]]]
    reads: Words  # from outside in all
    writes: Words
    first: Words
    last: Words
    energy: FloatArray  # without what is outside


@dataclass(frozen=True, kw_only=True)
class Nests:
    """Nests of an Einsum that fit, and what they do in tiles of so many passes over keys."""

    tiles: dict[int, Tile]
    own: FloatArray  # held words, then of private levels what stays and what a turn takes
    nests: tuple[EinsumMapping, ...]


@dataclass(frozen=True, kw_only=True)
class Given:
    """A group whose tiles of some size are given out."""

    case: Case
    group: GroupSpace
    level: str
    sizes: dict[str, int]
    known: dict[object, Nests] = field(default_factory=dict)

    @cached_property
    def core(self) -> Case:
        """The question of one core."""
        return core_of(self.case, self.level, self.sizes, mask=not self.cuts_queries)

    @property
    def cuts_queries(self) -> bool:
        """Whether tiles have some of the queries each."""
        return self.sizes.get("P", 0) < self.case.workload.rank_sizes.get("P", 0) and (
            "P" in self.sizes
        )

    def allows(self, shared: tuple[Loop, ...]) -> bool:
        """Whether shared loops are in the space: queries under a mask are cut in one way only."""
        cut = {p.rank for p in shared}
        return not (self.case.workload.mask and self.cuts_queries and {"P", "M"} <= cut)

    def seen(self, shared: tuple[Loop, ...]) -> list[tuple[int, int]]:
        """The first tile of keys of every tile of queries, and how many; of equal tiles nothing."""
        loops = {p.rank: p.factor for p in shared}
        mask, sizes = self.case.workload.mask, self.case.workload.rank_sizes
        if mask is None or not self.cuts_queries or "M" not in loops:
            return []
        keys, rows = sizes["M"] // loops["M"], self.sizes["P"]
        found = []
        for start in range(sizes["M"] - sizes["P"], sizes["M"], rows):
            seen = {
                key // keys
                for query in range(start, start + rows)
                for key in range(sizes["M"])
                if (not mask.causal or key <= query)
                and (mask.window is None or abs(query - key) < mask.window)
            }
            found.append((min(seen), max(seen) - min(seen) + 1))
        return found

    def lengths(self, shared: tuple[Loop, ...]) -> tuple[int, ...]:
        """The passes over keys that tiles make; 0: all that there are."""
        return tuple(sorted({passes for _, passes in self.seen(shared)})) or (0,)

    def points(self, roles: dict[str, Roles], shared: tuple[Loop, ...]) -> list[Point]:
        """Costs under an outer choice, in every way to give tiles out."""
        seen, lengths = self.seen(shared), self.lengths(shared)
        parts = [nests_of(self, n, roles[n], shared) for n in roles]
        if not all(part.nests for part in parts):
            return []
        passes = {p.rank: p.factor for p in shared}
        over = (visited_pairs(self.core, self.core.workload.einsum(n), passes) for n in roles)
        left = next((one.pairs / one.total for one in over if one), 1.0)
        steps = {n: round(left * prod(passes.values())) for n in lengths}
        if seen:
            keys = next(p.factor for p in shared if p.rank == "M")
            steps = {n: prod(p.factor for p in shared) // keys * n for n in lengths}
        staged = dict.fromkeys(t for own in roles.values() for t in own if own[t] == "staged")
        found = []
        for way in self.ways(seen):
            found += way.points(self, parts, roles, shared, tuple(staged), steps)
        return found

    def ways(self, seen: list[tuple[int, int]]) -> Iterator[Way]:
        """The loops over tiles in every order, and what a level between keeps of what."""
        whole = self.case.workload.rank_sizes
        loops = [(r, whole[r] // n) for r, n in self.sizes.items() if n < whole[r]]
        others = [p for p in loops if p[0] != "P"]
        queries = [p for p in loops if p[0] == "P"]
        orders = [(*others, *queries)]
        if others and queries:
            orders.append((*queries, *others))
        names = [lv.name for lv in self.case.platform.matrix.levels]
        between = names[1 : names.index(self.level)]
        for order in orders:
            yield Way(loops=order, outer=len(order), keeper="", seen=seen)
            for outer in range(len(order) + 1) if between else ():
                yield Way(loops=order, outer=outer, keeper=between[-1], seen=seen)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to give tiles out."""

    loops: tuple[tuple[str, int], ...]  # over tiles, outermost first
    outer: int  # how many of them stand at DRAM
    keeper: str  # the level between that keeps inputs
    seen: list[tuple[int, int]]  # by tile of queries: the first tile of keys, and how many

    @cached_property
    def walk(self) -> list[dict[str, int]]:
        """All tiles in the order in which they are given out."""
        axes = []
        for rank, count in self.loops:
            along = list(range(count))
            if rank == "P" and self.seen:
                along.sort(key=lambda i: -self.seen[i][1])
            axes.append([(rank, i) for i in along])
        return [dict(at) for at in product(*axes)]

    @cached_property
    def kinds(self) -> list[int]:
        """Passes over keys of every tile in that order."""
        return [self.seen[at["P"]][1] if self.seen else 0 for at in self.walk]

    def changes(self, ranks: Sequence[str]) -> int:
        """How often another part of a tensor comes to the level between."""
        seen, last = 0, None
        for at in self.walk_in_order():
            now = tuple(at[r] for r, _ in self.loops[: self.outer] if r in ranks)
            seen += now != last
            last = now
        return seen

    def walk_in_order(self) -> list[dict[str, int]]:
        """Tiles as the loops run."""
        axes = [[(rank, i) for i in range(count)] for rank, count in self.loops]
        return [dict(at) for at in product(*axes)]

    def fits(self, given: Given, kept: Sequence[str], at_work: int) -> bool:
        """Whether the level between holds the inputs that it keeps."""
        if not self.keeper:
            return True
        workload = given.case.workload
        inner = prod(n for _, n in self.loops[self.outer :])
        needs = 0
        for tensor in kept:
            ranks = workload.tensor_ranks[tensor]
            cut = prod(n for r, n in self.loops[: self.outer] if r in ranks)
            flying = min(cut, ceil((at_work - 1) / inner) + 1)
            copies = max(given.case.mapspace.policy.buffering, flying) if cut > 1 else 1
            words = workload.tensor_words(tensor) * workload.share(tensor, "DRAM")
            needs += ceil(words / cut * copies)
        room = given.case.platform.matrix.level(self.keeper).usable_words
        return room is None or needs <= room

    def points(
        self,
        given: Given,
        parts: list[Nests],
        roles: dict[str, Roles],
        shared: tuple[Loop, ...],
        staged: tuple[str, ...],
        steps: dict[int, int],
    ) -> list[Point]:
        """What combinations of nests cost on the chip."""
        chip = Chip(given=given, way=self, kept=kept_inputs(given, roles) if self.keeper else ())
        if not self.fits(given, chip.kept, chip.at_work):
            return []
        columns = [chip.columns(part) for part in parts]
        found = []
        for total, picks in combinations(given, parts, columns, roles, shared):
            cycles = chip.cycles(total, steps)
            energy = total[-1] + chip.brought_pj
            nests = [p.nests[i] for p, i in zip(parts, picks, strict=True)]
            mapping = chip.mapping(nests, shared, staged)
            found.append(Point(cycles=cycles, energy=float(energy), mapping=mapping))
        return found


def kept_inputs(given: Given, roles: dict[str, Roles]) -> tuple[str, ...]:
    """What a group reads from outside."""
    made = {given.case.workload.einsum(n).output.tensor for n in given.group.names}
    moved = (t for own in roles.values() for t, role in own.items() if role != "inside")
    return tuple(dict.fromkeys(t for t in moved if t not in made))


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip whose cores are given tiles in one way."""

    given: Given
    way: Way
    kept: tuple[str, ...]

    @property
    def platform(self) -> Platform:
        """The chip."""
        return self.given.case.platform

    @cached_property
    def cores(self) -> int:
        """Of the chip."""
        return core_count(self.platform, self.given.level)

    @property
    def at_work(self) -> int:
        """Cores that are given a tile."""
        return min(self.cores, len(self.way.walk))

    @cached_property
    def rounds(self) -> list[list[dict[str, int]]]:
        """Tiles that run at one time: equal ones at the head of the order, in whole rounds."""
        kinds = self.way.kinds
        equal = next((i for i, n in enumerate(kinds) if n != kinds[0]), len(kinds))
        if equal < len(kinds):
            equal = equal // self.cores * self.cores
        tiles = self.way.walk[:equal]
        return [tiles[i : i + self.cores] for i in range(0, equal, self.cores)]

    @cached_property
    def rest(self) -> list[int]:
        """Passes of the tiles after those."""
        return self.way.kinds[sum(map(len, self.rounds)) :]

    def multicast(self, tensor: str) -> bool:
        """Whether one read may serve several cores."""
        workload, nodes = self.given.case.workload, self.platform.matrix.nodes
        made = {workload.einsum(n).output.tensor for n in self.given.group.names}
        outside = nodes[: [n.name for n in nodes].index(self.given.level)]
        deaf = any(isinstance(n, Fanout) and n.constraints for n in outside)
        return tensor not in made and not deaf

    def different(self, tensor: str, tiles: list[dict[str, int]]) -> int:
        """Different parts of a tensor that some tiles, of as many keys, need."""
        ranks, seen = self.given.case.workload.tensor_ranks[tensor], self.way.seen
        first = {at["P"]: seen[at["P"]][0] for at in tiles} if seen and "M" in ranks else {}
        parts = [
            (first.get(at.get("P", 0)), *(n for r, n in sorted(at.items()) if r in ranks))
            for at in tiles
        ]
        return len(set(parts))

    def sent(self, tensor: str, tiles: list[dict[str, int]]) -> int:
        """Tiles of a tensor that are read for a round."""
        return self.different(tensor, tiles) if self.multicast(tensor) else len(tiles)

    @cached_property
    def brought(self) -> dict[str, float]:
        """Words that DRAM sends to the level between, by tensor kept there."""
        found, workload = {}, self.given.case.workload
        for tensor in self.kept:
            ranks = workload.tensor_ranks[tensor]
            cut = prod(n for r, n in self.way.loops[: self.way.outer] if r in ranks)
            words = workload.tensor_words(tensor) * workload.share(tensor, "DRAM")
            found[tensor] = self.way.changes(ranks) * words / cut
        return found

    @property
    def brought_pj(self) -> float:
        """pJ of those words at both levels."""
        if not self.kept:
            return 0.0
        dram, level = self.platform.dram, self.platform.matrix.level(self.way.keeper)
        read, write = self.given.case.ert.actions("DRAM")[0], self.price(level.name)[1]
        return sum(
            ceil(n / dram.row_words) * read + ceil(n / level.row_words) * write
            for n in self.brought.values()
        )

    def price(self, level: str) -> tuple[float, float, float]:
        """pJ of a read, a write and an update."""
        return self.given.case.ert.actions(level)

    def view(self, tiles: list[dict[str, int]] | None) -> View:
        """What serves the cores in a round of equal tiles; None: while each reads for itself."""
        workload, chip = self.given.case.workload, self.platform
        tensors = list(workload.tensor_ranks)
        sent = {t: float(self.at_work if tiles is None else self.sent(t, tiles)) for t in tensors}
        cores = self.at_work if tiles is None else len(tiles)
        rate = chip.dram.shared_words_per_cycle or inf
        brought = {t: cores * n for t, n in self.brought.items()}
        slow = [{t: (n / rate, n / rate) for t, n in sent.items() if t not in brought}]
        fixed = [{t: n / rate for t, n in brought.items()}]
        if self.kept:
            level = chip.matrix.level(self.way.keeper)
            own = level.fill_words_per_cycle
            for port, out, back in (
                (level.read_words_per_cycle, 1, 0),
                (own or level.write_words_per_cycle, 0, 1),
                (level.shared_words_per_cycle, 1, 1),
            ):
                slow.append({t: (out * sent[t] / (port or inf), 0.0) for t in self.kept})
                fixed.append({t: back * n / (port or inf) for t, n in brought.items()})
        for name, comes, leaves in (("read", 1, 0), ("write", 0, 1), ("stream", 1, 1)):
            limit = chip.matrix.variables.get(f"core_{name}_bytes_per_cycle", "unknown")
            names = [node.name for node in chip.matrix.nodes]
            if limit != "unknown" and "core" in names[: names.index(self.given.level)]:
                word = 2 / float(str(limit))
                slow.append(dict.fromkeys(tensors, (comes * word, leaves * word)))
                fixed.append({})
        return View(slow=tuple(slow), fixed=tuple(fixed))

    @cached_property
    def views(self) -> list[tuple[int, View, int]]:
        """(passes of the tile, what serves it, rounds alike), then what runs tile by tile."""
        found: list[tuple[int, View, int]] = []
        for tiles in self.rounds:
            view = self.view(tiles)
            for i, (_, other, count) in enumerate(found):
                if other == view:
                    found[i] = (self.way.kinds[0], view, count + 1)
                    break
            else:
                found.append((self.way.kinds[0], view, 1))
        free = self.view(None)
        return found + [(kind, free, 0) for kind in sorted(set(self.rest))]

    def columns(self, part: Nests) -> FloatArray:
        """Of n nests by view: turns, what is beyond steady ones, words outside, what is exposed.

        Then, without copies to run ahead into, whole tiles; and pJ. float64[n, 5 * views + 1].
        """
        count = {kind: self.way.kinds.count(kind) for kind in part.tiles}
        everything = {
            t: np.maximum(sum(count[k] * tile.reads[t] for k, tile in part.tiles.items()), 1e-300)
            for t in next(iter(part.tiles.values())).reads
        }
        found = []
        for kind, view, _ in self.views:
            tile = part.tiles[kind]
            none = np.zeros(1)

            def took(words: Words, back: Words, view: View = view) -> FloatArray:
                """Cycles of one tensor after another, of what comes and what leaves."""
                zero = np.zeros(1)
                parts = [
                    view.longest(t, (words.get(t, zero), back.get(t, zero)), everything[t])
                    for t in {**words, **back}
                ]
                return sum(parts, zero)

            turns = []
            for _, cycles, streamed in tile.kinds:
                ports = [view.sources(t, ways, everything[t]) for t, ways in streamed.items()]
                for own in zip(*ports, strict=True):
                    cycles = np.maximum(cycles, sum(own, none))
                turns.append(cycles)
            passes = [n for n, _, _ in tile.kinds]
            total = sum(n * c for n, c in zip(passes, turns, strict=True))
            extra = total - sum(passes) * np.minimum.reduce(turns)
            outside = took(tile.reads, tile.writes)
            exposed = took(tile.first, {}) + took({}, tile.last)
            comes, leaves = (
                {
                    t: n - sum(count * some[t][way] for count, _, some in tile.kinds if t in some)
                    for t, n in words.items()
                }
                for way, words in enumerate((tile.reads, tile.writes))
            )
            whole = took(comes, {}) + took({}, leaves)
            found += [total, extra, outside, exposed, whole]
        found.append(self.energy(part, count))
        size = len(part.nests)
        return np.stack([np.broadcast_to(c, (size,)) for c in found], axis=1).astype(np.float64)

    def energy(self, part: Nests, count: dict[int, int]) -> FloatArray:
        """pJ of all tiles, without what is brought to a level between."""
        total = sum(count[k] * tile.energy for k, tile in part.tiles.items())
        head = part.tiles[self.way.kinds[0]]
        for t in head.reads:
            level = self.platform.matrix.level(self.way.keeper if t in self.kept else "DRAM")
            read, _, update = self.price(level.name)
            reads = sum(count[k] * tile.reads[t] for k, tile in part.tiles.items())
            spared = sum(len(tiles) - self.sent(t, tiles) for tiles in self.rounds)
            reads = reads - spared * head.reads[t]
            writes = sum(count[k] * tile.writes[t] for k, tile in part.tiles.items())
            total = total + np.ceil(reads / level.row_words) * read
            total = total + np.ceil(writes / level.row_words) * update
        return total

    def cycles(self, total: FloatArray, steps: dict[int, int]) -> int:
        """Cycles of the fullest core; total: summed columns."""
        facts = self.platform.matrix.variables
        fixed, each, launch = (
            float(str(facts.get(name, 0)))
            for name in ("core_tile_cycles", "core_step_cycles", "launch_seconds")
        )
        ahead = self.given.case.mapspace.policy.buffering >= 2
        begin, free = 0.0, {}
        for i, (kind, _, count) in enumerate(self.views):
            turns, extra, outside, exposed, whole = total[5 * i : 5 * i + 5]
            one = max(turns, outside + extra) + exposed if ahead else max(turns + whole, outside)
            one += fixed + each * steps[kind]
            begin += count * one
            if not count:
                free[kind] = one
        loads = [begin] * self.cores
        for kind in self.rest:
            core = loads.index(min(loads))
            loads[core] += free[kind]
        return ceil(max(loads) + launch / self.platform.matrix.cycle_seconds - 1e-9)

    def mapping(
        self, nests: list[EinsumMapping], shared: tuple[Loop, ...], staged: tuple[str, ...]
    ) -> GroupMapping:
        """The group on the chip."""
        at = self.way.keeper or "DRAM"
        whole = []
        for nest in nests:
            loops = tuple(
                (Slot(at, s.axis) if s.node == "DRAM" else s, own) for s, own in nest.loops if own
            )
            first, *rest = nest.keep
            between = [(at, tuple(t for t in first[1] if t in self.kept))] if self.kept else []
            whole.append(replace(nest, loops=loops, keep=(first, *between, *rest)))
        tiles = [Loop(r, n) for r, n in self.way.loops]
        cores = [("DRAM", tiles[: self.way.outer]), (at, tiles[self.way.outer :])]
        return GroupMapping(
            einsums=tuple(whole),
            shared=shared,
            level=self.given.level,
            cores=tuple((n, tuple(own)) for n, own in cores if own),
            staged=staged,
            schedule=self.given.group.schedule,
        )


def combinations(
    given: Given,
    parts: list[Nests],
    columns: list[FloatArray],
    roles: dict[str, Roles],
    shared: tuple[Loop, ...],
) -> Iterator[tuple[FloatArray, tuple[int, ...]]]:
    """Sums of the Einsums' columns, and the nests, in every way that fits and may be best."""
    core = given.core
    capacity = core.platform.matrix.levels[1].usable_words
    room = inf if capacity is None else capacity - fixed_words(core, given.group, roles, shared)
    limits = [private_words(core.platform, name) for name in level_names(core.platform)[2:]]
    width = columns[0].shape[1]
    totals, picks = np.zeros((1, width + 1 + 2 * len(limits))), [()]
    for part, own in zip(parts, columns, strict=True):
        mine = np.column_stack([own, part.own])
        left, right = (a.ravel() for a in np.indices((len(totals), len(mine))))
        sums = totals[left] + mine[right]
        fits = sums[:, width] <= room
        for k, limit in enumerate(limits):
            at = width + 2 + 2 * k  # of a turn the most counts
            sums[:, at] = np.maximum(totals[left, at], mine[right, at])
            fits &= sums[:, at - 1] + sums[:, at] <= limit
        good = np.flatnonzero(fits)
        good = good[undominated(sums[good])]
        totals, picks = sums[good], [(*picks[left[i]], int(right[i])) for i in good]
    for total, pick in zip(totals, picks, strict=True):
        yield total[:width], pick


def nests_of(given: Given, name: str, roles: Roles, shared: tuple[Loop, ...]) -> Nests:
    """All nests of an Einsum under an outer choice that fit a core, and what they do in tiles.

    What other Einsums do has no part in it but for whether keys are cut, so it is remembered.
    """
    core, group = given.core, given.group
    einsum = core.workload.einsum(name)
    own = tuple(p for p in shared if p.rank in einsum.ranks)
    cut = any(p.rank in core.workload.inner_ranks(whole_group(core, group)) for p in shared)
    lengths = given.lengths(shared)
    key = name, tuple(roles.items()), own, cut, lengths
    if key not in given.known:
        arch = core.platform.path(einsum.unit)
        columns = factor_columns(arch, einsum, sizes_of(core, name, own), own)
        if cut:
            columns = columns[:, :, ~resident(arch, einsum, columns)]
        tiles: list[dict[int, Tile]] = []
        held: list[FloatArray] = []
        origin: list[tuple[reuse.Nest, tuple[str, ...], np.ndarray]] = []
        free = free_orders(core, einsum)[0]
        for nest, stay in structures(core, group, arch, einsum, roles, own):
            mine = columns[:, :, first_of_equals(free, arch, einsum, nest.order, columns, True)]
            if not mine.shape[2]:
                continue
            priced = priced_nests(core, nest, mine, own)
            good = np.flatnonzero(np.broadcast_to(fitting(core, group, priced), (mine.shape[2],)))
            every = {n: tile_of(core, group, nest, mine, roles, own, n) for n in lengths}
            tiles.append({n: taken(tile, good) for n, tile in every.items()})
            held.append(held_words(core, group, priced, roles)[good])
            origin += [(nest, stay, mine[:, :, i]) for i in good]
        given.known[key] = distinct(lengths, tiles, held, origin)
    return given.known[key]


def sizes_of(core: Case, name: str, shared: tuple[Loop, ...]) -> tuple[int, ...]:
    """Sizes of an Einsum's ranks; of one that it runs once in each pass of, the passes."""
    einsum, passes = core.workload.einsum(name), {p.rank: p.factor for p in shared}
    sizes = core.workload.rank_sizes
    return tuple(passes.get(r, 1) if r in einsum.each else sizes[r] for r in einsum.ranks)


def priced_nests(
    core: Case, nest: reuse.Nest, columns: np.ndarray, shared: tuple[Loop, ...]
) -> EinsumCosts:
    """Nests as the model counts them, one Einsum at a time."""
    einsum, passes = nest.einsum, {p.rank: p.factor for p in shared}
    sizes, widths = sizes_of(core, einsum.name, shared), core.workload.widths
    return nest_costs(
        *(nest, sizes, Factors(factors=columns), core.ert, widths),
        visited_pairs(core, einsum, passes),
        copied=copied_from(core.workload, einsum),
    )


def tile_of(
    core: Case,
    group: GroupSpace,
    nest: reuse.Nest,
    columns: np.ndarray,
    roles: Roles,
    shared: tuple[Loop, ...],
    length: int,
) -> Tile:
    """What nests do in a tile of so many passes over keys; 0: of as many as there are."""
    einsum, workload, count = nest.einsum, core.workload, columns.shape[2]
    if length and "M" in einsum.ranks:
        at = einsum.ranks.index("M")
        keys = workload.rank_sizes["M"] // next(p.factor for p in shared if p.rank == "M")
        columns = columns.copy()
        columns[0, at] = length
        workload = replace(workload, rank_sizes={**workload.rank_sizes, "M": keys * length})
        shared = tuple(Loop("M", length) if p.rank == "M" else p for p in shared)
    case = replace(core, workload=workload)
    priced = priced_nests(case, nest, columns, shared)
    words = {t: priced.words(0, t) for t, role in roles.items() if role != "inside"}
    output = einsum.output.tensor
    outside = [t for t, role in roles.items() if role != "inside"]
    opening, closing = einsum.name == group.names[0], einsum.name == group.names[-1]

    def ends(*, last: bool) -> Words:
        waits = closing if last else opening
        some = [t for t in outside if (t == output) == last and (roles[t] == "staged" or waits)]
        return {t: extent_words(case, priced, t, "DRAM", whole=roles[t] == "staged") for t in some}

    def every(values: np.ndarray) -> FloatArray:
        return np.broadcast_to(values, (count,)).astype(np.float64)

    return Tile(
        kinds=turns(case, priced, walked(case, einsum, shared)),
        reads={t: every(words[t].reads) for t in outside},
        writes={t: every(words[t].updates) for t in outside},
        first={t: every(n) for t, n in ends(last=False).items()},
        last={t: every(n) for t, n in ends(last=True).items()},
        energy=every(batches.energy(priced)),
    )


def turns(
    case: Case, priced: EinsumCosts, kinds: dict[PassSeen, int]
) -> list[tuple[int, FloatArray, dict[str, Ways]]]:
    """Of every kind of passes: how many, cycles inside the core, and words streamed by tensor."""
    nest, arch, workload = priced.nest, priced.nest.arch, case.workload
    factors = inside(priced)
    tile = tuple(
        1 if r in nest.einsum.each else n // int(f)
        for r, n, f in zip(nest.ranks, priced.sizes, priced.factors.factors[0, :, 0], strict=True)
    )
    one = reuse.accesses(replace(nest, returns=frozenset()), Factors(factors=factors), tile)
    compute = one.compute * operation_cycles(arch, nest.einsum, workload.widths)
    copied, found = copied_from(workload, nest.einsum) or "", []

    def every(words: np.ndarray) -> FloatArray:
        return np.broadcast_to(words, (factors.shape[2],)).astype(np.float64)

    for kind, count in kinds.items():
        longest = compute.astype(np.float64)
        streamed: dict[str, Ways] = {}
        for i, level in enumerate(arch.levels):
            reads = writes = fills = np.zeros(factors.shape[2])
            for tensor in (a.tensor for a in nest.einsum.accesses):
                chain = [n for n, kept in enumerate(nest.keep) if tensor in kept]
                if i not in chain or (i == 0 and 1 in chain):
                    continue
                read, written, filled = words_of_pass(priced, one, (i, tensor), kind, copied)
                fills = fills + filled
                if i == 0:
                    streamed[tensor] = every(read), every(written)
                reads, writes = reads + read, writes + written
            if i:
                longest = np.maximum(longest, port_cycles(level, reads, writes, fills))
        found.append((count, np.broadcast_to(longest, (factors.shape[2],)), streamed))
    return found


def held_words(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> FloatArray:
    """Words at the shared level that nests decide; of private levels those that stay, of a turn."""
    n, copies = priced.factors.count, case.mapspace.policy.buffering
    held = (
        np.ceil(copies * extent_words(case, priced, t, whole=False))
        for t, role in roles.items()
        if role == "stream"
    )
    parts = [sum(held, np.zeros(n)) + sums_more(case, group, priced, roles)]
    for name in level_names(case.platform)[2:]:
        stays = turn = np.zeros(n)
        for i, level in enumerate(priced.nest.arch.levels):
            for tensor in priced.nest.keep[i] if level.name == name else ():
                still = np.full(n, over_loops(priced, tensor))
                still &= ~moves(priced.nest, inside(priced), tensor, i, frozenset())
                stays = stays + np.where(still, priced.tile(i, tensor), 0)
                turn = turn + np.where(still, 0, priced.tile(i, tensor))
        parts += [stays, turn]
    return np.stack(parts, axis=1).astype(np.float64)


def distinct(
    lengths: tuple[int, ...],
    tiles: list[dict[int, Tile]],
    held: list[FloatArray],
    origin: list[tuple[reuse.Nest, tuple[str, ...], np.ndarray]],
) -> Nests:
    """Nests that differ in anything that a chip may see."""
    if not origin:
        return Nests(tiles={}, own=np.zeros((0, 1)), nests=())
    joined = {n: joined_tiles([some[n] for some in tiles]) for n in lengths}
    own = np.concatenate(held)
    columns = [own]
    for tile in joined.values():
        columns += [c for _, c, _ in tile.kinds]
        for _, _, streamed in tile.kinds:
            columns += [n for ways in streamed.values() for n in ways]
        for words in (tile.reads, tile.writes, tile.first, tile.last):
            columns += list(words.values())
        columns.append(tile.energy)
    _, kept = np.unique(np.column_stack(columns), axis=0, return_index=True)
    some = [origin[i] for i in kept]
    return Nests(
        tiles={n: taken(tile, kept) for n, tile in joined.items()},
        own=own[kept],
        nests=tuple(replace(mapping_of(nest, at), stay=stay) for nest, stay, at in some),
    )


def joined_tiles(parts: list[Tile]) -> Tile:
    """Tiles of several sets of nests as one."""
    head = parts[0]

    def words(every: list[Words]) -> Words:
        return {t: np.concatenate([own[t] for own in every]) for t in every[0]}

    def joined_ways(every: list[dict[str, Ways]]) -> dict[str, Ways]:
        comes, leaves = (
            words([{t: n[i] for t, n in own.items()} for own in every]) for i in (0, 1)
        )
        return {t: (comes[t], leaves[t]) for t in comes}

    return Tile(
        kinds=[
            (
                head.kinds[i][0],
                np.concatenate([p.kinds[i][1] for p in parts]),
                joined_ways([p.kinds[i][2] for p in parts]),
            )
            for i in range(len(head.kinds))
        ],
        reads=words([p.reads for p in parts]),
        writes=words([p.writes for p in parts]),
        first=words([p.first for p in parts]),
        last=words([p.last for p in parts]),
        energy=np.concatenate([p.energy for p in parts]),
    )


def taken(tile: Tile, kept: np.ndarray) -> Tile:
    """Some of the nests."""

    def words(own: Words) -> Words:
        return {t: n[kept] for t, n in own.items()}

    return Tile(
        kinds=[
            (n, cycles[kept], {t: (come[kept], go[kept]) for t, (come, go) in streamed.items()})
            for n, cycles, streamed in tile.kinds
        ],
        reads=words(tile.reads),
        writes=words(tile.writes),
        first=words(tile.first),
        last=words(tile.last),
        energy=tile.energy[kept],
    )
