"""Answers: the documented JSON names, sums that agree, and tables that can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
import small_platform as small

from flat_mapper import load_mapspace, load_problem, search
from flat_mapper.base.table import grid, wrapped
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.mapping.cores import CoreUse
from flat_mapper.mapping.space import AnyGroups, Fusion, Mapspace
from flat_mapper.reports import text as report
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.document import result_document
from flat_mapper.reports.fields import gains
from flat_mapper.reports.understood import mapspace_text
from flat_mapper.spec.yamlio import dump_json
from flat_mapper.workload.layers import LayerForm, layer

STORE = {"read": 1.0, "write": 1.0, "update": 1.0}
ERT = Ert(
    levels={
        **dict.fromkeys(("DRAM", "GLB", "RF", "VRF"), STORE),
        **{unit: {"compute": 0.5} for unit in ("MAC", "VALU")},
    },
    source="one pJ a row",
)
NAMES = {
    "workload",
    "arch",
    "mapspace",
    "objective",
    "backend",
    "energy_source",
    "latency_s",
    "cycles",
    "energy_pj",
    "edp_js",
    "utilization",
    "offchip_bytes",
    "bottleneck",
    "granularity",
    "flat_tile",
    "staged",
    "buffer",
    "energy_by_pj",
    "einsums",
    "search",
}
REFUSED = Infeasible(level="GLB", needs=20, has=10, terms=(("QK", 20),), hint="cut it")


def result() -> Result:
    found = evaluate(small.workload(), small.platform(), small.fused(), ERT)
    assert isinstance(found, Result)
    return found


def mapped(mapspace: str = "flat") -> SearchResult:
    return SearchResult(
        workload=small.workload(),
        platform=small.platform(),
        result=result(),
        mapspace=mapspace,
        objective="edp",
        certificate=Certificate(
            mapspace_size=1000,
            evaluated=10,
            pruned={"bound": 990},
            optimal=True,
            lower_bound=result().edp_js / 2,
            seconds=0.5,
            proven_bound=result().edp_js,
            gap=0.0,
            stopped="",
        ),
    )


def test_a_free_softmax_has_a_tile_too(tmp_path: Path) -> None:
    mapspace = tmp_path / "free.yaml"
    mapspace.write_text(
        "mapspace:\n  fusion: {groups: [[QK, softmax, AV]], granularity: row}\n"
        "  policy: {softmax: free}\n"
    )
    found = search(load_problem("tiny"), small.platform(), mapspace, ERT)
    assert isinstance(found, SearchResult)
    assert set(found.mapping.einsum_mappings) == {"QK", "AV"}
    assert set(found.to_dict()["flat_tile"]) == {"B", "H", "P"}


def test_map_has_the_documented_names() -> None:
    found = mapped().to_dict()
    assert set(found) >= NAMES
    assert found["flat_tile"] == {"B": 1, "H": 1, "P": 64}
    assert found["granularity"] == "row"
    document = json.loads(dump_json(found))
    assert set(document["search"]) == {
        "mapspace_size",
        "evaluated",
        "pruned",
        "optimal",
        "lower_bound",
        "proven_bound",
        "gap",
        "stopped",
        "seconds",
        "asked_gap",
        "time_limit_s",
        "infeasible",
        "any_tiles_bound",
        "among",
    }
    assert set(document["buffer"]["GLB"]) == {"capacity_words", "live_words", "terms"}
    assert document["einsums"]["QK"]["mapping"]["loops"]["DRAM"] == ["H=12", "P=8"]


def test_parts_of_the_energy_sum_to_the_whole() -> None:
    found = json.loads(dump_json(mapped().to_dict()))
    for kind in ("component", "tensor", "einsum"):
        assert sum(found["energy_by_pj"][kind].values()) == pytest.approx(found["energy_pj"])
    use = found["buffer"]["GLB"]
    assert sum(use["terms"].values()) == use["live_words"]


def test_a_mapping_prints_its_cost_its_loops_its_buffer_and_its_proof() -> None:
    text = str(mapped())
    for words in (
        "x the lower bound",
        "for P in [0:8)   one pass is a FLAT-tile: H=1 P=64",
        "words live, capacity 262,144",
        "the best of 1,000 mappings with tiles that divide by edp: 10 inner mappings priced",
        "pruned: bound 990",
        "edp: 2.000 x the lower bound (each input and output moved once, units at their peak)",
        "energies from one pJ a row; counts from backend native",
    ):
        assert words in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("size", "text"),
    [(999_999, "999,999"), (2_494_000, "2e6"), (96 * 10**64, "1e66"), (26 * 10**400, "3e401")],
)
def test_a_large_mapspace_is_printed_to_its_first_digit(size: int, text: str) -> None:
    certificate = samples.certificate(size)
    assert f"the best of {text} mappings" in report.certificate_text(certificate, "edp", 1.0)


def test_alternatives_that_do_not_fit_are_named() -> None:
    why = {f"QK | AV {n}": f"GLB: needs {n} words" for n in (20, 30, 40)}
    certificate = replace(samples.certificate(10), infeasible=why)
    lines = report.certificate_text(certificate, "edp", 1.0).splitlines()
    assert "not among them: QK | AV 20; GLB: needs 20 words" in lines
    assert "nor 1 more that do not fit" in lines


def test_a_comparison_is_held_against_its_first_row() -> None:
    rows = {"naive": mapped("naive"), "tight": REFUSED, "flat": mapped()}
    found = Comparison(
        workload=small.workload(), platform=small.platform(), objective="edp", rows=rows
    )
    listed = found.to_dict()["rows"]
    assert isinstance(listed, list)
    assert [row["mapspace"] for row in listed] == ["naive", "tight", "flat"]
    assert (listed[0]["speedup"], listed[2]["energy_saving"]) == (1.0, 0.0)
    assert listed[1]["infeasible"] == str(REFUSED)
    text = str(found)
    assert "nothing fits" in text
    assert f"tight: {REFUSED}" in text
    assert "naive, flat: softmax charged, in place; schedule interleaved; buffering 2" in text


def test_without_a_first_result_there_is_no_gain() -> None:
    found = mapped().to_dict()
    assert gains(None, found) == {"speedup": None, "energy_saving": None}
    assert report.comparison_row("flat", found)[2] == "-"


def test_columns_line_up() -> None:
    text = grid([("a", "1"), ("bcd", "1,000")], head=("name", "n"), right=(1,))
    lines = text.splitlines()
    assert lines[-2].endswith("    1")
    assert lines[-1].endswith("1,000")


def test_markup_in_a_name_is_text() -> None:
    assert "[red]x" in grid([("[red]x", "1")])


def test_priced_has_no_search() -> None:
    priced = Evaluation(workload=small.workload(), platform=small.platform(), result=result())
    assert NAMES - set(priced.to_dict()) == {"mapspace", "objective", "search"}


def test_a_group_says_what_it_keeps_on_chip_and_what_that_saves() -> None:
    """Each intermediate would go to DRAM once, and come back for each Einsum that reads it."""
    found = result()
    (cost,) = result_document(small.workload(), small.platform(), found)["groups"]
    scores, rows = 12 * 512 * 512, 12 * 512
    uses = {"QK": 3, "QK_exp": 3, "A": 2}  # QK_max and QK_exp read QK; QK_sum and A read QK_exp
    words = sum(uses.values()) * scores + 2 * 2 * rows  # and QK_max, QK_sum: written, read once
    assert cost["saved_offchip_bytes"] == 2 * words
    assert cost["kept"] == {"GLB": ["QK", "QK_max", "QK_exp", "QK_sum", "A"]}
    assert cost["offchip_bytes"] == found.offchip_bytes
    assert cost["energy_pj"] == pytest.approx(found.energy_pj, rel=1e-12)


def test_groups_add_up_to_one_run_and_the_table_names_each() -> None:
    found = search(load_problem("tiny"), small.platform(), load_mapspace("flex"), ERT)
    assert isinstance(found, SearchResult)
    document = found.to_dict()
    costs = document["groups"]
    assert len(costs) > 1
    runs = found.result.repeat
    assert runs * sum(c["energy_pj"] for c in costs) == pytest.approx(found.result.energy_pj)
    assert runs * sum(c["offchip_bytes"] for c in costs) == found.result.offchip_bytes
    table = report.groups_text(document)
    assert all(name in table for group in found.result.groups for name in group.names)
    assert table in str(found)
    assert report.groups_text(mapped().to_dict()) == ""  # one group has no table


def test_the_tiles_of_all_groups_are_one_line() -> None:
    uses = [
        CoreUse(cores=4, tiles=n, rounds=-(-n // 4), busy_cycles=b, longest_cycles=10)
        for n, b in ((4, 40), (2, 20), (2, 20), (6, 60), (8, 30))
    ]
    uses = [use.to_dict() for use in uses]
    (one,), (several,) = report.tile_rows(uses[:1]), report.tile_rows(uses)
    first = "4 on 4 cores, at most 1 on one", "cores idle 0.0%, imbalance 1.000"
    assert one == ("tiles", *first)
    whole = "2 to 8 in 5 groups on 4 cores, at most 2 on one"
    assert several == ("tiles", whole, "cores idle 15.0%, imbalance at most 1.333")
    assert report.tile_rows(uses[:3])[0][1] == "2, 4 in 3 groups on 4 cores, at most 1 on one"
    assert report.tile_rows([]) == []


def test_long_names_and_many_parts_keep_a_table_as_wide_as_a_screen() -> None:
    names = [f"layer_norm_of_block_{n}" for n in range(5)]
    cell = wrapped(names, "+", 48).splitlines()
    assert "".join(cell) == "+".join(names)
    assert [line.count("+") for line in cell] == [2, 2, 0]
    assert wrapped(["x" * 60, "y"], ", ", 48) == "x" * 60 + ",\ny"  # a name is never cut
    whole = layer(LayerForm(), B=1, H=2, P=4, M=4, E=2, F=2, D=4, FF=8)
    found = search(whole, small.platform(), load_mapspace("flex"), ERT)
    assert isinstance(found, SearchResult)
    parts = found.result.energy_by()["einsum"]
    (line,) = (line for line in str(found).splitlines() if line.startswith("energy by einsum"))
    listed = line.removeprefix("energy by einsum: ").split(", ")
    assert listed[-1].startswith(f"{len(parts) - 12} others ")
    assert sum(float(one.split()[-1][:-1]) for one in listed) == pytest.approx(100, abs=1)


def test_a_norm_before_an_online_softmax_is_a_group_without_its_corrections() -> None:
    """Of a whole layer the first group is a norm: no Einsum of the softmax belongs to its tile."""
    sizes = {"B": 1, "H": 2, "P": 4, "M": 4, "E": 2, "F": 2, "D": 4, "FF": 8}
    whole = layer(LayerForm(), **sizes, softmax="online")
    found = search(whole, small.platform(), load_mapspace("flex"), ERT)
    assert isinstance(found, SearchResult)
    assert found.result.fused.names[0] == "N1_sq"
    assert set(found.to_dict()["flat_tile"]) == {"B", "P"}


def test_a_mapspace_whose_groups_are_searched_says_so():
    free, limited = mapspace_text(load_mapspace("any")), mapspace_text(load_mapspace("elementwise"))
    assert "fused         what is best\n" in free
    assert "schedule      interleaved" in free
    assert "fused         what is best; at most 1 of the matrix path\n" in limited
    fusion = Fusion(anything=AnyGroups(within=("QK", "AV"), never=(("FC1", "FC2"),), at_most=4))
    assert "what is best; within QK, AV; never FC1 with FC2; at most 4 Einsums\n" in mapspace_text(
        Mapspace(name="own", fusion=fusion)
    )
