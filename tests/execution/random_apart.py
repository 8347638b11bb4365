"""Random fused mappings on chips inside which fanouts serve each of their instances for itself."""

from __future__ import annotations

import random
from dataclasses import replace

from execution.random_fused import random_case

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

RULES = ("no_reuse", "no_multicast_no_reduction")  # two names for one rule


def reading_apart(rng: random.Random, platform: Platform, tensors: list[str]) -> Platform:
    """A chip whose fanouts say of some tensors, or of all, that nothing is shared or summed."""

    def rule() -> dict[str, object]:
        listed = ["*"] if rng.random() < 0.6 else rng.sample(tensors, 2)
        return {"spatial": {rng.choice(RULES): listed}} if rng.random() < 0.7 else {}

    def path(arch: Architecture) -> Architecture:
        nodes = [replace(n, constraints=rule()) if isinstance(n, Fanout) else n for n in arch.nodes]
        return replace(arch, nodes=tuple(nodes))

    vector = platform.vector
    return replace(platform, matrix=path(platform.matrix), vector=path(vector) if vector else None)


def random_apart_case(seed: int) -> tuple[Workload, Platform, FusedMapping]:
    """A cascade, a chip and a mapping: those of `random_case`, under rules about fanouts."""
    workload, platform, mapping = random_case(seed)
    rng = random.Random(f"apart {seed}")
    return workload, reading_apart(rng, platform, sorted(workload.tensor_ranks)), mapping
