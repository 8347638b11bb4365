"""A thing has one colour in every figure and page, and no other thing has it."""

from __future__ import annotations

import pytest
import report_samples as samples

from flat_mapper.reports.colours import hues
from flat_mapper.reports.plots import figures


def test_no_two_things_share_a_colour_however_many_there_are() -> None:
    answer = {
        "platform": {"levels": {f"L{n}": {} for n in range(9)}, "units": {"MAC": {}}},
        "energy_by_pj": {
            "component": {f"part {n}": 1 for n in range(9)},
            "tensor": {f"T{n}": 1 for n in range(30)},
            "einsum": {"T0": 1, "E": 1},
        },
    }
    found = [hue for kind in hues([answer]).values() for hue in kind.values()]
    assert len(found) == len(set(found)) == 19 + 31


def test_figures_of_one_answer_and_of_several_agree() -> None:
    first, second, *_ = samples.compared()["rows"]  # type: ignore[misc]
    assert hues([first, second]) == hues([second, first])
    dram = hues([first])["component"]["DRAM"]
    for chosen in ({"naive": first}, {"naive": first, "flat": second}):
        for name, data in figures(chosen, ("svg",)).items():
            assert dram in data.decode(), name


@pytest.mark.usefixtures("every_format")
def test_figures_come_as_points_and_as_lines() -> None:
    """The same answer is the same file, and texts stay texts."""
    first = samples.compared()["rows"][0]  # type: ignore[index]
    made = figures({"naive": first})
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for name, data in made.items():
        assert data.startswith(begins[name.rpartition(".")[2]]), name
    assert len(made) == 6
    assert b"by component" in made["energy.svg"]
    assert made == figures({"naive": first})
