"""Energy of the first pass over the keys, of tiles that make fewer passes than the largest."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.mapper.cost.price import candidate_costs
from flat_mapper.mapper.space.candidates import CandidateBlock, Floats
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.roles import FirstPasses, Outer


def first_pass_pj(
    space: EinsumSpace, candidates: CandidateBlock, outer: Outer, firsts: FirstPasses
) -> Floats:
    """pJ of a first pass in candidates of an Einsum, but for its computes; float64[n].

    outer: of the largest tile, which makes P passes. What all of them take is linear in their
    number, so one is a share of 1 / P of what comes with every pass, and all of what stays.
    """
    part = 1.0
    if firsts.keys in (*space.einsum.ranks, *space.einsum.each):
        part = 1 / firsts.passes
        at = [i for i, r in enumerate(space.ranks) if r.members[0] == firsts.keys]
        outer = replace(outer, visited=part, masked=(*at, *at))  # no loop over queries: one row
    computed = 0.0 if space.einsum.each else part * space.compute_energy
    return candidate_costs(space, candidates, outer).energy - computed
