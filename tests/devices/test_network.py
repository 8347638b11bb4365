"""Collectives by hand: words are sent along links one by one, and the busiest link counted."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.devices.cluster import load_cluster
from flat_mapper.devices.network import Collective, CollectiveCosts, MeshAxis, Topology

Links = Counter[tuple[int, int]]


def _routes(topology: Topology, n: int, a: int, b: int) -> list[list[tuple[int, int]]]:
    """The shortest ways from one device to another, as links; a switch is device -1."""
    if topology == "switch":
        return [[(a, -1), (-1, b)]]
    steps = [(b - a) % n, (a - b) % n] if topology == "ring" and n > 2 else [b - a, a - b]
    found = []
    for direction, far in zip((1, -1), steps, strict=True):
        if far > 0 and far == min(s for s in steps if s > 0):
            hops = [(a + direction * i) % n for i in range(far + 1)]
            found.append(list(pairwise(hops)))
    return found


def _sent(topology: Topology, n: int, a: int, to: list[int], words: Fraction, links: Links) -> None:
    """Words from one device to others; a link carries them once, a switch's once for each."""
    own: Links = Counter()
    for b in to:
        routes = _routes(topology, n, a, b)
        for route in routes:
            for link in route:
                share = words / len(routes)
                own[link] = own[link] + share if topology == "switch" else max(own[link], share)
    links.update(own)


def _busiest(topology: Topology, n: int, what: Collective, whole: int) -> Fraction:
    links: Links = Counter()
    part, every = Fraction(whole, n), range(n)
    for a in every:
        others = [b for b in every if b != a]
        if what == "alltoall":
            for b in others:
                _sent(topology, n, a, [b], part, links)
        elif what == "shift":
            _sent(topology, n, a, [(a + 1) % n], Fraction(whole), links)
        else:  # a sum goes where a gathered part comes from, over the same links the other way
            _sent(topology, n, a, others, Fraction(whole) if what == "one_shot" else part, links)
    return max(links.values()) * (2 if what == "all_reduce" else 1)


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
        ("mesh:", "mash:", r"unknown key 'mash'"),
    ],
)
def test_faults_of_a_cluster(tmp_path: Path, before: str, after: str, says: str):
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER.replace(before, after, 1))
    with pytest.raises(SpecError, match=says):
        load_cluster(path)
