"""The Pareto set of architectures for a mix of workloads: every design in budget, or Optuna's.

Either way each point that is computed is a row of the results file, so nothing is computed twice,
and a search that is interrupted goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from flat_mapper.base import units
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.explore.sweep.designs import (
    BUDGETS,
    Design,
    DesignAnswer,
    Problem,
    load_design_problem,
    named,
    scores,
    uses,
    with_design,
)
from flat_mapper.explore.sweep.engines import Engine, local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import Open, Watch, run_sweep
from flat_mapper.explore.sweep.spec import Written
from flat_mapper.explore.sweep.store import Store, compact

METHODS = ("grid", "optuna")
STUDY = "flat-mapper"  # the start of a study's name in Optuna's tables
LOCK_S = 60.0  # chosen: how long Optuna waits for the file while rows are written
ASKED = 20  # chosen: designs that are asked for at most, over those that are to be answered
FRONT_NOTE = "front"  # where the results file keeps the answer
REMEMBERED = 1024  # chosen: designs whose needs stay in memory


@dataclass(slots=True, repr=False)
class DesignFront(Printed):
    """The state of a search: the front, and why other designs are not on it."""

    kind: ClassVar = "optimize"  # of answers as JSON
    problem: Problem
    front: tuple[Design, ...] = ()
    seen: int = 0
    feasible: int = 0
    over: Counter[str] = field(default_factory=Counter)  # designs by the budget they exceed
    invalid: int = 0  # designs whose attributes contradict each other
    without: int = 0  # designs on which a workload has no mapping

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
            rows.append(
                (
                    *(str(number), *(_chosen(design.coordinates[c]) for c in choices)),
                    *(_quantity(name, design.scores[name]) for name in self.problem.objectives),
                    *(_share(name, design.uses[name], limit) for name, limit in budgets.items()),
                )
            )
            binds.append(f"{number}: {'; '.join(design.binds)}")
        head = ("", *choices, *self.problem.objectives, *budgets)
        table = grid(rows, head=head, right=range(len(choices) + 1, len(head)))
        return "\n".join([counts, table, "", "what binds", *binds])


def _chosen(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _share(name: str, value: float, limit: float) -> str:
    return f"{_quantity(name, value)} ({units.percent(value / limit, 0)})"


def _quantity(name: str, value: float) -> str:
    """A score or a use with its unit."""
    if name == "energy":
        return units.si(units.joules_of(value), "J")
    if name == "buffer":
        return units.size(value)
    known = {"latency": "s", "edp": "Js", "bandwidth": "B/s"}
    if name in known:
        return units.si(value, known[name])
    return f"{value:,.4g} {BUDGETS[name]}" if name == "area" else f"{value:,.0f}"


class Search:
    """One problem on one results file."""

    def __init__(self, problem: Problem, inputs: Inputs, store: Store, watch: Watch) -> None:
        self.problem, self.inputs, self.store, self.watch = problem, inputs, store, watch
        self.choices = [", ".join(axis.names) for axis in problem.sweep.axes[:-1]]
        self._uses = lru_cache(REMEMBERED)(self._uses_of)

    def answer(self, engine: Open, method: str, trials: int, seed: int) -> DesignFront:
        """The front, with what binds each design of it, kept in the results file too.

        method: grid, for every design that is within the budgets; or optuna, for as many designs
                with an answer as there are trials, chosen by its NSGA-II.
        raises: BackendError where Optuna is missing.
        """
        found = DesignFront(problem=self.problem)
        designs: Iterable[int] = range(self.problem.designs)
        if method == "optuna":
            designs = self._tried(engine, trials, seed)
        else:
            self._compute(engine, designs)
        for design in designs:
            self._judge(design, found)
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
            complete = (optuna.trial.TrialState.COMPLETE,)
            while (done := len(study.get_trials(deepcopy=False, states=complete))) < trials:
                if len(study.get_trials(deepcopy=False)) >= ASKED * trials:
                    break
                count = min(max(2, workers.workers), trials - done)
                self._generation(study, optuna, count, workers)
        chosen = [t.params for t in study.trials if len(t.params) == len(self.choices)]
        return sorted({self.problem.design_of([p[c] for c in self.choices]) for p in chosen})

    def _generation(self, study: Any, optuna: Any, count: int, workers: Engine) -> None:
        """Ask for some designs, compute what is affordable of them, and tell their scores."""
        asked = []
        for trial in [study.ask() for _ in range(count)]:
            sizes = zip(self.choices, self.problem.axes, strict=True)
            indices = [trial.suggest_int(name, 0, size - 1) for name, size in sizes]
            asked.append((trial, self.problem.design_of(indices)))
        self._compute(lambda: nullcontext(workers), sorted({design for _, design in asked}))
        for trial, design in asked:
            judged = self._design(design)
            if judged is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, [judged.scores[n] for n in self.problem.objectives])

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

    def _judge(self, design: int, found: DesignFront) -> None:
        """Count a design, and put it on the front where it belongs there."""
        found.seen += 1
        over = self._over(design)
        if over is None:
            found.invalid += 1
        elif over:
            found.over.update(over)
        elif (judged := self._design(design)) is None:
            found.without += 1
        else:
            found.feasible += 1
            found.front = with_design(found.front, judged, self.problem.objectives)

    def _design(self, design: int) -> Design | None:
        """A design with the answers that are stored; None where one of them is missing."""
        used, positions = self._uses(design), self.problem.positions(design)
        rows = self.store.answers(positions.start, positions.stop)
        if used is None or self._over(design) or len(rows) < len(positions):
            return None
        labels = (named(self.problem.sweep.point(position)) for position in positions)
        answers = tuple(DesignAnswer(label, *row) for label, row in zip(labels, rows, strict=True))
        return Design(
            number=design,
            coordinates=self.problem.coordinates(design),
            uses=used,
            answers=answers,
            scores=scores(answers, self.problem.weights, used),
        )

    def _binds(self, design: Design) -> Iterator[str]:
        """Limits of a design: budgets, the ends of the choices, what is busiest.

        A budget binds where the next value of a choice exceeds it.
        """
        stops: dict[str, list[str]] = {}
        indices = self.problem.indices(design.number)
        for i, (name, size) in enumerate(zip(self.choices, self.problem.axes, strict=True)):
            if indices[i] + 1 == size:
                if size > 1:
                    yield f"{name} is at its last value"
                continue
            above = [*indices[:i], indices[i] + 1, *indices[i + 1 :]]
            for budget in self._over(self.problem.design_of(above)) or ():
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


def optimize(
    problem: Written,
    output: str | Path,
    *,
    method: str = "grid",
    trials: int = 100,
    seed: int = 0,
    workers: int = 1,
) -> DesignFront:
    """The Pareto set of architectures for a mix of workloads.

    problem: a file, its YAML text, or what that says.
    method: grid (every design in budget), or optuna, which tries so many `trials`.
    """
    read = load_design_problem(problem)
    if method not in METHODS:
        raise SpecError(expected("optimize: method", "grid or optuna", method))
    with Store(Path(output)) as store:
        search = Search(read, Inputs(read.sweep), store, lambda _: None)
        return search.answer(lambda: local_workers(workers), method, trials, seed)
