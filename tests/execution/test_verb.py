"""The verb and the function execute: a record run, checked, and cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import small_platform as small
from records import record_text

import flat_mapper as fm
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.execution import run as execute_module
from flat_mapper.mapping.check import check_fused
from flat_mapper.mapping.cores import shrunk
from flat_mapper.workload.mask import Mask

PLATFORM: Platform = small.platform()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """All of attention in one group: 12 heads x 8 tiles of rows."""
    path = tmp_path / "fused-mapping.yaml"
    path.write_text(record_text(small.workload(), small.fused(), small.write_platform(tmp_path)))
    return path


def test_shrink_leaves_two_passes_of_every_outer_loop(record: Path) -> None:
    done = fm.execute(record, shrink=True)
    assert done.executed.shrunk == {"H": (12, 2), "P": (512, 128)}
    assert done.executed.groups[0].passes == 4
    assert done.executed.right


def test_shrink_under_a_mask_leaves_as_many_keys_as_queries() -> None:
    workload = replace(small.workload(), mask=Mask(causal=True))
    less, mapping = shrunk(workload, small.fused(), PLATFORM)
    assert (less.rank_sizes["P"], less.rank_sizes["M"]) == (128, 512)
    check_fused(less, PLATFORM, mapping)


def test_too_many_steps_are_refused(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute_module, "MAX_STEPS", 100)
    condition = "execute: expected at most 100 steps of temporal loops, got '.*'; use --shrink"
    with pytest.raises(SpecError, match=condition):
        fm.execute(record)


def test_the_command(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--execute", str(record), "--shrink", "--check"])
    said = capsys.readouterr().out
    assert (
        "shrunk to two passes of every loop outside the fusion level: H 12 -> 2, P 512 -> 128"
        in said
    )
    assert code == (0 if "the model agrees" in said else 1)
    main(["evaluate", "--execute", str(record), "--shrink", "--check", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["right"]
    assert answer["outputs"]["AV"]["relative_error"] < 1e-12
    assert answer["einsums"]["QK"]["levels"]["GLB"]["tensors"]["QK"]["scalar_updates"] > 0
    assert {d["quantity"] for d in answer["differences"]} <= {"reads", "fills", "cycles"}


def test_a_record_of_version_1_is_refused(record: Path) -> None:
    record.write_text(record.read_text().replace("version: 2", "version: 1"))
    with pytest.raises(SpecError, match="expected version 2, got 1; map again"):
        fm.execute(record, PLATFORM)
