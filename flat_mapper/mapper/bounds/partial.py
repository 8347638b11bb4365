"""Lower bounds on partial candidates: some of their nodes are still to come.

As in `candidate set.CandidateSet.energy`, at most one rank is the innermost real loop outside a
candidate, and only tensors that lack it may stay in place. What is still open is bounded from
below: a tensor's next keeper is the one that is cheapest for it, and fanouts to come spare a keeper
above them as many reads as they have instances; or, where all of them are still to come, as many as
one split of them spares of every tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.mapper.cost.innermost import closed_passes, one_innermost
from flat_mapper.mapper.cost.price import (
    drawn_energy,
    first_visits,
    staged_once,
)
from flat_mapper.mapper.space.candidates import CandidateBlock, Floats, Ints, Transfer
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.roles import Role

Nodes = Sequence[MemoryLevel | Fanout]

# Of some candidates: by tensor, whether the next level keeps it, and whether it may stay in place;
# float64[n], or by split of the fanouts
Known = dict[tuple[str, bool, bool], tuple[Floats, Floats]]

# By tensor, the units that take one word of it, by split of all fanouts; float64[S, 1]
Sharing = Mapping[str, Floats]
ANY: Sharing = {}  # whatever the fanouts may spare


def shared_words(space: EinsumSpace, units: Ints) -> Sharing:
    """Units by tensor; see `whole_sizes.sharing_units`."""
    return dict(zip(space.tensors, units[:, :, None].astype(np.float64), strict=True))


def least_energy(
    space: EinsumSpace,
    candidates: CandidateBlock,
    rest: Nodes,
    keep: frozenset[str],
    roles: dict[str, tuple[Role, ...]],
    share: float | None = None,
    known: Known | None = None,
    sharing: Sharing = ANY,
) -> tuple[Floats, Floats]:
    """Lower bounds on every candidate's pJ, with DRAM and without; see `energy_by_split`."""
    found = energy_by_split(space, candidates, rest, keep, roles, share, known, sharing)
    return _over_splits(found[0]), _over_splits(found[1])


def energy_by_split(
    space: EinsumSpace,
    candidates: CandidateBlock,
    rest: Nodes,
    keep: frozenset[str],
    roles: dict[str, tuple[Role, ...]],
    share: float | None = None,
    known: Known | None = None,
    sharing: Sharing = ANY,
) -> tuple[Floats, Floats]:
    """Lower bounds on every candidate's pJ, by split of the fanouts where that matters.

    rest:  the nodes that are still to come, innermost first.
    keep:  what the first of them keeps, if it is a level.
    roles: by tensor, what the search may make of it; see `CandidateSet.energy`.
    share: of the work that a mask leaves; it does not spare first visits of an output. With one no
           words are rounded up to rows, as outer choices add what is beyond such words; None: all
           that is staged is.
    known: what tensors take, as calls with other keeps have found; the rest is added.
    sharing: where all fanouts are still to come, or of the last one; or else `ANY`.
    returns: with DRAM and without.
    """
    known = {} if known is None else known
    full, stays = list[tuple[Floats, Floats]](), list[tuple[Floats, Floats]]()
    for tensor in space.tensors:
        open_ = any(bool(k.open.any()) for k in candidates.transfers[tensor])
        for found, stay in ((full, False), (stays, open_)):
            key = (tensor, tensor in keep, stay)
            if key not in known:
                own = space, candidates, rest, keep, tensor, roles[tensor]
                known[key] = _least(*own, sharing.get(tensor), stays=stay, rounded=share is None)
            found.append(known[key])
    priced, free = (
        one_innermost(space, [f[i] for f in full], [s[i] for s in stays]) for i in (0, 1)
    )
    if share is None or share == 1:
        return priced, free
    # Each bound is of a number of first visits at least; all that may be are taken off.
    visits = (1 - share) * first_visits_at_most(space, candidates, rest)
    return share * priced - visits, share * free - visits


def _over_splits(found: Floats) -> Floats:
    """The least over splits of the fanouts, where they matter; float64[n]."""
    least: Floats = found.min(axis=0) if found.ndim > 1 else found
    return least


def first_visits_at_most(space: EinsumSpace, candidates: CandidateBlock, rest: Nodes) -> Floats:
    """pJ that first visits of the output spare at most, in any completion; float64[n]."""
    if space.first_visits_masked:
        return np.zeros(candidates.count)
    beyond = float(lanes_of(rest))
    inner = first_visits(space, candidates, space.arch.levels[space.shared])
    levels = [n for n in rest if isinstance(n, MemoryLevel)]
    volume = space.volumes(space.output)[1]
    outside = sum(
        space.volume_at(space.output, lv)
        * beyond
        * (sum(space.prices[lv.name][:2]) / lv.row_words + lv.outside_pj)
        for lv in (*levels, *space.arch.levels[: space.shared + 1])
    )
    networks = sum(sum(node.word_pj) for node in rest if isinstance(node, Fanout))
    return inner * beyond + outside + volume * beyond * networks


def _least(
    space: EinsumSpace,
    candidates: CandidateBlock,
    rest: Nodes,
    keep: frozenset[str],
    tensor: str,
    roles: tuple[Role, ...],
    sharing: Floats | None,
    *,
    stays: bool,
    rounded: bool,
) -> tuple[Floats, Floats]:
    """Lower bounds on the pJ of one tensor: in full, or if it may stay in place outside.

    sharing: of it, see `Sharing`; None: any.
    rounded: whether whole tiles are, up to rows of DRAM and of the shared level.
    """
    closed = closed_passes(space, candidates.tile, tensor)
    transfers = candidates.transfers[tensor]
    passes = [k.passes * (np.where(k.open, 1.0, closed) if stays else closed) for k in transfers]
    # An output's first visits are spared: one by every instance that is still to come.
    first = np.minimum(float(lanes_of(rest)), closed)
    firsts = [np.where(k.open, 1.0, first) if stays else first for k in transfers]
    energy = np.zeros(candidates.count)
    for i, transfer in enumerate(transfers):
        energy = energy + _ends(
            space,
            tensor,
            transfer,
            transfers[i + 1] if i + 1 < len(transfers) else None,
            passes[i],
            firsts[i],
        )
    volume, often = space.volumes(tensor)[0], passes[-1]
    words = volume * often
    both_ways = 2 * words - volume * firsts[-1] if tensor == space.output else words
    energy = energy + _crossing(rest, keep, tensor, volume, both_ways)
    if rest and isinstance(rest[0], MemoryLevel) and tensor in keep:
        own = space.volume_at(tensor, rest[0])
        energy = energy + _at(space, tensor, rest[0], own * often, own * firsts[-1])
        energy = energy + _filled(space, tensor, rest[0])
        often = np.ones(candidates.count)
    priced, free = _drawn(space, tensor, rest, often, roles, sharing, rounded=rounded)
    return energy + priced, energy + free


def _ends(
    space: EinsumSpace,
    tensor: str,
    transfer: Transfer,
    above: Transfer | None,
    passes: Floats,
    first: Floats,
) -> Floats:
    """pJ at the ends of a transfer that are known, and of the networks it crosses so far."""
    volume, output = space.volumes(tensor)[0], tensor == space.output
    energy = np.zeros(len(passes))
    if above is not None and above.child is not None:
        level, volume = above.child, space.volume_at(tensor, above.child)
        read, _, update = space.prices[level.name]
        vectors = above.copies / above.spread * volume / level.row_words / level.cluster_size
        again = passes - first if output else passes
        energy = energy + vectors * (again * read + (passes * update if output else 0.0))
    if transfer.child is not None:
        level = transfer.child
        own = space.volume_at(tensor, level)
        vectors = transfer.copies / transfer.spread * own / level.row_words / level.cluster_size
        filled = transfer.of_child(passes)
        again = filled - first if output else filled
        energy = energy + vectors * again * space.prices[level.name][1]
    return energy + volume * transfer.network_pj(passes, first if output else None)


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


def _at(
    space: EinsumSpace,
    tensor: str,
    level: MemoryLevel,
    words: Floats | float,
    first: Floats | float,
) -> Floats:
    """pJ at a level that so many words are drawn from, or brought to."""
    read, _, update = space.prices[level.name]
    vectors = np.asarray(words, np.float64) / level.row_words / level.cluster_size
    if tensor != space.output:
        return vectors * read
    again = (words - first) / level.row_words / level.cluster_size
    return vectors * update + again * read


def _filled(space: EinsumSpace, tensor: str, level: MemoryLevel) -> float:
    """pJ of writing every word of a tensor into a level once; an output starts from nothing."""
    if tensor == space.output:
        return 0.0
    vectors = space.volume_at(tensor, level) / level.row_words / level.cluster_size
    return vectors * space.prices[level.name][1]


def _drawn(
    space: EinsumSpace,
    tensor: str,
    rest: Nodes,
    often: Floats,
    roles: tuple[Role, ...],
    sharing: Floats | None,
    *,
    rounded: bool,
) -> tuple[Floats, Floats]:
    """Least pJ of bringing a tensor so often from whichever level may keep it.

    With what DRAM takes, and without. sharing, rounded: see `_least`.
    """

    def top(often: Floats, spared: Floats | float) -> tuple[Floats, Floats]:
        whole, within = list[Floats](), list[Floats]()
        for role in roles:
            level = space.arch.levels[0 if role == "stream" else space.shared]
            volume = space.volume_at(tensor, level)
            some = np.maximum(volume * often / spared, volume)
            drawn = drawn_energy(space, tensor, level, some, rounded=False)
            staged = role == "staged"
            for found, priced in ((whole, True), (within, False)):
                once = staged_once(space, tensor, priced=priced, rounded=rounded) if staged else 0.0
                free = role == "stream" and not priced
                found.append(np.asarray(once + (0.0 if free else drawn)))
        return reduce(np.minimum, whole), reduce(np.minimum, within)

    most = np.inf if sharing is None else sharing
    lanes, options = 1.0, list[tuple[Floats, Floats]]()
    for position, node in enumerate(rest):
        if isinstance(node, Fanout):
            lanes *= node.fanout_x * node.fanout_y
        elif position:
            spared = np.minimum(lanes, most)
            volume = space.volume_at(tensor, node)
            drawn = np.maximum(volume * often / spared, volume)
            at = _at(space, tensor, node, drawn, drawn) + _filled(space, tensor, node)
            priced, free = top(np.ones(()), 1.0)
            options.append((at + priced, at + free))
    options.append(top(often, np.minimum(lanes, most)))
    return reduce(np.minimum, [p for p, _ in options]), reduce(np.minimum, [f for _, f in options])
