"""Timeloop's own front end makes of our v0.4 files what we write for timeloop-model ourselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cases
import pytest
import small_platform as small
from timeloop.front_end import front_end

from flat_mapper.arch.values import Architecture
from flat_mapper.mapping.values import EinsumMapping
from flat_mapper.timeloop.backend import run_files
from flat_mapper.timeloop.rounds import asked_of
from flat_mapper.timeloop.run import command_of, model_stats
from flat_mapper.timeloop.terms import unfolded
from flat_mapper.timeloop.write import lower_einsum, write_lowered
from flat_mapper.workload.graph import Workload

Case = tuple[Workload, Architecture, EinsumMapping]


def questions() -> list[Case]:
    """The Einsums of two fused mappings, and one with a rank on both axes of a fanout."""
    workload, nest = cases.doubled()
    found = [(workload, small.platform().matrix, nest)]
    for platform, fused in ((small.platform(), small.fused()), cases.overfull()):
        for one in asked_of(small.workload(), platform, fused)[0]:
            found.append((one.workload, one.arch, one.nest))
    return found


@pytest.mark.needs_timeloop
def test_the_real_one_makes_files_with_the_same_answer(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    processed, command = front_end(), command_of()
    for number, (workload, arch, nest) in enumerate(questions()):
        einsum, folder = workload.einsum(nest.einsum), tmp_path / str(number)
        write_lowered(folder, lower_einsum(workload, arch, nest))
        paths = [folder / f"{name}.yaml" for name in ("arch", "problem", "mapping")]
        arch, nest, _ = unfolded(arch, nest)
        ours = run_files(workload, arch, nest, cases.ERT)
        theirs = ours | {"processed.yaml": processed(paths)}
        answers = []
        for name, files in {"ours": ours, "theirs": theirs}.items():
            (folder / name).mkdir()
            answers.append(model_stats(command, folder / name, files, einsum, arch, nest))
        assert answers[0] == answers[1], nest.einsum
        record_property(f"{number}: {nest.einsum} through the front end", 1)
