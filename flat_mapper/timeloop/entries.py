"""One entry of a Timeloop mapping, or one constraint of a node, in all the ways it is written.

{target: GLB, type: temporal, factors: [P=2, M=4], permutation: [M, P]}     # v0.4
{target: GLB, type: temporal, factors: P2 M4, permutation: MP}              # timeloop-mapper
{target: GLB, type: temporal, factors: "P=2,M=32,5", permutation: "M P"}    # 5: a remainder
{target: GLB, type: dataspace, keep: [Q], bypass: ["*"]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flat_mapper.arch.cores import NO_MULTICAST
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.values import Loop
from flat_mapper.spec.document import Section, checked, kind_of, refuse_unknown, take
from flat_mapper.workload.einsum import Einsum

EntryKind = Literal["temporal", "spatial", "dataspace"]
KINDS: dict[str, EntryKind] = {
    "temporal": "temporal",
    "spatial": "spatial",
    "dataspace": "dataspace",
    "datatype": "dataspace",
    "bypass": "dataspace",
}
# Of a node's constraints; a mapping has the factors that come of them.
_MAXIMIZED = ("maximize_dims", "maximize_dims_capacity")
_KEYS: dict[EntryKind, tuple[str, ...]] = {
    "temporal": ("factors", "factors_only", "permutation", *_MAXIMIZED),
    "spatial": (
        *("factors", "factors_only", "permutation", "split", "no_link_transfer"),
        *NO_MULTICAST,
        *_MAXIMIZED,
    ),
    "dataspace": ("keep", "bypass", "keep_only", "bypass_only"),
}
_PLAIN = re.compile(r"\s*[A-Za-z_][A-Za-z0-9_]*\s*=\s*[0-9]+\s*")
_FACTOR = re.compile(
    r"\s*(?:([A-Za-z_][A-Za-z0-9_]*)\s*=\s*|([A-Za-z]+)\s*)([0-9]{1,18})(?:,([0-9]{1,18}))?\s*(?:,|\s|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """Entries about one node: loops innermost first as in the file, and what it keeps."""

    where: str
    node: str
    kind: EntryKind
    factors: Mapping[str, Loop]  # by rank; factor 0 stands for what the other factors leave
    permutation: tuple[str, ...] = ()
    split: int | None = None
    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    apart: bool = False  # instances hand no words on to their neighbours
    alone: tuple[str, ...] = ()  # tensors that each instance reads for itself


def parsed_entry(section: Section, kind: EntryKind, einsum: Einsum, where: str) -> NodeEntry:
    """An entry without its node. A key with an empty value says nothing, as in dumped files."""
    said = {key: value for key, value in section.items() if value not in (None, [], "")}
    stated = Section(said, section.source, section.lines)
    refuse_unknown(stated, ("target", "type", *_KEYS[kind]), where)
    factors = _factors(stated.get("factors", []), einsum, f"{where}.factors")
    if "factors_only" in stated:
        only = _factors(stated["factors_only"], einsum, f"{where}.factors_only")
        factors = {**{r: Loop(r, 1) for r in einsum.ranks}, **factors, **only}
    split = take(stated, "split", int, where, None)
    if split is not None and split < 0:
        raise SpecError(expected(f"{where}.split", "a number of ranks, 0 or more", split))
    keep, bypass = _tensors(stated, einsum, where)
    names = tuple(a.tensor for a in einsum.accesses)
    listed = {t for key in NO_MULTICAST for t in _listed(stated, key, names, where)}
    alone = tuple(t for t in names if t in listed)
    return NodeEntry(
        where=where,
        node="",
        kind=kind,
        factors=factors,
        permutation=_permutation(stated.get("permutation", []), einsum, f"{where}.permutation"),
        split=split,
        keep=keep,
        bypass=bypass,
        apart=_apart(stated, names, alone, where),
        alone=alone,
    )


def _apart(section: Section, names: tuple[str, ...], alone: tuple[str, ...], where: str) -> bool:
    """True if no tensor's words are handed on: all of them are listed, or none.

    Words that each instance reads for itself are not handed on anyhow.
    """
    listed = _listed(section, "no_link_transfer", names, where)
    if set(listed) <= set(alone) and len(listed) < len(names):
        return False
    if listed and len(listed) < len(names):
        condition = f"all of the tensors {', '.join(names)}, or none"
        raise SpecError(expected(f"{where}.no_link_transfer", condition, ", ".join(listed)))
    return bool(listed)


def _factors(value: object, einsum: Einsum, where: str) -> dict[str, Loop]:
    """Factors by rank, from `[P=2, M=4]`, `P=2 M=4`, `P2 M4`, `P=32,5` or `{P: 2}`."""
    if isinstance(value, Mapping):
        items = [f"{rank}={factor}" for rank, factor in value.items()]
    else:
        items = [value] if isinstance(value, str) else checked(value, list, where)
    factors: dict[str, Loop] = {}
    for item in _rejoined(items):
        for loop in _loops_in(item, where):
            if loop.rank not in einsum.ranks:
                raise SpecError(
                    expected(where, f"ranks among {', '.join(einsum.ranks)}", loop.rank)
                )
            if loop.rank in factors:
                raise SpecError(expected(where, f"one factor of {loop.rank}", "two"))
            factors[loop.rank] = loop
    return factors


def _rejoined(items: Sequence[object]) -> list[object]:
    """Items of a list in which YAML has split `P=32,5` at its comma."""
    found: list[object] = []
    for item in items:
        number = isinstance(item, int) and not isinstance(item, bool)
        if number and found and isinstance(found[-1], str) and _PLAIN.fullmatch(found[-1]):
            found[-1] = f"{found[-1]},{item}"
        else:
            found.append(item)
    return found


def _loops_in(item: object, where: str) -> list[Loop]:
    if not isinstance(item, str):
        change = "quote a remainder: 'P=32,5'" if isinstance(item, int) else ""
        raise SpecError(
            f"{where}: expected factors such as P=4, got {kind_of(item)}"
            + (f"; {change}" if change else "")
        )
    loops, position = [], 0
    text = item.partition("#")[0].strip()
    while position < len(text):
        found = _FACTOR.match(text, position)
        if not found:
            raise SpecError(
                expected(where, "factors such as P=4, each fixed to one number", text[position:])
            )
        factor = int(found[3])
        last = int(found[4] or factor)
        if not 1 <= last <= factor and factor + last > 0:
            raise SpecError(expected(where, "a remainder from 1 to its factor", found[0].strip()))
        loops.append(Loop(found[1] or found[2], factor, 0 if last == factor else last))
        position = found.end()
    return loops


def _permutation(value: object, einsum: Einsum, where: str) -> tuple[str, ...]:
    """Ranks innermost first, from `[E, M]`, `EM`, `E M` or `E,M`."""
    if isinstance(value, str):
        words = [w for w in re.split(r"[,\s]+", value.partition("#")[0]) if w]
        listed = [c for w in words for c in ([w] if w in einsum.ranks else w)]
    else:
        listed = [checked(rank, str, where) for rank in checked(value, list, where)]
    for rank in listed:
        if rank not in einsum.ranks:
            raise SpecError(expected(where, f"ranks among {', '.join(einsum.ranks)}", str(rank)))
    if len(set(listed)) < len(listed):
        raise SpecError(expected(where, "each rank once", ", ".join(listed)))
    return tuple(str(rank) for rank in listed)


def _listed(
    section: Mapping[str, object], key: str, names: tuple[str, ...], where: str
) -> tuple[str, ...]:
    """The tensors under a key, in the order of their names; `*` stands for all."""
    listed = [checked(t, str, f"{where}.{key}") for t in take(section, key, list, where, [])]
    for tensor in listed:
        if tensor != "*" and tensor not in names:
            condition = f"tensors among {', '.join(names)}"
            raise SpecError(expected(f"{where}.{key}", condition, str(tensor)))
    return names if "*" in listed else tuple(t for t in names if t in listed)


def _tensors(
    section: Mapping[str, object], einsum: Einsum, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tensors kept and those bypassed; `*` stands for all."""
    names = tuple(a.tensor for a in einsum.accesses)
    found = {key: _listed(section, key, names, where) for key in _KEYS["dataspace"]}
    keep, bypass = found["keep"], found["bypass"]
    if "keep_only" in section:
        keep = (*keep, *found["keep_only"])
        bypass = (*bypass, *(t for t in names if t not in found["keep_only"]))
    if "bypass_only" in section:
        bypass = (*bypass, *found["bypass_only"])
        keep = (*keep, *(t for t in names if t not in found["bypass_only"]))
    both = [t for t in keep if t in bypass]
    if both:
        raise SpecError(expected(where, f"{both[0]} kept or bypassed", "both"))
    return keep, bypass
