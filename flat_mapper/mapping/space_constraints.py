"""The constraints of a mapspace file, in Timeloop's words; whether a platform has their nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import expected
from flat_mapper.mapping.space import KeepRule, Mapspace, SlotRule
from flat_mapper.mapping.space_part import FilePart
from flat_mapper.spec.document import (
    did_you_mean,
    kind_of,
    place,
    section_of,
    take,
    take_choice,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import ROW

RULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "spatial": ("einsum", "target", "type", "factors", "permutation", "split", "x", "y"),
    "temporal": ("einsum", "target", "type", "factors", "permutation"),
    "dataspace": ("einsum", "target", "type", "keep", "bypass"),
}

_FACTOR = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(<=|=)\s*([0-9]{1,18})\s*")


def unmatched_rules(mapspace: Mapspace, workload: Workload, platform: Platform) -> list[str]:
    """Names in a mapspace that this platform and this workload lack, a line each.

    A rule or a group of Einsums that the workload leaves out altogether says nothing, so it is not
    listed: the same mapspace serves the attention, the block around it, and other cascades.
    """
    paths = [platform.matrix, *filter(None, [platform.vector])]
    nodes = tuple(dict.fromkeys(n.name for arch in paths for n in arch.nodes))
    levels = tuple(dict.fromkeys(lv.name for arch in paths for lv in arch.levels))
    einsums, ranks = tuple(e.name for e in workload.einsums), tuple(workload.rank_sizes)
    where, found = f"{mapspace.name}: constraints", []
    for slot in mapspace.slots:
        if slot.einsum in ("", *einsums):
            found += _misses(where, "a target", [slot.node], nodes)
            if slot.node in nodes and (slot.kind == "temporal") != (slot.node in levels):
                condition = "temporal constraints on levels, spatial ones on fanouts"
                got = f"{slot.kind} on {slot.node}"
                found.append(expected(where, condition, got, "change type or target"))
            named = [*slot.factors, *slot.at_most, *slot.innermost, *(slot.x or ())]
            found += _misses(where, "ranks", [*named, *(slot.y or ())], ranks)
    for rule in mapspace.keeps:
        if rule.einsum in ("", *einsums):
            tensors = [*rule.keep, *rule.bypass]
            found += _misses(where, "a target", [rule.level], levels)
            # A rule for the row softmax says nothing of a tensor that another form lacks.
            others = ROW if workload.softmax not in ("row", "none") else ()
            known = tuple(dict.fromkeys((*workload.tensor_ranks, *others)))
            found += _misses(where, "tensors", tensors, known)
    for group in mapspace.fusion.groups:
        if set(group) & set(einsums):
            known = ("softmax", *einsums)
            found += _misses(f"{mapspace.name}: fusion.groups", "Einsums", group, known)
    return list(dict.fromkeys(found))


def _misses(where: str, noun: str, words: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """A line for each word that is not known."""
    return [
        expected(where, f"{noun} among {', '.join(known)}", word, did_you_mean(word, known))
        for word in words
        if word not in known
    ]


def constraints(outline: FilePart) -> tuple[tuple[SlotRule, ...], tuple[KeepRule, ...]]:
    """Rules about loops, and rules about tensors, in the order of the file."""
    items = outline.faults.attempt(take, outline.body, "constraints", list, outline.where, [])
    spot = f"{outline.where}.constraints"
    slots: list[SlotRule] = []
    keeps: list[KeepRule] = []
    for i, item in enumerate(items or ()):
        rule = outline.faults.attempt(_rule, item, f"{spot}.{i}", outline)
        if isinstance(rule, SlotRule):
            slots.append(rule)
        elif rule is not None:
            keeps.append(rule)
    return tuple(slots), tuple(keeps)


def _rule(item: object, where: str, outline: FilePart) -> SlotRule | KeepRule:
    body = section_of(item, where)
    kind = take_choice(body, "type", tuple(RULE_KEYS), where)
    part = FilePart(body=body, where=where, faults=outline.faults)
    part.refuse_unknown(RULE_KEYS[kind])
    target = str(take(body, "target", str, where))
    einsum = str(take(body, "einsum", str, where, ""))
    if kind == "dataspace":
        keep, bypass = part.words("keep") or (), part.words("bypass") or ()
        for tensor in keep:
            if tensor in bypass:
                part.fault("bypass", f"tensors other than those that {target} keeps", tensor)
        return KeepRule(level=target, einsum=einsum, keep=keep, bypass=bypass)
    exact, at_most = _factors(part)
    order = part.words("permutation") or ()
    if kind == "temporal":
        return SlotRule(
            node=target,
            kind="temporal",
            einsum=einsum,
            factors=exact,
            at_most=at_most,
            innermost=order,
        )
    x, y = _axes(part, order)
    return SlotRule(
        node=target, kind="spatial", einsum=einsum, factors=exact, at_most=at_most, x=x, y=y
    )


def _axes(
    part: FilePart, order: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The ranks that may lie along X and along Y, from `split` or as two lists."""
    x, y = part.words("x"), part.words("y")
    if not order and "split" not in part.body:
        return x, y
    split = part.faults.attempt(take, part.body, "split", int, part.where, above=-1)
    if split is None:
        return None, None
    if x is not None or y is not None:
        got = ", ".join(k for k in ("permutation", "split", "x", "y") if k in part.body)
        part.faults.append(
            expected(part.where, "either permutation and split, or x and y", got, "remove one pair")
        )
    if split > len(order):
        condition = f"at most {len(order)}, the ranks of the permutation"
        part.fault("split", condition, split, "name more ranks")
    return order[:split], order[split:]


def _factors(part: FilePart) -> tuple[dict[str, int], dict[str, int]]:
    """Factors that are fixed, and bounds of those that are not, by rank."""
    exact: dict[str, int] = {}
    at_most: dict[str, int] = {}
    items = part.body.get("factors")
    if isinstance(items, str):  # Timeloop's older form: "P=1 M<=8"
        items = items.split()
    elif items is not None and not isinstance(items, list):
        part.faults.attempt(take, part.body, "factors", list, part.where)
        return exact, at_most
    spot = place(part.where, part.body, "factors")
    for i, item in enumerate(items or ()):
        match = _FACTOR.fullmatch(item) if isinstance(item, str) else None
        if match is None or int(match[3]) < 1:
            got = item if isinstance(item, str) else kind_of(item)
            part.faults.append(
                expected(f"{spot}.{i}", "RANK=N or RANK<=N with N >= 1, as in P=1 or P<=8", got)
            )
            continue
        rank, sign, number = match[1], match[2], int(match[3])
        if rank in exact or rank in at_most:
            part.faults.append(expected(f"{spot}.{i}", "each rank once", rank, "remove one"))
        (exact if sign == "=" else at_most)[rank] = number
    return exact, at_most
