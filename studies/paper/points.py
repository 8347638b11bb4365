"""The points of the paper's tables: each one is solved on its own, in any process.

Attention runs in the simulator's mapspace (`simulator/array.py`), whose rows this model reproduces.
The projections and the feed-forward layers run unfused, under the same two dataflows, by the
ordinary search. All of it under the simulator's assumptions: 940 MHz, 50 and 400 x 2^30 B/s of
off-chip bandwidth, 16-bit words, two copies of what crosses DRAM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal

import flat_mapper as fm
from flat_mapper.values import Ert, Fusion, MemoryLevel, Platform, Result, Workload, energies
from studies.common import with_level
from studies.paper.dataflows import (
    STATIONARY,
    ChargedSchedule,
    alone,
    attention_charged,
    fastest_of,
    mapspace,
)
from studies.simulator.array import ArraySpace, Choices, DataflowChoice, mapping_text
from studies.simulator.rows import simulator_ert, simulator_platform
from studies.simulator.spill import Simulated

TableRow = Mapping[str, str | int | float]
Tables = Mapping[str, Sequence[TableRow]]
Quantity = Literal["buffer", "bandwidth"]
QUANTITIES: tuple[Quantity, ...] = ("bandwidth", "buffer")
STEP_BYTES_PER_S = 1e9

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
# Weights of the projections and of the feed-forward layer. K and V have the sizes of Q.
WEIGHTS: Mapping[str, str] = {"Q": "WQ", "O": "WO", "FC1": "W1", "FC2": "W2"}
TARGET = 0.95  # utilization


@cache
def chip_prices(name: str) -> Ert:
    """The whole chip priced by hwcomponents."""
    return energies(fm.load_platform(name), None)[0]


def cascade(model: str, length: int) -> Workload:
    """The block of a model, all its layers."""
    return fm.load_problem(model, scope="model", seq=length)


def core(model: str, length: int) -> Workload:
    """Logit and attend alone, once."""
    return fm.load_problem(model, scope="attention", seq=length)


@dataclass(frozen=True, slots=True)
class Knob:
    """The quantity that is turned: rows of the shared buffer, or steps of DRAM's bandwidth."""

    platform: Platform
    quantity: Quantity

    @property
    def level(self) -> MemoryLevel:
        """The level that is turned."""
        return self.platform.matrix.levels[self.quantity == "buffer"]

    @property
    def step(self) -> float:
        """Bytes of a row, or bytes per second."""
        row = self.level.row_words * self.level.word_bits / 8
        return row if self.quantity == "buffer" else STEP_BYTES_PER_S

    def at(self, steps: int | None) -> Platform:
        """The platform with so many steps; None: unlimited."""
        level, cycle = self.level, self.platform.matrix.cycle_seconds
        if self.quantity == "buffer":
            words = None if steps is None else steps * level.row_words
            return with_level(self.platform, level.name, capacity_words=words)
        rate = None if steps is None else steps * self.step * 8 / level.word_bits * cycle
        return with_level(self.platform, level.name, shared_words_per_cycle=rate)

    def holding(self, size: float | None) -> Platform:
        """The platform with so many bytes in whole rows; None leaves it as it is."""
        return self.platform if size is None else self.at(int(size // self.step))


def space_of(platform: str, model: str, length: int) -> ArraySpace:
    """The simulator's mapspace of a model's attention."""
    chip = simulator_platform(platform)
    return ArraySpace(workload=core(model, length), platform=chip, ert=simulator_ert(chip))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A model at one length on one platform; what is asked there, its kinds say."""

    platform: str
    model: str
    length: int

    @property
    def place(self) -> dict[str, str | int | float]:
        """What every row of the point begins with."""
        return {"platform": self.platform, "model": self.model, "seq_len": self.length}

    def solved(self) -> Iterator[TableRow]:
        """The rows of the point."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPoint(Point):
    """Every configuration of one model's logit and attend."""

    rows: tuple[DataflowChoice, ...] = ("published", "any")
    buffers: tuple[float | None, ...] = (None,)  # bytes; None: the platform's own
    configurations: tuple[str, ...] = tuple(CONFIGURATIONS)

    def solved(self) -> Iterator[TableRow]:
        """A row for each buffer, choice of tile rows and configuration.

        DRAM's energy is 32 pJ for each byte.
        """
        space = space_of(self.platform, self.model, self.length)
        widest = replace(CONFIGURATIONS["flat"], rows="any" if "any" in self.rows else "published")
        for size in self.buffers:
            chip = Knob(space.platform, "buffer").holding(size)
            everything = space.found(widest, chip)
            for rows, name in product(self.rows, self.configurations):
                choices = replace(CONFIGURATIONS[name], rows=rows)
                best = space.fastest(everything, choices)
                priced = space.priced(best.mapping, chip, chip_prices(self.platform))
                yield {
                    **self.place,
                    "tile_rows": rows,
                    "buffer_bytes": buffer_bytes(chip),
                    "configuration": name,
                    **_said(best, "cycles", "latency_s", "utilization", "offchip_bytes"),
                    "dram_energy_pj": best.energy_pj,
                    "chip_energy_pj": priced.energy_pj,
                    "spilled": best.spilled,
                    "mapping": mapping_text(best.mapping),
                }


def _said(result: Result | Simulated, *names: str) -> dict[str, str | int | float]:
    """Some figures of a result by name."""
    return {name: getattr(result, name) for name in names}


def _both(unfused: Result, fused: Result, *names: str) -> dict[str, str | int | float]:
    """Some figures of attention unfused and fused."""
    sides = {"unfused": unfused, "fused": fused}
    return {f"{side}_{n}": getattr(result, n) for n in names for side, result in sides.items()}


def buffer_bytes(platform: Platform) -> int:
    """Bytes of the shared buffer."""
    level = platform.matrix.levels[1]
    assert level.capacity_words is not None
    return level.capacity_words * level.word_bits // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPoint(Point):
    """One projection or feed-forward product, under the baselines' freedoms, at some buffers."""

    einsum: str
    buffers: tuple[float | None, ...] = (None,)

    def solved(self) -> Iterator[TableRow]:
        """A row for each buffer and configuration; FLAT's own runs as FLEX.

        The buffers are in ascending order: a mapping that keeps the whole array busy with one of
        them is the fastest with every larger one.
        """
        chip = simulator_platform(self.platform)
        workload = alone(cascade(self.model, self.length), WEIGHTS[self.einsum])
        busy: dict[str, Result] = {}
        for size in self.buffers:
            there = Knob(chip, "buffer").holding(size)
            for name in COMPARED[:3]:
                found = busy.get(name) or _layer(workload, there, name)
                if isinstance(found, fm.Infeasible):
                    continue
                if found.utilization > 1 - 1e-12:
                    busy[name] = found
                yield {
                    **self.place,
                    "buffer_bytes": buffer_bytes(there),
                    "einsum": self.einsum,
                    "configuration": name,
                    **_said(found, "cycles", "latency_s", "utilization", "macs"),
                }


def _layer(workload: Workload, platform: Platform, name: str) -> Result | fm.Infeasible:
    """A layer under the freedoms of a baseline."""
    kinds = STATIONARY[1:] if name == "naive" else STATIONARY
    fusion = Fusion(staging="any" if name == "flex" else "none", schedule="sequential")
    spaces = [mapspace(platform, {workload.einsums[0]: kind}, fusion) for kind in kinds]
    return fastest_of(workload, platform, simulator_ert(platform), spaces)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxPoint(Point):
    """Attention with the softmax charged to the lanes, as FuseMax (MICRO'24) has it."""

    schedule: ChargedSchedule

    def solved(self) -> Iterator[TableRow]:
        """Fused against unfused."""
        chip = simulator_platform(self.platform, vector=True)
        workload, ert = core(self.model, self.length), chip_prices(self.platform)
        unfused, fused = (
            attention_charged(workload, chip, ert, fused=fused, schedule=self.schedule)
            for fused in (False, True)
        )
        if isinstance(unfused, fm.Infeasible) or isinstance(fused, fm.Infeasible):
            return
        yield {
            **self.place,
            "schedule": self.schedule,
            **_both(unfused, fused, "latency_s"),
            "speedup": unfused.latency_s / fused.latency_s,
            **_both(unfused, fused, "energy_pj"),
            "energy_ratio": fused.energy_pj / unfused.energy_pj,
            **_both(unfused, fused, "offchip_bytes"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FreePoint(Point):
    """Attention with any dataflow: this project's own mapspaces, the softmax free, no spill.

    What the two dataflows of the simulator lose, and with them what fusion is worth, shows beside
    the other tables.
    """

    def solved(self) -> Iterator[TableRow]:
        """Unfused and streamed, against fused by rows or heads."""
        chip, workload = simulator_platform(self.platform), core(self.model, self.length)
        found: dict[str, Result] = {}
        for name in ("flex-stream", "flat-r"):
            declared = fm.load_mapspace(name)
            space = replace(declared, policy=replace(declared.policy, softmax="free"))
            best = fm.search(
                workload, chip, space, chip_prices(self.platform), objective="latency", gap=0.0
            )
            if isinstance(best, fm.Infeasible):
                return
            found[name] = best.result
        unfused, fused = found["flex-stream"], found["flat-r"]
        yield {
            **self.place,
            **_both(unfused, fused, "latency_s", "utilization", "offchip_bytes"),
            "speedup": unfused.latency_s / fused.latency_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedPoint(Point):
    """The smallest buffer or bandwidth with which logit and attend reach the target."""

    quantity: Quantity

    def solved(self) -> Iterator[TableRow]:
        """A row for each configuration."""
        space = space_of(self.platform, self.model, self.length)
        # What the dataflows reach at all: the array may be wider than d.
        roomy = Knob(Knob(space.platform, "bandwidth").at(None), "buffer").at(None)
        everything = space.found(CONFIGURATIONS["flat"], roomy)
        knob = Knob(space.platform, self.quantity)
        for name in COMPARED[1:]:
            every = [everything[m] for m in space.mappings(CONFIGURATIONS[name])]
            ceiling = max(f.utilization for f in every)
            target = TARGET if ceiling >= TARGET else TARGET * ceiling
            able = [f for f in every if f.utilization >= target]
            steps = least_steps(space, able, knob, target)
            yield {
                **self.place,
                "quantity": self.quantity,
                "configuration": name,
                "highest_utilization": ceiling,
                "target_utilization": target,
                "steps": steps or 0,
                "value": steps * knob.step if steps else float("inf"),
            }


def least_steps(space: ArraySpace, able: list[Simulated], knob: Knob, target: float) -> int | None:
    """The fewest steps with which some mapping reaches the target; None where none does.

    Of one mapping, utilization grows with the steps. So a mapping is of interest only if it
    reaches the target with one step less than the best so far, and then it is bisected.
    """

    def reaches(found: Simulated, steps: int | None) -> bool:
        return space.priced(found.mapping, knob.at(steps)).utilization >= target

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


def solve(point: Point) -> list[TableRow]:
    """The rows of a point."""
    return list(point.solved())
