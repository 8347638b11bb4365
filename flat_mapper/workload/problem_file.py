"""The outline of a problem file, and what a caller puts in the place of its words and sizes.

Keys that no query may see are no part of the work. Under a window the P queries at the end of M
positions see P + window - 1 keys or fewer. What stands before these is neither read nor computed,
whatever the mapping: a decode step under a window of W works on the W last keys of its cache. So
that tiles of queries x keys can be aligned, as many are left as are a multiple of the queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import (
    COUNT,
    Section,
    checked,
    take,
    take_list,
    take_section,
    unknown_word,
)
from flat_mapper.workload.cascade import ROLES, Phase
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import (
    NO_MASK,
    LayerKind,
    Mask,
    mask_of,
    merged_layers,
    read_layers,
    read_mask,
)
from flat_mapper.workload.roles import Roles, read_roles

VOCABULARY = "vocabulary"  # a section, and the scope that has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Numbers of queries and keys; None leaves the problem's own number."""

    queries: int | None
    keys: int
    batch: int | None = None  # sequences of these lengths


def sequence_lengths(length: int, phase: str = "") -> Lengths:
    """A sequence length: of queries and keys; in decode of the cache, so of the keys, alone."""
    return Lengths(queries=None if phase == "decode" else length, keys=length)


def ragged_lengths(
    lengths: Iterable[int], phase: str = "", where: str = "lengths"
) -> tuple[Lengths, ...]:
    """The lengths of a ragged batch, the longest first, each with its number of sequences."""
    counts = Counter(checked(n, int, f"{where}.{i}", above=0) for i, n in enumerate(lengths))
    if not counts:
        raise SpecError(expected(where, "a length, or several", "none"))
    decode = phase == "decode"
    return tuple(
        Lengths(queries=1 if decode else n, keys=n, batch=counts[n])
        for n in sorted(counts, reverse=True)
    )


def listed_lengths(document: Section, phase: str) -> tuple[Lengths, ...]:
    """The lengths that a file lists, by its phase or the one that is asked for; none: no key."""
    named = document.get("problem")
    if not isinstance(named, Section) or "lengths" not in named:
        return ()
    problem = take_section(document, "problem")
    roles, listed = declared_roles(problem), take_list(problem, "lengths", int)
    attention = problem.get("attention")
    stated = attention.get("phase") if isinstance(attention, Mapping) else None
    ranks = take_section(problem, "ranks", required=True)
    decode = (phase or stated) == "decode"
    for rank in (roles.batch, roles.keys, *([] if decode else [roles.queries])):
        if rank in ranks:
            at = ranks.place(rank, shown=False)
            raise SpecError(expected(at, "no size beside lengths", rank, "remove it"))
    found = ragged_lengths(listed, "decode" if decode else "", problem.place("lengths"))
    stated_rows = decode and roles.queries in ranks
    return tuple(replace(one, queries=None) for one in found) if stated_rows else found


def ragged(workloads: Sequence[Workload], sizes: Iterable[str]) -> Workload:
    """The workload of a ragged batch, of those of its lengths.

    sizes: ranks that somebody sets beside the lengths.
    """
    first = workloads[0]
    for rank in sizes:
        if rank in (first.roles.batch, first.roles.keys):
            condition = "ranks other than those of batch and keys, which the lengths set"
            raise SpecError(expected(f"{first.name}: ranks", condition, rank))
    return replace(first, sequences=tuple(workloads)) if len(workloads) > 1 else first


def declared_roles(problem: Section) -> Roles:
    """The roles of a cascade: those of the short form, or those that the file declares."""
    if "attention" not in problem:
        return read_roles(problem)
    for key in ("roles", "operators", "views"):
        if key in problem:
            condition = "attention without them: the short form has its own"
            raise problem.wrong(key, condition, key, "remove it")
    return ROLES


def sequence_ranks(roles: Roles, where: str) -> tuple[str, str]:
    """The ranks of queries and keys, which something (`where`) needs."""
    if roles.masked is None:
        condition = "roles that say which ranks are queries and keys"
        change = "add roles: {queries: RANK, keys: RANK} to the problem"
        raise SpecError(expected(where, condition, ", ".join(roles.declared) or "none", change))
    return roles.masked


def sequence_sizes(lengths: Lengths | None, roles: Roles, where: str) -> dict[str, object]:
    """The sizes of the ranks whose lengths are asked for."""
    if lengths is None:
        return {}
    sequence_ranks(roles, f"{where}: sequence length")
    if lengths.batch and not roles.batch:
        condition = "a role that says which rank is the batch"
        got, change = ", ".join(roles.declared), "add roles: {batch: RANK} to the problem"
        raise SpecError(expected(f"{where}: lengths", condition, got, change))
    given = (
        (roles.queries, lengths.queries),
        (roles.keys, lengths.keys),
        (roles.batch, lengths.batch),
    )
    return {rank: size for rank, size in given if size is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacements:
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
    stem: str
    ranks: Section
    changes: Mapping[str, object]  # sizes that a caller puts in
    asked: Replacements
    roles: Roles  # as the file declares them

    @property
    def names(self) -> tuple[str, ...]:
        """Every rank that has a size."""
        return tuple({**self.ranks, **self.changes})


def check_ranks(file: File, known: Iterable[str], faults: Faults) -> None:
    """Note the ranks that the cascade does not have."""
    listed = tuple(dict.fromkeys(known))
    for name in file.names:
        if name not in listed:
            at = file.ranks.place(name, shown=False)
            faults.append(unknown_word(at, "ranks among", name, listed))


def layers_of(file: File) -> tuple[LayerKind, ...]:
    """The kinds of layers of a problem, with the masks that were asked for."""
    asked, problem = file.asked, file.problem
    if isinstance(problem.get("layers"), list):
        kinds = read_layers(problem)
        if "mask" in problem:
            raise problem.wrong("mask", "a mask in each of layers, or here", "both", "remove one")
    else:
        count = take(problem, "layers", int, default=1, above=0, within=COUNT)
        kinds = (LayerKind(count=count, mask=read_mask(problem)),)
    if asked.mask or asked.unmasked:
        kinds = tuple(LayerKind(count=kind.count, mask=asked.mask) for kind in kinds)
    return kinds if asked.scope != VOCABULARY else (LayerKind(count=1, mask=None),)


def repeated(workload: Workload, kinds: Iterable[LayerKind]) -> dict[str, Any]:
    """Fields of a workload that has layers of some kinds."""
    pair = workload.roles.masked
    queries, keys = (workload.rank_sizes[r] for r in pair) if pair else (1, 1)
    first, *others = found = merged_layers(kinds, queries, keys)
    return {"repeat": first.count, "mask": first.mask, "layers": found if others else ()}


def chosen_layers(workload: Workload, layers: str) -> Workload:
    """The workload with the layers that are asked for."""
    if not layers:
        return workload
    wanted, kinds = mask_of(layers, "--layers"), workload.layers
    if wanted and workload.roles.masked:
        wanted = wanted.within(*(workload.rank_sizes[r] for r in workload.roles.masked))
    masks = {kind.mask: workload.of_kind(kind) for kind in kinds} or {workload.mask: workload}
    if wanted not in masks:
        condition = f"one of {', '.join(mask.words if mask else NO_MASK for mask in masks)}"
        raise SpecError(expected(f"{workload.name}: --layers", condition, layers))
    return masks[wanted]


def seen(workload: Workload) -> Workload:
    """The workload without the first keys that no query sees; `unseen` has their number.

    Itself where there are none, where layers differ in their mask (each kind has its own number),
    where keys are in parts, and where keys count that no query meets: in an output, or in a
    reduction without queries.
    """
    pair, mask = workload.roles.masked, workload.mask
    if mask is None or mask.window is None or mask.parts > 1 or pair is None or workload.layers:
        return workload
    queries, keys = pair
    rows, most = workload.rank_sizes[queries], workload.rank_sizes[keys]
    fewest = -(-(rows + mask.window - 1) // rows) * rows
    if fewest >= most or _counts_alone(workload, queries, keys):
        return workload
    return replace(workload.with_ranks({keys: fewest}), unseen=workload.unseen + most - fewest)


def at_keys(workload: Workload, length: int) -> Workload:
    """The same at another number of keys, those included that no query sees."""
    assert workload.roles.keys is not None
    return seen(replace(workload.with_ranks({workload.roles.keys: length}), unseen=0))


def _counts_alone(workload: Workload, queries: str, keys: str) -> bool:
    """True if an Einsum without queries adds up over keys, or leaves them in what is given back."""
    read = {*chain.from_iterable(e.operands for e in workload.einsums), *workload.views.values()}
    return any(
        keys not in einsum.output.ranks or einsum.output.tensor not in read
        for einsum in workload.einsums
        if keys in einsum.ranks and queries not in einsum.ranks
    )
