"""Collectives beside their words on every link, and what a cluster's file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.devices.cluster import load_cluster
from flat_mapper.devices.links import links_of
from flat_mapper.devices.network import Collective, CollectiveCosts, MeshAxis, Topology


def _busiest(topology: Topology, n: int, what: Collective, whole: int) -> float:
    each = [whole if what in ("one_shot", "shift") else whole / n] * n
    return max(links_of(topology, what, each).values())


@pytest.mark.parametrize("topology", ["switch", "ring", "line"])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_the_busiest_link(topology: Topology, n: int):
    axis = MeshAxis("x", n, topology, 1e9)
    kinds: list[Collective] = ["all_gather", "reduce_scatter", "all_reduce", "one_shot"]
    for what in (*kinds, "alltoall", "shift"):
        assert axis.moved(what, 120).link_bytes == pytest.approx(
            float(_busiest(topology, n, what, 120))
        ), what


def test_costs_add_up():
    axis = MeshAxis(
        "x", 4, "switch", 100.0, costs={"all_gather": CollectiveCosts(1.0, 0.5, 0.5, 2.0, 0.0)}
    )
    assert axis.moved("all_gather", 400).seconds == 1 + 3 * 0.5 + 3 / 0.5 + 2 * 1
    assert axis.of(1).moved("all_gather", 400).seconds == 0
    assert MeshAxis("x", 4, "ring", 100.0, 0.25).moved("all_gather", 800).seconds == 3 + 3 * 0.25


CLUSTER = """cluster:
  chip: edge
  mesh: {x: 2}
  network: {x: {topology: ring, bytes_per_s: 1e9}}
"""


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("ring", "star", r"x\.topology: expected one of switch, ring, line, got 'star'"),
        ("1e9", "-1", r"x\.bytes_per_s: expected number from 1 to"),
        ("{x: 2}", "{x: 2, y: 2}", r"network: expected the key 'y'"),
        ("{x: 2}", "{x: 0}", r"mesh\.x: expected int from 1 to 4096 devices, got 0"),
        ("chip: edge", "chip: edgy", r"expected one of .*did you mean 'edge'"),
        ("mesh:", "mash:", r"keys among .*got 'mash'"),
    ],
)
def test_faults_of_a_cluster(tmp_path: Path, before: str, after: str, says: str):
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER.replace(before, after, 1))
    with pytest.raises(SpecError, match=says):
        load_cluster(path)
