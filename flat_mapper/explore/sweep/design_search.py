"""Design questions: the Pareto set of architectures for a mix of workloads, within budgets.

The file is in docs/sweeps.md. A design is one architecture; its latency and energy are the sums
over the workloads, each times its weight. Designs and workloads multiply to the points of a sweep,
and its rows are kept as such. Every design is computed, or Optuna chooses some: either way each
point is a row of the results file, so nothing is computed twice, and a search that is interrupted
goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from flat_mapper.api.calls import OF_LINKS, one_chip
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskOptimize, AskPlanSweep
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base import units
from flat_mapper.base.errors import BackendError, FlatMapperError, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.explore.sweep.engines import engine_of
from flat_mapper.explore.sweep.inputs import Chip, Inputs
from flat_mapper.explore.sweep.run import Open, Watch, affordable, code_of, resumable, run_sweep
from flat_mapper.explore.sweep.spec import (
    PointInputs,
    SweepPoints,
    Written,
    asks_for_designs,
    load_sweep,
    order_of,
    spec_body,
    sweep_of,
)
from flat_mapper.explore.sweep.store import Store, compact
from flat_mapper.explore.sweep.work import chip_prices
from flat_mapper.spec.document import (
    Section,
    among,
    refuse_unknown,
    take,
    take_list,
    take_section,
)

BUDGETS = ("area", "buffer", "bandwidth", "pes")  # what may be limited
DESIGN_OBJECTIVES = ("latency", "energy", "edp", *BUDGETS)
_KEYS = ("description", "fixed", "grid", "zip", "workloads", "budgets", "objectives")
_PARTS = ("description", "fixed", "grid", "zip")  # that are a sweep's own
_CHIP = order_of("ert")  # inputs up to this one are of the architecture: a design may choose them
_WEIGHT = "weight"
_UNITS = {"latency": "s", "energy": "J", "edp": "Js", "bandwidth": "B/s"}
METHODS = ("grid", "optuna")
STUDY = "flat-mapper"  # the start of a study's name in Optuna's tables
LOCK_S = 60.0  # chosen: how long Optuna waits for the file while rows are written
ASKED = 20  # chosen: designs that are asked for at most, over those that are to be answered
FRONT_NOTE = "front"  # where the results file keeps the answer
REMEMBERED = 1024  # chosen: designs whose needs stay in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A design question: the designs times the workloads as a sweep, and how to judge them."""

    sweep: SweepPoints
    choices: SweepPoints  # the same without what runs on the designs: each point is one
    weights: tuple[float, ...]  # of the workloads, in the order of the sweep's last axis
    budgets: Mapping[str, float]
    objectives: tuple[str, ...]

    def positions(self, design: int) -> range:
        """The points of one design, one a workload."""
        first = design * len(self.weights)
        return range(first, first + len(self.weights))


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
    body, text, folder = spec_body(source, "optimize")
    where = f"{body.source}: optimize"
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
    sweep = sweep_of(Section({**own, "list": mix}, body.source, body.lines), text, folder)
    _check_choices(sweep, where)
    spot = f"{where}.budgets"
    budgets = take_section(body, "budgets", where)
    refuse_unknown(budgets, BUDGETS, spot)
    return Problem(
        sweep=sweep,
        choices=replace(sweep, fixed={}, axes=sweep.axes[:-1]),
        weights=weights,
        budgets={name: take(budgets, name, float, spot, above=0) for name in budgets},
        objectives=_objectives(body, where),
    )


def _check_choices(sweep: SweepPoints, where: str) -> None:
    """Raise SpecError unless the architecture is what varies, and only that, beside the mix."""
    *choices, mix = sweep.axes
    for name in (name for axis in choices for name in axis if order_of(name) > _CHIP):
        condition = "inputs of the architecture (arch, arch.NODE.ATTRIBUTE, ert)"
        change = "what runs on it stands in workloads or fixed"
        raise SpecError(expected(where, condition, name, change))
    for name in (name for name in mix if order_of(name) <= _CHIP):
        condition = "inputs of what runs on the architecture"
        raise SpecError(expected(f"{where}.workloads", condition, name, "put it under grid"))


def _objectives(body: Section, where: str) -> tuple[str, ...]:
    spot = f"{where}.objectives"
    words = take_list(body, "objectives", str, where, ("latency", "energy"))
    found = tuple(among(spot, str(word), DESIGN_OBJECTIVES) for word in words)
    if not found or len(set(found)) < len(found):
        got = ", ".join(found) or "none"
        raise SpecError(f"{spot}: expected at least one, each once, got {got}")
    return found


def uses(chip: Chip, wanted: Collection[str]) -> dict[str, float]:
    """Needs of an architecture by resource, in mm2, bytes, bytes per second and units.

    What each counts is in docs/sweeps.md.
    raises: SpecError where the area is wanted and nothing prices it.
    """
    platform, buffer = one_chip(chip.platform, None, OF_LINKS), 0.0
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
            _, art = chip_prices(chip)
            got = "a table of energies only"
        except FlatMapperError as error:
            art, got = None, str(error)
        if art is None:
            raise SpecError(f"area: expected hwcomponents or accelergy to price it, got: {got}")
        found["area"] = art.total_mm2(platform)
    return {name: found[name] for name in BUDGETS if name in found}


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


def named(coordinates: PointInputs) -> str:
    """A workload in a few words."""
    words = [str(coordinates["problem"])]
    words += [f"N={coordinates['seq']}"] if "seq" in coordinates else []
    words += [f"{k.removeprefix('rank.')}={v}" for k, v in coordinates.items() if "rank." in k]
    return " ".join(words)


@dataclass(slots=True, repr=False)
class DesignFront(Printed):
    """The state of a search: the front, and why other designs are not on it."""

    kind: ClassVar = "optimize"  # of answers as JSON
    rows_at: ClassVar = ("front",)
    problem: Problem
    front: tuple[Design, ...] = ()
    seen: int = 0
    feasible: int = 0
    over: Counter[str] = field(default_factory=Counter)  # designs by the budget they exceed
    invalid: int = 0  # designs whose attributes contradict each other
    without: int = 0  # designs on which a workload has no mapping
    exit_code: int = 0  # of the command

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {
            "designs": self.seen,
            "feasible": self.feasible,
            "over_budget": dict(self.over),
            "invalid": self.invalid,
            "without_mapping": self.without,
            "front": [design.to_dict() for design in self.front],
        }

    def __str__(self) -> str:
        """The front as a table, what binds each design of it, and why the others are not on it."""
        parts = [f"{self.seen:,} designs: {self.feasible:,} within the budgets with a mapping each"]
        parts += [f"{n:,} over the {name}" for name, n in self.over.items()]
        parts += [f"{self.invalid:,} contradict themselves"] if self.invalid else []
        parts += [f"{self.without:,} without a mapping of every workload"] if self.without else []
        counts = ", ".join(parts)
        if not self.front:
            return f"{counts}\nno design is left; raise a budget or widen a choice"
        budgets, choices = self.problem.budgets, list(self.front[0].coordinates)
        rows, binds = [], []
        for number, design in enumerate(self.front, start=1):
            chosen = (design.coordinates[name] for name in choices)
            shares = {name: design.uses[name] / limit for name, limit in budgets.items()}
            rows.append(
                (
                    *(str(number), *(f"{v:g}" if isinstance(v, float) else str(v) for v in chosen)),
                    *(_quantity(name, design.scores[name]) for name in self.problem.objectives),
                    *(
                        f"{_quantity(name, design.uses[name])} ({units.percent(share, 0)})"
                        for name, share in shares.items()
                    ),
                )
            )
            binds.append(f"{number}: {'; '.join(design.binds)}")
        head = ("", *choices, *self.problem.objectives, *budgets)
        table = grid(rows, head=head, right=range(len(choices) + 1, len(head)))
        return "\n".join([counts, table, "", "what binds", *binds])


def _quantity(name: str, value: float) -> str:
    """A score or a use with its unit."""
    if name in _UNITS:
        return units.si(units.joules_of(value) if name == "energy" else value, _UNITS[name])
    if name == "buffer":
        return units.size(value)
    return f"{value:,.4g} mm2" if name == "area" else f"{value:,.0f}"


class _Designs:
    """One problem on one results file."""

    def __init__(self, problem: Problem, inputs: Inputs, store: Store, watch: Watch) -> None:
        self.problem, self.inputs, self.store, self.watch = problem, inputs, store, watch
        self.choices = [", ".join(axis) for axis in problem.choices.axes]
        self._uses = lru_cache(REMEMBERED)(self._uses_of)

    def answer(self, engine: Open, method: str, trials: int, seed: int) -> DesignFront:
        """The front, with what binds each design of it, kept in the results file too.

        method: grid, for every design that is within the budgets; or optuna, for as many designs
                with an answer as there are trials, chosen by its NSGA-II.
        raises: BackendError where Optuna is missing.
        """
        found = DesignFront(problem=self.problem)
        designs: Iterable[int] = range(self.problem.choices.size)
        if method == "optuna":
            designs = self._tried(engine, trials, seed)
        else:
            self._compute(engine, designs)
        for design in designs:
            found.seen += 1
            if (over := self._over(design)) is None:
                found.invalid += 1
            elif over:
                found.over.update(over)
            elif (judged := self._design(design)) is None:
                found.without += 1
            else:
                found.feasible += 1
                found.front = with_design(found.front, judged, self.problem.objectives)
        first = self.problem.objectives[0]
        ordered = sorted(found.front, key=lambda d: (d.scores[first], d.number))
        found.front = tuple(replace(d, binds=tuple(self._binds(d))) for d in ordered)
        self.store.note(FRONT_NOTE, compact([design.to_dict() for design in found.front]))
        return found

    def _compute(self, engine: Open, designs: Iterable[int]) -> None:
        """The points of those designs that are within the budgets."""
        within = (d for d in designs if self._over(d) == ())
        points = (point for design in within for point in self.problem.positions(design))
        run_sweep(self.inputs, self.store, engine, self.watch, points)

    def _tried(self, engine: Open, trials: int, seed: int) -> list[int]:
        """The designs that Optuna chose.

        The study is in the tables of the results file; designs that were tried before count. Those
        over a budget cost no search and do not count, until there are ASKED times as many in all.
        """
        with engine() as workers:
            study, optuna = self._study(seed)
            state, ranks = optuna.trial.TrialState, optuna.distributions.IntDistribution
            sizes = zip(self.choices, self.problem.choices.sizes, strict=True)
            axes = {name: ranks(0, size - 1) for name, size in sizes}

            def tried(*states: Any) -> int:
                return len(study.get_trials(deepcopy=False, states=states or None))

            while (left := trials - tried(state.COMPLETE)) > 0 and tried() < ASKED * trials:
                asked = [study.ask(axes) for _ in range(min(max(2, workers.workers), left))]
                designs = sorted({self._number(trial) for trial in asked})
                self._compute(lambda: nullcontext(workers), designs)
                for trial in asked:
                    judged = self._design(self._number(trial))
                    if judged is None:
                        study.tell(trial, state=state.FAIL)
                    else:
                        study.tell(trial, [judged.scores[n] for n in self.problem.objectives])
        chosen = (trial for trial in study.trials if len(trial.params) == len(self.choices))
        return sorted({self._number(trial) for trial in chosen})

    def _number(self, trial: Any) -> int:
        """The design that a trial of Optuna is."""
        return self.problem.choices.position([trial.params[name] for name in self.choices])

    def _study(self, seed: int) -> tuple[Any, Any]:
        try:
            import optuna
        except ImportError as error:
            raise BackendError(
                "optuna: it is not installed; pip install 'flat-mapper[optimize]', or use "
                "--method grid"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{self.store.path.absolute()}",
            engine_kwargs={"connect_args": {"timeout": LOCK_S}},
        )
        study = optuna.create_study(
            study_name=f"{STUDY} {self.inputs.fingerprint()[:16]} {self.problem.objectives}",
            storage=storage,
            directions=["minimize"] * len(self.problem.objectives),
            load_if_exists=True,
        )
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # of a run that was killed
        study.sampler = optuna.samplers.NSGAIISampler(seed=seed + len(study.trials))
        return study, optuna

    def _uses_of(self, design: int) -> dict[str, float] | None:
        """Resources that a design needs; None where its attributes contradict each other."""
        point = self.problem.sweep.point(self.problem.positions(design).start)
        try:
            chip = self.inputs.chip(point)
        except SpecError:
            return None
        return uses(chip, {*self.problem.budgets, *self.problem.objectives})

    def _over(self, design: int) -> tuple[str, ...] | None:
        """The budgets that a design exceeds; None where it contradicts itself."""
        used = self._uses(design)
        if used is None:
            return None
        return tuple(name for name, limit in self.problem.budgets.items() if used[name] > limit)

    def _design(self, design: int) -> Design | None:
        """A design with the answers that are stored; None where one of them is missing."""
        used, positions = self._uses(design), self.problem.positions(design)
        rows = self.store.answers(positions.start, positions.stop)
        if used is None or self._over(design) or len(rows) < len(positions):
            return None
        points = map(self.problem.sweep.point, positions)
        answers = tuple(DesignAnswer(named(p), *row) for p, row in zip(points, rows, strict=True))
        pairs = list(zip(self.problem.weights, answers, strict=True))
        latency = sum(weight * answer.latency_s for weight, answer in pairs)
        energy = sum(weight * answer.energy_pj for weight, answer in pairs)
        totals = {"latency": latency, "energy": energy, "edp": latency * energy * 1e-12}
        return Design(
            number=design,
            coordinates=self.problem.choices.point(design),
            uses=used,
            answers=answers,
            scores={**totals, **used},
        )

    def _binds(self, design: Design) -> Iterator[str]:
        """Limits of a design: budgets, the ends of the choices, what is busiest.

        A budget binds where the next value of a choice exceeds it.
        """
        stops: dict[str, list[str]] = {}
        indices = self.problem.choices.indices(design.number)
        for i, (name, size) in enumerate(
            zip(self.choices, self.problem.choices.sizes, strict=True)
        ):
            if indices[i] + 1 == size:
                if size > 1:
                    yield f"{name} is at its last value"
                continue
            above = [*indices[:i], indices[i] + 1, *indices[i + 1 :]]
            for budget in self._over(self.problem.choices.position(above)) or ():
                stops.setdefault(budget, []).append(name)
        for budget, names in stops.items():
            share = design.uses[budget] / self.problem.budgets[budget]
            yield f"{budget} {100 * share:.0f}% used stops {' and '.join(names)}"
        shares: dict[str, float] = {}  # of the latency, by the unit or level that sets it
        for answer, weight in zip(design.answers, self.problem.weights, strict=True):
            part = weight * answer.latency_s
            shares[answer.bottleneck] = shares.get(answer.bottleneck, 0.0) + part
        total = sum(shares.values()) or 1.0
        for name, part in sorted(shares.items(), key=lambda item: -item[1]):
            yield f"{name} sets {100 * part / total:.0f}% of the latency"


@answers(AskOptimize)
def optimize(asked: AskOptimize) -> DesignFront:
    """The Pareto set of the designs within their budgets."""
    problem = load_design_problem(asked.sweep)
    method = among("method", asked.method, METHODS)
    if method == "grid":
        affordable(asked, problem.sweep.size, "; use --method optuna")
    engine = engine_of(asked)
    inputs = Inputs(problem.sweep, time_limit=asked.time_limit, gap=asked.gap)
    with Store(Path(asked.output)) as store, resumable(store, asked.output):
        search = _Designs(problem, inputs, store, asked.progress or (lambda _: None))
        found = search.answer(engine, method, asked.trials, asked.seed)
        found.exit_code = code_of(store.counts()) or int(not found.front)
    return found


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Printed):
    """The size of a sweep or of a design question."""

    kind: str  # of answers as JSON
    sizes: Mapping[str, object]
    text: str

    def to_dict(self) -> dict[str, object]:
        """The numbers of designs and of points, and the values of each axis."""
        return dict(self.sizes)

    def __str__(self) -> str:
        return self.text


@answers(AskPlanSweep)
def plan_sweep(asked: AskPlanSweep) -> Plan:
    """Nothing is computed."""
    engine_of(asked)
    if asks_for_designs(asked.sweep):
        problem = load_design_problem(asked.sweep)
        sweep, kind, designs = problem.sweep, "optimize-plan", problem.choices.size
        sizes: dict[str, object] = {"designs": designs, "points": sweep.size}
        lines = [f"{designs:,} designs, {sweep.size:,} points"]
    else:
        sweep, kind = load_sweep(asked.sweep), "sweep-plan"
        axes = dict(zip(map(", ".join, sweep.axes), sweep.sizes, strict=True))
        sizes = {"points": sweep.size, "axes": axes}
        lines = [f"{sweep.size:,} points", *(f"  {n:,} x {names}" for names, n in axes.items())]
    Inputs(sweep, time_limit=asked.time_limit, gap=asked.gap)
    return Plan(kind=kind, sizes=sizes, text="\n".join(lines))
