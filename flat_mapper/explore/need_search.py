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

So the values that reach a target are all those from one value on, and a bound at one value holds
at every smaller one. What is known is priced first: a value that a mapping of another one reaches
needs no search. The answer has a mapping that reaches the target. That one row or step less has
none is said where a bound proves it; else, as where time ended a search, that is not known.

Nothing proves that more cores are never slower: with the same tiles each has a smaller share of
DRAM while it works, and a last round may fill fewer of them. So nothing of them is bisected but a
bound that more cores only lower (units of all cores at peak); from the least number that it allows,
every number is searched in turn, for mappings that reach the target and no others, until one does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, isclose, prod
from typing import ClassVar, Literal, NoReturn

from flat_mapper.api import questions
from flat_mapper.api.calls import (
    OF_DEVICE,
    devices_of,
    edits_of,
    energies,
    mapspace_of,
    one_chip,
    workload_of,
)
from flat_mapper.api.options import answers
from flat_mapper.arch.cores import units_at_once
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base import units
from flat_mapper.base.budget import Budget, Progress, part_of
from flat_mapper.base.errors import MissingResult, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.devices.answer import NeededDevices
from flat_mapper.devices.cluster import load_cluster
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.kernels.known import known_tiles
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.certificate import Solution, end_words, turns_note
from flat_mapper.mapper.solve.driver import best_known, search
from flat_mapper.mapper.solve.known import Known
from flat_mapper.mapper.solve.on_cores import fastest_within, least_seconds, most_tiles
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Mapspace
from flat_mapper.reports.fields import busy_text
from flat_mapper.reports.text import left_out_text
from flat_mapper.spec.document import among, did_you_mean
from flat_mapper.workload.graph import Workload

# Chosen: of the time that is left a search may take a fourth; when a fiftieth is left, that is all.
SHARE, LAST = 4, 0.02

KnobKind = Literal["buffer", "bandwidth", "cores"]

# What is counted, what a step is of, and how that is written.
_UNITS: Mapping[KnobKind, tuple[str, str, Callable[[float], str]]] = {
    "buffer": ("rows", "bytes", units.size),
    "bandwidth": ("steps", "bytes_per_s", lambda value: units.si(value, "B/s")),
    "cores": ("cores", "", lambda value: units.count(int(value))),
}
_HEAD = ("util.", "busy", "latency", "off-chip", "granularity", "bottleneck")  # of a trial


@answers(questions.AskNeed)
def need(asked: questions.AskNeed) -> Need | questions.OnCluster | Unreached:
    """A `Need`, or what binds: false, and it says why when its result is asked for.

    Each search goes for a proof unless a gap is named. Where the budget ends, the answer says what
    is known.
    """
    if asked.quantity == "devices":
        return _devices(asked)
    budget, quantity = asked.spend(), among("need: quantity", asked.quantity, tuple(_UNITS))
    cascade = workload_of(asked)
    own = one_chip(asked.arch, asked.data, OF_DEVICE, edits_of(asked))
    fit = fitted(own, cascade)
    chip, cascade = fit.platform, fit.workload
    space = mapspace_of(asked.mapspace, cascade, chip, asked.schedule)
    table = unpriced(chip) if asked.ert is None else energies(chip, asked.ert)[0]
    target = _target(asked, cascade, chip)
    knob = Knob.of(chip, quantity, asked.step, space)
    trials = _Trials(cascade, space, table, knob, target, asked.progress, budget)
    trials.mappings += known_tiles(cascade, chip, space)
    return _counted(trials) if quantity == "cores" else _bisected(trials)


def _devices(asked: questions.AskNeed) -> NeededDevices:
    """The fewest devices of a cluster that reach a latency."""
    budget, cluster = asked.spend(), load_cluster(asked.arch, asked.data)
    if asked.latency_s is None or not 0 < asked.latency_s < inf:
        got = "a utilization" if asked.latency_s is None else asked.latency_s
        raise SpecError(expected("need devices", "--latency, seconds > 0", got))
    return devices_of(asked, cluster, budget, asked.mapspace).needed(asked.latency_s)


def _target(asked: questions.AskNeed, workload: Workload, platform: Platform) -> Target:
    """The target that is asked for. Raises SpecError where it is none, or is not defined."""
    utilization, latency_s, busy = asked.utilization, asked.latency_s, asked.busy
    names = _units_of(workload, platform)
    of_unit = f"a compute unit that {workload.name} uses: {', '.join(names)}"
    one_form = "one form of softmax where a unit's busy share is asked for: their work differs"
    no_mask = "no mask: work on masked pairs would count as utilization"
    both = (utilization is None) == (latency_s is None)
    got = "neither" if utilization is None else "both"
    timed = latency_s is not None
    value = next((v for v in (latency_s, utilization) if v is not None), 0.0)
    faults = (
        (both, "", "a utilization or a latency to reach", got, ""),
        (busy and timed, ": busy", "a utilization beside it", "a latency", ""),
        (timed and not 0 < value < inf, ": latency", "seconds > 0", latency_s, ""),
        (workload.mask and not timed, f": {workload.name}", no_mask, str(workload.mask),
         "take --mask none, or ask for a latency"),
        (not timed and not 0 < value <= 1, ": utilization", "a share > 0 and <= 1", value, ""),
        (busy and busy not in names, ": busy", of_unit, busy, did_you_mean(busy, names)),
        (busy and workload.softmax == "any", ": busy", one_form, "softmax any",
         "take row or online"),
    )  # fmt: skip
    for wrong, where, condition, found, change in faults:
        if wrong:
            raise SpecError(expected(f"need{where}", condition, found, change))
    return Target(value=value, unit=busy, latency=timed)


def _units_of(workload: Workload, platform: Platform) -> list[str]:
    """The compute units that a workload uses."""
    used = dict.fromkeys(e.unit for e in workload.einsums)
    paths = {"matrix": platform.matrix, "vector": platform.vector}
    return [arch.compute.name for unit in used if (arch := paths[unit]) is not None]


def _bisected(trials: _Trials) -> Need | Unreached:
    """The smallest value of a knob."""
    knob, unlimited = trials.knob, trials.at(None)
    ceiling = trials.ceiling(unlimited.result)
    if not trials.reach(None):
        return trials.unreached(unlimited, ceiling)
    assert unlimited.result is not None
    low = knob.least(unlimited.result, trials.target)
    first = max(low + 1, ceil(knob.present) if knob.present < inf else 1)
    low, high = trials.upward(low, first, first, inf)
    if not trials.reach(high):
        return trials.unreached(trials.at(high), ceiling)
    steps = _smallest(trials, low, high)
    return trials.answer(steps, ceiling, [steps - 1] if steps > 1 else [])


def _smallest(trials: _Trials, low: int, high: int) -> int:
    """The least value that reaches the target; `high` does, `low` is taken not to.

    One less than what is returned has been searched, as far as there was time.
    """
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if trials.reach(middle) else (middle, high)
    if high > 1 and not trials.over and trials.reach(high - 1):
        return _smallest(trials, 0, high - 1)
    return high


def _counted(trials: _Trials) -> Need | Unreached:
    """The least number of cores."""
    target, workload, mapspace, chip = trials.target, trials.workload, trials.mapspace, trials.knob
    most = most_tiles(workload, chip.at(prod(workload.rank_sizes.values())), mapspace)

    def at_peak(cores: int) -> float:
        return least_seconds(workload, chip.at(cores), mapspace) if target.latency else 1.0

    def may_reach(cores: int) -> bool:
        return target.reached(at_peak(cores))

    ceiling = at_peak(most)
    if not may_reach(most):
        return trials.unreached(trials.fastest(most, trials.mappings), ceiling, most)
    least = 1 + bisect_left(range(1, most), True, key=may_reach)
    _, high = trials.upward(least - 1, least, 1, most)
    if not trials.reach(high):
        if trials.over:
            return trials.unreached(trials.at(high), ceiling)
        return trials.unreached(trials.fastest(most, trials.mappings), ceiling, most)
    fewer = (n for n in range(least, high) if not trials.over and trials.reach(n))
    reached = next(fewer, high)
    return trials.answer(reached, ceiling, range(least, reached))


def _fanout_of_cores(platform: Platform, mapspace: Mapspace) -> Fanout:
    """The one fanout outside a level at which a mapspace may fuse."""
    if not mapspace.fusion.on_cores or mapspace.fusion.anything is not None:
        condition = "a mapspace with fusion.cores that lists its groups, or a chip with cores"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The quantity that is turned: capacity in rows, DRAM's bandwidth in steps, or cores."""

    platform: Platform
    quantity: KnobKind
    node: MemoryLevel | Fanout
    step: float  # bytes of a row, bytes per second, or one core
    present: float  # the platform's own value, in steps; infinite where that is unlimited

    @classmethod
    def of(cls, platform: Platform, quantity: KnobKind, step: float, mapspace: Mapspace) -> Knob:
        """The knob of a platform; of its cores, those that a mapspace gives tiles out to."""
        node: MemoryLevel | Fanout
        has: float | None  # in units of the model, of which a step has `each`
        each: float = 1
        if quantity == "cores":
            node, step = _fanout_of_cores(platform, mapspace), 1.0
            has = node.copies
        elif quantity == "buffer":
            node = shared_level(platform)
            step = units.bytes_of(node.row_words, node.word_bits)
            has, each = node.capacity_words, node.row_words
        else:
            node = platform.dram
            if not 0 < step < inf:
                raise SpecError(expected("need: step", "bytes per second > 0", step))
            if node.read_words_per_cycle or node.write_words_per_cycle:
                where, got = f"{platform.name}: {node.name}", "read_bandwidth or write_bandwidth"
                raise SpecError(expected(where, "one shared_bandwidth", got, "sum them into one"))
            has = node.shared_words_per_cycle
            each = units.words_of(step, node.word_bits) * platform.matrix.cycle_seconds
        present = inf if has is None else has / each
        return cls(
            platform=platform, quantity=quantity, node=node, step=float(step), present=present
        )

    def _rate(self, level: MemoryLevel, steps: int) -> float:
        """Words per cycle of so many steps of bandwidth."""
        words = units.words_of(steps * self.step, level.word_bits)
        return words * self.platform.matrix.cycle_seconds

    def at(self, steps: int | None) -> Platform:
        """The platform with so many steps; None: unlimited, which cores are not."""
        return self.platform.changed(lambda arch: self._turned(arch, steps))

    def _turned(self, arch: Architecture, steps: int | None) -> Architecture:
        """One path; of its cores, the new ones stand in a row, and all inside them is as often."""
        at = next((i for i, n in enumerate(arch.nodes) if n.name == self.node.name), None)
        if at is None:
            return arch
        node, inside, unit = arch.nodes[at], arch.nodes[at + 1 :], arch.compute
        if isinstance(node, Fanout):
            assert steps is not None, "cores have no end"
            inside = tuple(
                replace(n, instances=n.instances // node.copies * steps)
                if isinstance(n, MemoryLevel)
                else n
                for n in inside
            )
            unit = replace(unit, instances=unit.instances // node.copies * steps)
            node = replace(node, fanout_x=steps, fanout_y=1)
        elif self.quantity == "buffer":
            node = replace(node, capacity_words=None if steps is None else steps * node.row_words)
        else:
            rate = None if steps is None else self._rate(node, steps)
            node = replace(node, shared_words_per_cycle=rate)
        return replace(arch, nodes=(*arch.nodes[:at], node, *inside), compute=unit)

    def least(self, result: Result, target: Target) -> int:
        """Steps that cannot reach a target, as far as compulsory traffic tells; 0 at least."""
        if self.quantity == "buffer":
            return 0
        assert isinstance(self.node, MemoryLevel)
        words = units.words_of(result.bound.offchip_bytes, self.node.word_bits)
        if target.latency:
            cycles = target.value / result.cycle_seconds
        else:
            cycles = target.of(result) * result.cycles / target.value
        return max(0, int(words / cycles / self._rate(self.node, 1)) - 1)


@dataclass(slots=True)
class _Trials:
    """The searches made so far, by value."""

    workload: Workload
    mapspace: Mapspace
    ert: Ert
    knob: Knob
    target: Target
    progress: Progress | None
    budget: Budget
    known: dict[int | None, Trial] = field(default_factory=dict)
    mappings: list[Known] = field(default_factory=list)  # that were found, at whatever value
    searches: int = 0
    stopped: str = ""  # what ended a search other than its own share of the time

    @property
    def over(self) -> bool:
        """True once the budget is spent, or hardly any of it is left."""
        return bool(self.stopped) or self.budget.left_s < LAST * self.budget.limit_s

    @property
    def end(self) -> str:
        """Early ends of the searches, in words; empty where nothing did."""
        return end_words(self.stopped or "time", self.budget.limit_s) if self.over else ""

    def at(self, steps: int | None, known: Result | None = None) -> Trial:
        """The fastest mapping at a value; on cores, as far as it reaches a latency.

        known: what `priced` found there, where it was asked before.
        """
        if steps not in self.known:
            priced = known or self.priced(steps)
            if priced is None or not self.over:
                within = self.knob.quantity == "cores" and self.target.latency
                best = self._with([priced] if priced else ())
                trial = self.fastest(steps, best, self.target.value if within else inf)
            else:
                trial = Trial(steps=steps, found=priced)
            slower = trial.result is None or (priced and priced.cycles < trial.result.cycles)
            found = priced if priced and slower else trial.found
            bound_s = max(trial.bound_s, self.bound_s(steps))
            self.known[steps] = replace(trial, found=found, bound_s=bound_s)
        return self.known[steps]

    def priced(self, steps: int | None) -> Result | None:
        """The fastest of the known mappings at a value; without time, of those that were one."""
        some = self.mappings
        if self.over:
            some = self._with(r for one in self.known.values() if (r := one.result))
        return best_known(*self._asked(steps), some) if some else None

    def _with(self, results: Iterable[Result]) -> list[Known]:
        """The known mappings of some results."""
        wanted = [one.mapping for one in results]
        return [one for one in self.mappings if one[1] in wanted]

    def bound_s(self, steps: int | None) -> float:
        """Seconds that no mapping beats at a value, as others tell: none is faster with less."""
        wider = (one.bound_s for n, one in self.known.items() if n is None or n >= (steps or inf))
        return 0.0 if self.knob.quantity == "cores" else max(wider, default=0.0)

    def _asked(self, steps: int | None) -> tuple[Workload, Platform, Mapspace, Ert]:
        return self.workload, self.knob.at(steps), self.mapspace, self.ert

    def fastest(self, steps: int | None, known: Sequence[Known], seconds: float = inf) -> Trial:
        """The fastest mapping at a value by a search; none of more seconds is looked for."""
        self.searches += 1
        budget, told, what = self.budget.part(SHARE), self._told(steps), self._asked(steps)
        found: Solution | Infeasible | None
        if seconds < inf:
            within = fastest_within(*what, seconds, told, budget)
            found, bound_s = within.found, within.bound_s
        else:
            found = search(*what, objective="latency", progress=told, budget=budget, known=known)
            bound_s = found.certificate.proven_bound if found else inf
        self.budget.spent = budget.spent
        if budget.stopped != "time":
            self.stopped = budget.stopped
        if isinstance(found, Solution):
            own = found.workload, found.result.mapping
            if own not in self.mappings:
                self.mappings.append(own)
        reached = found.result if isinstance(found, Solution) else found
        return Trial(steps=steps, found=reached, bound_s=bound_s)

    def _told(self, steps: int | None) -> Progress | None:
        """Progress of one search of all."""
        if not self.progress:
            return None
        noun = "cores" if self.knob.quantity == "cores" else "steps"
        text = f"{self.knob.node.name}: " + ("unlimited" if steps is None else f"{steps} {noun}")
        # About as many searches as a buffer of a million rows takes.
        known = min(len(self.known), 23)
        self.progress(known / 24, text)
        return part_of(self.progress, known, 24, text)

    def reach(self, steps: int | None) -> bool:
        """True if a known mapping reaches the target at a value, or else the fastest."""
        priced = None
        if steps not in self.known:
            priced = self.priced(steps)
            if self._reached(priced):
                return True
            if self.over and self.mappings:  # to price takes no time, to search does
                return False
        return self._reached(self.at(steps, priced).result)

    def _reached(self, result: Result | None) -> bool:
        return self.target.reached(self.target.of(result))

    def upward(self, low: int, value: int, step: int, most: float) -> tuple[int, int]:
        """From a value on, in steps that double: the last one that misses, and one that reaches.

        The latter misses too where there is no time, or none reaches.
        """
        while not self.reach(value) and not self.over and value < most:
            low, value, step = value, int(min(value + step, most)), 2 * step
        return low, value

    def ceiling(self, result: Result | None) -> float:
        """The ceiling that the problem sets: all units at their peak, in turn or side by side."""
        if result is None:
            return 0.0
        needs = result.busy.values()
        at_once = units_at_once(self.knob.platform.matrix)
        least = max(needs, default=0.0) if at_once else sum(needs)
        if self.target.latency:
            return result.latency_s * least
        return min(1.0, self.target.of(result) / least) if least else 0.0

    def _turns(self, result: Result | None) -> tuple[str, ...]:
        """A line where the mapspace has units take turns that need not."""
        return turns_note(self.mapspace, self.knob.platform, [result] if result else [])

    def unreached(self, trial: Trial, ceiling: float, cores: int = 0) -> Unreached:
        """A target that no trial reaches; the last of them may leave it open."""
        end = "" if self.target.excluded(trial) else self.end
        return Unreached(self.knob, self.target, trial.found, ceiling, cores, end)

    def answer(self, steps: int, ceiling: float, fewer: Sequence[int]) -> Need:
        """The value that reaches the target, beside one less where that was tried.

        fewer: smaller values, of which those are told that no bound excludes.
        """
        reached = self.at(steps)
        misses = {n for n, one in self.known.items() if n and self.target.excluded(one)}
        return Need(
            workload=self.workload,
            mapspace=self.mapspace.name,
            knob=self.knob,
            target=self.target,
            reached=reached,
            below=self.known.get(steps - 1),
            trials=self.searches,
            ceiling=ceiling,
            unproven=tuple(n for n in fewer if n not in misses),
            misses=max((n for n in misses if n < steps), default=0),
            end=self.end,
            notes=(*self.mapspace.notes, *self._turns(self.known[steps].result)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of the fastest mapping: a latency, a utilization, or a unit's busy share."""

    value: float  # seconds at most, or a share at least
    unit: str = ""  # whose busy share; none: utilization
    latency: bool = False

    @property
    def name(self) -> str:
        """The target."""
        if self.latency:
            return "latency"
        return f"busy share of {self.unit}" if self.unit else "utilization"

    def of(self, result: Result | None) -> float:
        """The value that a mapping reaches; where there is none, no share and no end."""
        if self.latency:
            return result.latency_s if result else inf
        if result is None:
            return 0.0
        return result.busy[self.unit] if self.unit else result.utilization

    def reached(self, value: float) -> bool:
        """True if so much is enough."""
        beyond = value <= self.value if self.latency else value >= self.value
        return beyond or isclose(value, self.value, rel_tol=EQUAL)

    def excluded(self, trial: Trial) -> bool:
        """True if no mapping of a trial can reach it, by the bound of its search."""
        if self.latency:
            return not self.reached(trial.bound_s)
        if trial.result is None:
            return True
        return not self.reached(self.of(trial.result) * trial.result.latency_s / trial.bound_s)

    def text(self, value: float, form: str = ".6f") -> str:
        """A value of it, in seconds or as a share in some form."""
        return units.si(value, "s") if self.latency else f"{value:{form}}"

    def __str__(self) -> str:
        return f"a {self.name} of {self.text(self.value, 'g')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The fastest mapping at one value."""

    steps: int | None  # rows of the buffer, steps of bandwidth or cores; None: unlimited
    found: Result | Infeasible | None  # None: no mapping is fast enough
    bound_s: float = 0.0  # seconds that no mapping beats

    @property
    def result(self) -> Result | None:
        """The fastest mapping, where one was found."""
        return self.found if isinstance(self.found, Result) else None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Need(Printed):
    """The smallest value that reaches the target, and the largest that does not."""

    kind: ClassVar = "need"  # of answers as JSON
    workload: Workload
    mapspace: str
    knob: Knob
    target: Target
    reached: Trial
    below: Trial | None  # one step less; None where one step is enough
    trials: int  # searches made
    ceiling: float  # what the problem allows, whatever the chip's memories, or with all cores
    unproven: tuple[int, ...] = ()  # smaller values that no bound excludes
    misses: int = 0  # the largest smaller value that is proven not to reach it
    end: str = ""  # what ended the searches early, in words
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Rows, steps of bandwidth, or cores."""
        assert self.reached.steps is not None
        return self.reached.steps

    @property
    def value(self) -> float:
        """Bytes, bytes per second, or cores."""
        return self.steps * self.knob.step

    @property
    def result(self) -> Result:
        """The fastest mapping at the value."""
        assert self.reached.result is not None
        return self.reached.result

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper need --json`."""
        one_less = self.target.of(self.below.result if self.below else None)
        bound_s = self.below.bound_s if self.below else 0.0
        knob, (noun, unit, _) = self.knob, _UNITS[self.knob.quantity]
        values: dict[str, object] = {noun: self.steps}
        if unit:
            values |= {unit: self.value, f"{noun[:-1]}_{unit}": knob.step}
            values[f"present_{unit}"] = knob.present * knob.step
        else:
            values[f"present_{noun}"] = int(knob.present)
        return {
            "quantity": knob.quantity,
            "workload": self.workload.name,
            "arch": knob.platform.name,
            "mapspace": self.mapspace,
            "level": knob.node.name,
            "of": self.target.name,
            "target": self.target.value,
            "ceiling": self.ceiling,
            **values,
            "reached": self.target.of(self.result),
            "one_less": units.finite(one_less),
            "one_less_bound_s": bound_s if 0 < bound_s < inf else None,
            "unproven": list(self.unproven),
            "proven_too_few": self.misses,
            "stopped": self.end,
            "notes": list(self.notes),
            "utilization": self.result.utilization,
            "busy": dict(self.result.busy),
            "latency_s": self.result.latency_s,
            "bottleneck": self.result.bottleneck,
            "granularity": self.result.fused.granularity,
            "searches": self.trials,
            "left_out": list(self.workload.left_out),
            "other_layers": [kind.to_dict() for kind in self.workload.other_layers],
        }

    def _amount(self, steps: float) -> str:
        """A number of steps in units."""
        *_, written = _UNITS[self.knob.quantity]
        return written(steps * self.knob.step)

    def _sure(self) -> str:
        """The proof that less does not reach it, or what is open."""
        if not self.unproven:
            less = "fewer" if self.knob.quantity == "cores" else "less"
            return f"proven: with {less} no mapping of the mapspace reaches it"
        known = f"up to {self._amount(self.misses)} are proven too few" if self.misses else ""
        ends = dict.fromkeys((self.unproven[0], self.unproven[-1]))
        open_ = " to ".join(map(units.count, ends))
        bound_s = self.below.bound_s if self.below else 0.0
        above = f", at least {units.si(bound_s, 's')} with one less" if bound_s else ""
        sure = f"not known below it: none was found for {open_}, which no bound excludes{above}"
        return "; ".join(filter(None, (sure, known, self.end)))

    def __str__(self) -> str:
        """The value, one step less, and what the architecture has."""
        quantity, arch, sure = self.knob.quantity, self.knob.platform.name, self._sure()
        noun, *_ = _UNITS[quantity]
        least, where = f"smallest {quantity}", ""
        has, row = self._amount(self.knob.present), f"one of the {noun} is {self._amount(1)}; "
        if quantity == "cores":
            least, where, row = "least number of cores", "however many cores, ", ""
        head = ("", noun, "" if quantity == "cores" else quantity, *_HEAD)
        rows = [self._row(trial) for trial in (self.below, self.reached) if trial]
        most = "least" if self.target.latency else "most"
        lines = (
            f"{self.workload.name} on {arch}, mapspace {self.mapspace}: the {least} of "
            f"{self.knob.node.name} for {self.target}: {self._amount(self.steps)}, "
            f"{sure.partition(':')[0]}",
            grid(rows, head=head, right=range(1, 7)),
            f"the problem allows a {self.target.name} of at {most} "
            f"{self.target.text(self.ceiling)}: {where}all units at their peak, transfers beside "
            "them",
            f"{row}{arch} has {has}; {self.trials} searches for the least latency; {sure}",
            *self.notes,
            left_out_text(self.workload),
        )
        return "\n".join(filter(None, lines))

    def _row(self, trial: Trial) -> tuple[str, ...]:
        steps, result = trial.steps or 0, trial.result
        start = (
            "reaches"
            if trial is self.reached
            else "misses"
            if self.target.excluded(trial)
            else "not known",
            units.count(steps),
            "" if self.knob.quantity == "cores" else self._amount(steps),
        )
        if result is None:
            slower, why = f"> {units.si(trial.bound_s, 's')}", "none so fast"
            if trial.found is not None:
                slower, why = "", "nothing fits"
            return (*start, "", "", slower, "", why, "")
        return (
            *start,
            f"{result.utilization:.6f}",
            busy_text(result.busy),
            units.si(result.latency_s, "s"),
            units.size(result.offchip_bytes),
            result.fused.granularity,
            result.bottleneck,
        )


@dataclass(frozen=True, slots=True)
class Unreached:
    """A target that no value reaches, and what binds then. A value, and false."""

    knob: Knob
    target: Target
    found: Result | Infeasible | None  # the fastest mapping where the quantity is unlimited
    ceiling: float = 0.0
    cores: int = 0  # tried at most, where they are asked for
    end: str = ""  # why that is not known; empty where it is proven

    def __bool__(self) -> Literal[False]:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise MissingResult(self, name)

    def __str__(self) -> str:
        where, target = f"need {self.knob.quantity}: {self.knob.node.name}", self.target
        if isinstance(self.found, Infeasible):
            return f"{where}: nothing fits at any value: {self.found}"
        reached, ceiling = (target.text(v, ".4f") for v in (target.of(self.found), self.ceiling))
        if self.found is None or self.end:
            best = f" ({reached})" if self.found else ""
            got = f"no mapping found that reaches it{best}, and none excluded: {self.end}"
            return expected(where, str(target), got, "allow more time")
        most, change = "most", "lower the target, or widen what binds"
        if target.latency:
            most, change = "least", "raise the target, or widen what binds"
        elif target.value > self.ceiling:
            change = "lower the target, or choose units of other rates"
        limit = f"an unlimited {self.knob.quantity}"
        if self.cores:
            limit = f"{self.cores} cores, as many as can have a tile"
        reasons = "; ".join(_binding(self.found))
        return (
            f"{where}: expected {target}, got at {most} {reached} with {limit} ({reasons}); the "
            f"problem allows at {most} {ceiling}, {busy_text(self.found.busy)} busy now; {change}"
        )


def _binding(result: Result) -> list[str]:
    """The limit on the latency of each group, and the use that the Einsums make of its units."""
    lanes = {e.einsum: (e.lanes, e.lanes_total, e.unit) for e in result.einsums}
    found = []
    for group in result.groups:
        idle = [
            f"{name} fills {lanes[name][0]} of {lanes[name][1]} {lanes[name][2]}"
            for name in group.names
            if lanes[name][0] < lanes[name][1]
        ]
        share = group.cycles * result.repeat / result.cycles
        why = f", {', '.join(idle)}" if idle and group.bottleneck in group.compute_cycles else ""
        names = " + ".join(group.names)
        found.append(f"{names}: {group.bottleneck} binds in {100 * share:.0f}% of the time{why}")
    return found
