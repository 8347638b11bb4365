"""One mapping, every backend: where they differ, by how much, and whether that is allowed.

The native model is the reference. Counts and cycles must be equal; energies may differ by what is
lost in printing. A difference that follows from another definition is listed with its reason, and
compared with what that definition makes of the native counts. Other backends count every Einsum as
if it were alone. Where a fused group counts otherwise, because its Einsums use private levels in
turn, its counts are compared with those of one pass times the passes. What no other backend has
(turns' cycles, the energy of what returns, a correction's copy) is left out: `execute` is the
referee of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from flat_mapper.arch.values import Platform
from flat_mapper.backends.accelforge_answer import expected_actions
from flat_mapper.backends.accelforge_nest import NotExpressibleError
from flat_mapper.backends.one_pass import one_pass_counts
from flat_mapper.base.errors import BackendError, MappingError
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.chip.evaluation import evaluate, stats_alone
from flat_mapper.cost_model.result import EinsumStats, Infeasible, LevelStats, Result, TensorStats
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.handover import all_handed_inside
from flat_mapper.mapping.sharing import copied_from, shared_level
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

ENERGY_TOLERANCE = 1e-6  # relative: Timeloop prints pJ with two decimals, AccelForge rounds floats
PRINTED_PJ = 0.0051  # pJ: half of Timeloop's last printed digit, of each number that is added up
COUNTS = (
    "scalar_reads",
    "scalar_fills",
    "scalar_updates",
    "temporal_reductions",
    "utilized_capacity",
    "utilized_instances",
)
ONE_PASS = "one pass times the passes"
_HEAD = ("backend", "Einsum", "level", "tensor", "quantity", "native", "backend's", "verdict")
DEFINITION = (
    "AccelForge also prices the reads that drain an output tile, prices an update as a write and "
    "does not round up to whole rows"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Compared quantity: a count, cycles or an energy of an Einsum, a level or a tensor."""

    einsum: str
    level: str
    tensor: str
    quantity: str

    def to_dict(self) -> dict[str, str]:
        """The fields by name."""
        names = ("einsum", "level", "tensor", "quantity")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One quantity on which a backend and the native model do not agree."""

    backend: str
    einsum: str
    level: str  # empty: the Einsum as a whole
    tensor: str  # empty: the level as a whole
    quantity: str
    native: float
    other: float
    allowed: float  # the largest difference that passes
    reason: str = ""  # why it is so by definition

    @property
    def of(self) -> Quantity:
        """The quantity."""
        names = ("einsum", "level", "tensor", "quantity")
        return Quantity(**{name: getattr(self, name) for name in names})

    @property
    def exceeds(self) -> bool:
        """True where it is larger than its tolerance."""
        return not abs(self.native - self.other) <= self.allowed

    def to_dict(self) -> dict[str, object]:
        """The fields by name, and the verdict."""
        names = ("backend", "einsum", "level", "tensor", "quantity", "native", "other")
        told = {name: getattr(self, name) for name in names}
        return told | {"allowed": self.allowed, "reason": self.reason, "exceeds": self.exceeds}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Crosscheck(Printed):
    """Answers of all backends on one mapping."""

    native: Result | Infeasible
    answers: dict[str, Result | Infeasible]
    absent: dict[str, str] = field(default_factory=dict)  # backend: why it did not answer
    compared: int = 0  # quantities looked at
    one_pass: int = 0  # those of them that are one pass's, times the passes
    left_out: tuple[Quantity, ...] = ()  # what follows from the rules between Einsums
    differences: tuple[Difference, ...] = ()

    @property
    def agrees(self) -> bool:
        """True where every difference is within its tolerance."""
        return not any(d.exceeds for d in self.differences)

    def to_dict(self) -> dict[str, object]:
        """The verdict and everything behind it."""
        return {
            "agrees": self.agrees,
            "backends": ["native", *self.answers],
            "absent": self.absent,
            "compared": self.compared,
            "one_pass": self.one_pass,
            "left_out": [q.to_dict() for q in self.left_out],
            "differences": [d.to_dict() for d in self.differences],
        }

    def __str__(self) -> str:
        """Who did not answer, what the others note, the differences as a table, and the verdict."""
        lines = [f"{name} did not answer: {why}" for name, why in self.absent.items()]
        lines += [
            f"{name}: {note}"
            for name, answer in self.answers.items()
            if isinstance(answer, Result)
            for note in answer.notes
        ]
        if self.differences:
            lines.append(grid([_row(d) for d in self.differences], head=_HEAD, right=(5, 6)))
        if self.one_pass:
            lines.append(
                f"{self.one_pass} counts of tiles that return with every turn: one pass of the "
                "group, times its passes"
            )
        if self.left_out:
            places = {f"{q.einsum} at {q.level}" for q in self.left_out if q.level}
            lines.append(
                f"left out, {len(self.left_out)} quantities that the rules between fused Einsums "
                f"set (`execute --check` is their referee): {', '.join(sorted(places))}"
            )
        bad = sum(d.exceeds for d in self.differences)
        names = ", ".join(self.answers) or "nobody"
        lines.append(
            f"native against {names}: {self.compared} quantities compared, "
            f"{len(self.differences)} differ, {bad} by more than allowed"
        )
        return "\n".join(lines)


def _row(d: Difference) -> tuple[str, ...]:
    verdict = "EXCEEDS" if d.exceeds else f"within {d.allowed:.3g}"
    reason = f": {d.reason}" if d.reason else ""
    places = (d.backend, d.einsum, d.level or "-", d.tensor or "-", d.quantity)
    return (*places, f"{d.native:.12g}", f"{d.other:.12g}", f"{verdict}{reason}")


def compare_backends(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    backends: Sequence[Backend],
) -> Crosscheck:
    """The answers of all backends that are present, each compared with the native model's.

    What the native model counts otherwise than for every Einsum alone is compared with one pass
    times the passes; left out is what no backend has.
    A backend that has no such mapping (AccelForge: remainders; Timeloop: a rank on both axes of a
    fanout) is absent, with the reason.
    raises: MappingError where the mapping contradicts the workload or the platform, BackendError
            where a backend that is present fails.
    """
    native = evaluate(workload, platform, mapping, ert)
    answers: dict[str, Result | Infeasible] = {}
    absent: dict[str, str] = {}
    found: list[Difference] = []
    compared = one_pass = 0
    apart = between_einsums(workload, platform, mapping, ert, native)
    copies = _copied(workload, platform, mapping)
    seen: set[Quantity] = set()
    for backend in backends:
        missing = backend.missing()
        if missing:
            absent[backend.name] = missing
            continue
        turns: dict[Quantity, int] = {}
        try:
            answer = backend.evaluate(workload, platform, mapping, ert)
            if apart and isinstance(answer, Result):
                counts = one_pass_counts(backend, workload, platform, mapping, ert, answer)
                told = {_quantity(*place): n for place, n in counts.items()}
                turns = {q: n for q, n in told.items() if q in apart and q not in copies}
        except (NotExpressibleError, MappingError) as error:
            absent[backend.name] = str(error)
            continue
        answers[backend.name] = answer
        everything = comparisons(workload, platform, native, answer, ert, backend.name)
        pairs = [
            replace(p, other=turns[p.of], reason=ONE_PASS) if p.of in turns else p
            for p in everything
            if p.of in turns or p.of not in apart
        ]
        seen |= turns.keys()
        compared += len(pairs)
        one_pass += len(turns)
        found += [p for p in pairs if p.native != p.other]
    return Crosscheck(
        native=native,
        answers=answers,
        absent=absent,
        compared=compared,
        one_pass=one_pass,
        differences=tuple(found),
        left_out=tuple(q for q in apart if q not in seen),
    )


def _quantity(einsum: str, level: str, tensor: str, quantity: str) -> Quantity:
    return Quantity(einsum=einsum, level=level, tensor=tensor, quantity=quantity)


def _copied(workload: Workload, platform: Platform, mapping: FusedMapping) -> set[Quantity]:
    """The counts in which a correction's copy of an old value is one part."""
    found: set[Quantity] = set()
    inside = all_handed_inside(workload, platform, mapping)
    for name in (n for g in mapping.groups if len(g.names) > 1 for n in g.names):
        einsum = workload.einsum(name)
        tensor = copied_from(workload, einsum)
        if tensor is not None:
            level = inside.get(tensor, shared_level(platform).name)
            found.add(_quantity(name, level, tensor, "scalar_reads"))
            found.add(_quantity(name, level, einsum.output.tensor, "scalar_updates"))
    return found


def between_einsums(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    native: Result | Infeasible,
) -> dict[Quantity, None]:
    """Counts of the native model that differ from every Einsum alone, as other backends have it."""
    if isinstance(native, Infeasible):
        return {}
    alone = stats_alone(workload, platform, mapping, ert)
    pairs = (pair for own in native.einsums for pair in _einsum(own, alone[own.einsum], ""))
    found = [pair.of for pair in pairs if pair.native != pair.other]
    if any(q.level == platform.dram.name and q.quantity in COUNTS for q in found):
        found.append(_quantity("all", "", "", "offchip_words"))  # the sum of these
    if found:
        found.append(_quantity("all", "", "", "cycles"))
    return dict.fromkeys(found)


def comparisons(
    workload: Workload,
    platform: Platform,
    native: Result | Infeasible,
    other: Result | Infeasible,
    ert: Ert,
    backend: str,
) -> Iterator[Difference]:
    """Every quantity of two answers, side by side."""
    if isinstance(native, Infeasible) or isinstance(other, Infeasible):
        yield from _refusals(native, other, backend)
        return
    if len(native.einsums) != len(other.einsums):
        raise BackendError(f"{backend}: expected {len(native.einsums)} Einsums, got fewer")
    for own, theirs in zip(native.einsums, other.einsums, strict=True):
        if backend == "accelforge":
            own = _drained(workload, platform, own, ert)
        yield from _einsum(own, theirs, backend)
    yield _exact(backend, "all", "", "", "cycles", native.cycles, other.cycles)
    yield _exact(backend, "all", "", "", "offchip_words", native.offchip_words, other.offchip_words)


def _refusals(
    native: Result | Infeasible, other: Result | Infeasible, backend: str
) -> Iterator[Difference]:
    sides = [x if isinstance(x, Infeasible) else None for x in (native, other)]
    levels = [x.level if x is not None else "" for x in sides]
    needs = [x.needs if x is not None else 0 for x in sides]
    level = levels[0] or levels[1]
    where = next((x.where for x in sides if x is not None), "")
    yield _exact(backend, where, level, "", "words needed", needs[0], needs[1])


def _einsum(own: EinsumStats, theirs: EinsumStats, backend: str) -> Iterator[Difference]:
    name = own.einsum
    for quantity in ("computes", "compute_cycles", "lanes", "lanes_total", "cycles"):
        a, b = getattr(own, quantity), getattr(theirs, quantity)
        yield _exact(backend, name, "", "", quantity, a, b)
    unit, other_pj = own.unit, theirs.compute_energy_pj
    yield _energy(backend, name, unit, "", own.compute_energy_pj, other_pj)
    for level in own.levels:
        found = theirs.level(level.level)
        if found is None:
            raise BackendError(f"{backend}: {name}: expected the level {level.level}, got none")
        yield from _level(name, level, found, backend)


def _level(name: str, own: LevelStats, theirs: LevelStats, backend: str) -> Iterator[Difference]:
    yield _exact(backend, name, own.level, "", "cycles", own.cycles, theirs.cycles)
    others = {t.tensor: t for t in theirs.tensors}
    for tensor in own.tensors:
        other = others.pop(tensor.tensor, None)
        if other is None:
            raise BackendError(f"{backend}: {name}: {own.level}: expected {tensor.tensor}")
        for quantity in COUNTS:
            a, b = getattr(tensor, quantity), getattr(other, quantity)
            yield _exact(backend, name, own.level, tensor.tensor, quantity, a, b)
        pj = (tensor.energy_pj, other.energy_pj)
        yield _energy(backend, name, own.level, tensor.tensor, *pj)


def _exact(
    backend: str, einsum: str, level: str, tensor: str, quantity: str, native: float, other: float
) -> Difference:
    return Difference(
        backend=backend,
        einsum=einsum,
        level=level,
        tensor=tensor,
        quantity=quantity,
        native=native,
        other=other,
        allowed=0.0,
    )


def _energy(
    backend: str, einsum: str, level: str, tensor: str, native: float, other: float
) -> Difference:
    return Difference(
        backend=backend,
        einsum=einsum,
        level=level,
        tensor=tensor,
        quantity="energy_pj",
        native=native,
        other=other,
        allowed=PRINTED_PJ + ENERGY_TOLERANCE * abs(native),
        reason=DEFINITION if backend == "accelforge" else "printed with two decimals",
    )


def _drained(workload: Workload, platform: Platform, stats: EinsumStats, ert: Ert) -> EinsumStats:
    """The native answer with energies as AccelForge defines them; its counts stay Timeloop's."""
    einsum = workload.einsum(stats.einsum)
    arch, seen, levels = platform.path(einsum.unit), set[str](), []
    for level in stats.levels:
        read, write, _ = (pj / arch.level(level.level).row_words for pj in ert.actions(level.level))
        tensors: list[TensorStats] = []
        for t in level.tensors:
            output, first = t.tensor == einsum.output.tensor, t.tensor not in seen
            seen.add(t.tensor)
            words = expected_actions(t, output=output, outermost=first)
            pj = words["read"] * read + words["write"] * write
            tensors.append(replace(t, energy_pj=pj))
        levels.append(replace(level, tensors=tuple(tensors)))
    return replace(stats, levels=tuple(levels))
