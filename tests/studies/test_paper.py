"""The paper's tables on a small grid. FuseMax figures: its artifact, attn-*.csv (MIT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flat_mapper.api.calls import load_problem
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Fusion
from flat_mapper.mapping.values import Policy
from studies.paper.__main__ import finite
from studies.paper.dataflows import alone, attention_charged, mapspace
from studies.paper.plots import paper_figures
from studies.paper.points import (
    CONFIGURATIONS,
    TARGET,
    Knob,
    LayerPoint,
    TableRow,
    Tables,
    chip_prices,
    core,
    solve,
    space_of,
)
from studies.paper.tables import LAYERS, Grid, csv_text, geomean, paper_files, paper_tables
from studies.simulator.rows import simulator_ert, simulator_platform

GRID = Grid(
    models=("t5-small",),
    platforms=("edge",),
    lengths=(512,),
    swept_model="t5-small",
    swept_lengths=(512,),
    buffers=(200e3,),
    shares=(512,),
    needs=(512,),
    charged=(),
)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return paper_tables(GRID, 1)


def pick(rows: Sequence[TableRow], **wanted: str | int) -> list[TableRow]:
    return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


@pytest.mark.nightly
def test_a_second_run_is_byte_identical(tables: Tables) -> None:
    again = [row for point in GRID.points()["attention"] for row in solve(point)]
    assert csv_text(again) == csv_text(tables["attention"])
    points = [p for group in GRID.points().values() for p in group]
    assert len(points) == len(set(points))  # nothing is solved twice


@pytest.mark.nightly
def test_more_freedom_is_never_slower(tables: Tables) -> None:
    for tiles in ("published", "any"):
        took = {
            str(row["configuration"]): int(row["cycles"])
            for row in pick(tables["attention"], tile_rows=tiles)
        }
        assert took.keys() == CONFIGURATIONS.keys()
        assert took["naive"] >= took["flex-stream"] >= took["flex"] >= took["flat"]
        assert took["flat"] == min(took.values()) <= took["flat-fit"]


@pytest.mark.parametrize("einsum", LAYERS)
def test_a_layer_is_its_product_alone(einsum: str) -> None:
    """Biases and activations, which take the lanes, are beside it."""
    rows = solve(LayerPoint(platform="edge", model="bert-base", length=512, einsum=einsum))
    assert {row["configuration"] for row in rows} == {"naive", "flex-stream", "flex"}
    wide = 4 if einsum.startswith("FC") else 1
    assert {row["macs"] for row in rows} == {64 * 512 * 768 * 768 * wide}


def test_what_nothing_reaches_is_null_for_machines() -> None:
    assert finite({"steps": 0, "value": float("inf")}) == {"steps": 0, "value": None}


def test_geometric_means() -> None:
    assert geomean([1.0, 4.0]) == pytest.approx(2.0)


@pytest.mark.nightly
def test_speedups_are_of_the_rows(tables: Tables) -> None:
    (row,) = pick(
        tables["speedups"], configuration="flat", over="flex-stream", tile_rows="published"
    )
    ours, theirs = (
        pick(tables["attention"], configuration=name, tile_rows="published")[0]
        for name in ("flat", "flex-stream")
    )
    assert row["speedup"] == float(theirs["latency_s"]) / float(ours["latency_s"])
    (mean,) = pick(
        tables["geomeans"],
        configuration="flat",
        over="flex-stream",
        tile_rows="published",
        seq_len="all",
    )
    assert mean["speedup"] == pytest.approx(row["speedup"])


@pytest.mark.nightly
def test_the_scopes_add_up(tables: Tables) -> None:
    rows = {str(r["scope"]): r for r in pick(tables["utilization"], configuration="flat")}
    layers = {
        str(row["einsum"]): int(row["cycles"])
        for row in pick(
            tables["layers"], configuration="flex", buffer_bytes=int(rows["L-A"]["buffer_bytes"])
        )
    }
    whole = int(rows["L-A"]["cycles"]) + sum(LAYERS[e] * c for e, c in layers.items())
    assert rows["block"]["cycles"] == whole
    assert rows["model"]["cycles"] == 6 * whole  # layers of T5-small
    assert rows["model"]["utilization"] == pytest.approx(rows["block"]["utilization"])


@pytest.mark.nightly
def test_one_step_less_misses(tables: Tables) -> None:
    space = space_of("edge", "t5-small", 512)
    for row in pick(tables["needs"], configuration="flat"):
        quantity = "buffer" if row["quantity"] == "buffer" else "bandwidth"
        knob = Knob(space.platform, quantity)
        steps = int(row["steps"])
        for count, reaches in ((steps, True), (steps - 1, False)):
            best = max(
                found.utilization
                for found in space.found(CONFIGURATIONS["flat"], knob.at(count)).values()
            )
            assert (best >= TARGET) is reaches


@pytest.mark.nightly
def test_files_and_figures(tables: Tables) -> None:
    files = paper_files(tables, GRID)
    assert files["speedups.csv"].startswith(b"platform,model,seq_len,tile_rows,configuration,over,")
    page = files["paper.md"].decode()
    assert "softmax free" in page
    assert "| edge | published | flat | flex-stream | all |" in page
    pytest.importorskip("matplotlib")
    figures = paper_figures(tables)
    assert {"speedup.png", "speedup.svg", "utilization.png", "share.svg"} <= figures.keys()
    assert "softmax.png" not in figures  # no row of it
    few = {name: rows if name == "shares" else () for name, rows in tables.items()}
    again = paper_figures(few)
    assert again == {name: figures[name] for name in ("share.png", "share.svg")}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("length", "fused", "published"),
    [(16384, False, 5.3618356085106385), (65536, True, 54.829369736170214)],
)
def test_softmax_charged_as_fusemax_has_it(length: int, fused: bool, published: float) -> None:
    """Unfused and FLAT on the cloud platform, BERT; latency in seconds."""
    found = attention_charged(
        core("bert-base", length),
        simulator_platform("cloud", vector=True),
        chip_prices("cloud"),
        fused=fused,
        schedule="overlapped",
    )
    assert isinstance(found, Result)
    assert found.latency_s == pytest.approx(published, rel=1e-8)


@pytest.mark.nightly
def test_a_block_is_the_sum_of_its_einsums() -> None:
    """With fusion off, the whole cascade costs what its Einsums cost in runs of their own."""
    sizes = {"B": 2, "H": 2, "D": 64, "P": 64, "M": 64}
    block = load_problem("t5-small", scope="block", sizes=sizes)
    model = load_problem("t5-small", scope="model", sizes=sizes)
    platform = simulator_platform("edge")
    ert = simulator_ert(platform)
    einsums = [e for e in block.ordered if e.unit == "matrix"]
    kinds = dict.fromkeys(einsums, "output")
    fusion = Fusion(staging="none", schedule="sequential")
    space = replace(mapspace(platform, kinds, fusion), policy=Policy(softmax="free"))
    found = search(block, platform, space, ert, objective="latency")
    assert isinstance(found, Solution)
    whole = found.result
    assert whole.cycles == sum(group.cycles for group in whole.groups)
    assert whole.energy_pj == pytest.approx(sum(whole.energy_by()["einsum"].values()))
    runs = []
    for einsum in einsums:
        one = alone(block, einsum.inputs[1].tensor)
        mine = replace(mapspace(platform, {einsum: "output"}, fusion), policy=space.policy)
        run = search(one, platform, mine, ert, objective="latency")
        assert isinstance(run, Solution)
        runs.append(run.result)
    assert whole.cycles == sum(run.cycles for run in runs)
    assert whole.energy_pj == pytest.approx(sum(run.energy_pj for run in runs))
    assert whole.offchip_bytes == sum(run.offchip_bytes for run in runs)
    six = search(model, platform, space, ert, objective="latency")
    assert isinstance(six, Solution)
    assert six.result.cycles == model.repeat * whole.cycles
    assert six.result.energy_pj == pytest.approx(model.repeat * whole.energy_pj)
