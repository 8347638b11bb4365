"""One Einsum of a cascade, and its tensors as it touches them; faults of several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from math import prod
from types import MappingProxyType
from typing import Literal, TypeGuard

from flat_mapper.base.errors import Faults, expected, file_name
from flat_mapper.spec.document import unknown_word

Unit = Literal["matrix", "vector"]

# Counts are int64 all the way; this bound leaves a factor of two for read-modify-write.
MAX_ITERATIONS = 2**61
MAX_EINSUMS = 1000  # chosen: of Einsums, and of ranks; an unrolled model of 40 blocks has 920
NO_VIEWS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorAccess:
    """One tensor as one Einsum touches it: one rank to a dimension, unless `sums` says more.

    sums: each dimension as a sum of ranks with their steps, such as `2*p + r` of a convolution;
          empty where all dimensions are plain ranks.
    """

    tensor: str
    ranks: tuple[str, ...]
    is_output: bool = False
    sums: tuple[tuple[tuple[str, int], ...], ...] = ()

    def __str__(self) -> str:
        dims = [" + ".join(map(_term, dim)) for dim in self.sums] or self.ranks
        return f"{self.tensor}[{','.join(dims).lower()}]"

    def words(self, extents: Mapping[str, int]) -> int:
        """Values of the box that it takes over so much of every rank."""
        if not self.sums:
            return prod(extents[r] for r in self.ranks)
        return prod(1 + sum(step * (extents[r] - 1) for r, step in dim) for dim in self.sums)


def _term(term: tuple[str, int]) -> str:
    rank, step = term
    return rank if step == 1 else f"{step}*{rank}"


@dataclass(frozen=True, kw_only=True)
class Einsum:
    """One tensor equation: an output, its inputs, and the operation that combines them."""

    name: str
    output: TensorAccess
    inputs: tuple[TensorAccess, ...]
    operation: str  # mul, max, exp, sum, div, ...: what the compute unit does at a point
    unit: Unit  # matrix: the PE array; vector: the special function unit
    text: str = ""  # the notation it was written in
    states_operation: bool = True  # False: a Timeloop problem's, whose points are all `compute`
    updates: bool = False  # it reads the old words of its output, which others may write too
    # How it stands to the shared loop over a rank that is none of its tensors':
    each: tuple[str, ...] = ()  # it runs once in every pass of that loop
    after: tuple[str, ...] = ()  # it runs once, when that loop is done
    so_far: tuple[str, ...] = ()  # inputs that it takes before their reduction is complete

    def __hash__(self) -> int:
        return hash(self.name)  # which tells most apart: whole cascades are looked up

    @cached_property
    def accesses(self) -> tuple[TensorAccess, ...]:
        """Inputs in their written order, then the output."""
        return (*self.inputs, self.output)

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Iteration space: output ranks in order, then the reduced ranks in order.

        A rank of `each` is among them; its extent is the number of passes of the shared loop.
        """
        seen = dict.fromkeys(self.output.ranks)
        for access in self.inputs:
            seen.update(dict.fromkeys(access.ranks))
        return tuple(dict.fromkeys((*seen, *self.each)))

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the inputs, in their written order."""
        return tuple(a.tensor for a in self.inputs)

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of the inputs, then of the output."""
        return (*self.operands, self.output.tensor)

    @property
    def own_ranks(self) -> set[str]:
        """Iteration space of one run: without the ranks of `each`."""
        return {*self.ranks} - {*self.each}

    def reads(self, tensor: str) -> bool:
        """True where a tensor is among the inputs."""
        return tensor in self.operands

    def touches(self, tensor: str) -> bool:
        """True where a tensor is read or made here."""
        return tensor in self.tensors

    def rewritten(self, change: Callable[[TensorAccess], TensorAccess]) -> Einsum:
        """The same operation on other accesses, in its notation too."""
        text = self.text
        for access in self.accesses:
            text = text.replace(str(access), str(change(access)))
        inputs = tuple(change(access) for access in self.inputs)
        return replace(self, output=change(self.output), inputs=inputs, text=text)

    @property
    def windowed(self) -> tuple[str, ...]:
        """Tensors with a dimension that is a sum of ranks: their tiles may overlap."""
        return tuple(a.tensor for a in self.accesses if a.sums)

    @property
    def reduced_ranks(self) -> tuple[str, ...]:
        """Ranks that the output lacks."""
        return tuple(r for r in self.ranks if r not in self.output.ranks)

    @property
    def adds_up(self) -> bool:
        """True if each word of its output is a sum of points."""
        return self.operation not in ("max", "min") and not self.own_ranks <= {*self.output.ranks}


Does = tuple[object, ...]  # of an Einsum, see `nameless`


def nameless(
    einsums: Iterable[Einsum],
) -> tuple[tuple[Does, ...], dict[str, int], dict[str, int]]:
    """Work of each Einsum of plain ranks, with numbers in place of names, as they come.

    Beside it the numbers of the tensors and of the ranks.
    """
    tensors: dict[str, int] = {}
    ranks: dict[str, int] = {}

    def numbers(words: Sequence[str], known: dict[str, int]) -> tuple[int, ...]:
        return tuple(known.setdefault(word, len(known)) for word in words)

    does = tuple(
        (
            *(e.operation, e.unit, e.updates),
            tuple((*numbers([a.tensor], tensors), numbers(a.ranks, ranks)) for a in e.accesses),
            *(numbers(e.each, ranks), numbers(e.after, ranks), numbers(e.so_far, tensors)),
        )
        for e in einsums
    )
    return does, tensors, ranks


def is_size(value: object) -> TypeGuard[int]:
    """True where a value is an integer > 0 (true and false are no integers here)."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def einsum_faults(
    where: str, ranks: Mapping[str, int], einsum: Einsum, shapes: dict[str, TensorAccess]
) -> Iterator[str]:
    """A line for each thing wrong with an Einsum, by itself and beside the shapes seen so far."""
    named = Faults()  # a folder of files is called after it
    named.attempt(file_name, einsum.name, f"{where.partition(': ')[0]}: Einsum")
    yield from named
    for access in einsum.accesses:
        first = shapes.setdefault(access.tensor, access)
        yield from _access_faults(where, ranks, access, first)
    tensors = einsum.tensors
    if len(set(tensors)) != len(tensors) or (einsum.updates and not einsum.each):
        yield expected(where, "each tensor once in an Einsum", ", ".join(tensors))
    yield from _loop_faults(where, ranks, einsum)
    read = {*chain.from_iterable(a.ranks for a in einsum.inputs)}
    free = [r for r in einsum.output.ranks if r not in read and ranks.get(r) != 1]
    if free and not einsum.updates:
        yield expected(f"{where}: {einsum.output}", "ranks that an input has", ", ".join(free))
    points = prod(filter(is_size, map(ranks.get, einsum.ranks)))
    if points >= MAX_ITERATIONS:
        yield expected(where, "fewer than 2^61 iterations (counts are 64-bit)", points)


def _access_faults(
    where: str, ranks: Mapping[str, int], access: TensorAccess, first: TensorAccess
) -> Iterator[str]:
    """Faults of one access, beside the first of its tensor."""
    for rank in (r for r in access.ranks if r not in ranks):
        yield unknown_word(f"{where}: {access}", "ranks among", rank, ranks)
    if len(set(access.ranks)) != len(access.ranks):
        yield expected(f"{where}: {access.tensor}", "each rank once", str(access))
    if (first.ranks, first.sums) != (access.ranks, access.sums):
        yield expected(f"{where}: {access.tensor}", f"{first}, as it is elsewhere", str(access))


def _loop_faults(where: str, ranks: Mapping[str, int], einsum: Einsum) -> Iterator[str]:
    """An Einsum's faults about shared loops."""
    own = {*chain.from_iterable(a.ranks for a in einsum.accesses)}
    legal = [r for r in ranks if r not in own]
    for key, listed in (("each", einsum.each), ("after", einsum.after)):
        for rank in listed:
            if rank not in legal or (key == "after" and rank in einsum.each):
                condition = f"ranks that none of its tensors has ({', '.join(legal) or 'none'})"
                yield expected(f"{where}: {key}", condition, rank)
    for tensor in sorted({*einsum.so_far} - {*einsum.operands}):
        condition = f"inputs of the Einsum ({', '.join(einsum.operands)})"
        yield expected(f"{where}: so_far", condition, tensor)


def updated_before(einsums: tuple[Einsum, ...]) -> Iterator[tuple[str, Einsum]]:
    """Each Einsum that writes a tensor others update, with each of those: they come first."""
    for einsum in einsums:
        for other in einsums:
            same = other.output.tensor == einsum.output.tensor
            if same and other.updates and not einsum.updates:
                yield einsum.name, other


def producers_of(einsums: tuple[Einsum, ...]) -> dict[str, str]:
    """Of every tensor that is written, the Einsum that does not merely update it."""
    first = {e.output.tensor: e.name for e in einsums if e.updates}
    return first | {e.output.tensor: e.name for e in einsums if not e.updates}


def viewed(einsums: tuple[Einsum, ...], views: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each Einsum that reads a view, with who wrote what it is, and the view."""
    producers = producers_of(einsums)
    for einsum in einsums:
        for tensor in einsum.operands:
            maker = producers.get(views.get(tensor, ""))
            if maker is not None:
                yield einsum.name, maker, tensor


def predecessors(einsums: tuple[Einsum, ...], views: Mapping[str, str]) -> dict[str, set[str]]:
    """Of every Einsum, the names of those it waits for; its own output aside."""
    producers = producers_of(einsums)
    waits = {
        e.name: {producers[t] for t in e.operands if t in producers} - {e.name} for e in einsums
    }
    for name, before in updated_before(einsums):
        waits[name].add(before.name)
    for name, maker, _ in viewed(einsums, views):
        waits[name].add(maker)
    return waits


def faults(
    name: str,
    ranks: Mapping[str, int],
    einsums: tuple[Einsum, ...],
    views: Mapping[str, str] = NO_VIEWS,
) -> Iterator[str]:
    """One line in the house form for each thing wrong with a cascade; empty for a sound one."""
    if not einsums:
        yield expected(name, "at least one Einsum", "none")
    if max(len(einsums), len(ranks)) > MAX_EINSUMS:
        got = f"{len(einsums)} and {len(ranks)}"
        yield expected(name, f"at most {MAX_EINSUMS} Einsums and ranks", got)
        return
    for rank, size in ranks.items():
        if not is_size(size):
            yield expected(f"{name}: ranks.{rank}", "an integer > 0", size)
    shapes: dict[str, TensorAccess] = {}
    for einsum in einsums:
        yield from einsum_faults(f"{name}: {einsum.name}", ranks, einsum, shapes)
    yield from _graph_faults(name, einsums, views)


def _graph_faults(
    name: str, einsums: tuple[Einsum, ...], views: Mapping[str, str]
) -> Iterator[str]:
    """Faults of the Einsums together."""
    yield from _repeated(f"{name}: Einsum", "one of that name", (e.name for e in einsums))
    updates = [other for _, other in updated_before(einsums)]
    written = (e.output.tensor for e in einsums if e not in updates)
    yield from _repeated(f"{name}: tensor", "one Einsum that writes it", written)
    made = producers_of(einsums)
    inputs = {*chain.from_iterable(e.operands for e in einsums)} - {*made}
    for view, of in views.items():
        if of not in made or view not in inputs:
            condition = "an input of the cascade: one that an Einsum of it makes"
            yield expected(f"{name}: views.{view}", condition, of)
    try:
        TopologicalSorter(predecessors(einsums, views)).prepare()
    except CycleError as error:
        yield expected(name, "Einsums without a cycle", " -> ".join(error.args[1]))


def uncorrected(where: str, einsums: tuple[Einsum, ...]) -> Iterator[str]:
    """A line for each result that would hang on the tiles: made of one so far, and not corrected.

    What is made of a partial result may be joined over the ranks of that result only where an
    Einsum with `each` corrects the sum as it grows. einsums: a whole cascade without faults.
    """
    of = {e.output.tensor: e for e in einsums if not e.updates}
    corrected = {(e.output.tensor, rank) for e in einsums if e.updates for rank in e.each}
    for tensor in dict.fromkeys(chain.from_iterable(e.so_far for e in einsums if not e.each)):
        for rank in of[tensor].reduced_ranks if tensor in of else ():
            for end in _ends(tensor, rank, [e for e in einsums if not e.each]):
                if (end.output.tensor, rank) not in corrected:
                    yield expected(
                        f"{where}: {end.name}",
                        f"a sum over {rank} that an Einsum with each: [{rank}] corrects, as it is "
                        f"made of {tensor} so far",
                        str(end.output),
                        f"write the correction, or take {tensor} whole: leave so_far out",
                    )


def _ends(tensor: str, rank: str, einsums: Sequence[Einsum]) -> Iterator[Einsum]:
    """Einsums that join over a rank what is made of a tensor so far, or with which that leaves."""
    tainted = [e for e in einsums if tensor in e.so_far]
    for einsum in tainted:
        made = einsum.output
        readers = [e for e in einsums if e.reads(made.tensor)] if rank in made.ranks else []
        tainted += (e for e in readers if e not in tainted)
        if not readers:
            yield einsum


def is_sound(
    ranks: Mapping[str, int], einsums: tuple[Einsum, ...], views: Mapping[str, str]
) -> bool:
    """True for a cascade without faults.

    Most workloads are another one at other sizes, or under another name: what does not depend on
    these is asked once. Of a size it is only whether it is 1.
    """
    if not all(map(is_size, ranks.values())):
        return False
    sizes = tuple((rank, min(size, 2)) for rank, size in ranks.items())
    points = (prod(ranks.get(r, 1) for r in e.ranks) for e in einsums)
    return max(points, default=0) < MAX_ITERATIONS and _is_whole(
        sizes, einsums, tuple(views.items())
    )


@lru_cache(maxsize=256)  # chosen: a file of the short form has up to five
def _is_whole(
    ranks: tuple[tuple[str, int], ...],
    einsums: tuple[Einsum, ...],
    views: tuple[tuple[str, str], ...],
) -> bool:
    """True for a cascade without faults at some sizes."""
    return not any(faults("", dict(ranks), einsums, dict(views)))


def _repeated(where: str, condition: str, names: Iterable[str]) -> Iterator[str]:
    listed = list(names)
    for name in (n for n in dict.fromkeys(listed) if listed.count(n) > 1):
        yield expected(f"{where} {name}", condition, listed.count(name))
