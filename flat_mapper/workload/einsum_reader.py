"""One Einsum as an item of a file: a line of the notation, or that with what the line cannot say.

    - QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]
    - {name: activation, einsum: "R[i,k] = relu(T[i,k])", unit: vector}
    - {einsum: "E[p,m] = exp(S[p,m] - X[p])", so_far: [X]}
    - {name: fix, einsum: "Y[p,f] = Y[p,f] * C[p]", each: [M]}
    - {einsum: "O[p,f] = Y[p,f] / Z[p]", after: [M]}

`so_far` names inputs that are taken before their reduction is complete, because the cascade
corrects what is made of them; `each` names ranks in each pass of whose shared loop the Einsum runs
once; `after` ranks behind whose loop it runs. See `flat_mapper.workload.softmax` for their use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from flat_mapper.spec.document import refuse_unknown, section_of, take, take_choice, take_list
from flat_mapper.workload.graph import Einsum, Unit
from flat_mapper.workload.notation import format_einsum, parse_einsum

EINSUM_KEYS = ("name", "einsum", "unit", "each", "after", "so_far")
UNITS: tuple[Unit, ...] = get_args(Unit)


def read_einsum(item: object, where: str) -> Einsum:
    """The Einsum of an item."""
    if isinstance(item, str):
        return parse_einsum(item, where=where)
    refuse_unknown(item, EINSUM_KEYS, where)
    text = take(item, "einsum", str, where)
    name = take(item, "name", str, where, None)
    unit = take_choice(item, "unit", UNITS, where) if "unit" in section_of(item, where) else None
    einsum = parse_einsum(text, where=f"{where}.einsum", name=name and str(name), unit=unit)
    return replace(
        einsum,
        each=_words(item, "each", where, upper=True),
        after=_words(item, "after", where, upper=True),
        so_far=_words(item, "so_far", where),
    )


def _words(item: object, key: str, where: str, *, upper: bool = False) -> tuple[str, ...]:
    words = take_list(item, key, str, where, ())
    return tuple(str(word).upper() if upper else str(word) for word in words)


def einsum_item(einsum: Einsum) -> dict[str, object]:
    """The Einsum's line; with its name and unit where the line alone means others."""
    line = format_einsum(einsum)
    plain = parse_einsum(line)
    item: dict[str, object] = {"einsum": line}
    if (plain.name, plain.unit) != (einsum.name, einsum.unit):
        item |= {"name": einsum.name, "unit": einsum.unit}
    said: Mapping[str, tuple[str, ...]]
    said = {"each": einsum.each, "after": einsum.after, "so_far": einsum.so_far}
    return item | {key: list(words) for key, words in said.items() if words}
