"""The best mapping by trying them all: slow, plain, and without a line of flat_mapper.search.

Every nest of every Einsum under every outer choice is priced by the model. Nests that no objective
can prefer (another is as good in everything that the group sees) are dropped; the rest are combined
by nested loops. The winner is priced once more by `evaluate`, which has the last word.

The declared space: a fused group's DRAM loops are exactly its shared loops, in the order of the
workload's ranks (keys, where they are cut, come last); a rank stands on one axis of a fanout. The
order of the innermost level's loops is not tried: below it is only the compute unit
(tests/cost_model/test_laws.py has that as a law).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product
from math import ceil, inf, prod

import numpy as np

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model.einsum import EinsumCosts, nest_costs
from flat_mapper.cost_model.evaluation import evaluate
from flat_mapper.cost_model.nest import Factors, FloatArray, Nest, Visited
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.sharing import (
    carried_tensors,
    crosses_dram,
    in_place_classes,
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
from flat_mapper.workload.graph import Einsum, Workload
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

    costs: float64[n, D]: compute cycles, words held at the shared level, first input words, pJ,
           then reads and writes of every level of the platform.
    """

    costs: FloatArray
    nests: tuple[EinsumMapping, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A group's cost and its mapping."""

    cycles: float
    energy: float
    mapping: GroupMapping


def answers(case: Case) -> dict[str, Result | None]:
    """Of every objective, the best mapping's result; None where nothing fits."""
    everything = options(case)
    found: dict[str, Result | None] = {}
    for objective, measure in MEASURES.items():
        best = min(everything, key=lambda option: measure(option[1]), default=None)
        found[objective] = None if best is None else judged(*best)
    return found


def options(case: Case) -> list[tuple[Case, tuple[Point, ...]]]:
    """Combinations of the groups' points, over all alternatives."""
    charged = case.mapspace.policy.softmax == "charged"
    return [
        (replace(case, workload=cascade), points)
        for cascade in alternatives(case.workload, charged=charged)
        for groups in partitions(cascade, case.mapspace)
        for points in product(*(group_points(replace(case, workload=cascade), g) for g in groups))
    ]


def front(case: Case) -> list[tuple[float, float]]:
    """(cycles, pJ) of the mappings that no other one beats in both, the fastest first."""
    costs = sorted((total_cycles(p), total_energy(p)) for _, p in options(case))
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
    assert np.isclose(result.energy_pj, total_energy(points), rtol=1e-9)
    assert result.cycles == total_cycles(points)
    return result


def total_cycles(points: tuple[Point, ...]) -> float:
    return sum(p.cycles for p in points)


def total_energy(points: tuple[Point, ...]) -> float:
    return sum(p.energy for p in points)


MEASURES: dict[str, Callable[[tuple[Point, ...]], float]] = {
    "latency": total_cycles,
    "energy": total_energy,
    "edp": lambda points: total_cycles(points) * total_energy(points),
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
        met: set[str] = set()
        sets: dict[str, Roles] = {}
        for einsum in einsums:
            mine: Roles = {}
            for access in einsum.accesses:
                tensor = access.tensor
                if tensor not in outside or (tensor in chosen and tensor in met):
                    mine[tensor] = "inside"
                else:
                    mine[tensor] = "staged" if tensor in chosen else "stream"
                met.add(tensor)
            sets[einsum.name] = mine
        yield sets


def shared_loops(case: Case, group: GroupSpace) -> Iterator[tuple[Loop, ...] | None]:
    """Every choice of shared loops, outermost first; None where the DRAM loops are free."""
    if not group.fused:
        yield None
        return
    ranks = case.workload.shareable_ranks(whole_group(case, group))
    for factors in product(*(divisors(case.workload.rank_sizes[r]) for r in ranks)):
        yield tuple(Loop(r, f) for r, f in zip(ranks, factors, strict=True) if f > 1)


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
    seen_pairs = visited_pairs(case, einsum, passes)
    costs: list[FloatArray] = []
    nests: list[EinsumMapping] = []
    for nest in structures(case, arch, einsum, roles, shared):
        factors = Factors(factors=columns)
        priced = nest_costs(nest, sizes, factors, case.ert, case.workload.shares, seen_pairs)
        seen = vectors(case, group, priced, roles)
        good = np.flatnonzero(priced.fits)
        for i in good[undominated(seen[good])]:
            costs.append(seen[i])
            nests.append(mapping_of(nest, columns[:, :, i]))
    if not costs:
        return Choice(costs=np.zeros((0, 1)), nests=())
    table = np.array(costs)
    kept = undominated(table)
    return Choice(costs=table[kept], nests=tuple(nests[i] for i in kept))


def visited_pairs(case: Case, einsum: Einsum, passes: dict[str, int]) -> Visited | None:
    """What a mask leaves of the passes of shared loops over queries and keys, pair by pair."""
    mask, sizes = case.workload.mask, case.workload.rank_sizes
    if mask is None or not {"P", "M"} <= set(einsum.ranks) or not {"P", "M"} <= set(passes):
        return None
    rows, columns = sizes["P"] // passes["P"], sizes["M"] // passes["M"]
    first = sizes["M"] - sizes["P"]
    pairs = 0
    for i, j in product(range(passes["P"]), range(passes["M"])):
        pairs += any(
            (not mask.causal or key <= query)
            and (mask.window is None or abs(query - key) < mask.window)
            for query in range(first + i * rows, first + (i + 1) * rows)
            for key in range(j * columns, (j + 1) * columns)
        )
    ranks = (einsum.ranks.index("P"), einsum.ranks.index("M"))
    return Visited(ranks=ranks, pairs=pairs, total=passes["P"] * passes["M"])


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
    case: Case, arch: Architecture, einsum: Einsum, roles: Roles, shared: tuple[Loop, ...] | None
) -> Iterator[Nest]:
    """Every combination of what levels keep and of loop orders."""
    shared_name = shared_level(case.platform).name
    keeps: list[list[frozenset[str]]] = []
    for i, level in enumerate(arch.levels):
        if i == 0:
            keeps.append([frozenset(t for t, role in roles.items() if role != "inside")])
        elif level.name == shared_name:
            keeps.append([frozenset(t for t, role in roles.items() if role != "stream")])
        else:
            every = list(roles)
            keeps.append(
                [
                    frozenset(t for t, yes in zip(every, bits, strict=True) if yes)
                    for bits in product((False, True), repeat=len(every))
                ]
            )
    moving = [r for r in einsum.ranks if case.workload.rank_sizes[r] > 1 and r not in einsum.each]
    still = tuple(r for r in einsum.ranks if r not in moving)
    free = [still + p for p in permutations(moving)]
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
    for keep in product(*keeps):
        for order in product(*orders):
            yield Nest(arch=arch, einsum=einsum, slots=slots, keep=keep, order=order)


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


def vectors(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> FloatArray:
    """What a group sees of nests; float64[n, D], less is better everywhere."""
    n = priced.factors.count
    parts = [priced.accesses.compute, held(case, group, priced, roles)]
    parts += [first_words(case, group, priced, roles), priced.energy]
    for name in level_names(case.platform):
        mine = [i for i, lv in enumerate(priced.nest.arch.levels) if lv.name == name]
        parts.append(sum((w for i in mine for w in priced.reads(i)), np.zeros(1)))
        parts.append(sum((w for i in mine for w in priced.writes(i)), np.zeros(1)))
    return np.stack([np.broadcast_to(p, (n,)) for p in parts], axis=1).astype(np.float64)


def level_names(platform: Platform) -> list[str]:
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    return list(dict.fromkeys(lv.name for arch in archs for lv in arch.levels))


def extent_words(case: Case, priced: EinsumCosts, tensor: str, *, whole: bool) -> np.ndarray:
    """Words of a tensor's tile inside the shared level; `whole`: its own loops included."""
    nest = priced.nest
    level = [lv.name for lv in nest.arch.levels].index(shared_level(case.platform).name)
    first = nest.level_slots[level] + (0 if whole else 1)
    mine = [r for r, yes in enumerate(nest.relevant[tensor]) if yes]
    values = priced.factors.factors[first:, mine].prod(axis=(0, 1))
    return values * case.workload.share(tensor)


def held(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> np.ndarray:
    """Words that this nest alone decides: all of them without shared loops, else the streamed."""
    policy = case.mapspace.policy
    classes = in_place_classes(case.workload) if policy.in_place else {}
    worst: dict[str, np.ndarray] = {}
    for tensor, role in roles.items():
        if group.fused and role != "stream":
            continue
        words = extent_words(case, priced, tensor, whole=role != "stream")
        key = classes.get(tensor, tensor)
        worst[key] = np.maximum(worst.get(key, np.zeros(1)), words)
    return sum((np.ceil(w * policy.buffering) for w in worst.values()), np.zeros(1))


def first_words(case: Case, group: GroupSpace, priced: EinsumCosts, roles: Roles) -> np.ndarray:
    """Words of the first inputs, where the schedule waits for them."""
    if group.schedule == "sequential" or priced.nest.einsum.name != group.names[0]:
        return np.zeros(1)
    output = priced.nest.einsum.output.tensor
    return sum(
        (
            extent_words(case, priced, t, whole=role != "stream")
            for t, role in roles.items()
            if t != output and crosses_dram(case.workload, whole_group(case, group), t)
        ),
        np.zeros(1),
    )


def undominated(costs: FloatArray) -> np.ndarray:
    """Rows such that no other row is as small in every column; the first of equals."""
    if not len(costs):
        return np.zeros(0, np.int64)
    _, first = np.unique(costs, axis=0, return_index=True)
    kept: list[int] = []
    for i in first:  # np.unique sorts, so whatever is as small comes earlier
        if not kept or not (costs[kept] <= costs[i]).all(axis=1).any():
            kept.append(int(i))
    return np.array(kept)


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
    classes = in_place_classes(workload) if policy.in_place else {}
    worst: dict[str, tuple[float, float]] = {}
    cut = {loop.rank: loop.factor for loop in shared}
    whole = whole_group(case, group)
    carried = carried_tensors(workload, whole)
    if policy.softmax == "free" and any(r in cut for r in workload.inner_ranks(whole)):
        mapped = {t for mine in roles.values() for t in mine}
        for tensor in (t for t in carried if t not in mapped):
            ranks = workload.tensor_ranks[tensor]
            words = prod(workload.rank_sizes[r] // cut.get(r, 1) for r in ranks)
            words *= workload.share(tensor)
            worst[tensor] = (words, 2.0 if group.schedule == "overlapped" else 1.0)
    for mine in roles.values():
        for tensor, role in mine.items():
            if role == "stream":
                continue
            ranks = workload.tensor_ranks[tensor]
            words = prod(workload.rank_sizes[r] // cut.get(r, 1) for r in ranks)
            words *= workload.share(tensor)
            copies = policy.buffering
            readers = [e for e in workload.einsums if tensor in (a.tensor for a in e.inputs)]
            drained = policy.softmax == "free" and any(e.after for e in readers)
            if not crosses_dram(workload, whole, tensor) or (drained and tensor in carried):
                units = {e.unit for e in readers} | {
                    workload.einsum(workload.producers[tensor]).unit
                }
                twice = len(units) > 1 or tensor in carried
                copies = 2.0 if group.schedule == "overlapped" and twice else 1.0
            key = classes.get(tensor, tensor)
            before = worst.get(key, (0, 0.0))
            worst[key] = (max(words, before[0]), max(copies, before[1]))
    return sum(ceil(words * copies) for words, copies in worst.values())


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
    for picks in useful_picks(choices, units, room):
        rows = [c.costs[i] for c, i in zip(choices, picks, strict=True)]
        points.append(
            Point(
                cycles=group_cycles(case.platform, group, units, rows),
                energy=float(sum(row[3] for row in rows)),
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
                ),
            )
        )
    return points


def useful_picks(choices: list[Choice], units: list[str], room: float) -> list[tuple[int, ...]]:
    """One nest per Einsum, in every way that fits and that no other way beats in every sum.

    All that a group sees of its nests are sums: of words, energy and port traffic, and of the
    compute cycles of each unit. So a part of a pick that another is as good as everywhere need not
    be tried.
    """
    picks: list[tuple[int, ...]] = [()]
    sums = np.zeros((1, choices[0].costs.shape[1] + 1))
    for choice_, unit in zip(choices, units, strict=True):
        costs = choice_.costs
        compute = costs[:, :1] * (np.arange(2) == (unit == "vector"))
        costs = np.concatenate([compute, costs[:, 1:]], axis=1)
        total = (sums[:, None] + costs[None]).reshape(-1, costs.shape[1])
        longer = [(*pick, i) for pick in picks for i in range(len(costs))]
        good = np.flatnonzero(total[:, 2] <= room)
        good = good[undominated(total[good])]
        sums, picks = total[good], [longer[i] for i in good]
    return picks


def group_cycles(
    platform: Platform, group: GroupSpace, units: list[str], rows: list[FloatArray]
) -> float:
    """The latency rule of the three schedules, on the summed counts."""
    busy: dict[str, float] = {}
    for unit, row in zip(units, rows, strict=True):
        busy[unit] = busy.get(unit, 0.0) + row[0]
    parts = busy.values()
    steady = max(parts) if group.schedule == "overlapped" else sum(parts)
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    levels = {lv.name: lv for arch in archs for lv in arch.levels}
    total = sum(rows[1:], rows[0])
    for i, level in enumerate(levels.values()):
        steady = max(steady, port_cycles(level, total[4 + 2 * i], total[5 + 2 * i]))
    return ceil(steady + port_cycles(platform.dram, total[2], 0.0) - 1e-9)


def port_cycles(level: MemoryLevel, reads: float, writes: float) -> float:
    rates = (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes),
        (level.shared_words_per_cycle, reads + writes),
    )
    return max([0.0, *(words / rate for rate, words in rates if rate is not None)])
