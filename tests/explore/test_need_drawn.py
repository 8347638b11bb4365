"""What is needed, held to searches at the value and at one step less, on drawn questions."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

import flat_mapper as fm
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.explore.need_search import KnobKind
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

CHIPS = {name: load_platform(name) for name in ("edge", "cloud", "h100")}
QUICK = (1, 5)
KINDS: tuple[KnobKind, ...] = ("buffer", "bandwidth", "cores")


def least_s(work: Workload, chip: Platform) -> float:
    """The least latency of all, proven; endless where nothing fits."""
    found = fm.search(work, chip, objective="latency", gap=0)
    if not found:
        return inf
    assert found.certificate.optimal
    return found.result.latency_s


@pytest.mark.parametrize(
    "seed", [n if n in QUICK else pytest.param(n, marks=pytest.mark.nightly) for n in range(60)]
)
def test_one_step_less_misses(seed: int) -> None:
    """Whatever time there is: what is said to miss has no mapping, and what reaches has one."""
    some, quantity = Random(seed), KINDS[seed % 3]
    chip = CHIPS["h100" if quantity == "cores" else some.choice(("edge", "cloud"))]
    sizes = {"P": some.choice((4, 6, 8)), "M": some.choice((4, 8)), "E": some.choice((2, 4))}
    work = attention(B=1, H=some.choice((1, 2)), **sizes, F=4)
    target = least_s(work, chip) * some.choice((1.0, 1.03, 1.3, 2.5))
    asked = {"quantity": quantity, "latency_s": target, "step": some.choice((1e8, 1e9))}
    found = fm.need(work, chip, **asked)
    assert found, found
    assert found.unproven == ()
    assert least_s(work, found.knob.at(found.steps)) == found.result.latency_s <= target
    assert found.steps == 1 or least_s(work, found.knob.at(found.steps - 1)) > target
    for steps in (0, 2):
        early = fm.need(work, chip, **asked, budget=Budget(steps=steps))
        if early:
            assert early.misses < found.steps <= early.steps
            assert early.result.latency_s <= target
            assert early.unproven or early.steps == found.steps
