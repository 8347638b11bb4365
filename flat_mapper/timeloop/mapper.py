"""timeloop-mapper beside our search: per Einsum, the best it finds inside the same fusion.

It is no evaluator of fused mappings, and so no `Backend`. For each Einsum it is given the loops
that the group shares, what DRAM and the shared level keep, and the room that the others leave
there; the rest it searches at random, with the energies that our mapping was priced with.

Source: Timeloop, src/applications/mapper/main.cpp, commit 4cf6d4c. At a SIGINT its threads
finish the mapping at hand, and the best mapping found so far is written as at a regular end. A
second SIGINT would make them abandon it, and was seen to fail an assertion and lose the answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, MappingError, SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.backend import MAPPER
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.cost_model.widths import refuse_widths
from flat_mapper.energy.operations import priced_for
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.objective import Objective
from flat_mapper.mapping.values import EinsumMapping
from flat_mapper.spec.textfiles import write_text
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.backend import INPUT_FILES
from flat_mapper.timeloop.headroom import held_words
from flat_mapper.timeloop.run import Command, answer_text, call, command_of, run_folder
from flat_mapper.timeloop.write_mapper_processed import Algorithm, processed_for_mapper
from flat_mapper.timeloop.write_tables import art_document, ert_document
from flat_mapper.workload.graph import Workload

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
SECONDS = 30.0  # of search per Einsum, by default
MAPPER_STATS = f"{MAPPER}.stats.txt"
_NOTHING = "no valid mappings found"
_ENERGY = re.compile(r"^ +Energy \(total\) *: (\S+) pJ$", re.MULTILINE)
_CYCLES = re.compile(r"^Cycles: (\d+)$", re.MULTILINE)
_SUMMARY = "\nSummary Stats\n"
GRACE_S = 60.0  # chosen: one mapping that fills a large array takes it up to about a second


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeloopCost:
    """One run of one Einsum on its own, as timeloop-model counts it."""

    cycles: int
    energy_pj: float
    cycle_seconds: float

    @property
    def edp_js(self) -> float:
        """Energy times latency, J*s."""
        return self.energy_pj * 1e-12 * self.cycles * self.cycle_seconds

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {"cycles": self.cycles, "energy_pj": self.energy_pj, "edp_js": self.edp_js}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapperPair:
    """One Einsum: our mapping, and the best that timeloop-mapper found."""

    einsum: str
    ours: TimeloopCost
    timeloop: TimeloopCost | None
    note: str = ""  # why there is none

    def to_dict(self) -> dict[str, object]:
        """Both costs by name."""
        other = self.timeloop.to_dict() if self.timeloop else None
        named: dict[str, object]
        named = {"einsum": self.einsum, "ours": self.ours.to_dict(), "timeloop_mapper": other}
        return named | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Every Einsum of a mapping, and how long timeloop-mapper searched for each."""

    pairs: tuple[MapperPair, ...]
    objective: str
    algorithm: str
    seconds: float
    threads: int

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper map --backend timeloop-mapper --json`."""
        return {
            "objective": self.objective,
            "algorithm": self.algorithm,
            "seconds": self.seconds,
            "threads": self.threads,
            "einsums": [pair.to_dict() for pair in self.pairs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeloopMapper:
    """timeloop-mapper, given some seconds per Einsum."""

    command: Command
    seconds: float = SECONDS
    algorithm: Algorithm = "linear_pruned"
    threads: int = 0  # 0: one per processor
    folder: Path | None = None  # where runs are kept; None: temporary, kept only where one failed

    def missing(self) -> str | None:
        """The missing program and how to get it, in one line; None where it can run."""
        return self.command.missing()

    def beside(
        self,
        workload: Workload,
        platform: Platform,
        result: Result,
        ert: Ert,
        *,
        objective: Objective = "edp",
        progress: Progress | None = None,
    ) -> Beside:
        """The best of timeloop-mapper for every Einsum of a priced mapping, one after another.

        raises: BackendError where timeloop-mapper is missing, fails or cannot be read.
        """
        missing = self.missing()
        if missing:
            raise BackendError(missing)
        refuse_widths(workload, "timeloop-mapper")
        threads = self.threads or os.cpu_count() or 1
        ert = ert.covering(platform)
        held = held_words(workload, platform, result.mapping)
        groups = result.mapping.groups
        alone = {g.names[0] for g in groups if len(g.einsums) == 1 and not g.shared}
        nests = result.mapping.einsum_mappings
        pairs = []
        for i, stats in enumerate(result.einsums):
            name = stats.einsum
            if progress:
                progress(i / len(result.einsums), f"{MAPPER}: {name}")
            arch = platform.path(workload.einsum(name).unit)
            try:
                document = processed_for_mapper(
                    *(workload, arch, nests[name], held[name]),
                    objective=objective,
                    algorithm=self.algorithm,
                    fused=name not in alone,
                    threads=threads,
                )
            except MappingError as error:
                pairs.append(_pair(stats, None, result.cycle_seconds, str(error)))
                continue
            table = priced_for(arch, ert, workload.einsum(name), workload.widths)
            tables = (ert_document(arch, table), art_document(arch))
            found = self._search(nests[name], (document, *tables))
            note = "" if found else f"no valid mapping within {self.seconds:g} s"
            pairs.append(_pair(stats, found, result.cycle_seconds, note))
        return Beside(
            pairs=tuple(pairs),
            objective=objective,
            algorithm=self.algorithm,
            seconds=self.seconds,
            threads=threads,
        )

    def _search(
        self, nest: EinsumMapping, documents: tuple[dict[str, object], ...]
    ) -> tuple[int, float] | None:
        """Cycles and pJ of the best mapping of one run."""
        with run_folder(self.folder, nest.einsum) as folder:
            for name, document in zip(INPUT_FILES, documents, strict=True):
                write_text(folder / name, dump(document))
            stats = run_mapper(self.command, folder, INPUT_FILES, self.seconds)
            return best_found(answer_text(stats), str(stats)) if stats else None


def _pair(
    stats: EinsumStats, found: tuple[int, float] | None, cycle_seconds: float, note: str
) -> MapperPair:
    if stats.network:  # timeloop-mapper has no price for these
        stats = replace(stats, network=())
        note = "; ".join(filter(None, [note, "networks are left out of both"]))
    ours = TimeloopCost(cycles=stats.cycles, energy_pj=stats.energy_pj, cycle_seconds=cycle_seconds)
    other = replace(ours, cycles=found[0], energy_pj=found[1]) if found else None
    return MapperPair(einsum=stats.einsum, ours=ours, timeloop=other, note=note)


def timeloop_mapper(
    seconds: float | None = None, algorithm: str = "linear_pruned"
) -> TimeloopMapper:
    """timeloop-mapper as `--timeloop-cmd` or the environment variable says to call it.

    raises: SpecError listing the algorithms where the word is none of them.
    """
    command = command_of()
    command = replace(command, tool=MAPPER, timeout_s=min(GRACE_S, command.timeout_s))
    for known in ALGORITHMS:
        if known == algorithm:
            own = SECONDS if seconds is None else seconds
            return TimeloopMapper(command=command, seconds=own, algorithm=known)
    raise SpecError(expected("--mapper-algorithm", f"one of {', '.join(ALGORITHMS)}", algorithm))


def run_mapper(
    command: Command, folder: Path, inputs: Sequence[str], seconds: float
) -> Path | None:
    """The stats file of the best mapping found within some seconds; None where it found none.

    The command's own time limit is what timeloop-mapper gets to stop.
    raises: BackendError with the log and the command to run again.
    """
    run = call(command, folder, inputs, seconds=seconds)
    if run.problem is None and _NOTHING in run.said:
        return None
    return run.written(folder / "out" / MAPPER_STATS)


def best_found(text: str, where: str) -> tuple[int, float]:
    """Cycles, and energy in pJ, of the mapping that a stats file describes.

    The energies of all levels and of the compute unit are added up, because the summary's own
    total has lost its digits. Networks cost nothing: the energies given have none.
    raises: BackendError where one cannot be read.
    """
    blocks, summary, end = text.partition(_SUMMARY)
    if not summary:
        raise BackendError(expected(where, "Timeloop's statistics to their end", "less"))
    cycles = _CYCLES.search(end)
    energies = _ENERGY.findall(blocks.partition("\nNetworks\n")[0])
    if cycles is None or not energies:
        raise BackendError(expected(where, "the fields 'Cycles' and 'Energy (total)'", "less"))
    try:
        return int(cycles[1]), sum(float(pj) for pj in energies)
    except ValueError as error:
        raise BackendError(expected(f"{where}: Energy (total)", "a number", str(error))) from error
