"""The points of the paper's tables: each one is solved on its own, in any process.

Attention runs in the simulator's mapspace (`reproduce_array`), whose rows this model reproduces.
The projections and the feed-forward layers run unfused, under the same two dataflows, by the
ordinary search. All of it under the simulator's assumptions: 940 MHz, 50 and 400 x 2^30 B/s of
off-chip bandwidth, 16-bit words, two copies of what crosses DRAM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Literal

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.classes import dataclass
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.need_result import Quantity
from flat_mapper.explore.need_search import STEP_BYTES_PER_S, Knob
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapping.space import Fusion
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.published.array import (
    ArraySpace,
    Choices,
    DataflowChoice,
    SimulatedMapping,
    fastest,
    mapping_text,
)
from flat_mapper.published.dataflows import STATIONARY, alone, attention_charged, gemm
from flat_mapper.published.mapping import SimulatorMapping
from flat_mapper.published.simulator import simulator_ert, simulator_platform
from flat_mapper.spec import catalog
from flat_mapper.workload.cascade import scope
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import sequence_lengths
from flat_mapper.workload.reader import load_workload

TableRow = Mapping[str, str | int | float]
Tables = Mapping[str, Sequence[TableRow]]
ChargedSchedule = Literal["interleaved", "overlapped"]

# What each configuration of FLAT's evaluation may choose, but for the tiles of rows.
# source: FLAT, ASPLOS'23. What FLEX may stage is not stated there: both readings.
NAIVE = Choices(
    fused=(False,),
    granularities=("head",),
    stationarities=(("weight", "weight"),),
    staging="none",
)
CONFIGURATIONS: Mapping[str, Choices] = {
    "naive": NAIVE,
    "flex-stream": Choices(fused=(False,), staging="none"),
    "flex": Choices(fused=(False,)),
    "flat-m": Choices(fused=(True,), granularities=("all",)),
    "flat-b": Choices(fused=(True,), granularities=("batch",)),
    "flat-h": Choices(fused=(True,), granularities=("head",)),
    "flat-r": Choices(fused=(True,), granularities=("row",)),
    "flat": Choices(granularities=("all", "batch", "head", "row")),
    # For the experiment alone: what does not fit is refused.
    "flat-fit": Choices(granularities=("all", "batch", "head", "row"), spills=False),
}
COMPARED = ("naive", "flex-stream", "flex", "flat")
PLATFORMS = ("edge", "cloud")
TARGET = 0.95  # utilization


@cache
def assumed_platform(name: str, *, vector: bool = False) -> Platform:
    """A platform under the simulator's assumptions."""
    return simulator_platform(name, vector=vector)


@cache
def chip_prices(name: str) -> Ert:
    """The whole chip priced by hwcomponents."""
    from flat_mapper.energy.pricing import price_with_hwcomponents

    return price_with_hwcomponents(load_platform(name))[0]


def cascade(model: str, length: int) -> Workload:
    """The block of a model, all its layers."""
    lengths = sequence_lengths(length)
    return load_workload(catalog.resolve("problems", model), "model", lengths=lengths)


def core(model: str, length: int) -> Workload:
    """Logit and attend alone, once."""
    return scope(cascade(model, length), "attention")


def with_buffer(platform: Platform, count_bytes: float | None) -> Platform:
    """A platform with another shared buffer, in whole rows; None leaves it as it is."""
    if count_bytes is None:
        return platform
    knob = Knob.of(platform, "buffer", 1)
    return knob.at(int(count_bytes // knob.step))


def own_buffer(platform: str) -> int:
    """Bytes of a platform's shared buffer."""
    return _buffer_bytes(assumed_platform(platform))


def space_of(platform: str, model: str, length: int) -> ArraySpace:
    """The simulator's mapspace of a model's attention."""
    chip = assumed_platform(platform)
    return ArraySpace(workload=core(model, length), platform=chip, ert=simulator_ert(chip))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPoint:
    """Every configuration of one model's logit and attend."""

    platform: str
    model: str
    length: int
    rows: tuple[DataflowChoice, ...] = ("published", "any")
    buffers: tuple[float | None, ...] = (None,)  # bytes; None: the platform's own
    configurations: tuple[str, ...] = tuple(CONFIGURATIONS)

    def solved(self) -> Iterator[TableRow]:
        """A row for each buffer, choice of tile rows and configuration."""
        space = space_of(self.platform, self.model, self.length)
        widest = replace(CONFIGURATIONS["flat"], rows="any" if "any" in self.rows else "published")
        for size in self.buffers:
            chip = with_buffer(space.platform, size)
            everything = {f.mapping: f for f in space.found(widest, chip)}
            for rows, name in product(self.rows, self.configurations):
                choices = replace(CONFIGURATIONS[name], rows=rows)
                own = space.mappings(choices, chip)
                best = fastest((everything[m] for m in own), choices)
                yield self._row(space, chip, rows, name, best.mapping)

    def _row(
        self,
        space: ArraySpace,
        chip: Platform,
        rows: DataflowChoice,
        name: str,
        mapping: SimulatorMapping,
    ) -> TableRow:
        found = space.priced(mapping, chip)
        priced = space.priced(mapping, chip, chip_prices(self.platform))
        return {
            "platform": self.platform,
            "model": self.model,
            "seq_len": self.length,
            "tile_rows": rows,
            "buffer_bytes": _buffer_bytes(chip),
            "configuration": name,
            **_costs(found.result),
            "chip_energy_pj": priced.result.energy_pj,
            "spilled": found.spilled,
            "mapping": mapping_text(mapping),
        }


def _buffer_bytes(platform: Platform) -> int:
    level = platform.matrix.levels[1]
    assert level.capacity_words is not None
    return level.capacity_words * level.word_bits // 8


def _costs(result: Result) -> dict[str, str | int | float]:
    """Once through: what a result is compared by. DRAM's energy is 32 pJ for each byte."""
    return {
        "cycles": result.cycles,
        "latency_s": result.latency_s,
        "utilization": result.utilization,
        "offchip_bytes": result.offchip_bytes,
        "dram_energy_pj": result.energy_pj,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPoint:
    """One projection or feed-forward Einsum, under the baselines' freedoms, at some buffers."""

    platform: str
    model: str
    length: int
    einsum: str
    buffers: tuple[float | None, ...] = (None,)

    def solved(self) -> Iterator[TableRow]:
        """A row for each buffer and configuration; FLAT's own runs as FLEX.

        The buffers are in ascending order: a mapping that keeps the whole array busy with one of
        them is the fastest with every larger one.
        """
        chip = assumed_platform(self.platform)
        workload = alone(cascade(self.model, self.length), self.einsum)
        busy: dict[str, Result] = {}
        for size in self.buffers:
            there = with_buffer(chip, size)
            for name in COMPARED[:3]:
                found = busy.get(name) or _layer(workload, there, name)
                if isinstance(found, Infeasible):
                    continue
                if found.utilization > 1 - 1e-12:
                    busy[name] = found
                yield {
                    "platform": self.platform,
                    "model": self.model,
                    "seq_len": self.length,
                    "buffer_bytes": _buffer_bytes(there),
                    "einsum": self.einsum,
                    "configuration": name,
                    "cycles": found.cycles,
                    "latency_s": found.latency_s,
                    "utilization": found.utilization,
                    "macs": found.macs,
                }


def _layer(workload: Workload, platform: Platform, name: str) -> Result | Infeasible:
    """A layer under the freedoms of a baseline."""
    kinds = STATIONARY[1:] if name == "naive" else STATIONARY
    fusion = Fusion(staging="any" if name == "flex" else "none", schedule="sequential")
    return gemm(workload, platform, simulator_ert(platform), kinds, fusion)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxPoint:
    """Attention with the softmax charged to the lanes, as FuseMax (MICRO'24) has it."""

    platform: str
    model: str
    length: int
    schedule: ChargedSchedule

    def solved(self) -> Iterator[TableRow]:
        """Fused against unfused."""
        chip = assumed_platform(self.platform, vector=True)
        workload, ert = core(self.model, self.length), chip_prices(self.platform)
        found = [
            attention_charged(workload, chip, ert, fused=fused, schedule=self.schedule)
            for fused in (False, True)
        ]
        unfused, fused = found
        if isinstance(unfused, Infeasible) or isinstance(fused, Infeasible):
            return
        yield {
            "platform": self.platform,
            "model": self.model,
            "seq_len": self.length,
            "schedule": self.schedule,
            "unfused_latency_s": unfused.latency_s,
            "fused_latency_s": fused.latency_s,
            "speedup": unfused.latency_s / fused.latency_s,
            "unfused_energy_pj": unfused.energy_pj,
            "fused_energy_pj": fused.energy_pj,
            "energy_ratio": fused.energy_pj / unfused.energy_pj,
            "unfused_offchip_bytes": unfused.offchip_bytes,
            "fused_offchip_bytes": fused.offchip_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FreePoint:
    """Attention with any dataflow: this project's own mapspaces, the softmax free, no spill.

    What the two dataflows of the simulator lose, and with them what fusion is worth, shows beside
    the other tables.
    """

    platform: str
    model: str
    length: int

    def solved(self) -> Iterator[TableRow]:
        """Unfused and streamed, against fused by rows or heads."""
        chip, workload = assumed_platform(self.platform), core(self.model, self.length)
        found: dict[str, Result] = {}
        for name in ("flex-stream", "flat-r"):
            declared = load_mapspace(name)
            space = replace(declared, policy=replace(declared.policy, softmax="free"))
            best = search(workload, chip, space, chip_prices(self.platform), objective="latency")
            if isinstance(best, Infeasible):
                return
            found[name] = best.result
        unfused, fused = found["flex-stream"], found["flat-r"]
        yield {
            "platform": self.platform,
            "model": self.model,
            "seq_len": self.length,
            "unfused_latency_s": unfused.latency_s,
            "fused_latency_s": fused.latency_s,
            "unfused_utilization": unfused.utilization,
            "fused_utilization": fused.utilization,
            "unfused_offchip_bytes": unfused.offchip_bytes,
            "fused_offchip_bytes": fused.offchip_bytes,
            "speedup": unfused.latency_s / fused.latency_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedPoint:
    """The smallest buffer or bandwidth with which logit and attend reach the target."""

    platform: str
    model: str
    length: int
    quantity: Quantity

    def solved(self) -> Iterator[TableRow]:
        """A row for each configuration."""
        space = space_of(self.platform, self.model, self.length)
        # What the dataflows reach at all: the array may be wider than d.
        wide = Knob.of(space.platform, "bandwidth", STEP_BYTES_PER_S).at(None)
        roomy = Knob.of(wide, "buffer", 1).at(None)
        everything = {f.mapping: f for f in space.found(CONFIGURATIONS["flat"], roomy)}
        knob = Knob.of(space.platform, self.quantity, STEP_BYTES_PER_S)
        for name in COMPARED[1:]:
            every = [everything[m] for m in space.mappings(CONFIGURATIONS[name])]
            ceiling = max(f.result.utilization for f in every)
            target = TARGET if ceiling >= TARGET else TARGET * ceiling
            able = [f for f in every if f.result.utilization >= target]
            steps = least_steps(space, able, knob, target)
            yield {
                "platform": self.platform,
                "model": self.model,
                "seq_len": self.length,
                "quantity": self.quantity,
                "configuration": name,
                "highest_utilization": ceiling,
                "target_utilization": target,
                "steps": steps or 0,
                "value": steps * knob.step if steps else float("inf"),
            }


def least_steps(
    space: ArraySpace, able: list[SimulatedMapping], knob: Knob, target: float
) -> int | None:
    """The fewest steps with which some mapping reaches the target; None where none does.

    Of one mapping, utilization grows with the steps. So a mapping is of interest only if it
    reaches the target with one step less than the best so far, and then it is bisected.
    """

    def reaches(found: SimulatedMapping, steps: int | None) -> bool:
        return space.combined(found.mapping, knob.at(steps)).utilization >= target

    best: int | None = None
    for found in sorted(able, key=lambda f: f.cost[1]):
        if not reaches(found, None if best is None else best - 1):
            continue
        low, high = 0, 1 if best is None else best - 1
        while not reaches(found, high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reaches(found, middle) else (middle, high)
        best = high
        if best == 1:
            break
    return best


Point = AttentionPoint | LayerPoint | SoftmaxPoint | FreePoint | NeedPoint


def solve(point: Point) -> list[TableRow]:
    """The rows of a point."""
    return list(point.solved())
