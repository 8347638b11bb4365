"""The outline of a problem file, and what a caller puts in the place of its words and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import Section, did_you_mean, place
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.heads import Phase
from flat_mapper.workload.mask import Mask
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller puts in the place of the file's words."""

    phase: Phase | None = None
    softmax: Softmax | None = None
    mask: Mask | None = None
    unmasked: bool = False  # whatever the file says
    scope: str = ""
    lengths: Lengths | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The outline of a problem file."""

    problem: Section
    where: str  # path: problem
    stem: str
    ranks: Section
    changes: Mapping[str, object]  # sizes that a caller puts in
    asked: Asked
    roles: Roles  # as the file declares them

    @property
    def names(self) -> tuple[str, ...]:
        """Every rank that has a size."""
        return tuple({**self.ranks, **self.changes})


def check_ranks(file: File, known: Iterable[str], faults: Faults) -> None:
    """Note the ranks that the cascade does not have."""
    listed, where = tuple(known), f"{file.where}.ranks"
    for name in file.names:
        if name not in listed:
            at = place(where, file.ranks, name, shown=False)
            hint = did_you_mean(name, listed)
            faults.append(expected(at, f"ranks among {', '.join(listed)}", name, hint))
