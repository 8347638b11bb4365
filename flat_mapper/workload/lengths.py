"""The length of a sequence: sizes of the ranks that are its queries and its keys."""

from __future__ import annotations

from dataclasses import dataclass

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.roles import Roles

_CONDITION = "roles that say which ranks are queries and keys"
_CHANGE = "add roles: {queries: RANK, keys: RANK} to the problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many queries and keys there are; None leaves the problem's own number."""

    queries: int | None
    keys: int


def sequence_lengths(length: int, phase: str = "") -> Lengths:
    """A sequence length: of queries and keys; in decode of the cache, so of the keys, alone."""
    return Lengths(queries=None if phase == "decode" else length, keys=length)


def sequence_ranks(workload: Workload, what: str) -> tuple[str, str]:
    """The ranks of queries and keys, which something (`what`) needs."""
    if workload.roles.masked is None:
        declared = ", ".join(workload.roles.declared) or "none"
        raise SpecError(expected(f"{workload.name}: {what}", _CONDITION, declared, _CHANGE))
    return workload.roles.masked


def sequence_sizes(lengths: Lengths | None, roles: Roles, where: str) -> dict[str, object]:
    """The sizes of the ranks whose lengths are asked for."""
    if lengths is None:
        return {}
    if roles.masked is None:
        got = ", ".join(roles.declared) or "none"
        raise SpecError(expected(f"{where}: sequence length", _CONDITION, got, _CHANGE))
    queries = {} if lengths.queries is None else {roles.queries: lengths.queries}
    return {**queries, roles.keys: lengths.keys}
