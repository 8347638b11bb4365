"""Ways to divide Einsums over a mesh: what each device works on, needs and makes.

A placement says for each axis whether a tensor is whole there, split along one of its ranks, or
partial, a sum that is pending. Einsums that run as one divide, for each axis, one rank that their
shared loops may tile, or none: an axis is a spatial shared loop outside DRAM. A rank of an output
leaves that split, a reduced one leaves it partial; what lacks the rank is needed whole. Parts are
ceilings, and time is the slowest device's.

Attention has more ways, see `devices.ring`: queries over an axis with the keys gathered, in one
piece or folded, or with the keys in a ring; and keys over an axis, where the softmax is online: the
maxima of all devices are brought together, and then the sums and numerators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import permutations, product
from math import ceil, prod
from typing import NamedTuple

from flat_mapper.base.errors import SpecError
from flat_mapper.devices.cluster import PARTIAL, WHOLE, Cluster, Placement
from flat_mapper.devices.network import MeshAxis, Movement
from flat_mapper.devices.ring import ORDERS, QueryOrder, merge_seconds, ring_seconds, ring_steps
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.softmax import with_softmax

ACCUMULATOR_BITS = 32  # chosen: of the maximum, the sum and the numerator of a row


class Work(NamedTuple):
    """Work of a device in one step: Einsums at the sizes of its part."""

    names: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    mask: Mask | None
    online: bool  # whether its softmax has to be, so that its result may be merged

    def workload(self, whole: Workload) -> Workload:
        """The cascade that a chip is asked about."""
        part = whole if set(self.names) == set(whole.ancestors) else whole.subset(self.names)
        sizes = {**part.rank_sizes, **dict(self.sizes)}
        part = replace(part, rank_sizes=sizes, mask=self.mask, repeat=1, layers=())
        return with_softmax(part, "online") if self.online and part.softmax == "any" else part


def unnamed(part: Workload) -> str:
    """All that a chip's answer depends on, with numbers in place of names: alike are answered once.

    Names are numbered as they come; what has none of them stands as it is. Nothing is numbered
    where a name is a word of the problem, too: a tensor `mul` is no operation.
    """
    told = (
        name
        for e in part.einsums
        for name in (*(n for a in e.accesses for n in (a.tensor, *a.ranks)), e.name)
    )
    numbers = {name: f"#{number}" for number, name in enumerate(dict.fromkeys(told))}
    words = {word for e in part.einsums for word in (e.operation, e.unit)}
    words |= {part.softmax, part.latent, *part.absent.values()}
    words |= {word for own in part.roles.data_spaces.values() for word in own}
    if words & numbers.keys():
        numbers = {}

    def of(value: object) -> object:
        if isinstance(value, str):
            return numbers.get(value, value)
        if isinstance(value, Mapping):
            return sorted((repr(of(key)), repr(of(one))) for key, one in value.items())
        if isinstance(value, tuple):
            return [of(one) for one in value]
        if is_dataclass(value):
            own = (f.name for f in fields(value) if f.compare and f.name != "text")
            return [of(getattr(value, name)) for name in own]
        return value

    return repr(of(replace(part, name="", source="")))


def units_of(workload: Workload) -> Iterator[tuple[str, ...]]:
    """Einsums that no run cuts, in execution order: attention, an operator, or one alone."""
    whole = [workload.core] if workload.core else []
    whole += [own for own in workload.operators.values() if not set(own) & set(workload.core)]
    order, done = tuple(workload.ancestors), set[str]()
    for name in order:
        if name not in done:
            members = next((own for own in whole if name in own), (name,))
            yield tuple(n for n in order if n in members)
            done |= set(members)


class DeviceShare(NamedTuple):
    """One device's share of a step: works in turn, and seconds in which it merges results."""

    works: tuple[Work, ...]
    merge: float = 0.0

    def seconds(self, price: Callable[[Work], float]) -> float:
        """Seconds of it; price: of a work."""
        return sum(map(price, self.works)) + self.merge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # each is made once
class Sharding:
    """A division of Einsums that run as one, over all axes.

    needs, gives: placements of what they read from outside and leave there.
    steps:        for each step the turns that devices have; a step is over when the slowest is.
    shift:        what goes round in every step but the last, hidden behind it if it is shorter.
    after:        collectives of the result. buffers: bytes of a device for what goes round.
    words:        the way in words, of keys and queries.
    """

    names: tuple[str, ...]
    division: Placement
    needs: Mapping[str, Placement]
    gives: Mapping[str, Placement]
    steps: tuple[tuple[DeviceShare, ...], ...]
    shift: Movement | None = None
    after: tuple[Movement, ...] = ()
    buffers: float = 0.0
    words: str = ""

    @property
    def works(self) -> tuple[Work, ...]:
        """Everything that some device works on, each once."""
        every = (work for step in self.steps for turn in step for work in turn.works)
        return tuple(dict.fromkeys(every))

    def slowest(self, price: Callable[[Work], float]) -> list[DeviceShare]:
        """The share of the slowest device in each step; price: seconds of a work."""
        return [max(step, key=lambda turn: turn.seconds(price)) for step in self.steps]

    def longest(self, price: Callable[[Work], float]) -> list[float]:
        """Seconds of the slowest device in each step; price: of a work."""
        return [turn.seconds(price) for turn in self.slowest(price)]

    def seconds(self, price: Callable[[Work], float]) -> float:
        """Seconds of all steps and of what follows them."""
        shift = self.shift.seconds if self.shift else 0.0
        return ring_seconds(self.longest(price), shift) + sum(one.seconds for one in self.after)

    def to_dict(self, words: Callable[[Placement], str]) -> dict[str, object]:
        """The division, with placements in words."""
        return {
            "einsums": list(self.names),
            "division": words(self.division),
            "way": self.words,
            "needs": {t: words(at) for t, at in self.needs.items()},
            "gives": {t: words(at) for t, at in self.gives.items()},
        }


class Ways:
    """The ways of a workload's Einsums on a cluster, and what it takes to move its tensors."""

    def __init__(self, workload: Workload, cluster: Cluster) -> None:
        self.workload, self.cluster, self.axes = workload, cluster, cluster.axes
        self.roles = workload.roles
        self.moved = cache(self._moved)
        self.of = cache(self._of)

    def bytes(self, tensor: str, at: Placement) -> float:
        """Bytes that a device has of a tensor; of a partial one, of its own sum."""
        sizes, ranks = self.parts(at), self.workload.tensor_ranks[tensor]
        return prod(sizes[r] for r in ranks) * self.workload.bits(tensor) / 8

    def parts(self, at: Placement) -> dict[str, int]:
        """Sizes of all ranks on a device."""
        sizes = dict(self.workload.rank_sizes)
        for rank in set(at) - {WHOLE, PARTIAL}:
            parts = prod(a.size for a, r in zip(self.axes, at, strict=True) if r == rank)
            sizes[rank] = ceil(sizes[rank] / parts)
        return sizes

    def _moved(self, tensor: str, has: Placement, to: Placement) -> tuple[Movement, ...] | None:
        """The fastest collectives, axis after axis; None where nothing leads there."""
        if any(t == PARTIAL != h for h, t in zip(has, to, strict=True)):
            return None
        every = list[tuple[Movement, ...]]()
        other = [i for i, (h, t) in enumerate(zip(has, to, strict=True)) if h != t]
        for order in permutations(other):
            now, found = list(has), list[Movement]()
            for i in order:
                before, now[i] = tuple(now), to[i]
                found += self._one(tensor, self.axes[i], before, tuple(now), i)
            every.append(tuple(found))
        return min(every, key=lambda found: sum(one.seconds for one in found))

    def _one(
        self, tensor: str, axis: MeshAxis, has: Placement, to: Placement, i: int
    ) -> list[Movement]:
        """The collective that changes a tensor on one axis; none where each device has its part."""
        before, after = self.bytes(tensor, has), self.bytes(tensor, to)
        if has[i] == PARTIAL:
            if to[i] != WHOLE:
                return [axis.moved("reduce_scatter", axis.size * after)]
            both = axis.moved("all_reduce", before), axis.moved("one_shot", before)
            return [min(both, key=lambda one: one.seconds)]
        if has[i] == WHOLE:
            return []
        if to[i] == WHOLE:  # parts are ceilings, and so is what each device sends
            return [axis.moved("all_gather", axis.size * before)]
        rows = self.parts(has)[to[i]]
        return [axis.moved("alltoall", before / rows * axis.size * ceil(rows / axis.size))]

    def _of(self, names: tuple[str, ...]) -> tuple[Sharding, ...]:
        """All ways of Einsums that run as one; none where they may not."""
        if self.cluster.single:
            (way,) = (self._plain(names, at) for at in self.cluster.placements(()))
            return (replace(way, buffers=self._between()),)
        try:
            shared = self.workload.shareable_ranks(names)
        except SpecError:
            return ()
        core = self.workload.core
        if core and set(core) & set(names):
            return tuple(self._attention(names)) if set(core) == set(names) else ()
        ranks = [r for r in shared if self.workload.rank_sizes[r] > 1 and self._sums(names, r)]
        return tuple(self._plain(names, d) for d in self.cluster.placements(ranks))

    def _between(self) -> float:
        """The most bytes that come and go between units that a device runs one after another."""
        units, alive, most = list(units_of(self.workload)), set[str](), 0.0
        for number, names in enumerate(units, 1):
            later = self.workload.named(n for names in units[number:] for n in names)
            read = {self.workload.views.get(t, t) for e in later for t in e.operands}
            alive = read & (alive | self.workload.made_by(names))
            most = max(most, sum(self.bytes(t, (WHOLE,) * len(self.axes)) for t in alive))
        return most

    def _sums(self, names: tuple[str, ...], rank: str) -> bool:
        """True unless an Einsum reduces the rank by anything but a sum."""
        einsums = self.workload.named(names)
        return all(
            rank not in e.reduced_ranks or e.operation not in ("max", "min") for e in einsums
        )

    def _plain(
        self, names: tuple[str, ...], division: Placement, words: str = "", parted: bool = False
    ) -> Sharding:
        sizes = self.parts(division)
        mask = self._seen(sizes)
        if mask and (keys := self.roles.keys) in division:
            mask = replace(
                mask, parts=mask.parts * -(-self.workload.rank_sizes[keys] // sizes[keys])
            )
        needs, gives = self._needs(names, division), self._gives(names, division)
        turn = DeviceShare((self._work(names, sizes, mask, parted),))
        return Sharding(
            names=names, division=division, needs=needs, gives=gives, steps=((turn,),), words=words
        )

    def _seen(self, sizes: Mapping[str, int]) -> Mask | None:
        """The mask of the device that sees most: of a window on either side one in the middle.

        That has as many keys in a row as if all of them came before its queries.
        """
        mask, pair, whole = self.workload.mask, self.roles.masked, self.workload.rank_sizes
        if mask is None or pair is None or mask.causal or whole[pair[0]] <= 2 * sizes[pair[0]]:
            return mask
        assert mask.window is not None
        wide, before = 2 * mask.window - 1, whole[pair[1]] - sizes[pair[0]]
        return Mask(causal=True, window=wide) if wide <= before + 1 else None

    def _work(
        self,
        names: tuple[str, ...],
        sizes: Mapping[str, int],
        mask: Mask | None,
        parted: bool = False,
    ) -> Work:
        ranks = {r for n in names for r in self.workload.einsum(n).ranks}
        if mask and (pair := self.roles.masked):
            mask = mask.within(*(sizes[r] for r in pair)) if set(pair) <= ranks else None
        return Work(names, tuple((r, n) for r, n in sizes.items() if r in ranks), mask, parted)

    def _needs(self, names: tuple[str, ...], division: Placement) -> dict[str, Placement]:
        """Placements of what Einsums read from outside."""
        made = self.workload.made_by(names)
        read = dict.fromkeys(t for e in self.workload.named(names) for t in e.operands)
        return {t: self._at(t, division) for t in read if t not in made}

    def _gives(self, names: tuple[str, ...], division: Placement) -> dict[str, Placement]:
        """Placements of what Einsums leave outside."""
        workload, gives = self.workload, dict[str, Placement]()
        viewed = set(workload.views.values())
        for einsum in (e for e in workload.named(names) if not e.updates):
            tensor = einsum.output.tensor
            readers = {e.name for e in workload.readers(tensor)}
            if readers - set(names) or not readers or tensor in viewed:
                ranks = einsum.output.ranks
                gives[tensor] = tuple(
                    r if r in ranks else PARTIAL if r in einsum.reduced_ranks else WHOLE
                    for r in division
                )
        return gives

    def _attention(self, names: tuple[str, ...]) -> Iterator[Sharding]:
        """The ways of attention in the short form, whose keys and values have the keys' rank."""
        roles, sizes = self.roles, self.workload.rank_sizes
        online = self.workload.softmax in ("online", "any")
        plain = [r for r in roles.ranks_of(("batch", "groups", "heads", "queries")) if sizes[r] > 1]
        keyed = [roles.keys] * (online and sizes[roles.keys] > 1)
        causal = self.workload.mask is not None
        for division in self.cluster.placements((*plain, *keyed)):
            if roles.keys in division:
                yield from self._merged(names, division)
                continue
            words = "keys gathered, queries in one piece" if roles.queries in division else ""
            yield self._plain(names, division, words)
            if division.count(roles.queries) != 1 or (causal and not self._square):
                continue
            if causal:
                yield self._folded(names, division)
            for order in (ORDERS if causal else ORDERS[:1]) if online else ():
                yield self._ring(names, division, order)

    @property
    def _square(self) -> bool:
        """True where the mask is causal alone, and each query has its key."""
        mask, pair = self.workload.mask, self.roles.masked
        same = pair is not None and len({self.workload.rank_sizes[r] for r in pair}) == 1
        return mask is not None and same and mask == Mask(causal=True)

    def _folded(self, names: tuple[str, ...], division: Placement) -> Sharding:
        """Queries folded, all keys gathered: of each device two pieces with the keys up to each."""
        way, i = self._plain(names, division), division.index(self.roles.queries)
        others = self.parts((*division[:i], WHOLE, *division[i + 1 :]))
        pieces = 2 * self.axes[i].size

        def seen(number: int) -> Work:
            own = ceil(others[self.roles.queries] / pieces)
            keys = min(others[self.roles.keys], own * (number + 1))
            sizes = others | {self.roles.queries: own, self.roles.keys: keys}
            return self._work(names, sizes, self.workload.mask)

        turns = (DeviceShare((seen(n), seen(pieces - 1 - n))) for n in range(pieces // 2))
        return replace(way, steps=(tuple(turns),), words="keys gathered, queries folded")

    def _ring(self, names: tuple[str, ...], division: Placement, order: QueryOrder) -> Sharding:
        way, i = self._plain(names, division), division.index(self.roles.queries)
        axis, queries, keys = self.axes[i], self.roles.queries, self.roles.keys
        others = self.parts((*division[:i], WHOLE, *division[i + 1 :]))
        sent = [t for t in way.needs if keys in self.workload.tensor_ranks[t]]
        at = tuple(keys if j == i else r for j, r in enumerate(division))
        placed = {t: self._at(t, at) for t in sent}
        part = sum(self.bytes(t, placed[t]) for t in sent)
        steps = []
        for number, pieces in enumerate(
            ring_steps(axis.size, order, causal=bool(self.workload.mask))
        ):
            turns = []
            for piece in pieces:
                own = {queries: ceil(others[queries] / piece.queries)}
                own |= {keys: ceil(others[keys] / piece.keys)}
                mask = Mask(causal=True) if piece.causal else None
                merge = self._merge(others | own) if number else 0.0
                turns.append(DeviceShare((self._work(names, others | own, mask, True),), merge))
            steps.append(tuple(turns))
        return replace(
            way,
            needs={**way.needs, **placed},
            steps=tuple(steps),
            shift=axis.moved("shift", part),
            buffers=2 * part,
            words=f"keys in a ring, queries {'in ' * (order == 'one piece')}{order}",
        )

    def _at(self, tensor: str, division: Placement) -> Placement:
        ranks = self.workload.tensor_ranks[tensor]
        return tuple(r if r in ranks else WHOLE for r in division)

    @property
    def _numerator(self) -> tuple[str, ...]:
        """Ranks of what attention makes."""
        return self.workload.einsum(self.workload.core[-1]).output.ranks

    def _rows(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Rows of the softmax on a device, and values of each in the result."""
        words = prod(sizes[r] for r in self._numerator)
        values = prod(
            self.workload.rank_sizes[r]
            for r in self._numerator
            if r not in self.roles.declared.values()
        )
        return words // values, values

    def _merge(self, sizes: Mapping[str, int]) -> float:
        return merge_seconds(self.cluster.chip, *self._rows(sizes), ACCUMULATOR_BITS)

    def _merged(self, names: tuple[str, ...], division: Placement) -> Iterator[Sharding]:
        """Keys over some axes: the maxima of all devices first, then sums and numerators."""
        sizes = self.parts(division)
        rows, values = self._rows(sizes)
        words = "keys over devices" + (", as a query sees them" if self.workload.mask else "")
        way, word = self._plain(names, division, words, parted=True), ACCUMULATOR_BITS / 8
        keyed = [i for i, r in enumerate(division) if r == self.roles.keys]
        splits = [r for r in self._numerator if r in self.roles.declared.values() and sizes[r] > 1]
        for to in product((WHOLE, *splits), repeat=len(keyed)):
            moved = [self.axes[i].moved("all_reduce", rows * word) for i in keyed]
            sums, at = rows * word * (values + 1), list(division)
            for i, rank in zip(keyed, to, strict=True):
                moved.append(self.axes[i].moved("reduce_scatter" if rank else "all_reduce", sums))
                sums, at[i] = sums / (self.axes[i].size if rank else 1), rank
            yield replace(way, gives={t: tuple(at) for t in way.gives}, after=tuple(moved))
