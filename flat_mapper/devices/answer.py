"""Answer of a search on many devices: placements, collectives, room, and each device's mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, NamedTuple

from flat_mapper.base import units
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.devices.cluster import Cluster, Placement
from flat_mapper.devices.network import Movement
from flat_mapper.devices.path import DevicePath
from flat_mapper.devices.ways import Sharding, Work
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.reports.fields import sizes_text
from flat_mapper.reports.tree import fused_tree_text
from flat_mapper.workload.graph import Workload


class _Carried(NamedTuple):
    """A collective of a tensor: seconds that no work hides, and how often it comes in a ring."""

    tensor: str
    moved: Movement
    exposed_s: float
    rounds: int = 0

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        more = {"exposed_s": self.exposed_s, "rounds": self.rounds, "hidden": not self.exposed_s}
        return {"tensor": self.tensor, **self.moved._asdict(), **more}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sharded(Printed):
    """The best way found to run a problem on many devices, with its proof.

    parts: the answer for each piece of work of a device. ideal_s: what one device
    takes at most, over the devices.
    """

    kind: ClassVar = "devices"  # of answers as JSON
    rows_at: ClassVar = ("steps",)
    workload: Workload
    cluster: Cluster
    plan: DevicePath
    parts: Mapping[Work, Solution]
    ideal_s: float | None = None
    notes: tuple[str, ...] = ()
    stopped: str = ""  # what ended its searches before their proof

    @property
    def latency_s(self) -> float:
        """Seconds of all layers."""
        return self.plan.seconds * self.workload.all_layers

    @property
    def gap(self) -> float:
        """The share by which another path may be better."""
        return max(0.0, self.plan.seconds / self.plan.bound - 1) if self.plan.bound else inf

    @property
    def share(self) -> float | None:
        """Time that one device takes at most over the number of devices, over that of all."""
        return None if self.ideal_s is None else self.ideal_s / self.plan.seconds

    @property
    def moving_s(self) -> float:
        """Seconds of collectives that no work hides, of all layers."""
        return sum(one.exposed_s for one in self._collectives()) * self.workload.all_layers

    @property
    def words(self) -> str:
        """The divisions of its steps, each once."""
        each = (f"{self.placed(s.way.division)} {s.way.words}".strip() for s in self.plan.steps)
        return "; ".join(dict.fromkeys(each))

    def placed(self, at: Placement) -> str:
        """A placement in words: `P@x`, `whole`, `a sum over x`."""
        return self.cluster.placed(at, "a sum over ", ", ")

    def _price(self, work: Work) -> float:
        return self.parts[work].result.latency_s

    def _collectives(self) -> Iterator[_Carried]:
        """All that moves, in its order."""
        for step in self.plan.steps:
            for tensor, one in step.moved:
                yield _Carried(tensor, one, one.seconds)
            way = step.way
            if way.shift:
                shift, (*longest, _) = way.shift.seconds, way.longest(self._price)
                exposed = sum(max(0.0, shift - one) for one in longest)
                keys = " and ".join(
                    t for t in way.needs if self.workload.roles.keys in way.needs[t]
                )
                yield _Carried(keys, way.shift, exposed, len(longest))
            for one in way.after:
                yield _Carried(" and ".join(way.gives), one, one.seconds)
        for tensor, one in self.plan.moved:
            yield _Carried(tensor, one, one.seconds)

    def _step(self, way: Sharding) -> dict[str, object]:
        seconds = way.seconds(self._price) - sum(one.seconds for one in way.after)
        parts = [self._part(work) for work in sorted(way.works, key=str)]
        return {**way.to_dict(self.placed), "seconds": seconds, "parts": parts}

    def _part(self, work: Work) -> dict[str, object]:
        """One piece of work of a device, with its loops as `map` prints them.

        They are those of the Einsums that are told, which may be others of the same shape.
        """
        one = self.parts[work]
        tree = fused_tree_text(one.workload, self.cluster.chip, one.result.mapping)
        return {
            "einsums": [e.name for e in one.workload.einsums],
            "sizes": dict(work.sizes),
            "mask": work.mask.words if work.mask else None,
            "seconds": self._price(work),
            "gap": units.finite(one.certificate.gap),
            "loops": tree,
        }

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper map --json` where the chip is a cluster."""
        plan = self.plan
        return {
            "workload": self.workload.name,
            "arch": self.cluster.name,
            "cluster": self.cluster.to_dict(),
            "objective": "latency",
            "latency_s": self.latency_s,
            "layers": self.workload.all_layers,
            "start": {t: self.placed(at) for t, at in plan.start.items()},
            "end": {t: self.placed(at) for t, at in plan.end.items()},
            "steps": [self._step(step.way) for step in plan.steps],
            "collectives": [one.to_dict() for one in self._collectives()],
            "room": {
                "stays_bytes": plan.static,
                "live_bytes": plan.peak,
                "has_bytes": units.finite(self.cluster.dram_bytes),
            },
            "share_of_ideal": self.share,
            "search": {
                "proven_bound": plan.bound * self.workload.all_layers,
                "gap": units.finite(self.gap),
                "optimal": self.gap == 0,
                "stopped": self.stopped,
                "parts_searched": plan.searched,
            },
            "notes": list(self.notes),
        }

    def files(self) -> dict[str, bytes]:
        """Its record, and what that refers to, by name."""
        from flat_mapper.devices.record import cluster_files

        return cluster_files(self.workload, self.cluster, self.plan, self.parts)

    def _step_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                step.way.names[0]
                + (f" .. {step.way.names[-1]}" if len(step.way.names) > 1 else ""),
                self.placed(step.way.division) + (f"; {step.way.words}" if step.way.words else ""),
                ", ".join(f"{t} {self.placed(at)}" for t, at in step.way.gives.items()),
                units.si(step.way.seconds(self._price), "s"),
            )
            for step in self.plan.steps
        ]

    def _moved_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.tensor,
                f"{one.moved.what} over {one.moved.axis}",
                units.si(one.moved.link_bytes, "B"),
                f"{one.rounds or 1} x {one.moved.steps}",
                units.si(one.moved.seconds, "s"),
                "" if one.exposed_s else "hidden",
            )
            for one in self._collectives()
        ]

    def __str__(self) -> str:
        """The path, what moves, the room, and the proof."""
        plan = self.plan
        gap = f"within {units.percent(self.gap, 2)} of the best" if self.gap else "the best"
        ended = f" (ended by {self.stopped})" if self.stopped else ""
        share = "" if self.share is None else f", at most {self.share:.2f} of the ideal"
        sizes = sizes_text(self.workload.rank_sizes)
        moved = self._moved_rows()
        stays, goes = (units.si(n, "B") for n in (plan.static, plan.peak))
        has = self.cluster.dram_bytes
        layers = self.workload.held_layers
        room = f"room of a device: {stays} stay{f' for {layers} layers' if layers > 1 else ''}"
        room += f", {goes} come and go"
        room += f", of {units.si(has, 'B')}" if has < inf else ""
        return "\n".join(
            (
                f"{self.workload.name} on {self.cluster.name}, {sizes}: "
                f"{units.si(self.latency_s, 's')}, {gap}{ended}{share}",
                self.cluster.title,
                "",
                grid(self._step_rows(), head=("Einsums", "divided", "leaves", "time"), right=(3,)),
                "",
                grid(
                    moved,
                    head=("moves", "by", "busiest link", "steps", "time", ""),
                    right=(2, 3, 4),
                )
                if moved
                else "nothing moves between devices",
                "",
                ", ".join(f"{t} starts {self.placed(at)}" for t, at in plan.start.items()),
                room,
                *self.notes,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Parallelisms(Printed):
    """The best of each kind of parallelism on a cluster."""

    kind: ClassVar = "compare-devices"  # of answers as JSON
    rows_at: ClassVar = ("rows",)
    workload: Workload
    cluster: Cluster
    rows: Mapping[str, Sharded | Infeasible | str]  # by kind; words where no way is of it

    def __bool__(self) -> bool:
        return any(isinstance(row, Sharded) for row in self.rows.values())

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper compare --json` where the chip is a cluster."""
        rows = [
            {"parallelism": name}
            | (row.to_dict() if not isinstance(row, str) else {"infeasible": row})
            for name, row in self.rows.items()
        ]
        named = {"workload": self.workload.name, "arch": self.cluster.name}
        return {**named, "cluster": self.cluster.to_dict(), "objective": "latency", "rows": rows}

    def __str__(self) -> str:
        """A line for each."""
        rows = []
        for name, row in self.rows.items():
            if isinstance(row, Sharded):
                plan, share = row.plan, f"{row.share:.2f}" if row.share is not None else ""
                cells = (units.si(row.latency_s, "s"), units.si(row.moving_s, "s"), share)
                room = units.si(plan.static + plan.peak, "B")
                rows.append((name, *cells, room, units.percent(row.gap, 2), row.words))
            else:
                rows.append((name, "-", "-", "-", "-", "-", str(row)))
        head = ("", "time", "moving", "of the ideal, at most", "room", "gap", "divided")
        sizes = sizes_text(self.workload.rank_sizes)
        title = f"{self.workload.name} on {self.cluster.name}, {sizes}, least latency"
        notes = dict.fromkeys(
            n for r in self.rows.values() if isinstance(r, Sharded) for n in r.notes
        )
        return "\n".join(
            (title, self.cluster.title, grid(rows, head=head, right=range(1, 6)), *notes)
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NeededDevices(Printed):
    """The fewest devices that reach a latency; false where none of those there are do.

    rows: the best path by the number of devices, as far as they were tried; None has no room.
    """

    kind: ClassVar = "need-devices"  # of answers as JSON
    rows_at: ClassVar = ("tried",)
    workload: Workload
    cluster: Cluster
    latency_s: float
    rows: Mapping[int, DevicePath | None]

    @property
    def devices(self) -> int | None:
        """The number that was found."""
        count, plan = max(self.rows.items())
        reached = plan and plan.seconds * self.workload.all_layers <= self.latency_s
        return count if reached else None

    def __bool__(self) -> bool:
        return self.devices is not None

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper need devices --json`."""
        layers = self.workload.all_layers
        return {
            "quantity": "devices",
            "workload": self.workload.name,
            "arch": self.cluster.name,
            "latency_target_s": self.latency_s,
            "value": self.devices,
            "tried": [
                {
                    "devices": count,
                    "latency_s": plan and plan.seconds * layers,
                    "proven_bound": plan and plan.bound * layers,
                    "room_bytes": plan and plan.static + plan.peak,
                }
                for count, plan in self.rows.items()
            ],
        }

    def __str__(self) -> str:
        """The number, and what each smaller one takes."""
        layers, has = self.workload.all_layers, self.cluster.devices
        rows = [
            (str(n), units.si(p.seconds * layers, "s"), units.si(p.static + p.peak, "B"))
            if p
            else (str(n), "no room", "")
            for n, p in self.rows.items()
        ]
        found = f"{self.devices} devices" if self else f"more than the {has} devices there are"
        title = f"{self.workload.name} on {self.cluster.name} in {units.si(self.latency_s, 's')}"
        table = grid(rows, head=("devices", "time", "room of each"), right=range(3))
        return f"{title}: {found}\n{table}"
