"""The order in which the Einsums of a cascade run, where the cascade itself leaves it open.

Of Einsums that do not wait for each other one has to go first, and what a fused tile holds depends
on which. The choice rests on what they do, not on their names or on their order in a file: fewest
points first, then the shape of the cascade around them. Only Einsums that are alike in all of that
keep the order of the file; exchanging them changes no number.
"""

from __future__ import annotations

from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload


def execution_order(workload: Workload) -> tuple[str, ...]:
    """Names of the Einsums, each after those it waits for.

    The forms of softmax that this package writes run in the order of their source.
    """
    if workload.softmax != "none":
        return tuple(workload.ancestors)
    colours = _colours(workload)
    place = {e.name: i for i, e in enumerate(workload.einsums)}
    done: list[str] = []
    while len(done) < len(place):
        ready = [
            n for n in place if n not in done and all(m in done for m in workload.ancestors[n])
        ]
        done.append(
            min(
                ready,
                key=lambda n: (workload.iterations(workload.einsum(n)), colours[n], place[n]),
            )
        )
    return tuple(done)


def _colours(workload: Workload) -> dict[str, int]:
    """A number for each Einsum, the same for two of them only where they are alike.

    Colour refinement: what an Einsum is by itself, then what makes its inputs and reads its output,
    as often as there are Einsums.
    """
    seen: dict[str, object] = {e.name: _own(workload, e) for e in workload.einsums}
    colours = _numbered(seen)
    for _ in workload.einsums:
        around: dict[str, object] = {}
        for einsum in workload.einsums:
            makers = sorted(
                (colours[workload.producers[a.tensor]] if a.tensor in workload.producers else -1)
                for a in einsum.inputs
            )
            readers = sorted(
                colours[e.name]
                for e in workload.einsums
                if any(a.tensor == einsum.output.tensor for a in e.inputs)
            )
            around[einsum.name] = (colours[einsum.name], makers, readers)
        finer = _numbered(around)
        if finer == colours:
            break
        colours = finer
    return colours


def _own(workload: Workload, einsum: Einsum) -> object:
    """What an Einsum does: its operation, and its ranks by size, role and where they are."""
    roles = {rank: name for name, rank in workload.roles.declared.items()}
    ranks = sorted(
        (
            workload.rank_sizes[rank],
            roles.get(rank, ""),
            rank in einsum.output.ranks,
            sorted(len(a.ranks) for a in einsum.inputs if rank in a.ranks),
            (rank in einsum.each, rank in einsum.after),
        )
        for rank in einsum.ranks
    )
    return (einsum.operation, einsum.unit, einsum.updates, len(einsum.so_far), ranks)


def _numbered(values: dict[str, object]) -> dict[str, int]:
    """Equal values as equal numbers, in the order of how the values are written."""
    listed = sorted({repr(value) for value in values.values()})
    return {name: listed.index(repr(value)) for name, value in values.items()}
