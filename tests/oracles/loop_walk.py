"""A loop nest walked step by step: what each buffer holds, and every word that moves.

Obviously right and slow. Instances are buffers with a tile each; at every step of the temporal
loops each instance's tile is worked out as a set of words, and whatever differs from the step
before is a whole new tile. Nothing here knows of products, reuse rules or arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from flat_mapper.arch.values import Architecture
from flat_mapper.mapping.values import EinsumMapping, Slot, slots_of
from flat_mapper.workload.einsum import Einsum, TensorAccess

Word = tuple[int, ...]
Place = tuple[int, ...]  # the values of the spatial loops outside a keeper: which instance


@dataclass(frozen=True)
class Step:
    """One loop of the nest, outermost first."""

    slot: int
    rank: str
    factor: int
    temporal: bool


@dataclass
class Moves:
    """Words of one tensor at one level, all instances together."""

    reads: int = 0
    fills: int = 0
    updates: int = 0
    instances: set[Place] = field(default_factory=set)


def walk(
    arch: Architecture, einsum: Einsum, mapping: EinsumMapping
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(level, tensor) -> reads, fills, updates of one instance; exact factors only."""
    slots = slots_of(arch)
    nest = [
        Step(s, loop.rank, loop.factor, slot.axis == "temporal")
        for s, slot in enumerate(slots)
        for loop in mapping.at(slot)
    ]
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for access in einsum.accesses:
        keepers = [lv.name for lv in arch.levels if access.tensor in mapping.kept_at(lv.name)]
        moves = {name: Moves() for name in keepers}
        for outer, inner in zip(keepers, [*keepers[1:], None], strict=True):
            _link(nest, slots, access, outer, inner, moves)
        for name, seen in moves.items():
            n = max(1, len(seen.instances))
            found[name, access.tensor] = (seen.reads // n, seen.fills // n, seen.updates // n)
    return found


def _link(
    nest: list[Step],
    slots: tuple[Slot, ...],
    access: TensorAccess,
    outer: str,
    inner: str | None,
    moves: dict[str, Moves],
) -> None:
    """All moves between a keeper and the next one in, or the compute unit."""
    top = slots.index(Slot(outer, "temporal"))
    cut = len(slots) if inner is None else slots.index(Slot(inner, "temporal"))
    outside = [i for i, step in enumerate(nest) if step.slot < cut]
    in_time = [i for i in outside if nest[i].temporal]
    in_space = [i for i in outside if not nest[i].temporal]
    holds: dict[Place, frozenset[Word]] = {}
    visited: set[tuple[Place, Word]] = set()
    for now in product(*(range(nest[i].factor) for i in in_time)):
        # Who asks: by parent instance, the distinct tiles; equal ones are one multicast, or one
        # spatial reduction.
        asked: dict[Place, set[frozenset[Word]]] = {}
        for here in product(*(range(nest[i].factor) for i in in_space)):
            at = dict(zip(in_time, now, strict=True)) | dict(zip(in_space, here, strict=True))
            parent = tuple(at[i] for i in in_space if nest[i].slot < top)
            moves[outer].instances.add(parent)
            if inner is not None:
                moves[inner].instances.add(here)
            tile = _tile(nest, access, at)
            if inner is not None and holds.get(here) == tile:
                continue
            holds[here] = tile
            asked.setdefault(parent, set()).add(tile)
            if inner is not None:
                _fill(moves[inner], access, here, tile, visited)
        for parent, tiles in asked.items():
            for tile in tiles:
                _serve(moves[outer], access, ("parent", parent), tile, visited)


def _fill(
    moves: Moves, access: TensorAccess, here: Place, tile: frozenset[Word], visited: set[object]
) -> None:
    for word in tile:
        # An output starts from nothing at its first visit; later ones bring back what was so far.
        if not access.is_output or (here, word) in visited:
            moves.fills += 1
        visited.add((here, word))


def _serve(
    moves: Moves, access: TensorAccess, who: object, tile: frozenset[Word], visited: set[object]
) -> None:
    for word in tile:
        if not access.is_output:
            moves.reads += 1
            continue
        moves.updates += 1
        if (who, word) in visited:
            moves.reads += 1
        visited.add((who, word))


def _tile(nest: list[Step], access: TensorAccess, at: dict[int, int]) -> frozenset[Word]:
    """The words of the tensor under fixed outer loops, all inner loops run."""
    inside = [i for i in range(len(nest)) if i not in at]
    words = set()
    for rest in product(*(range(nest[i].factor) for i in inside)):
        values = at | dict(zip(inside, rest, strict=True))
        point = dict.fromkeys(access.ranks, 0)
        for i, step in enumerate(nest):
            if step.rank in point:
                point[step.rank] = point[step.rank] * step.factor + values[i]
        words.add(tuple(point.values()))
    return frozenset(words)
