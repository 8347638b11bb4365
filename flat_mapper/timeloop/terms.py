"""One Einsum and its mapping in Timeloop's terms: rank letters, factors, permutations, problem.

Timeloop reads permutations letter by letter, so a rank with a longer name gets a letter here.
Ours run outermost first and Timeloop's innermost first; `Directive.permutation` is the place where
they are reversed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Architecture, Fanout
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.base.formats import words
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload

TIMELOOP_VERSION = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """The loops of one node for Timeloop: every rank, innermost first."""

    target: str
    kind: Literal["temporal", "spatial"]
    loops: tuple[Loop, ...]  # outermost first; y outside x
    split: int | None  # spatial only: how many of the innermost loops lie along x
    letters: dict[str, str]
    bare: bool = False  # copies of computes alone, with no storage in them

    @property
    def factors(self) -> list[str]:
        """`P=32` for every rank, `P=32,5` where the last pass has a remainder."""
        by_rank = {loop.rank: loop for loop in self.loops}
        found = []
        for rank, letter in self.letters.items():
            loop = by_rank.get(rank, Loop(rank, 1))
            remainder = f",{loop.final}" if loop.final != loop.factor else ""
            found.append(f"{letter}={loop.factor}{remainder}")
        return found

    @property
    def permutation(self) -> list[str]:
        """Every rank's letter, innermost first; ranks without a loop stand outermost."""
        looped = [loop.rank for loop in self.loops]
        outermost_first = [*(r for r in self.letters if r not in looped), *looped]
        return [self.letters[rank] for rank in reversed(outermost_first)]


def directives(arch: Architecture, einsum: Einsum, mapping: EinsumMapping) -> list[Directive]:
    """Directives on each node's loops for Timeloop, outermost node first.

    A fanout of one instance has none: Timeloop does not know it as a spatial level.
    raises: MappingError where a rank has two loops at one node; Timeloop writes one factor.
    """
    letters, found = rank_letters(einsum), []
    innermost = arch.nodes.index(arch.levels[-1])
    for node in arch.nodes:
        y, x = mapping.at(Slot(node.name, "y")), mapping.at(Slot(node.name, "x"))
        if not isinstance(node, Fanout):
            loops, split = mapping.at(Slot(node.name, "temporal")), None
        elif node.fanout_x * node.fanout_y > 1:
            loops, split = (*y, *x), len(x)
        else:
            continue
        twice = [p.rank for i, p in enumerate(loops) if any(p.rank == q.rank for q in loops[:i])]
        if twice:
            raise MappingError(
                f"{einsum.name}: {node.name}: expected one loop over {twice[0]} (Timeloop writes "
                "one factor per rank and node), got two; join them, or write the fanout as two"
            )
        kind: Literal["temporal", "spatial"] = "temporal" if split is None else "spatial"
        found.append(
            Directive(
                target=node.name,
                kind=kind,
                loops=loops,
                split=split,
                letters=letters,
                bare=kind == "spatial" and arch.nodes.index(node) > innermost,
            )
        )
    return found


def kept_and_bypassed(
    einsum: Einsum, mapping: EinsumMapping, level: str
) -> tuple[list[str], list[str]]:
    """The tensors kept at a level, and the rest, in the Einsum's order."""
    tensors, kept = [a.tensor for a in einsum.accesses], mapping.kept_at(level)
    return [t for t in tensors if t in kept], [t for t in tensors if t not in kept]


def has_remainders(mapping: EinsumMapping) -> bool:
    """True where some loop's last pass is shorter than the others."""
    return any(loop.final != loop.factor for _, loops in mapping.loops for loop in loops)


def rank_letters(einsum: Einsum) -> dict[str, str]:
    """Timeloop's one-letter dimension for each rank: its own name where that is one letter."""
    taken = {rank for rank in einsum.ranks if len(rank) == 1 and rank in string.ascii_letters}
    letters = {}
    for rank in einsum.ranks:
        letter = rank
        if rank not in taken:
            wishes = (*rank.upper(), *string.ascii_uppercase, *string.ascii_lowercase)
            letter = next(c for c in wishes if c in string.ascii_letters and c not in taken)
            taken.add(letter)
        letters[rank] = letter
    return letters


_WRITTEN = re.compile(r"([A-Za-z])=([0-9]+)(?:,([0-9]+))?")


def check_holds(
    workload: Workload, einsum: Einsum, entries: Sequence[Mapping[str, object]]
) -> None:
    """Refuse a mapping whose loops, as they are written, are not over the whole problem.

    entries: as the file has them, outermost node first.
    raises: MappingError; so whatever writes a mapping cannot write one that holds no problem.
    """
    for rank, letter in rank_letters(einsum).items():
        extent = 1
        for entry in entries:
            factors = entry.get("factors", "")
            text = factors if isinstance(factors, str) else " ".join(map(str, _list(factors)))
            for name, factor, last in _WRITTEN.findall(text):
                if name == letter:
                    extent = (extent - 1) * int(factor) + int(last or factor)
        if extent != workload.rank_sizes[rank]:
            where = f"{einsum.name}: {rank}"
            condition = f"loops over {workload.rank_sizes[rank]}, as a Timeloop file has them"
            raise MappingError(expected(where, condition, f"loops over {extent}"))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def read_apart(arch: Architecture, name: str, einsum: Einsum) -> list[str]:
    """Tensors that every instance inside a fanout reads for itself."""
    node = next(n for n in arch.nodes if n.name == name and isinstance(n, Fanout))
    tensors = [a.tensor for a in einsum.accesses]
    return [t for t in tensors if isinstance(node, Fanout) and reads_apart(node, t)]


def problem_document(workload: Workload, einsum: Einsum) -> dict[str, object]:
    """The Timeloop problem of one Einsum over its full rank sizes."""
    letters = rank_letters(einsum)
    spaces: list[dict[str, object]] = []
    for access in einsum.accesses:
        space: dict[str, object] = {
            "name": access.tensor,
            "projection": _projection(access, letters),
        }
        spaces.append(space | ({"read_write": True} if access.is_output else {}))
    shape: dict[str, object] = {"name": einsum.name, "dimensions": list(letters.values())}
    steps = sorted({step for a in einsum.accesses for dim in a.sums for _, step in dim} - {1})
    if steps:
        shape["coefficients"] = [{"name": _coefficient(step), "default": step} for step in steps]
    shape["data_spaces"] = spaces
    sizes = {letters[rank]: workload.rank_sizes[rank] for rank in einsum.ranks}
    return {"problem": {"version": TIMELOOP_VERSION, "shape": shape, "instance": sizes}}


def _projection(access: TensorAccess, letters: dict[str, str]) -> list[list[list[str]]]:
    """A tensor's dimensions, each a list of terms."""
    dims = access.sums or tuple(((rank, 1),) for rank in access.ranks)
    return [
        [[letters[rank], *([_coefficient(step)] if step > 1 else [])] for rank, step in dim]
        for dim in dims
    ]


def _coefficient(step: int) -> str:
    """The name of a step that is not 1; Timeloop's terms have names only."""
    return f"step{step}"


def problem_comment(workload: Workload, arch: Architecture, einsum: Einsum) -> tuple[str, ...]:
    """A comment with what a reader of the problem must know and cannot see in it."""
    comment = []
    if einsum.operation != "mul":
        comment.append(
            f"Timeloop knows products only: this is a problem of the same shape, so its counts and "
            f"cycles hold, but each point is {_ARTICLE.get(einsum.operation, 'a')} "
            f"{einsum.operation}, not a multiplication."
        )
    renamed = [f"{c} = {r}" for r, c in rank_letters(einsum).items() if r != c]
    if renamed:
        comment.append(f"Timeloop's dimensions are single letters: {', '.join(renamed)}.")
    odd = [a.tensor for a in einsum.accesses if a.tensor in workload.widths.tensors]
    if odd:
        widths = ", ".join(f"{t} {words(workload.tensor_bits[t])}" for t in odd)
        comment.append(
            f"Timeloop counts words of one width; not {workload.word_bits} bits wide: {widths}."
        )
    cycles = operation_cycles(arch, einsum, workload.widths)
    if cycles != 1:
        comment.append(f"Timeloop counts a cycle an operation; it takes {cycles:g} here.")
    return tuple(comment)


_ARTICLE = {"exp": "an", "add": "an", "abs": "an"}
