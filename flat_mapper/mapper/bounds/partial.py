"""Lower bounds on the pJ of candidates, whole or partial: some nodes may be still to come.

At most one rank is the innermost real loop outside a candidate, and only tensors that lack it may
stay in place. What is still open is bounded from below: a tensor's next keeper is the one that is
cheapest for it, and fanouts to come spare a keeper above them as many reads as they have instances;
or, where all of them are still to come, as many as one split of them spares of every tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats
from flat_mapper.cost_model.roles import Role
from flat_mapper.cost_model.transfers import Transfer
from flat_mapper.mapper.bounds.energy import (
    closed_passes,
    first_visits,
    least_along,
    moved_once,
    one_innermost,
    spared_price,
    top_lines,
)
from flat_mapper.mapper.bounds.whole_sizes import sharing_units
from flat_mapper.mapper.space.einsum import EinsumSpace, PjLines, lanes_of

Nodes = Sequence[MemoryLevel | Fanout]

BothPj = tuple[Floats, Floats]  # pJ with DRAM and without; float64[n], or by split of the fanouts

# By tensor, the units that take one word of it, by split of all fanouts; float64[S, 1]
Sharing = Mapping[str, Floats]
ANY_SHARING: Sharing = {}  # whatever the fanouts may spare
NOTHING = frozenset[str]()


class Inside(NamedTuple):
    """Costs of a tensor inside some candidates, and times that its words come from beyond."""

    energy: Floats  # pJ at the ends of transfers that are known, and of networks crossed so far
    often: Floats
    first: Floats | None  # of an output, visits that are spared: by every instance to come, one

    @classmethod
    def of(
        cls, space: EinsumSpace, candidates: CandidateBlock, beyond: float, tensor: str, stays: bool
    ) -> Inside:
        """In full, or if it may stay in place outside; beyond: instances that are to come."""
        transfers = candidates.transfers[tensor]
        closed = passes = closed_passes(space, candidates.tile, tensor)
        spared = np.minimum(beyond, closed) if tensor == space.output else None
        energy, first = np.zeros(candidates.count), spared
        for i, transfer in enumerate(transfers):
            passes = transfer.passes * (np.where(transfer.open, 1.0, closed) if stays else closed)
            if stays and spared is not None:
                first = np.where(transfer.open, 1.0, spared)
            above = transfers[i + 1] if i + 1 < len(transfers) else None
            energy = energy + _ends(space, tensor, transfer, above, passes, first)
        return cls(energy, passes, first)

    @classmethod
    def both(
        cls, space: EinsumSpace, candidates: CandidateBlock, beyond: float, tensor: str
    ) -> Both:
        """In full, and if it may stay; the same twice where none may."""
        own = space, candidates, beyond, tensor
        full, may = cls.of(*own, False), any(t.open.any() for t in candidates.transfers[tensor])
        return full, cls.of(*own, True) if may else full


Both = tuple[Inside, Inside]  # of a tensor in full, and if it may stay


@dataclass(frozen=True, slots=True)
class Known:
    """Costs of tensors in some candidates, by tensor, whatever else the next level keeps."""

    inside: dict[str, Both] = field(default_factory=dict)
    # And whether the next level keeps it
    found: dict[tuple[str, bool], tuple[BothPj, BothPj]] = field(default_factory=dict)


def of_whole(blocks: Sequence[Both], some: Bools | slice = slice(None)) -> Both:
    """Of some of the whole candidates of several blocks, where nothing more is to come."""

    def joined(parts: Sequence[Inside]) -> Inside:
        energy, often = (np.concatenate([p[i] for p in parts])[some] for i in (0, 1))
        return Inside(energy, often, None)

    full = joined([own for own, _ in blocks])
    return full, full if all(a is b for a, b in blocks) else joined([own for _, own in blocks])


def shared_words(space: EinsumSpace) -> Sharing:
    """Units by tensor; see `sharing_units`."""
    units = sharing_units(space)[:, :, None].astype(np.float64)
    return dict(zip(space.tensors, units, strict=True))


def least_energy(
    space: EinsumSpace,
    candidates: CandidateBlock,
    roles: Mapping[str, tuple[Role, ...]],
    share: float | None = None,
    rest: Nodes = (),
    keep: frozenset[str] = NOTHING,
    known: Known | None = None,
    sharing: Sharing = ANY_SHARING,
) -> tuple[Floats, Floats]:
    """Lower bounds on every candidate's pJ, with what DRAM takes and without; float64[n] each.

    roles:  by tensor, what the search may make of it: whichever is cheapest. A staged tensor
            passes DRAM with every word once, a streamed one as often as the candidate draws it.
    share:  of the work that a mask leaves; it does not spare first visits of an output. With one
            no words are rounded up to rows, as outer choices add what is beyond such words; None:
            there is no mask, and all that is staged is.
    rest:   the nodes that are still to come, innermost first: none of a whole candidate.
    keep:   what the first of them keeps, if it is a level.
    known:  what calls with other keeps have found; the rest is added.
    sharing: where all fanouts are still to come, or else `ANY`.
    """
    known, beyond = Known() if known is None else known, float(lanes_of(rest))
    full, stays = list[BothPj](), list[BothPj]()
    for tensor in space.tensors:
        key = tensor, tensor in keep
        if key not in known.found:
            lines = top_lines(space, tensor, roles[tensor], rounded=share is None)
            if tensor not in known.inside:
                known.inside[tensor] = Inside.both(space, candidates, beyond, tensor)
            own, other = known.inside[tensor]
            what = rest, keep, tensor, lines, sharing.get(tensor)
            pj = _least(space, own, *what)
            known.found[key] = pj, pj if own is other else _least(space, other, *what)
        for some, pj in zip((full, stays), known.found[key], strict=True):
            some.append(pj)
    every = (one_innermost(space, [f[i] for f in full], [s[i] for s in stays]) for i in (0, 1))
    priced, free = map(over_splits, every)
    if share is None or share == 1:
        return priced, free
    # Each bound is of a number of first visits at least; all that may be are taken off.
    spared = (1 - share) * first_visits_at_most(space, candidates, rest, roles[space.output])
    return share * priced - spared, share * free - spared


def over_splits(found: Floats) -> Floats:
    """The least over splits of an Einsum's fanouts, where they matter; float64[n]."""
    return np.asarray(found.min(axis=0) if found.ndim > 1 else found)


def first_visits_at_most(
    space: EinsumSpace, candidates: CandidateBlock, rest: Nodes, roles: tuple[Role, ...]
) -> Floats:
    """pJ that first visits of the output spare at most, in any completion; float64[n].

    roles: those that the output may have.
    """
    if space.first_visits_masked:
        return np.zeros(candidates.count)
    if not rest:
        tops = dict.fromkeys(0 if role == "stream" else space.shared for role in roles)
        every = [first_visits(space, candidates, space.arch.levels[top]) for top in tops]
        return np.asarray(np.maximum.reduce(every))
    beyond = float(lanes_of(rest))
    inner = first_visits(space, candidates, space.arch.levels[space.shared])
    levels = [n for n in rest if isinstance(n, MemoryLevel)]
    volume = space.volumes(space.output)[1]
    outside = sum(
        space.volume_at(space.output, lv)
        * beyond
        * (
            (spared_price(space, lv) + space.prices[lv.name][1] * space.so_far[lv.name])
            / lv.row_words
            + lv.outside_pj * (2 * space.so_far[lv.name] - 1)
        )
        for lv in (*levels, *space.arch.levels[: space.shared + 1])
    )
    networks = sum(sum(node.word_pj) for node in rest if isinstance(node, Fanout))
    return inner * beyond + outside + volume * beyond * networks


def _least(
    space: EinsumSpace,
    inside: Inside,
    rest: Nodes,
    keep: frozenset[str],
    tensor: str,
    lines: tuple[PjLines, PjLines],
    sharing: Floats | None,
) -> BothPj:
    """Lower bounds on the pJ of one tensor, with what DRAM takes and without.

    sharing: of it, see `Sharing`; None: any.
    """
    energy, often, first = inside.energy, inside.often, inside.first
    if rest and space.priced_networks:
        volume = space.volumes(tensor)[0]
        both_ways = volume * (often if first is None else 2 * often - first)
        energy = energy + _crossing(rest, keep, tensor, volume, both_ways)
    if rest and isinstance(rest[0], MemoryLevel) and tensor in keep:
        read, write, update = moved_once(space, tensor, rest[0])
        if first is None:
            energy = energy + (often * read + write)
        else:  # an output starts from nothing
            so_far = space.so_far[rest[0].name]
            energy = energy + ((often - first) * (so_far * (update + read)) + first * update)
        priced, free = _drawn(space, tensor, rest, 1.0, lines, sharing)
    else:
        priced, free = _drawn(space, tensor, rest, often, lines, sharing)
    return energy + priced, energy + free


def _ends(
    space: EinsumSpace,
    tensor: str,
    transfer: Transfer,
    above: Transfer | None,
    passes: Floats,
    first: Floats | None,
) -> Floats | float:
    """pJ at the ends of a transfer that are known, and of the networks it crosses so far."""
    energy: Floats | float = 0.0
    if above is not None and above.child is not None:
        read, _, update = moved_once(space, tensor, above.child)
        if first is None:
            again = passes * read
        else:
            more = space.so_far[above.child.name] * (read + update)
            again = (passes - first) * more + first * update
        energy = above.copies / above.spread * again
    if transfer.child is not None:
        filled = transfer.of_child(passes)
        name = transfer.child.name
        again = filled if first is None else (filled - first) * space.so_far[name]
        write = moved_once(space, tensor, transfer.child)[1]
        energy = energy + transfer.copies / transfer.spread * (again * write)
    if transfer.network is None:
        return energy
    child = None if above is None else above.child
    volume = space.volumes(tensor)[0] if child is None else space.volume_at(tensor, child)
    return energy + volume * transfer.network_pj(passes, first)


def _crossing(
    rest: Nodes, keep: frozenset[str], tensor: str, volume: float, delivered: Floats
) -> Floats:
    """Least pJ of the networks that are still to come.

    delivered: words that the first of them brings, if no level before it keeps the tensor.
    """
    energy = np.zeros(len(delivered))
    for position, node in enumerate(rest):
        if isinstance(node, Fanout):
            enter_pj, each_pj = node.word_pj
            entered = np.maximum(delivered / node.copies, volume)
            energy = energy + entered * enter_pj + delivered * each_pj
            delivered = entered
        elif position or tensor in keep:
            delivered = np.full(len(delivered), volume)
    return energy


def _drawn(
    space: EinsumSpace,
    tensor: str,
    rest: Nodes,
    often: Floats | float,
    lines: tuple[PjLines, PjLines],
    sharing: Floats | None,
) -> tuple[Floats | float, Floats | float]:
    """Least pJ of bringing a tensor so often from whichever level may keep it.

    With what DRAM takes, and without. sharing: see `_least`.
    """
    lanes, priced, free = 1.0, list[Floats | float](), list[Floats | float]()
    for position, node in enumerate(rest):
        if isinstance(node, Fanout):
            lanes *= node.copies
        elif position:
            read, write, update = moved_once(space, tensor, node)
            times = _times(often, lanes, sharing)
            at = times * update if tensor == space.output else times * read + write
            priced.append(at + least_along(lines[0], 1.0))
            free.append(at + least_along(lines[1], 1.0))
            if node in space.keepers(tensor):
                break
    else:
        times = _times(often, lanes, sharing)
        priced.append(least_along(lines[0], times))
        free.append(least_along(lines[1], times))
    return reduce(np.minimum, priced), reduce(np.minimum, free)


def _times(often: Floats | float, lanes: float, sharing: Floats | None) -> Floats | float:
    """Times that words come to fanouts which spare the level above them as many as they may."""
    if lanes == 1 or isinstance(often, float):
        return often  # of one instance, or once
    return np.maximum(often / (lanes if sharing is None else np.minimum(lanes, sharing)), 1.0)
