"""Attention on as many arrays as devices: the result, the pairs of each step, what moves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from test_paths import _seconds

from flat_mapper.arch.reader import load_platform
from flat_mapper.devices.cluster import Cluster
from flat_mapper.devices.network import MeshAxis
from flat_mapper.devices.path import PartSeconds, Paths
from flat_mapper.devices.ring import ORDERS
from flat_mapper.devices.ways import Ways, Work
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, pairs

Array = npt.NDArray[np.float64]
CHIP = load_platform("edge")


def _cluster(n: int, topology: str = "ring") -> Cluster:
    return Cluster(name="c", chip=CHIP, axes=(MeshAxis("x", n, topology, 1e6, 1e-6),))  # type: ignore[arg-type]


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


@pytest.mark.parametrize("seed", range(200))
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


class Enumeration:
    """All ways to divide attention over one axis, from all that its inputs may start in."""

    def __init__(
        self, workload: Workload, axis: MeshAxis, cost: Callable[[int, int], float]
    ) -> None:
        self.axis, self.cost, self.n = axis, cost, axis.size
        self.sizes, self.softmax = workload.rank_sizes, workload.softmax
        self.queries, self.keys = self.sizes["P"], self.sizes["M"]
        self.seen = np.ones((self.queries, self.keys), bool)
        self.mask = mask = workload.mask
        for q, k in np.ndindex(*self.seen.shape) if mask else ():
            far = q + self.keys - self.queries - k
            ahead = far < 0 and mask.causal
            self.seen[q, k] = not ahead and (mask.window is None or abs(far) < mask.window)

    def bytes(self, tensor: str, at: str) -> float:
        """Bytes of a device."""
        sizes = {**self.sizes, **({at: -(-self.sizes[at] // self.n)} if at else {})}
        ranks = {"Q": "BHPE", "K": "BHME", "V": "BHMF", "AV": "BHPF"}[tensor]
        return 2 * float(np.prod([sizes[r] for r in ranks]))

    def move(self, tensor: str, has: str, to: str) -> float:
        """Seconds from one placement to another."""
        if has == to or not has:
            return 0.0
        own = self.bytes(tensor, has)
        if not to:
            return _seconds(self.axis, "all_gather", self.n * own)
        most = -(-self.sizes[to] // self.n)  # of its rows that any device sends to another
        return _seconds(self.axis, "alltoall", own / self.sizes[to] * most * self.n)

    def rows(self, part: int) -> float:
        """Bytes of the maxima of a device; part: of the queries' rows."""
        return 4.0 * self.sizes["B"] * self.sizes["H"] * part

    def merge(self, queries: int) -> float:
        """Seconds in which DRAM moves what is merged."""
        dram, words = CHIP.dram, 3 * self.rows(queries) / 4 * (self.sizes["F"] + 2) * 32
        assert dram.words_per_cycle is not None
        return words / dram.word_bits / dram.words_per_cycle * CHIP.matrix.cycle_seconds

    def ways(self) -> Iterator[tuple[str, str, str, float]]:
        """Placements that queries and keys are needed in, of the result, and seconds."""
        n, both = self.n, self.sizes["B"] * self.sizes["H"]
        pairs = int(self.seen.sum())
        yield "", "", "", self.cost(pairs, both)
        for rank in "BH":
            if self.sizes[rank] > 1:
                own = both // self.sizes[rank] * -(-self.sizes[rank] // n)
                yield rank, rank, rank, self.cost(pairs, own)
        part, square = self.queries // n, self.queries == self.keys
        pieces = [self.seen[i : i + part] for i in range(0, self.queries, part)]
        most = max(int(p.sum()) for p in pieces)
        if self.mask and not self.mask.causal and n > 2:  # a window that no edge cuts
            assert self.mask.window is not None
            wide, least = 2 * self.mask.window - 1, most
            most = part * (wide if wide <= self.keys - part + 1 else self.keys)
            assert least <= most
        yield "P", "", "P", self.cost(most, both)
        causal = self.mask == Mask(causal=True) and square
        if causal:
            half = [
                int(self.seen[i : i + part // 2].sum()) for i in range(0, self.queries, part // 2)
            ]
            folded = (self.cost(half[d], both) + self.cost(half[-1 - d], both) for d in range(n))
            yield "P", "", "P", max(folded)
        if self.softmax == "online":
            yield from self.online(causal=causal)

    def online(self, *, causal: bool) -> Iterator[tuple[str, str, str, float]]:
        """Those that an online softmax has more: keys in a ring, keys over devices."""
        n, both, part = self.n, self.sizes["B"] * self.sizes["H"], self.queries // self.n
        if causal or not self.mask:
            own = self.keys // n
            diagonal = part * (part + 1) // 2
            whole, halves = self.cost(part * own, both), self.cost(part * own // 2, both)
            first = self.cost(diagonal, both) if causal else whole
            merges = self.merge(part), self.merge(part // 2)
            later = [whole + merges[0]]
            if causal:
                later += [max(halves + merges[0], halves + merges[1]), first + merges[0]]
            shift = _seconds(self.axis, "shift", self.bytes("K", "M") + self.bytes("V", "M"))
            for each in later:
                yield "P", "M", "P", max(first, shift) + (n - 2) * max(each, shift) + each
        if self.keys > 1:
            counts = np.zeros(self.queries, np.int64)
            for q in range(self.queries):
                low, high = np.flatnonzero(self.seen[q])[[0, -1]] + (0, 1)
                counts[q] = -(-high // n) - low // n
            rows, done = self.rows(self.queries), self.cost(int(counts.sum()), both)
            done += _seconds(self.axis, "all_reduce", rows)
            sums = rows * (self.sizes["F"] + 1)
            yield "", "M", "", done + _seconds(self.axis, "all_reduce", sums)
            for rank in (r for r in "BHP" if self.sizes[r] > 1):
                yield "", "M", rank, done + _seconds(self.axis, "reduce_scatter", sums)

    def least(self) -> float:
        """The least seconds."""
        starts = [("", ""), ("", "M"), ("P", "M"), *((r, r) for r in "BH" if self.sizes[r] > 1)]
        return min(
            self.move("Q", q, needs)
            + sum(self.move(t, k, keyed) for t in "KV")
            + seconds
            + self.move("AV", gives, q)
            for q, k in starts
            for needs, keyed, gives, seconds in self.ways()
        )


@pytest.mark.parametrize("seed", range(150))
def test_attention_equals_enumeration(seed: int):
    draw = random.Random(seed)
    n = draw.choice((2, 3, 4))
    queries = 2 * n * draw.choice((1, 2))
    keys = queries * draw.choice((1, 1, 2))
    workload = attention(
        B=draw.choice((1, 2)),
        H=draw.choice((1, 3, 4)),
        P=queries,
        M=keys,
        E=2,
        F=3,
        softmax=draw.choice(("row", "online")),
    )
    reach = draw.randrange(1, keys)
    masks = None, Mask(causal=True), Mask(causal=True, window=reach), Mask(window=reach)
    workload = replace(workload, mask=draw.choice(masks))
    cluster, unit = _cluster(n, draw.choice(("switch", "ring", "line"))), draw.choice((1e-9, 1e-6))

    def cost(pairs: int, heads: int) -> float:
        return 1e-7 + unit * pairs * heads

    def price(work: Work) -> float:
        return cost(_claimed(work), dict(work.sizes)["H"] * dict(work.sizes)["B"])

    def solve(work: Work, near: bool) -> PartSeconds:
        """Of a device that waits for others a mapping that may make it the slowest, or not."""
        best, often = price(work), draw.choice((1.0, 1.1, 3.0))
        own = (best, best) if near else (often * best, 0.5 * best)
        return PartSeconds(*own, near)

    paths = Paths(workload=workload, cluster=cluster, low=lambda w: price(w) / 2, solve=solve)
    plan = paths.best()
    assert plan is not None
    assert plan.bound == pytest.approx(plan.seconds, rel=1e-9)
    least = Enumeration(workload, cluster.axes[0], cost).least()
    assert plan.seconds == pytest.approx(least, rel=1e-9)
