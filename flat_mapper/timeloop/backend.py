"""Backend `timeloop`: every Einsum priced by the real timeloop-model, added up by our rules.

Each Einsum is a problem of its own (`timeloop.write`). The raw timeloop-model is given the
processed single file, together with the energies as ERT and ART files: then it does not call
Accelergy.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.errors import BackendError, expected
from flat_mapper.base.process import waited_for
from flat_mapper.cost_model.backend import refuse_operations
from flat_mapper.cost_model.chip.evaluation import combine, evaluate, stats_alone
from flat_mapper.cost_model.result import EinsumStats, Infeasible, Result
from flat_mapper.cost_model.widths import refuse_widths
from flat_mapper.energy.tables import Ert, priced_for
from flat_mapper.mapping.check import check_fused
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.rounds import Posed, asked_of, overfull_words
from flat_mapper.timeloop.run import Command, model_stats, run_folder
from flat_mapper.timeloop.terms import (
    art_document,
    ert_document,
    processed_document,
    unfolded,
)
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeloopBackend:
    """timeloop-model as an evaluator of fused mappings."""

    name: ClassVar = "timeloop"
    command: Command
    folder: Path | None = None  # where runs are kept; None: temporary, kept only where one failed

    def missing(self) -> str | None:
        """The missing program and how to get it, in one line; None where it can run."""
        return self.command.missing()

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """Timeloop's counts, cycles and energy of every Einsum, combined as the native model does.

        raises: MappingError where the mapping contradicts the workload or the platform,
                BackendError where Timeloop is missing, fails or answers something unreadable.
        """
        check_fused(workload, platform, mapping)
        workload, left_out = refuse_widths(workload, self.name)
        ert = ert.covering(platform)
        refuse_operations(workload, platform, mapping, self.name)
        if any(group.on_cores for group in mapping.groups):
            condition = "Einsums on one array: it counts a round of cores at a time"
            change = "use crosscheck, or run it on the folders that -o writes"
            raise BackendError(expected(self.name, condition, "tiles on many cores", change))
        if missing := self.missing():
            raise BackendError(missing)
        stats: dict[str, EinsumStats] = {}
        with ExitStack() as folders:
            jobs = [
                (folders.enter_context(run_folder(self.folder, one.nest.einsum)), one)
                for one in asked_of(workload, platform, mapping)[0]
            ]
            for found in waited_for(partial(self._answer, ert), jobs, os.cpu_count() or 1):
                if isinstance(found, Infeasible):
                    return found
                stats[found.einsum] = found
        result = combine(workload, platform, mapping, ert, stats, backend=self.name)
        if isinstance(result, Infeasible):
            return result
        notes = _deepened(workload, platform, mapping) + _alone(workload, platform, mapping, ert)
        return replace(result, notes=(*result.notes, *left_out, *notes))

    def einsum(
        self, workload: Workload, arch: Architecture, mapping: EinsumMapping, ert: Ert
    ) -> EinsumStats | Infeasible:
        """One run of timeloop-model: one Einsum on its path."""
        with run_folder(self.folder, mapping.einsum) as folder:
            one = Posed(workload=workload, arch=arch, nest=mapping, level="")
            return self._answer(ert, (folder, one))

    def _answer(self, ert: Ert, job: tuple[Path, Posed]) -> EinsumStats | Infeasible:
        """One run in a folder of its own."""
        folder, one = job
        einsum = one.workload.einsum(one.nest.einsum)
        arch, nest, _ = unfolded(one.arch, one.nest)
        table = priced_for(arch, ert, einsum, one.workload.widths)
        files = run_files(one.workload, arch, nest, table)
        return model_stats(self.command, folder, files, einsum, arch, nest)


def _alone(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> tuple[str, ...]:
    """The note on Einsums that a fused group counts otherwise than Timeloop does."""
    native = evaluate(workload, platform, mapping, ert)
    if isinstance(native, Infeasible):
        return (f"the native model refuses this mapping: {native}",)
    alone = stats_alone(workload, platform, mapping, ert)
    found = [e.einsum for e in native.einsums if e.levels != alone[e.einsum].levels]
    if not found:
        return ()
    return (
        f"timeloop-model lets tiles of {', '.join(found)} stay in private levels while other "
        "Einsums of the group use these; the native model has them return",
    )


def _deepened(workload: Workload, platform: Platform, mapping: FusedMapping) -> tuple[str, ...]:
    """The note on Einsums that timeloop-model alone would refuse."""
    overfull = overfull_words(workload, platform, mapping)
    if not overfull:
        return ()
    shared = shared_level(platform)
    each = ", ".join(f"{name} {words}" for name, words in overfull.items())
    return (
        f"timeloop-model alone refuses {', '.join(overfull)}: it counts every tensor's tile in "
        f"full ({each} words) and {shared.name} has {shared.usable_words}; it was given a deeper "
        "one, because tensors that share a buffer count once over the group",
    )


def run_files(
    workload: Workload,
    arch: Architecture,
    mapping: EinsumMapping,
    ert: Ert,
    *,
    handed_on: bool = False,
) -> dict[str, str]:
    """The input files of timeloop-model for one Einsum, by name.

    ert:       what a compute costs there is what the Einsum's operation costs.
    handed_on: see `processed_document`.
    """
    return {
        "processed.yaml": dump(processed_document(workload, arch, mapping, handed_on=handed_on)),
        "ERT.yaml": dump(ert_document(arch, ert)),
        "ART.yaml": dump(art_document(arch)),
    }
