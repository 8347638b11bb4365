"""The best path on a cluster beside an enumeration of placements that shares nothing with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from math import ceil, inf, prod

import pytest
from renaming import Renaming
from test_network import _busiest

from flat_mapper.arch.reader import load_platform
from flat_mapper.base.budget import Budget
from flat_mapper.devices.cluster import Cluster
from flat_mapper.devices.network import MeshAxis
from flat_mapper.devices.path import PartSeconds, Paths
from flat_mapper.devices.ways import Work
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, pairs
from flat_mapper.workload.notation import parse_einsum

CHIP = load_platform("edge")
TEXTS = {
    "product": ("Y[p,f] = X[p,d] * W[d,f]",),
    "two": ("Y[p,f] = X[p,d] * W[d,f]", "Z[p,d] = Y[p,f] * U[f,d]"),
    "forward": (
        "Y[p,f] = X[p,d] * W[d,f]",
        "A[p,f] = silu(Y[p,f])",
        "Z[p,d] = A[p,f] * U[f,d]",
        "R[p,d] = Z[p,d] + X[p,d]",
    ),
    "norm": ("S[p] = square(X[p,d])", "N[p,d] = X[p,d] * S[p]", "Y[p,f] = N[p,d] * W[d,f]"),
}


def _cascade(kind: str, sizes: dict[str, int]) -> Workload:
    einsums = [
        parse_einsum(t, name=t[0], unit="matrix" if " * W" in t or " * U" in t else "vector")
        for t in TEXTS[kind]
    ]
    return Workload(name=kind, rank_sizes=sizes, einsums=tuple(einsums))


def _price(names: tuple[str, ...], sizes: dict[str, int]) -> float:
    """A chip of its own: every run has a cost to begin with, and pays less for Einsums at once."""
    points = {n: prod(sizes[r] for r in TEXT_RANKS[n]) for n in names}
    return 3e-6 + 1e-7 * sum(points.values()) / len(names)


TEXT_RANKS: dict[str, tuple[str, ...]] = {}


def _seconds(axis: MeshAxis, what: str, whole: float) -> float:
    """A collective by the words that are sent along its links."""
    n = axis.size
    if n == 1 or not whole:
        return 0.0
    words = float(_busiest(axis.topology, n, what, round(whole)))  # type: ignore[arg-type]
    far = {"switch": 1, "ring": n // 2, "line": n - 1}[axis.topology]
    steps = {"all_reduce": 2 * (n - 1), "one_shot": far}.get(what, n - 1)
    return words / axis.bytes_per_s + steps * axis.step_seconds


class Enumeration:
    """All paths of a cascade, one after another."""

    def __init__(self, workload: Workload, axes: tuple[MeshAxis, ...]) -> None:
        self.w, self.axes, self.best = workload, axes, inf
        self.ranks = {a.tensor: a.ranks for e in workload.einsums for a in e.accesses}
        made = [e.output.tensor for e in workload.einsums]
        self.read = [{a.tensor for a in e.inputs} for e in workload.einsums]
        last = [t for t in made if not any(t in read for read in self.read)]
        self.last = last[0]
        first = [t for t in self.ranks if t not in made and self.ranks[t] == self.ranks[last[0]]]
        self.stream = first[:1]

    def local(self, tensor: str, at: tuple[str, ...]) -> float:
        """Bytes of a device."""
        parts = {r: prod(a.size for a, x in zip(self.axes, at, strict=True) if x == r) for r in at}
        return 2 * prod(ceil(self.w.rank_sizes[r] / parts.get(r, 1)) for r in self.ranks[tensor])

    def move(self, tensor: str, has: tuple[str, ...], to: tuple[str, ...]) -> float:
        """Seconds from one placement to another; a sum is `+`."""
        if any((t == "+") != (h == "+") and t == "+" for h, t in zip(has, to, strict=True)):
            return inf
        best = inf
        for order in permutations(range(len(has))):
            now, cost = list(has), 0.0
            for i in order:
                if now[i] == to[i]:
                    continue
                before = self.local(tensor, tuple(now))
                old, now[i] = now[i], to[i]
                after, axis = self.local(tensor, tuple(now)), self.axes[i]
                if old == "+" and to[i]:
                    cost += _seconds(axis, "reduce_scatter", axis.size * after)
                elif old == "+":
                    both = (_seconds(axis, k, before) for k in ("all_reduce", "one_shot"))
                    cost += min(both)
                elif old and to[i]:
                    others = [a.size for j, a in enumerate(self.axes) if j != i and now[j] == to[i]]
                    rows = ceil(self.w.rank_sizes[to[i]] / prod(others))
                    most = ceil(rows / axis.size)  # that any device sends to another
                    cost += _seconds(axis, "alltoall", before / rows * most * axis.size)
                elif old:
                    cost += _seconds(axis, "all_gather", axis.size * before)
            best = min(best, cost)
        return best

    def places(self, ranks: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        some = ("", *(r for r in ranks if self.w.rank_sizes[r] > 1))
        yield from product(some, repeat=len(self.axes))

    def least(self) -> float:
        """The least seconds of all paths."""
        for start in self.places(self.ranks[self.stream[0]]) if self.stream else [()]:
            self.begin = start
            self.walk(0, {self.stream[0]: start} if self.stream else {}, 0.0)
        return self.best

    def walk(self, at: int, state: dict[str, tuple[str, ...]], cost: float) -> None:
        if cost >= self.best:
            return
        if at == len(self.w.einsums):
            has = state[self.last]
            to = self.begin if self.stream else tuple("" if r == "+" else r for r in has)
            self.best = min(self.best, cost + self.move(self.last, has, to))
            return
        for end in range(at + 1, len(self.w.einsums) + 1):
            run = self.w.einsums[at:end]
            if sum(e.unit == "matrix" for e in run) > 1 and len(run) > 1:
                break
            common = [r for r in self.w.rank_sizes if all(r in e.ranks for e in run)]
            inside = {e.output.tensor for e in run} & {t for r in self.read[at:end] for t in r}
            common = [r for r in common if all(r in self.ranks[t] for t in inside)]
            for division in self.places(tuple(common)):
                self.enter(at, end, division, dict(state), cost)

    def enter(
        self,
        at: int,
        end: int,
        division: tuple[str, ...],
        state: dict[str, tuple[str, ...]],
        cost: float,
    ) -> None:
        run = self.w.einsums[at:end]
        made = {e.output.tensor for e in run}
        for tensor in dict.fromkeys(t for read in self.read[at:end] for t in read if t not in made):
            if tensor in state:
                to = tuple(r if r in self.ranks[tensor] else "" for r in division)
                cost += self.move(tensor, state[tensor], to)
                state[tensor] = to
        for e in run:
            ranks = e.output.ranks
            state[e.output.tensor] = tuple(
                r if r in ranks else "+" if r in e.ranks else "" for r in division
            )
        parts = {
            r: prod(a.size for a, x in zip(self.axes, division, strict=True) if x == r)
            for r in division
        }
        sizes = {r: ceil(n / parts.get(r, 1)) for r, n in self.w.rank_sizes.items()}
        cost += _price(tuple(e.name for e in run), sizes)
        self.walk(end, state, cost)


@pytest.mark.parametrize("seed", range(150))
def test_cascades_equal_enumeration(seed: int):
    draw = random.Random(seed)
    kind = draw.choice(list(TEXTS))
    workload = _cascade(kind, {r: draw.choice((1, 2, 3, 4, 6, 8)) for r in ("P", "D", "F")})
    TEXT_RANKS.clear()
    TEXT_RANKS.update({e.name: e.ranks for e in workload.einsums})
    meshes = ((2,), (3,), (4,), (2, 2)) if len(workload.einsums) < 4 else ((2,), (3,), (4,))
    axes = tuple(
        MeshAxis(
            name,
            n,
            draw.choice(("switch", "ring", "line")),
            draw.choice((1e6, 1e8)),
            draw.choice((0.0, 1e-6)),
        )
        for name, n in zip("xy", draw.choice(meshes), strict=False)
    )

    def price(work: Work) -> float:
        return _price(work.names, dict(work.sizes))

    paths = Paths(
        workload=workload,
        cluster=Cluster(name="c", chip=CHIP, axes=axes),
        low=lambda work: price(work) / 2,
        solve=lambda work, _: PartSeconds(price(work), price(work)),
    )
    plan, least = paths.best(), Enumeration(workload, axes).least()
    assert plan is not None
    assert plan.seconds == pytest.approx(least, rel=1e-9)
    assert plan.bound == pytest.approx(plan.seconds, rel=1e-9)
    for budget in (Budget(gap=draw.choice((0.01, 0.1, 1.0))), Budget(seconds=0)):
        near = replace(paths, budget=budget, solved={}).best()
        assert near is not None
        assert near.bound <= least * (1 + 1e-9)
        assert near.seconds >= least * (1 - 1e-9)
        assert near.seconds <= near.bound * (1 + budget.gap) * (1 + 1e-9) or budget.late


@pytest.mark.parametrize("seed", range(50))
def test_names_change_no_number(seed: int):
    draw = random.Random(seed)
    kind = draw.choice((*TEXTS, "attention", "attention"))
    sizes = {r: draw.choice((2, 4, 6)) for r in "PDFHME"}
    if kind == "attention":
        own = {r: sizes[r] for r in "HPEF"}
        workload = attention(B=1, M=sizes["P"], softmax="online", **own)
        workload = replace(workload, mask=draw.choice((None, Mask(causal=True))))
    else:
        workload = _cascade(kind, {r: sizes[r] for r in "PDF"})
    n, topology = draw.choice((2, 3, 4)), draw.choice(("switch", "ring", "line"))
    axes = (MeshAxis("x", n, topology, draw.choice((1e6, 1e8)), 1e-7),)
    room, found, names = draw.choice((1e9, inf)), [], Renaming(workload, (), seed)
    core = tuple(names.tensors[n] for n in workload.core)
    other = replace(names.workload(workload), core=core, softmax=workload.softmax)
    for one in (workload, other):

        def price(work: Work, of: Workload = one) -> float:
            own, pair = dict(work.sizes), of.roles.masked
            points = [prod(own[r] for r in of.einsum(name).ranks) for name in work.names]
            seen = pairs(work.mask, own[pair[0]], own[pair[1]]) if work.mask and pair else 0
            return 1e-6 + 1e-8 * sum(points) - 1e-9 * seen

        cluster = Cluster(name="c", chip=CHIP, axes=axes, dram_bytes=room)
        plan = Paths(
            workload=one,
            cluster=cluster,
            low=price,
            solve=lambda work, _, price=price: PartSeconds(*[price(work)] * 2),  # type: ignore[misc]
        ).best()
        assert plan is not None
        found.append([plan.seconds, plan.bound, plan.static, plan.peak, plan.searched])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
