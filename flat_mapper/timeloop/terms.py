"""One Einsum and its mapping in Timeloop's terms: rank letters, factors, permutations, problem.

Timeloop reads permutations letter by letter, so a rank with a longer name gets a letter here.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.base.formats import words
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, rank_extent
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload

TIMELOOP_VERSION = 0.4


def node_entries(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, *, raw: bool = False
) -> list[dict[str, object]]:
    """Entries of an Einsum's mapping on every node, outermost node first.

    A fanout of one instance has no entry: Timeloop does not know it as a spatial level.
    raw:    in the raw reader's form, not the front end's: loops as words, and a fanout as an empty
            level that has spatial loops and keeps nothing.
    raises: MappingError where a rank has two loops at one node, as Timeloop writes one factor, and
            where the loops do not hold the problem.
    """
    einsum = workload.einsum(mapping.einsum)
    innermost, found = arch.nodes.index(arch.levels[-1]), list[dict[str, object]]()
    tensors = [a.tensor for a in einsum.accesses]
    for place, node in enumerate(arch.nodes):
        if isinstance(node, MemoryLevel):
            loops = _written(einsum, node.name, mapping.at(Slot(node.name, "temporal")), raw)
            kept = mapping.kept_at(node.name)
            keep = [t for t in tensors if t in kept]
            bypass = [t for t in tensors if t not in kept]
            kind = "bypass" if raw else "dataspace"
            found.append({"target": node.name, "type": "temporal", **loops})
            found.append({"target": node.name, "type": kind, "keep": keep, "bypass": bypass})
        elif node.fanout_x * node.fanout_y > 1:
            found += _spatial(einsum, node, mapping, bare=place > innermost, raw=raw)
    _check_holds(workload, einsum, mapping)
    return found


def _spatial(
    einsum: Einsum, node: Fanout, mapping: EinsumMapping, *, bare: bool, raw: bool
) -> Iterator[dict[str, object]]:
    """Entries of a fanout; bare: of computes alone, with no storage in it."""
    tensors = [a.tensor for a in einsum.accesses]
    x = mapping.at(Slot(node.name, "x"))
    loops = _written(einsum, node.name, (*mapping.at(Slot(node.name, "y")), *x), raw)
    # What is read apart is not handed on either, nor anything to bare computes.
    apart = [t for t in tensors if reads_apart(node, t)]
    own = {"no_link_transfer": tensors if bare else apart, "no_reuse": apart}
    said = {"split": len(x), **{key: names for key, names in own.items() if names}}
    target = empty_level(node.name) if raw else node.name
    yield {"target": target, "type": "spatial", **loops, **said}
    if raw:
        ones = " ".join(f"{letter}=1" for letter in rank_letters(einsum).values())
        yield {"target": target, "type": "temporal", **loops, "factors": ones}
        yield {"target": target, "type": "bypass", "keep": [], "bypass": tensors}


def _written(einsum: Einsum, node: str, loops: Sequence[Loop], raw: bool) -> dict[str, object]:
    """Factors and permutation of every rank: `P=32`, or `P=32,5` where the last pass is shorter.

    Ours run outermost first and Timeloop's innermost first; ranks without a loop stand outermost.
    """
    letters, by_rank = rank_letters(einsum), {loop.rank: loop for loop in loops}
    if len(by_rank) < len(loops):
        _refuse_twice(einsum, node, [loop.rank for loop in loops])
    every = [by_rank.get(rank, Loop(rank, 1)) for rank in letters]
    factors = [
        f"{letters[p.rank]}={p.factor}" + (f",{p.final}" if p.final != p.factor else "")
        for p in every
    ]
    outermost_first = [*(rank for rank in letters if rank not in by_rank), *by_rank]
    order = [letters[rank] for rank in reversed(outermost_first)]
    if raw:
        return {"factors": " ".join(factors), "permutation": "".join(order)}
    return {"factors": factors, "permutation": order}


def _refuse_twice(einsum: Einsum, node: str, ranks: Sequence[str]) -> None:
    twice = next(rank for i, rank in enumerate(ranks) if rank in ranks[:i])
    raise MappingError(
        f"{einsum.name}: {node}: expected one loop over {twice} (Timeloop writes "
        "one factor per rank and node), got two; join them, or write the fanout as two"
    )


def empty_level(name: str) -> str:
    """The name of the level that the front end puts in the place of a fanout."""
    return f"inter_{name}_spatial"


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


def _check_holds(workload: Workload, einsum: Einsum, mapping: EinsumMapping) -> None:
    """Refuse a mapping whose loops are not over the whole problem.

    So whatever writes a mapping cannot write one that holds no problem.
    """
    for rank in einsum.ranks:
        extent, size = rank_extent(mapping, rank), workload.rank_sizes[rank]
        if extent != size:
            condition = f"loops over {size}, as a Timeloop file has them"
            raise MappingError(
                expected(f"{einsum.name}: {rank}", condition, f"loops over {extent}")
            )


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
