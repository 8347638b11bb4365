"""The cascade evaluated plainly, a whole tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flat_mapper.execution.link import Integers
from flat_mapper.execution.real_numbers import NEEDS_POSITIVE, Values, arithmetic
from flat_mapper.execution.turn import masked, may_see
from flat_mapper.workload.einsum import NO_VIEWS, Einsum
from flat_mapper.workload.graph import Workload


def random_inputs(workload: Workload, seed: int) -> dict[str, Values]:
    """Random values for every tensor that no Einsum makes.

    Normal ones; between 1/2 and 3/2 where an operation takes positive numbers only.
    """
    rng = np.random.default_rng(seed)
    done = {e.operation for e in workload.einsums}
    positive = bool(done & NEEDS_POSITIVE) or ("div" in done and "exp" not in done)
    found: dict[str, Values] = {}
    for tensor, ranks in workload.tensor_ranks.items():
        if tensor not in workload.producers:
            shape = [workload.rank_sizes[r] for r in ranks]
            draw = rng.uniform(0.5, 1.5, shape) if positive else rng.normal(size=shape)
            found[tensor] = np.asarray(draw, np.float64)
    return found


def evaluated(
    workload: Workload, inputs: Mapping[str, Values], views: Mapping[str, str] = NO_VIEWS
) -> dict[str, Values]:
    """Every tensor of the cascade. What corrects partial results has nothing to correct here.

    views: tensors that are others, which the cascade makes; else they are inputs like any.
    """
    values = dict(inputs)
    for einsum in workload.ordered:
        if not einsum.each:
            made = values[einsum.output.tensor] = whole_of(workload, einsum, values)
            values |= {view: made for view, of in views.items() if of == einsum.output.tensor}
    return values


def whole_of(
    workload: Workload,
    einsum: Einsum,
    values: Mapping[str, Values],
    at: Mapping[str, Integers] | None = None,
) -> Values:
    """The output of an Einsum on whole tensors; at: of ranks that are parts, their positions."""
    how, ranks, own_at = arithmetic(einsum), einsum.ranks, at or {}
    part = {r: len(places) for r, places in own_at.items()}
    if how.joint == "*" and not how.function and how.combine is np.add:
        made = _product(einsum, {t: values[t] for t in how.operands})
    else:
        shapes = {a.tensor: a.ranks for a in einsum.inputs}
        operands = [broadcast(values[t], shapes[t], ranks) for t in how.operands]
        sizes = [part.get(r, workload.rank_sizes[r]) for r in ranks]
        points = np.broadcast_to(how.point(operands), sizes)
        axes = tuple(i for i, r in enumerate(ranks) if r not in einsum.output.ranks)
        made = how.combine.reduce(points, axis=axes) if axes else np.array(points)
    found = masked(workload, einsum)
    if workload.mask is None or found is None:
        return made
    pair, nothing = found
    queries, keys = (workload.rank_sizes[r] for r in pair)
    query, key = (own_at.get(r, np.arange(workload.rank_sizes[r], dtype=np.int64)) for r in pair)
    query = query + keys * workload.mask.parts - queries
    own = einsum.output.ranks
    seen = may_see(workload.mask, broadcast(query, pair[:1], own), broadcast(key, pair[1:], own))
    return np.where(seen, made, nothing)


def _product(einsum: Einsum, operands: Mapping[str, Values]) -> Values:
    letters = {r: chr(97 + i) for i, r in enumerate(einsum.ranks)}
    shapes = {a.tensor: "".join(letters[r] for r in a.ranks) for a in einsum.accesses}
    text = ",".join(shapes[t] for t in operands) + "->" + shapes[einsum.output.tensor]
    return np.asarray(np.einsum(text, *operands.values(), optimize=True), np.float64)


def broadcast[T: np.generic](
    values: npt.NDArray[T], own: Sequence[str], ranks: Sequence[str]
) -> npt.NDArray[T]:
    """A tensor with an axis of length 1 for every rank that it lacks, in the order of `ranks`."""
    order = [own.index(r) for r in ranks if r in own]
    shape = [values.shape[own.index(r)] if r in own else 1 for r in ranks]
    return values.transpose(order).reshape(shape)
