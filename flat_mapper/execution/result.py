"""Results of an execution: numbers, counts, words alive, and a timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

from flat_mapper.mapping.values import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """The largest difference between an output and the plain evaluation of the cascade."""

    tensor: str
    absolute: float
    relative: float  # to the largest value of the tensor

    @property
    def right(self) -> bool:
        """True if it is rounding."""
        return self.relative <= TOLERANCE


TOLERANCE = 1e-9  # chosen: float64 sums of up to 1e6 terms in another order stay below it


@dataclass(frozen=True, slots=True)
class MovedValues:
    """Values of one tensor at one level under one Einsum, all instances together."""

    einsum: str
    level: str
    tensor: str
    _: KW_ONLY
    instances: int
    reads: int
    fills: int
    updates: int
    sums: int = 0  # of the updates, those of values that are still added up

    def words(self, share: float, so_far: float) -> tuple[float, float, float]:
        """Words read, updated and filled; of a value, and of one that is still added up."""
        updated = self.updates * share + self.sums * (so_far - share)
        return self.reads * so_far, updated, self.fills * so_far

    def to_dict(self) -> dict[str, object]:
        """As the cost model has it: per instance."""
        return {
            "scalar_reads": self.reads // self.instances,
            "scalar_fills": self.fills // self.instances,
            "scalar_updates": self.updates // self.instances,
            "utilized_instances": self.instances,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AliveWords:
    """The most words alive at once in one instance of a level, and what they are."""

    level: str
    capacity: int | None
    terms: tuple[tuple[str, int], ...]

    @property
    def words(self) -> int:
        """All of them."""
        return sum(words for _, words in self.terms)

    @property
    def over(self) -> bool:
        """True if the level has less room."""
        return self.capacity is not None and self.words > self.capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTime:
    """One turn on the timeline, in cycles."""

    einsum: str
    pass_number: int
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedGroup:
    """One group of Einsums."""

    names: tuple[str, ...]
    schedule: Schedule
    passes: int
    cycles: float
    turns: tuple[TurnTime, ...]
    alive: tuple[AliveWords, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A mapping's execution; one run of the cascade."""

    workload: str
    arch: str
    seed: int
    steps: int
    errors: tuple[Error, ...]
    counts: tuple[MovedValues, ...]
    groups: tuple[ExecutedGroup, ...]
    compute_cycles: Mapping[str, float]  # by Einsum: temporal steps taken, times cycles of one
    shrunk: Mapping[str, tuple[int, int]]  # rank -> size before and after `--shrink`

    @property
    def cycles(self) -> float:
        """Groups run one after another."""
        return sum(g.cycles for g in self.groups)

    @property
    def right(self) -> bool:
        """True if every output is what the cascade says, and every level holds what is alive."""
        numbers = bool(self.errors) and all(e.right for e in self.errors)
        return numbers and not any(a.over for g in self.groups for a in g.alive)

    def to_dict(self, *, turns: int = 200) -> dict[str, object]:
        """The fields by name; a timeline of more than `turns` turns is left out."""
        einsums: dict[str, dict[str, dict[str, dict[str, dict[str, object]]]]] = {}
        for m in self.counts:
            levels = einsums.setdefault(m.einsum, {"levels": {}})["levels"]
            levels.setdefault(m.level, {"tensors": {}})["tensors"][m.tensor] = m.to_dict()
        return {
            "workload": self.workload,
            "arch": self.arch,
            "seed": self.seed,
            "steps": self.steps,
            "cycles": self.cycles,
            "right": self.right,
            "shrunk": {r: list(sizes) for r, sizes in self.shrunk.items()},
            "outputs": {
                e.tensor: {"absolute_error": e.absolute, "relative_error": e.relative}
                for e in self.errors
            },
            "einsums": einsums,
            "groups": [_group(g, turns) for g in self.groups],
        }


def _group(group: ExecutedGroup, turns: int) -> dict[str, object]:
    shown = group.turns if len(group.turns) <= turns else ()
    return {
        "einsums": list(group.names),
        "schedule": group.schedule,
        "passes": group.passes,
        "cycles": group.cycles,
        "alive": {
            a.level: {"capacity_words": a.capacity, "words": a.words, "terms": dict(a.terms)}
            for a in group.alive
        },
        "turns": [
            {"einsum": t.einsum, "pass": t.pass_number, "start": t.start, "end": t.end}
            for t in shown
        ],
    }
