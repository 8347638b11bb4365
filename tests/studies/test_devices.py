"""Measured collectives and sharded attention: the formula, its fit, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import pytest

from flat_mapper.values import load_cluster
from studies import common
from studies.devices.__main__ import VERBS, answer
from studies.devices.fit import ROWS, fitted_collectives, measured

ATTENTION = """device,devices,phase,method,heads,kv_heads,head_dim,tokens_per_device,mask,measured_s
a100,8,forward,one_kernel_over_8,32,8,128,8192,causal,0.02141
a100,8,forward,ring,32,8,128,8192,causal,0.04167
a100,8,forward,ring_folded,32,8,128,8192,causal,0.02618
a100,8,forward,ring_striped,32,8,128,8192,causal,0.03077
a100,8,backward,ring,32,8,128,8192,causal,0.1
"""


def _rows(what: str, path: Path) -> list[Mapping[str, object]]:
    parser = common.Parser()
    parser.add_argument("what", choices=VERBS)
    parser.add_argument("--csv")
    found = json.loads(answer(parser.parse_args([what, "--csv", str(path)])).json())
    assert isinstance(found, list)
    return found


def test_collectives_are_nearer_than_a_careful_formula():
    off: dict[object, list[float]] = {}
    for row in _rows("collectives", ROWS):
        predicted, measured = float(str(row["predicted_s"])), float(str(row["measured_s"]))
        off.setdefault(row["collective"], []).append(abs(predicted / measured - 1))
    assert {c: sorted(e)[len(e) // 2] < 0.05 for c, e in off.items()} == dict.fromkeys(off, True)


@pytest.mark.parametrize(("system", "name"), [("a100_sxm", "8xa100"), ("h100_sxm", "8xh100")])
def test_the_costs_of_a_cluster_are_those_of_the_fit(system: str, name: str):
    axis = load_cluster(name).axes[0]
    for collective, costs in fitted_collectives(measured(system), axis.bytes_per_s).items():
        assert astuple(axis.costs[collective]) == pytest.approx(astuple(costs), rel=2e-3)


def test_systems_without_a_network_are_refused(tmp_path: Path):
    head, first, *_ = ROWS.read_text().splitlines()
    others = first.replace("a100_sxm", "l40s"), first.replace(",2,", ",16,")
    (tmp_path / "x.csv").write_text("\n".join((head, first, *others)))
    known, *refused = _rows("collectives", tmp_path / "x.csv")
    assert known["predicted_s"]
    assert [row["predicted_s"] for row in refused] == [None, None]
    assert "16 a100_sxm" in str(refused[1]["refused"])


def test_shares_of_sharded_attention(tmp_path: Path):
    (tmp_path / "x.csv").write_text(ATTENTION)
    _, ring, folded, striped, backward = _rows("attention", tmp_path / "x.csv")
    assert ring["share"] == pytest.approx(0.02141 / 0.04167, abs=0.05)
    assert folded["share"] == pytest.approx(0.02141 / 0.02618, abs=0.10)
    assert "diagonal" in str(striped["left_out"])
    assert backward["predicted_s"] is None
