"""True if every name in a mapspace is one of the workload's, or of the platform's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import expected
from flat_mapper.mapping.space import GRANULARITIES, Fusion, KeepRule, Mapspace, SlotRule
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import ROW, alternatives


def unmatched_rules(mapspace: Mapspace, workload: Workload, platform: Platform) -> list[str]:
    """Names in a mapspace that neither this platform nor this workload has, a line each.

    A rule about an Einsum that the scope left out says nothing. Nor does what is marked
    `if_present` and names nothing here; a group of which only a part is here is refused all the
    same, and so is a target that no chip has.
    """
    names = _Names.of(workload, platform)
    found = list(_fusion_misses(mapspace.name, mapspace.fusion, names))
    found += _role_misses(mapspace, workload, names)
    rules: tuple[SlotRule | KeepRule, ...] = (*mapspace.slots, *mapspace.keeps)
    for rule in rules:
        found += _rule_misses(f"{mapspace.name}: constraints", rule, names)
    return list(dict.fromkeys(found))


def absent_parts(mapspace: Mapspace, workload: Workload) -> list[str]:
    """A line for what a mapspace says of names that a workload lacks: it is not searched so."""
    einsums = {e.name for e in _einsums(workload)} | set(workload.left_out)
    known = {*workload.operators, *einsums}
    groups = [", ".join(g) for g in mapspace.fusion.groups if not known & set(g)]
    lines = [f"the problem has nothing of the group {group}: not fused" for group in groups]
    rules: tuple[SlotRule | KeepRule, ...] = (*mapspace.slots, *mapspace.keeps)
    lost = [rule.einsum for rule in rules if rule.einsum and rule.einsum not in einsums]
    if lost:
        names = ", ".join(dict.fromkeys(lost))
        lines.append(f"the problem has no {names}: {len(lost)} constraints hold nothing")
    return [f"{mapspace.name}: {line}" for line in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The names that a mapspace may use."""

    nodes: tuple[str, ...]
    levels: tuple[str, ...]
    ranks: tuple[str, ...]
    tensors: tuple[str, ...]
    einsums: Mapping[str, tuple[Einsum, ...]]  # in the forms of the softmax that have it
    operators: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, workload: Workload, platform: Platform) -> _Names:
        """The names of a workload in all forms that its softmax has, and of a platform."""
        paths = platform.paths
        einsums: dict[str, tuple[Einsum, ...]] = {}
        for einsum in _einsums(workload):
            einsums[einsum.name] = (*einsums.get(einsum.name, ()), einsum)
        # A rule for the row softmax says nothing of a tensor that another form lacks.
        others = ROW if workload.softmax not in ("row", "none") else ()
        accesses = (a.tensor for es in einsums.values() for e in es for a in e.accesses)
        return cls(
            nodes=tuple(dict.fromkeys(n.name for arch in paths for n in arch.nodes)),
            levels=tuple(dict.fromkeys(lv.name for arch in paths for lv in arch.levels)),
            ranks=tuple(workload.rank_sizes),
            tensors=tuple(dict.fromkeys((*accesses, *others))),
            einsums=einsums,
            operators=tuple(workload.operators),
            left_out=workload.left_out,
        )


def _einsums(workload: Workload) -> Iterator[Einsum]:
    """The Einsums of a workload, in all forms that it may take."""
    for form in alternatives(workload):
        yield from form.einsums


def _fusion_misses(name: str, fusion: Fusion, names: _Names) -> Iterator[str]:
    """Names in a mapspace's words on shared loops that are nowhere."""
    where = f"{name}: fusion"
    known = (*names.operators, *names.einsums)
    for group in fusion.groups:
        if not fusion.if_present or set(group) & set(names.einsums):
            missing = [n for n in group if n not in names.left_out]
            for line in _misses(f"{where}.groups", "Einsums or operators", missing, known):
                yield line if "; " in line or names.operators else f"{line}; {_NO_OPERATORS}"
    if fusion.anything and not fusion.if_present:
        limits = {"within": fusion.anything.within}
        limits |= {"never": tuple(n for one in fusion.anything.never for n in one)}
        for key, words in limits.items():
            missing = [n for n in words if n not in names.left_out]
            yield from _misses(f"{where}.{key}", "Einsums or operators", missing, known)
    for phase in fusion.phases:
        missing = [n for n in phase if n not in names.left_out]
        yield from _misses(f"{where}.phases", "Einsums or operators", missing, known)
    if not fusion.if_present:
        yield from _misses(f"{where}.tiles", "ranks", fusion.tiles, names.ranks)
        if isinstance(fusion.staging, tuple):
            staged = [t for t in fusion.staging if t not in names.left_out]
            yield from _misses(f"{where}.staging", "tensors", staged, names.tensors)


def _role_misses(mapspace: Mapspace, workload: Workload, names: _Names) -> Iterator[str]:
    """A granularity of which the workload does not say what it holds."""
    fusion, roles = mapspace.fusion, workload.roles
    fused = any(set(group) & set(names.einsums) for group in fusion.groups)
    if not fused or fusion.granularity == "any" or fusion.granularity == "all":
        return
    if not roles.declared or (fusion.granularity == "row" and not roles.queries):
        needed = [*GRANULARITIES[fusion.granularity], *["queries"] * (fusion.granularity == "row")]
        condition = f"roles in the problem that say which ranks are {', '.join(needed)}"
        where = f"{mapspace.name}: fusion.granularity {fusion.granularity}"
        change = "add roles: {queries: RANK, ...} to the problem"
        yield expected(where, condition, ", ".join(roles.declared) or "none", change)


def _rule_misses(where: str, rule: SlotRule | KeepRule, names: _Names) -> Iterator[str]:
    """Names in a constraint that nothing has."""
    if rule.einsum in names.left_out:
        return
    if rule.einsum and rule.einsum not in names.einsums:
        if not rule.if_present:
            yield from _misses(where, "an Einsum", [rule.einsum], names.einsums)
        return
    if isinstance(rule, SlotRule):
        yield from _misses(where, "a target", [rule.node], names.nodes)
        if rule.node in names.nodes and (rule.kind == "temporal") != (rule.node in names.levels):
            condition = "temporal constraints on levels, spatial ones on fanouts"
            got = f"{rule.kind} on {rule.node}"
            yield expected(where, condition, got, "change type or target")
        axes = (*(rule.x or ()), *(rule.y or ()))
        named = [*rule.factors, *rule.at_most, *rule.innermost, *axes]
        if not rule.if_present:
            yield from _misses(where, "ranks", named, names.ranks)
        return
    yield from _misses(where, "a target", [rule.level], names.levels)
    if not rule.if_present:
        yield from _misses(where, "tensors", [*rule.keep, *rule.bypass], names.tensors)


_NO_OPERATORS = "add operators: {softmax: [EINSUM, ...]} to the problem, if that is what is meant"


def _misses(where: str, noun: str, words: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """A line for each word that is not known."""
    listed = tuple(known)
    for word in words:
        if word not in listed:
            condition = f"{noun} among {', '.join(listed)}"
            yield expected(where, condition, word, did_you_mean(word, listed))
