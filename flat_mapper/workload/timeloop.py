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
    refuse_unknown,
    section_of,
    take,
    take_section,
    take_sections,
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
    """The parts of a problem. A rank or coefficient is a number by then."""

    where: str
    shape: Section
    spaces: tuple[Section, ...]
    instance: Section
    dimensions: tuple[str, ...]
    coefficients: Mapping[str, int]


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
    read = [faults.attempt(_access, outline, sizes, space) for space in outline.spaces]
    accesses = tuple(filter(None, read))
    outputs = [access for access in accesses if access.is_output]
    if len(accesses) == len(read) and len(outputs) != 1:
        got = ", ".join(access.tensor for access in outputs) or "none"
        at = f"{outline.shape.where}.data_spaces"
        faults.append(expected(at, "one output (read_write: true)", got))
    return None if faults else faults.attempt(_one_einsum, outline, sizes, accesses)


def _outline(document: object, where: str) -> _Outline:
    """The parts of a problem; its versions, keys and lists are what they must be."""
    problem = _underscored(take_section(document, "problem", where, required=True))
    version = problem.get("version")
    if version is not None and str(version) not in VERSIONS:
        raise problem.wrong("version", f"one of {', '.join(VERSIONS)}", version)
    shape = _shape(problem)
    # Without an instance the sizes stand beside the shape.
    instance = (
        take_section(problem, "instance", required=True) if "instance" in problem else problem
    )
    _check_dense(instance)
    return _Outline(
        where=where,
        shape=shape,
        spaces=tuple(map(_underscored, take_sections(shape, "data_spaces"))),
        instance=instance,
        dimensions=take_words(shape, "dimensions", default=None),
        coefficients=_coefficients(shape, instance, f"{where}: problem.instance"),
    )


def _underscored(section: Section) -> Section:
    """A mapping with the hyphens of its keys as underscores."""
    lines = {key.replace("-", "_"): line for key, line in section.lines.items()}
    items = {key.replace("-", "_"): value for key, value in section.items()}
    return Section(items, section.source, lines, section.where)


def _shape(problem: Section) -> Section:
    """The section of the shape; its keys are known ones."""
    if "shape" not in problem and ("einsums" in problem or "attention" in problem):
        condition = "a Timeloop problem, with a shape and an instance"
        raise SpecError(expected(problem.where, condition, "a cascade", "use flat-mapper map"))
    if isinstance(problem.get("shape"), str):
        condition = "dimensions and data_spaces, written out"
        change = "the shapes that Timeloop knows by name are convolutions"
        raise problem.wrong("shape", condition, problem["shape"], change)
    shape = _underscored(take_section(problem, "shape", required=True))
    if "flatten" in shape:
        raise shape.wrong("flatten", "plain dimensions", "flattened ones", "write their product")
    refuse_unknown(shape, _SHAPE_KEYS)
    return shape


def _check_dense(instance: Section) -> None:
    densities = dict(section_of(instance.get("densities") or {}, f"{instance.where}.densities"))
    common = instance.get("commonDensity", instance.get("common_density"))
    if common is not None:
        densities["every tensor"] = common
    for tensor, density in densities.items():
        value = density.get("density") if isinstance(density, Mapping) else density
        if not isinstance(value, int | float) or value != 1:
            condition = f"density 1 for {tensor}: sparse tensors are not modelled"
            raise instance.wrong("densities", condition, value)


def _coefficients(shape: Section, instance: Section, where: str) -> dict[str, int]:
    """Every coefficient's value: the instance's, or its default."""
    values = {}
    for item in take_sections(shape, "coefficients", required=False):
        refuse_unknown(item, ("name", "default"))
        name = take(item, "name", str)
        values[str(name)] = take(instance, name, int, where, take(item, "default", int, default=1))
    return values


def _size(outline: _Outline, rank: str, variables: Mapping[str, object]) -> int:
    instance = outline.instance
    if isinstance(instance.get(rank), str):
        return rank_size(instance[rank], variables, instance.place(rank))
    return take(instance, rank, int, above=0)


def _access(outline: _Outline, sizes: Mapping[str, int], space: Section) -> TensorAccess:
    """One data space as a tensor."""
    refuse_unknown(space, _SPACE_KEYS)
    at = space.place("projection")
    dims = tuple(
        _dimension(outline, term, f"{at}.{i}")
        for i, term in enumerate(take(space, "projection", list))
    )
    written = space.get("read_write", False)
    if not isinstance(written, bool) and written not in (0, 1):
        at = space.place("read_write")
        raise SpecError(f"{at}: expected true or false, got {noun_of(written)}")
    plain = [rank for dim in dims if (rank := _plain(outline, sizes, dim))]
    summed = len(plain) < len(dims)
    return TensorAccess(
        tensor=str(take(space, "name", str)),
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
        raise SpecError(expected(where, "a rank, or a rank and a coefficient", ", ".join(words)))
    rank = among(where, ranks[0], (*outline.dimensions, *outline.coefficients))
    return rank, prod(outline.coefficients[word] for word in words if word != rank)


def _one_einsum(
    outline: _Outline, sizes: Mapping[str, int], accesses: tuple[TensorAccess, ...]
) -> Workload:
    (output,) = (access for access in accesses if access.is_output)
    inputs = tuple(access for access in accesses if not access.is_output)
    name = take(outline.shape, "name", str, default="")
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
