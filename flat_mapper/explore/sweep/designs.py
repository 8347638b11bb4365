"""Design questions: architectures, the mix that they run, budgets, and the Pareto front.

    optimize:
      fixed: {arch: edge, mapspace: flat-r, objective: edp}
      grid:                                   # what may be chosen: inputs of the architecture
        arch.GLB.depth: {from: 1024, to: 16384, times: 2}
        arch.variables.offchip_bytes_per_s: [25e9, 50e9, 100e9]
      zip: {arch.PE.meshX: [16, 32], arch.PE.meshY: [16, 32]}
      workloads:                              # what runs on it, and how often
      - {problem: bert-base, seq: 512, weight: 9}
      - {problem: bert-base, seq: 4096, weight: 1}
      budgets: {area: 6, buffer: 1048576, bandwidth: 1e11, pes: 1024}
      objectives: [latency, energy]           # the front is over these, all as small as can be

A design is one architecture. Its latency and energy are the sums over the workloads, each times
its weight. Designs and workloads multiply to the points of a sweep, and its rows are kept as such.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base import units
from flat_mapper.base.errors import FlatMapperError, SpecError, expected
from flat_mapper.explore.sweep.inputs import Chip
from flat_mapper.explore.sweep.spec import Coordinates, Sweep, Written, spec_text, sweep_of
from flat_mapper.explore.sweep.work import priced
from flat_mapper.spec.document import (
    Section,
    did_you_mean,
    refuse_unknown,
    section_of,
    take,
    take_list,
)
from flat_mapper.spec.yamlio import load_text

BUDGETS: Mapping[str, str] = {  # what may be limited, and its unit
    "area": "mm2",
    "buffer": "bytes",
    "bandwidth": "bytes/s",
    "pes": "PEs",
}
DESIGN_OBJECTIVES = ("latency", "energy", "edp", *BUDGETS)
_KEYS = ("description", "fixed", "grid", "zip", "workloads", "budgets", "objectives")
_PARTS = ("description", "fixed", "grid", "zip")  # that are a sweep's own
_CHIP = ("arch", "ert")  # inputs that a design may choose, beside arch.NODE.ATTRIBUTE
_WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A design question: the designs times the workloads as a sweep, and how to judge them."""

    sweep: Sweep
    weights: tuple[float, ...]  # of the workloads, in the order of the sweep's last axis
    budgets: Mapping[str, float]
    objectives: tuple[str, ...]

    @property
    def designs(self) -> int:
        """The number of architectures."""
        return self.sweep.size // len(self.weights)

    @property
    def axes(self) -> tuple[int, ...]:
        """The number of values of each choice, the slowest first."""
        return tuple(len(axis) for axis in self.sweep.axes[:-1])

    def positions(self, design: int) -> range:
        """The points of one design, one a workload."""
        first = design * len(self.weights)
        return range(first, first + len(self.weights))

    def coordinates(self, design: int) -> dict[str, object]:
        """The choices of one design."""
        chosen = {name for axis in self.sweep.axes[:-1] for name in axis.names}
        point = self.sweep.point(self.positions(design).start)
        return {name: value for name, value in point.items() if name in chosen}

    def design_of(self, indices: Sequence[int]) -> int:
        """The number of the design that takes these values of its choices."""
        design = 0
        for index, size in zip(indices, self.axes, strict=True):
            design = design * size + index
        return design

    def indices(self, design: int) -> tuple[int, ...]:
        """The value of each choice that a design takes, by its index."""
        found = []
        for size in reversed(self.axes):
            design, index = divmod(design, size)
            found.append(index)
        return tuple(reversed(found))


class DesignAnswer(NamedTuple):
    """One workload on one design."""

    workload: str
    latency_s: float
    energy_pj: float
    bottleneck: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One architecture with what it needs and what it reaches."""

    number: int
    coordinates: Mapping[str, object]
    uses: Mapping[str, float]  # of every budget's resource
    answers: tuple[DesignAnswer, ...]
    scores: Mapping[str, float]  # by objective
    binds: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {
            "design": self.number,
            "coordinates": dict(self.coordinates),
            "uses": dict(self.uses),
            "scores": dict(self.scores),
            "workloads": {
                label: {"latency_s": latency, "energy_pj": energy, "bottleneck": bottleneck}
                for label, latency, energy, bottleneck in self.answers
            },
            "binds": list(self.binds),
        }


def load_design_problem(source: Written) -> Problem:
    """The design question in a file, in a text or in memory.

    raises: SpecError where something in it is unknown, missing or contradicts itself.
    """
    text, path, folder = spec_text(source)
    top = section_of(load_text(text, path), path)
    refuse_unknown(top, ("optimize",), path)
    body = section_of(take(top, "optimize", dict, path), path)
    where = f"{path}: optimize"
    refuse_unknown(body, _KEYS, where)
    rows = take_list(body, "workloads", dict, where)
    if not rows:
        raise SpecError(f"{where}.workloads: expected at least one workload, got none")
    weights = tuple(
        take(row, _WEIGHT, float, f"{where}.workloads.{i}", 1.0, above=0)
        for i, row in enumerate(rows)
    )
    mix = [{k: v for k, v in row.items() if k != _WEIGHT} for row in rows]
    own = {key: body[key] for key in _PARTS if key in body}
    if not {"grid", "zip"} & set(own):
        raise SpecError(f"{where}: expected the key grid or zip, got {', '.join(body)}")
    document = {"sweep": Section({**own, "list": mix}, body.source, body.lines)}
    sweep = sweep_of(document, path, text, folder)
    _check_choices(sweep, where)
    spot = f"{where}.budgets"
    budgets = section_of(take(body, "budgets", dict, where, Section()), spot)
    refuse_unknown(budgets, BUDGETS, spot)
    return Problem(
        sweep=sweep,
        weights=weights,
        budgets={name: take(budgets, name, float, spot, above=0) for name in budgets},
        objectives=_objectives(body, where),
    )


def _check_choices(sweep: Sweep, where: str) -> None:
    """Raise SpecError unless the architecture is what varies, and only that, beside the mix."""
    for axis in sweep.axes[:-1]:
        for name in axis.names:
            if name not in _CHIP and not name.startswith("arch."):
                condition = f"inputs of the architecture (arch, arch.NODE.ATTRIBUTE, {_CHIP[1]})"
                change = "what runs on it stands in workloads or fixed"
                raise SpecError(expected(where, condition, name, change))
    for name in sweep.axes[-1].names:
        if name in _CHIP or name.startswith("arch."):
            condition = "inputs of what runs on the architecture"
            raise SpecError(expected(f"{where}.workloads", condition, name, "put it under grid"))


def _objectives(body: Section, where: str) -> tuple[str, ...]:
    words = take_list(body, "objectives", str, where, ("latency", "energy"))
    for word in words:
        if word not in DESIGN_OBJECTIVES:
            condition = f"one of {', '.join(DESIGN_OBJECTIVES)}"
            hint = did_you_mean(word, DESIGN_OBJECTIVES)
            raise SpecError(expected(f"{where}.objectives", condition, str(word), hint))
    if not words or len(set(words)) < len(words):
        got = ", ".join(words) or "none"
        raise SpecError(f"{where}.objectives: expected at least one, each once, got {got}")
    return tuple(str(word) for word in words)


def uses(chip: Chip, wanted: Collection[str]) -> dict[str, float]:
    """Needs of an architecture by resource.

    buffer:    bytes of the on-chip memories above the first fanout of the matrix path.
    bandwidth: bytes per second of DRAM, both directions together.
    pes:       compute units of the matrix path.
    area:      mm2 of all priced components on the chip.
    raises: SpecError where the area is wanted and nothing prices it.
    """
    platform, buffer = chip.platform, 0.0
    for node in platform.matrix.nodes:
        if isinstance(node, Fanout) and node.fanout_x * node.fanout_y > 1:
            break
        if isinstance(node, MemoryLevel) and node.capacity_words is not None:
            buffer += units.bytes_of(node.capacity_words, node.word_bits) * node.instances
    dram = platform.dram
    words = float("inf") if dram.words_per_cycle is None else dram.words_per_cycle
    bandwidth = words * dram.instances * dram.word_bits / 8 / platform.matrix.cycle_seconds
    pes = float(platform.matrix.compute.instances)
    found = {"buffer": buffer, "bandwidth": bandwidth, "pes": pes}
    if "area" in wanted:
        try:
            _, art = priced(chip)
            got = "a table of energies only"
        except FlatMapperError as error:
            art, got = None, str(error)
        if art is None:
            raise SpecError(f"area: expected hwcomponents or accelergy to price it, got: {got}")
        found["area"] = art.total_mm2(platform)
    return {name: found[name] for name in BUDGETS if name in found}


def scores(
    answers: Sequence[DesignAnswer], weights: Sequence[float], used: Mapping[str, float]
) -> dict[str, float]:
    """Scores of a design by every objective; all are to be small."""
    pairs = list(zip(answers, weights, strict=True))
    latency = sum(weight * answer.latency_s for answer, weight in pairs)
    energy = sum(weight * answer.energy_pj for answer, weight in pairs)
    return {"latency": latency, "energy": energy, "edp": latency * energy * 1e-12, **used}


def dominates(a: Mapping[str, float], b: Mapping[str, float], objectives: Sequence[str]) -> bool:
    """True where a is nowhere worse than b, and somewhere better."""
    pairs = [(a[name], b[name]) for name in objectives]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def with_design(
    front: Sequence[Design], new: Design, objectives: Sequence[str]
) -> tuple[Design, ...]:
    """The front with a design added, where nothing on it dominates that."""
    if any(dominates(old.scores, new.scores, objectives) for old in front):
        return tuple(front)
    kept = [old for old in front if not dominates(new.scores, old.scores, objectives)]
    return (*kept, new)


def named(coordinates: Coordinates) -> str:
    """A workload in a few words."""
    words = [str(coordinates["problem"])]
    words += [f"N={coordinates['seq']}"] if "seq" in coordinates else []
    words += [f"{k.removeprefix('rank.')}={v}" for k, v in coordinates.items() if "rank." in k]
    return " ".join(words)
