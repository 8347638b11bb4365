"""The multi-Einsum graph: ranks, tensors, Einsums, and the workload that joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

import networkx as nx

from flat_mapper.errors import SpecError, expected

Unit = Literal["matrix", "vector"]
Softmax = Literal["row", "online", "none"]

# Counts are int64 all the way; this bound leaves a factor of two for read-modify-write.
MAX_ITERATIONS = 2**61


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorAccess:
    """One tensor as one Einsum touches it. Plain ranks only: attention needs no affine sums."""

    tensor: str
    ranks: tuple[str, ...]
    is_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Einsum:
    """One tensor equation: an output, its inputs, and the operation that combines them."""

    name: str
    output: TensorAccess
    inputs: tuple[TensorAccess, ...]
    operation: str  # mul, max, exp, sum, div, ...: what the compute unit does at a point
    unit: Unit  # matrix: the PE array; vector: the special function unit
    text: str = ""  # the notation it was written in

    @property
    def accesses(self) -> tuple[TensorAccess, ...]:
        """Inputs in their written order, then the output."""
        return (*self.inputs, self.output)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Iteration space: output ranks in order, then the reduced ranks in order."""
        seen = dict.fromkeys(self.output.ranks)
        for access in self.inputs:
            seen.update(dict.fromkeys(access.ranks))
        return tuple(seen)

    @property
    def reduced_ranks(self) -> tuple[str, ...]:
        """Ranks that the output lacks."""
        return tuple(r for r in self.ranks if r not in self.output.ranks)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A cascade of Einsums over shared ranks: a directed acyclic graph whose edges are tensors."""

    name: str
    rank_sizes: Mapping[str, int]
    einsums: tuple[Einsum, ...]
    word_bits: int = 16
    tensor_bits: Mapping[str, int] = field(default_factory=dict)  # where it differs from word_bits
    softmax: Softmax = "none"
    source: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def graph(self) -> nx.DiGraph:
        """Nodes are Einsum names, in declaration order; an edge carries the tensor it moves."""
        producers = {e.output.tensor: e.name for e in self.einsums}
        graph = nx.DiGraph()
        graph.add_nodes_from(e.name for e in self.einsums)
        for einsum in self.einsums:
            for access in einsum.inputs:
                if access.tensor in producers:
                    graph.add_edge(producers[access.tensor], einsum.name, tensor=access.tensor)
        return graph

    @cached_property
    def ordered(self) -> tuple[Einsum, ...]:
        """Einsums in execution order: topological, ties by declaration."""
        position = {e.name: i for i, e in enumerate(self.einsums)}
        names = nx.lexicographical_topological_sort(self.graph, key=position.__getitem__)
        return tuple(self.einsum(n) for n in names)

    @cached_property
    def tensor_ranks(self) -> dict[str, tuple[str, ...]]:
        """Ranks of every tensor, in the order of first mention."""
        ranks: dict[str, tuple[str, ...]] = {}
        for einsum in self.einsums:
            for access in einsum.accesses:
                ranks.setdefault(access.tensor, access.ranks)
        return ranks

    @cached_property
    def intermediates(self) -> tuple[str, ...]:
        """Tensors that one Einsum writes and another reads."""
        written = {e.output.tensor for e in self.einsums}
        read = {a.tensor for e in self.einsums for a in e.inputs}
        return tuple(t for t in self.tensor_ranks if t in written and t in read)

    def einsum(self, name: str) -> Einsum:
        """The Einsum of that name."""
        for einsum in self.einsums:
            if einsum.name == name:
                return einsum
        names = ", ".join(e.name for e in self.einsums)
        raise SpecError(expected(self.name, f"one of the Einsums {names}", name))

    def bits(self, tensor: str) -> int:
        """Bits of one word of a tensor."""
        return self.tensor_bits.get(tensor, self.word_bits)

    def iterations(self, einsum: Einsum) -> int:
        """Points of an Einsum's iteration space; for a matrix Einsum these are its MACs."""
        return prod(self.rank_sizes[r] for r in einsum.ranks)

    def tensor_words(self, tensor: str) -> int:
        """Words of a whole tensor."""
        return prod(self.rank_sizes[r] for r in self.tensor_ranks[tensor])

    def with_ranks(self, sizes: Mapping[str, int]) -> Workload:
        """The same cascade at other rank sizes."""
        from dataclasses import replace

        for rank, size in sizes.items():
            if rank not in self.rank_sizes:
                known = ", ".join(self.rank_sizes)
                raise SpecError(expected(f"{self.name}: rank {rank}", f"one of {known}", rank))
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise SpecError(expected(f"{self.name}: rank {rank}", "an integer > 0", size))
        return replace(self, rank_sizes={**self.rank_sizes, **sizes})

    def subset(self, names: tuple[str, ...]) -> Workload:
        """The cascade reduced to some of its Einsums, with the ranks they need."""
        from dataclasses import replace

        einsums = tuple(e for e in self.einsums if e.name in names)
        ranks = {r for e in einsums for r in e.ranks}
        sizes = {r: n for r, n in self.rank_sizes.items() if r in ranks}
        return replace(self, einsums=einsums, rank_sizes=sizes)

    def whole_row_ranks(self, names: tuple[str, ...]) -> frozenset[str]:
        """Ranks that Einsums fused together may not tile with their shared loops.

        A rank reduced inside the group must be complete before a consumer in the group reads the
        result, so a shared loop over it would read a partial reduction. The reduction of the
        group's last Einsums is nobody's input inside the group, but a rank they share with a
        producer's output (AV's m) is bound by the producer's own consumers in the same way. Under
        `online` softmax the cascade carries the correction itself and only ranks of
        other reductions stay bound.
        """
        group = [self.einsum(n) for n in names]
        read = {a.tensor for e in group for a in e.inputs}
        bound: set[str] = set()
        for einsum in group:
            if einsum.output.tensor in read:
                bound.update(einsum.reduced_ranks)
        return frozenset(bound)


def _check(workload: Workload) -> None:
    where = workload.name
    if not workload.einsums:
        raise SpecError(expected(where, "at least one Einsum", "none"))
    names = [e.name for e in workload.einsums]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                expected(f"{where}: Einsum {name}", "one of that name", names.count(name))
            )
    _check_ranks(workload)
    _check_graph(workload)


def _check_ranks(workload: Workload) -> None:
    where = workload.name
    for rank, size in workload.rank_sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise SpecError(expected(f"{where}: ranks.{rank}", "an integer > 0", size))
    shapes: dict[str, tuple[str, ...]] = {}
    for einsum in workload.einsums:
        for access in einsum.accesses:
            for rank in access.ranks:
                if rank not in workload.rank_sizes:
                    known = ", ".join(workload.rank_sizes)
                    raise SpecError(
                        expected(
                            f"{where}: {einsum.name}: {access.tensor}", f"ranks among {known}", rank
                        )
                    )
            if len(set(access.ranks)) != len(access.ranks):
                raise SpecError(
                    expected(
                        f"{where}: {einsum.name}: {access.tensor}", "each rank once", access.ranks
                    )
                )
            known_ranks = shapes.setdefault(access.tensor, access.ranks)
            if set(known_ranks) != set(access.ranks):
                raise SpecError(
                    expected(
                        f"{where}: {einsum.name}: {access.tensor}",
                        f"the ranks [{', '.join(known_ranks)}] it has elsewhere",
                        f"[{', '.join(access.ranks)}]",
                    )
                )
        if workload.iterations(einsum) >= MAX_ITERATIONS:
            raise SpecError(
                expected(
                    f"{where}: {einsum.name}",
                    "fewer than 2^61 iterations (counts are 64-bit)",
                    workload.iterations(einsum),
                )
            )


def _check_graph(workload: Workload) -> None:
    where = workload.name
    outputs = [e.output.tensor for e in workload.einsums]
    for einsum in workload.einsums:
        inputs = [a.tensor for a in einsum.inputs]
        if outputs.count(einsum.output.tensor) > 1:
            raise SpecError(
                expected(
                    f"{where}: tensor {einsum.output.tensor}",
                    "one Einsum that writes it",
                    outputs.count(einsum.output.tensor),
                )
            )
        if einsum.output.tensor in inputs or len(set(inputs)) != len(inputs):
            raise SpecError(
                expected(
                    f"{where}: {einsum.name}",
                    "each tensor once in an Einsum",
                    [*inputs, einsum.output.tensor],
                )
            )
        free = set(einsum.output.ranks) - {r for a in einsum.inputs for r in a.ranks}
        if free:
            raise SpecError(
                expected(f"{where}: {einsum.name}", "output ranks that an input has", sorted(free))
            )
    if not nx.is_directed_acyclic_graph(workload.graph):
        cycle = " -> ".join(edge[0] for edge in nx.find_cycle(workload.graph))
        raise SpecError(expected(where, "Einsums without a cycle", cycle))
    if len(workload.einsums) > 1:
        for piece in nx.weakly_connected_components(workload.graph):
            if len(piece) < len(workload.einsums) and len(piece) == 1:
                name = next(iter(piece))
                raise SpecError(
                    expected(
                        f"{where}: {name}",
                        "an Einsum that shares a tensor with the others",
                        f"{name} dangling",
                        "check the tensor names",
                    )
                )
