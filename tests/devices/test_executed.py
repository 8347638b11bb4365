"""Paths over devices run on real numbers, and the record of one."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from test_attention import _workload
from test_on_clusters import CLUSTER, PROBLEM
from test_paths import CHIP, TEXTS, _cascade

from flat_mapper.cli.main import main
from flat_mapper.devices.cluster import Cluster
from flat_mapper.devices.executed import DevicesRun
from flat_mapper.devices.network import MeshAxis
from flat_mapper.devices.path import PartSeconds, Paths
from flat_mapper.devices.record import ClusterRecord
from flat_mapper.devices.ways import Sharding, Work
from flat_mapper.workload.mask import Mask


@pytest.mark.parametrize("seed", range(200))
def test_any_path_computes_what_the_cascade_says(seed: int):
    """Prices are drawn: any way may be the best. Links never carry more than the model says."""
    draw = random.Random(seed)
    axes = tuple(
        MeshAxis(name, n, draw.choice(("switch", "ring", "line")), draw.choice((1e6, 1e15)), 0.0)
        for name, n in zip("xy", draw.choice(((2,), (3,), (4,), (2, 2))), strict=False)
    )
    if attends := draw.random() < 0.6:
        n = axes[0].size
        workload = _workload(2 * n * draw.choice((1, 2)), causal=False, heads=draw.choice((2, 3)))
        reach = draw.randrange(1, workload.rank_sizes["M"])
        masks = None, Mask(causal=True), Mask(causal=True), Mask(causal=True, window=reach)
        workload = replace(workload, mask=draw.choice(masks))
    else:
        kind = draw.choice(list(TEXTS)) if len(axes) == 1 else "two"
        workload = _cascade(kind, {r: draw.choice((1, 2, 3, 4, 6, 8)) for r in ("P", "D", "F")})
    costs: dict[Work, float] = {}
    kinds = draw.choice(("", "ring", "keys over", "folded")) if attends else ""

    def price(work: Work) -> float:
        return costs.setdefault(work, 10 ** draw.uniform(-9, -3))

    def allowed(way: Sharding) -> bool:
        return kinds in way.words

    cluster = Cluster(name="c", chip=CHIP, axes=axes)
    paths = Paths(
        workload=workload,
        cluster=cluster,
        low=price,
        solve=lambda work, _: PartSeconds(price(work), price(work)),
        allowed=allowed,
    )
    plan = paths.best()
    if plan is None:  # of a window there is no ring
        assert kinds
        return
    record = ClusterRecord(workload=workload, paths=paths, plan=plan, parts={})
    if len(axes) > 1 and any(n % 4 for n in workload.rank_sizes.values()):
        return  # refused where it matters
    run = DevicesRun(record, seed)
    errors = [*run.errors()]
    assert errors
    assert [one.tensor for one in errors if not one.right] == []
    for what, axis, busiest, model in run.busiest:
        assert busiest <= model * (1 + 1e-9), (what, axis)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PROBLEM)
    Path("c.yaml").write_text(CLUSTER.format(room="80e9"))
    asked = ["map", "--problem", "p.yaml", "--arch", "c.yaml", "-o", "out"]
    assert main([*asked, "--placement", "Q=P@x"]) == 0
    return tmp_path / "out/cluster-mapping.yaml"


def test_a_record_is_run(record: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["evaluate", "out", "--execute"]) == 0
    said = capsys.readouterr().out
    assert "2 devices executed" in said
    assert "not below the run" in said
    assert main(["evaluate", str(record), "--execute", "--json"]) == 0


def test_a_part_of_another_cascade_is_refused(record: Path, capsys: pytest.CaptureFixture[str]):
    part = record.parent / "part-1.yaml"
    text = part.read_text()
    assert "= max(QK[" in text
    part.write_text(text.replace("= max(QK[", "= sum(QK["))
    assert main(["evaluate", str(record), "--execute"]) == 2
    assert "QK_max[b,h,p] = sum(QK[b,h,p,m])" in capsys.readouterr().err


def test_only_its_run_is_asked_of_a_record(record: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(record.parent)]) == 2
    assert "`evaluate --execute` runs it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("latency_s: ", "latency_s: 9", "latency_s: expected"),
        ("P@x", "H@x", "expected"),
        ("part-1.yaml", "../p.yaml", "expected files beside the record"),
        ("version: 1", "version: 9", "expected version 1, got 9"),
        ("bytes_per_s: 1000000000.0", "bytes_per_s: 1000.0", "latency_s: expected"),
        ("      P: 8\n", "      P: 4\n", "expected"),
        ("      H: 2\n", "      H: 2000000\n", "expected"),
    ],
)
def test_a_record_that_was_changed_is_refused(
    record: Path, before: str, after: str, says: str, capsys: pytest.CaptureFixture[str]
):
    text = record.read_text()
    assert before in text
    record.write_text(text.replace(before, after, 1))
    assert main(["evaluate", str(record), "--execute"]) == 2
    assert says in capsys.readouterr().err
