"""Attention on as many arrays as devices: the result, the pairs of each step, what moves."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from flat_mapper.arch.reader import load_platform
from flat_mapper.devices.cluster import Cluster
from flat_mapper.devices.network import Axis
from flat_mapper.devices.path import Paths
from flat_mapper.devices.ring import ORDERS
from flat_mapper.devices.ways import Ways, Work
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, pairs

Array = npt.NDArray[np.float64]
CHIP = load_platform("edge")


def _cluster(n: int, topology: str = "ring") -> Cluster:
    return Cluster(name="c", chip=CHIP, axes=(Axis("x", n, topology, 1e6, 1e-6),))  # type: ignore[arg-type]


def _workload(size: int, *, causal: bool, heads: int = 2) -> Workload:
    found = attention(B=1, H=heads, P=size, M=size, E=2, F=3, softmax="online")
    return replace(found, mask=Mask(causal=True) if causal else None)


def _claimed(work: Work) -> int:
    """Pairs of a query and a key that a part is said to work on."""
    sizes = dict(work.sizes)
    queries, keys = sizes["P"], sizes["M"]
    return pairs(work.mask, queries, keys) if work.mask else queries * keys


def _positions(words: str, n: int, size: int) -> list[list[int]]:
    """The queries of each device."""
    if "striped" in words:
        return [list(range(d, size, n)) for d in range(n)]
    if "folded" in words:
        half = size // (2 * n)
        pieces = [list(range(i * half, (i + 1) * half)) for i in range(2 * n)]
        return [pieces[d] + pieces[2 * n - 1 - d] for d in range(n)]
    return [list(range(d * size // n, (d + 1) * size // n)) for d in range(n)]


class Softmax:
    """Rows of an online softmax on one device: maximum, sum and numerator."""

    def __init__(self, rows: int, values: int) -> None:
        self.top, self.sum = np.full(rows, -np.inf), np.zeros(rows)
        self.numerator = np.zeros((rows, values))

    def merge(self, scores: Array, values: Array) -> None:
        """Take some more keys, of which -inf are not seen."""
        top = np.maximum(self.top, scores.max(axis=1, initial=-np.inf))
        safe = np.where(np.isinf(top), 0.0, top)
        weights, old = np.exp(scores - safe[:, None]), np.exp(self.top - safe)
        self.sum = self.sum * old + weights.sum(axis=1)
        self.numerator = self.numerator * old[:, None] + weights @ values
        self.top = top


def _numbers(size: int, seed: int) -> tuple[Array, Array, Array]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(size, 2)), draw.normal(size=(size, 2)), draw.normal(size=(size, 3))


def _scores(q: Array, k: Array, rows: list[int], keys: list[int], *, causal: bool) -> Array:
    scores = q[rows] @ k[keys].T
    seen = np.array(keys)[None, :] <= np.array(rows)[:, None]
    return np.where(seen, scores, -np.inf) if causal else scores


@pytest.mark.parametrize("seed", range(100))
def test_keys_in_a_ring(seed: int):
    draw = random.Random(seed)
    n, causal = draw.choice((2, 3, 4)), draw.random() < 0.7
    size = 2 * n * draw.choice((1, 2, 3))
    order = draw.choice(ORDERS if causal else ORDERS[:1])
    workload, cluster = _workload(size, causal=causal), _cluster(n, draw.choice(("ring", "line")))
    ways = Ways(workload, cluster).of(tuple(workload.ancestors))
    way = next(w for w in ways if w.shift and w.words.endswith(order))
    q, k, v = _numbers(size, seed)
    own = _positions(way.words, n, size)
    found = [Softmax(len(rows), 3) for rows in own]
    at, sent = list(range(n)), 0  # whose keys each device has
    for number, step in enumerate(way.steps):
        most = max(sum(map(_claimed, turn.works)) for turn in step)
        done = []
        for device, rows in enumerate(own):
            scores = _scores(q, k, rows, own[at[device]], causal=causal)
            done.append(int(np.isfinite(scores).sum()))
            found[device].merge(scores, v[own[at[device]]])
        assert max(done) == most
        if number < n - 1:
            at, sent = [at[(device - 1) % n] for device in range(n)], sent + 1
    plain = Softmax(size, 3)
    plain.merge(_scores(q, k, list(range(size)), list(range(size)), causal=causal), v)
    expected = plain.numerator / plain.sum[:, None]
    for rows, one in zip(own, found, strict=True):
        np.testing.assert_allclose(one.numerator / one.sum[:, None], expected[rows])
    assert way.shift is not None
    assert sent == n - 1
    assert way.shift.link_bytes == 2 * 2 * (size // n) * (2 + 3)  # heads, bytes of a word


@pytest.mark.parametrize("seed", range(100))
def test_other_ways_cover_each_device(seed: int):
    """No device has more pairs than its part is said to have; folded, each has two parts."""
    draw = random.Random(seed)
    n, causal = draw.choice((2, 3, 4)), draw.random() < 0.7
    size = 2 * n * draw.choice((1, 2, 3))
    workload = _workload(size, causal=causal)
    for way in Ways(workload, _cluster(n)).of(tuple(workload.ancestors)):
        if way.shift or way.division == ("H",):
            continue
        seen = np.tril(np.ones((size, size))) if causal else np.ones((size, size))
        ((*turns,),) = way.steps
        most = max(sum(map(_claimed, turn.works)) for turn in turns)
        if way.division == ("M",):
            done = [int(seen[:, d::n].sum()) for d in range(n)]  # as a query sees them
            assert max(done) <= most
        elif way.division == ("P",):
            done = [int(seen[rows].sum()) for rows in _positions(way.words, n, size)]
            assert max(done) == most


def _listed(workload: Workload, axis: Axis, price: float) -> dict[str, float]:
    """Seconds of each way to divide attention over one axis, its inputs standing where they may."""
    size, n = workload.rank_sizes["P"], axis.size
    heads, causal = workload.rank_sizes["H"], workload.mask is not None
    every = pairs(workload.mask, size, size) if workload.mask else size * size
    found = {"whole": price * every * heads, "heads": price * every * -(-heads // n)}
    gather = axis.moved("all_gather", 2 * heads * size * 2).seconds
    gather += axis.moved("all_gather", 2 * heads * size * 3).seconds
    part = size // n
    last = part * size - (part * (part - 1) // 2 if causal else 0)
    found["gathered"] = gather + price * heads * last
    return found


@pytest.mark.parametrize("seed", range(50))
def test_the_best_is_no_worse_than_each_way_by_hand(seed: int):
    draw = random.Random(seed)
    n = draw.choice((2, 4))
    workload = _workload(
        2 * n * draw.choice((1, 2)), causal=draw.random() < 0.5, heads=draw.choice((1, 3, 4))
    )
    cluster, unit = _cluster(n, draw.choice(("switch", "ring", "line"))), draw.choice((1e-9, 1e-5))

    def price(work: Work) -> float:
        return unit * _claimed(work) * dict(work.sizes)["H"]

    plan = Paths(
        workload=workload, cluster=cluster, low=price, solve=lambda w: (price(w),) * 2
    ).best()
    assert plan is not None
    listed = _listed(workload, cluster.axes[0], unit)
    assert plan.seconds <= min(listed.values()) * (1 + 1e-9)
    assert plan.seconds >= listed["whole"] / n * (1 - 1e-9)
