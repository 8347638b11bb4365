"""Keys that no query may see: they are no part of the work.

Under a window the P queries at the end of M positions see P + window - 1 keys or fewer. What stands
before these is neither read nor computed, whatever the mapping: a decode step under a window of W
works on the W last keys of its cache. So that tiles of queries x keys can be aligned, as many are
left as are a multiple of the queries.
"""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.workload.graph import Workload


def seen(workload: Workload) -> Workload:
    """The workload without the first keys that no query sees; `unseen` has their number.

    Itself where there are none, where layers differ in their mask (each kind has its own number),
    where keys are in parts, and where keys count that no query meets: in an output, or in a
    reduction without queries.
    """
    pair, mask = workload.roles.masked, workload.mask
    if mask is None or mask.window is None or mask.parts > 1 or pair is None or workload.layers:
        return workload
    queries, keys = pair
    rows, most = workload.rank_sizes[queries], workload.rank_sizes[keys]
    fewest = -(-(rows + mask.window - 1) // rows) * rows
    if fewest >= most or _counts_alone(workload, queries, keys):
        return workload
    return replace(workload.with_ranks({keys: fewest}), unseen=workload.unseen + most - fewest)


def at_keys(workload: Workload, length: int) -> Workload:
    """The same at another number of keys, those included that no query sees."""
    assert workload.roles.keys is not None
    return seen(replace(workload.with_ranks({workload.roles.keys: length}), unseen=0))


def _counts_alone(workload: Workload, queries: str, keys: str) -> bool:
    """True if an Einsum without queries adds up over keys, or leaves them in what is given back."""
    read = {access.tensor for einsum in workload.einsums for access in einsum.inputs}
    read |= set(workload.views.values())
    return any(
        keys not in einsum.output.ranks or einsum.output.tensor not in read
        for einsum in workload.einsums
        if keys in einsum.ranks and queries not in einsum.ranks
    )
