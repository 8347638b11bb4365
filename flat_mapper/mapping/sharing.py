"""Tensors that a group holds between passes of its inner loops, mapped or left out as free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.mapping.values import GroupMapping, Policy, pieces
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import MaskTiles, mask_tiles


def with_unmapped(workload: Workload, names: tuple[str, ...]) -> tuple[str, ...]:
    """Einsums of a group, and the vector Einsums that a free softmax leaves out of it.

    These stand between Einsums of the group, or run in its loops to correct what others of them
    make. What runs after those loops is left out altogether.

    names:   in execution order.
    returns: the same, each that is left out right before the first that waits for it.
    """
    before = {*chain.from_iterable(map(workload.ancestors.__getitem__, names))}
    updated = {e.output.tensor for e in workload.einsums if e.updates}

    def left_out(name: str, made_of: tuple[str, ...]) -> bool:
        einsum = workload.einsum(name)
        if einsum.unit != "vector" or not any(m in names for m in made_of):
            return False
        return name in before or einsum.output.tensor in updated

    free = [n for n, m in workload.ancestors.items() if n not in names and left_out(n, m)]
    found: list[str] = []
    for name in names:
        found += [n for n in free if n in workload.ancestors[name] and n not in found]
        found.append(name)
    return (*found, *(n for n in free if n not in found))


def whole_group(workload: Workload, names: tuple[str, ...], policy: Policy) -> tuple[str, ...]:
    """The Einsums of a group, with those that a free softmax leaves out of it."""
    free = policy.softmax == "free" and len(names) > 1
    return with_unmapped(workload, names) if free else names


def carried_tensors(workload: Workload, names: tuple[str, ...]) -> tuple[str, ...]:
    """Tensors of which a group holds partial results between the passes of its inner loops.

    An online softmax carries the maximum, its correction, the sum and the numerator of every row.
    """
    inner = workload.inner_ranks(names)
    if not inner:
        return ()
    group = workload.named(names)
    read = {*chain.from_iterable(map(_seen_partial, group))}
    made = (e for e in group if not {*inner}.isdisjoint(e.reduced_ranks))
    return tuple(dict.fromkeys(e.output.tensor for e in made if e.each or e.output.tensor in read))


def _seen_partial(einsum: Einsum) -> Iterator[str]:
    """Tensors of which an Einsum reads, corrects or finishes partial results."""
    yield from einsum.so_far
    if einsum.updates:
        yield einsum.output.tensor
    if einsum.after:
        yield from einsum.operands


def leaves_finished(workload: Workload, names: Sequence[str], tensor: str) -> bool:
    """True where a result leaves a group through an Einsum after its loops that the group lacks.

    With a free softmax this is how AV leaves: the quotient drains it row by row.
    """
    readers = workload.readers(tensor)
    made = workload.producers.get(tensor) in names
    return made and bool(readers) and all(e.after and e.name not in names for e in readers)


def visited_tiles(workload: Workload, group: GroupMapping) -> MaskTiles | None:
    """The FLAT-tiles of queries x keys that a mask leaves; None where nothing can be skipped.

    Only what the shared loops cut on both sides is skipped. A row softmax does whole rows.
    """
    cut = {loop.rank: loop.factor for loop in (*group.given_out, *group.shared)}
    pair = workload.roles.masked
    if workload.mask is None or pair is None or any(cut.get(r, 1) == 1 for r in pair):
        return None
    queries, keys = (workload.rank_sizes[r] for r in pair)
    if group.given_out:
        if queries % cut[pair[0]] or keys % cut[pair[1]]:
            return None  # tiles of several sizes
        return mask_tiles(
            workload.mask, queries, keys, queries // cut[pair[0]], keys // cut[pair[1]]
        )
    tile = (pass_piece(workload, group, rank) for rank in pair)
    return mask_tiles(workload.mask, queries, keys, *tile)


def pass_piece(workload: Workload, group: GroupMapping, rank: str) -> int:
    """The extent of a rank in the largest pass of a group's shared loops."""
    cut = sum(loop.rank == rank and loop.factor > 1 for loop in group.shared)
    found = [workload.rank_sizes[rank]]
    for nest in group.einsums:
        own = [p for _, p in nest.placed if p.rank == rank and p.factor > 1]
        if rank not in workload.einsum(nest.einsum).each and own and cut:
            found.append(pieces(own)[cut - 1])
    return min(found)


def shared_level(platform: Platform) -> MemoryLevel:
    """The level whose words all Einsums of a group share: the outermost on-chip one."""
    return platform.matrix.levels[1]


def crosses_dram(workload: Workload, names: Sequence[str], tensor: str) -> bool:
    """True where a tensor enters or leaves a group: not made and wholly used inside it.

    What would run in each pass of a loop runs in the group that has the loop, or nowhere.
    """
    if workload.producers.get(tensor) not in names:
        return True
    if tensor in workload.views.values():
        return True
    readers = workload.readers(tensor)
    return not readers or any(e.name not in names and not e.each for e in readers)


def in_place_classes(
    workload: Workload,
    names: Sequence[str],
    level: str,
    inside: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The first tensor of those that share a place, by tensor of a group.

    An elementwise vector Einsum may make its output in the place of an input of the same shape: the
    scores QK, their exponentials and A are one buffer in FLAT's footprint (its single R x N term).
    Of several the widest place is taken, whatever the order of the operands.
    Only what nobody needs any more is overwritten: made in the group, read by no later Einsum of
    it, and neither carried nor on its way to DRAM. What arrives from DRAM is never overwritten, as
    the next tile arrives beside it. An Einsum that runs after the shared loops overwrites nothing:
    what it makes leaves word by word.

    names:  the Einsums of the group in execution order, those of a free softmax among them.
    level:  the shared one.
    inside: the level of each tensor that is handed over inside it; tensors of two levels share no
            place.
    """
    first: dict[str, str] = {}
    at = inside or {}
    einsums = workload.named(names)
    for position, einsum in enumerate(einsums):
        for tensor in einsum.tensors:
            first.setdefault(tensor, tensor)
        needed = {*chain.from_iterable(e.operands for e in einsums[position + 1 :])}
        places = [
            first[tensor]
            for tensor in overwritten(workload, tuple(names), einsum)
            if tensor not in needed and at.get(tensor) == at.get(einsum.output.tensor)
        ]
        if places:
            here = at.get(einsum.output.tensor, level)
            bits = {t: workload.bits(t, here) for t in first}
            first[einsum.output.tensor] = max(
                places, key=lambda place: max(n for t, n in bits.items() if first[t] == place)
            )
    return first


def overwritten(workload: Workload, names: Sequence[str], einsum: Einsum) -> tuple[str, ...]:
    """Inputs in whose place an Einsum may make its output, as soon as nobody else reads them.

    names: the Einsums of the group, in any order. See `in_place_classes`.
    """
    if einsum.unit != "vector" or einsum.after or einsum.updates or einsum.reduced_ranks:
        return ()
    carried = carried_tensors(workload, tuple(names))
    return tuple(
        access.tensor
        for access in einsum.inputs
        if set(access.ranks) == set(einsum.output.ranks)
        and not crosses_dram(workload, names, access.tensor)
        and access.tensor not in carried
    )


def may_stay(workload: Workload, names: Sequence[str], einsum: Einsum) -> tuple[str, ...]:
    """Tensors of an Einsum whose private tiles may stay while other Einsums have their turns.

    What is made in the group and seen by another of its Einsums returns to the shared level with
    each turn: the other one looks for it there.

    names: the Einsums of the group, those of a free softmax among them.
    """
    others = [workload.einsum(n) for n in names if n != einsum.name]
    seen = {*chain.from_iterable(e.tensors for e in others)} & workload.made_by(names)
    return tuple(tensor for tensor in einsum.tensors if tensor not in seen)


def copied_from(workload: Workload, einsum: Einsum) -> str | None:
    """The carried tensor whose old value an Einsum finds in the place of its output, if any.

    The correction of an online softmax, QK_cor = exp(QK_cor - QK_max), reads the old maximum there:
    it is copied in every pass of the loop but the first, before the new maximum overwrites it.
    """
    writers = [e for e in workload.einsums if e.output.tensor == einsum.output.tensor]
    if not einsum.each or not einsum.updates or len(writers) > 1 or len(einsum.so_far) != 1:
        return None
    return einsum.so_far[0]
