"""One Einsum as the search sees it: merged ranks, tensor relevance, hierarchy and prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from math import factorial, prod
from typing import Any, Concatenate

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.facts import EinsumFacts, Rank
from flat_mapper.mapper.space.factors import (
    Splits,
    divisor_places,
    divisors,
    most_at_once,
    on_axes,
    splittings,
)
from flat_mapper.mapping.space import LoopKind, Mapspace, SlotRule
from flat_mapper.workload.graph import Workload

# By way of a tensor's words: pJ each time that all of them pass, and pJ however often they do
PjLines = tuple[tuple[float, float], ...]


def remembered[**P, Answer](
    asks: Callable[Concatenate[Any, P], Answer],
) -> Callable[Concatenate[Any, P], Answer]:
    """A function of something that is answered once for the same arguments.

    It keeps its answers so far as `known`, by function and arguments.
    """

    @wraps(asks)
    def answer(of: Any, /, *args: P.args, **named: P.kwargs) -> Answer:
        key = asks, args, tuple(named.items())
        if key not in of.known:
            of.known[key] = asks(of, *args, **named)
        found: Answer = of.known[key]
        return found

    return answer


@dataclass(frozen=True, kw_only=True)
class EinsumSpace(EinsumFacts):
    """Choices inside one Einsum, below and at the shared level."""

    mapspace: Mapspace
    masked: tuple[str, ...] = ()  # queries and keys of the workload's mask, if it has one
    # inputs that stream, of which DRAM moves a number of words in all, and the group waits for some
    waits: frozenset[str] = frozenset()
    # tensors that private levels may keep over shared loops, with positions of their ranks that no
    # shared loops cut
    staying: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def common(self) -> tuple[bool, ...]:
        """Ranks that every tensor has: no tensor is ever reused over them."""
        return tuple(all(rel[r] for rel in self.relevant.values()) for r in range(len(self.ranks)))

    def scale(self, tensor: str, level: MemoryLevel) -> float:
        """Words at a level for one at the outermost."""
        return self.share(tensor, level.name) / self.share(tensor, self.arch.levels[0].name)

    def room_inside(self, tensor: str, unit: MemoryLevel) -> float:
        """Words of a tensor that all levels below the shared one hold together, at most.

        unit: the level in whose words they are counted.
        """
        total = 0.0
        for level in (n for n in self.inner_nodes if isinstance(n, MemoryLevel)):
            own, other = (self.share(tensor, lv.name) for lv in (level, unit))
            has = np.inf if level.usable_words is None else level.usable_words * level.instances
            total += has if own == other else has * (other / own) * (1 + EQUAL)
        return total

    def kept_in_part(self, keep: Mapping[str, frozenset[str]]) -> set[str]:
        """Tensors that a part of the shared level keeps; keep: by level."""
        parts = (level.name for level in self.arch.levels if level.part_of)
        return {tensor for name in parts for tensor in keep.get(name, ())}

    @property
    def first_visits_masked(self) -> bool:
        """True if a mask leaves out first visits of the output: each pass brings other words."""
        return bool(self.masked) and set(self.masked) <= set(self.einsum.output.ranks)

    @cached_property
    def inner_nodes(self) -> tuple[MemoryLevel | Fanout, ...]:
        """Nodes below the shared level, outermost first."""
        nodes = self.arch.nodes
        return nodes[nodes.index(self.arch.levels[self.shared]) + 1 :]

    def outside(self, node: MemoryLevel | Fanout) -> tuple[MemoryLevel | Fanout, ...]:
        """Nodes outside one that are inside the shared level."""
        return self.inner_nodes[: self.inner_nodes.index(node)]

    @cached_property
    def priced_networks(self) -> bool:
        """True if some fanout below the shared level has a price."""
        return any(isinstance(n, Fanout) and any(n.word_pj) for n in self.inner_nodes)

    @cached_property
    def least_network(self) -> float:
        """pJ of every word of its tensors over each network once, for one copy."""
        hops = sum(sum(n.word_pj) for n in self.inner_nodes if isinstance(n, Fanout))
        return hops * sum(self.volumes(tensor)[0] for tensor in self.tensors)

    @cached_property
    def lanes(self) -> int:
        """Compute units below the shared level."""
        return lanes_of(self.inner_nodes)

    @cached_property
    def passing(self) -> frozenset[str]:
        """Tensors that no level below the shared one may keep: units draw a word each time."""
        levels = [n.name for n in self.inner_nodes if isinstance(n, MemoryLevel)]
        kept = {t for name in levels for keep in self.keep_sets(name) for t in keep}
        return frozenset(self.tensors) - kept

    @cached_property
    def widest(self) -> int:
        """At most so many compute units any mapping of the Einsum uses."""
        fanouts = (n for n in self.inner_nodes if isinstance(n, Fanout))
        return prod(most_at_once(*self.on_fanout(n)) for n in fanouts)

    @cached_property
    def splits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Factors that every fanout can take, and those of them on its x axis; int64[R, n]."""
        fanouts = (n for n in self.inner_nodes if isinstance(n, Fanout))
        return {n.name: on_axes(*self.on_fanout(n)) for n in fanouts}

    def on_fanout(self, fanout: Fanout) -> Splits:
        """Question of `on_axes`: the same one for all sizes of which a fanout sees the same."""
        sides = fanout.fanout_x, fanout.fanout_y
        each = enumerate(self.ranks)
        options = (self.options(fanout.name, "spatial", r, prod(sides)) for r, _ in each)
        alone = [len(rank.sizes) == 1 for rank in self.ranks]
        return (
            tuple(
                tuple(n for n in own if n <= max(sides)) if one else tuple(own)
                for own, one in zip(options, alone, strict=True)
            ),
            sides,
            tuple(self._axes(fanout.name, rank) for rank in self.ranks),
            tuple((1,) if one else r.sizes for r, one in zip(self.ranks, alone, strict=True)),
        )

    def _axes(self, fanout: str, rank: Rank) -> tuple[bool, bool]:
        """True if the mapspace lets a rank stand on x, and on y."""
        rules = self.rules(fanout, "spatial")
        lists = ([r.x for r in rules], [r.y for r in rules])
        one, other = (
            all(names is None or set(rank.members) & set(names) for names in own) for own in lists
        )
        return one, other

    def tile_number(self, tile: np.ndarray) -> np.ndarray:
        """A number for every tile int64[R, n]; equal tiles have equal ones."""
        found = np.zeros(tile.shape[1], np.int64)
        for size, own in zip(self.sizes, tile, strict=True):
            extents, places = divisor_places(size)
            position = np.searchsorted(extents, own) if places is None else places.take(own)
            found *= len(extents)
            found += position
        return found

    def size(self) -> int:
        """Loop nests of the Einsum: splits of every rank over its places, axes, orders, keeps."""
        levels = [n for n in self.inner_nodes if isinstance(n, MemoryLevel)]
        places = len(self.inner_nodes) + 1  # and the shared level
        ways = prod(splittings(r.size, places) for r in self.ranks)
        axes = 1 << (len(self.ranks) * (len(self.inner_nodes) - len(levels)))
        orders = prod(factorial(len(self.ranks)) for _ in range(len(levels) + 1))
        keeps = prod(len(self.keep_sets(lv.name)) for lv in levels)
        return ways * axes * orders * keeps

    @cached_property
    def known(self) -> dict[object, Any]:
        """Answers so far, see `remembered`."""
        return {}

    def options(self, node: str, kind: LoopKind, rank: int, limit: int) -> list[int]:
        """Factors a rank may take at a node: divisors up to a limit, under the mapspace's rules."""
        every = divisors(self.ranks[rank].size)
        return [d for d in every if d <= limit and self.allows(node, kind, self.ranks[rank], d)]

    def allows(self, node: str, kind: LoopKind, rank: Rank, factor: int) -> bool:
        """True if the rules let a rank's loop at a node have a factor."""
        return all(
            factor == rule.factors.get(one, factor) and factor <= rule.at_most.get(one, factor)
            for rule in self.rules(node, kind)
            for one in rank.members
        )

    def rules(self, node: str, kind: LoopKind) -> list[SlotRule]:
        """The mapspace's rules about a node's loops."""
        return list(self.mapspace.slot_rules(self.einsum.name, node, kind))

    @remembered
    def keep_sets(self, level: str) -> list[frozenset[str]]:
        """Sets that a level may keep: every subset of the tensors that the rules leave open.

        None, where they contradict each other.
        """
        must: set[str] = set()
        never: set[str] = set()
        for rule in self.mapspace.keep_rules(self.einsum.name, level):
            must.update(t for t in rule.keep if t in self.tensors)
            never.update(t for t in rule.bypass if t in self.tensors)
        if must & never:
            return []
        free = [t for t in self.tensors if t not in must | never]
        return [
            frozenset(must | {t for i, t in enumerate(free) if bits >> i & 1})
            for bits in range(1 << len(free))
        ]

    def may_keep(self, tensor: str, level: str) -> bool:
        """True if a level may keep a tensor."""
        return any(tensor in keep for keep in self.keep_sets(level))

    @remembered
    def keepers(self, tensor: str) -> list[MemoryLevel]:
        """Levels below the shared one that keep a tensor whatever else they do."""
        levels = [n for n in self.inner_nodes if isinstance(n, MemoryLevel)]
        every = [n for n in levels if self.may_keep(tensor, n.name)]
        return [n for n in every if all(tensor in keep for keep in self.keep_sets(n.name))]


def lanes_of(nodes: Sequence[MemoryLevel | Fanout]) -> int:
    """Instances that the fanouts among some nodes make of one."""
    return prod(n.fanout_x * n.fanout_y for n in nodes if isinstance(n, Fanout))


def merged_ranks(
    workload: Workload, names: Sequence[str], apart: Sequence[str], at_one: Sequence[str] = ()
) -> tuple[Rank, ...]:
    """The ranks of a group of Einsums, those that always occur together merged.

    apart:  ranks that a rule names: they stay single.
    at_one: ranks whose tiles are of one: they merge with one another only.
    Merging is exact: two ranks in the same tensors give every count the same factor, and a factor
    of the product splits into factors of the two at every level.
    """
    einsums = [workload.einsum(n) for n in names]
    accesses = [a for e in einsums for a in e.accesses]
    merged: dict[object, list[str]] = {}  # by what ranks must share to count as one
    for rank in workload.rank_sizes:
        if any(rank in e.ranks for e in einsums):
            seen = tuple(rank in a.ranks for a in accesses)
            key = rank if rank in apart else (seen, rank in at_one)
            merged.setdefault(key, []).append(rank)
    return tuple(
        Rank(
            name="".join(group),
            members=tuple(group),
            sizes=tuple(workload.rank_sizes[r] for r in group),
        )
        for group in merged.values()
    )


def chain_orders(
    ranks: Sequence[int], irrelevant: Sequence[frozenset[int]]
) -> list[tuple[int, ...]]:
    """Loop orders that may differ in cost; innermost first.

    irrelevant: for every tensor with a tile right below, the ranks it lacks.
    What an order decides is which tensors' tiles stay in place: the ranks of the innermost block
    are irrelevant to all tensors of a set, those of the next block to a subset of it, and so on.
    Each such chain of sets is one order; all other orders cost the same as one of these or more.
    """
    tensors = [t & frozenset(ranks) for t in irrelevant]
    found: dict[tuple[int, ...], None] = {}

    def extend(done: tuple[int, ...], alive: list[frozenset[int]]) -> None:
        left = [r for r in ranks if r not in done]
        blocks: dict[frozenset[int], list[frozenset[int]]] = {}
        for first in left:
            still = [t for t in alive if first in t]
            if still:
                block = frozenset.intersection(*still) - frozenset(done)
                blocks.setdefault(block, still)
        if not blocks:
            found.setdefault(done + tuple(left))
            return
        for block, still in blocks.items():
            extend(done + tuple(sorted(block)), still)

    extend((), [t for t in tensors if t])
    return list(found)
