"""Cycles of the words that a tile brings and sends, at least, by its passes over keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.cost_model.outside import weight_of
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.mapper.bounds.energy import in_turn_cycles
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapper.chip.floors import inputs_of, outside_of, tile_words
from flat_mapper.mapper.chip.ways import ways_apart
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of what is sent once for all tiles, of which each pays for what it reads."""

    count: float  # tiles
    passes: float  # of all of them
    single: float  # tiles of one pass
    whole: int  # passes of the largest

    @classmethod
    def of(cls, one: Assignment) -> Shares:
        """Those of an assignment's tiles."""
        return cls(
            count=one.count,
            passes=one.passed.every,
            single=one.passed.single,
            whole=one.most_passes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptInput:
    """An input that a level between DRAM and the cores may keep."""

    tensor: str = ""
    own: float  # cycles of DRAM for the words of the largest tile, if it is sent these alone
    all: float  # cycles of DRAM for what it sends in all, if a level between keeps them
    beside: float  # cycles of the slowest other source for the words of the largest tile
    grows: bool  # whether other tiles have fewer words
    runs: int  # times that a tile of more than one pass may bring what one of one pass keeps

    def cycles(self, passes: int, shares: Shares, *, alone: bool, again: bool = False) -> float:
        """Cycles at least in a tile of some passes; alone: of one, where others have more.

        again: whether it comes with every pass of a tile, though it does not grow with them.
        """
        part = passes / shares.whole if self.grows else 1.0
        each = self.grows or again  # whether tiles read of it as they have passes
        other = (shares.passes if each else shares.count) - shares.single
        share = 1 / (shares.single + (self.runs if alone else 1) * other)
        kept = self.all * share * (passes if each else 1)
        times = passes if again else 1
        return max(min(part * self.own * times, kept), part * self.beside * times)


@dataclass(frozen=True, kw_only=True)
class MovedCycles:
    """Cycles of every word that a tile brings and sends, once, one tensor after another.

    None where they do not run beside turns.
    """

    ahead: bool = True  # whether they do
    overlaps: bool = False  # whether units work at once
    fixed: float = 0.0  # of inputs that do not depend on its passes over keys
    unequal: float = 0.0  # of each pass: of inputs
    kept: tuple[KeptInput, ...] = ()  # beside these inputs
    shares: Shares | None = None  # None: nothing is kept
    sent: float = 0.0  # of outputs that do not depend on its passes
    sent_each: float = 0.0  # and of each pass
    apart: bool = False  # whether outputs may leave while inputs come
    again: bool = False  # whether some kept input comes with every pass, though it does not grow

    @classmethod
    def of(cls, platform: Platform, one: Assignment, buffering: float) -> MovedCycles:
        """That of the largest tile, at least."""
        at_once = overlaps(one.group.schedule)
        if buffering < 2 or at_once or len(one.group.names) == 1:
            return cls(ahead=False, overlaps=at_once and buffering >= 2)
        workload, dram = one.core_workload, outside_of(platform, one, buffering)
        names, grows = one.group.names, _growing(one)
        found, kept = {"fixed": 0.0, "unequal": 0.0, "sent": 0.0, "sent_each": 0.0}, []
        for tensor in inputs_of(one):
            if tensor in dram.totals:
                kept.append(_kept(one, dram, tensor))
                continue
            words = tile_words(one, tensor)
            weight = weight_of(dram, tensor, words)
            cycles = float(in_turn_cycles(dram, tensor, words, 0.0, weight))
            passes = one.most_passes if tensor in grows else 1
            found["unequal" if tensor in grows else "fixed"] += cycles / passes
        outputs = dict.fromkeys(workload.einsum(n).output.tensor for n in names)
        for tensor in (t for t in outputs if crosses_dram(workload, names, t)):
            cycles = float(in_turn_cycles(dram, tensor, 0.0, tile_words(one, tensor), 1.0))
            passes = one.most_passes if tensor in grows else 1
            found["sent_each" if tensor in grows else "sent"] += cycles / passes
        return cls(
            fixed=found["fixed"],
            unequal=found["unequal"],
            sent=found["sent"],
            sent_each=found["sent_each"],
            kept=tuple(kept),
            shares=Shares.of(one) if kept else None,
            apart=ways_apart(platform, one.level),
        )

    @property
    def staying(self) -> frozenset[str]:
        """Kept inputs of which a tile's words do not grow: they stay in it, or come again."""
        return frozenset(one.tensor for one in self.kept if not one.grows)

    @property
    def forms(self) -> tuple[MovedCycles, ...]:
        """This one, and where inputs are kept that may come with every pass, that in which some do.

        No mapping is below both. An input stays in a tile for all passes or comes with each.
        """
        some = any(not one.grows for one in self.kept)
        return (self, replace(self, again=True)) if some and not self.again else (self,)

    @cached_property
    def floor(self) -> float:
        """Cycles of the largest tile at least, where an input comes with every pass; else 0."""
        if not self.again or self.shares is None:
            return 0.0
        whole, found = self.shares.whole, self.cycles(self.shares.whole, 0.0)
        more = (
            one.cycles(whole, self.shares, alone=False, again=True)
            - self._kept(one, whole, alone=False)
            for one in self.kept
            if not one.grows
        )
        return found if self.apart else found + min(more)

    def _kept(self, one: KeptInput, passes: int, *, alone: bool) -> float:
        """Cycles of a kept input, at least."""
        assert self.shares is not None
        every = (False, True) if self.again and not one.grows else (False,)
        return min(one.cycles(passes, self.shares, alone=alone, again=again) for again in every)

    def cycles(self, passes: int, unequal: float, *, alone: bool = False) -> float:
        """Cycles of a tile of some passes; alone: see KeptInput.

        unequal: of its inputs that grow with them, or more.
        """
        inputs = self._inputs.get((passes, alone))
        if inputs is None:
            inputs = self._inputs[passes, alone] = self._brought(passes, alone=alone)
        fixed, each = inputs
        brought, sent = fixed + max(each, unequal), self.sent + passes * self.sent_each
        return max(brought, sent) if self.apart else brought + sent

    @cached_property
    def _inputs(self) -> dict[tuple[int, bool], tuple[float, float]]:
        """Results of `_brought`: a tile is bounded thousands of times."""
        return {}

    def _brought(self, passes: int, *, alone: bool) -> tuple[float, float]:
        """Cycles of a tile's inputs, at least: of those that do not grow with passes, and do."""
        fixed, each = self.fixed, passes * self.unequal
        for one in self.kept:
            cycles = self._kept(one, passes, alone=alone)
            fixed, each = (fixed, each + cycles) if one.grows else (fixed + cycles, each)
        return fixed, each


def _growing(one: Assignment) -> set[str]:
    """Tensors of which tiles that see fewer keys have fewer words."""
    ranks = one.workload.tensor_ranks
    return {t for t in ranks if one.keys and key_rank(one.workload) in ranks[t]}


def _kept(one: Assignment, dram: MemoryLevel, tensor: str) -> KeptInput:
    """An input that a level between may keep."""
    words, ranks = tile_words(one, tensor), one.workload.tensor_ranks[tensor]
    core, roles = one.core_workload, one.workload.roles
    loops = core.shareable_ranks(one.group.names)  # of these, queries are cut by the cores alone
    cut = {roles.queries, key_rank(one.workload)} if one.keys else {roles.queries}
    return KeptInput(
        tensor=tensor,
        own=float(transfer_cycles(dram, words, 0.0)),
        all=float(transfer_cycles(dram, dram.totals[tensor] * one.count, 0.0)),
        beside=words * max((other.comes.get(tensor, 0.0) for other in dram.beside), default=0.0),
        grows=tensor in _growing(one),
        runs=prod(core.rank_sizes[r] for r in loops if r not in ranks and r not in cut),
    )
