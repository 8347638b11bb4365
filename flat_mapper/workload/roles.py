"""Roles of the ranks of a cascade, where a rule needs to know: declared, never guessed.

Nothing goes by the letters of a rank. The short form of attention declares its own; a cascade that
is written out says which rank is which, which Einsums an unfused chip runs as one row-wise unit
(`operators`), and which inputs another Einsum wrote under other ranks (`views`).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from flat_mapper.base.errors import expected
from flat_mapper.spec.document import (
    Section,
    refuse_unknown,
    take,
    take_section,
    take_words,
    unknown_word,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The rank of each role; empty where no rank has it."""

    NAMES: ClassVar[tuple[str, ...]] = ("batch", "groups", "heads", "queries", "keys")

    batch: str = ""
    groups: str = ""  # groups of heads that share keys and values
    heads: str = ""  # of one group, where there are groups
    queries: str = ""
    keys: str = ""
    # Of Einsums, what stands for the data spaces that a chip's constraints name.
    data_spaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, ranks: Mapping[str, str]) -> Roles:
        """The roles of some names."""
        batch, groups, heads, queries, keys = (ranks.get(name, "") for name in cls.NAMES)
        return cls(batch=batch, groups=groups, heads=heads, queries=queries, keys=keys)

    @property
    def declared(self) -> dict[str, str]:
        """The rank of every role that has one."""
        named = ((name, str(getattr(self, name))) for name in self.NAMES)
        return {name: rank for name, rank in named if rank}

    @property
    def masked(self) -> tuple[str, str] | None:
        """The ranks that a mask is about, queries and keys; None where one is missing."""
        return (self.queries, self.keys) if self.queries and self.keys else None

    def within(self, ranks: Container[str]) -> Roles:
        """The roles of the ranks that are left."""
        kept = {name: rank for name, rank in self.declared.items() if rank in ranks}
        return replace(Roles.of(kept), data_spaces=self.data_spaces)

    def ranks_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The ranks of some roles, as far as they are declared."""
        return tuple(self.declared[name] for name in names if name in self.declared)


NO_ROLES = Roles()


def role_faults(where: str, roles: Roles, sizes: Mapping[str, int], parts: int) -> Iterator[str]:
    """Faults of roles, and of a mask that rests on them; a line each.

    where: the place of the problem. parts: of the keys under a mask; 0 without one.
    """
    for name, rank in roles.declared.items():
        if rank not in sizes:
            yield unknown_word(f"{where}: roles.{name}", "a rank among", rank, sizes)
    ranks = list(roles.declared.values())
    for rank in dict.fromkeys(r for i, r in enumerate(ranks) if r in ranks[:i]):
        yield expected(f"{where}: roles", "one role for each rank", f"{rank} twice")
    if not parts:
        return
    if roles.masked is None:
        change = "add roles: {queries: RANK, keys: RANK}"
        condition = "roles that say which ranks are its queries and keys"
        yield expected(f"{where}: mask", condition, ", ".join(roles.declared) or "none", change)
    elif set(roles.masked) <= set(sizes) and sizes[roles.queries] > parts * sizes[roles.keys]:
        condition = f"at most the {parts * sizes[roles.keys]} positions of its keys"
        yield expected(f"{where}: mask", condition, sizes[roles.queries])


def operator_faults(
    where: str, operators: Mapping[str, tuple[str, ...]], einsums: tuple[str, ...]
) -> Iterator[str]:
    """Faults of operators; a line each."""
    placed: dict[str, str] = {}
    for operator, members in operators.items():
        spot = f"{where}: operators.{operator}"
        if not members:
            yield expected(spot, "at least one Einsum", "none", "remove it")
        if operator in einsums and members != (operator,):
            yield expected(spot, "a name that no Einsum has", operator)
        for member in members:
            if member not in einsums:
                yield unknown_word(spot, "Einsums among", member, einsums)
            if placed.setdefault(member, operator) != operator or members.count(member) > 1:
                yield expected(spot, "each Einsum once, in one operator", member)


def members_within(
    operators: Mapping[str, tuple[str, ...]], names: Container[str]
) -> dict[str, tuple[str, ...]]:
    """The operators of the Einsums that are left; those of none are gone."""
    left = {name: tuple(n for n in of if n in names) for name, of in operators.items()}
    return {name: members for name, members in left.items() if members}


def read_roles(problem: Section) -> Roles:
    """The roles under the key `roles` of a section; none where it is missing."""
    refuse_unknown(take_section(problem, "roles"), Roles.NAMES)
    return Roles.of({name: rank.upper() for name, rank in read_words(problem, "roles").items()})


def read_data_spaces(problem: Section) -> dict[str, dict[str, str]]:
    """The tensors under the key `data_spaces` of a section, by Einsum and data space."""
    section = take_section(problem, "data_spaces")
    return {einsum: read_words(section, einsum, required=True) for einsum in section}


def read_words(parent: Section, key: str, *, required: bool = False) -> dict[str, str]:
    """The words of the section under a key."""
    section = take_section(parent, key, required=required)
    return {name: str(take(section, name, str)) for name in section}


def read_operators(problem: Section) -> dict[str, tuple[str, ...]]:
    """The members of every operator under the key `operators` of a section."""
    section = take_section(problem, "operators")
    return {name: take_words(section, name, default=None) for name in section}


def declared_document(roles: Roles, operators: Mapping[str, tuple[str, ...]]) -> dict[str, object]:
    """Declared roles, as these read them; keys without a value are left out."""
    listed = {name: list(members) for name, members in operators.items()}
    found: dict[str, object] = {"roles": roles.declared, "operators": listed}
    return {key: value for key, value in found.items() if value}
