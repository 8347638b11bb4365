"""One mapping, every backend: where they differ, by how much, and whether that is allowed.

The native model is the reference. Counts and cycles must be equal; energies may differ by what is
lost in printing. A difference that follows from another definition is listed with its reason, and
compared with what that definition makes of the native counts. Other backends count every Einsum as
if it were alone. Where a fused group counts otherwise, because its Einsums use private levels in
turn, its counts are compared with those of one pass times the passes: such a backend lets a tile
stay in a private level over the shared loops, so it is asked once more, for the Einsums at the
sizes of their FLAT-tile, without the shared loops. What no other backend has (turns' cycles, the
energy of what returns, a correction's copy) is left out: `execute` is the referee of that. On many
cores Timeloop's rounds of tiles are compared, all counts of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil, isclose, prod
from typing import ClassVar, NamedTuple

from flat_mapper.arch.values import Platform
from flat_mapper.backends.accelforge import DEFINITION, NotExpressibleError
from flat_mapper.base.errors import MappingError
from flat_mapper.base.table import Printed, grid
from flat_mapper.base.tolerance import ABOVE, whole_cycles
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.chip.evaluation import combine, evaluate, stats_alone
from flat_mapper.cost_model.chip.tile import tile_cost
from flat_mapper.cost_model.result import (
    EinsumStats,
    GroupStats,
    Infeasible,
    Result,
)
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.cost_model.widths import of_one_width
from flat_mapper.energy.tables import Ert
from flat_mapper.execution.result import Executed, ExecutedGroup
from flat_mapper.mapping.check import all_handed_inside
from flat_mapper.mapping.cores import CoreView, names_outside
from flat_mapper.mapping.resize import resized_group
from flat_mapper.mapping.sharing import copied_from, crosses_dram, shared_level, whole_group
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.rounds import Posed, asked_of, timeloop_stats
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


class Compared(NamedTuple):
    """Compared quantity: a count, cycles or an energy of an Einsum, a level or a tensor."""

    einsum: str
    level: str  # empty: the Einsum as a whole
    tensor: str  # empty: the level as a whole
    quantity: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity on which a backend and the native model do not agree."""

    backend: str
    einsum: str
    level: str  # empty: the Einsum as a whole
    tensor: str  # empty: the level as a whole
    quantity: str
    native: float
    other: float
    allowed: float = 0.0  # the largest difference that passes
    reason: str = ""  # why it is so by definition

    @property
    def of(self) -> Compared:
        """The quantity."""
        return Compared(self.einsum, self.level, self.tensor, self.quantity)

    @property
    def exceeds(self) -> bool:
        """True where it is larger than its tolerance."""
        return not abs(self.native - self.other) <= self.allowed

    def to_dict(self) -> dict[str, object]:
        """The fields by name, and the verdict."""
        return asdict(self) | {"exceeds": self.exceeds}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Crosscheck(Printed):
    """Answers of all backends on one mapping; true where they agree."""

    rows_at: ClassVar = ("differences",)
    kind: ClassVar = "crosscheck"  # of answers as JSON
    native: Result | Infeasible
    answers: dict[str, Result | Infeasible]
    absent: dict[str, str] = field(default_factory=dict)  # backend: why it did not answer
    compared: int = 0  # quantities looked at
    one_pass: int = 0  # those of them that are one pass's, times the passes
    left_out: tuple[Compared, ...] = ()  # what follows from the rules between Einsums
    differences: tuple[Difference, ...] = ()

    @property
    def agrees(self) -> bool:
        """True where every difference is within its tolerance."""
        return not self.exceeding

    @property
    def exceeding(self) -> tuple[Difference, ...]:
        """Differences above their tolerance."""
        return tuple(difference for difference in self.differences if difference.exceeds)

    def __bool__(self) -> bool:
        return self.agrees

    @property
    def refusal(self) -> str:
        """The reason why there is nothing to compare, where nobody says that the mapping fits."""
        return str(self.native) if self.agrees and isinstance(self.native, Infeasible) else ""

    def to_dict(self) -> dict[str, object]:
        """The verdict and everything behind it."""
        return {
            "agrees": self.agrees,
            "backends": ["native", *self.answers],
            "absent": self.absent,
            "compared": self.compared,
            "one_pass": self.one_pass,
            "left_out": [q._asdict() for q in self.left_out],
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
                f"set (`evaluate --execute --check` is their referee): {', '.join(sorted(places))}"
            )
        names = ", ".join(self.answers) or "nobody"
        lines.append(
            f"native against {names}: {self.compared} quantities compared, "
            f"{len(self.differences)} differ, {len(self.exceeding)} by more than allowed"
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

    Sums are as wide as what is done, as the others have it.

    A backend that has no such mapping (AccelForge: remainders; Timeloop: a rank on both axes of a
    fanout) is absent, with the reason.
    raises: MappingError where the mapping contradicts the workload or the platform, BackendError
            where a backend that is present fails.
    """
    workload = of_one_width(workload)
    native = evaluate(workload, platform, mapping, ert)
    asked = _Question(workload=workload, platform=platform, mapping=mapping, ert=ert, native=native)
    apart = asked.between_einsums()
    answers: dict[str, Result | Infeasible] = {}
    absent: dict[str, str] = {}
    pairs: list[Difference] = []
    for backend in backends:
        try:
            told = asked.told(backend, apart)
        except (NotExpressibleError, MappingError) as error:
            absent[backend.name] = str(error)
        else:
            answers[backend.name] = told[0]
            pairs += told[1]
    passes = {p.of for p in pairs if p.reason == ONE_PASS}
    return Crosscheck(
        native=native,
        answers=answers,
        absent=absent,
        compared=len(pairs),
        one_pass=sum(p.reason == ONE_PASS for p in pairs),
        differences=tuple(p for p in pairs if p.native != p.other),
        left_out=tuple(q for q in apart if q not in passes),
    )


_Told = tuple[Result | Infeasible, list[Difference]]  # a backend's answer, held beside the model's


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A mapping that backends are asked for, and the native model's answer."""

    workload: Workload
    platform: Platform
    mapping: FusedMapping
    ert: Ert
    native: Result | Infeasible

    @property
    def on_cores(self) -> bool:
        """True if some group says where it is fused, or its tiles are given to cores."""
        return any(group.on_cores for group in self.mapping.groups)

    def told(self, backend: Backend, apart: Mapping[Compared, None]) -> _Told:
        """Every Einsum at its full size; what is apart is one pass's, times the passes."""
        if self.on_cores:
            return self.in_rounds(backend)
        _check_present(backend)
        answer = backend.evaluate(self.workload, self.platform, self.mapping, self.ert)
        turns: dict[Compared, float] = {}
        if apart and isinstance(answer, Result):
            told = self._one_pass(backend, answer)
            turns = {q: told[q] for q in apart.keys() & told.keys() - self._copied()}
        what = self.workload, self.platform, self._padded(), answer, self.ert, backend.name
        pairs = (
            replace(p, other=turns[p.of], reason=ONE_PASS) if p.of in turns else p
            for p in comparisons(*what)
        )
        return answer, [p for p in pairs if p.reason == ONE_PASS or p.of not in apart]

    def _padded(self) -> Result | Infeasible:
        """The native model's answer, with last passes counted as Timeloop does."""
        native, nests = self.native, self.mapping.einsum_mappings
        ragged = {name for name, nest in nests.items() if nest.has_remainders}
        if isinstance(native, Infeasible) or not ragged:
            return native
        what = self.workload, self.platform, self.mapping, self.ert
        alone = stats_alone(*what, padded=True)
        stats = {s.einsum: alone[s.einsum] if s.einsum in ragged else s for s in native.einsums}
        return combine(*what, stats, backend=native.backend)

    def between_einsums(self) -> dict[Compared, None]:
        """Counts of the native model that differ from every Einsum alone, as others count."""
        if isinstance(self.native, Infeasible) or self.on_cores:
            return {}
        alone = stats_alone(self.workload, self.platform, self.mapping, self.ert)
        found = _differing(self.native.einsums, alone.values())
        if any(q.level == self.platform.dram.name and q.quantity in COUNTS for q in found):
            found.append(Compared("all", "", "", "offchip_words"))  # the sum of these
        if found:
            found.append(Compared("all", "", "", "cycles"))
        return dict.fromkeys(found)

    def _copied(self) -> set[Compared]:
        """The counts in which a correction's copy of an old value is one part."""
        found: set[Compared] = set()
        inside = all_handed_inside(self.workload, self.platform, self.mapping)
        for name in (n for g in self.mapping.groups if len(g.names) > 1 for n in g.names):
            einsum = self.workload.einsum(name)
            tensor = copied_from(self.workload, einsum)
            if tensor is not None:
                level = inside.get(tensor, shared_level(self.platform).name)
                found.add(Compared(name, level, tensor, "scalar_reads"))
                found.add(Compared(name, level, einsum.output.tensor, "scalar_updates"))
        return found

    def _one_pass(self, backend: Backend, alone: Result) -> dict[Compared, float]:
        """Counts of a backend where nothing stays in private levels from one pass to another.

        alone: its answer for the whole mapping.
        Groups with remainders are left out: their passes are not alike.
        """
        found: dict[Compared, float] = {}
        for group in self.mapping.groups:
            ragged = any(nest.has_remainders for nest in group.einsums)
            if len(group.einsums) < 2 or not group.shared or ragged:
                continue
            tile, inside = single_pass(self.workload, self.platform, self.mapping, group)
            answer = backend.evaluate(tile, self.platform, inside, self.ert)
            if not isinstance(answer, Infeasible):
                numbers = numbers_of(alone.einsums), numbers_of(answer.einsums)
                for nest in group.einsums:
                    found |= dict(self._times(group, nest, *numbers))
        return found

    def _times(
        self,
        group: GroupMapping,
        nest: EinsumMapping,
        whole: Mapping[Compared, float],
        one: Mapping[Compared, float],
    ) -> Iterator[tuple[Compared, float]]:
        """Words of an Einsum in all passes, if each moves those of one.

        An output's first words need no old ones, once over all passes: that many the whole mapping
        has more updates than reads, whatever stays.
        """
        einsum = self.workload.einsum(nest.einsum)
        levels = [lv.name for lv in self.platform.path(einsum.unit).levels]
        passes = prod(group.passes(rank) for rank in einsum.ranks)
        for tensor in (a.tensor for a in einsum.accesses):
            chain = [i for i, level in enumerate(levels) if tensor in nest.kept_at(level)]
            for i, inner in zip(chain, [*chain[1:], len(levels)], strict=True):
                if inner <= SHARED:
                    continue  # whole tiles stay in the shared level by Timeloop's rule
                reads, fills, updates, old = (
                    Compared(nest.einsum, levels[i], tensor, what) for what in COUNTS[:4]
                )
                filled, read = passes * one[fills], passes * one[reads]
                if tensor == einsum.output.tensor:
                    first = whole[updates] - whole[reads]
                    filled += passes * (one[updates] - one[reads]) - first
                    read = passes * one[updates] - first
                    yield updates, passes * one[updates]
                    yield old, read
                yield reads, read
                if i > max(SHARED, chain[0]):
                    yield fills, filled

    def in_rounds(self, backend: Backend) -> _Told:
        """The counts of all groups on cores, beside those of Timeloop's rounds.

        A tile that returns to the fusion level with every turn is compared as if it stayed there:
        Timeloop knows no other Einsums, and `execute` is the referee of that. So is one that is
        `resident`, or that another Einsum of the group reads too, as if it were fetched.
        """
        native = self.native
        if not isinstance(backend, TimeloopBackend) or isinstance(native, Infeasible):
            raise NotExpressibleError("it has no spatial loops outside the shared level")
        _check_present(backend)
        pairs: list[Difference] = []
        asked, refused = asked_of(self.workload, self.platform, self.mapping)
        names = {one.nest.einsum for one in asked}
        groups = [g for g in self.mapping.groups if names.intersection(g.names)]
        turns = {turn for group in groups for turn in self._of_turns(group)}
        for one in asked:
            answer = backend.einsum(one.workload, one.arch, one.nest, self.ert)
            if isinstance(answer, Infeasible):
                refused[one.nest.einsum] = f"timeloop-model refuses a round: {answer}"
            else:
                pairs += self._of_a_round(backend.name, one, answer, native, turns)
        if refused and not pairs:
            raise NotExpressibleError("; ".join(refused.values()))
        return replace(native, notes=(*native.notes, *refused.values())), pairs

    def _of_a_round(
        self,
        backend: str,
        one: Posed,
        answer: EinsumStats,
        native: Result,
        turns: set[tuple[str, str, str]],
    ) -> Iterator[Difference]:
        """Every count of an Einsum.

        It is the chip's own where it is so often the round's by the model's rules too; where tiles
        return with every turn, or a level between keeps what later rounds need or has it already,
        it is what the model says of the Einsum in the round by itself.
        """
        name = one.nest.einsum
        model = timeloop_stats(one, self.ert, self.workload)
        chip = next(stats for stats in native.einsums if stats.einsum == name)
        outside = names_outside(one.arch, one.level)
        already, ragged = self._already(one, outside), one.nest.has_remainders
        whole, theirs = numbers_of([chip]), numbers_of([answer])
        for q, said in numbers_of([model]).items():
            own, other = whole.get(q, one.rounds * said), one.rounds * theirs[q]
            place = outside[0] if q.level in outside else q.level  # as one core has it
            between = q.tensor in already and q.level in outside
            if q.quantity == "utilized_instances":
                yield Difference(backend, *q, whole.get(q, said), theirs[q])
            elif q.quantity == "compute_cycles":  # Timeloop counts a cycle an operation
                cycles = whole_cycles(own), whole_cycles(other * chip.cycles_per_compute)
                yield Difference(backend, *q, *cycles)
            elif q.quantity in ("computes", *COUNTS[:4]):
                by_itself = between or ragged or (name, place, q.tensor) in turns
                yield Difference(backend, *q, one.rounds * said if by_itself else own, other)

    def _already(self, one: Posed, outside: Sequence[str]) -> set[str]:
        """Tensors of an Einsum that a level outside the cores has before its round.

        Those that later rounds need; in the only round those that other Einsums of its group access
        too, or that are there from before.
        """
        name = one.nest.einsum
        kept = {tensor for level in outside[1:] for tensor in one.nest.kept_at(level)}
        if one.rounds > 1:
            return kept
        group = next(group for group in self.mapping.groups if name in group.names)
        others = (self.workload.einsum(other) for other in group.names if other != name)
        return kept & ({a.tensor for e in others for a in e.accesses} | set(group.resident))

    def _of_turns(self, group: GroupMapping) -> set[tuple[str, str, str]]:
        """Einsum, level and tensor of each tile that returns with every turn, on one core."""
        core = CoreView(workload=self.workload, platform=self.platform, group=group).question()
        mapping = FusedMapping(groups=(core.group,))
        alone = stats_alone(core.workload, core.platform, mapping, self.ert)
        tile = tile_cost(core, self.mapping.policy, self.ert)
        differ = [] if isinstance(tile, Infeasible) else _differing(tile.stats, alone.values())
        return {(q.einsum, q.level, q.tensor) for q in differ if q.quantity in COUNTS[:4]}


def _check_present(backend: Backend) -> None:
    if missing := backend.missing():
        raise NotExpressibleError(missing)


def _differing(stats: Iterable[EinsumStats], alone: Iterable[EinsumStats]) -> list[Compared]:
    """Facts that differ from those of every Einsum alone."""
    others = numbers_of(alone)
    return [q for q, n in numbers_of(stats).items() if n != others[q]]


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
        refused = native if isinstance(native, Infeasible) else other
        assert isinstance(refused, Infeasible)
        own, theirs = (x.needs if isinstance(x, Infeasible) else 0 for x in (native, other))
        yield Difference(backend, refused.where, refused.level, "", "words needed", own, theirs)
        return
    numbers, others = _all_numbers(native), _all_numbers(other)
    reason = "printed with two decimals"
    if backend == "accelforge":
        reason = DEFINITION
        for stats in native.einsums:
            numbers |= dict(_drained(workload, platform, stats, ert))
    for q, said in numbers.items():
        if q.quantity == "energy_pj":
            allowed = PRINTED_PJ + ENERGY_TOLERANCE * abs(said)
            yield Difference(backend, *q, said, others[q], allowed, reason)
        else:
            yield Difference(backend, *q, said, others[q])


def _all_numbers(result: Result) -> dict[Compared, float]:
    """Every quantity of an answer's Einsums, and of all together."""
    sums = {"cycles": result.cycles, "offchip_words": result.offchip_words}
    together = {Compared("all", "", "", what): n for what, n in sums.items()}
    return numbers_of(result.einsums) | together


def numbers_of(einsums: Iterable[EinsumStats]) -> dict[Compared, float]:
    """Every quantity of some Einsums."""
    found: dict[Compared, float] = {}
    for stats in einsums:
        name = stats.einsum
        for what in ("computes", "compute_cycles", "lanes", "lanes_total", "cycles"):
            found[Compared(name, "", "", what)] = getattr(stats, what)
        found[Compared(name, stats.unit, "", "energy_pj")] = stats.compute_energy_pj
        for level in stats.levels:
            found[Compared(name, level.level, "", "cycles")] = level.cycles
            for t in level.tensors:
                for what in (*COUNTS, "energy_pj"):
                    found[Compared(name, level.level, t.tensor, what)] = getattr(t, what)
    return found


def _drained(
    workload: Workload, platform: Platform, stats: EinsumStats, ert: Ert
) -> Iterator[tuple[Compared, float]]:
    """Energies of an Einsum's tensors by native counts, as AccelForge defines them."""
    einsum, seen = workload.einsum(stats.einsum), set[str]()
    arch = platform.path(einsum.unit)
    for level in stats.levels:
        read, write, _ = (pj / arch.level(level.level).row_words for pj in ert.actions(level.level))
        for t in level.tensors:
            written = t.scalar_fills + t.scalar_updates
            drained = t.tensor == einsum.output.tensor and t.tensor in seen
            seen.add(t.tensor)
            words = (written if drained else t.scalar_reads, written)
            pj = sum(
                t.utilized_instances * n * e for n, e in zip(words, (read, write), strict=True)
            )
            yield Compared(stats.einsum, level.level, t.tensor, "energy_pj"), pj


def single_pass(
    workload: Workload, platform: Platform, mapping: FusedMapping, group: GroupMapping
) -> tuple[Workload, FusedMapping]:
    """A group's Einsums at the sizes of one FLAT-tile, and their mapping without shared loops."""
    names = whole_group(workload, group.names, mapping.policy)
    whole = workload.subset(names)
    sizes = {r: n // group.passes(r) for r, n in whole.rank_sizes.items()}
    tile = whole.with_ranks(sizes)
    # What only other groups need of what is read here too: without them it stays on chip.
    inside = {
        tensor
        for tensor in tile.tensor_ranks
        if crosses_dram(workload, names, tensor) and not crosses_dram(tile, names, tensor)
    }
    for rank in group.cut:
        group = resized_group(group, whole, rank, sizes[rank])
    dram, nests = platform.dram.name, list[EinsumMapping]()
    for nest in group.einsums:
        left = [t for t in nest.kept_at(dram) if t not in inside]
        keep = ((level, tuple(left) if level == dram else kept) for level, kept in nest.keep)
        nests.append(replace(nest, keep=tuple(keep)))
    alone = replace(group, einsums=tuple(nests), shared=())
    return tile, replace(mapping, groups=(alone,))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One quantity that the model has otherwise than the execution."""

    where: str  # Einsum, or the group's Einsums
    level: str
    tensor: str
    quantity: str
    executed: float
    model: float | None  # None: the model has no such quantity

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def compare_run(executed: Executed, result: Result) -> tuple[Disagreement, ...]:
    """Differences between an execution and the model's result for the same mapping.

    Numbers have to be right; every count equal; no level over its capacity; each group's latency
    the executed timeline's, rounded up to whole cycles, or above it by no more than the schedule's
    slack (`cost_model.group.Latency`).
    """
    found = [
        Disagreement("output", "", error.tensor, "relative error", error.relative, 0.0)
        for error in executed.errors
        if not error.right
    ]
    for einsum in result.einsums:
        found += _counts(executed, einsum)
    for group, stats in zip(executed.groups, result.groups, strict=True):
        found += _group(group, stats)
    return tuple(found)


def _counts(executed: Executed, stats: EinsumStats) -> Iterator[Disagreement]:
    modelled = {(lv.level, t.tensor): t for lv in stats.levels for t in lv.tensors}
    moved = {(m.level, m.tensor): m for m in executed.counts if m.einsum == stats.einsum}
    for level, tensor in dict.fromkeys((*modelled, *moved)):
        t, m = modelled.get((level, tensor)), moved.get((level, tensor))
        instances = t.utilized_instances if t else m.instances if m else 1
        for quantity in ("reads", "fills", "updates"):
            got, said = getattr(m, quantity, 0), getattr(t, f"scalar_{quantity}", 0)
            if got != round(said * instances, 6):  # a mean of instances with unlike amounts
                yield Disagreement(stats.einsum, level, tensor, quantity, got / instances, said)
        if t and m:  # how many of them are sums, which may be wider
            own, said = m.words(t.share, t.so_far)[1] / instances, float(t.words.updates)
            if not isclose(own, said, rel_tol=ABOVE):
                yield Disagreement(stats.einsum, level, tensor, "words updated", own, said)
    cycles = executed.compute_cycles[stats.einsum]
    if not isclose(cycles, stats.compute_cycles, rel_tol=ABOVE):
        yield Disagreement(stats.einsum, "", "", "compute cycles", cycles, stats.compute_cycles)


def _group(group: ExecutedGroup, stats: GroupStats) -> Iterator[Disagreement]:
    where = " + ".join(group.names)
    for alive in group.alive:
        said = stats.buffer.live_words if alive.level == stats.buffer.level else None
        if alive.over or (said is not None and alive.words > said):
            what = "words alive" + (f" (has {alive.capacity})" if alive.over else "")
            yield Disagreement(where, alive.level, "", what, alive.words, said)
    least = whole_cycles(group.cycles * (1 - ABOVE))
    if not least <= stats.cycles <= ceil(group.cycles + stats.slack_cycles):
        yield Disagreement(where, "", "", "cycles", group.cycles, stats.cycles)
