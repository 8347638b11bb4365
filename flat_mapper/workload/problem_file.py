"""The outline of a problem file, and what a caller puts in the place of its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flat_mapper.base.errors import Faults, expected
from flat_mapper.spec.document import Section, did_you_mean, place
from flat_mapper.workload.graph import Softmax
from flat_mapper.workload.heads import Phase
from flat_mapper.workload.lengths import Lengths
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.roles import Roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller puts in the place of the file's words."""

    phase: Phase | None = None
    softmax: Softmax | None = None
    mask: Mask | None = None
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
