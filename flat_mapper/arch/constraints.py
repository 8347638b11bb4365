"""Mapping constraints inside and beside the nodes of an architecture, kept as they are written.

Only their names are checked here; what they mean is for whoever searches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import (
    Section,
    Tagged,
    did_you_mean,
    place,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    take_list,
)
from flat_mapper.spec.expressions import resolved

Outside = Mapping[str, Mapping[str, object]]  # target: kind: constraint

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
    written = body.get("constraints")
    group = section_of({} if written is None else written, place(where, body, "constraints"))
    groups = {**group, **_joined(group, outside, where)}
    inside = f"{where}.constraints"
    refuse_unknown(Section(groups, group.source, group.lines), kinds, inside)
    for kind, node in groups.items():
        if node is not None:
            refuse_unknown(node, CONSTRAINTS[kind], f"{inside}.{kind}")
    return {
        kind: _worked_out(section_of(node, inside), names, f"{inside}.{kind}")
        for kind, node in groups.items()
        if node
    }


def _worked_out(node: Section, names: Mapping[str, object], where: str) -> Section:
    """A constraint with its numbers worked out, where they are expressions."""
    numbers = {
        key: resolved(node[key], names, f"{where}.{key}")
        for key in ("split", "maximize_dims_capacity")
        if isinstance(node.get(key), str)
    }
    return Section({**node, **numbers}, node.source, node.lines) if numbers else node


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


def _joined(
    group: Mapping[str, object], outside: Mapping[str, object], where: str
) -> dict[str, object]:
    """Constraints from outside the nodes, joined with the node's own of the same kind."""
    joined: dict[str, object] = {}
    for kind, node in outside.items():
        own = group.get(kind)
        if not isinstance(own, Mapping) or not isinstance(node, Mapping):
            joined[kind] = node
            continue
        for key in node:
            if key in own and own[key] != node[key]:
                raise SpecError(
                    f"{where}.constraints.{kind}.{key}: expected one constraint, got "
                    f"{own[key]} here and {node[key]} in a list of constraints"
                )
        joined[kind] = Section({**own, **node})
    return joined


def kept_in(node: object, where: str, outside: Outside) -> tuple[str, ...]:
    """The tensors that the components of one branch say they keep."""
    if not isinstance(node, Tagged) or not isinstance(node.body, Mapping):
        return ()
    body = section_of(node.body, where)
    kept: dict[str, None] = {}
    inner = body.get("nodes")
    for child in inner if isinstance(inner, Sequence) else ():
        kept.update(dict.fromkeys(kept_in(child, where, outside)))
    groups = [body.get("constraints"), outside.get(str(body.get("name")))]
    for group in groups:
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


def check_disjoint(branches: Sequence[tuple[str, ...]], where: str) -> None:
    owners: dict[str, int] = {}
    for i, tensors in enumerate(branches):
        for tensor in tensors:
            if tensor in owners:
                raise SpecError(
                    f"{where}: expected each tensor in one branch of !Parallel, got "
                    f"{tensor} kept in branches {owners[tensor]} and {i}"
                )
            owners[tensor] = i
