"""Mapping constraints inside and beside the nodes of an architecture, kept as they are written.

Only their names are checked here; what they mean is for whoever searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import (
    Section,
    Tagged,
    children,
    did_you_mean,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    take_list,
    take_section,
    walk,
)
from flat_mapper.spec.expressions import resolved

ListedConstraints = Mapping[str, Mapping[str, object]]  # target: kind: constraint

_ITERATION = (
    *("factors", "factors_only", "permutation", "default_max_factor", "default_min_factor"),
    *("no_iteration_over_dataspaces", "must_iterate_over_dataspaces", "maximize_dims"),
    *("maximize_dims_capacity", "no_reuse", "type", "target"),
)
CONSTRAINTS: Mapping[str, tuple[str, ...]] = {
    "spatial": (*_ITERATION, "split", "no_link_transfer", "no_multicast_no_reduction"),
    "temporal": (*_ITERATION, "rmw_first_update"),
    "dataspace": ("keep", "bypass", "keep_only", "bypass_only", "no_coalesce", "type", "target"),
}


def node_constraints(
    body: Section,
    outside: Mapping[str, object],
    where: str,
    kinds: tuple[str, ...],
    names: Mapping[str, object],
) -> dict[str, object]:
    """The constraints of a node, with those of a list beside the nodes added.

    kinds: those that this node may have.
    names: what expressions may refer to.
    """
    group = take_section(body, "constraints", where)
    inside = f"{where}.constraints"
    refuse_unknown(Section({**group, **outside}, group.source, group.lines), kinds, inside)
    found: dict[str, object] = {}
    for kind in dict.fromkeys((*group, *outside)):
        spot = f"{inside}.{kind}"
        own, other = (section_of(some.get(kind) or {}, spot) for some in (group, outside))
        for key in own:
            if key in other and own[key] != other[key]:
                raise SpecError(
                    f"{spot}.{key}: expected one constraint, got {own[key]} here and {other[key]} "
                    "in a list of constraints"
                )
        said = Section({**own, **other}, own.source or other.source, own.lines or other.lines)
        refuse_unknown(said, CONSTRAINTS[kind], spot)
        for key in ("split", "maximize_dims_capacity"):
            if isinstance(said.get(key), str):
                said[key] = resolved(said[key], names, f"{spot}.{key}")
        if said:
            found[kind] = said
    return found


def listed_constraints(node: object, where: str) -> dict[str, dict[str, object]]:
    """By target and kind, the constraints of `constraints: {targets: [{target, type, ...}]}`."""
    inner = node if isinstance(node, list) else take(node, "targets", list, where, [])
    by_target: dict[str, dict[str, object]] = {}
    for i, item in enumerate(inner):
        spot = f"{where}.targets.{i}"
        target = take(item, "target", str, spot)
        kind = take_choice(item, "type", tuple(CONSTRAINTS), spot)
        if kind in by_target.setdefault(target, {}):
            raise SpecError(f"{spot}: expected one {kind} constraint of {target}, got another")
        by_target[target][kind] = item
    return by_target


def parallel_branches(arch: Architecture) -> Iterator[list[object]]:
    """For every `!Parallel` node, the nodes that its branches are."""
    for node in walk(arch.document.get("architecture", arch.document)):
        if isinstance(node, Tagged) and node.tag == "!Parallel":
            yield children(node)


def kept_in(node: object, where: str, outside: ListedConstraints) -> tuple[str, ...]:
    """The tensors that the components of one branch say they keep."""
    kept: dict[str, None] = {}
    bodies = (inner.body for inner in walk(node) if isinstance(inner, Tagged))
    for body in (body for body in bodies if isinstance(body, Mapping)):
        for group in (body.get("constraints"), outside.get(str(body.get("name")))):
            dataspace = group.get("dataspace") if isinstance(group, Mapping) else None
            if isinstance(dataspace, Mapping):
                for key in ("keep", "keep_only"):
                    spot = f"{where}.constraints.dataspace"
                    kept.update(dict.fromkeys(take_list(dataspace, key, str, spot, ())))
    return tuple(kept)


def tensors_of(section: Section, key: str, where: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The tensors that one key lists; `*` stands for all that are known."""
    listed = take_list(section, key, str, where, ())
    for tensor in listed:
        if tensor != "*" and tensor not in known:
            change = did_you_mean(tensor, known) or "rename the tensors of one of the two"
            condition = f"tensors of the problem, {', '.join(known)}"
            raise SpecError(expected(f"{where}.{key}", condition, str(tensor), change))
    return known if "*" in listed else tuple(str(t) for t in listed)
