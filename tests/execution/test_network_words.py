"""Words over networks, as an execution moves them one by one, against what the model prices."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from execution.random_cores import random_cores_case
from execution.random_fused import random_case

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.link import Link
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import Slot, slots_of

Crossed = dict[tuple[str, str, str], list[float]]  # Einsum, fanout, tensor: entered, delivered
CORES = "core"  # the fanout of cores in a random chip


def priced(platform: Platform) -> Platform:
    """The chip with a price on every network: 1 pJ a hop."""

    def path(arch: Architecture) -> Architecture:
        nodes = (replace(n, hop_pj=1.0) if isinstance(n, Fanout) else n for n in arch.nodes)
        return replace(arch, nodes=tuple(nodes))

    vector = platform.vector
    return replace(platform, matrix=path(platform.matrix), vector=vector and path(vector))


def spread(link: Link, slot: int) -> int:
    """Words of one move of a link that are apart from each other outside of a slot.

    Instances at one place that see the same words of one parent are one.
    """
    number = np.zeros(link.instances.count, np.int64)
    for step, index in link.instances.placed:
        if step.slot < slot:
            number = number * step.factor + index
    return len(set(zip(number.tolist(), link.index[:, 0].tolist(), strict=True))) * link.words


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Crossed:
    """What crosses every fanout in executions, move by move."""
    found: Crossed = defaultdict(lambda: [0.0, 0.0])

    def note(link: Link, *, times: int = 1) -> None:
        if link.limits:
            pytest.skip("a remainder")
        nest, slots = link.nest, slots_of(link.nest.arch)
        if link.top == 0:  # what a core moves
            cores = found[nest.einsum.name, CORES, link.access.tensor]
            cores[1] += times * spread(link, 1)
        for fanout in nest.arch.fanouts:
            first = slots.index(Slot(fanout.name, "y"))
            if link.top < first < link.cut:
                own = found[nest.einsum.name, fanout.name, link.access.tensor]
                own[0] += times * spread(link, first)
                own[1] += times * spread(link, first + 2)

    def watched(name: str) -> None:
        whole = getattr(Link, name)

        def call(self: Link, *args: Any, **given: Any) -> Any:
            # Results come up, and go down first where they are old.
            note(self, times=0 if name == "open" and given["fresh"] else 1)
            return whole(self, *args, **given)

        monkeypatch.setattr(Link, name, call)

    for name in ("fetch", "open", "write_back"):
        watched(name)
    return found


def agree(moved: Crossed, result: Result) -> None:
    """Every word that the model prices is one that was moved, and the other way round."""
    ours = {
        (e.einsum, n.fanout, n.tensor): [n.words_entered, n.words_delivered]
        for e in result.einsums
        for n in e.network
    }
    names = {e.einsum for e in result.einsums}
    found = {k: v for k, v in moved.items() if any(v) and k[0] in names}
    assert found
    assert {k: v for k, v in ours.items() if any(v)} == found


@pytest.mark.parametrize("seed", range(40))
def test_words_over_networks(seed: int, moved: Crossed) -> None:
    workload, platform, mapping = random_case(seed)
    platform = priced(platform)
    assert execute(workload, platform, mapping).right
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    agree({key: words for key, words in moved.items() if key[1] != CORES}, result)


@pytest.mark.parametrize("seed", range(40))
def test_words_between_cores_and_what_serves_them(seed: int, moved: Crossed) -> None:
    workload, platform, mapping = random_cores_case(seed)
    platform = priced(platform)
    done = execute(workload, platform, mapping)
    assert done.right
    cores = next(f for f in platform.matrix.fanouts if f.name == CORES)
    for (einsum, fanout, tensor), words in list(moved.items()):
        if fanout == CORES:
            own = {m.level: m for m in done.counts if (m.einsum, m.tensor) == (einsum, tensor)}
            keeper = own.get("MID") or own["DRAM"]
            words[0] = keeper.reads + keeper.updates
    if cores.copies == 1:
        moved = {key: words for key, words in moved.items() if key[1] != CORES}
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    agree(moved, result)
