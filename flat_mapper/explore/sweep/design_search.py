"""The Pareto set of architectures for a mix of workloads: every design in budget, or Optuna's.

Either way each point that is computed is a row of the results file, so nothing is computed twice,
and a search that is interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
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
    over,
    scores,
    uses,
    with_design,
)
from flat_mapper.explore.sweep.engines import Engine, local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import Open, Watch, run_sweep
from flat_mapper.explore.sweep.spec import Written
from flat_mapper.explore.sweep.store import Store, compact

STUDY = "flat-mapper"  # the start of a study's name in Optuna's tables
LOCK_S = 60.0  # chosen: how long Optuna waits for the file while rows are written
ASKED = 20  # chosen: designs that are asked for at most, over those that are to be answered
FRONT_NOTE = "front"  # where the results file keeps the answer


@dataclass(slots=True, repr=False)
class DesignFront(Printed):
    """The state of a search: the front, and why other designs are not on it."""

    kind: ClassVar = "optimize"  # of answers as JSON
    problem: Problem
    front: tuple[Design, ...] = ()
    seen: int = 0
    feasible: int = 0
    over: dict[str, int] = field(default_factory=dict)  # designs by the budget they exceed
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
        choices = list(self.front[0].coordinates)
        head = ("", *choices, *self.problem.objectives, *self.problem.budgets)
        rows = [
            _row(i, design, self.problem, choices) for i, design in enumerate(self.front, start=1)
        ]
        table = grid(rows, head=head, right=range(len(choices) + 1, len(head)))
        binds = [f"{i}: {'; '.join(d.binds)}" for i, d in enumerate(self.front, start=1)]
        return "\n".join([counts, table, "", "what binds", *binds])


def _row(number: int, design: Design, problem: Problem, choices: list[str]) -> tuple[str, ...]:
    reached = [_quantity(name, design.scores[name]) for name in problem.objectives]
    used = [
        f"{_quantity(name, design.uses[name])} ({units.percent(design.uses[name] / limit, 0)})"
        for name, limit in problem.budgets.items()
    ]
    return (str(number), *(_chosen(design.coordinates[c]) for c in choices), *reached, *used)


def _chosen(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
        self.wanted = {*problem.budgets, *problem.objectives}

    def exhaustive(self, engine: Open) -> DesignFront:
        """Every design of the grid that is within the budgets."""
        found = DesignFront(problem=self.problem)
        run_sweep(self.inputs, self.store, engine, self.watch, self._affordable())
        for design in range(self.problem.designs):
            self._judge(design, found)
        return self._kept(found)

    def optuna(self, engine: Open, trials: int, seed: int) -> DesignFront:
        """As many designs with an answer as there are trials, chosen by Optuna's NSGA-II.

        The study is in the tables of the results file; designs that were tried before count. Those
        over a budget cost no search and do not count, until there are ASKED times as many in all.
        raises: BackendError where Optuna is missing.
        """
        found = DesignFront(problem=self.problem)
        with engine() as workers:
            study, optuna = self._study(seed)
            complete = (optuna.trial.TrialState.COMPLETE,)
            while (done := len(study.get_trials(deepcopy=False, states=complete))) < trials:
                if len(study.get_trials(deepcopy=False)) >= ASKED * trials:
                    break
                self._generation(
                    study, optuna, min(max(2, workers.workers), trials - done), workers
                )
        numbers = {
            self.problem.design_of([t.params[name] for name in self._names()])
            for t in study.trials
            if len(t.params) == len(self.problem.axes)
        }
        for design in sorted(numbers):
            self._judge(design, found)
        return self._kept(found)

    def _generation(self, study: Any, optuna: Any, count: int, workers: Engine) -> None:
        """Ask for some designs, compute what is affordable of them, and tell their scores."""
        asked = [study.ask() for _ in range(count)]
        designs = []
        for trial in asked:
            sizes = zip(self._names(), self.problem.axes, strict=True)
            indices = [trial.suggest_int(name, 0, size - 1) for name, size in sizes]
            designs.append(self.problem.design_of(indices))
        wanted = sorted({d for d in designs if self._reason(d) is None})
        positions = [p for design in wanted for p in self.problem.positions(design)]
        run_sweep(self.inputs, self.store, lambda: nullcontext(workers), self.watch, positions)
        for trial, design in zip(asked, designs, strict=True):
            judged = self._design(design)
            names = self.problem.objectives
            if judged is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, [judged.scores[n] for n in names])

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

    def _names(self) -> list[str]:
        """A name for each choice."""
        return [", ".join(axis.names) for axis in self.problem.sweep.axes[:-1]]

    def _affordable(self) -> Iterator[int]:
        """The points of every design that is within the budgets."""
        for design in range(self.problem.designs):
            if self._reason(design) is None:
                yield from self.problem.positions(design)

    def _reason(self, design: int) -> tuple[str, ...] | None:
        """The budgets that a design exceeds; None where it is within all, `()` where invalid."""
        used = self._uses(design)
        if used is None:
            return ()
        return over(used, self.problem.budgets) or None

    def _uses(self, design: int) -> dict[str, float] | None:
        """Resources that a design needs; None where its attributes contradict each other."""
        point = self.problem.sweep.point(self.problem.positions(design).start)
        try:
            chip = self.inputs.chip(point)
        except SpecError:
            return None
        return uses(chip, self.wanted)

    def _judge(self, design: int, found: DesignFront) -> None:
        """Count a design, and put it on the front where it belongs there."""
        found.seen += 1
        reason = self._reason(design)
        if reason is not None:
            found.invalid += not reason
            for name in reason:
                found.over[name] = found.over.get(name, 0) + 1
            return
        judged = self._design(design)
        if judged is None:
            found.without += 1
            return
        found.feasible += 1
        found.front = with_design(found.front, judged, self.problem.objectives)

    def _design(self, design: int) -> Design | None:
        """A design with the answers that are stored; None where one of them is missing."""
        used = self._uses(design)
        answers = self._answers(design)
        if used is None or over(used, self.problem.budgets) or answers is None:
            return None
        return Design(
            number=design,
            coordinates=self.problem.coordinates(design),
            uses=used,
            answers=answers,
            scores=scores(answers, self.problem.weights, used),
        )

    def _answers(self, design: int) -> tuple[DesignAnswer, ...] | None:
        positions = self.problem.positions(design)
        rows = self.store.answers(positions.start, positions.stop)
        if len(rows) < len(positions):
            return None
        labels = [named(self.problem.sweep.point(position)) for position in positions]
        return tuple(
            DesignAnswer(workload=label, latency_s=latency, energy_pj=energy, bottleneck=bottleneck)
            for label, (latency, energy, bottleneck) in zip(labels, rows, strict=True)
        )

    def _kept(self, found: DesignFront) -> DesignFront:
        """The front in order, with what binds each design, kept in the results file too."""
        first = self.problem.objectives[0]
        ordered = sorted(found.front, key=lambda d: (d.scores[first], d.number))
        found.front = tuple(replace(d, binds=tuple(self._binds(d))) for d in ordered)
        self.store.note(FRONT_NOTE, compact([design.to_dict() for design in found.front]))
        return found

    def _binds(self, design: Design) -> Iterator[str]:
        """Limits of a design: budgets, the ends of the choices, what is busiest.

        A budget binds where the next value of a choice exceeds it.
        """
        stops: dict[str, list[str]] = {}
        indices = self.problem.indices(design.number)
        for i, (name, size) in enumerate(zip(self._names(), self.problem.axes, strict=True)):
            if indices[i] + 1 == size:
                if size > 1:
                    yield f"{name} is at its last value"
                continue
            above = [*indices[:i], indices[i] + 1, *indices[i + 1 :]]
            for budget in self._reason(self.problem.design_of(above)) or ():
                stops.setdefault(budget, []).append(name)
        for budget, names in stops.items():
            share = design.uses[budget] / self.problem.budgets[budget]
            yield f"{budget} {100 * share:.0f}% used stops {' and '.join(names)}"
        yield from _busiest(design.answers, self.problem.weights)


def _busiest(answers: Sequence[DesignAnswer], weights: Sequence[float]) -> Iterator[str]:
    """The units or levels that set the latency, with the share of it that each sets."""
    shares: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
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
    with Store(Path(output)) as store:
        question = Search(read, Inputs(read.sweep), store, lambda _: None)
        if method == "grid":
            return question.exhaustive(lambda: local_workers(workers))
        if method == "optuna":
            return question.optuna(lambda: local_workers(workers), trials, seed)
    raise SpecError(expected("optimize: method", "grid or optuna", method))
