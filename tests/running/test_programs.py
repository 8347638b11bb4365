"""Programs of records against the plain cascade, compiled with all warnings and sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from execution.tiny import chip, fused, products
from running.random_records import Case, random_record

from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapping.values import FusedMapping, Loop
from flat_mapper.running.measure import measured
from flat_mapper.running.source import SOURCE, program
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
DAY = 3  # records that are run by day
STRICT = (
    *("-Wall", "-Wextra", "-Werror", "-O1"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)


def runs(case: Case) -> None:
    workload, platform, mapping = case
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    made = program(workload, platform, mapping)
    ran = measured("it", workload, made, result, runs=1, flags=STRICT)
    assert ran.errors
    assert ran.right, ran


@pytest.mark.parametrize("seed", range(DAY))
def test_a_program_computes_the_cascade(seed: int) -> None:
    runs(random_record(seed))


@pytest.mark.nightly
@pytest.mark.parametrize("case", range(DAY, 60))
def test_every_program_computes_the_cascade(case: int) -> None:
    runs(random_record(case))


def test_files_of_another_size_are_refused(tmp_path: Path) -> None:
    workload, platform, mapping = products(), chip(), fused()
    (tmp_path / SOURCE).write_text(program(workload, platform, mapping).text, encoding="ascii")
    subprocess.run(["cc", "-o", "run", SOURCE, "-lm"], cwd=tmp_path, check=True)

    def said() -> str:
        done = subprocess.run(["./run", "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        return done.stderr

    assert "./A.bin: expected a file that can be used" in said()
    for name in "ABC":
        (tmp_path / f"{name}.bin").write_bytes(bytes(16))
    for size, got in ((12, "fewer"), (20, "more")):
        (tmp_path / "B.bin").write_bytes(bytes(size))
        assert f"./B.bin: expected 16 bytes of float32, got {got}" in said()
    assert not (tmp_path / "Z.bin").exists()


def _renamed(names: dict[str, str]) -> tuple[Workload, FusedMapping]:
    """Two products under other names."""
    texts = ("{Y}[i,j] = {A}[i,k] * {B}[k,j]", "{Z}[i,l] = {Y}[i,j] * {C}[j,l]")
    einsums = (
        parse_einsum(text.format(**names), name=n) for n, text in zip("YZ", texts, strict=True)
    )
    workload = replace(products(), einsums=tuple(einsums))
    mapping = fused()
    (group,) = mapping.groups
    nests = (
        replace(nest, keep=tuple((lv, tuple(names[t] for t in own)) for lv, own in nest.keep))
        for nest in group.einsums
    )
    staged = tuple(names[t] for t in group.staged)
    return workload, replace(mapping, groups=(replace(group, einsums=tuple(nests), staged=staged),))


@pytest.mark.parametrize(
    "names",
    [
        {"A": "int", "B": "main", "C": "double", "Y": "INFINITY", "Z": "dram_int"},
        {"A": "t2_", "B": "t__0", "C": "x_", "Y": "larger", "Z": "_Bool"},
    ],
)
def test_names_are_no_code(names: dict[str, str]) -> None:
    """What C reserves, what it does not know, what would end a comment or begin a directive."""
    workload, mapping = _renamed(names)
    hostile = '*/ \\\n#error "x"\n??/ /* // {'
    platform = replace(chip(), name=hostile)
    made = program(replace(workload, name=hostile), platform, mapping)
    assert not {"#error", "/*"} & set(made.text.split())
    runs((replace(workload, name=hostile), platform, mapping))


def test_what_no_program_can_have_is_refused() -> None:
    workload, platform, mapping = products(), chip(), fused()
    (group,) = mapping.groups
    alone = replace(mapping, groups=(replace(group, einsums=group.einsums[:1]),))
    outer = (Loop("K", 2), Loop("I", 2))
    twisted = replace(mapping, groups=(replace(group, shared=outer),))
    with pytest.raises(SpecError, match="expected a nest for every Einsum"):
        program(
            workload, platform, replace(alone, groups=(replace(group, einsums=group.einsums[1:]),))
        )
    with pytest.raises((MappingError, ValueError)):
        program(workload, platform, twisted)
    huge = workload.with_ranks(dict.fromkeys("IJKL", 2**16))
    with pytest.raises(
        SpecError, match="expected at most 2,146,435,072 bytes of tensors and tiles"
    ):
        program(huge, platform, mapping)
