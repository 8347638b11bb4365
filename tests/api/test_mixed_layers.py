"""Models whose layers differ in their mask: all together cost what each kind costs by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from findings_inputs import answer, refusal
from oracles.small_cases import online_case

from flat_mapper.api import calls as api
from flat_mapper.cli.main import main
from flat_mapper.explore.generation import Generation, generate
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.layers import edp_gap
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import LayerKind, Mask

CASE = online_case(5)
SIZES = {**CASE.workload.rank_sizes, "P": 4, "M": 4}
KINDS = (
    LayerKind(count=5, mask=Mask(causal=True, window=2)),
    LayerKind(count=3, mask=None),
    LayerKind(count=2, mask=Mask(causal=True)),
)
MIXED = replace(CASE.workload.with_ranks(SIZES), layers=KINDS, repeat=5, mask=KINDS[0].mask)
TOTALS = ("latency_s", "energy_pj", "offchip_bytes", "macs", "cycles")

TEXT = """problem:
  name: mixed
  ranks: {B: 1, H: 2, P: 8, M: P, E: 2, F: 2, D: 4, FF: 4}
  layers: [{count: 2, mask: causal}, {count: 5, mask: {window: 2, causal: true}}]
  attention: {}
"""


def best(workload: Workload, objective: str) -> SearchResult:
    found = api.search(workload, CASE.platform, CASE.mapspace, CASE.ert, objective=objective)
    assert isinstance(found, SearchResult)
    return found


def alone(kind: LayerKind) -> Workload:
    """One kind of layers as a problem of its own."""
    return replace(MIXED, layers=(), repeat=kind.count, mask=kind.mask)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_all_layers_cost_the_sum_of_their_kinds(objective: str) -> None:
    whole = best(MIXED, objective)
    kinds = [best(alone(kind), objective) for kind in KINDS]
    for name in TOTALS:
        each = [getattr(kind.result, name) for kind in kinds]
        assert getattr(whole.result, name) == pytest.approx(sum(each), rel=1e-12)
    assert whole.result.edp_js > sum(kind.result.edp_js for kind in kinds)
    runs = [kind.result.cycles / kind.result.repeat for kind in kinds]
    assert len(set(runs)) > 1  # masks matter here
    for table in whole.result.energy_by().values():
        assert sum(table.values()) == pytest.approx(whole.result.energy_pj)
    document = whole.to_dict()
    layers = document["layers"]
    assert isinstance(layers, list)
    assert [kind["count"] for kind in layers] == [5, 3, 2]
    assert document["utilization"] == pytest.approx(
        sum(k["utilization"] * k["latency_s"] for k in layers) / whole.result.latency_s
    )
    assert "10 layers of 3 kinds" in str(whole)
    assert "5 layers with the mask causal, window 2" in str(whole)


def test_no_choice_of_mappings_is_below_the_bound_that_a_sum_of_products_states() -> None:
    whole = best(MIXED, "edp")
    gap = edp_gap([kind.result for kind in whole.layers])
    floor = whole.result.edp_js / (1 + gap)
    for objective in ("latency", "energy", "edp"):
        for other in ("latency", "energy", "edp"):
            parts = [best(alone(KINDS[0]), objective), best(alone(KINDS[1]), other)]
            parts.append(best(alone(KINDS[2]), objective))
            energy = sum(p.result.energy_pj for p in parts) * 1e-12
            assert energy * sum(p.result.latency_s for p in parts) >= floor * (1 - 1e-9)
    assert whole.certificate.optimal == (gap == 0.0)


def text_of(kind: LayerKind) -> str:
    mask = json.dumps(kind.to_dict()["mask"])
    listed = TEXT.index("  layers"), TEXT.index("  attention")
    return f"{TEXT[: listed[0]]}  layers: {kind.count}\n  mask: {mask}\n{TEXT[listed[1] :]}"


def test_generation_adds_each_kind_up() -> None:
    def cost(problem: str) -> Generation:
        found = generate(problem, "edge", prefill=4, decode=4, page=4, scope="model")
        assert isinstance(found, Generation)
        return found

    whole = cost(TEXT)
    window, causal = KINDS[0], KINDS[2]
    window = replace(window, mask=Mask(causal=True, window=2))
    kinds = [cost(text_of(kind)) for kind in (window, causal)]
    for total, *each in (
        [getattr(one, phase) for one in (whole, *kinds)] for phase in ("decode", "total")
    ):
        for name in TOTALS:
            parts = [getattr(cost, name) for cost in each]
            assert getattr(total, name) == pytest.approx(sum(parts))
    assert whole.cache_bytes == sum(kind.cache_bytes for kind in kinds)


def test_the_command_writes_each_kind_and_says_what_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "mixed.yaml", tmp_path / "out"
    path.write_text(TEXT, encoding="utf-8")
    case = ("--arch", "edge", "--problem", str(path), "--mapspace", "flat-h")
    whole = answer(capsys, "map", *case, "--scope", "model", "-o", str(out))
    saved = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert saved["energy_pj"] == whole["energy_pj"]
    again = [
        answer(capsys, "evaluate", str(out / f"layers-{i}" / "fused-mapping.yaml")) for i in (1, 2)
    ]
    assert sum(float(str(a["energy_pj"])) for a in again) == pytest.approx(whole["energy_pj"])
    rows = answer(capsys, "compare", *case, "--scope", "model")["rows"]
    assert isinstance(rows, list)
    assert rows[0]["energy_pj"] == pytest.approx(whole["energy_pj"])
    one = answer(capsys, "map", *case)
    assert one["other_layers"] == [{"count": 2, "mask": "causal"}]
    chosen = answer(capsys, "map", *case, "--layers", "causal")
    assert chosen["other_layers"] == [{"count": 5, "mask": {"window": 2, "causal": True}}]
    assert main(["map", *case]) == 0
    said = "one kind of layer, with the mask causal, window 2; the model has also 2 layers"
    assert said in capsys.readouterr().out
    fronts = ("map", "--objective", "latency,energy")
    for verb in (("need", "buffer", "--utilization", "0.5"), fronts):
        refusal(capsys, *verb, *case, "--scope", "model")


def test_the_answer_of_an_online_softmax_is_written_as_json() -> None:
    """What runs once in each tile of keys has fewer keys than queries, and no mask by itself."""
    workload = api.load_problem("bert-base", seq=256, softmax="online")
    kinds = (LayerKind(count=5, mask=Mask(causal=True, window=64)), KINDS[2])
    mixed = replace(workload, layers=kinds, repeat=5, mask=kinds[0].mask)
    found = api.search(mixed, "edge", "flat", objective="latency")
    assert isinstance(found, SearchResult)
    assert found.to_dict()["layers"]
