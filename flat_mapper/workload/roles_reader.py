"""Roles and operators as problem files and records say them.

    roles: {batch: B, heads: H, queries: P, keys: M}
    operators: {softmax: [S_max, S_exp, S_sum, A]}

An operator is a set of Einsums that a chip without fusion runs as one row-wise unit, which reads
its rows once and writes its result once: a softmax, a norm. A mapspace's groups may name it.
"""

from __future__ import annotations

from flat_mapper.spec.document import Section, refuse_unknown, section_of, take, take_list
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.roles import Roles


def read_roles(problem: Section, where: str) -> Roles:
    """The roles under the key `roles` of a section; none where it is missing."""
    inside = f"{where}.roles"
    section = section_of(take(problem, "roles", dict, where, {}), inside)
    refuse_unknown(section, Roles.NAMES, inside)
    return Roles(**{name: str(take(section, name, str, inside)).upper() for name in section})


def read_operators(problem: Section, where: str) -> dict[str, tuple[str, ...]]:
    """The members of every operator under the key `operators` of a section."""
    inside = f"{where}.operators"
    section = section_of(take(problem, "operators", dict, where, {}), inside)
    return {
        str(name): tuple(str(member) for member in take_list(section, name, str, inside))
        for name in section
    }


def declared_document(workload: Workload) -> dict[str, object]:
    """What a workload declares, as these read it; keys without a value are left out."""
    operators = {name: list(members) for name, members in workload.operators.items()}
    found: dict[str, object] = {"roles": workload.roles.declared, "operators": operators}
    return {key: value for key, value in found.items() if value}
