"""Network of devices: what a collective moves over its busiest link, and how long that takes.

    seconds = launch + steps x step + bytes / (share x rate) + kept / rate + ramp

bytes: over the busiest link in its busier direction, words going the shortest way and ties both
       ways. A switch has a link to each device; a ring and a line have one between neighbours.
kept:  `own` times what each device has of the result from the start, which is put in place too.
ramp:  2 x root(segment seconds x bytes / rate): what a stream loses that is cut into segments, of
       the best size, each with a cost of its own.

The share of the rate and the costs are measured ones where the cluster's file has them, else one
step's seconds are all that is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Literal, NamedTuple

Topology = Literal["switch", "ring", "line"]
TOPOLOGIES: tuple[Topology, ...] = ("switch", "ring", "line")
Collective = Literal["all_gather", "reduce_scatter", "all_reduce", "one_shot", "alltoall", "shift"]
MEASURED: tuple[Collective, ...] = ("all_gather", "reduce_scatter", "all_reduce", "alltoall")
# What has no measured costs of its own has those of what its messages are like.
LIKE: Mapping[Collective, Collective] = {"one_shot": "all_gather", "shift": "alltoall"}


@dataclass(frozen=True, slots=True)
class CollectiveCosts:
    """Costs of a collective beside its bytes over the rate; fields as a cluster's file has them."""

    launch_seconds: float = 0.0
    step_seconds: float = 0.0
    share: float = 1.0
    own: float = 0.0
    segment_seconds: float = 0.0


class Movement(NamedTuple):
    """A collective on one axis: over how many devices, bytes of its busiest link, steps, s."""

    what: Collective
    axis: str
    devices: int
    link_bytes: float
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MeshAxis:
    """One axis of a mesh: devices in a row, each with the same links.

    bytes_per_s:  of a link in one direction. step_seconds: of a step where none was measured.
    costs:        measured ones by collective.
    """

    name: str
    size: int
    topology: Topology
    bytes_per_s: float
    step_seconds: float = 0.0
    costs: Mapping[Collective, CollectiveCosts] = field(default_factory=dict)

    def of(self, devices: int) -> MeshAxis:
        """The same links between another number of devices."""
        return replace(self, size=devices)

    def moved(self, what: Collective, whole: float) -> Movement:
        """A collective of all devices of the axis; whole: bytes, see `terms`."""
        if self.size == 1 or not whole:
            return Movement(what, self.name, self.size, 0.0, 0, 0.0)
        own = self.costs.get(LIKE.get(what, what), CollectiveCosts(step_seconds=self.step_seconds))
        _, steps, stream, kept, ramp = self.terms(what, whole)
        seconds = own.launch_seconds + steps * own.step_seconds + stream / own.share
        seconds += own.own * kept + 2 * sqrt(own.segment_seconds) * ramp
        return Movement(what, self.name, self.size, stream * self.bytes_per_s, steps, seconds)

    def terms(self, what: Collective, whole: float) -> tuple[int, int, float, float, float]:
        """Number of launches, steps, s of the stream and of what is kept at the rate, root of s.

        whole: bytes that each device has of an all-reduce, one shot, an all-to-all, a shift; that
               each has at the end of an all-gather, and at the start of a reduce-scatter.
        """
        stream = self._times(what) * whole / self.bytes_per_s
        twice = 0 if what == "shift" else 1 + (what == "all_reduce")
        kept = twice * whole / self.size / self.bytes_per_s
        return 1, self._steps(what), stream, kept, sqrt(stream)

    def _times(self, what: Collective) -> float:
        """Bytes of the busiest link, of one byte of the whole."""
        n = self.size
        ring = self.topology == "ring" and n > 2
        gathered = (n - 1) / (2 * n if ring else n)
        if what == "alltoall" and self.topology != "switch":
            return n * n // 4 / (2 * n if ring else n)
        once = {"all_reduce": 2 * gathered, "one_shot": n * gathered, "shift": 1.0}
        return once.get(what, gathered)

    def _steps(self, what: Collective) -> int:
        """Steps that follow each other."""
        n = self.size
        if what in ("one_shot", "shift"):
            far = {"switch": 1, "ring": n // 2 if what == "one_shot" else 1, "line": n - 1}
            return far[self.topology]
        return (1 + (what == "all_reduce")) * (n - 1)
