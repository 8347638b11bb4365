"""The outline of a problem file, and what a caller puts in the place of its words and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import COUNT, Section, did_you_mean, place, take
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.heads import Phase
from flat_mapper.workload.mask import NONE, LayerKind, Mask, mask_of, read_layers, read_mask
from flat_mapper.workload.roles import Roles

_CONDITION = "roles that say which ranks are queries and keys"
_CHANGE = "add roles: {queries: RANK, keys: RANK} to the problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Numbers of queries and keys; None leaves the problem's own number."""

    queries: int | None
    keys: int


def sequence_lengths(length: int, phase: str = "") -> Lengths:
    """A sequence length: of queries and keys; in decode of the cache, so of the keys, alone."""
    return Lengths(queries=None if phase == "decode" else length, keys=length)


def sequence_ranks(workload: Workload, what: str) -> tuple[str, str]:
    """The ranks of queries and keys, which something (`what`) needs."""
    if workload.roles.masked is None:
        declared = ", ".join(workload.roles.declared) or "none"
        raise SpecError(expected(f"{workload.name}: {what}", _CONDITION, declared, _CHANGE))
    return workload.roles.masked


def sequence_sizes(lengths: Lengths | None, roles: Roles, where: str) -> dict[str, object]:
    """The sizes of the ranks whose lengths are asked for."""
    if lengths is None:
        return {}
    if roles.masked is None:
        got = ", ".join(roles.declared) or "none"
        raise SpecError(expected(f"{where}: sequence length", _CONDITION, got, _CHANGE))
    queries = {} if lengths.queries is None else {roles.queries: lengths.queries}
    return {**queries, roles.keys: lengths.keys}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Words that a caller puts in the place of the file's."""

    phase: Phase | None = None
    softmax: Softmax | None = None
    mask: Mask | None = None
    unmasked: bool = False  # whatever the file says
    scope: str = ""
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


def layers_of(file: File) -> tuple[LayerKind, ...]:
    """The kinds of layers of a problem, with the masks that were asked for."""
    asked, problem = file.asked, file.problem
    if isinstance(problem.get("layers"), list):
        kinds = read_layers(problem, file.where)
        if "mask" in problem:
            at, condition = place(file.where, problem, "mask"), "a mask in each of layers, or here"
            raise SpecError(expected(at, condition, "both", "remove one"))
    else:
        count = take(problem, "layers", int, file.where, 1, above=0, within=COUNT)
        kinds = (LayerKind(count=count, mask=read_mask(problem, file.where)),)
    if asked.mask or asked.unmasked:
        return tuple(LayerKind(count=kind.count, mask=asked.mask) for kind in kinds)
    return kinds


def chosen_layers(workload: Workload, layers: str) -> Workload:
    """The workload with the layers that are asked for."""
    if not layers:
        return workload
    wanted, kinds = mask_of(layers, "--layers"), workload.layers
    if wanted and workload.roles.masked:
        wanted = wanted.within(workload.rank_sizes[workload.roles.keys])
    if not kinds and workload.mask == wanted:
        return workload
    for kind in kinds:
        if kind.mask == wanted:
            return workload.of_kind(kind)
    masks = [kind.mask for kind in kinds] or [workload.mask]
    condition = f"one of {', '.join(mask.words if mask else NONE for mask in masks)}"
    raise SpecError(expected(f"{workload.name}: --layers", condition, layers))
