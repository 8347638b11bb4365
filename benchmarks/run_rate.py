"""Mappings that the native model evaluates per CPU second, as JSON, by how many at once.

Runs in a process of its own: python run_rate.py
"""

from __future__ import annotations

import json
from time import process_time

import numpy as np

from flat_mapper import load_platform, load_problem
from flat_mapper.api.calls import energies
from flat_mapper.cost_model.einsum import nest_costs
from flat_mapper.cost_model.nest import Factors, Nest
from flat_mapper.mapper.space.factors import primes
from flat_mapper.mapping.values import slots_of

CHUNKS = tuple(2**k for k in range(10, 17))  # mappings evaluated at once
LENGTH = 4096
RATE_S = 0.5  # CPU seconds spent per chunk size


def main() -> dict[str, float]:
    """Random factorizations of QK on edge: words kept, cycles and energy of each."""
    edge = load_platform("edge")
    ert, _ = energies(edge, None)
    workload = load_problem("bert-base", sizes={"P": LENGTH, "M": LENGTH})
    einsum, slots = workload.einsum("QK"), slots_of(edge.matrix)
    sizes = tuple(workload.rank_sizes[rank] for rank in einsum.ranks)
    every = frozenset(access.tensor for access in einsum.accesses)
    nest = Nest(
        arch=edge.matrix,
        einsum=einsum,
        slots=slots,
        keep=tuple(every for _ in edge.matrix.levels),
        order=tuple(einsum.ranks for _ in slots),
    )
    rng = np.random.default_rng(0)
    rates: dict[str, float] = {}
    for chunk in CHUNKS:
        factors = np.ones((len(slots), len(sizes), chunk), dtype=np.int64)
        for rank, size in enumerate(sizes):
            for prime in primes(size):
                at = rng.integers(len(slots), size=chunk)
                factors[at, rank, np.arange(chunk)] *= prime
        batch, done, start = Factors(factors=factors), 0, process_time()
        while (spent := process_time() - start) < RATE_S:
            costs = nest_costs(nest, sizes, batch, ert)
            _ = [costs.tile(*at) for at in costs.tiles], costs.slowdown
            _ = costs.tensor_energy, costs.network, costs.compute_energy
            done += chunk
        rates[f"{chunk}"] = done / spent
    return rates


if __name__ == "__main__":
    print(json.dumps(main()))
