"""Candidates of Einsums as searches of one question have enumerated them: each kind once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.space.candidates import CandidateBlock, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, inner_candidates
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.space import SlotRule

MOST_UNDER_TILES = 60_000  # chosen: candidates under a few outer tiles; beyond, all are enumerated


@dataclass(slots=True)
class CandidateCache:
    """Facts about candidates that searches of one question, under one platform, have found out."""

    candidate_sets: dict[object, CandidateSet] = field(default_factory=dict)
    blocks: dict[object, _Named] = field(default_factory=dict)  # by kind of Einsum
    too_many: dict[object, int] = field(default_factory=dict)  # units of which there are too many


@dataclass(frozen=True, slots=True)
class _Named:
    """Candidates of an Einsum, and its tensors."""

    tensors: tuple[str, ...]
    blocks: tuple[CandidateBlock, ...]

    def of(self, tensors: tuple[str, ...]) -> list[CandidateBlock]:
        """The candidates of an Einsum of the same kind."""
        if tensors == self.tensors:
            return [*self.blocks]
        name = dict(zip(self.tensors, tensors, strict=True))
        return [block.renamed(name) for block in self.blocks]


def enumerated(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: CandidateCache,
    least: int,
    most: int,
    step: Callable[[], None] | None = None,
    tiles: Ints | None = None,
) -> CandidateSet | None:
    """Candidates of an Einsum with so many compute units in use; None if there are too many.

    most:    candidates that a candidate set may have.
    tiles:   int64[R, n]: of those whose tile divides none of these there may be some or none.
    step:    called with every piece of work.
    """
    # Of no candidate are units between the two: one search's widest are often another's.
    least = space.units_from(least)
    everything = Wanted(least=least, most=2 * most, together=most)
    ways = [(everything, most, step)]
    if tiles is not None:
        few = min(most, MOST_UNDER_TILES)
        # It takes milliseconds: no piece of work of its own.
        ways.insert(0, (replace(everything, most=2 * few, together=few, tiles=tiles), few, None))
    for wanted, limit, tick in ways:
        found = _enumerated_once(space, roles, known, wanted, limit, tick)
        if found is not None:
            memo = found.memo if found.roles == roles else found.memo.other_roles()
            return CandidateSet(space=space, blocks=found.blocks, roles=roles, memo=memo)
    return None


def _enumerated_once(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: CandidateCache,
    wanted: Wanted,
    most: int,
    step: Callable[[], None] | None,
) -> CandidateSet | None:
    """Candidates of an Einsum that are wanted, as found before; None if there are too many."""
    where = b"" if wanted.tiles is None else wanted.tiles.tobytes()
    key = (space.einsum.name, space.ranks, where, space.weighing, wanted.least)
    if key not in known.candidate_sets:
        kind = (_kind(space), space.ranks, where)
        if wanted.least <= known.too_many.get((kind, most), 0):
            return None
        named = known.blocks.get((kind, wanted.least))
        if named is None:
            try:
                blocks = tuple(_some(inner_candidates(space, wanted), most, step))
            except TooMany:
                known.too_many[kind, most] = wanted.least
                return None
            named = known.blocks[kind, wanted.least] = _Named(space.tensors, blocks)
        found = CandidateSet(space=space, blocks=named.of(space.tensors), roles=roles)
        known.candidate_sets[key] = found
    return known.candidate_sets[key]


def _kind(space: EinsumSpace) -> object:
    """All that an Einsum's candidates depend on, without its own name and those of its tensors.

    The maximum of a row has those of its sum, the exponentials those of their division.
    """
    place = {tensor: i for i, tensor in enumerate(space.tensors)}
    nodes = [*space.arch.levels[: space.shared + 1], *space.inner_nodes]
    levels = [node for node in nodes if isinstance(node, MemoryLevel)]
    inside = levels[space.shared + 1 :]
    return (
        space.einsum.unit,
        space.weighing,
        tuple(space.relevant.values()),
        tuple(tuple(space.share(t, level.name) for level in levels) for t in place),
        tuple(
            tuple(frozenset(place[t] for t in keep) for keep in space.keep_sets(level.name))
            for level in inside
        ),
        tuple(
            tuple(reads_apart(node, t) for t in place) for node in nodes if isinstance(node, Fanout)
        ),
        frozenset(place[t] for t in space.waits if t in place),
        tuple(_asked(rule) for node in nodes for rule in space.rules(node.name, "temporal")),
        tuple(_asked(rule) for node in nodes for rule in space.rules(node.name, "spatial")),
    )


def _asked(rule: SlotRule) -> object:
    """Conditions of a rule on the loops at its node."""
    factors, at_most = tuple(rule.factors.items()), tuple(rule.at_most.items())
    return rule.node, factors, at_most, rule.innermost, rule.x, rule.y


def _some(
    blocks: Iterator[CandidateBlock], most: int, step: Callable[[], None] | None
) -> Iterator[CandidateBlock]:
    """So many candidates at most."""
    count = 0
    for block in blocks:
        if step is not None:
            step()
        count += block.count
        if count > most:
            raise TooMany
        yield block
