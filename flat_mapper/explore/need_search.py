"""The smallest shared buffer, bandwidth or number of cores with which a workload reaches a target.

Every trial is a search over the real model for the fastest mapping, and the answer is bisected:

- A mapping that fits a buffer fits a larger one, and no count, cycle or energy depends on what is
  left over. So a larger buffer has all mappings of a smaller one at the same latency, and the
  least latency does not grow with the buffer.
- The bandwidth of DRAM stands in one place of the model: a group takes the longest of its compute
  and of each level's words over bandwidth, then the words of its first tile over bandwidth. Both
  shrink as bandwidth grows, for every mapping, and no mapping becomes illegal.
- Utilization is the cycles that products need on the matrix path over the latency, a unit's busy
  share those of its computes. The first is the same for all mappings of a mapspace, except that the
  forms of a softmax differ in what a vector unit does: there a busy share is refused.

So the values that reach a target are all those from one value on. Both sides of that value are
searched: the answer reaches the target, one row or step less does not. A number of cores is
another question: see `_counted`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import ceil, inf, prod
from typing import ClassVar

from flat_mapper.api.calls import Name, Source, load_problem, mapspace_of
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.explore.need_result import QUANTITIES, Need, Quantity, Target, Trial, Unreached
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.on_cores import fastest_within, least_seconds, most_tiles
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Mapspace
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload

STEP_BYTES_PER_S = 1e9  # of bandwidth, where none is given


def smallest_value(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert | None,
    quantity: Quantity,
    *,
    utilization: float | None = None,
    latency_s: float | None = None,
    busy: str = "",
    step: float = STEP_BYTES_PER_S,
    progress: Progress | None = None,
) -> Need | Unreached:
    """The smallest value with which the fastest mapping reaches a utilization or a latency.

    latency_s: seconds at most, in the place of a utilization.
    busy: a compute unit, whose busy share is to reach the utilization instead.
    ert:  breaks ties between mappings of the same latency, at every value alike. Without one, all
          of these are as good: utilization does not depend on energy, and the search is shorter.
    step: of bandwidth, bytes per second; a buffer goes by its rows.
    """
    target = _target(utilization, latency_s, busy)
    _check(quantity, workload, mapspace, target)
    _check_unit(workload, platform, busy)
    trials = _Trials(
        workload=workload,
        mapspace=mapspace,
        ert=ert or unpriced(platform),
        knob=(
            Cores(platform=platform, fanout=fanout_of_cores(platform, mapspace))
            if quantity == "cores"
            else Knob.of(platform, quantity, step)
        ),
        target=target,
        progress=progress,
    )
    if isinstance(trials.knob, Cores):
        return _counted(trials, trials.knob)
    return _bisected(trials, trials.knob)


def _bisected(trials: _Trials, knob: Knob) -> Need | Unreached:
    """The smallest value of a knob."""
    target = trials.target
    unlimited = trials.at(None)
    beside = trials.mapspace.fusion.schedule in ("overlapped", "phases", "any")
    most = unlimited.ceiling(target, overlapped=beside)
    if not trials.reaches(unlimited):
        assert unlimited.found is not None
        return Unreached(knob.quantity, knob.node, target, unlimited.found, most)
    assert unlimited.result is not None
    steps = _smallest(trials, knob, *_bracket(trials, knob, unlimited.result))
    if steps > 1:
        trials.at(steps - 1)
    return trials.answer(steps, most, (steps - 1,) if steps > 1 else ())


def _counted(trials: _Trials, chip: Cores) -> Need | Unreached:
    """The least number of cores.

    Nothing proves that more cores are never slower: with the same tiles each has a smaller share
    of DRAM while it works, and a last round may fill fewer of them. So nothing is bisected but a
    bound that more cores only lower (units of all cores at peak); from the least number that it
    allows, every number is searched in turn, for mappings that reach the target and no others,
    until one does.
    """
    target, workload, mapspace = trials.target, trials.workload, trials.mapspace
    most = most_tiles(workload, chip.at(prod(workload.rank_sizes.values())), mapspace)

    def peak(cores: int) -> float:
        return least_seconds(workload, chip.at(cores), mapspace)

    def first() -> int | None:
        """The least number that units at peak allow; None: no number does."""
        if not target.latency:
            return 1
        if not target.reached(peak(most)):
            return None
        # All cores together do at least what one does.
        low, high = max(0, ceil(peak(1) / target.value * (1 - EQUAL)) - 1), most
        while high - low > 1:
            middle = min((low + high) // 2, max(2 * low, low + 1))
            low, high = (low, middle) if target.reached(peak(middle)) else (middle, high)
        return high

    ceiling = peak(most) if target.latency else 1.0
    least = cores = first()
    step = 1
    while cores is not None and not trials.reaches(trials.at(cores)):  # in steps that double
        cores, step = None if cores == most else min(cores + step, most), 2 * step
    if least is None or cores is None:
        found = trials.fastest(most).found
        assert found is not None
        return Unreached("cores", chip.node, target, found, ceiling, most)
    reached = next(n for n in range(least, cores + 1) if trials.reaches(trials.at(n)))
    return trials.answer(reached, ceiling, range(least, reached))


def _target(utilization: float | None, latency_s: float | None, busy: str) -> Target:
    if (utilization is None) == (latency_s is None):
        got = "neither" if utilization is None else "both"
        raise SpecError(expected("need", "a utilization or a latency to reach", got))
    if latency_s is not None:
        if busy:
            raise SpecError(expected("need: busy", "a utilization beside it", "a latency"))
        if not 0 < latency_s < inf:
            raise SpecError(expected("need: latency", "seconds > 0", latency_s))
        return Target(value=latency_s, latency=True)
    assert utilization is not None
    return Target(value=utilization, unit=busy)


def _check(quantity: str, workload: Workload, mapspace: Mapspace, target: Target) -> None:
    if workload.mask and not target.latency:
        condition = "no mask: work on masked pairs would count as utilization"
        where, change = f"need: {workload.name}", "take --mask none, or ask for a latency"
        raise SpecError(expected(where, condition, str(workload.mask), change))
    if quantity not in QUANTITIES:
        raise SpecError(expected("need", f"one of {', '.join(QUANTITIES)}", quantity))
    if not target.latency and not 0 < target.value <= 1:
        raise SpecError(expected("need: utilization", "a share > 0 and <= 1", target.value))


def _check_unit(workload: Workload, platform: Platform, unit: str) -> None:
    own = {"matrix": platform.matrix, "vector": platform.vector}
    used = dict.fromkeys(e.unit for e in workload.einsums)
    names = [arch.compute.name for one in used if (arch := own[one]) is not None]
    if unit and unit not in names:
        condition = f"a compute unit that {workload.name} uses: {', '.join(names)}"
        raise SpecError(expected("need: busy", condition, unit, did_you_mean(unit, names)))
    if unit and workload.softmax == "any":
        condition = "one form of softmax where a unit's busy share is asked for: their work differs"
        raise SpecError(expected("need: busy", condition, "softmax any", "take row or online"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The number of cores of a chip, as the quantity that is turned."""

    platform: Platform
    fanout: Fanout
    quantity: ClassVar[Quantity] = "cores"
    steps: ClassVar = "cores"
    step: ClassVar = 1.0

    @property
    def node(self) -> str:
        """The fanout's name."""
        return self.fanout.name

    @property
    def present(self) -> float:
        """The platform's own number."""
        return self.fanout.copies

    def at(self, cores: int | None) -> Platform:
        """The platform with so many cores."""
        assert cores is not None, "cores have no end"
        return with_cores(self.platform, self.fanout.name, cores)


def fanout_of_cores(platform: Platform, mapspace: Mapspace) -> Fanout:
    """The one fanout outside a level at which a mapspace may fuse."""
    if not mapspace.fusion.on_cores or mapspace.fusion.anything is not None:
        condition = "a mapspace with fusion.cores that lists its groups, such as cores"
        raise SpecError(expected("need cores: --mapspace", condition, mapspace.name))
    arch = platform.matrix
    inmost = arch.level(fusion_levels(platform, mapspace)[-1])
    found = [n for n in arch.nodes[: arch.nodes.index(inmost)] if isinstance(n, Fanout)]
    if len(found) != 1:
        condition = f"one fanout (spatial) outside {inmost.name}, the cores"
        got = ", ".join(n.name for n in found) or "none"
        change = "give a chip of cores, such as h100; of several fanouts ask by a sweep"
        raise SpecError(expected(f"need cores: {platform.name}", condition, got, change))
    return found[0]


def with_cores(platform: Platform, fanout: str, cores: int) -> Platform:
    """A platform with another number of cores, in a row; what stands outside them stays."""

    def turned(arch: Architecture) -> Architecture:
        at = next(i for i, n in enumerate(arch.nodes) if n.name == fanout)
        old = arch.nodes[at]
        assert isinstance(old, Fanout)
        inside = tuple(
            replace(n, instances=n.instances // old.copies * cores)
            if isinstance(n, MemoryLevel)
            else n
            for n in arch.nodes[at + 1 :]
        )
        unit = replace(arch.compute, instances=arch.compute.instances // old.copies * cores)
        row = replace(old, fanout_x=cores, fanout_y=1)
        return replace(arch, nodes=(*arch.nodes[:at], row, *inside), compute=unit)

    vector = platform.vector
    return replace(
        platform,
        matrix=turned(platform.matrix),
        vector=None if vector is None else turned(vector),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The quantity that is turned: a level's capacity in rows, or DRAM's bandwidth in steps."""

    platform: Platform
    quantity: Quantity
    level: MemoryLevel
    step: float
    steps: ClassVar = "steps"

    @classmethod
    def of(cls, platform: Platform, quantity: Quantity, step: float) -> Knob:
        """The knob of a platform."""
        if quantity == "buffer":
            level = shared_level(platform)
            row = units.bytes_of(level.row_words, level.word_bits)
            return cls(platform=platform, quantity=quantity, level=level, step=row)
        level = platform.dram
        where = f"{platform.name}: {level.name}"
        if not 0 < step < float("inf"):
            raise SpecError(expected("need: step", "bytes per second > 0", step))
        if level.read_words_per_cycle or level.write_words_per_cycle:
            got = "read_bandwidth or write_bandwidth"
            raise SpecError(expected(where, "one shared_bandwidth", got, "sum them into one"))
        return cls(platform=platform, quantity=quantity, level=level, step=float(step))

    @property
    def node(self) -> str:
        """The level's name."""
        return self.level.name

    @property
    def present(self) -> float:
        """The platform's own value, in steps; infinite where that is unlimited."""
        if self.quantity == "buffer":
            words = self.level.capacity_words
            return float("inf") if words is None else words / self.level.row_words
        rate = self.level.shared_words_per_cycle
        return float("inf") if rate is None else rate / self._rate(1)

    def _rate(self, steps: int) -> float:
        """Words per cycle of so many steps of bandwidth."""
        words = units.words_of(steps * self.step, self.level.word_bits)
        return words * self.platform.matrix.cycle_seconds

    def at(self, steps: int | None) -> Platform:
        """The platform with so many steps; None: unlimited."""
        matrix, vector = self.platform.matrix, self.platform.vector
        return replace(
            self.platform,
            matrix=self._turned(matrix, steps),
            vector=None if vector is None else self._turned(vector, steps),
        )

    def _turned(self, arch: Architecture, steps: int | None) -> Architecture:
        nodes = tuple(
            self._level(node, steps)
            if isinstance(node, MemoryLevel) and node.name == self.level.name
            else node
            for node in arch.nodes
        )
        return replace(arch, nodes=nodes)

    def _level(self, level: MemoryLevel, steps: int | None) -> MemoryLevel:
        if self.quantity == "buffer":
            words = None if steps is None else steps * level.row_words
            return replace(level, capacity_words=words)
        rate = None if steps is None else self._rate(steps)
        return replace(level, shared_words_per_cycle=rate)

    def enough(self, result: Result) -> int | None:
        """Steps with which a mapping is sure to run as it did; None where that is not known."""
        if self.quantity == "bandwidth":
            return None
        words = max(use.live_words for use in result.buffers().values())
        return max(1, ceil(words * self.level.multiple_buffering / self.level.row_words))

    def least(self, result: Result, target: Target) -> int:
        """Steps that cannot reach a target, as far as compulsory traffic tells; 0 at least."""
        if self.quantity == "buffer":
            return 0
        words = units.words_of(result.bound.offchip_bytes, self.level.word_bits)
        if target.latency:
            cycles = target.value / result.cycle_seconds
        else:
            cycles = target.of(result) * result.cycles / target.value
        return max(0, int(words / cycles / self._rate(1)) - 1)


@dataclass(slots=True, kw_only=True)
class _Trials:
    """The searches made so far, by value."""

    workload: Workload
    mapspace: Mapspace
    ert: Ert
    knob: Knob | Cores
    target: Target
    progress: Progress | None
    known: dict[int | None, Trial] = field(default_factory=dict)

    def at(self, steps: int | None) -> Trial:
        """The fastest mapping at a value; on cores, as far as it reaches a latency."""
        if steps not in self.known:
            if self.progress:
                what = "unlimited" if steps is None else f"{steps} {self.knob.steps}"
                # About as many searches as a buffer of a million rows takes.
                self.progress(min(len(self.known) / 24, 0.99), f"{self.knob.node}: {what}")
            self.known[steps] = self._within(steps) if self._on_cores else self.fastest(steps)
        return self.known[steps]

    @property
    def _on_cores(self) -> bool:
        return self.target.latency and self.knob.quantity == "cores"

    def fastest(self, steps: int | None) -> Trial:
        """The fastest mapping at a value."""
        chip = self.knob.at(steps)
        found = search(self.workload, chip, self.mapspace, self.ert, objective="latency")
        if isinstance(found, Infeasible):
            return Trial(steps=steps, found=found)
        return Trial(steps=steps, found=found.result, bound_s=found.certificate.proven_bound)

    def _within(self, cores: int | None) -> Trial:
        chip = self.knob.at(cores)
        within = fastest_within(self.workload, chip, self.mapspace, self.ert, self.target.value)
        result = within.found.result if within.found else None
        return Trial(steps=cores, found=result, bound_s=within.bound_s)

    def reaches(self, trial: Trial) -> bool:
        """True if its mapping reaches the target."""
        return self.target.reached(self.target.of(trial.result))

    def answer(self, steps: int, ceiling: float, unproven: Iterable[int]) -> Need:
        """The value that reaches the target, beside one less where that was tried.

        unproven: smaller values, of which those are told that no bound excludes.
        """
        return Need(
            workload=self.workload,
            arch=self.knob.platform.name,
            mapspace=self.mapspace.name,
            quantity=self.knob.quantity,
            node=self.knob.node,
            target=self.target,
            step=self.knob.step,
            present=self.knob.present,
            reached=self.known[steps],
            below=self.known.get(steps - 1),
            trials=len(self.known),
            ceiling=ceiling,
            unproven=tuple(n for n in unproven if not self.target.excluded(self.known[n])),
        )


def _smallest(trials: _Trials, knob: Knob, low: int, high: int) -> int:
    """The least value that reaches the target; `high` does, `low` is taken not to.

    What is returned has been searched, and so has one less.
    """
    while high - low > 1:
        middle = (low + high) // 2
        trial = trials.at(middle)
        if not trials.reaches(trial):
            low = middle
            continue
        assert trial.result is not None
        # The mapping found runs as well in what it uses.
        high = min(middle, knob.enough(trial.result) or middle)
    assert trials.reaches(trials.at(high)), "a mapping that fits stopped reaching the target"
    if high > 1 and trials.reaches(trials.at(high - 1)):
        return _smallest(trials, knob, 0, high - 1)
    return high


def _bracket(trials: _Trials, knob: Knob, result: Result) -> tuple[int, int]:
    """A value that is taken not to reach the target, and one that reaches it."""
    low, high = knob.least(result, trials.target), knob.enough(result)
    if high is not None:
        return low, high
    high = max(low + 1, ceil(knob.present) if knob.present < float("inf") else 1)
    while not trials.reaches(trials.at(high)):
        low, high = high, 2 * high
    return low, high


def need(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspace: Mapspace | Name = "flat",
    ert: Ert | Name | None = None,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
    quantity: Quantity,
    utilization: float | None = None,
    latency_s: float | None = None,
    busy: str = "",
    step: float = STEP_BYTES_PER_S,
    progress: Progress | None = None,
) -> Need | Unreached:
    """The smallest buffer, bandwidth or number of cores that reaches a target, or what binds.

    seq, scope:  as for `search`.
    ert:         breaks ties between mappings of the same latency; by default none does.
    quantity:    buffer (of the level that groups share, in its rows), bandwidth (of DRAM) or cores
                 (of a chip whose mapspace gives tiles out to them).
    utilization: of the fastest mapping, a share > 0 and <= 1.
    latency_s:   of the fastest mapping, seconds, in the place of a utilization.
    busy:        a compute unit, whose busy share is to reach the utilization instead.
    step:        of bandwidth, bytes per second.
    """
    cascade = load_problem(workload, scope, seq=seq)
    chip = fitted(load_platform(platform), cascade).platform
    space = mapspace_of(mapspace, cascade, chip)
    table = None if ert is None else energies(chip, ert)[0]
    return smallest_value(
        *(cascade, chip, space, table, quantity),
        utilization=utilization,
        latency_s=latency_s,
        busy=busy,
        step=step,
        progress=progress,
    )
