"""Timeloop's files of an answer: what was written, and where Timeloop will count otherwise.

The energies of all folders, each as often as its round comes, and what is listed as apart add up
to the answer's own energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import fsum

from flat_mapper.base.formats import SUMS, words
from flat_mapper.base.units import si
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.energy.tables import UNPRICED, energy_kind
from flat_mapper.timeloop.rounds import Posed, timeloop_stats
from flat_mapper.timeloop.write import Lowering
from flat_mapper.workload.graph import Workload

_SMALL = 1e-6  # chosen: of the whole energy, what the line does not name
_TURNS = "tiles that return with every turn of a group"
_FOUND = "what levels outside the cores hold already"  # of earlier rounds, Einsums, or from before


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeloopFolder:
    """A folder for Timeloop, and what it will say of it."""

    einsum: str  # and the folder's name
    rounds: int  # that are alike
    cores: int
    energy_pj: float  # as Timeloop adds it up; of one round
    cycles: int
    otherwise: list[str]  # what Timeloop counts otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeloopFiles:
    """All folders of one mapping, for one run of its cascade."""

    folders: tuple[TimeloopFolder, ...]
    none_for: Mapping[str, str]  # by the Einsums of a group: why there are no folders
    energy_pj: float  # of the whole answer, for one run
    apart_pj: Mapping[str, float]  # what Timeloop's folders do not have, by what it is
    priced: bool = True

    @property
    def timeloop_pj(self) -> float:
        """The energies of all folders, each as often as its round comes."""
        return fsum(one.rounds * one.energy_pj for one in self.folders)

    def to_dict(self) -> dict[str, object]:
        """The fields by name, and the line that says them."""
        return {
            "line": str(self),
            "folders": [asdict(one) for one in self.folders],
            "none_for": dict(self.none_for),
            "energy_pj": self.timeloop_pj,
            "apart_pj": dict(self.apart_pj),
        }

    def __str__(self) -> str:
        parts = [self._written(), *self._otherwise()]
        parts += [f"none for {why}" for why in self.none_for.values()] if self.folders else []
        return f"Timeloop files: {'; '.join(parts)}"

    def _written(self) -> str:
        if not self.folders:
            return f"none: {'; '.join(self.none_for.values())}"
        count = len(self.folders)
        said = f"{count} folder{'s' * (count > 1)}"
        rounds = sorted({one.rounds for one in self.folders if one.cores > 1 or one.rounds > 1})
        if rounds:
            cores = max(one.cores for one in self.folders)
            times = " or ".join(map(str, rounds))
            only = "the only one" if rounds == [1] else f"of {times} alike"
            said += f", a round of tiles on {cores} cores, {only}"
        return f"{said}, {self._energies()}"

    def _energies(self) -> str:
        if not self.priced:
            return "energies of 0 as nothing prices the chip"
        named = {n: pj for n, pj in self.apart_pj.items() if abs(pj) > _SMALL * self.energy_pj}
        sums = f"{si(self.timeloop_pj * 1e-12, 'J')} in all"
        if not named:
            return sums
        each = ", ".join(f"{si(pj * 1e-12, 'J')} {name}" for name, pj in named.items())
        return f"{sums}, {si(self.energy_pj * 1e-12, 'J')} here with {each}"

    def _otherwise(self) -> list[str]:
        by_reason: dict[str, list[str]] = {}
        for one in self.folders:
            for reason in one.otherwise:
                by_reason.setdefault(reason, []).append(one.einsum)
        found = [f"{reason} ({', '.join(names)})" for reason, names in by_reason.items()]
        return [f"Timeloop counts otherwise: {', '.join(found)}"] if found else []


def told_of(workload: Workload, result: Result, lowering: Lowering) -> TimeloopFiles:
    """Words about what Timeloop will say of the folders of an answer."""
    assert result.ert is not None
    own = {stats.einsum: stats for stats in result.einsums}
    apart: dict[str, float] = {
        "leakage": fsum(result.leakage_by.values()) / result.repeat,
        "networks": fsum(n.energy_pj for stats in result.einsums for n in stats.network),
    }
    folders = []
    for one in lowering.asked:
        stats = own.pop(one.nest.einsum)
        said = timeloop_stats(one, result.ert, workload)
        for name, pj in _apart(workload, one, stats, said).items():
            apart[name] = apart.get(name, 0.0) + pj
        folders.append(
            TimeloopFolder(
                einsum=one.nest.einsum,
                rounds=one.rounds,
                cores=one.cores,
                energy_pj=said.energy_pj,
                cycles=said.cycles,
                otherwise=_otherwise(workload, one, stats),
            )
        )
    apart["what has no folder"] = fsum(
        s.energy_pj - fsum(n.energy_pj for n in s.network) for s in own.values()
    )
    return TimeloopFiles(
        folders=tuple(folders),
        none_for=lowering.refused,
        energy_pj=result.energy_pj / result.repeat,
        apart_pj={name: pj for name, pj in apart.items() if pj},
        priced=result.energy_source != UNPRICED,
    )


def _apart(workload: Workload, one: Posed, own: EinsumStats, said: EinsumStats) -> dict[str, float]:
    """pJ of an Einsum beyond what Timeloop says of all its rounds, by what they are."""
    names = [level.name for level in one.arch.levels]
    outside = names[: names.index(one.level)]
    held = {t for level in outside[1:] for t in one.nest.kept_at(level)}
    found = {_TURNS: own.compute_energy_pj - one.rounds * said.compute_energy_pj}
    ours, theirs = _by_place(own), _by_place(said)
    for level, tensor in dict.fromkeys((*ours, *theirs)):
        pj = ours.get((level, tensor), 0.0) - one.rounds * theirs.get((level, tensor), 0.0)
        widths = workload.widths
        narrow = {widths.share(tensor, level), widths.so_far(tensor, level)} != {1}
        already = level in outside and (one.rounds > 1 or tensor in held)
        reason = "words of other widths" if narrow else _FOUND if already else _TURNS
        found[reason] = found.get(reason, 0.0) + pj
    return found


def _by_place(stats: EinsumStats) -> dict[tuple[str, str], float]:
    """pJ of an Einsum by level and tensor."""
    return {(level.level, t.tensor): t.energy_pj for level in stats.levels for t in level.tensors}


def _otherwise(workload: Workload, one: Posed, own: EinsumStats) -> list[str]:
    """Quantities that Timeloop counts otherwise than the model, of one Einsum."""
    einsum = workload.einsum(own.einsum)
    bits = f"{one.arch.levels[0].word_bits} bits"
    found = [
        f"{a.tensor} as {bits}, not {words(workload.tensor_bits[a.tensor])}"
        for a in einsum.accesses
        if a.tensor in workload.widths.tensors
    ]
    if any(t.so_far != t.share for level in own.levels for t in level.tensors):
        found.append(f"sums of {own.einsum} as {bits}, not {words(workload.tensor_bits[SUMS])}")
    if own.cycles_per_compute != 1:
        kind = energy_kind(einsum.operation)
        found.append(f"{kind} in 1 cycle, not {own.cycles_per_compute:g}")
    if one.nest.has_remainders:
        found.append("the last pass of a remainder as a full one")
    return found
