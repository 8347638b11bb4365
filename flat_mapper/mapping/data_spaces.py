"""A layer's names in the constraints of a chip, as the tensors and ranks of each Einsum.

Timeloop's chips are written for the convolutions of a layer: their nodes keep `Inputs`, `Weights`
and `Outputs`, and name the ranks C, M (or K), N, P, Q, R and S. An Einsum of a cascade is such a
layer where one of its operands is the weights. Which one is declared in the problem,

    data_spaces:
      QK: {Inputs: Q, Weights: K, Outputs: QK}
      AV: {Inputs: A, Weights: V, Outputs: AV}

or follows from its `roles`: the operand with the rank of the queries, or else of the keys, is the
inputs. Then C are the ranks that are reduced, M those of the weights and the output, P the position
and N the batch among those of the inputs and the output; ranks of all three are groups (G), which
constraints of a layer leave free; Q, R and S are of size 1. Names that are the problem's own, or
declared others, are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flat_mapper.arch.constraints import kept_in
from flat_mapper.arch.factors import read_factors, read_order
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, Tagged, section_of
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

LAYER = ("Inputs", "Weights", "Outputs")  # Timeloop, problem-shapes/cnn-layer.yaml
_RANKS = ("C", "M", "K", "N", "P", "Q", "R", "S", "G")
_LISTS = (
    *("keep", "bypass", "keep_only", "bypass_only"),
    *("no_iteration_over_dataspaces", "must_iterate_over_dataspaces"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Meaning of the names in a chip's constraints in one Einsum."""

    tensors: Mapping[str, str]  # by data space
    ranks: Mapping[str, tuple[str, ...]]  # by rank of a layer; empty: the problem's own names
    where: str

    def section(self, body: Section) -> Section:
        """One constraint of a node in the Einsum's names."""
        said = dict(body)
        for key in _LISTS:
            listed = said.get(key)
            if isinstance(listed, list):
                said[key] = list(self.names(listed))
        if self.ranks:
            known = tuple(self.ranks)
            for key in ("factors", "factors_only"):
                if said.get(key) is not None:
                    said[key] = list(self._factors(said[key], known, key))
            order = read_order(said.get("permutation"), known, f"{self.where}.permutation")
            if order:
                said["permutation"] = [r for name in order for r in self.ranks[name]]
            if isinstance(split := said.get("split"), int) and split < len(order):
                said["split"] = sum(len(self.ranks[name]) for name in order[:split])
        return Section(said, body.source, body.lines)

    def names(self, listed: Sequence[str]) -> tuple[str, ...]:
        """Tensors for data spaces; those that the Einsum has not are left out."""
        bound = (name if name == "*" else self.tensors.get(name, "") for name in listed)
        return tuple(name for name in bound if name)

    def _factors(self, value: object, known: tuple[str, ...], key: str) -> Iterator[str]:
        found = read_factors(value, known, f"{self.where}.{key}")
        for sign, factors in (("=", found.exact), ("<=", found.at_most)):
            for name, factor in factors.items():
                ranks = self.ranks[name]
                if len(ranks) > 1 and factor > 1:
                    condition = f"one rank for {name}, where its factor is {factor}"
                    raise SpecError(expected(f"{self.where}.{key}", condition, ", ".join(ranks)))
                yield from (f"{rank}{sign}{factor}" for rank in ranks)


def binding(arch: Architecture, einsum: Einsum, workload: Workload) -> Binding | None:
    """The names of a chip's constraints for one Einsum; None where they are the problem's own.

    raises: SpecError where it is neither declared nor clear which operand is which.
    """
    names = _names(arch)
    where = f"{arch.path or arch.name}: {einsum.name}"
    declared = workload.roles.data_spaces.get(einsum.name)
    if declared is None and not (set(names) - set(workload.tensor_ranks)):
        return None
    if declared is None and set(names) <= set(LAYER):
        declared = _layer(einsum, workload, where)
    if declared is None:
        return None  # somebody else says which name is unknown
    own = {a.tensor for a in einsum.accesses}
    for name, tensor in declared.items():
        if tensor not in own:
            condition = f"a tensor among {', '.join(sorted(own))}"
            raise SpecError(expected(f"{where}: data_spaces.{name}", condition, tensor))
    ranks = _ranks(einsum, workload, declared) if set(declared) <= set(LAYER) else {}
    return Binding(tensors=declared, ranks=ranks, where=where)


def _names(arch: Architecture) -> tuple[str, ...]:
    """The data spaces that the constraints of a chip name."""
    found: dict[str, None] = {}
    for node in arch.nodes:
        if isinstance(node, MemoryLevel):
            found.update(dict.fromkeys(node.keeps_only or ()))
        for body in node.constraints.values():
            for key in _LISTS:
                listed = body.get(key) if isinstance(body, Mapping) else None
                found.update(dict.fromkeys(listed if isinstance(listed, list) else ()))
    return tuple(name for name in found if name != "*")


def _layer(einsum: Einsum, workload: Workload, where: str) -> dict[str, str]:
    """An Einsum's tensors as the inputs, weights and outputs of a layer."""
    bound = {"Outputs": einsum.output.tensor}
    if len(einsum.inputs) == 1:
        return {"Inputs": einsum.inputs[0].tensor, **bound}
    for rank in (workload.roles.queries, workload.roles.keys):
        having = [a.tensor for a in einsum.inputs if rank in a.ranks]
        others = [a.tensor for a in einsum.inputs if rank not in a.ranks]
        if len(having) == len(others) == 1:
            return {"Inputs": having[0], "Weights": others[0], **bound}
    operands = ", ".join(a.tensor for a in einsum.inputs)
    condition = "one operand with the rank of its queries or keys, which is the Inputs"
    change = f"declare data_spaces: {{{einsum.name}: {{Inputs: ..., Weights: ...}}}} in the problem"
    raise SpecError(expected(where, condition, operands, change))


def _ranks(
    einsum: Einsum, workload: Workload, tensors: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """An Einsum's ranks as those of a layer, by the data spaces that have them."""
    has = {
        name: set(next(a.ranks for a in einsum.accesses if a.tensor == tensor))
        for name, tensor in tensors.items()
    }
    inputs, weights = has.get("Inputs", set()), has.get("Weights", set())
    output = set(einsum.output.ranks)
    own = [r for r in workload.rank_sizes if r in einsum.ranks]
    places = (workload.roles.queries, workload.roles.keys)
    beside = [r for r in own if r in output and r not in weights]
    position = next((r for r in places if r in beside), "")
    columns = tuple(r for r in own if r in output and r in weights and r not in inputs)
    found = {
        "C": tuple(r for r in own if r not in output),
        "M": columns,
        "K": columns,
        "N": tuple(r for r in beside if r != position),
        "P": (position,) if position else (),
        "G": tuple(r for r in own if r in output and r in weights and r in inputs),
    }
    return {name: found.get(name, ()) for name in _RANKS}


def binding_notes(platform: Platform, workload: Workload) -> tuple[str, ...]:
    """A line on each chip whose names had to be bound: what they stand for."""
    lines = []
    for arch in platform.paths:
        said = []
        for einsum in workload.einsums:
            if platform.vector is None and einsum.unit == "vector":
                continue
            found = binding(arch, einsum, workload) if platform.path(einsum.unit) is arch else None
            if found and einsum.name not in workload.roles.data_spaces:
                pairs = (f"{name} {tensor}" for name, tensor in found.tensors.items())
                said.append(f"{einsum.name}: {', '.join(pairs)}")
        if said:
            lines.append(f"{arch.name}: data spaces taken as {'; '.join(said)}")
    return tuple(lines)


def bound_section(found: Binding | None, body: object) -> Section:
    """A constraint in an Einsum's names, or as it is."""
    section = section_of(body, "")
    return section if found is None else found.section(section)


def check_branches(arch: Architecture, einsum: Einsum, bound: Binding | None) -> None:
    """Under !Parallel, every tensor of an Einsum has a branch, as Timeloop's front end demands."""
    stack: list[object] = [arch.document.get("architecture", arch.document)]
    while stack:
        node = stack.pop()
        body = node.body if isinstance(node, Tagged) else node
        nodes = body.get("nodes") if isinstance(body, Mapping) else None
        children = list(nodes) if isinstance(nodes, list) else []
        stack.extend(children)
        if not isinstance(node, Tagged) or node.tag != "!Parallel":
            continue
        where = f"{arch.path or arch.name}: !Parallel"
        kept = {t for child in children for t in kept_in(child, where, {})}
        kept = kept if bound is None else set(bound.names(tuple(kept)))
        lost = [a.tensor for a in einsum.accesses if a.tensor not in kept and "*" not in kept]
        if lost and len(children) > 1:
            condition = f"a branch that keeps each tensor of {einsum.name}"
            change = f"add `- !Nothing {{constraints: {{dataspace: {{keep: [{lost[0]}]}}}}}}`"
            raise SpecError(expected(where, condition, f"none for {', '.join(lost)}", change))
