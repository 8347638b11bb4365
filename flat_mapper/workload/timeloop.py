"""A Timeloop problem (v0.3, v0.4) read as a workload of one Einsum.

A dimension of a tensor is one rank, or a sum of ranks with steps, as in a convolution. A sum is
plain after all where only one of its ranks has an extent and steps by 1: a 1x1 convolution of
stride 1 is a matrix product. Tensors are dense. Sizes may stand beside `shape`, and keys may have
hyphens (`data-spaces`), as in older files; names that an instance has beyond ranks and coefficients
are passed over, as Timeloop does.
Source: Timeloop, src/workload/workload.cpp and shape-models/problem-shape.cpp; timeloopfe,
v4/problem.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from types import MappingProxyType

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.catalog import rank_size
from flat_mapper.spec.document import (
    Section,
    among,
    checked,
    noun_of,
    place,
    refuse_unknown,
    section_of,
    take,
    take_list,
    take_words,
)
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.einsum import faults as workload_faults
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import point_operation

VERSIONS = ("0.3", "0.4")

_SHAPE_KEYS = ("name", "dimensions", "data_spaces", "coefficients")
_SPACE_KEYS = ("name", "projection", "read_write", "ranks")
NO_VARIABLES: Mapping[str, object] = MappingProxyType({})
_Terms = tuple[tuple[str, int], ...]  # a dimension of a tensor: ranks with their steps


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """The parts of a problem, each with its place. A rank or coefficient is a number by then."""

    where: str
    shape: Section
    spaces: tuple[Section, ...]
    instance: Section
    instance_where: str
    dimensions: tuple[str, ...]
    coefficients: Mapping[str, int]

    @property
    def spaces_where(self) -> str:
        return f"{self.where}: problem.shape.data_spaces"


def read_problem(
    document: object, where: str = "problem", variables: Mapping[str, object] = NO_VARIABLES
) -> Workload:
    """The one-Einsum workload of a Timeloop problem.

    document:  a mapping with the problem under `problem`; its other keys are not looked at.
    where:     the file, for errors.
    variables: names that sizes may be worked out from.
    raises:    SpecError with the first fault; `problem_workload` notes them all.
    """
    faults = Faults()
    workload = problem_workload(document, where, variables, faults)
    if workload is None:
        raise SpecError(faults[0])
    return workload


def problem_workload(
    document: object, where: str, variables: Mapping[str, object], faults: Faults
) -> Workload | None:
    """The same; None where there are faults, which are noted."""
    outline = faults.attempt(_outline, document, where)
    if outline is None:
        return None
    sizes = {
        rank: size
        for rank in outline.dimensions
        if (size := faults.attempt(_size, outline, rank, variables))
    }
    read = [faults.attempt(_access, outline, sizes, i) for i in range(len(outline.spaces))]
    accesses = tuple(filter(None, read))
    outputs = [access for access in accesses if access.is_output]
    if len(accesses) == len(read) and len(outputs) != 1:
        got = ", ".join(access.tensor for access in outputs) or "none"
        faults.append(expected(outline.spaces_where, "one output (read_write: true)", got))
    return None if faults else faults.attempt(_one_einsum, outline, sizes, accesses)


def _outline(document: object, where: str) -> _Outline:
    """The parts of a problem; its versions, keys and lists are what they must be."""
    problem = _underscored(take(document, "problem", dict, where))
    spot = f"{where}: problem"
    version = problem.get("version")
    if version is not None and str(version) not in VERSIONS:
        at = place(spot, problem, "version")
        raise SpecError(expected(at, f"one of {', '.join(VERSIONS)}", version))
    shape = _shape(problem, spot)
    nested = "instance" in problem  # otherwise the sizes stand beside the shape
    instance = section_of(take(problem, "instance", dict, spot), spot) if nested else problem
    at = f"{spot}.instance" if nested else spot
    _check_dense(instance, at)
    return _Outline(
        where=where,
        shape=shape,
        spaces=tuple(
            _underscored(s) for s in take_list(shape, "data_spaces", dict, f"{spot}.shape")
        ),
        instance=instance,
        instance_where=at,
        dimensions=take_words(shape, "dimensions", f"{spot}.shape", None),
        coefficients=_coefficients(shape, instance, where),
    )


def _underscored(node: object) -> Section:
    """A mapping with the hyphens of its keys as underscores."""
    section = section_of(node, "problem")
    lines = {key.replace("-", "_"): line for key, line in section.lines.items()}
    return Section({k.replace("-", "_"): v for k, v in section.items()}, section.source, lines)


def _shape(problem: Section, where: str) -> Section:
    """The section of the shape; its keys are known ones."""
    if "shape" not in problem and ("einsums" in problem or "attention" in problem):
        condition = "a Timeloop problem, with a shape and an instance"
        raise SpecError(expected(where, condition, "a cascade", "use flat-mapper map"))
    if isinstance(problem.get("shape"), str):
        at, condition = place(where, problem, "shape"), "dimensions and data_spaces, written out"
        change = "the shapes that Timeloop knows by name are convolutions"
        raise SpecError(expected(at, condition, str(problem["shape"]), change))
    shape = _underscored(take(problem, "shape", dict, where))
    if "flatten" in shape:
        at = place(f"{where}.shape", shape, "flatten")
        raise SpecError(expected(at, "plain dimensions", "flattened ones", "write their product"))
    refuse_unknown(shape, _SHAPE_KEYS, f"{where}.shape")
    return shape


def _check_dense(instance: Section, where: str) -> None:
    densities = dict(section_of(instance.get("densities") or {}, f"{where}.densities"))
    common = instance.get("commonDensity", instance.get("common_density"))
    if common is not None:
        densities["every tensor"] = common
    for tensor, density in densities.items():
        value = density.get("density") if isinstance(density, Mapping) else density
        if not isinstance(value, int | float) or value != 1:
            at = place(where, instance, "densities")
            condition = f"density 1 for {tensor}: sparse tensors are not modelled"
            raise SpecError(expected(at, condition, value))


def _coefficients(shape: Section, instance: Section, where: str) -> dict[str, int]:
    """Every coefficient's value: the instance's, or its default."""
    values = {}
    spot = f"{where}: problem.shape"
    for i, item in enumerate(take_list(shape, "coefficients", dict, spot, ())):
        at = f"{spot}.coefficients.{i}"
        refuse_unknown(item, ("name", "default"), at)
        name = take(item, "name", str, at)
        default = take(item, "default", int, at, 1)
        values[str(name)] = take(instance, name, int, f"{where}: problem.instance", default)
    return values


def _size(outline: _Outline, rank: str, variables: Mapping[str, object]) -> int:
    instance, where = outline.instance, outline.instance_where
    if isinstance(instance.get(rank), str):
        return rank_size(instance[rank], variables, place(where, instance, rank))
    return take(instance, rank, int, where, above=0)


def _access(outline: _Outline, sizes: Mapping[str, int], index: int) -> TensorAccess:
    """One data space as a tensor."""
    space, where = outline.spaces[index], f"{outline.spaces_where}.{index}"
    refuse_unknown(space, _SPACE_KEYS, where)
    at = place(where, space, "projection")
    dims = tuple(
        _dimension(outline, term, f"{at}.{i}")
        for i, term in enumerate(take(space, "projection", list, where))
    )
    written = space.get("read_write", False)
    if not isinstance(written, bool) and written not in (0, 1):
        spot = place(where, space, "read_write")
        raise SpecError(f"{spot}: expected true or false, got {noun_of(written)}")
    plain = [rank for dim in dims if (rank := _plain(outline, sizes, dim))]
    summed = len(plain) < len(dims)
    return TensorAccess(
        tensor=str(take(space, "name", str, where)),
        ranks=tuple(dict.fromkeys(r for dim in dims for r, _ in dim) if summed else plain),
        is_output=bool(written),
        sums=dims if summed else (),
    )


def _plain(outline: _Outline, sizes: Mapping[str, int], dim: _Terms) -> str:
    """The rank of a plain dimension: the one with an extent, or else one of size 1; "" of a sum."""
    wide = [term for term in dim if sizes.get(term[0]) != 1]
    if len(wide) > 1 or any(step != 1 for _, step in wide):
        return ""
    made = _words([space.get("projection") for space in outline.spaces if space.get("read_write")])
    own = wide or [term for term in dim if term[0] in made] or dim
    return own[0][0]


def _dimension(outline: _Outline, terms: object, where: str) -> _Terms:
    """The ranks of one dimension of a tensor with their steps.

    terms: a rank, or a list of [rank] or [rank, coefficient] to be added up.
    """
    if isinstance(terms, str):
        terms = [[terms]]
    read = tuple(_term(outline, term, where) for term in checked(terms, list, where))
    if not read:
        raise SpecError(expected(where, "a rank, or a sum of ranks", "none"))
    for rank, step in read:
        if step < 1:
            raise SpecError(expected(where, "steps of 1 or more", f"{step}*{rank}"))
    return read


def _words(node: object) -> list[str]:
    """Every word in nested lists."""
    if isinstance(node, list):
        return [word for inner in node for word in _words(inner)]
    return [node] if isinstance(node, str) else []


def _term(outline: _Outline, term: object, where: str) -> tuple[str, int]:
    """A rank and the coefficient it is multiplied with."""
    words = [str(checked(word, str, where)) for word in checked(term, list, where)]
    ranks = [word for word in words if word not in outline.coefficients]
    if len(ranks) != 1:
        condition = "a rank, or a rank and a coefficient"
        raise SpecError(expected(where, condition, ", ".join(words)))
    rank = among(where, ranks[0], (*outline.dimensions, *outline.coefficients))
    return rank, prod(outline.coefficients[word] for word in words if word != rank)


def _one_einsum(
    outline: _Outline, sizes: Mapping[str, int], accesses: tuple[TensorAccess, ...]
) -> Workload:
    (output,) = (access for access in accesses if access.is_output)
    inputs = tuple(access for access in accesses if not access.is_output)
    name = take(outline.shape, "name", str, f"{outline.where}: problem.shape", "")
    read = {*chain.from_iterable(access.ranks for access in inputs)}
    each = tuple(r for r, size in sizes.items() if size > 1 and r not in {*read, *output.ranks})
    reduces = not {*read, *each} <= {*output.ranks}
    einsum = Einsum(
        name=str(name) or output.tensor,
        output=output,
        inputs=inputs,
        each=each,
        updates=bool(each) and not set(output.ranks) <= read,  # as a correction of its output does
        operation=point_operation("", "mul" * (len(inputs) != 1), reduces),
        states_operation=False,
        unit="matrix",
    )
    for fault in workload_faults(outline.where, sizes, (einsum,)):
        raise SpecError(fault)
    return Workload(name=einsum.name, rank_sizes=sizes, einsums=(einsum,), source=outline.where)
