"""Rules of a mapspace read literally, and random ones; nothing here knows how the search works.

A factor is the product of a rank's loops at a node, a permutation is about loops of two passes or
more, and a rule says nothing of an Einsum without its ranks or tensors. What runs in each pass of a
shared loop has that loop at DRAM only.
"""

from __future__ import annotations

from itertools import pairwise, permutations
from math import prod

import numpy as np

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.space import KeepRule, Mapspace, SlotRule
from flat_mapper.mapping.values import FusedMapping, Slot, slots_of
from flat_mapper.workload.graph import Einsum, Workload

Columns = np.ndarray  # int64[S, R, n]: factors by slot and rank


def obeying_factors(
    mapspace: Mapspace,
    arch: Architecture,
    einsum: Einsum,
    slots: tuple[Slot, ...],
    columns: Columns,
) -> np.ndarray:
    """Which columns have the factors and the axes that the rules ask for; bool[n]."""
    good = np.ones(columns.shape[2], np.bool_)
    for rule in mapspace.slots:
        at = {s.axis: i for i, s in enumerate(slots) if s.node == rule.node}
        if (
            rule.einsum not in ("", einsum.name)
            or not at
            or (rule.kind == "temporal") != (len(at) == 1)
        ):
            continue
        for r, rank in enumerate(einsum.ranks):
            if rank in einsum.each and rule.node != arch.levels[0].name:
                continue
            factor = columns[list(at.values()), r].prod(axis=0)
            good &= factor == rule.factors.get(rank, factor)
            good &= factor <= rule.at_most.get(rank, factor)
            for axis, allowed in (("x", rule.x), ("y", rule.y)):
                if rule.kind == "spatial" and allowed is not None and rank not in allowed:
                    good &= columns[at[axis], r] == 1
    return good


def obeying_orders(
    mapspace: Mapspace,
    arch: Architecture,
    einsum: Einsum,
    slots: tuple[Slot, ...],
    order: tuple[tuple[str, ...], ...],
    columns: Columns,
) -> np.ndarray:
    """Which columns' real loops stand as the permutations ask; order: by slot, outermost first.

    At the innermost level, whose order costs nothing, some order has to do.
    """
    good = np.ones(columns.shape[2], np.bool_)
    for s, slot in enumerate(slots):
        rules = [
            rule.innermost
            for rule in mapspace.slot_rules(einsum.name, slot.node, "temporal")
            if rule.innermost and slot.axis == "temporal"
        ]
        if not rules:
            continue
        real = {r: columns[s, i] > 1 for i, r in enumerate(einsum.ranks)}
        tried = [order[s][::-1]]
        if slot.node == arch.levels[-1].name:
            tried = list(permutations(einsum.ranks))
        some = np.zeros_like(good)
        for one in tried:
            obeyed = np.ones_like(good)
            for innermost in rules:
                key = {r: innermost.index(r) if r in innermost else len(innermost) for r in one}
                for i, inner in enumerate(one):
                    for outer in one[i + 1 :]:
                        if key[inner] > key[outer]:
                            obeyed &= ~(real[inner] & real[outer])
            some |= obeyed
        good &= some
    return good


def first_of_equals(
    free: tuple[str, ...],
    arch: Architecture,
    einsum: Einsum,
    order: tuple[tuple[str, ...], ...],
    columns: Columns,
    fused: bool,
) -> np.ndarray:
    """Which columns' real loops stand in no other choice of orders just so; bool[n].

    free:  the ranks in the order of the first choice. There is none at the innermost level, nor at
           DRAM if loops are shared.
    order: by slot, outermost first.
    """
    good = np.ones(columns.shape[2], np.bool_)
    for s, slot in enumerate(slots_of(arch)):
        chosen = slot.axis == "temporal" and slot.node != arch.levels[-1].name
        if not chosen or (fused and slot.node == arch.levels[0].name):
            continue
        idle = {r: columns[s, einsum.ranks.index(r)] == 1 for r in order[s]}
        for outer, inner in pairwise(order[s]):
            # Loops of one pass come first, in the order of `free`.
            good &= ~idle[inner] | (idle[outer] & (free.index(outer) < free.index(inner)))
    return good


def obeying_keeps(
    mapspace: Mapspace,
    arch: Architecture,
    einsum: Einsum,
    keep: tuple[frozenset[str], ...],
    crossing: set[str],
) -> bool:
    """Whether levels keep what the rules ask; crossing: the group's tensors that DRAM keeps."""
    mine = {a.tensor for a in einsum.accesses}
    for i, level in enumerate(arch.levels):
        kept = crossing & mine if i == 0 else keep[i]
        for rule in mapspace.keep_rules(einsum.name, level.name):
            if not mine & set(rule.keep) <= kept or mine & set(rule.bypass) & kept:
                return False
    return True


def broken(
    mapping: FusedMapping, mapspace: Mapspace, platform: Platform, workload: Workload
) -> list[str]:
    """The rules that a mapping breaks; none for a sound one. Without remainders."""
    found = []
    for group in mapping.groups:
        names = [m.einsum for m in group.einsums]
        for nest in group.einsums:
            einsum = workload.einsum(nest.einsum)
            arch = platform.path(einsum.unit)
            mine = {a.tensor for a in einsum.accesses}
            for rule in mapspace.slots:
                if rule.einsum in ("", einsum.name) and any(
                    n.name == rule.node for n in arch.nodes
                ):
                    found += _broken_slot(rule, einsum, arch, dict(nest.loops))
            for level in arch.levels:
                kept = set(nest.kept_at(level.name))
                if level is arch.levels[0]:
                    kept = {t for t in mine if crosses_dram(workload, names, t)}
                for rule in mapspace.keep_rules(einsum.name, level.name):
                    if not mine & set(rule.keep) <= kept or mine & set(rule.bypass) & kept:
                        found.append(f"{einsum.name}: {rule}")
    return found


def _broken_slot(rule: SlotRule, einsum: Einsum, arch: Architecture, loops: dict) -> list[str]:
    axes = ("temporal",) if rule.kind == "temporal" else ("x", "y")
    at = {axis: loops.get(Slot(rule.node, axis), ()) for axis in axes}
    wrong = False
    for rank in einsum.ranks:
        if rank in einsum.each and rule.node != arch.levels[0].name:
            continue
        factor = prod(p.factor for some in at.values() for p in some if p.rank == rank)
        wrong |= factor != rule.factors.get(rank, factor) or factor > rule.at_most.get(rank, factor)
    if rule.kind == "temporal":
        key = [
            rule.innermost.index(p.rank) if p.rank in rule.innermost else len(rule.innermost)
            for p in reversed(at["temporal"])
        ]
        wrong |= key != sorted(key)
    else:
        for axis, allowed in (("x", rule.x), ("y", rule.y)):
            wrong |= allowed is not None and any(p.rank not in allowed for p in at[axis])
    return [f"{einsum.name}: {rule}"] if wrong else []


def random_rules(
    rng: np.random.Generator, workload: Workload, platform: Platform, most: int
) -> tuple[tuple[SlotRule, ...], tuple[KeepRule, ...]]:
    """Up to so many rules of any type about any node, for one Einsum or for all."""
    slots: list[SlotRule] = []
    keeps: list[KeepRule] = []
    for _ in range(int(rng.integers(1, most + 1))):
        einsum = workload.einsums[int(rng.integers(len(workload.einsums)))]
        arch = platform.path(einsum.unit)
        node = arch.nodes[int(rng.integers(len(arch.nodes)))]
        name = einsum.name if rng.random() < 0.5 else ""
        ranks = list(rng.permutation(einsum.ranks))[: int(rng.integers(1, 3))]
        if isinstance(node, Fanout):
            slots.append(_spatial(rng, node.name, name, einsum, ranks, workload))
        elif rng.random() < 0.3:
            tensor = str(rng.choice([a.tensor for a in einsum.accesses]))
            # What leaves DRAM out altogether, or an intermediate the shared level, is seldom asked.
            keep = rng.random() < (0.8 if node in arch.levels[:2] else 0.5)
            keeps.append(
                KeepRule(
                    level=node.name,
                    einsum=name,
                    keep=(tensor,) if keep else (),
                    bypass=() if keep else (tensor,),
                )
            )
        elif rng.random() < 0.35:
            order = tuple(str(r) for r in ranks)
            slots.append(SlotRule(node=node.name, kind="temporal", einsum=name, innermost=order))
        else:
            exact, at_most = _factors(rng, ranks, workload)
            slots.append(
                SlotRule(
                    node=node.name, kind="temporal", einsum=name, factors=exact, at_most=at_most
                )
            )
    return tuple(slots), tuple(keeps)


def _spatial(
    rng: np.random.Generator,
    node: str,
    name: str,
    einsum: Einsum,
    ranks: list[str],
    workload: Workload,
) -> SlotRule:
    if rng.random() < 0.5:
        exact, at_most = _factors(rng, ranks[:1], workload)
        return SlotRule(node=node, kind="spatial", einsum=name, factors=exact, at_most=at_most)
    order = [str(r) for r in rng.permutation(einsum.ranks)]
    split = int(rng.integers(0, len(order) + 1))
    return SlotRule(
        node=node,
        kind="spatial",
        einsum=name,
        x=tuple(order[:split]),
        y=tuple(order[split:]) if rng.random() < 0.7 else None,
    )


def _factors(
    rng: np.random.Generator, ranks: list[str], workload: Workload
) -> tuple[dict[str, int], dict[str, int]]:
    exact: dict[str, int] = {}
    at_most: dict[str, int] = {}
    for rank in ranks:
        size = workload.rank_sizes[str(rank)]
        value = int(rng.choice([d for d in range(1, size + 1) if size % d == 0]))
        (exact if rng.random() < 0.6 else at_most)[str(rank)] = value
    return exact, at_most
