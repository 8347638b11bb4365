"""The constraints of a mapspace file, in Timeloop's words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flat_mapper.base.errors import expected
from flat_mapper.mapping.space import KeepRule, SlotRule
from flat_mapper.mapping.space_part import FilePart
from flat_mapper.spec.document import (
    kind_of,
    place,
    section_of,
    take,
    take_choice,
)

_COMMON = ("einsum", "target", "type", "if_present")
RULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "spatial": (*_COMMON, "factors", "permutation", "split", "x", "y"),
    "temporal": (*_COMMON, "factors", "permutation"),
    "dataspace": (*_COMMON, "keep", "bypass"),
}

_FACTOR = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(<=|=)\s*([0-9]{1,18})\s*")


def constraints(outline: FilePart) -> tuple[tuple[SlotRule, ...], tuple[KeepRule, ...]]:
    """Constraints on loops, and on tensors, in the order of the file."""
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
    present = part.flag("if_present", False)
    if kind == "dataspace":
        keep, bypass = part.words("keep") or (), part.words("bypass") or ()
        for tensor in keep:
            if tensor in bypass:
                part.fault("bypass", f"tensors other than those that {target} keeps", tensor)
        return KeepRule(level=target, einsum=einsum, keep=keep, bypass=bypass, if_present=present)
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
            if_present=present,
        )
    x, y = _axes(part, order)
    return SlotRule(
        node=target,
        kind="spatial",
        einsum=einsum,
        factors=exact,
        at_most=at_most,
        x=x,
        y=y,
        if_present=present,
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
