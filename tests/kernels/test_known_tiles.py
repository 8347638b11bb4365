"""A kernel's tile as a first answer: a search that ends at once is not far behind it."""

from __future__ import annotations

import pytest
from execution.tiny import chip as one_chip
from execution.tiny import many

import flat_mapper as fm
from flat_mapper.base.budget import Budget
from flat_mapper.energy.tables import unpriced
from flat_mapper.kernels.known import known_tiles
from flat_mapper.mapper.solve.driver import search

AT_ONCE = {"objective": "latency", "softmax": "online", "mask": "causal"}


@pytest.mark.parametrize(
    ("arch", "seq"),
    [("h100", 16384), pytest.param("h100", 102400, marks=pytest.mark.nightly)],
)
def test_a_long_sequence_has_an_answer_at_once(arch: str, seq: int) -> None:
    found = fm.search("llama3-8b", arch, seq=seq, **AT_ONCE, budget=Budget(steps=0))
    assert found.certificate.stopped == "steps"
    assert found.certificate.gap < 0.2
    (group,) = found.mapping.groups
    assert (group.kernel, group.order, group.granularity) == ("", "largest", "tile")
    again = fm.evaluate(found)
    assert again.result.cycles == found.result.cycles


def test_an_answer_is_no_worse_than_a_tile_that_does_not_divide() -> None:
    """Rows of 64 and 128 divide 2,000 queries as little as keys of 32 to 256 do."""
    work = fm.attention(B=1, H=4, P=2000, M=2000, E=64, F=64, softmax="online")
    tile = fm.tiles("fa2", work, "a100").best
    assert 2000 % tile.tile.rows
    found = fm.search(work, "a100", objective="latency", budget=Budget(steps=0))
    assert found.result.latency_s < tile.seconds
    proof = found.certificate
    assert not proof.among
    assert 0 < proof.proven_bound == proof.any_tiles_bound < found.result.latency_s


def test_a_proof_is_the_same_with_a_tile() -> None:
    work = fm.attention(B=1, H=2, P=4, M=4, E=2, F=2, softmax="online")
    chip, space = many(one_chip(None), 4), fm.load_mapspace("cores")
    known, ert = [*known_tiles(work, chip, space)], unpriced(chip)
    assert known
    for objective in ("latency", "energy"):
        own = search(work, chip, space, ert, objective=objective)
        beside = search(work, chip, space, ert, objective=objective, known=known)
        assert own.result.cycles == beside.result.cycles
        assert own.result.energy_pj == pytest.approx(beside.result.energy_pj)
