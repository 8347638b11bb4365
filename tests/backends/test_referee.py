"""The comparison of the model with an execution."""

from __future__ import annotations

from dataclasses import replace

import nests
from execution.tiny import chip, fused, products
from hypothesis import given, settings

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate, stats_alone
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.result import Error
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


@given(nests.questions())
@settings(max_examples=30)
def test_one_einsum_on_its_own_agrees_in_everything(question: nests.Question) -> None:
    platform = Platform(name="one", matrix=question.arch, vector=question.arch)
    # Whose place a result takes is a rule of groups.
    policy = Policy(in_place=False)
    mapping = FusedMapping(groups=(GroupMapping(einsums=(question.mapping,)),), policy=policy)
    result = evaluate(question.workload, platform, mapping, question.ert)
    assert isinstance(result, Result)
    assert compare_run(execute(question.workload, platform, mapping), result) == ()


def test_every_quantity_is_compared() -> None:
    workload, platform = products(), chip()
    (first, second) = fused().groups[0].einsums
    groups = tuple(GroupMapping(einsums=(nest,)) for nest in (first, _unfused(second)))
    mapping = FusedMapping(groups=(replace(groups[0], einsums=(_unfused(first),)), groups[1]))
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    executed = execute(workload, platform, mapping)
    assert compare_run(executed, result) == ()
    moved, error = executed.counts[0], Error(tensor="Z", absolute=1.0, relative=0.5)
    alive = replace(executed.groups[0].alive[0], capacity=1)
    broken = replace(
        executed,
        errors=(error,),
        counts=(replace(moved, reads=moved.reads + 1), *executed.counts[1:]),
        compute_cycles={**executed.compute_cycles, "Y": 1},
        groups=(
            replace(executed.groups[0], cycles=0.5, alive=(alive,)),
            *executed.groups[1:],
        ),
    )
    said = [(d.where, d.quantity) for d in compare_run(broken, result)]
    assert said == [
        ("output", "relative error"),
        ("Y", "reads"),
        ("Y", "compute cycles"),
        ("Y", "words alive (has 1)"),
        ("Y", "cycles"),
    ]


def test_a_last_pass_is_as_long_as_it_is() -> None:
    """Seven words by two: seven steps, where timeloop-model takes eight."""
    einsum = parse_einsum("Y[i] = copy(A[i])", unit="matrix")
    workload = Workload(name="one", rank_sizes={"I": 7}, einsums=(einsum,))
    loops = (
        (Slot("DRAM", "temporal"), (Loop("I", 4),)),
        (Slot("GLB", "temporal"), (Loop("I", 2, 1),)),
    )
    keep = (("DRAM", ("A", "Y")), ("GLB", ("A", "Y")))
    nest = EinsumMapping(einsum="Y", loops=loops, keep=keep)
    mapping = FusedMapping(groups=(GroupMapping(einsums=(nest,)),), policy=Policy(in_place=False))
    ert = unpriced(chip())
    result = evaluate(workload, chip(), mapping, ert)
    assert isinstance(result, Result)
    assert result.einsums[0].compute_cycles == 7
    assert compare_run(execute(workload, chip(), mapping), result) == ()
    padded = stats_alone(workload, chip(), mapping, ert, padded=True)
    assert padded["Y"].compute_cycles == 8


def _unfused(nest: nests.EinsumMapping) -> nests.EinsumMapping:
    """The nest of an Einsum whose tensors all come from DRAM and go there."""
    tensors = tuple(dict.fromkeys(t for _, kept in nest.keep for t in kept))
    return replace(nest, keep=(("DRAM", tensors), *nest.keep[1:]))
