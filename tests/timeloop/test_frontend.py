"""Timeloop's own front end makes of our v0.4 files what we write for timeloop-model ourselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cases
import pytest
import small_platform as small
from small_platform import write_lowered
from timeloop.front_end import front_end

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.backends.agreement import numbers_of
from flat_mapper.cost_model.result import EinsumStats
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.timeloop.backend import run_files
from flat_mapper.timeloop.rounds import asked_of
from flat_mapper.timeloop.run import command_of, model_stats
from flat_mapper.timeloop.terms import unfolded
from flat_mapper.timeloop.write import lower_einsum
from flat_mapper.workload.graph import Workload

Case = tuple[Workload, Architecture, EinsumMapping]


def cases_of(platform: Platform, fused: FusedMapping) -> list[Case]:
    """The Einsums of a fused mapping, as timeloop-model is asked for them."""
    posed = asked_of(small.workload(), platform, fused)[0]
    return [(one.workload, one.arch, one.nest) for one in posed]


@pytest.mark.needs_timeloop
def test_the_real_one_makes_files_with_the_same_answer(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    processed = front_end()
    for number, mapping in enumerate(((small.platform(), small.fused()), cases.overfull())):
        told = [same(case, processed, tmp_path / f"{number}") for case in cases_of(*mapping)]
        record_property("mappings through timeloopfe", 1)
        record_property("mappings through timeloopfe, quantities", len(numbers_of(told)))
    workload, nest = cases.doubled()
    same((workload, small.platform().matrix, nest), processed, tmp_path / "doubled")


def same(case: Case, processed: Callable[[Iterable[Path]], str], parent: Path) -> EinsumStats:
    """The answer on our file and on the front end's, which is the same one."""
    workload, arch, nest = case
    einsum, folder = workload.einsum(nest.einsum), parent / nest.einsum
    write_lowered(folder, lower_einsum(workload, arch, nest))
    paths = [folder / f"{name}.yaml" for name in ("arch", "problem", "mapping")]
    arch, nest, _ = unfolded(arch, nest)
    ours = run_files(workload, arch, nest, cases.ERT)
    theirs = ours | {"processed.yaml": processed(paths)}
    answers = []
    for name, files in {"ours": ours, "theirs": theirs}.items():
        (folder / name).mkdir()
        answers.append(model_stats(command_of(), folder / name, files, einsum, arch, nest))
    told = answers[0]
    assert isinstance(told, EinsumStats)
    assert told == answers[1], nest.einsum
    return told
