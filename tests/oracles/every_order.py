"""The best of all partitions of a small cascade and of all execution orders, by trying them all.

Sets of Einsums are judged by walking the graph, orders are all permutations in which nobody runs
before what it waits for, and what a group takes in one of them is `brute_force`'s. Nothing is
shared with the search. Of orders of one group `brute_force` is asked once for each Einsum that may
be the first or the last, and for each number of words that the tile takes; that is all it hears of
an order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from math import inf

import numpy as np
from oracles import brute_force
from oracles.brute_force import Case, Choice, Point, lower_left
from oracles.small_cases import prices

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.mapping.space import AnyGroups, Fusion, GroupSpace, Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

Pair = tuple[float, float]  # cycles, pJ with leakage


def waits_for(workload: Workload) -> dict[str, set[str]]:
    """Of each Einsum, those that it waits for, near or far: by walking from reader to maker."""
    makers = {e.output.tensor: e.name for e in workload.einsums}
    near = {
        e.name: {makers[a.tensor] for a in e.inputs if a.tensor in makers} - {e.name}
        for e in workload.einsums
    }
    far = {n: set(own) for n, own in near.items()}
    for _ in near:
        far = {n: own.union(*(near[m] for m in own)) for n, own in far.items()}
    return far


def set_partitions(names: tuple[str, ...]) -> Iterator[list[frozenset[str]]]:
    """Every set partition."""
    if not names:
        yield []
        return
    first, rest = names[0], names[1:]
    for size in range(len(rest) + 1):
        for chosen in combinations(rest, size):
            left = tuple(n for n in rest if n not in chosen)
            for others in set_partitions(left):
                yield [frozenset((first, *chosen)), *others]


def may_be_group(workload: Workload, names: frozenset[str], waits: dict[str, set[str]]) -> bool:
    """Connected by shared tensors, and nobody waits for somebody outside who waits for a member."""
    tensors = {n: {a.tensor for a in workload.einsum(n).accesses} for n in names}
    reached = {min(names)}
    for _ in names:
        reached |= {n for n in names if any(tensors[n] & tensors[m] for m in reached)}
    outside = {m for n in names for m in waits[n]} - names
    return reached == names and not any(waits[m] & names for m in outside)


def can_follow(partition: list[frozenset[str]], waits: dict[str, set[str]]) -> bool:
    """True if the groups can run one after another."""
    left, done = list(partition), set[str]()
    while ready := [g for g in left if all(waits[n] <= done | g for n in g)]:
        done |= ready[0]
        left.remove(ready[0])
    return not left


def every_front(case: Case) -> dict[frozenset[str], list[Point]]:
    """Of each set of Einsums that may be a group, the front over all its orders."""
    waits = waits_for(case.workload)
    names = [e.name for e in case.workload.einsums]
    sets = (frozenset(s) for n in range(len(names)) for s in combinations(names, n + 1))
    return {
        own: front_of(case, own, waits) for own in sets if may_be_group(case.workload, own, waits)
    }


def front_of(case: Case, names: frozenset[str], waits: dict[str, set[str]]) -> list[Point]:
    """The (cycles, pJ) that no mapping of a group beats, over all its orders."""
    fused, found = len(names) > 1, list[Point]()
    schedule = case.mapspace.fusion.schedule if fused else "sequential"
    choices: dict[object, Choice] = {}
    asked = set[object]()
    for order in brute_force.topological(case.workload, names):
        group = GroupSpace(names=order, fused=fused, schedule=schedule, declared=fused)
        for roles in brute_force.role_sets(case, group):
            told = tuple((n, tuple(sorted(roles[n].items()))) for n in sorted(roles))
            for shared in brute_force.shared_loops(case, group):
                words = brute_force.fixed_words(case, group, roles, shared)
                question = told, shared, words, order[0], order[-1]
                if question in asked:
                    continue
                asked.add(question)
                some = []
                for name in order:
                    ends = name == order[0], name == order[-1]
                    key = name, tuple(sorted(roles[name].items())), shared, ends
                    if key not in choices:
                        choices[key] = brute_force.choice(case, group, name, roles[name], shared)
                    some.append(choices[key])
                found += brute_force.combined(case, group, roles, shared, some)
                found = lower_left(found)
    return found


def best(case: Case) -> dict[str, float]:
    """The least of every objective over all partitions and orders; infinite where nothing fits."""
    leak = brute_force.total_energy(case, (_ONE,)) - brute_force.total_energy(case, (_NONE,))
    fronts, waits = every_front(case), waits_for(case.workload)
    found = {"latency": inf, "energy": inf, "edp": inf}
    for partition in set_partitions(tuple(e.name for e in case.workload.einsums)):
        if not all(fronts.get(g) for g in partition) or not can_follow(partition, waits):
            continue
        sums: list[Pair] = [(0.0, 0.0)]
        for group in partition:
            own = [(p.cycles, p.energy + leak * p.cycles) for p in fronts[group]]
            sums = sorted({(c + x, e + y) for c, e in sums for x, y in own})
            low = np.minimum.accumulate([inf, *(e for _, e in sums)])[:-1]
            sums = [pair for pair, least in zip(sums, low, strict=True) if pair[1] < least]
        found["latency"] = min(found["latency"], *(c for c, _ in sums))
        found["energy"] = min(found["energy"], *(e for _, e in sums))
        found["edp"] = min(found["edp"], *(c * e for c, e in sums))
    return found


_ONE = Point(cycles=1.0, energy=0.0, mapping=None)  # type: ignore[arg-type]
_NONE = Point(cycles=0.0, energy=0.0, mapping=None)  # type: ignore[arg-type]


def random_graph(seed: int, most: int = 6) -> Case:
    """A cascade of three to six Einsums that branches, on a chip in which little fits."""
    chance = random.Random(seed)
    rng = np.random.default_rng(seed)
    platform = _platform(chance)
    schedule = chance.choice(("interleaved", "interleaved", "overlapped"))
    policy = Policy(
        buffering=chance.choice((1.0, 2.0, 2.0)),
        in_place=chance.random() < 0.7,
        softmax="charged",
    )
    fusion = Fusion(anything=AnyGroups(), schedule=schedule)
    return Case(
        workload=_cascade(chance, seed, most),
        platform=platform,
        ert=prices(rng, platform),
        mapspace=Mapspace(name="any", fusion=fusion, policy=policy),
    )


def _cascade(chance: random.Random, seed: int, most: int) -> Workload:
    """Products, row sums and elementwise Einsums over what is there, or over inputs."""
    count = chance.randint(3, most)
    known: list[tuple[str, str]] = [("X0", "ik")]
    inputs, lines = 1, list[str]()
    for i in range(count):
        name = f"T{i}"
        source, ranks = chance.choice(known[-3:] if chance.random() < 0.8 else known)
        kind = chance.choice(("product", "product", "map", "map", "both", "both", "sum", "scale"))
        alike = [t for t, own in known if set(own) == set(ranks) and t != source]
        rows = [t for t, own in known if len(own) == 1 and own in ranks]
        if kind == "both" and alike:
            other = chance.choice(alike)
            lines.append(
                f"{name}[{','.join(ranks)}] = {source}[{','.join(ranks)}] "
                f"* {other}[{','.join(dict(known)[other])}]"
            )
            known.append((name, ranks))
        elif kind == "scale" and rows and len(ranks) > 1:
            row = chance.choice(rows)
            lines.append(
                f"{name}[{','.join(ranks)}] = {source}[{','.join(ranks)}] "
                f"* {row}[{dict(known)[row]}]"
            )
            known.append((name, ranks))
        elif kind == "sum" and len(ranks) > 1:
            kept = chance.choice(ranks)
            lines.append(f"{name}[{kept}] = sum({source}[{','.join(ranks)}])")
            known.append((name, kept))
        elif kind == "product" and len(ranks) > 1:
            gone = chance.choice(ranks)
            new = chance.choice([r for r in "ijkl" if r not in ranks])
            kept = ranks.replace(gone, "")
            lines.append(
                f"{name}[{kept},{new}] = {source}[{','.join(ranks)}] * X{inputs}[{gone},{new}]"
            )
            inputs += 1
            known.append((name, kept + new))
        else:
            word = chance.choice(("relu", "exp", "silu"))
            lines.append(f"{name}[{','.join(ranks)}] = {word}({source}[{','.join(ranks)}])")
            known.append((name, ranks))
    einsums = tuple(parse_einsum(line) for line in lines)
    used = dict.fromkeys(r for e in einsums for r in e.ranks)
    sizes = {r: chance.choice((1, 2, 2, 2, 3)) for r in used}
    return Workload(name=f"graph{seed}", einsums=einsums, rank_sizes=sizes)


def _platform(chance: random.Random) -> Platform:
    def level(name: str, words: int | None) -> MemoryLevel:
        limit = chance.random() < (0.8 if words is None else 0.4)
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=1,
            instances=1,
            shared_words_per_cycle=chance.choice((0.5, 1.0, 2.0)) if limit else None,
        )

    top = (level("DRAM", None), level("GLB", chance.randint(6, 40)))

    def path(name: str, unit: str, width: int) -> Architecture:
        return Architecture(
            name=name,
            nodes=(*top, Fanout(name=f"{unit}s", fanout_x=width)),
            compute=ComputeUnit(name=unit, component_class="alu", instances=width),
            cycle_seconds=1e-9,
        )

    return Platform(
        name="graph",
        matrix=path("graph", "MAC", chance.choice((1, 2))),
        vector=path("graph.sfu", "VALU", chance.choice((1, 2))),
    )


def listed(case: Case, seed: int) -> Case:
    """The same question about one partition, that with the largest groups of a few by chance."""
    chance, waits = random.Random(seed), waits_for(case.workload)
    names = tuple(e.name for e in case.workload.einsums)
    legal = [
        one
        for one in set_partitions(names)
        if all(may_be_group(case.workload, g, waits) for g in one) and can_follow(one, waits)
    ]
    some = max(chance.sample(legal, min(4, len(legal))), key=lambda one: max(map(len, one)))
    groups = tuple(tuple(n for n in names if n in g) for g in some if len(g) > 1)
    fusion = Fusion(groups=groups, schedule=case.mapspace.fusion.schedule)
    return replace(case, mapspace=replace(case.mapspace, fusion=fusion))


def together(case: Case) -> Case:
    """The same question about all Einsums in one group."""
    groups = (tuple(e.name for e in case.workload.einsums),)
    fusion = Fusion(groups=groups, schedule=case.mapspace.fusion.schedule)
    return replace(case, mapspace=replace(case.mapspace, fusion=fusion))
