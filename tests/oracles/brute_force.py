"""The best mapping by trying them all: slow, plain, and without a line of flat_mapper.search.

Every nest of every Einsum under every outer choice is priced by the model. Nests that no objective
can prefer (another is as good in everything that the group sees) are dropped; the rest are combined
by nested loops. The winner is priced once more by `evaluate`, which has the last word.

Einsums of a group take turns. What a turn takes is found by walking the passes of the shared loops
one by one, with what each tensor held in the pass before; and every set of tensors that may stay
at the private levels over other Einsums' turns is tried.

The declared space: a fused group's DRAM loops are exactly its shared loops, in any order (keys,
where they are cut, come last); a rank stands on one axis of a fanout. The
order of the innermost level's loops is not tried: below it is only the compute unit
(tests/cost_model/test_laws.py has that as a law).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product
from math import ceil, inf, prod

import batches
import numpy as np
from oracles.constrained import first_of_equals, obeying_factors, obeying_keeps, obeying_orders

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model import reuse
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.einsum import EinsumCosts, around, nest_costs
from flat_mapper.cost_model.nest import Factors, FloatArray, Nest, Visited
from flat_mapper.cost_model.result import Result
from flat_mapper.cost_model.transfers import unfinished
from flat_mapper.energy.tables import Ert, operation_cycles
from flat_mapper.mapping.sharing import (
    carried_tensors,
    copied_from,
    crosses_dram,
    in_place_classes,
    may_stay,
    shared_level,
    with_unmapped,
)
from flat_mapper.mapping.space import GroupSpace, Mapspace, partitions
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
    slots_of,
)
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

Roles = dict[str, str]  # by tensor: inside, staged or stream; see `role_sets`


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question."""

    workload: Workload
    platform: Platform
    ert: Ert
    mapspace: Mapspace


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Nests of one Einsum that may be best: what the group sees of each, and the nest itself.

    costs: float64[n, D]: cycles (of an operator on its own its compute cycles, in a group its
           turns), those of the turns that bring nothing new, words held at the shared level, first
           input words, last output words, pJ, words from and to DRAM in whole tiles, then reads
           and writes of every level of the platform,
           then for every private level the words that stay there and those of a turn.
    """

    costs: FloatArray
    nests: tuple[EinsumMapping, ...]
    passes: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A group's cost and its mapping."""

    cycles: float
    energy: float
    mapping: GroupMapping


def answers(case: Case) -> dict[str, Result | None]:
    """Of every objective, the best mapping's result; None where nothing fits."""
    best = chosen(case)
    return {o: judged(*best[i]) if best else None for i, o in enumerate(MEASURES)}


def chosen(case: Case) -> list[tuple[Case, tuple[Point, ...]]]:
    """The best combination of every objective; none where nothing fits."""
    everything = options(case)
    return [
        min(everything, key=lambda option, measure=measure: measure(*option))
        for measure in MEASURES.values()
        if everything
    ]


def options(case: Case) -> list[tuple[Case, tuple[Point, ...]]]:
    """Combinations of the groups' points, over all alternatives."""
    charged = case.mapspace.policy.softmax == "charged"
    return [
        (replace(case, workload=cascade), points)
        for cascade in alternatives(case.workload, charged=charged)
        for groups in partitions(cascade, case.mapspace)
        for points in product(*(ordered_points(replace(case, workload=cascade), g) for g in groups))
    ]


def ordered_points(case: Case, group: GroupSpace) -> list[Point]:
    """The (cycles, energy) of a group's mappings in any order that none beats in both."""
    return lower_left([p for one in in_every_order(case, group) for p in group_points(case, one)])


def in_every_order(case: Case, group: GroupSpace) -> Iterator[GroupSpace]:
    """A group in every order in which nobody runs before what it waits for.

    Of those one that differ for nobody here: who is first and last, who brings what several read,
    and what shares a place.
    """
    seen = set[object]()
    for names in topological(case.workload, frozenset(group.names)):
        one = replace(group, names=names)
        whole, level = whole_group(case, one), shared_level(case.platform).name
        places: dict[str, set[str]] = {}
        for tensor, place in in_place_classes(case.workload, whole, level).items():
            places.setdefault(place, set()).add(tensor)
        inputs = [(a.tensor, n) for n in names for a in case.workload.einsum(n).accesses]
        movers = dict(reversed(inputs))
        told = (names[0], names[-1]) if group.fused else ()
        key = told, frozenset(movers.items()), frozenset(map(frozenset, places.values()))
        if key not in seen:
            seen.add(key)
            yield one


def topological(workload: Workload, names: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Every order in which nobody runs before what it waits for."""
    if not names:
        yield ()
    for last in (n for n in workload.ancestors if n in names):
        if not any(last in workload.ancestors[other] for other in names):
            for before in topological(workload, names - {last}):
                yield (*before, last)


def front(case: Case) -> list[tuple[float, float]]:
    """(cycles, pJ) of the mappings that no other one beats in both, the fastest first."""
    costs = sorted((total_cycles(c, p), total_energy(c, p)) for c, p in options(case))
    kept: list[tuple[float, float]] = []
    for cycles, energy in costs:
        if not kept or energy < kept[-1][1] * (1 - 1e-12):
            kept.append((cycles, energy))
    return kept


def whole_group(case: Case, group: GroupSpace) -> tuple[str, ...]:
    """The Einsums of a group, with those that a free softmax leaves out of it."""
    if not group.fused or case.mapspace.policy.softmax == "charged":
        return group.names
    return with_unmapped(case.workload, group.names)


def judged(case: Case, points: tuple[Point, ...]) -> Result:
    """What `evaluate` says of a combination."""
    mapping = FusedMapping(groups=tuple(p.mapping for p in points), policy=case.mapspace.policy)
    result = evaluate(case.workload, case.platform, mapping, case.ert)
    assert isinstance(result, Result), str(result)
    assert np.isclose(result.energy_pj, total_energy(case, points), rtol=1e-9)
    assert result.cycles == total_cycles(case, points)
    return result


def total_cycles(case: Case, points: tuple[Point, ...]) -> float:
    return sum(p.cycles for p in points)


def total_energy(case: Case, points: tuple[Point, ...]) -> float:
    """Every action, and what every instance of every component leaks in every cycle."""
    chip = case.platform
    paths = [chip.matrix, *([chip.vector] if chip.vector else [])]
    levels = [level for a in paths for level in a.levels if not level.part_of]
    instances = {node.name: node.instances for node in (*levels, *(a.compute for a in paths))}
    leak = sum(n * case.ert.levels[name].get("leak", 0) for name, n in instances.items())
    return sum(p.energy for p in points) + leak * total_cycles(case, points)


MEASURES: dict[str, Callable[[Case, tuple[Point, ...]], float]] = {
    "latency": total_cycles,
    "energy": total_energy,
    "edp": lambda case, points: total_cycles(case, points) * total_energy(case, points),
}


def group_points(case: Case, group: GroupSpace) -> list[Point]:
    """The (cycles, energy) of a group's mappings that are not worse in both than another's."""
    found: list[Point] = []
    for roles in role_sets(case, group):
        for shared in shared_loops(case, group):
            choices = [choice(case, group, name, roles[name], shared) for name in group.names]
            found.extend(combined(case, group, roles, shared, choices))
            found = lower_left(found)
    return found


def lower_left(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cycles, p.energy)):
        if not kept or point.energy < kept[-1].energy:
            kept.append(point)
    return kept


def role_sets(case: Case, group: GroupSpace) -> Iterator[dict[str, Roles]]:
    """Of every Einsum and tensor, how it reaches the inner levels.

    inside: kept at the shared level, not at DRAM; staged: at both; stream: at DRAM only.
    """
    einsums = [case.workload.einsum(n) for n in group.names]
    tensors = list(dict.fromkeys(a.tensor for e in einsums for a in e.accesses))
    outside = [t for t in tensors if crosses_dram(case.workload, whole_group(case, group), t)]
    wanted = case.mapspace.fusion.staging
    for staged in product((False, True), repeat=len(outside)):
        chosen = {t for t, yes in zip(outside, staged, strict=True) if yes}
        if group.fused and not group.declared and len(chosen) < len(outside):
            continue
        uses = {t: sum(t in (a.tensor for a in e.accesses) for e in einsums) for t in outside}
        carried = carried_tensors(case.workload, whole_group(case, group)) if group.fused else ()
        must = {t for t in outside if uses[t] > 1 or t in carried}
        if not must <= chosen:
            continue
        free = chosen - must
        if not (group.fused and not group.declared) and (
            (wanted == "all" and len(chosen) < len(outside))
            or (wanted == "none" and free)
            or (isinstance(wanted, tuple) and free != {t for t in outside if t in wanted} - must)
        ):
            continue
        # Who reads a tensor first brings it; who makes it, and does not just correct it, sends it.
        movers = {a.tensor: e.name for e in reversed(einsums) for a in e.accesses}
        movers |= {e.output.tensor: e.name for e in einsums if not e.updates}
        sets: dict[str, Roles] = {}
        for einsum in einsums:
            mine: Roles = {}
            for access in einsum.accesses:
                tensor = access.tensor
                if tensor not in outside or (tensor in chosen and movers[tensor] != einsum.name):
                    mine[tensor] = "inside"
                else:
                    mine[tensor] = "staged" if tensor in chosen else "stream"
            sets[einsum.name] = mine
        yield sets


def shared_loops(case: Case, group: GroupSpace) -> Iterator[tuple[Loop, ...] | None]:
    """Every choice of shared loops, outermost first; None where the DRAM loops are free."""
    if not group.fused:
        yield None
        return
    ranks = case.workload.shareable_ranks(whole_group(case, group))
    for factors in product(*(divisors(case.workload.rank_sizes[r]) for r in ranks)):
        loops = tuple(Loop(r, f) for r, f in zip(ranks, factors, strict=True) if f > 1)
        inner = case.workload.inner_ranks(whole_group(case, group))
        last = tuple(loop for loop in loops if loop.rank in inner)
        others = tuple(loop for loop in loops if loop.rank not in inner)
        yield from (o + i for o in permutations(others) for i in permutations(last))


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def choice(
    case: Case, group: GroupSpace, name: str, roles: Roles, shared: tuple[Loop, ...] | None
) -> Choice:
    """All nests of one Einsum under an outer choice, the needless ones dropped."""
    einsum = case.workload.einsum(name)
    arch = case.platform.path(einsum.unit)
    passes = {loop.rank: loop.factor for loop in shared or ()}
    sizes = tuple(
        passes.get(r, 1) if r in einsum.each else case.workload.rank_sizes[r] for r in einsum.ranks
    )
    columns = factor_columns(arch, einsum, sizes, shared)
    if any(r in passes for r in case.workload.inner_ranks(whole_group(case, group))):
        columns = columns[:, :, ~resident(arch, einsum, columns)]
    columns = columns[:, :, obeying_factors(case.mapspace, arch, einsum, slots_of(arch), columns)]
    crossing = {t for t in roles if crosses_dram(case.workload, whole_group(case, group), t)}
    seen_pairs = visited_pairs(case, einsum, passes)
    kinds = walked(case, einsum, shared) if group.fused else {}
    costs: list[FloatArray] = []
    nests: list[EinsumMapping] = []
    in_order: dict[tuple[tuple[str, ...], ...], np.ndarray] = {}
    for nest, stay in structures(case, group, arch, einsum, roles, shared):
        if not obeying_keeps(case.mapspace, arch, einsum, nest.keep, crossing):
            continue
        if nest.order not in in_order:
            free = free_orders(case, einsum)[0]
            good = first_of_equals(free, arch, einsum, nest.order, columns, shared is not None)
            good &= obeying_orders(case.mapspace, arch, einsum, nest.slots, nest.order, columns)
            in_order[nest.order] = columns[:, :, good]
        mine = in_order[nest.order]
        if not mine.shape[2]:
            continue
        factors = Factors(factors=mine)
        priced = nest_costs(
            *(nest, sizes, factors, case.ert, case.workload.widths, seen_pairs),
            copied=copied_from(case.workload, einsum),
        )
        seen = vectors(case, group, priced, roles, kinds)
        good = np.flatnonzero(fitting(case, group, priced))
        for i in good[undominated(with_extra(seen[good], [0], [1]))]:
            costs.append(seen[i])
            nests.append(replace(mapping_of(nest, mine[:, :, i]), stay=stay))
    if not costs:
        return Choice(costs=np.zeros((0, 1)), nests=())
    table = np.array(costs)
    kept = undominated(with_extra(table, [0], [1]))
    return Choice(
        costs=table[kept],
        nests=tuple(nests[i] for i in kept),
        passes=float(sum(kinds.values())) if kinds else 1.0,
    )


def fitting(case: Case, group: GroupSpace, priced: EinsumCosts) -> np.ndarray:
    """Which nests every level of their own holds; bool[n].

    What a fused group has at the shared level is counted for all its Einsums at once, where an
    output may take its input's place: `fixed_words` and `held`.
    """
    if not group.fused:
        return batches.fits(priced)
    together = shared_level(case.platform).name
    good = np.ones(priced.factors.count, np.bool_)
    for i, level in enumerate(priced.nest.arch.levels):
        if level.name != together and level.usable_words is not None:
            good = good & (batches.occupied(priced, i) <= level.usable_words)
    return good


# Tensors whose tile is new in a pass; whether it is the output's first, leaves it done, and is the
# last of those in a row that have the output's tile
PassSeen = tuple[frozenset[str], bool, bool, bool]


def walked(case: Case, einsum: Einsum, shared: tuple[Loop, ...] | None) -> dict[PassSeen, int]:
    """Passes of an Einsum by what is new in them: its shared loops, walked one by one."""
    loops = [loop for loop in shared or () if loop.rank in einsum.ranks]
    mask, sizes = case.workload.mask, case.workload.rank_sizes
    cut = {loop.rank: loop.factor for loop in loops}
    before: dict[str, tuple[int, ...]] = {}
    seen: list[tuple[frozenset[str], tuple[int, ...]]] = []
    made: list[tuple[int, ...]] = []
    for indices in product(*(range(loop.factor) for loop in loops)):
        at = {loop.rank: i for loop, i in zip(loops, indices, strict=True)}
        if mask is not None and cut.get("P", 1) > 1 and cut.get("M", 1) > 1:
            rows, columns = sizes["P"] // cut["P"], sizes["M"] // cut["M"]
            first = mask.parts * sizes["M"] - sizes["P"] + at["P"] * rows
            if not any(
                (not mask.causal or key <= query)
                and (mask.window is None or abs(query - key) < mask.window)
                for query in range(first, first + rows)
                for key in range(
                    mask.parts * at["M"] * columns, mask.parts * (at["M"] + 1) * columns
                )
            ):
                continue
        tiles = {a.tensor: indices[: innermost(loops, a.ranks)] for a in einsum.accesses}
        fresh = frozenset(t for t, tile in tiles.items() if before.get(t) != tile)
        seen.append((fresh, tuple(at[r] for r in at if r in einsum.output.ranks)))
        made.append(tiles[einsum.output.tensor])
        before = tiles
    outs, found = [out for _, out in seen], dict[PassSeen, int]()
    for n, (fresh, out) in enumerate(seen):
        first, last = out not in outs[:n], out not in outs[n + 1 :]
        leaves = made[n] != made[n + 1] if n + 1 < len(made) else True
        key = (fresh, first, first if einsum.updates else last, leaves)
        found[key] = found.get(key, 0) + 1
    return found


def innermost(loops: list[Loop], ranks: tuple[str, ...]) -> int:
    """Loops down to the innermost over a tensor's ranks: a step of one of them brings its tile.

    So it does where a mask leaves one pass of that loop: the tile is the one before, brought again.
    """
    return max((i for i, loop in enumerate(loops, 1) if loop.rank in ranks), default=0)


def turn_cycles(
    case: Case, priced: EinsumCosts, kinds: dict[PassSeen, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of all turns of nests, and if every turn were as long as the shortest kind's."""
    nest, arch, workload = priced.nest, priced.nest.arch, case.workload
    factors = priced.factors.factors.copy()
    tile = tuple(
        1 if r in nest.einsum.each else n // int(f)
        for r, n, f in zip(nest.ranks, priced.sizes, factors[0, :, 0], strict=True)
    )
    factors[0] = 1
    inside = reuse.accesses(replace(nest, returns=frozenset()), Factors(factors=factors), tile)
    compute = inside.compute * operation_cycles(arch, nest.einsum, workload.widths)
    copied = copied_from(workload, nest.einsum) or ""
    total = np.zeros(factors.shape[2])
    parts: list[np.ndarray] = []
    for kind, count in kinds.items():
        longest = compute.astype(np.float64)
        passed: dict[str, tuple[np.ndarray, ...]] = {}  # by memory
        for i, level in enumerate(arch.levels):
            reads = writes = fills = np.zeros(factors.shape[2])
            for tensor in (a.tensor for a in nest.einsum.accesses):
                chain = [n for n, kept in enumerate(nest.keep) if tensor in kept]
                if i not in chain or (i == 0 and 1 in chain):
                    continue
                words = words_of_pass(priced, inside, (i, tensor), kind, copied)
                reads, writes, fills = reads + words[0], writes + words[1], fills + words[2]
            own = passed.get(level.memory, (0.0, 0.0, 0.0))
            both = zip(own, (reads, writes, fills), strict=True)
            passed[level.memory] = tuple(a + b for a, b in both)
            longest = np.maximum(longest, port_cycles(level, *passed[level.memory]))
        total = total + count * longest
        parts.append(longest)
    return total, np.minimum.reduce(parts) * sum(kinds.values())


def words_of_pass(
    priced: EinsumCosts,
    inside: reuse.Accesses,
    at: tuple[int, str],
    kind: PassSeen,
    copied: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words of a tensor at one instance of a level in a pass: read, written, and of that filled.

    inside: what moves in a pass to which nothing is left. at: the level and the tensor. copied: the
            tensor whose old value goes to the output's place, if any.
    """
    nest, (i, tensor), (fresh, first, done, leaves) = priced.nest, at, kind
    factors = priced.factors.factors.copy()
    factors[0] = 1
    values, output = inside.traffic[i, tensor], nest.einsum.output.tensor
    chain = [n for n, kept in enumerate(nest.keep) if tensor in kept]
    share, so_far = widths(priced, i, tensor)
    again = 0 if first or tensor != output else values.held
    fed = [*chain, None][chain.index(i) + 1]
    moved = moves(nest, factors, tensor, fed, fresh)
    reads = so_far * moved * (values.reads + again)
    # Of each value's updates one is done, if it is in this pass.
    sums = values.reads if tensor == output else 0
    sums = sums + (0 if done or tensor != output else values.held)
    if tensor == output:
        moved = moves(nest, factors, tensor, fed, frozenset({output} if leaves else ()))
    writes = moved * (share * values.updates + (so_far - share) * sums)
    fills = np.zeros(factors.shape[2])
    if chain.index(i):
        fills = so_far * moves(nest, factors, tensor, i, fresh) * (values.fills + again)
    if i == 1 and copied and not first and tensor in (copied, output):
        words = share * values.held
        reads = reads + words * (tensor == copied)
        writes = writes + words * (tensor == output)
    return reads, writes + fills, fills


def widths(priced: EinsumCosts, level: int, tensor: str) -> tuple[np.ndarray, float]:
    """Words of a value at a level that is done, and of one that is still added up."""
    nest, name = priced.nest, priced.nest.arch.levels[level].name
    share, so_far = priced.widths.share(tensor, name), priced.widths.so_far(tensor, name)
    if tensor != nest.einsum.output.tensor:
        return np.array([share]), share
    slots = [s for s in nest.spatial_slots if s < nest.level_slots[level]]
    lacks = [r for r, yes in enumerate(nest.relevant[tensor]) if not yes]
    split = (priced.factors.factors[np.ix_(slots, lacks)] > 1).any(axis=(0, 1))
    return np.where(split, so_far, share), so_far


def sums_more(
    case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles
) -> np.ndarray | float:
    """Words of the shared level beside those of what is done, where it holds sums."""
    nest, policy = priced.nest, case.mapspace.policy
    tensor, level = nest.einsum.output.tensor, shared_level(case.platform).name
    maker = case.workload.producers[tensor]
    if nest.einsum.name != maker and maker in group.names:
        return 0.0
    streams = roles[tensor] == "stream"
    home = 0 if streams else [lv.name for lv in nest.arch.levels].index(level)
    own, below = around(nest, priced.accesses.moves, home, tensor)
    values = extent_words(case, priced, tensor, whole=not streams) / case.workload.share(
        tensor, level
    )
    share, copies = case.workload.share(tensor, level), policy.buffering
    if not streams and group.fused:
        whole = whole_group(case, group)
        classes = in_place_classes(case.workload, whole, level) if policy.in_place else {}
        same = [t for t, at in classes.items() if at == classes.get(tensor)] or [tensor]
        used = {a.tensor for n in group.names for a in case.workload.einsum(n).accesses}
        same = [t for t in same if t in used]
        share = max(case.workload.share(t, level) for t in same)
        copies = max(copies_of(case, group, t) for t in same)
    sums = max(share, priced.widths.so_far(tensor, level))
    more = np.ceil(values * sums * copies) - np.ceil(values * share * copies)
    free = streams and policy.passing == "free"
    return np.where(unfinished(own, below) & (not free), more, 0.0)


def moves(
    nest: Nest, factors: np.ndarray, tensor: str, child: int | None, fresh: frozenset[str]
) -> np.ndarray:
    """Whether a keeper's tile is replaced in a pass; bool[n]."""
    every = np.ones(factors.shape[2], np.bool_)
    if child is None or tensor in fresh or (child > 1 and tensor in nest.returns):
        return every
    slots = [s for s in nest.level_slots if 0 < s < nest.level_slots[child]]
    own = [r for r, yes in enumerate(nest.relevant[tensor]) if yes]
    return (factors[np.ix_(slots, own)] > 1).any(axis=(0, 1))


def visited_pairs(case: Case, einsum: Einsum, passes: dict[str, int]) -> Visited | None:
    """What a mask leaves of the passes of shared loops over queries and keys, pair by pair."""
    mask, sizes = case.workload.mask, case.workload.rank_sizes
    if mask is None or not {"P", "M"} <= set(einsum.ranks) or not {"P", "M"} <= set(passes):
        return None
    rows, columns = sizes["P"] // passes["P"], sizes["M"] // passes["M"]
    first = mask.parts * sizes["M"] - sizes["P"]
    seen = set()
    for i, j in product(range(passes["P"]), range(passes["M"])):
        if any(
            (not mask.causal or key <= query)
            and (mask.window is None or abs(query - key) < mask.window)
            for query in range(first + i * rows, first + (i + 1) * rows)
            for key in range(mask.parts * j * columns, mask.parts * (j + 1) * columns)
        ):
            seen.add((i, j))
    ranks = (einsum.ranks.index("P"), einsum.ranks.index("M"))
    left = {(rows, columns): (len(seen), len({i for i, _ in seen}), 1)}
    return Visited(ranks=ranks, pairs=len(seen), total=passes["P"] * passes["M"], sizes=left)


def resident(arch: Architecture, einsum: Einsum, columns: np.ndarray) -> np.ndarray:
    """Whether private levels loop over a rank that all tensors have.

    Where keys are cut, such tiles could stay in private registers from one tile of keys to the
    next: outside the declared space, in which the shared level carries what is carried.
    """
    common = [i for i, r in enumerate(einsum.ranks) if all(r in a.ranks for a in einsum.accesses)]
    private = {level.name for level in arch.levels[2:]}
    slots = [i for i, s in enumerate(slots_of(arch)) if s.axis == "temporal" and s.node in private]
    return (columns[np.ix_(slots, common)] > 1).any(axis=(0, 1))


def structures(
    case: Case,
    group: GroupSpace,
    arch: Architecture,
    einsum: Einsum,
    roles: Roles,
    shared: tuple[Loop, ...] | None,
) -> Iterator[tuple[Nest, tuple[str, ...]]]:
    """Every combination of what levels keep, of loop orders, and of tensors that stay."""
    everything = tuple(a.tensor for a in einsum.accesses)
    stays: list[tuple[str, ...]] = [everything]
    if group.fused:
        loops = [loop.rank for loop in shared or () if loop.rank in einsum.ranks]
        ranks = {a.tensor: a.ranks for a in einsum.accesses}
        # Under a loop over its own ranks, and without one, a tile goes in any case.
        legal = [
            t
            for t in may_stay(case.workload, whole_group(case, group), einsum)
            if loops and loops[-1] not in ranks[t]
        ]
        bits = product((False, True), repeat=len(legal))
        stays = [tuple(t for t, yes in zip(legal, some, strict=True) if yes) for some in bits]
    shared_name = shared_level(case.platform).name
    keeps: list[list[frozenset[str]]] = []
    for i, level in enumerate(arch.levels):
        if i == 0:
            keeps.append([frozenset(t for t, role in roles.items() if role != "inside")])
        elif level.name == shared_name:
            keeps.append([frozenset(t for t, role in roles.items() if role != "stream")])
        else:
            every = [t for t, role in roles.items() if role == "stream" or not level.part_of]
            keeps.append(
                [
                    frozenset(t for t, yes in zip(every, bits, strict=True) if yes)
                    for bits in product((False, True), repeat=len(every))
                ]
            )
    free = free_orders(case, einsum)
    slots = slots_of(arch)
    orders: list[list[tuple[str, ...]]] = []
    for slot in slots:
        if slot.axis != "temporal" or slot.node == arch.levels[-1].name:
            orders.append([einsum.ranks])
        elif slot.node == arch.levels[0].name and shared is not None:
            outer = tuple(loop.rank for loop in shared if loop.rank in einsum.ranks)
            orders.append([(*(r for r in einsum.ranks if r not in outer), *outer)])
        else:
            orders.append(free)
    for keep, order, stay in product(product(*keeps), product(*orders), stays):
        if group.fused and not all(any(t in kept for kept in keep[2:]) for t in stay):
            continue
        returns = frozenset(everything) - frozenset(stay)
        yield (
            Nest(arch=arch, einsum=einsum, slots=slots, keep=keep, order=order, returns=returns),
            stay,
        )


def free_orders(case: Case, einsum: Einsum) -> list[tuple[str, ...]]:
    """Orders of an Einsum's loops at one level, outermost first; loops of one pass stay put."""
    moving = [r for r in einsum.ranks if case.workload.rank_sizes[r] > 1 and r not in einsum.each]
    still = tuple(r for r in einsum.ranks if r not in moving)
    return [still + p for p in permutations(moving)]


def factor_columns(
    arch: Architecture, einsum: Einsum, sizes: tuple[int, ...], shared: tuple[Loop, ...] | None
) -> np.ndarray:
    """int64[S, R, n]: every way to split every rank over the slots that the fanouts allow."""
    slots = slots_of(arch)
    fixed = None if shared is None else {loop.rank: loop.factor for loop in shared}
    splits = [
        tuple(rank_splits(slots, size, None if fixed is None else fixed.get(rank, 1)))
        for rank, size in zip(einsum.ranks, sizes, strict=True)
    ]
    limits = {}
    for node in arch.nodes:
        if isinstance(node, Fanout):
            limits[Slot(node.name, "x")] = node.fanout_x
            limits[Slot(node.name, "y")] = node.fanout_y
    found = [
        columns
        for columns in product(*splits)
        if all(
            prod(c[s] for c in columns) <= limits[slot]
            for s, slot in enumerate(slots)
            if slot in limits
        )
    ]
    return np.array(found, dtype=np.int64).transpose(2, 1, 0)


@cache
def rank_splits(
    slots: tuple[Slot, ...], size: int, outermost: int | None
) -> tuple[tuple[int, ...], ...]:
    """Factors of one rank by slot; on one axis of a fanout at most."""
    found = []
    for factors in product(*([divisors(size)] * len(slots))):
        axes = [
            s.node for s, f in zip(slots, factors, strict=True) if s.axis != "temporal" and f > 1
        ]
        right = prod(factors) == size and len(axes) == len(set(axes))
        if right and outermost in (None, factors[0]):
            found.append(factors)
    return tuple(found)


def vectors(
    case: Case,
    group: GroupSpace,
    priced: EinsumCosts,
    roles: Roles,
    kinds: dict[PassSeen, int],
) -> FloatArray:
    """What a group sees of nests; float64[n, D], less is better everywhere."""
    n = priced.factors.count
    turn = steady = priced.accesses.compute.astype(np.float64)
    if group.fused and case.mapspace.policy.prefetch == "held":
        turn, steady = turn_cycles(case, priced, kinds)
    elif group.fused and case.mapspace.policy.prefetch == "own":
        for i, level in enumerate(priced.nest.arch.levels):
            words = (sum((one[way] for one in priced.moved(i)), np.zeros(1)) for way in range(3))
            turn = steady = np.maximum(turn, port_cycles(level, *words))
    parts = [turn, steady, held(case, group, priced, roles)]
    parts += [first_words(case, group, priced, roles), last_words(case, group, priced, roles)]
    parts += [batches.energy(priced), *staged_words(priced)]
    for name in level_names(case.platform):
        mine = [i for i, lv in enumerate(priced.nest.arch.levels) if lv.memory == name]
        for way in range(3):  # read, written, and of that filled
            parts.append(sum((one[way] for i in mine for one in priced.moved(i)), np.zeros(1)))
    for name in level_names(case.platform)[2:]:
        mine = [i for i, lv in enumerate(priced.nest.arch.levels) if lv.name == name]
        stays = turns = np.zeros(n)
        for i in mine:
            for tensor in priced.nest.keep[i]:
                still = group.fused & over_loops(priced, tensor)
                still = still & ~moves(priced.nest, inside(priced), tensor, i, frozenset())
                stays = stays + np.where(still, priced.tile(i, tensor), 0)
                turns = turns + np.where(still, 0, priced.tile(i, tensor))
        parts += [stays, turns]
    return np.stack([np.broadcast_to(p, (n,)) for p in parts], axis=1).astype(np.float64)


def staged_words(priced: EinsumCosts) -> list[np.ndarray]:
    """Words read from and written to DRAM in whole tiles of the shared level."""
    reads = writes = np.zeros(1)
    for tensor in (a.tensor for a in priced.nest.einsum.accesses):
        if tensor in priced.nest.keep[0] and tensor in priced.nest.keep[1]:
            words = priced.words(0, tensor)
            reads, writes = reads + words.reads, writes + words.updates
    return [reads, writes]


def inside(priced: EinsumCosts) -> np.ndarray:
    factors: np.ndarray = priced.factors.factors.copy()
    factors[0] = 1
    return factors


def over_loops(priced: EinsumCosts, tensor: str) -> bool:
    """Whether a tensor stays over a shared loop: the innermost real one is not over its ranks."""
    if tensor in priced.nest.returns:
        return False
    for r in priced.nest.orders[0]:
        if priced.factors.factors[0, r, 0] > 1:
            return not priced.nest.relevant[tensor][r]
    return False


def level_names(platform: Platform) -> list[str]:
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    return list(dict.fromkeys(lv.name for arch in archs for lv in arch.levels))


def extent_words(
    case: Case, priced: EinsumCosts, tensor: str, at: str = "", *, whole: bool
) -> np.ndarray:
    """Words of a tensor's tile inside the shared level; `whole`: its own loops included.

    at: the level that has them so wide; the shared one if none is named.
    """
    nest = priced.nest
    level = [lv.name for lv in nest.arch.levels].index(shared_level(case.platform).name)
    first = nest.level_slots[level] + (0 if whole else 1)
    mine = [r for r, yes in enumerate(nest.relevant[tensor]) if yes]
    values = priced.factors.factors[first:, mine].prod(axis=(0, 1))
    return values * case.workload.share(tensor, at or shared_level(case.platform).name)


def held(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> np.ndarray:
    """Words that this nest alone decides: all of them without shared loops, else the streamed."""
    policy = case.mapspace.policy
    every = zip(priced.nest.arch.levels, priced.nest.keep, strict=True)
    free = set(roles) if policy.passing == "free" else set[str]()
    free -= {t for level, kept in every if level.part_of for t in kept}
    words = (
        extent_words(case, priced, tensor, whole=role != "stream")
        for tensor, role in roles.items()
        if (tensor not in free or role != "stream") and (not group.fused or role == "stream")
    )
    more = sums_more(case, group, priced, roles)
    return sum((np.ceil(n * policy.buffering) for n in words), np.zeros(1)) + more


def first_words(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> np.ndarray:
    """Words of the first inputs, where the schedule waits for them."""
    opening = priced.nest.einsum.name == group.names[0]
    rule = case.mapspace.policy.prefetch
    late = group.schedule != "sequential" and opening
    if not group.fused or rule == "own" or (rule == "ideal" and not late):
        return np.zeros(1)
    output = priced.nest.einsum.output.tensor
    return sum(
        (
            extent_words(case, priced, t, case.platform.dram.name, whole=role != "stream")
            for t, role in roles.items()
            if t != output and (role == "staged" or (opening and role == "stream"))
        ),
        np.zeros(1),
    )


def last_words(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> np.ndarray:
    """Words of the last outputs, which are left when the last turn is over."""
    closing = priced.nest.einsum.name == group.names[-1]
    tensor = priced.nest.einsum.output.tensor
    role = roles[tensor]
    if not group.fused or case.mapspace.policy.prefetch != "held":
        return np.zeros(1)
    if role != "staged" and not (closing and role == "stream"):
        return np.zeros(1)
    return extent_words(case, priced, tensor, case.platform.dram.name, whole=role == "staged")


def with_extra(costs: FloatArray, turns: list[int], steady: list[int]) -> FloatArray:
    """The columns, and what turns take beyond steady ones: beside overlapped units it counts."""
    return np.column_stack([costs, costs[:, turns].sum(axis=1) - costs[:, steady].sum(axis=1)])


def undominated(costs: FloatArray) -> np.ndarray:
    """Rows such that no other row is as small in every column; the first of equals."""
    order = np.lexsort(costs.T[::-1])  # whatever is as small comes earlier
    rows, kept = costs[order], list[int]()
    while len(order):
        kept.append(int(order[0]))
        left = (rows < rows[0]).any(axis=1)
        rows, order = rows[left], order[left]
    return np.array(kept, np.int64)


def mapping_of(nest: Nest, factors: np.ndarray) -> EinsumMapping:
    """The nest as a mapping; factors int64[S, R]."""
    index = {r: i for i, r in enumerate(nest.ranks)}
    loops = tuple(
        (slot, tuple(Loop(r, int(at[index[r]])) for r in order if at[index[r]] > 1))
        for slot, order, at in zip(nest.slots, nest.order, factors, strict=True)
    )
    keep = tuple(
        (lv.name, tuple(a.tensor for a in nest.einsum.accesses if a.tensor in kept))
        for lv, kept in zip(nest.arch.levels, nest.keep, strict=True)
    )
    return EinsumMapping(einsum=nest.einsum.name, loops=loops, keep=keep)


def fixed_words(
    case: Case, group: GroupSpace, roles: dict[str, Roles], shared: tuple[Loop, ...] | None
) -> int:
    """Words of a fused group's shared level that its tile decides."""
    if shared is None:
        return 0
    workload, policy = case.workload, case.mapspace.policy
    own, level = whole_group(case, group), shared_level(case.platform).name
    classes = in_place_classes(workload, own, level) if policy.in_place else {}
    worst: dict[str, tuple[float, float]] = {}
    cut = {loop.rank: loop.factor for loop in shared}
    whole = whole_group(case, group)
    carried = carried_tensors(workload, whole)
    if policy.softmax == "free" and any(r in cut for r in workload.inner_ranks(whole)):
        mapped = {t for mine in roles.values() for t in mine}
        for tensor in (t for t in carried if t not in mapped):
            ranks = workload.tensor_ranks[tensor]
            words = prod(workload.rank_sizes[r] // cut.get(r, 1) for r in ranks)
            words *= workload.share(tensor, level)
            worst[tensor] = (words, 2.0 if group.schedule in ("overlapped", "phases") else 1.0)
    for mine in roles.values():
        for tensor, role in mine.items():
            if role == "stream":
                continue
            ranks = workload.tensor_ranks[tensor]
            words = prod(workload.rank_sizes[r] // cut.get(r, 1) for r in ranks)
            words *= workload.share(tensor, level)
            copies = copies_of(case, group, tensor)
            key = classes.get(tensor, tensor)
            before = worst.get(key, (0, 0.0))
            worst[key] = (max(words, before[0]), max(copies, before[1]))
    return sum(ceil(words * copies) for words, copies in worst.values())


def copies_of(case: Case, group: GroupSpace, tensor: str) -> float:
    """Copies that the shared level has of what a fused group keeps there."""
    workload, policy, whole = case.workload, case.mapspace.policy, whole_group(case, group)
    carried = carried_tensors(workload, whole)
    readers = [e for e in workload.einsums if tensor in (a.tensor for a in e.inputs)]
    drained = policy.softmax == "free" and any(e.after for e in readers)
    if crosses_dram(workload, whole, tensor) and not (drained and tensor in carried):
        return policy.buffering
    units = {e.unit for e in readers} | {workload.einsum(workload.producers[tensor]).unit}
    twice = len(units) > 1 or tensor in carried
    return 2.0 if group.schedule in ("overlapped", "phases") and twice else 1.0


def combined(
    case: Case,
    group: GroupSpace,
    roles: dict[str, Roles],
    shared: tuple[Loop, ...] | None,
    choices: list[Choice],
) -> list[Point]:
    """Every combination of nests that fits, as a group."""
    if not all(len(c.nests) for c in choices):
        return []
    capacity = shared_level(case.platform).usable_words
    room = inf if capacity is None else capacity - fixed_words(case, group, roles, shared)
    points: list[Point] = []
    units = [case.workload.einsum(n).unit for n in group.names]
    for picks in useful_picks(case, group, choices, units, room):
        rows = [c.costs[i] for c, i in zip(choices, picks, strict=True)]
        points.append(
            Point(
                cycles=group_cycles(case, group, units, rows, [c.passes for c in choices]),
                energy=float(sum(row[ENERGY] for row in rows)),
                mapping=GroupMapping(
                    einsums=tuple(c.nests[i] for c, i in zip(choices, picks, strict=True)),
                    shared=shared or (),
                    staged=tuple(
                        dict.fromkeys(
                            t
                            for mine in roles.values()
                            for t, role in mine.items()
                            if role == "staged"
                        )
                    ),
                    schedule=group.schedule,
                    phases=group.phases,
                ),
            )
        )
    return points


HELD, FIRST, LAST, ENERGY, STAGED, LEVELS = 2, 3, 4, 5, 6, 8  # columns of a choice's costs


def useful_picks(
    case: Case, group: GroupSpace, choices: list[Choice], units: list[str], room: float
) -> list[tuple[int, ...]]:
    """One nest per Einsum, in every way that fits and that no other way beats in every sum.

    All that a group sees of its nests are sums: of words, energy and port traffic, and of the
    cycles of each unit; and of every private level the words that stay and the most that a turn
    takes, of each unit. So a part of a pick that another is as good as everywhere need not be
    tried.
    """
    names = level_names(case.platform)
    private = LEVELS + 3 * len(names)
    limits = [private_words(case.platform, name) for name in names[2:]]
    picks: list[tuple[int, ...]] = [()]
    width = choices[0].costs.shape[1]
    # The columns of a unit's own: cycles, steady cycles, those of one turn, and most words of a
    # turn by level.
    own = [0, 1, width, *range(private + 1, width, 2)]
    others = [i for i in range(width) if i not in own]
    at_room = 2 * len(own) + others.index(HELD)
    sums = np.zeros((1, 2 * len(own) + len(others)))
    for choice_, unit in zip(choices, units, strict=True):
        costs = np.column_stack([choice_.costs, choice_.costs[:, 1] / choice_.passes])
        vector = int(unit == "vector")
        longer = [(*pick, i) for pick in picks for i in range(len(costs))]
        total = np.repeat(sums, len(costs), axis=0)
        mine = np.tile(costs, (len(sums), 1))
        for k, column in enumerate(own):
            at = 2 * k + vector
            both = total[:, at] + mine[:, column]
            total[:, at] = both if k < 3 else np.maximum(total[:, at], mine[:, column])
        total[:, 2 * len(own) :] += mine[:, others]
        fits = total[:, at_room] <= room
        for k, limit in enumerate(limits):
            turn = total[:, 6 + 2 * k : 8 + 2 * k]
            both = (
                turn.sum(axis=1) if group.schedule in ("overlapped", "phases") else turn.max(axis=1)
            )
            stays = total[:, 2 * len(own) + others.index(private + 2 * k)]
            fits &= both + stays <= limit
        good = np.flatnonzero(fits)
        good = good[undominated(with_extra(total[good], [0, 1], [2, 3]))]
        sums, picks = total[good], [longer[i] for i in good]
    return picks


def private_words(platform: Platform, name: str) -> float:
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    words = next(lv.usable_words for arch in archs for lv in arch.levels if lv.name == name)
    return inf if words is None else words


# Rounds by which the last Einsum of T (matrix), G (vector), Y (matrix) is behind T, by hand: each
# reads what the one before makes, which comes of another unit or a later phase.
BEHIND = {
    (("T",), ("G",), ("Y",)): 0,
    (("T", "Y"), ("G",)): 1,
    (("T",), ("G", "Y")): 1,
}


# The correction of AV, on the vector path, waits for the products of the pass before.
CORRECTED = ("AV_cor", "AV")


def group_cycles(
    case: Case, group: GroupSpace, units: list[str], rows: list[FloatArray], runs: list[float]
) -> float:
    """The latency rule of the schedules, on the summed counts; runs: of each Einsum."""
    platform, policy, passes = case.platform, case.mapspace.policy, max(runs)
    taking_turns = group.fused and policy.prefetch == "held"
    phased = group.schedule == "phases"
    overlapped = group.schedule == "overlapped" or (phased and not taking_turns)
    busy: dict[str, float] = {}
    for unit, row in zip(units, rows, strict=True):
        busy[unit] = busy.get(unit, 0.0) + row[1 if taking_turns and (overlapped or phased) else 0]
    parts = busy.values()
    steady = max(parts) if overlapped else sum(parts)
    if taking_turns and group.schedule == "phases" and policy.buffering >= 2:
        overlapped, behind = True, BEHIND[group.phases]
        steady = 0.0
        for phase in group.phases:
            at = [(units[i], row[1]) for i, row in enumerate(rows) if group.names[i] in phase]
            each = [sum(c for u, c in at if u == unit) for unit in set(units)]
            steady += max(each) + behind * (sum(each) - max(each)) / passes
    extra = sum(row[0] - row[1] for row in rows) if taking_turns else 0.0
    one = most = 0.0  # cycles of one pass of all units, where units overlap, and of the busiest
    if taking_turns and group.schedule == "phases" and overlapped:
        steady += extra
    elif taking_turns and overlapped:
        once = [row[1] / times for row, times in zip(rows, runs, strict=True)]
        one = sum(once)
        others = {u: sum(c for v, c in zip(units, once, strict=True) if v != u) for u in busy}
        ends = [busy[unit] + others[unit] for unit in busy]
        if set(CORRECTED) <= set(group.names):  # its next pass waits for the end of this one
            own = [group.names.index(name) for name in CORRECTED]
            ends.append(sum(rows[i][1] for i in own) + one - sum(once[i] for i in own))
        steady = max(ends) + extra
        most = max(one - other for other in others.values())
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    levels = {lv.name: lv for arch in archs for lv in arch.levels}
    total = sum(rows[1:], rows[0])
    dram = platform.dram
    if taking_turns and policy.buffering < 2:
        steady = sum(row[0] for row in rows)
        staged = port_cycles(dram, total[STAGED], 0.0) + port_cycles(dram, 0.0, total[STAGED + 1])
        words = dram_cycles(dram, total[LEVELS], total[LEVELS + 1])
        return ceil(max(steady + staged, words) - 1e-9)
    exposed = port_cycles(dram, total[FIRST], 0.0) + port_cycles(dram, 0.0, total[LAST])
    exposed *= 1 + BEHIND.get(group.phases, 0) * taking_turns
    for i, level in enumerate(levels.values()):
        if not taking_turns or overlapped or level.name == dram.name:
            reads, writes, fills = total[LEVELS + 3 * i : LEVELS + 3 * i + 3]
            own = taking_turns and level.name == dram.name
            cycles = (
                dram_cycles(level, reads, writes) + max(one - most, one - exposed) if own else 0.0
            )
            steady = max(steady, cycles + extra, port_cycles(level, reads, writes, fills) + extra)
    return ceil(steady + exposed - 1e-9)


def dram_cycles(level: MemoryLevel, reads: float, writes: float) -> float:
    """Cycles of what comes and goes beside turns: with ports of both kinds one way, then the other.

    A port for both ways may be idle while the one for the only way that has words is full.
    """
    if level.shared_words_per_cycle and (level.read_words_per_cycle or level.write_words_per_cycle):
        return port_cycles(level, reads, 0.0) + port_cycles(level, 0.0, writes)
    return port_cycles(level, reads, writes)


def port_cycles[T: (float, np.ndarray)](
    level: MemoryLevel, reads: T, writes: T, fills: T | float = 0.0
) -> T:
    """Cycles of the slowest port; fills: of the writes, those from above."""
    apart = fills if level.fill_words_per_cycle else 0.0
    rates = (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes - apart),
        (level.fill_words_per_cycle, fills),
        (level.shared_words_per_cycle, reads + writes),
    )
    longest = reads * 0.0
    for rate, words in rates:
        if rate is not None:
            longest = np.maximum(longest, words / rate)
    return longest
