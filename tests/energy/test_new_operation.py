"""The recipe for an operation: named, it is priced; what nobody says it does is refused."""

from __future__ import annotations

import pytest

import flat_mapper as fm
from flat_mapper.execution.real_numbers import arithmetic
from flat_mapper.running.words import point
from flat_mapper.workload import notation

ERF = "problem: {name: e, ranks: {M: 64, N: 64}, einsums: ['Y[m, n] = %s(X[m, n])']}"


@pytest.fixture
def erf(monkeypatch):
    """An operation that only the notation knows."""
    monkeypatch.setattr(notation, "UNARY", (*notation.UNARY, "erf"))
    monkeypatch.setattr(notation, "FUNCTIONS", (*notation.FUNCTIONS, "erf"))


def test_it_costs_what_its_unit_does(erf):
    found = fm.search(ERF % "erf", "edge").result
    compute = found.energy_by()["tensor"]["compute"]
    assert compute == pytest.approx(64 * 64 * 1.144, rel=1e-3)


def test_who_does_not_know_what_it_computes_refuses_it(erf):
    found = fm.search(ERF % "erf", "edge")
    with pytest.raises(fm.SpecError, match="or a known function"):
        fm.execute(found)


def test_no_program_leaves_it_out():
    how = arithmetic(fm.load_problem(ERF % "tanh").einsums[0])
    assert point(how, ["x"]) == "tanh_of(x)"
    object.__setattr__(how, "function", "erf")
    with pytest.raises(fm.SpecError, match=r"lower: c: expected one of exp, .*, got 'erf'"):
        point(how, ["x"])
