"""One pass of a fused group for backends that count every Einsum as if it were alone.

Such a backend lets a tile stay in a private level over the shared loops, where other Einsums of the
group have their turns in between. So it is asked once more, for the Einsums at the sizes of their
FLAT-tile, without the shared loops. What returns with every turn moves so often in each pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.result import Infeasible, Result, TensorStats
from flat_mapper.cost_model.reuse import SHARED
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.sharing import crosses_dram, whole_group
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop
from flat_mapper.workload.graph import Workload

Place = tuple[str, str, str, str]  # Einsum, level, tensor, count


def single_pass(
    workload: Workload, platform: Platform, mapping: FusedMapping, group: GroupMapping
) -> tuple[Workload, FusedMapping]:
    """A group's Einsums at the sizes of one FLAT-tile, and their mapping without shared loops."""
    names = whole_group(workload, group.names, mapping.policy)
    einsums = tuple(workload.einsum(n) for n in names)
    tensors = {a.tensor for e in einsums for a in e.accesses}
    ranks = {r for e in einsums for r in e.ranks}
    tile = replace(
        workload,
        einsums=einsums,
        rank_sizes={
            r: n // passes_of(group, (r,)) for r, n in workload.rank_sizes.items() if r in ranks
        },
        tensor_bits={t: b for t, b in workload.tensor_bits.items() if t in tensors},
        operators={},
        core=(),
        left_out=(),
    )
    # What only other groups need of what is read here too: without them it stays on chip.
    inside = {
        t for t in tensors if crosses_dram(workload, names, t) and not crosses_dram(tile, names, t)
    }
    dram = platform.dram.name
    alone = replace(
        group,
        einsums=tuple(_without(nest, dram, group.shared, inside) for nest in group.einsums),
        shared=(),
    )
    return tile, replace(mapping, groups=(alone,))


def passes_of(group: GroupMapping, ranks: tuple[str, ...]) -> int:
    """Passes of the shared loops over some ranks."""
    return prod(loop.factor for loop in group.shared if loop.rank in ranks)


def _without(
    nest: EinsumMapping, dram: str, shared: tuple[Loop, ...], inside: set[str]
) -> EinsumMapping:
    """A nest without its shared loops, and without some tensors at DRAM."""
    loops = tuple(
        (slot, tuple(p for p in at if slot.node != dram or p not in shared))
        for slot, at in nest.loops
    )
    keep = tuple(
        (level, tuple(t for t in kept if level != dram or t not in inside))
        for level, kept in nest.keep
    )
    return replace(nest, loops=loops, keep=keep)


def one_pass_counts(
    backend: Backend,
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    alone: Result,
) -> dict[Place, int]:
    """Counts of a backend where nothing stays in private levels from one pass to another.

    alone:  its answer for the whole mapping.
    raises: MappingError and BackendError as `Backend.evaluate`.
    Groups with remainders are left out: their passes are not alike.
    """
    found: dict[Place, int] = {}
    for group in mapping.groups:
        ragged = any(p.last for nest in group.einsums for _, at in nest.loops for p in at)
        if len(group.einsums) < 2 or not group.shared or ragged:
            continue
        tile, inside = single_pass(workload, platform, mapping, group)
        answer = backend.evaluate(tile, platform, inside, ert)
        if not isinstance(answer, Infeasible):
            for nest in group.einsums:
                found |= _of_einsum(workload, platform, group, nest, alone, answer)
    return found


def _of_einsum(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    nest: EinsumMapping,
    alone: Result,
    one: Result,
) -> dict[Place, int]:
    einsum = workload.einsum(nest.einsum)
    levels = [lv.name for lv in platform.path(einsum.unit).levels]
    passes = passes_of(group, einsum.ranks)
    found: dict[Place, int] = {}
    for tensor in (a.tensor for a in einsum.accesses):
        chain = [i for i, level in enumerate(levels) if tensor in nest.kept_at(level)]
        for i, inner in zip(chain, [*chain[1:], len(levels)], strict=True):
            if inner <= SHARED:
                continue  # whole tiles stay in the shared level by Timeloop's rule
            place = (nest.einsum, levels[i], tensor)
            output = tensor == einsum.output.tensor
            move = _Moves(_stats(alone, *place), _stats(one, *place), passes, output)
            counts = move.below()
            if i > SHARED and i > chain[0]:
                counts["scalar_fills"] = move.fills()
            found |= {(*place, quantity): n for quantity, n in counts.items()}
    return found


def _stats(result: Result, einsum: str, level: str, tensor: str) -> TensorStats:
    found = next(e for e in result.einsums if e.einsum == einsum).level(level)
    assert found is not None
    return next(t for t in found.tensors if t.tensor == tensor)


@dataclass(frozen=True, slots=True)
class _Moves:
    """A tensor's counts at one level: of the whole mapping, and of one pass."""

    alone: TensorStats
    one: TensorStats
    passes: int
    output: bool

    def below(self) -> dict[str, int]:
        """Counts of what moves between the level and what is inside of it.

        An output's first words need no old ones, once over all passes: that many the whole mapping
        has more updates than reads, whatever stays.
        """
        if not self.output:
            return {"scalar_reads": self.passes * self.one.scalar_reads}
        updates = self.passes * self.one.scalar_updates
        old = updates - _first(self.alone)
        return {"scalar_updates": updates, "scalar_reads": old, "temporal_reductions": old}

    def fills(self) -> int:
        """Words that come from the level outside."""
        if not self.output:
            return self.passes * self.one.scalar_fills
        return self.passes * (self.one.scalar_fills + _first(self.one)) - _first(self.alone)


def _first(output: TensorStats) -> int:
    """Words of an output that a level ever holds: updated without an old value, each once."""
    return output.scalar_updates - output.scalar_reads
