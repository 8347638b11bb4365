"""Results of an evaluation: counts, cycles and energy, from one tensor to the whole cascade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import ceil, fsum
from typing import Literal, NoReturn

from flat_mapper.base.errors import MissingResult
from flat_mapper.cost_model.network import NetworkStats
from flat_mapper.cost_model.ports import Moved
from flat_mapper.cost_model.transfers import Traffic, in_words
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores import CoreUse
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Schedule

LEAKAGE = "leakage"  # its entry among the parts of an energy


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStats:
    """One tensor at one level, per instance, as Timeloop reports it; energy over all instances."""

    tensor: str
    scalar_reads: int
    scalar_fills: int
    scalar_updates: int
    temporal_reductions: int
    utilized_capacity: int  # words
    utilized_instances: int
    energy_pj: float
    share: float = 1  # words that one value takes; the counts are of values
    so_far: float = 1  # and words of one that is still added up

    @property
    def words(self) -> Traffic:
        """Words of one instance."""
        values = Traffic(self.scalar_reads, self.scalar_fills, self.scalar_updates, 0)
        return in_words(values, self.share, self.so_far)

    @property
    def moved(self) -> Moved:
        """Words through the ports of one instance."""
        return self.words.moved

    @property
    def moved_words(self) -> float:
        """Words through the ports of all instances."""
        words: float = self.utilized_instances * sum(self.moved[:2])
        return words

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)[1:-2]}


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStats:
    """One storage level under one Einsum."""

    level: str
    cycles: int  # Timeloop's: compute cycles over throttling
    throttling: float
    tensors: tuple[TensorStats, ...]

    @property
    def moved(self) -> Moved:
        """Words through the ports of one instance."""
        return Moved.total(t.moved for t in self.tensors)

    @property
    def energy_pj(self) -> float:
        """All tensors, all instances."""
        return sum(t.energy_pj for t in self.tensors)

    def to_dict(self) -> dict[str, object]:
        """Cycles, throttling, and the tensors by name."""
        tensors = {t.tensor: t.to_dict() for t in self.tensors}
        return {"cycles": self.cycles, "throttling": self.throttling, "tensors": tensors}


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumStats:
    """One Einsum on its own: what timeloop-model says of it."""

    einsum: str
    unit: str  # name of the compute unit
    computes: int
    compute_cycles: float  # whole, unless an operation takes a part of a cycle
    lanes: int  # compute units that take part
    lanes_total: int
    compute_energy_pj: float
    levels: tuple[LevelStats, ...]  # outermost first
    cycles_per_compute: float = 1  # of one lane
    network: tuple[NetworkStats, ...] = ()  # of fanouts with a price

    @property
    def ideal_cycles(self) -> float:
        """Cycles of the computes with every unit at work."""
        return self.computes * self.cycles_per_compute / self.lanes_total

    @property
    def cycles(self) -> int:
        """The slowest of compute and levels."""
        return max(ceil(self.compute_cycles), *(lv.cycles for lv in self.levels))

    @property
    def utilization(self) -> float:
        """Computes over what all units could do in these cycles."""
        return self.computes * self.cycles_per_compute / (self.cycles * self.lanes_total)

    @property
    def energy_pj(self) -> float:
        """Compute, all levels and networks."""
        levels, networks = ([p.energy_pj for p in own] for own in (self.levels, self.network))
        return self.compute_energy_pj + sum(levels) + sum(networks)

    def level(self, name: str) -> LevelStats | None:
        """The level of that name, if the Einsum's path has it."""
        return next((lv for lv in self.levels if lv.level == name), None)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper evaluate FILE ... --json`."""
        return {
            "cycles": self.cycles,
            "energy_pj": self.energy_pj,
            "utilization": self.utilization,
            "macs": self.computes,
            "compute_cycles": self.compute_cycles,
            "compute_energy_pj": self.compute_energy_pj,
            "levels": {lv.level: lv.to_dict() for lv in self.levels},
            **({"network": [n.to_dict() for n in self.network]} if self.network else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferUse:
    """Words alive in the shared buffer at the worst moment of a tile."""

    level: str
    capacity_words: int | None
    terms: tuple[tuple[str, int], ...]  # what holds how many words

    @property
    def live_words(self) -> int:
        """The sum of the terms."""
        return sum(words for _, words in self.terms)

    @property
    def fits(self) -> bool:
        """True if the level has room for them."""
        return self.capacity_words is None or self.live_words <= self.capacity_words

    def overflow(self, where: str, hint: str) -> Infeasible | None:
        """The level's refusal of an Einsum or a group; None where they fit."""
        if self.capacity_words is None or self.fits:
            return None
        return Infeasible(
            level=self.level,
            needs=self.live_words,
            has=self.capacity_words,
            terms=self.terms,
            where=where,
            hint=hint,
        )

    def to_dict(self) -> dict[str, object]:
        """Capacity, live words and what they are."""
        return {
            "capacity_words": self.capacity_words,
            "live_words": self.live_words,
            "terms": dict(self.terms),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """A mapping that a level cannot hold. A value, and false: being infeasible is an answer."""

    level: str
    needs: int
    has: int
    terms: tuple[tuple[str, int], ...]
    where: str = ""  # the Einsum or group
    hint: str = ""
    unit: str = "words"

    def __str__(self) -> str:
        parts = [f"{name} {words}" for name, words in self.terms if words]
        needs = f"{self.needs} {self.unit}" + f" ({', '.join(parts)})" * (self.unit == "words")
        place, hint = self.where and f"{self.where}: ", self.hint and f"; {self.hint}"
        return f"{place}{self.level}: needs {needs}, has {self.has}{hint}"

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"infeasible": str(self), **named, "terms": dict(self.terms)}

    def __bool__(self) -> Literal[False]:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise MissingResult(self, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStats:
    """Einsums that run together, on the shared resources."""

    names: tuple[str, ...]
    schedule: Schedule
    compute_cycles: Mapping[str, float]  # by unit
    ideal_cycles: Mapping[str, float]  # by unit: the computes at full array
    transfer_cycles: Mapping[str, float]  # by level
    cold_start_cycles: float
    cycles: int
    bottleneck: str  # the unit or level that sets `cycles`
    buffer: BufferUse
    slack_cycles: float = 0.0  # by so many `cycles` may be above an execution, see `Latency`
    cores: CoreUse | None = None  # where tiles are given out to cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Cost that no mapping can beat: compulsory traffic, and the units at peak, at once or in turn.

    Of a search's answer: no mapping that the question allows. Of a mapping that is evaluated: none
    of its Einsums. Of either, under any schedule that the chip can run.
    """

    cycles: float
    energy_pj: float
    offchip_bytes: float

    def of(self, objective: str, cycle_seconds: float) -> float:
        """Latency in s, energy in pJ or their product in J s."""
        seconds = self.cycles * cycle_seconds
        values = {"latency": seconds, "energy": self.energy_pj}
        return values.get(objective, self.energy_pj * 1e-12 * seconds)


def offchip_words(einsums: Iterable[EinsumStats], dram: str) -> float:
    """Words of some Einsums through DRAM's ports."""
    levels = (e.level(dram) for e in einsums)
    return sum(t.moved_words for lv in levels if lv is not None for t in lv.tensors)


def _closed(cut: dict[str, float], leakage: float, total: float) -> dict[str, float]:
    """A cut with its leakage; the largest part takes what the order of a sum of floats changes."""
    found = cut | ({LEAKAGE: leakage} if leakage else {})
    if found:
        largest = max(found, key=lambda name: found[name])
        found[largest] += fsum((total, *(-pj for pj in found.values())))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A mapping's cost. Totals cover all `repeat` runs of the cascade; so do `energy_by` parts.

    Of a model whose layers are of several kinds it is the first kind's, with `others`: totals, the
    bound and `energy_by` are those of all; mapping, groups and einsums are the first kind's.
    """

    workload: str
    arch: str
    backend: str
    energy_source: str
    mapping: FusedMapping
    groups: tuple[GroupStats, ...]
    einsums: tuple[EinsumStats, ...]
    cycle_seconds: float
    dram: str  # name of the off-chip level
    word_bytes: float
    bound: Bound
    products: tuple[str, ...] = ()  # Einsums that are products on the matrix path
    leak_pj_per_cycle: Mapping[str, float] = field(default_factory=dict)  # by component
    unpriced_networks: tuple[str, ...] = ()  # that cost nothing, as nothing says what they do
    power_limit_w: float | None = None  # the chip's own, all its components together
    repeat: int = 1
    area_mm2: float | None = None
    notes: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)  # provenance of inputs
    others: tuple[Result, ...] = ()  # layers of other kinds, which run before or after these
    ert: Ert | None = field(default=None, repr=False, compare=False)  # that priced it

    @property
    def _runs(self) -> tuple[Result, ...]:
        return (self, *self.others)

    @property
    def _all_groups(self) -> list[tuple[Result, GroupStats]]:
        return [(run, group) for run in self._runs for group in run.groups]

    @property
    def cycles(self) -> int:
        """Groups run one after another, and so do layers."""
        return sum(run.repeat * group.cycles for run, group in self._all_groups)

    @property
    def latency_s(self) -> float:
        """Seconds."""
        return self.cycles * self.cycle_seconds

    @property
    def dynamic_pj(self) -> float:
        """Energy of every access, network and compute."""
        return sum(r.repeat * sum(e.energy_pj for e in r.einsums) for r in self._runs)

    @property
    def leakage_by(self) -> dict[str, float]:
        """pJ by component, in use or not, over the cycles of the whole answer."""
        return {name: self.cycles * pj for name, pj in self.leak_pj_per_cycle.items()}

    @property
    def energy_pj(self) -> float:
        """Dynamic energy and leakage."""
        return self.dynamic_pj + fsum(self.leakage_by.values())

    @property
    def edp_js(self) -> float:
        """Energy times latency, J*s."""
        return self.energy_pj * 1e-12 * self.latency_s

    @property
    def offchip_words(self) -> float:
        """Words through DRAM's ports."""
        return sum(r.repeat * offchip_words(r.einsums, r.dram) for r in self._runs)

    @property
    def offchip_bytes(self) -> float:
        """Bytes through DRAM's ports."""
        return int(v) if (v := self.offchip_words * self.word_bytes) == int(v) else v

    @property
    def macs(self) -> int:
        """Computes of products on the matrix path: what its units multiply and add."""
        return sum(run.repeat * e.computes for run, e in self._products)

    @property
    def utilization(self) -> float:
        """Share of the matrix path's peak, 0 to 1: cycles its products need there over all taken.

        Nothing else counts, whatever the unit: `busy` says what every unit does.
        """
        return sum(run.repeat * e.ideal_cycles for run, e in self._products) / self.cycles

    @property
    def _products(self) -> list[tuple[Result, EinsumStats]]:
        return [(r, e) for r in self._runs for e in r.einsums if e.einsum in r.products]

    @property
    def busy(self) -> dict[str, float]:
        """Of each unit, the share of all cycles that its computes need at peak."""
        ideal = {e.unit: 0.0 for r in self._runs for e in r.einsums}
        for run, group in self._all_groups:
            for unit, cycles in group.ideal_cycles.items():
                ideal[unit] = ideal.get(unit, 0.0) + run.repeat * cycles
        return {unit: cycles / self.cycles for unit, cycles in ideal.items()}

    @property
    def intensity(self) -> float:
        """Operational intensity: `macs` per off-chip byte."""
        return self.macs / self.offchip_bytes if self.offchip_bytes else float("inf")

    @property
    def bottleneck(self) -> str:
        """The unit or level that sets most of the latency."""
        shares = Counter[str]()
        for run, group in self._all_groups:
            shares[group.bottleneck] += run.repeat * group.cycles
        return max(shares, key=lambda name: shares[name])

    @property
    def fused(self) -> GroupMapping:
        """The group that says most: the first with shared loops, else the first."""
        groups = self.mapping.groups
        return next((g for g in groups if g.shared or len(g.einsums) > 1), groups[0])

    def energy_by(self) -> dict[str, dict[str, float]]:
        """pJ by component, by tensor and by Einsum; each of the three adds up to `energy_pj`.

        Leakage is an entry of its own. `math.fsum` of a cut is the total, to the last digit.
        """
        cuts: dict[str, dict[str, float]] = {"component": {}, "tensor": {}, "einsum": {}}

        def add(name: str, level: str, held: str, pj: float) -> None:
            for cut, key in zip(cuts.values(), (level, held, name), strict=True):
                cut[key] = cut.get(key, 0.0) + pj

        for run in self._runs:
            for stats in run.einsums:
                for level in stats.levels:
                    for t in level.tensors:
                        add(stats.einsum, level.level, t.tensor, run.repeat * t.energy_pj)
                for n in stats.network:
                    add(stats.einsum, n.component, n.tensor, run.repeat * n.energy_pj)
                add(stats.einsum, stats.unit, "compute", run.repeat * stats.compute_energy_pj)
        leakage = fsum(self.leakage_by.values())
        return {name: _closed(cut, leakage, self.energy_pj) for name, cut in cuts.items()}

    def buffers(self) -> dict[str, BufferUse]:
        """Of each shared level, the use by the group that needs most."""
        uses = [group.buffer for _, group in reversed(self._all_groups)]
        return {use.level: use for use in sorted(uses, key=lambda use: use.live_words)}


def least_refused(*found: Infeasible | None) -> Infeasible | None:
    """Of several reasons why nothing fits, the one that asks for least; of equals the first."""
    return min((one for one in found if one is not None), key=lambda one: one.needs, default=None)
