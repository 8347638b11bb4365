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

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, inf, isclose, prod
from typing import ClassVar, Literal, NoReturn, Unpack, get_args

from flat_mapper.api.calls import Name, Source, energies, load_problem, mapspace_of
from flat_mapper.api.defaults import DEFAULT
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base import units
from flat_mapper.base.budget import Budget, Progress, Spend, part_of
from flat_mapper.base.errors import MissingResult, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.certificate import end_words
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapper.solve.on_cores import fastest_within, least_seconds, most_tiles
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Mapspace
from flat_mapper.reports.text import busy_text, left_out_text
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload

STEP_BYTES_PER_S = 1e9  # of bandwidth, where none is given
# Chosen: of the time that is left a search may take a fourth; when a fiftieth is left, that is all.
SHARE, LAST = 4, 0.02


def need(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspace: Mapspace | Name = DEFAULT,
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
    **spend: Unpack[Spend],
) -> Need | Unreached:
    """The smallest buffer, bandwidth or number of cores that reaches a target, or what binds.

    seq, scope:  as for `search`.
    ert:         breaks ties between mappings of the same latency; by default none does: these are
                 all as good, as utilization does not depend on energy, and the search is shorter.
    quantity:    buffer (of the level that groups share, in its rows), bandwidth (of DRAM) or cores
                 (of a chip whose mapspace gives tiles out to them).
    utilization: of the fastest mapping, a share > 0 and <= 1.
    latency_s:   of the fastest mapping, seconds, in the place of a utilization.
    busy:        a compute unit, whose busy share is to reach the utilization instead.
    step:        of bandwidth, bytes per second.
    spend:       as for `search`, of all searches together, but that each of them goes for a proof
                 unless a gap is named. Where the budget ends, the answer says what is known.
    """
    budget = Budget.of(**spend, near=0.0)
    cascade = load_problem(workload, scope, seq=seq)
    chip = fitted(load_platform(platform), cascade).platform
    space = mapspace_of(mapspace, cascade, chip)
    table = unpriced(chip) if ert is None else energies(chip, ert)[0]
    target = _target(utilization, latency_s, busy)
    _check(quantity, cascade, target)
    _check_unit(cascade, chip, busy)
    knob = Knob.of(chip, quantity, step, space)
    trials = _Trials(cascade, space, table, knob, target, progress, budget)
    return _counted(trials) if quantity == "cores" else _bisected(trials)


def _bisected(trials: _Trials) -> Need | Unreached:
    """The smallest value of a knob."""
    target, knob = trials.target, trials.knob
    unlimited = trials.at(None)
    beside = trials.mapspace.fusion.schedule in ("overlapped", "phases", "any")
    most = unlimited.ceiling(target, overlapped=beside)
    if not trials.reach(None):
        return trials.unreached(unlimited, most)
    assert unlimited.result is not None
    low, enough = knob.least(unlimited.result, target), knob.enough(unlimited.result)
    high = enough or max(low + 1, ceil(knob.present) if knob.present < inf else 1)
    trials.runs_at(enough, unlimited.result)
    while not enough and not trials.reach(high):
        if trials.over:
            return trials.unreached(trials.at(high), most)
        low, high = high, 2 * high
    steps = _smallest(trials, low, high)
    return trials.answer(steps, most, [steps - 1] if steps > 1 else [])


def _smallest(trials: _Trials, low: int, high: int) -> int:
    """The least value that reaches the target; `high` does, `low` is taken not to.

    What is returned has been searched, and so has one less, as far as there was time.
    """
    while high - low > 1 and not trials.over:
        middle = (low + high) // 2
        if not trials.reach(middle):
            low = middle
            continue
        result = trials.at(middle).result
        assert result is not None
        # The mapping found runs as well in what it uses.
        if (enough := trials.knob.enough(result) or middle) < middle:
            trials.runs_at(enough, result)
        high = min(middle, enough)
    assert trials.reach(high), "a mapping that fits stopped reaching the target"
    if high > 1 and not trials.over and trials.reach(high - 1):
        return _smallest(trials, 0, high - 1)
    return high


def _counted(trials: _Trials) -> Need | Unreached:
    """The least number of cores.

    Nothing proves that more cores are never slower: with the same tiles each has a smaller share
    of DRAM while it works, and a last round may fill fewer of them. So nothing is bisected but a
    bound that more cores only lower (units of all cores at peak); from the least number that it
    allows, every number is searched in turn, for mappings that reach the target and no others,
    until one does.
    """
    target, workload, mapspace, chip = trials.target, trials.workload, trials.mapspace, trials.knob
    most = most_tiles(workload, chip.at(prod(workload.rank_sizes.values())), mapspace)

    def at_peak(cores: int) -> float:
        return least_seconds(workload, chip.at(cores), mapspace) if target.latency else 1.0

    def may_reach(cores: int) -> bool:
        return not target.latency or target.reached(at_peak(cores))

    ceiling, least, step = at_peak(most), most + 1, 1
    if may_reach(most):
        least = 1 + bisect_left(range(1, most), True, key=may_reach)
    cores = least
    while cores <= most and not trials.reach(cores):  # in steps that double
        if trials.over:
            return trials.unreached(trials.at(cores), ceiling)
        cores, step = most + 1 if cores == most else min(cores + step, most), 2 * step
    if cores > most:
        return trials.unreached(trials.fastest(most), ceiling, most)
    untried = range(least, cores)
    reached = next((n for n in untried if not trials.over and trials.reach(n)), cores)
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


def _check(quantity: str, workload: Workload, target: Target) -> None:
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


def fanout_of_cores(platform: Platform, mapspace: Mapspace) -> Fanout:
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


def _turned(platform: Platform, turn: Callable[[Architecture], Architecture]) -> Platform:
    """A platform with both paths turned."""
    vector = platform.vector
    return replace(platform, matrix=turn(platform.matrix), vector=vector and turn(vector))


def with_cores(platform: Platform, fanout: str, cores: int) -> Platform:
    """A platform with another number of cores, in a row; what stands outside them stays."""

    def turn(arch: Architecture) -> Architecture:
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

    return _turned(platform, turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The quantity that is turned: capacity in rows, DRAM's bandwidth in steps, or cores."""

    platform: Platform
    quantity: Quantity
    node: MemoryLevel | Fanout
    step: float  # bytes of a row, bytes per second, or one core

    @classmethod
    def of(
        cls, platform: Platform, quantity: Quantity, step: float, mapspace: Mapspace | None = None
    ) -> Knob:
        """The knob of a platform; of its cores, those that a mapspace gives tiles out to."""
        node: MemoryLevel | Fanout
        if quantity == "buffer":
            node = shared_level(platform)
            step = units.bytes_of(node.row_words, node.word_bits)
        elif quantity == "cores":
            assert mapspace is not None
            node, step = fanout_of_cores(platform, mapspace), 1.0
        else:
            node = platform.dram
            if not 0 < step < inf:
                raise SpecError(expected("need: step", "bytes per second > 0", step))
            if node.read_words_per_cycle or node.write_words_per_cycle:
                where, got = f"{platform.name}: {node.name}", "read_bandwidth or write_bandwidth"
                raise SpecError(expected(where, "one shared_bandwidth", got, "sum them into one"))
        return cls(platform=platform, quantity=quantity, node=node, step=float(step))

    @property
    def name(self) -> str:
        """The name of the level, or of the fanout."""
        return self.node.name

    @property
    def present(self) -> float:
        """The platform's own value, in steps; infinite where that is unlimited."""
        if isinstance(self.node, Fanout):
            return self.node.copies
        if self.quantity == "buffer":
            words = self.node.capacity_words
            return inf if words is None else words / self.node.row_words
        rate = self.node.shared_words_per_cycle
        return inf if rate is None else rate / self._rate(self.node, 1)

    def _rate(self, level: MemoryLevel, steps: int) -> float:
        """Words per cycle of so many steps of bandwidth."""
        words = units.words_of(steps * self.step, level.word_bits)
        return words * self.platform.matrix.cycle_seconds

    def at(self, steps: int | None) -> Platform:
        """The platform with so many steps; None: unlimited, which cores are not."""
        if isinstance(self.node, Fanout):
            assert steps is not None, "cores have no end"
            return with_cores(self.platform, self.name, steps)

        def level(node: MemoryLevel) -> MemoryLevel:
            if self.quantity == "buffer":
                words = None if steps is None else steps * node.row_words
                return replace(node, capacity_words=words)
            rate = None if steps is None else self._rate(node, steps)
            return replace(node, shared_words_per_cycle=rate)

        def turn(arch: Architecture) -> Architecture:
            nodes = (
                level(node) if isinstance(node, MemoryLevel) and node.name == self.name else node
                for node in arch.nodes
            )
            return replace(arch, nodes=tuple(nodes))

        return _turned(self.platform, turn)

    def enough(self, result: Result) -> int | None:
        """Steps with which a mapping is sure to run as it did; None where that is not known."""
        if self.quantity == "bandwidth":
            return None
        assert isinstance(self.node, MemoryLevel)
        words = max(use.live_words for use in result.buffers().values())
        return max(1, ceil(words * self.node.multiple_buffering / self.node.row_words))

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
    runs: dict[int, Result] = field(default_factory=dict)  # mappings of others that run there too
    stopped: str = ""  # what ended a search other than its own share of the time

    @property
    def over(self) -> bool:
        """True once the budget is spent, or hardly any of it is left."""
        return bool(self.stopped) or self.budget.left_s < LAST * self.budget.limit_s

    @property
    def end(self) -> str:
        """What ended the searches early, in words; empty where nothing did."""
        return end_words(self.stopped or "time", self.budget.limit_s) if self.over else ""

    def runs_at(self, steps: int | None, result: Result) -> None:
        """Remember that a mapping runs as it did with so many steps."""
        if steps is not None:
            self.runs[steps] = result

    def at(self, steps: int | None) -> Trial:
        """The fastest mapping at a value; on cores, as far as it reaches a latency."""
        if steps not in self.known:
            runs = None if steps is None else self.runs.get(steps)
            if runs is not None and self.over:
                self.known[steps] = Trial(steps=steps, found=runs)
                return self.known[steps]
            within = self.knob.quantity == "cores" and self.target.latency
            found = self._within(steps) if within else self.fastest(steps)
            if runs is not None and found.result and runs.latency_s < found.result.latency_s:
                found = replace(found, found=runs)
            self.known[steps] = found
        return self.known[steps]

    def fastest(self, steps: int | None) -> Trial:
        """The fastest mapping at a value."""
        chip, budget = self.knob.at(steps), self.budget.part(SHARE)
        found = search(
            *(self.workload, chip, self.mapspace, self.ert),
            objective="latency",
            progress=self._told(steps),
            budget=budget,
        )
        self._ended(budget)
        if isinstance(found, Infeasible):
            return Trial(steps=steps, found=found)
        return Trial(steps=steps, found=found.result, bound_s=found.certificate.proven_bound)

    def _within(self, cores: int | None) -> Trial:
        chip, budget = self.knob.at(cores), self.budget.part(SHARE)
        what = self.workload, chip, self.mapspace, self.ert
        within = fastest_within(*what, self.target.value, self._told(cores), budget)
        self._ended(budget)
        result = within.found.result if within.found else None
        return Trial(steps=cores, found=result, bound_s=within.bound_s)

    def _ended(self, budget: Budget) -> None:
        """Note what ended a search, if that ends all of them."""
        self.budget.spent = budget.spent
        if budget.stopped != "time":
            self.stopped = budget.stopped

    def _told(self, steps: int | None) -> Progress | None:
        """Progress of one search of all."""
        if not self.progress:
            return None
        noun = "cores" if self.knob.quantity == "cores" else "steps"
        what = "unlimited" if steps is None else f"{steps} {noun}"
        # About as many searches as a buffer of a million rows takes.
        known = min(len(self.known), 23)
        self.progress(known / 24, f"{self.knob.name}: {what}")
        return part_of(self.progress, known, 24, f"{self.knob.name}: {what}")

    def reach(self, steps: int | None) -> bool:
        """True if the fastest mapping at a value reaches the target."""
        return self.target.reached(self.target.of(self.at(steps).result))

    def unreached(self, trial: Trial, ceiling: float, cores: int = 0) -> Unreached:
        """A target that no trial reaches; the last of them may leave it open."""
        end = "" if self.target.excluded(trial) else self.end
        knob = self.knob
        return Unreached(knob.quantity, knob.name, self.target, trial.found, ceiling, cores, end)

    def answer(self, steps: int, ceiling: float, unproven: Iterable[int]) -> Need:
        """The value that reaches the target, beside one less where that was tried.

        unproven: smaller values, of which those are told that no bound excludes.
        """
        return Need(
            workload=self.workload,
            arch=self.knob.platform.name,
            mapspace=self.mapspace.name,
            quantity=self.knob.quantity,
            node=self.knob.name,
            target=self.target,
            step=self.knob.step,
            present=self.knob.present,
            reached=self.known[steps],
            below=self.known.get(steps - 1),
            trials=len(self.known),
            ceiling=ceiling,
            unproven=tuple(n for n in unproven if not self._misses(n)),
            misses=max((n for n in self.known if n and n < steps and self._misses(n)), default=0),
            end=self.end,
            notes=self.mapspace.notes,
        )

    def _misses(self, steps: int) -> bool:
        """True if no mapping at a value reaches the target."""
        return steps in self.known and self.target.excluded(self.known[steps])


Quantity = Literal["buffer", "bandwidth", "cores"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
_NOUNS: Mapping[Quantity, str] = {"buffer": "rows", "bandwidth": "steps", "cores": "cores"}


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

    def text(self, value: float) -> str:
        """A value of it in units."""
        return units.si(value, "s") if self.latency else f"{value:.6f}"

    def __str__(self) -> str:
        amount = units.si(self.value, "s") if self.latency else f"{self.value:g}"
        return f"a {self.name} of {amount}"


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

    def ceiling(self, target: Target, *, overlapped: bool) -> float:
        """The ceiling that the problem sets here: all units at peak, in turn or side by side.

        overlapped: whether the mapspace lets units work side by side.
        """
        needs = list(self.result.busy.values()) if self.result else []
        least = max(needs, default=0.0) if overlapped else sum(needs)
        if target.latency:
            return self.result.latency_s * least if self.result else 0.0
        return min(1.0, target.of(self.result) / least) if least else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Need(Printed):
    """The smallest value that reaches the target, and the largest that does not."""

    kind: ClassVar = "need"  # of answers as JSON
    workload: Workload
    arch: str
    mapspace: str
    quantity: Quantity
    node: str  # the level that has it
    target: Target
    step: float  # bytes of a row, bytes per second of a step, or one core
    present: float  # what the architecture has: steps, not rounded
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
        return self.steps * self.step

    @property
    def result(self) -> Result:
        """The fastest mapping at the value."""
        assert self.reached.result is not None
        return self.reached.result

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper need --json`."""
        one_less = self.target.of(self.below.result if self.below else None)
        return {
            "quantity": self.quantity,
            "workload": self.workload.name,
            "arch": self.arch,
            "mapspace": self.mapspace,
            "level": self.node,
            "of": self.target.name,
            "target": self.target.value,
            "ceiling": self.ceiling,
            **self._value(),
            "reached": self.target.of(self.result),
            "one_less": None if one_less == inf else one_less,
            "one_less_bound_s": self.below.bound_s if self.below else None,
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

    def _value(self) -> dict[str, object]:
        """The value, and what the architecture has."""
        if self.quantity == "cores":
            return {"cores": self.steps, "present_cores": int(self.present)}
        unit = "bytes" if self.quantity == "buffer" else "bytes_per_s"
        noun = _NOUNS[self.quantity]
        return {
            noun: self.steps,
            unit: self.value,
            f"{noun[:-1]}_{unit}": self.step,
            f"present_{unit}": self.present * self.step,
        }

    def amount(self, steps: float) -> str:
        """A number of steps in units."""
        if self.quantity == "cores":
            return units.count(int(steps))
        if self.quantity == "buffer":
            return units.size(steps * self.step)
        return units.si(steps * self.step, "B/s")

    def __str__(self) -> str:
        """The value, one step less, and what the architecture has."""
        cores, noun = self.quantity == "cores", _NOUNS[self.quantity]
        head = (
            *("", noun, "" if cores else self.quantity),
            *("util.", "busy", "latency", "off-chip", "granularity", "bottleneck"),
        )
        rows = [self._row(trial) for trial in (self.below, self.reached) if trial]
        least = "least number of cores" if cores else f"smallest {self.quantity}"
        most = "least" if self.target.latency else "most"
        where = "however many cores, " if cores else ""
        has, one = self.amount(self.present), f"one of the {noun} is {self.amount(1)}; "
        less = "fewer" if cores else "less"
        sure = f"proven: with {less} no mapping of the mapspace reaches it"
        if self.unproven:
            known = f"up to {self.amount(self.misses)} are proven too few" if self.misses else ""
            open_ = units.count(self.unproven[0])
            if self.unproven[1:]:
                open_ += f" to {units.count(self.unproven[-1])}"
            sure = f"none was found for {open_}, which no bound excludes"
            sure = "; ".join(filter(None, (sure, known, self.end)))
        value = self.amount(self.steps)
        lines = (
            f"{self.workload.name} on {self.arch}, mapspace {self.mapspace}: the {least} of "
            f"{self.node} for {self.target}: {value}, {self.end or sure.partition(':')[0]}",
            grid(rows, head=head, right=range(1, 7)),
            f"the problem allows a {self.target.name} of at {most} "
            f"{self.target.text(self.ceiling)}: {where}all units at their peak, transfers beside "
            "them",
            f"{'' if cores else one}{self.arch} has {has}; {self.trials} searches for the least "
            f"latency; {sure}",
            *self.notes,
            left_out_text(self.workload),
        )
        return "\n".join(line for line in lines if line)

    def _row(self, trial: Trial) -> tuple[str, ...]:
        steps, result = trial.steps or 0, trial.result
        start = (
            "reaches" if trial is self.reached else "misses",
            units.count(steps),
            "" if self.quantity == "cores" else self.amount(steps),
        )
        if trial.found is None:
            return (*start, "", "", f"> {units.si(trial.bound_s, 's')}", "", "none so fast", "")
        if result is None:
            return (*start, "", "", "", "", "nothing fits", "")
        return (
            *start,
            f"{result.utilization:.6f}",
            busy_text(result),
            units.si(result.latency_s, "s"),
            units.size(result.offchip_bytes),
            result.fused.granularity,
            result.bottleneck,
        )


@dataclass(frozen=True, slots=True)
class Unreached:
    """A target that no value reaches, and what binds then. A value, and false."""

    quantity: Quantity
    node: str
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
        where = f"need {self.quantity}: {self.node}"
        if isinstance(self.found, Infeasible):
            return f"{where}: nothing fits at any value: {self.found}"
        if self.found is None or self.end:
            best = "" if self.found is None else f" ({self._shown(self.target.of(self.found))})"
            got = f"no mapping found that reaches it{best}, and none excluded: {self.end}"
            return expected(where, str(self.target), got, "allow more time")
        target, reasons = self.target, "; ".join(_binding(self.found))
        most, change = "most", "lower the target, or widen what binds"
        if target.latency:
            most, change = "least", "raise the target, or widen what binds"
        elif target.value > self.ceiling:
            change = "lower the target, or choose units of other rates"
        limit = f"an unlimited {self.quantity}"
        if self.cores:
            limit = f"{self.cores} cores, as many as can have a tile"
        return (
            f"{where}: expected {target}, got at {most} {self._shown(target.of(self.found))} with "
            f"{limit} ({reasons}); the problem allows at {most} "
            f"{self._shown(self.ceiling)}, {busy_text(self.found)} busy now; {change}"
        )

    def _shown(self, value: float) -> str:
        return self.target.text(value) if self.target.latency else f"{value:.4f}"


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
