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
another question (`explore.need_cores`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil, inf

from flat_mapper.api.calls import Name, Source, load_problem, mapspace_of
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.explore.need_cores import least_cores
from flat_mapper.explore.need_result import QUANTITIES, Need, Quantity, Target, Trial, Unreached
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
    table = ert or unpriced(platform)
    if quantity == "cores":
        return least_cores(workload, platform, mapspace, table, target, progress)
    trials = _Trials(
        workload=workload,
        mapspace=mapspace,
        ert=table,
        knob=Knob.of(platform, quantity, step),
        target=target,
        progress=progress,
    )
    return _bisected(trials, quantity)


def _bisected(trials: _Trials, quantity: Quantity) -> Need | Unreached:
    """The smallest value of a knob."""
    knob, target, mapspace, workload = trials.knob, trials.target, trials.mapspace, trials.workload
    unlimited = trials.at(None)
    beside = mapspace.fusion.schedule in ("overlapped", "phases", "any")
    most = unlimited.ceiling(target, overlapped=beside)
    if not trials.reaches(unlimited):
        assert unlimited.found is not None
        return Unreached(quantity, knob.node, target, unlimited.found, most)
    assert unlimited.result is not None
    steps = trials.smallest(*_bracket(trials, unlimited.result))
    below = trials.at(steps - 1) if steps > 1 else None
    return Need(
        workload=workload.name,
        arch=knob.platform.name,
        mapspace=mapspace.name,
        quantity=quantity,
        node=knob.node,
        target=target,
        step=knob.step,
        present=knob.present,
        reached=trials.at(steps),
        below=below,
        trials=len(trials.known),
        ceiling=most,
        unproven=() if below is None or target.excluded(below) else (steps - 1,),
        left_out=workload.left_out,
        wider=workload.wider,
        mask=workload.mask,
        other_layers=workload.other_layers,
    )


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
class Knob:
    """The quantity that is turned: a level's capacity in rows, or DRAM's bandwidth in steps."""

    platform: Platform
    quantity: Quantity
    level: MemoryLevel
    step: float

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
    knob: Knob
    target: Target
    progress: Progress | None
    known: dict[int | None, Trial] = field(default_factory=dict)

    def at(self, steps: int | None) -> Trial:
        """The fastest mapping at a value."""
        if steps not in self.known:
            if self.progress:
                what = "unlimited" if steps is None else f"{steps} steps"
                # About as many searches as a buffer of a million rows takes.
                self.progress(min(len(self.known) / 24, 0.99), f"{self.knob.node}: {what}")
            found = search(
                self.workload,
                self.knob.at(steps),
                self.mapspace,
                self.ert,
                objective="latency",
            )
            if isinstance(found, Infeasible):
                self.known[steps] = Trial(steps=steps, found=found)
            else:
                bound = found.certificate.proven_bound
                self.known[steps] = Trial(steps=steps, found=found.result, bound_s=bound)
        return self.known[steps]

    def reaches(self, trial: Trial) -> bool:
        """True if its mapping reaches the target."""
        return self.target.reached(self.target.of(trial.result))

    def smallest(self, low: int, high: int) -> int:
        """The least value that reaches the target; `high` does, `low` is taken not to.

        What is returned has been searched, and so has one less.
        """
        while high - low > 1:
            middle = (low + high) // 2
            trial = self.at(middle)
            if not self.reaches(trial):
                low = middle
                continue
            assert trial.result is not None
            # The mapping found runs as well in what it uses.
            high = min(middle, self.knob.enough(trial.result) or middle)
        assert self.reaches(self.at(high)), "a mapping that fits stopped reaching the target"
        if high > 1 and self.reaches(self.at(high - 1)):
            return self.smallest(0, high - 1)
        return high


def _bracket(trials: _Trials, result: Result) -> tuple[int, int]:
    """A value that is taken not to reach the target, and one that reaches it."""
    knob = trials.knob
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
