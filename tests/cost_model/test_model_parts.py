"""Small parts of the model, each with an answer that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

from online_mapping import ONLINE, mapping
from small_platform import platform

from flat_mapper.cost_model.chip.classes import _on_line
from flat_mapper.cost_model.occupancy import tile_occupancies
from flat_mapper.cost_model.schedule import Latency
from flat_mapper.mapping.values import Policy


def test_latency_between_two_of_a_line() -> None:
    """A quarter of the way from 10 to 30 cycles."""
    ends = (
        Latency(cycles=10.0, exposed=4.0, bottleneck="MAC", slack=0.0),
        Latency(cycles=30.0, exposed=8.0, bottleneck="DRAM", slack=4.0),
    )
    assert _on_line(ends, (3, 4, 7), 1) == Latency(
        cycles=15.0, exposed=5.0, bottleneck="", slack=1.0
    )


def test_what_a_free_softmax_carries_is_held_from_the_first_einsum_to_the_last() -> None:
    """64 rows of one head: the maximum and the sum of each, beside what QK and AV touch."""
    (group,) = mapping().groups
    products = replace(group, einsums=(group.einsums[0], group.einsums[7]))
    held = tile_occupancies(ONLINE, platform(), products, Policy(softmax="free"))
    for tensor in ("QK_max", "QK_sum"):
        (tile,) = [one for one in held if one.tensor == tensor]
        assert (tile.words, tile.first, tile.last) == (64, "QK", "AV")
