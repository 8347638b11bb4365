"""A path over many devices run on real numbers, with as many arrays as devices.

Each device has its own array of each tensor, NaN where it has no word, and computes its part of an
Einsum from these alone; those of all stand in one, whose first dimensions are the mesh's. Words
that move are sent along each link and counted (`devices.links`). The mapping of each part runs tile
by tile once, on numbers of its own, and tells its seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import ClassVar

import numpy as np

from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.base.tolerance import ABOVE
from flat_mapper.devices.cluster import PARTIAL, WHOLE, Placement
from flat_mapper.devices.links import Links, add_links, links_of
from flat_mapper.devices.network import Movement
from flat_mapper.devices.path import PathStep
from flat_mapper.devices.record import ClusterRecord
from flat_mapper.devices.ways import ACCUMULATOR_BITS, Sharding
from flat_mapper.execution.link import Integers
from flat_mapper.execution.real_numbers import Values
from flat_mapper.execution.reference import broadcast, evaluated, random_inputs, whole_of
from flat_mapper.execution.result import Error
from flat_mapper.execution.run import error_of, execute
from flat_mapper.workload.einsum import Einsum, TensorAccess

MOST_WORDS = 20_000_000  # chosen: of all arrays of all devices
Device = tuple[int, ...]  # its place on each axis
_At = Mapping[str, Integers]  # of ranks that are parts, their positions
_Piece = tuple[Values, Values, Values]  # maxima, sums and result of some keys


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutedDevices(Printed):
    """Outcome of a run on all devices.

    latency_s, run_s: of one run by the model, and of what was executed.
    links:  of each link in one direction its axis, its ends, and bytes. busiest: by collective,
            the axis, the bytes of its busiest link, and those the model has. wrong: parts that are
            not right.
    """

    kind: ClassVar = "execute-devices"  # of answers as JSON
    rows_at: ClassVar = ("links",)
    workload: str
    arch: str
    devices: int
    seed: int
    latency_s: float
    run_s: float
    errors: tuple[Error, ...]
    links: tuple[tuple[str, int, int, float], ...]
    busiest: tuple[tuple[str, str, float, float], ...]
    wrong: tuple[str, ...]

    def __bool__(self) -> bool:
        near = all(run <= model * (1 + ABOVE) for _, _, run, model in self.busiest)
        right = all(one.right for one in self.errors) and not self.wrong
        return right and near and self.above_run

    @property
    def above_run(self) -> bool:
        """True if the model's latency is not below the run."""
        return self.run_s <= self.latency_s * (1 + ABOVE)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper evaluate --execute --json` of a cluster's record."""
        moved = ("collective", "axis", "link_bytes", "model_link_bytes")
        sent = ("axis", "from", "to", "bytes")
        return {
            **{"workload": self.workload, "arch": self.arch, "devices": self.devices},
            **{"seed": self.seed, "right": bool(self)},
            **{"latency_s": self.latency_s, "run_s": self.run_s, "wrong": list(self.wrong)},
            "outputs": {e.tensor: {"absolute": e.absolute} for e in self.errors},
            "links": [dict(zip(sent, one, strict=True)) for one in self.links],
            "collectives": [dict(zip(moved, one, strict=True)) for one in self.busiest],
        }

    def __str__(self) -> str:
        """Outputs, collectives, links and seconds."""
        right = (
            (e.tensor, f"{e.absolute:.3g}", "right" if e.right else "WRONG") for e in self.errors
        )
        moved = ((w, a, f"{run:,.0f}", f"{model:,.0f}") for w, a, run, model in self.busiest)
        links = (
            (axis, *("switch" if d < 0 else str(d) for d in link), f"{n:,.0f}")
            for axis, *link, n in self.links
        )
        least = "not below the run" if self.above_run else "BELOW IT"
        tables = (
            ([*right], ("output", "max error", ""), (1,)),
            ([*moved], ("moves", "axis", "busiest link", "the model's"), (2, 3)),
            ([*links], ("axis", "from", "to", "bytes"), (3,)),
        )
        return "\n".join(
            (
                f"{self.workload} on {self.arch}: {self.devices} devices executed",
                *(grid(rows, head=head, right=at) for rows, head, at in tables if rows),
                *(f"{name}: its mapping is WRONG" for name in self.wrong),
                f"latency {units.si(self.latency_s, 's')}, {least}: {units.si(self.run_s, 's')}",
            )
        )


def execute_devices(record: ClusterRecord, seed: int = 0) -> ExecutedDevices:
    """The record executed; seed: of the random inputs.

    raises: SpecError where arrays or loops are too many, or a cache is longer than what is made.
    """
    workload, cluster = record.workload, record.paths.cluster
    words = cluster.devices * sum(map(workload.tensor_words, workload.tensor_ranks))
    if words > MOST_WORDS:
        got, change = f"{words:,}", "map fewer positions, heads or batches"
        raise SpecError(expected("execute", f"at most {MOST_WORDS:,} words of arrays", got, change))
    run, chip = DevicesRun(record, seed), cluster.chip
    errors = run.errors()
    parts = {id(part): part for part in record.parts.values()}  # which several works may have
    ran = {i: execute(p.workload, chip, p.mapping, seed=seed) for i, p in parts.items()}
    clock = chip.matrix.cycle_seconds
    seconds = {work: ran[id(part)].cycles * clock for work, part in record.parts.items()}
    moved = chain(*(step.moved for step in record.plan.steps), record.plan.moved)
    each = (step.way.seconds(seconds.__getitem__) for step in record.plan.steps)
    return ExecutedDevices(
        workload=workload.name,
        arch=cluster.title,
        devices=cluster.devices,
        seed=seed,
        latency_s=record.plan.seconds,
        run_s=sum(each) + sum(one.seconds for _, one in moved),
        errors=tuple(errors),
        links=tuple(
            (x, *link, n) for x, own in run.links.items() for link, n in sorted(own.items())
        ),
        busiest=tuple(run.busiest),
        wrong=tuple(parts[i].workload.name for i, one in ran.items() if not one.right),
    )


class DevicesRun:
    """Arrays of all devices.

    state: of each tensor its placement, and float64[axes..., ranks...], NaN where there is no word.
    """

    def __init__(self, record: ClusterRecord, seed: int) -> None:
        self.record, self.workload, self.axes = record, record.workload, record.paths.ways.axes
        self.names = [axis.name for axis in self.axes]
        self.mesh = tuple(axis.size for axis in self.axes)
        self.devices: list[Device] = [*np.ndindex(self.mesh)]
        self.links = {name: Links() for name in self.names}
        self.busiest = list[tuple[str, str, float, float]]()
        self.inputs = random_inputs(self.workload, seed)
        self.state = dict[str, tuple[Placement, Values]]()
        roles, words = self.workload.roles, [s.way.words for s in record.plan.steps]
        self.ordered = dict[str, str]()  # ranks whose parts are no pieces in a row
        for word in ("folded", "striped"):
            if any(word in one for one in words):
                self.ordered |= dict.fromkeys((roles.queries, roles.keys), word)
        self.refuse_uneven()
        self.refuse_caches()

    def refuse_uneven(self) -> None:
        """Raise SpecError where parts over several axes would not be parts of parts."""
        if len(self.axes) > 1:
            sizes, record = self.workload.rank_sizes, self.record
            parts = prod(axis.size for axis in self.axes)
            ranks = {r for s in record.plan.steps for r in s.way.division} & sizes.keys()
            uneven = {r: sizes[r] for r in ranks if sizes[r] % parts}
            if uneven or self.ordered:
                got = f"{uneven or next(iter(self.ordered.values()))}"
                condition = f"on several axes ranks that {parts} devices divide, in one piece"
                raise SpecError(expected("execute", condition, got))

    def refuse_caches(self) -> None:
        """Raise SpecError where more is read of a tensor than was made of it."""
        for view, of in self.workload.views.items():
            longer, made = map(self.workload.tensor_words, (view, of))
            if of in self.workload.producers and longer != made:
                condition, got = f"as many words of {view} as {of} has", f"{longer:,} for {made:,}"
                raise SpecError(expected("execute", condition, got, "take no cache"))

    def at(self, device: Device, placement: Placement) -> _At:
        """Positions of a device along the ranks that a placement splits."""
        found = {}
        for rank in set(placement) - {WHOLE, PARTIAL}:
            own = [i for i, r in enumerate(placement) if r == rank]
            mine = np.logical_and.reduce([self.owner(rank, i) == device[i] for i in own])
            found[rank] = np.flatnonzero(mine)
        return found

    def owner(self, rank: str, i: int) -> Integers:
        """The place on an axis of who has each position of a rank that is split over it."""
        size, parts = self.workload.rank_sizes[rank], self.axes[i].size
        every, how = np.arange(size, dtype=np.int64), self.ordered.get(rank)
        if len(self.axes) > 1:  # whatever the other axes split
            return every // prod(a.size for a in self.axes[:i]) % parts
        if how == "striped":
            return every % parts
        piece = every // -(-size // (2 * parts if how else parts))
        return np.minimum(piece, 2 * parts - 1 - piece) if how else piece

    def block(self, tensor: str, at: _At) -> tuple[Integers, ...]:
        """The index of a part of a tensor."""
        ranks, sizes = self.workload.tensor_ranks[tensor], self.workload.rank_sizes
        return np.ix_(*(at.get(r, np.arange(sizes[r], dtype=np.int64)) for r in ranks))

    def only(self, tensor: str, values: Values, at: Placement) -> Values:
        """The words that each device has in a placement, of one array or of each device's."""
        ranks, size = self.workload.tensor_ranks[tensor], len(self.mesh)
        found = np.broadcast_to(values, (*self.mesh, *values.shape[-len(ranks) :]))
        for i, rank in enumerate(at):
            if rank in ranks:
                has = self.owner(rank, i) == np.arange(self.mesh[i])[:, None]
                shape = [1] * found.ndim
                shape[i], shape[size + ranks.index(rank)] = has.shape
                found = np.where(has.reshape(shape), found, np.nan)
        return found

    def line(self, device: Device, i: int) -> list[Device]:
        """The devices of an axis that one is on."""
        return [(*device[:i], n, *device[i + 1 :]) for n in range(self.axes[i].size)]

    def move(self, tensor: str, to: Placement, moved: Sequence[Movement]) -> None:
        """Bring a tensor to a placement, axis after axis; what needs no collective comes first."""
        has, arrays = self.state[tensor]
        by_axis = {self.names.index(one.axis): one for one in moved}
        free = [i for i, r in enumerate(to) if r != has[i] and i not in by_axis]
        for i in (*free, *by_axis):
            now, before = (*has[:i], to[i], *has[i + 1 :]), arrays
            join = np.add if has[i] == PARTIAL else np.fmax  # which takes the words that any has
            arrays = self.only(tensor, join.reduce(before, axis=i, keepdims=True), now)
            if i in by_axis:
                given = arrays if to[i] and has[i] == PARTIAL else before
                self.sent(by_axis[i], self.held(tensor, given))
            has = now
        self.state[tensor] = to, arrays

    def held(self, tensor: str, arrays: Values) -> Values:
        """Bytes of a tensor that each device has."""
        words = np.count_nonzero(~np.isnan(arrays), axis=(*range(len(self.mesh), arrays.ndim),))
        return np.asarray(words * (self.workload.bits(tensor) / 8), np.float64)

    def sent(self, one: Movement, given: Values, rounds: int = 1) -> None:
        """Count the bytes of a collective; those of the axis's first line are shown.

        given: bytes of each device.
        """
        i = self.names.index(one.axis)
        parts = one.devices if one.what in ("alltoall", "all_reduce") else 1
        lines = np.moveaxis(given / parts, i, -1).reshape(-1, self.mesh[i]).tolist()
        found = [links_of(self.axes[i].topology, one.what, line) for line in lines]
        add_links(self.links[one.axis], {link: n * rounds for link, n in found[0].items()})
        most = max(n for own in found for n in (0.0, *own.values()))
        self.busiest.append((one.what, one.axis, most, one.link_bytes))

    @np.errstate(all="ignore")  # of rows that see nothing
    def errors(self) -> list[Error]:
        """Run all steps; of each tensor that is no sum, how far it is from its plain value."""
        return [*self._errors()]

    def _errors(self) -> Iterator[Error]:
        plan, inputs, views = self.record.plan, self.inputs, self.workload.views
        right = evaluated(self.workload, inputs, views)
        for tensor, at in plan.start.items():
            self.begin(tensor, at)
        for step in plan.steps:
            self.need(step)
            self.step(step.way)
            for tensor, at in step.way.gives.items():
                if PARTIAL not in at:
                    yield self.error(tensor, right[tensor])
        for tensor, at in plan.end.items():
            self.move(tensor, at, [one for name, one in plan.moved if name == tensor])
            yield self.error(tensor, right[tensor])

    def need(self, step: PathStep) -> None:
        """Bring all that a step reads to where it is needed."""
        for tensor, at in step.way.needs.items():
            of = self.workload.views.get(tensor, tensor)
            if of in self.state:
                own = [one for name, one in step.moved if name == of]
                self.move(of, self.record.paths.viewed(tensor, of, at), own)
            else:
                self.begin(of, at)
            if tensor != of:
                self.state[tensor] = at, self.state[of][1]

    def begin(self, tensor: str, at: Placement) -> None:
        """An input in the placement in which it stands."""
        self.state[tensor] = at, self.only(tensor, self.inputs[tensor], at)

    def error(self, tensor: str, right: Values) -> Error:
        """The worst error of a tensor on any device."""
        at, arrays = self.state[tensor]
        index = {d: self.block(tensor, self.at(d, at)) for d in self.devices}
        every = [
            error_of(tensor, arrays[d][i], right[i]) for d, i in index.items() if right[i].size
        ]
        return max(every, key=lambda one: one.absolute)

    def step(self, way: Sharding) -> None:
        """A run of Einsums on every device."""
        keys = self.workload.roles.keys
        if way.shift or (keys and keys in way.division):
            made = self.merged(way)
        else:
            made = {d: self.values(way, d, d, self.at(d, way.division)) for d in self.devices}
        for tensor, at in way.gives.items():
            shape = [self.workload.rank_sizes[r] for r in self.workload.tensor_ranks[tensor]]
            arrays = np.full((*self.mesh, *shape), np.nan)
            own = tuple(r if r not in (keys, PARTIAL) else WHOLE for r in way.division)
            for device, values in made.items():
                arrays[device][self.block(tensor, self.at(device, own))] = values[tensor]
            self.state[tensor] = at, self.only(tensor, arrays, at)

    def merged(self, way: Sharding) -> dict[Device, dict[str, Values]]:
        """Results of attention whose keys come in pieces, or are several devices'."""
        roles, made = self.workload.roles, dict[Device, dict[str, Values]]()
        ring = way.division.index(roles.queries) if way.shift else -1
        pieces = {d: [*self.pieces(way, d, ring)] for d in self.devices}
        for device in self.devices:
            others = {device}
            for i in (i for i, rank in enumerate(way.division) if rank == roles.keys):
                others = {d for one in others for d in self.line(one, i)}
            every = [piece for d in others for piece in pieces[d]]
            made[device] = dict.fromkeys(way.gives, _merged(every))
        self.count_pieces(way, pieces)
        return made

    def values(self, way: Sharding, device: Device, other: Device, at: _At) -> dict[str, Values]:
        """Results of Einsums from a device's words; other: whose keys these are."""
        keys, found = self.workload.roles.keys, dict[str, Values]()
        for tensor in way.needs:
            whose = other if keys in self.workload.tensor_ranks[tensor] else device
            found[tensor] = self.state[tensor][1][whose][self.block(tensor, at)]
            if np.isnan(found[tensor]).any():
                raise SpecError(f"execute: {way.names[0]}: device {device} lacks words of {tensor}")
        for einsum in self.workload.named(way.names):
            if not einsum.each:
                found[einsum.output.tensor] = whole_of(self.workload, einsum, found, at)
        return found

    def pieces(self, way: Sharding, device: Device, ring: int) -> Iterator[_Piece]:
        """Maxima, sums and results of the keys that a device has, one after another."""
        keys, core = self.workload.roles.keys, self.workload.named(way.names)
        (top, total), out = _rows_of(core, keys), core[-1].output
        for other in self.line(device, ring)[::-1] if ring >= 0 else [device]:
            at = dict(self.at(device, way.division))
            if ring >= 0:
                own = (*way.division[:ring], keys, *way.division[ring + 1 :])
                at[keys] = self.at(other, own)[keys]
            found = self.values(way, device, other, at)
            most, summed = (broadcast(found[a.tensor], a.ranks, out.ranks) for a in (top, total))
            yield most, summed, found[out.tensor]

    def count_pieces(self, way: Sharding, pieces: Mapping[Device, list[_Piece]]) -> None:
        """Count what goes round, or what brings results of several devices together."""
        if way.shift:
            ranks, keys = self.workload.tensor_ranks, self.workload.roles.keys
            each = [self.held(t, self.state[t][1]) for t in way.needs if keys in ranks[t]]
            self.sent(way.shift, np.sum(each, axis=0), len(way.steps) - 1)
        maxima, parts = len(way.after) // 2, 1
        for number, one in enumerate(way.after):
            parts *= one.devices if one.what == "reduce_scatter" else 1
            rows = [t.size + (number >= maxima) * out.size for ((t, _, out),) in pieces.values()]
            self.sent(one, np.reshape(rows, self.mesh) * ACCUMULATOR_BITS / 8 / parts)


def _rows_of(core: Sequence[Einsum], keys: str) -> tuple[TensorAccess, TensorAccess]:
    """The maxima and the sums of a softmax's rows."""
    over = [e.output for e in core if keys in e.reduced_ranks and not e.each]
    top = next(e for e in core if e.operation == "max").output
    return top, next(o for o in over if o.ranks == top.ranks and o.tensor != top.tensor)


def _merged(pieces: Sequence[_Piece]) -> Values:
    """The result of an online softmax over the keys of all pieces."""
    top = np.max([piece[0] for piece in pieces], axis=0)
    weights = [np.where(t == -np.inf, 0.0, s * np.exp(t - top)) for t, s, _ in pieces]
    each = zip(weights, pieces, strict=True)
    numerator = np.sum([np.where(w == 0, 0.0, w * out) for w, (_, _, out) in each], axis=0)
    return np.asarray(numerator / np.sum(weights, axis=0), np.float64)
