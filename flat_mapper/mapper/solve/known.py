"""Known mappings as first answers: those that a question's mapspace has.

What is known of another size, of a chip with another number in it or of a kernel may be an answer
here. It is one if it is legal and obeys every rule that the mapspace declares, as if its last tiles
were whole. Its factors need not divide: what then may be better, the bound of all sizes says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod

from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.mapper.chip.assignments import every_assignment, fusion_levels
from flat_mapper.mapper.solve.groups import Arrays, Cores
from flat_mapper.mapper.solve.loop import CascadeForm, FormSearch
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.outer import ruled_stagings, shared_extents
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.check import check_fused, handed_inside
from flat_mapper.mapping.cores import CoreView, at_sizes, core_platform, given_ranks, pass_extent
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import GroupSpace, LoopKind, Mapspace, SlotRule, handed_over
from flat_mapper.mapping.values import (
    Axis,
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    largest_extent,
)
from flat_mapper.workload.graph import Workload

Known = tuple[Workload, FusedMapping]  # the cascade that a mapping is of, and the mapping


def divides(known: Known) -> bool:
    """True if a mapping's factors divide, and the tiles that cores are given."""
    sizes, groups = known[0].rank_sizes, known[1].groups
    return not any(
        any(nest.has_remainders for nest in group.einsums)
        or any(sizes[p.rank] % largest_extent(group, p.rank) for p in group.given_out)
        for group in groups
    )


def admitted(opened: FormSearch, known: Known) -> bool:
    """True if a question's mapspace has a mapping, whose factors need not divide."""
    cascade, mapping = known
    kind, forms = opened.kind, [one for one in opened.forms if one.workload == cascade]
    if mapping.policy != kind.mapspace.policy:
        return False
    try:
        check_fused(cascade, kind.platform, mapping)
    except (MappingError, SpecError):
        return False
    return any(all(_has(kind, form, group) for group in mapping.groups) for form in forms)


def _has(kind: Arrays | Cores, form: CascadeForm, group: GroupMapping) -> bool:
    """True if a form has a group in some way that obeys the rules."""
    ways = (
        replace(way, names=group.names)
        for names, one in zip(form.graph.groups, form.groups, strict=True)
        if set(names) == set(group.names)
        for way in one.ways
    )
    own = group.kernel, group.order, group.resident
    return own == ("", "largest", ()) and any(_obeys(kind, form, group, way) for way in ways)


def _obeys(kind: Arrays | Cores, form: CascadeForm, group: GroupMapping, way: GroupSpace) -> bool:
    """True if a group runs in a way, and obeys what is declared of it."""
    cascade, space = form.workload, kind.mapspace
    if (group.schedule, group.phases) != (way.schedule, way.phases):
        return False
    if any({*o} == {*way.names} and o != way.names for o in space.fusion.orders):
        return False
    core = CoreView(workload=cascade, platform=kind.platform, group=group).question()
    inside = {t: space.fusion.intermediates[t] for t in handed_over(cascade, space, way)}
    if handed_inside(*core) != inside:
        return False
    for whole, ruled in _spaces(kind, cascade, group, way):
        ruled = replace(ruled, fusion=replace(ruled.fusion, intermediates={}))
        problem = group_problem(whole, core.platform, kind.ert, ruled, way)
        return _has_tile(problem, core.group) and all(
            _obeys_rules(problem, space, nest)
            for space, nest in zip(problem.spaces, core.group.einsums, strict=True)
        )
    return False


def _spaces(
    kind: Arrays | Cores, cascade: Workload, group: GroupMapping, way: GroupSpace
) -> Iterator[tuple[Workload, Mapspace]]:
    """The question of one core and its mapspace; none where no tile is given out so.

    Sizes are as if the last tiles were whole.
    """
    space, platform, pair = kind.mapspace, kind.platform, cascade.roles.masked or ()
    cut, on_cores = {*group.cut}, space.fusion.on_cores
    if cascade.mask and on_cores:
        cut |= {*pair[1:]} & cascade.rank_sizes.keys()
    full = CoreView(workload=cascade, platform=platform, group=group).full
    own = {r: pass_extent(cascade, platform, group, r) for r in cut} | full
    sizes = {r: -(-n // own.get(r, n)) * own.get(r, n) for r, n in cascade.rank_sizes.items()}
    cascade = at_sizes(cascade, sizes, cascade.mask)
    if not on_cores:
        if not group.on_cores:
            yield cascade, space
        return
    if group.level not in fusion_levels(platform, space):
        return
    fixed = space.fusion.tiles
    own = {r: sizes[r] for r in given_ranks(cascade, group.names)} | own
    tiles = {r: (n,) if n in fixed.get(r, (n,)) else () for r, n in own.items()}
    only = replace(space.fusion, level=group.level, tiles={**fixed, **tiles})
    for one in every_assignment(cascade, platform, replace(space, fusion=only), way):
        inner, whole = one.inner(space), one.core_workload
        yield whole, with_arch_rules(inner, core_platform(platform, group.level), whole)


def _has_tile(problem: GroupProblem, group: GroupMapping) -> bool:
    """True if shared loops and staged tensors are among those that are declared."""
    level, (must, never) = shared_level(problem.platform).name, ruled_stagings(problem)
    staged = {t for nest in group.einsums for t in nest.kept_at(level)} & {*problem.external}
    if not must <= staged or staged & never:
        return False
    for i, rank in enumerate(problem.ranks) if problem.group.fused else ():
        if rank.size // prod(map(group.passes, rank.members)) not in shared_extents(problem, i):
            return False
    return True


def _obeys_rules(problem: GroupProblem, space: EinsumSpace, nest: EinsumMapping) -> bool:
    """True if one Einsum's nest obeys the rules of loops and of what levels keep."""
    name, arch, rules = nest.einsum, space.arch, problem.mapspace
    kinds: tuple[LoopKind, ...] = ("temporal", "spatial")
    for node, kind in product(arch.nodes, kinds):
        loops = [
            (slot.axis, loop)
            for slot, loop in nest.placed
            if slot.node == node.name and (slot.axis == "temporal") == (kind == "temporal")
        ]
        every = rules.slot_rules(name, node.name, kind)
        if not all(_obeys_rule(rule, space.einsum.own_ranks, loops) for rule in every):
            return False
    kept = [(level.name, {*nest.kept_at(level.name)}) for level in arch.levels]
    return all(
        {*rule.keep} & {*space.tensors} <= own and own.isdisjoint(rule.bypass)
        for level, own in kept
        for rule in rules.keep_rules(name, level)
    )


def _obeys_rule(
    rule: SlotRule, ranks: Collection[str], placed: Sequence[tuple[Axis, Loop]]
) -> bool:
    """True if the loops at a node, outermost first, obey a rule about them."""
    loops = [(axis, p.rank, p.factor) for axis, p in placed if p.rank in ranks and p.factor > 1]
    factors = {r: prod(n for _, own, n in loops if own == r) for r in ranks}
    first = [rule.innermost.index(r) if r in rule.innermost else len(ranks) for _, r, _ in loops]
    return (
        all(factors.get(r, n) == n for r, n in rule.factors.items())
        and all(factors.get(r, n) <= n for r, n in rule.at_most.items())
        and first == sorted(first, reverse=True)
        and not any(axis == "x" and rule.x is not None and r not in rule.x for axis, r, _ in loops)
        and not any(axis == "y" and rule.y is not None and r not in rule.y for axis, r, _ in loops)
    )
